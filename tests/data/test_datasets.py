"""Tests that hold for every dataset, generated or read from files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.data import DATASETS, SPLITS, Scenes, composed_photographs, open_dataset
from intarsia.data.arrays import Contents, Material, Rows, write
from intarsia.data.cutouts import Pictures, material_of
from intarsia.errors import InputError
from intarsia.testing import DatasetContract

DRAWN = {"train": None, "val": 200, "test": 2000}
STORED = {"train": None, "val": 30, "test": 60}  # of the 200 scenes in each of the folders made here


def stored(name: str, backgrounds: int, folder: Path) -> Path:
    """A folder of prepared scenes: noise, with a square of every segment."""

    def rows_from(start: int) -> Iterator[Rows]:
        images = np.random.default_rng(7).integers(0, 256, (200, 64, 64, 3), np.uint8)
        masks = np.zeros((200, 64, 64), np.uint8)
        for segment in range(1, 6):
            masks[:, 10 * segment : 10 * segment + 8, 20:28] = segment
        yield {"images": images[start:], "masks": masks[start:]}

    contents = Contents(name, "noise", 64, 64, 6, {"test": 60, "val": 30, "train": None}, backgrounds)
    write(folder, Material(contents, rows_from, 200))
    return folder


def photos(folder: Path) -> Path:
    """A folder of 240 pictures of noise."""
    for number, pixels in enumerate(np.random.default_rng(5).integers(0, 256, (240, 70, 66, 3), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def cutouts(name: str, folder: Path) -> Path:
    """A folder of pictures for scenes: 8 animals, and 4 backgrounds of noise, a fourth of them only for tests."""
    rng = np.random.default_rng(3)
    paths = sorted((Path(__file__).parent / "animals").glob("*.png"))
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    pixels = np.pad(pixels, [(0, 0), (64, 64), (96, 96), (0, 0)])
    backgrounds, no_animal = rng.integers(0, 256, (4, 192, 256, 3), np.uint8), np.zeros((4, 192, 256), np.uint8)
    write(
        folder,
        material_of(
            name,
            "emoji",
            Pictures(backgrounds, no_animal, {"train": [0, 1, 2], "both": [], "test": [3]}),
            Pictures(pixels[..., :3], np.uint8(1) * (pixels[..., 3] > 127), {"train": [*range(6)], "both": [], "test": [6, 7]}),
            {},
        ),
    )
    return folder


def photograph_pictures(folder: Path) -> Path:
    """A folder of pictures for composed photographs: noise, 8 animals and discs, each for one split."""
    rng = np.random.default_rng(4)
    paths = sorted((Path(__file__).parent / "animals").glob("*.png"))
    pixels = np.pad(np.stack([np.asarray(Image.open(path)) for path in paths]), [(0, 0), (64, 64), (96, 96), (0, 0)])
    views, empty = rng.integers(0, 256, (9, 192, 256, 3), np.uint8), np.zeros((9, 192, 256), np.uint8)
    disc = np.uint8(255) * (np.hypot(*(np.mgrid[:192, :256] - np.array([95.5, 127.5])[:, None, None])) < 88)

    def uses(*numbers: int) -> dict[str, np.ndarray]:
        return dict(zip(SPLITS, np.split(np.arange(sum(numbers)), np.cumsum(numbers)[:-1]), strict=True))

    kinds = {
        "photograph": (views, empty, uses(3, 3, 3)),
        "cut-out": (pixels[..., :3], pixels[..., 3], uses(4, 2, 2)),
        "shape": (views[:3], np.stack([disc] * 3), uses(1, 1, 1)),
    }
    write(folder, composed_photographs.material_of("emoji", kinds, {}))
    return folder


@dataclass(frozen=True)
class Case:
    """A dataset, a function that makes its folder, and the number of scenes in each split."""

    name: str
    files: Callable[[Path], Path] | None = None
    sizes: dict[str, int | None] = field(default_factory=lambda: DRAWN)

    def open(self, folder: Path, seed: int = 0, split: str = "train") -> Scenes:
        return open_dataset(self.name, seed, split, folder if self.files else None)


CASES = {
    "folder": Case("folder", photos, {"train": None, "val": 24, "test": 24}),
    "multi_dsprites": Case("multi_dsprites"),
    "multi_dsprites from files": Case("multi_dsprites", partial(stored, "multi_dsprites", 1), STORED),
    "multi_texture": Case("multi_texture"),
    "multi_texture_pair": Case("multi_texture_pair", sizes=DRAWN | {"test": 6560}),
    "objects_room": Case("objects_room", partial(stored, "objects_room", 3), STORED),
    "composed_photographs": Case("composed_photographs", photograph_pictures),
    "flying_animals": Case("flying_animals", partial(cutouts, "flying_animals")),
    "flying_animals_debian": Case("flying_animals_debian", partial(cutouts, "flying_animals_debian")),
    "objects_room_mujoco": Case("objects_room_mujoco", partial(stored, "objects_room_mujoco", 3), STORED),
}
Open = Callable[..., Scenes]


@pytest.fixture(scope="session", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="session")
def opened(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Open:
    """A function that opens a split of the dataset: `opened(seed=0, split="train")`."""
    folder = tmp_path_factory.mktemp(case.name)
    if case.files:
        case.files(folder)
    return partial(case.open, folder)


def test_every_dataset_has_a_case() -> None:
    assert {case.name for case in CASES.values()} == DATASETS.own.keys()


class TestDatasets(DatasetContract):
    def test_splits_share_no_scene(self, opened: Open) -> None:
        if opened().name == "multi_texture_pair":
            pytest.skip("has 6,561 scenes in all, which the splits share")
        super().test_splits_share_no_scene(opened)


@pytest.mark.parametrize("split", SPLITS)
def test_sizes(case: Case, opened: Open, split: str) -> None:
    scenes = opened(split=split)
    assert (scenes.name, scenes.size) == (case.name, case.sizes[split])


drawn = pytest.mark.parametrize("name", ["multi_dsprites", "multi_texture"])


@drawn
def test_the_background_comes_first(name: str) -> None:
    _, masks = open_dataset(name)(range(100))
    fraction = masks.mean((2, 3))
    assert (fraction[:, 0] > 0.5).all()
    assert (fraction[:, 1:] < 0.2).all()


@drawn
def test_drawn_scenes_depend_on_the_seed_in_every_split(name: str) -> None:
    images = [open_dataset(name, seed, split)(range(50)).images for seed in (0, 1) for split in SPLITS]
    distinct = torch.cat(images).flatten(1).unique(dim=0)
    assert len(distinct) == 50 * len(images)


def test_errors_say_what_was_given_and_what_is_allowed() -> None:
    with pytest.raises(InputError, match=r"'clevr'.*multi_dsprites, multi_texture, multi_texture_pair, objects_room"):
        open_dataset("clevr")
    with pytest.raises(InputError, match=r"'dev'.*train, val, test"):
        open_dataset("multi_texture", split="dev")
    with pytest.raises(InputError, match=r"-1.*0 to"):
        open_dataset("multi_texture", seed=-1)
    with pytest.raises(InputError, match=r"sprites holds no dataset\.json.*intarsia prepare multi_dsprites"):
        open_dataset("multi_dsprites", data_root="sprites")
    with pytest.raises(InputError, match=r"intarsia prepare objects_room --from FILE.*--data-root"):
        open_dataset("objects_room")


def isolated(masks: torch.Tensor) -> np.ndarray:
    """Objects `b n` that are fully visible: at least two pixels from other masks and from the border."""
    objects = (masks[:, 1:] > 0.04).float()
    near = torch.nn.functional.max_pool2d(objects, 5, stride=1, padding=2)
    alone = torch.einsum("bnhw,bmhw->bnm", objects, near).count_nonzero(2) == 1
    inside = objects[:, :, 2:-2, 2:-2].sum((2, 3)) == objects.sum((2, 3))
    return (alone & inside).numpy()


@drawn
def test_objects_are_where_their_factors_say(name: str) -> None:
    scenes = open_dataset(name)
    factors, masks = scenes.factors(range(200)), scenes(range(200)).masks
    objects = masks[:, 1:].double().numpy()
    whole = isolated(masks)
    assert whole.sum() > 100
    places = np.arange(64) + 0.5
    for factor, axis in ("row", 3), ("column", 2):
        mass = objects.sum(axis)[whole]
        np.testing.assert_allclose(factors[factor][whole], mass @ places / mass.sum(1), rtol=0, atol=1)
        assert np.ptp(factors[factor][whole]) > 30


@drawn
def test_factors_are_those_of_the_objects_that_are_there(name: str) -> None:
    scenes = open_dataset(name)
    factors, masks = scenes.factors(range(200)), scenes(range(200)).masks
    assert {"row", "column", "hue_sin", "hue_cos"} <= factors.keys()
    absent = np.isnan(factors["row"])
    assert absent.shape == (200, scenes.segments - 1) and absent.any()
    assert (masks[:, 1:].amax((2, 3)).numpy()[absent] == 0).all()
    for values in factors.values():
        assert values.dtype == np.float64 and np.array_equal(np.isnan(values), absent)
    np.testing.assert_allclose(np.hypot(factors["hue_sin"], factors["hue_cos"])[~absent], 1)
    alone = scenes.factors([17])
    assert all(np.array_equal(alone[key][0], factors[key][17], equal_nan=True) for key in factors)
    with pytest.raises(InputError, match="-1"):
        scenes.factors([-1])


def test_unknown_factors_are_an_error() -> None:
    with pytest.raises(InputError, match="folder: what determines"):
        Scenes("folder", None, 64, 64, 5, lambda indices: None).factors([0])


def test_one_background_is_the_sum_of_all_parts() -> None:
    scenes = replace(open_dataset("multi_texture", 0, "test"), backgrounds=3)
    (images, masks), (same, joined) = scenes(range(4)), scenes.with_one_background()(range(4))
    assert torch.equal(images, same) and scenes.with_one_background().segments == joined.shape[1] == 3
    assert torch.equal(joined[:, 1:], masks[:, 3:]) and torch.allclose(joined.sum(1), torch.ones(()))
