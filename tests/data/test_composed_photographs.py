"""Composed photographs: what their scenes are, and the pictures that they are made of."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.data import composed_photographs, free_pictures, open_dataset
from intarsia.data.arrays import write
from intarsia.data.composed_photographs import (
    COVERED,
    EASY,
    EASY_SIZES,
    FULL,
    MOST,
    SHAPES,
    SIDE,
    SIZES,
    Parameters,
    Pictures,
    draw_parameters,
    render,
)
from intarsia.data.free_pictures import FREE, _codes, _in_one_piece, _shapes, _uses
from intarsia.data.random import scene_keys
from intarsia.errors import InputError
from tests.archives import debian_package, npm_package


def drawn(hardness: float) -> Parameters:
    return draw_parameters(scene_keys(0, "train", range(2000)), np.full(2000, hardness), 30, 10, 4)


DRAWN = drawn(1)
WINDOW = 192


def squares(side: int = SIDE) -> Pictures:
    """One grey photograph in three views, a red square whose right half is blue as a cut-out, and the square as a shape."""
    photographs = np.full((3, WINDOW, 256, 3), 100, np.uint8)
    alpha = np.zeros((2, WINDOW, 256), np.uint8)
    images = np.full((2, WINDOW, 256, 3), (200, 0, 0), np.uint8)
    images[:, :, 128:] = 0, 0, 200
    top, left = (WINDOW - side) // 2, (256 - side) // 2
    alpha[:, top : top + side, left : left + side] = 255
    return Pictures(photographs, composed_photographs._levels(images, alpha), 1)


def one_thing(**values: object) -> Parameters:
    """A scene with a thing in the middle, half the image's height long; given values replace the usual ones."""
    usual: dict[str, object] = {
        "present": [[True]], "photograph": [[0, 2]], "flipped": [[[1, 1], [1, 1]]], "thing": [[0]], "size": [[0.5]],
        "angle": [[0.0]], "mirrored": [[1]], "centre": [[[0.5, 2 / 3]]], "share": [[0.0]], "tint": [[[1.0, 1.0, 1.0]]],
        "gain": [[1.0, 1.0]], "saturation": [[1.0, 1.0]],
    }  # fmt: skip
    return Parameters(**{name: np.array(value) for name, value in (usual | values).items()})


@pytest.mark.parametrize("size", [0.1, 0.2, 0.45, 0.9])
def test_a_thing_has_its_size_and_place_at_every_level_of_detail(size: float) -> None:
    _, masks = render(squares(), one_thing(size=[[size]]))
    thing = masks[0, 1]
    assert thing.sum().item() == pytest.approx((size * WINDOW) ** 2, rel=0.03)
    rows, columns = (thing.sum(axis) @ (torch.arange(length) + 0.5) / thing.sum() for axis, length in ((1, WINDOW), (0, 256)))
    assert (rows.item(), columns.item()) == pytest.approx((96, 128), abs=0.1)
    assert (thing > 0.5).any(1).sum().item() == pytest.approx(size * WINDOW, abs=1)


def test_things_turn_clockwise_and_are_mirrored() -> None:
    def reddest(**values: object) -> tuple[float, float]:
        """From the thing's centre to that of its red half, in px: down and right."""
        images, masks = render(squares(), one_thing(**values))
        red = masks[0, 1] * (images[0, 0] > images[0, 2])
        rows, columns = torch.nonzero(red > 0.5, as_tuple=True)
        return rows.double().mean().item() - 95.5, columns.double().mean().item() - 127.5

    assert reddest() == pytest.approx((0, -24), abs=1)
    assert reddest(mirrored=[[-1]]) == pytest.approx((0, 24), abs=1)
    assert reddest(angle=[[np.pi / 4]]) == pytest.approx((-17, -17), abs=1)


def test_colours_are_the_things_own_a_photographs_or_mixed() -> None:
    def middle(**values: object) -> list[float]:
        """The colour left of the centre, of 255."""
        return [round(255 * value) for value in render(squares(), one_thing(**values)).images[0, :, 96, 110].tolist()]

    assert middle() == [200, 0, 0]
    assert middle(share=[[1.0]]) == [100, 100, 100]
    assert middle(share=[[0.5]], tint=[[[1.0, 0.5, 2.0]]]) == [150, 25, 100]
    assert middle(saturation=[[1.0, 0.0]]) == [67, 67, 67]
    assert middle(gain=[[1.0, 0.5]]) == [100, 0, 0]
    assert middle(present=[[False]]) == [100, 100, 100]


def test_the_border_of_a_thing_mixes_only_it_and_what_is_behind() -> None:
    images, masks = render(squares(), one_thing(angle=[[0.3]], centre=[[[0.5, 0.5]]], size=[[0.9]]))
    background, red, blue = (
        torch.tensor(colour)[:, None, None] / 255 for colour in ((100, 100, 100), (200, 0, 0), (0, 0, 200))
    )
    own = images[0] - masks[0, 0] * background
    share = masks[0, 1].clamp(min=1e-6)
    halves = torch.minimum((own / share - red).abs().amax(0), (own / share - blue).abs().amax(0))
    rim = (masks[0, 1] > 0.05) & (masks[0, 1] < 0.95)
    assert rim.sum() > 300 and (halves[rim] < 0.03).float().mean() > 0.98  # all but where the halves meet


