import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.data import SPLITS, Scenes, open_dataset
from intarsia.data.folder import _photos
from intarsia.errors import InputError
from intarsia.evaluation import evaluate_run
from intarsia.model import Model
from intarsia.recipes import RECIPES
from intarsia.recipes.settings import Inpainter, Segmenter

COUNT = 40


def picture(number: int, height: int = 30, width: int = 50) -> Image.Image:
    """A picture whose grey is its number, with a white square in the upper left."""
    pixels = np.full((height, width, 3), 3 * number, np.uint8)
    pixels[5:15, 12:22] = 255
    return Image.fromarray(pixels)


def mask(height: int = 30, width: int = 50, value: int = 1) -> Image.Image:
    labels = np.zeros((height, width), np.uint8)
    labels[5:15, 12:22] = value
    image = Image.fromarray(labels, "P")
    image.putpalette(bytes(range(256)) * 3)  # of fewer colours, PNG would keep fewer bits
    return image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    _photos.cache_clear()
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in range(COUNT):
        kind = ("png", "jpg", "webp", "jpeg")[number % 4]
        below = "more/" if number % 3 else ""
        picture(number).save(folder / f"{below}{number:02}.{kind}")
    return folder


def opened(folder: Path, split: str = "train", size: tuple[int, int] | None = (32, 32)) -> Scenes:
    return open_dataset("folder", 0, split, folder, size)


def numbers(scenes: Scenes, count: int) -> list[int]:
    return [round(float(value) * 255 / 3) for value in scenes(range(count)).images[:, 0, -1, -1]]


def test_every_image_is_in_one_split(photos: Path) -> None:
    sizes = {"test": 10, "val": 10, "train": 20}
    assert [opened(photos, split).size for split in SPLITS] == [None, 10, 10]
    found = [number for split in SPLITS for number in numbers(opened(photos, split), sizes[split])]
    assert sorted(found) == list(range(COUNT))


def test_images_are_scaled_to_cover_and_cut_alike_on_both_sides(photos: Path) -> None:
    """Of 50 x 30 pixels, the middle 30 x 30 are kept: columns 10 to 39."""
    images, masks = opened(photos, size=(30, 30))([0])
    assert images.shape == (1, 3, 30, 30) and masks.shape == (1, 1, 30, 30)
    white = (images[0, 0] > 0.9).nonzero()
    assert white.amin(0).tolist() == [5, 2] and white.amax(0).tolist() == [14, 11]


def test_corrupt_files_are_named_and_skipped(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "half.jpg").write_bytes((photos / "more" / "01.jpg").read_bytes()[:200])
    (photos / "text.png").write_text("no picture")
    assert opened(photos, "test").size == 10
    assert "40 images" in opened(photos).source
    printed = capsys.readouterr().err
    assert printed.count("skipped 2 of 42") == 1 and "half.jpg" in printed and "text.png" in printed


def test_too_few_images_are_an_error(tmp_path: Path) -> None:
    for number in range(29):
        picture(number).save(tmp_path / f"{number}.png")
    with pytest.raises(InputError, match=r"holds 29 images .* at least 30"):
        opened(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        opened(tmp_path / "none")
    with pytest.raises(InputError, match="--data-root PATH"):
        open_dataset("folder")


def test_masks_are_cut_as_the_images_are(photos: Path) -> None:
    (photos / "masks").mkdir()
    for number in range(COUNT):
        mask().save(photos / "masks" / f"{number:02}.png")
    for split in SPLITS:
        scenes = opened(photos, split, (30, 30))
        assert (scenes.segments, scenes.unlabelled) == (2, "")
        images, masks = scenes([3])
        assert torch.equal(masks[0, 1] == 1, images[0].amin(0) > 0.9)


def test_a_split_without_all_masks_has_no_true_segments(photos: Path) -> None:
    (photos / "masks").mkdir()
    for number in range(1, COUNT):
        mask().save(photos / "masks" / f"{number:02}.png")
    scenes = {split: opened(photos, split) for split in SPLITS}
    assert sorted(each.segments for each in scenes.values()) == [1, 2, 2]
    (lacking,) = (each for each in scenes.values() if each.unlabelled)
    assert "lacks 1 of" in lacking.unlabelled and "00.png" in lacking.unlabelled
    assert (lacking([0]).masks == 1).all()


@pytest.mark.parametrize(
    ("odd", "complaint"),
    [
        (lambda: mask(20, 50), "it is P of 50x20, not P or L of 50x30"),
        (lambda: mask().convert("RGB"), "it is RGB of 50x30"),
        (lambda: mask(value=64), "holds the value 64; segments are numbered from 0 to at most 63"),
    ],
)
def test_odd_masks_are_errors(odd: Callable[[], Image.Image], complaint: str, photos: Path) -> None:
    (photos / "masks").mkdir()
    for number in range(COUNT):
        odd().save(photos / "masks" / f"{number:02}.png")
    with pytest.raises(InputError, match=complaint):
        opened(photos)


def test_evaluation_needs_masks(photos: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(
        RECIPES["folder"]["compact"],
        data_root=str(photos),
        inpainter=Inpainter(channels=2),
        segmenter=Segmenter(channels=8, dimension=4),
    )
    Model(recipe).save(tmp_path / "model")
    with pytest.raises(InputError, match=r"needs the true segments: .*masks lacks 10 of 10.*predict"):
        evaluate_run(tmp_path / "model", tmp_path / "model")
    (photos / "masks").mkdir()
    for number in range(COUNT):
        mask().save(photos / "masks" / f"{number:02}.png")
    scores = evaluate_run(tmp_path / "model", tmp_path / "model")
    assert (scores.dataset, scores.source, scores.test_images) == ("folder", "photos, 40 images", 10)