def test_sizes_numbers_and_places_are_varied() -> None:
    size = DRAWN.size[DRAWN.present]
    quarters = np.histogram(np.log(DRAWN.size), np.log(np.geomspace(*SIZES, 5)))[0] / DRAWN.size.size
    np.testing.assert_allclose(quarters, 0.25, atol=0.02)
    assert size.min() < 0.11 and size.max() > 0.88
    numbers = np.bincount(DRAWN.present.sum(1), minlength=MOST + 1)
    assert len(numbers) == MOST + 1 and numbers[0] == 0 and (numbers[1:] > 100).all()
    assert DRAWN.present[:, 0].all()
    assert (DRAWN.thing >= 10).mean() == pytest.approx(SHAPES, abs=0.02)
    assert (DRAWN.photograph[:, 1:] % 3 == 2).all() and set(DRAWN.photograph[:, 0]) == set(range(30))
    assert set(DRAWN.thing.ravel()) == set(range(14))
    assert (DRAWN.share[DRAWN.thing >= 10] == 1).all()
    assert 0.25 < (DRAWN.share[DRAWN.thing < 10] == 0).mean() < 0.35


def test_seven_in_ten_scenes_want_five_things() -> None:
    number = (np.arange(1000)[:, None] + 0.5) / 1000
    places = np.random.default_rng(0).random((1000, MOST, 8, 2))
    _, wanted = composed_photographs._places(places, np.full((1000, MOST), 0.01), number)
    counts = np.bincount(wanted.sum(1), minlength=MOST + 1)
    np.testing.assert_array_equal(counts, [0, 75, 75, 75, 75, round(1000 * FULL)])


def test_the_first_training_scenes_show_middling_cut_outs_in_their_own_colours() -> None:
    easy, half = drawn(0), drawn(0.5)
    assert EASY_SIZES[0] <= easy.size.min() < 0.26 and 0.44 < easy.size.max() <= EASY_SIZES[1]
    assert (easy.thing < 10).all() and (easy.share == 0).all()
    between = [np.sqrt(ends[0] * ends[1]) for ends in zip(EASY_SIZES, SIZES, strict=True)]
    assert (half.size.min(), half.size.max()) == pytest.approx(between, rel=0.01)
    assert (half.thing >= 10).mean() == pytest.approx(SHAPES / 2, abs=0.02)
    assert half.share[half.thing < 10].max() == 0.5


@pytest.mark.parametrize(
    ("split", "index", "hardness"),
    [("train", 0, 0), ("train", EASY // 4, 0.25), ("train", EASY, 1), ("train", 10 * EASY, 1), ("val", 0, 1), ("test", 0, 1)],
)
def test_only_training_scenes_get_harder_up_to_the_tests(
    split: str, index: int, hardness: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    drawing = draw_parameters

    def recording(keys: np.ndarray, hardness: np.ndarray, *counts: int) -> Parameters:
        given.extend(hardness)
        return drawing(keys, hardness, *counts)

    monkeypatch.setattr(composed_photographs, "draw_parameters", recording)
    composed_photographs._draw(squares(), 0, split, np.array([index]))
    assert given == [hardness]


def test_nearer_things_leave_most_of_each_thing_visible() -> None:
    checked = 0
    for scene in range(200):
        boxes = []
        there = DRAWN.present[scene]
        for size, centre in zip(DRAWN.size[scene, there], DRAWN.centre[scene, there], strict=True):
            low, high = centre - size / 2, centre + size / 2
            covered = sum(np.clip(np.minimum(high, end) - np.maximum(low, start), 0, None).prod() for start, end in boxes)
            assert covered <= COVERED * size**2 + 1e-9
            assert (low + 0.3 * size >= -1e-9).all() and (high - 0.3 * size <= np.array([1, 4 / 3]) + 1e-9).all()
            checked += covered > 0
            boxes.append((low, high))
    assert checked > 50


def test_shapes_are_smooth_things_in_one_piece() -> None:
    shapes = _shapes(8)
    assert all(_in_one_piece(shape) for shape in shapes)
    for shape in shapes:
        extent = [np.ptp(np.flatnonzero((shape > 127).any(axis))) + 1 for axis in (0, 1)]
        assert max(extent) == pytest.approx(SIDE, abs=1)
        assert ((shape > 0) & (shape < 255)).sum() > 0.5 * max(extent)
    assert not _in_one_piece(np.where(np.arange(192 * 256).reshape(192, 256) % 256 // 50 % 2, 255, 0).astype(np.uint8))


def test_uses_share_no_group_and_neighbours_stay_together() -> None:
    uses = _uses(100, 2, 3)
    np.testing.assert_array_equal(np.sort(np.concatenate([*uses.values()])), np.arange(300))
    assert {use: len(rows) for use, rows in uses.items()} == {"train": 210, "val": 30, "test": 60}
    groups = {use: {*(rows // 6)} for use, rows in uses.items()}
    assert not groups["train"] & groups["test"] and not groups["train"] & groups["val"] and not groups["val"] & groups["test"]


def test_only_free_licences_are_taken() -> None:
    assert all(FREE.match(name) for name in ("public-domain", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-2.0"))
    assert not any(
        FREE.match(name) for name in ("GPL-3+", "CC-BY-NC-4.0", "CC-BY-ND-3.0", "CC-BY-NC-SA-4.0", "LGPL-3", "GFDL-1.2")
    )


def picture(mode: str) -> bytes:
    pixels = np.random.default_rng(2).integers(0, 256, (60, 90, len(mode)), np.uint8)
    if mode == "RGBA":
        pixels[..., 3] = 0
        pixels[10:50, 20:60, 3] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


COPYRIGHT = """Files: *
Copyright: A
License: GPL-3+

Files: images/* 16.04/*
Copyright: B
License: CC-BY-4.0

Files: images/land/lava3.jpg
Copyright: C
License: GPL-2+
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small package of each name: 24 photographs, and 42 pictures of emoji."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("dpkg-deb is not on this machine")
    monkeypatch.setattr(free_pictures, "FEWEST", 10)
    folder = tmp_path / "packages"
    folder.mkdir()
    photographs = {
        "endless-sky-data": [f"games/endless-sky/images/land/{name}" for name in ("nasa0", *(f"lava{i}" for i in range(20)))],
        "lomiri-wallpapers-16.04": ["backgrounds/life_by_A", "backgrounds/friends_by_A", "backgrounds/sunset_by_B"],
    }
    for name, paths in photographs.items():
        files = {f"usr/share/{path}.jpg": picture("RGB") for path in paths}
        debian_package(folder, name, files | {f"usr/share/doc/{name}/copyright": COPYRIGHT.encode()})
    first = _codes()[:40]
    emoji = {f"assets/{code:x}.webp": picture("RGBA") for code in first}
    npm_package(
        folder, "lobehub-fluent-emoji-3d", emoji | {"assets/1f600.webp": picture("RGBA"), "assets/1f40b.webp": picture("RGB")}
    )
    return folder


def test_packages_become_pictures_with_their_licences(packages: Path, tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    write(folder, free_pictures.material(packages))
    assert json.loads((folder / "dataset.json").read_text())["splits"] == {
        "photograph train": 45, "photograph val": 6, "photograph test": 12,
        "cut-out train": 28, "cut-out val": 4, "cut-out test": 8,
        "shape train": 210, "shape val": 30, "shape test": 60,
    }  # fmt: skip
    listed = (folder / "pictures.txt").read_text().splitlines()
    assert len(listed) == 19 + 2 + 40
    assert "endless-sky-data, images/land/lava7.jpg: CC-BY-4.0, B" in listed
    assert "lomiri-wallpapers-16.04, 16.04/life_by_A.jpg: CC-BY-4.0, B" in listed
    assert "@lobehub/fluent-emoji-3d, watch: MIT, Microsoft" in listed
    assert not [line for line in listed if "lava3" in line or "friends" in line or "nasa" in line or "grinning" in line]
    assert "Copyright (c) Microsoft" in (folder / "fluent-emoji-licence.txt").read_text()
    assert (folder / "endless-sky-data-copyright.txt").read_text() == COPYRIGHT
    for split in "train", "test":
        images, masks = open_dataset("composed_photographs", 0, split, folder, (96, 128))(range(4))
        assert images.shape == (4, 3, 96, 128) and masks.shape == (4, MOST + 1, 96, 128)


def test_what_is_missing_or_damaged_is_named(packages: Path) -> None:
    debian_package(packages, "lomiri-wallpapers-16.04", {})
    with pytest.raises(InputError, match=r"holds no usr/share/doc/lomiri-wallpapers-16\.04/copyright: its pictures may not"):
        free_pictures.material(packages)
    files = {"usr/share/backgrounds/life_by_A.jpg": b"", "usr/share/doc/lomiri-wallpapers-16.04/copyright": COPYRIGHT.encode()}
    debian_package(packages, "lomiri-wallpapers-16.04", files)
    with pytest.raises(InputError, match=r"life_by_A\.jpg in lomiri-wallpapers-16\.04_1\.0_all\.deb can't be read"):
        free_pictures.material(packages)
    with pytest.raises(InputError, match=r"intarsia prepare composed_photographs`, then --data-root FOLDER"):
        open_dataset("composed_photographs")


def test_too_few_pictures_are_refused(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_pictures, "FEWEST", 41)
    with pytest.raises(InputError, match="hold 21 photographs and 40 cut-outs; too few"):
        free_pictures.material(packages)
