"""Pictures of animals converted to folders of arrays, and composed to scenes."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.data import debian_animals, open_dataset, published_animals
from intarsia.data.arrays import write
from intarsia.data.cutting import centred_cut_out
from intarsia.errors import InputError
from tests.archives import debian_package

ANIMALS = sorted((Path(__file__).parent / "animals").glob("*.png"))
LEVELS = (40, 90, 140, 190)  # of the plain backgrounds


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def published(path: Path, **others: bytes | None) -> Path:
    """A zip file as the original's, with 8 animals, 4 backgrounds and a blank picture of each; given files replace these."""
    blank = np.zeros((192, 256, 3), np.uint8)
    files = {"foregrounds/0.png": png(blank), "masks/0.png": png(blank[..., 0]), "backgrounds/0.png": png(blank)}
    for number, animal in enumerate(ANIMALS, 1):
        picture, mask = blank.copy(), blank[..., 0].copy()
        pixels = np.asarray(Image.open(animal))
        picture[64:128, 96:160], mask[64:128, 96:160] = pixels[..., :3], np.where(pixels[..., 3] > 127, 255, 0)
        files |= {f"foregrounds/{number}.png": png(picture), f"masks/{number}.png": png(mask)}
    files |= {f"backgrounds/{number}.png": png(blank + np.uint8(level)) for number, level in enumerate(LEVELS, 1)}
    files |= {name.replace("__", "/").replace("_png", ".png"): content for name, content in others.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(f"data/{name}", content)
    return path


def test_training_shows_all_pictures_and_tests_what_is_left(tmp_path: Path) -> None:
    removed = {"backgrounds": [1, 3], "foregrounds": [2, 3, 4, 5, 6, 7, 8]}
    zipped = published(tmp_path / "data.zip")
    with zipfile.ZipFile(zipped, "a") as archive:
        archive.writestr("data/removed_from_test.json", json.dumps(removed))
    material = published_animals.material(zipped)
    assert (material.count, material.contents.source) == (12, "data.zip less what is removed from tests")
    write(tmp_path / "arrays", material)
    train, test = (open_dataset("flying_animals", 0, split, tmp_path / "arrays") for split in ("train", "test"))
    factors = {name: scenes.factors(range(200)) for name, scenes in (("train", train), ("test", test))}
    hues = {name: {*np.round(found["hue_sin"][~np.isnan(found["hue_sin"])], 9)} for name, found in factors.items()}
    assert len(hues["train"]) == 8 and len(hues["test"]) == 1 and hues["test"] < hues["train"]

    def shown(split: str) -> set[int]:
        scenes = open_dataset("flying_animals", 0, split, tmp_path / "arrays", (96, 128))
        images, masks = scenes(range(60))
        clean = (images * (masks[:, :1] > 0.999)).sum((1, 2, 3)) / (masks[:, 0] > 0.999).sum((1, 2)) / 3
        return {round(float(level) * 255) for level in clean}

    extent = {split: max(shown(split)) - min(shown(split)) for split in ("train", "test")}
    assert extent["train"] > 190 - 40 and extent["test"] < extent["train"]


def test_scenes_come_in_the_pictures_size_or_a_fraction_of_it(tmp_path: Path) -> None:
    write(tmp_path / "arrays", published_animals.material(published(tmp_path / "data.zip")))
    for size in (192, 256), (96, 128), (48, 64):
        scenes = open_dataset("flying_animals", 0, "train", tmp_path / "arrays", size)
        assert (scenes.height, scenes.width) == size and scenes([0]).images.shape == (1, 3, *size)
    for size in (100, 128), (96, 96), (384, 512):
        with pytest.raises(InputError, match=rf"192 x 256 pixels or a whole fraction of it, not {size[0]} x {size[1]}"):
            open_dataset("flying_animals", 0, "train", tmp_path / "arrays", size)


def test_an_unfinished_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "arrays", published_animals.material(published(tmp_path / "data.zip")), limit=7)
    with pytest.raises(InputError, match="holds 7 pictures of 12: prepare it again, without --limit"):
        open_dataset("flying_animals", data_root=tmp_path / "arrays")


BLANK = png(np.zeros((192, 256), np.uint8))
BAD = {
    "should hold a mask for every foreground.*3": {"masks__3_png": None},
    "masks with no animal: .5.": {"masks__5_png": BLANK},
    r"8\.png can't be read": {"foregrounds__8_png": b"no picture"},
    "is 256x100; 256x192": {"backgrounds__2_png": png(np.zeros((100, 256), np.uint8))},
    "should hold .*backgrounds": {"removed_from_test.json": b"[1]"},
    "leaves no backgrounds": {"removed_from_test.json": b'{"backgrounds": [1, 2, 3, 4]}'},
}


@pytest.mark.parametrize("complaint", BAD)
def test_odd_pictures_are_refused_by_name(complaint: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=complaint):
        published_animals.material(published(tmp_path / "data.zip", **BAD[complaint]))


def test_what_holds_no_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name the zip file, or its folder, with --from FILE"):
        published_animals.material(None)
    with pytest.raises(InputError, match="holds no folders foregrounds, masks, backgrounds"):
        published_animals.material(tmp_path)
    (tmp_path / "x.zip").write_text("x")
    with pytest.raises(InputError, match=r"x\.zip is neither a folder nor a zip file"):
        published_animals.material(tmp_path / "x.zip")
    with pytest.raises(InputError, match=r"intarsia prepare flying_animals`, then --data-root FOLDER"):
        open_dataset("flying_animals")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small package of each name: 8 animals, a drawing, and 9 photographs."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("dpkg-deb is not on this machine")
    monkeypatch.setattr(debian_animals, "FEWEST", 8)
    photographs = {
        "tuxpaint-data": ["tuxpaint/templates/cliff.jpg", "tuxpaint/templates/rocks.jpg", "tuxpaint/templates/jellyfish.jpg"],
        "lomiri-wallpapers-16.04": ["backgrounds/life_by_A.jpg", "backgrounds/sunset_by_A.jpg"],
        "mate-backgrounds": ["backgrounds/mate/nature/Dune.jpg", "backgrounds/mate/nature/Wood.jpg"],
        "plasma-workspace-wallpapers": ["wallpapers/Path/contents/images/2560x1600.jpg"],
    }
    noise = np.random.default_rng(1).integers(0, 256, (300, 500, 3), np.uint8)
    folder = tmp_path / "packages"
    folder.mkdir()
    for name, paths in photographs.items():
        files = {f"usr/share/{path}": png(noise) for path in paths}
        debian_package(folder, name, files | {f"usr/share/doc/{name}/copyright": f"{name}: free".encode()})
    stamps = {f"usr/share/tuxpaint/stamps/animals/{path.name}": path.read_bytes() for path in ANIMALS}
    stamps["usr/share/tuxpaint/stamps/animals/birds/cartoon/duck.png"] = ANIMALS[0].read_bytes()
    debian_package(folder, debian_animals.ANIMALS, stamps | {f"usr/share/doc/{debian_animals.ANIMALS}/copyright": b"GPL"})
    return folder


def test_debians_packages_become_cut_outs_crops_and_licences(packages: Path, tmp_path: Path) -> None:
    material = debian_animals.material(packages)
    assert material.contents.splits == {
        "background train": 24, "background both": 0, "background test": 4,
        "animal train": 7, "animal both": 0, "animal test": 1,
    }  # fmt: skip
    write(tmp_path / "arrays", material)
    assert (tmp_path / "arrays" / "tuxpaint-stamps-default-copyright.txt").read_text() == "GPL"
    assert len(list((tmp_path / "arrays").glob("*-copyright.txt"))) == 5
    masks = np.load(tmp_path / "arrays" / "masks.npy")
    assert masks[:28].max() == 0
    areas = masks[28:].sum(axis=(1, 2), dtype=int)
    assert ((areas > 0.9 * debian_animals.AREA) & (areas < 1.1 * debian_animals.AREA)).all()
    for split in ("train", "test"):
        images, found = open_dataset("flying_animals_debian", 0, split, tmp_path / "arrays", (96, 128))(range(20))
        assert images.shape == (20, 3, 96, 128)
        torch.testing.assert_close(found.sum(1), torch.ones(20, 96, 128), rtol=0, atol=1e-5)


def test_an_animals_rim_keeps_its_colour() -> None:
    red = np.zeros((80, 60, 4), np.uint8)
    red[20:60, 10:50] = 200, 10, 20, 255
    red[20:60, 10:50][::2, ::2, 3] = 250  # not quite opaque here and there
    picture, alpha = centred_cut_out(png(red), (192, 256), 100, 2200) or (None, None)
    assert picture is not None and alpha is not None
    assert np.abs(picture.astype(int) - (200, 10, 20)).max() <= 2  # all over: the colours go on around the animal
    rows, columns = np.nonzero(alpha > 127)
    assert (rows.min() + rows.max() + 1, columns.min() + columns.max() + 1) == pytest.approx((192, 256), abs=1)


def test_what_has_no_transparent_pixels_is_no_cut_out() -> None:
    assert centred_cut_out(png(np.full((50, 50, 4), 255, np.uint8)), (192, 256), 100) is None


def test_missing_packages_licences_and_programs_are_named(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (packages / "mate-backgrounds_1.0_all.deb").unlink()
    with pytest.raises(InputError, match=r"no mate-backgrounds_\*\.deb.*apt-get download"):
        debian_animals.material(packages)
    debian_package(packages, "mate-backgrounds", {"usr/share/backgrounds/mate/nature/Dune.jpg": b""})
    with pytest.raises(InputError, match=r"Dune\.jpg in mate-backgrounds_1\.0_all\.deb can't be read"):
        debian_animals.material(packages)
    debian_package(packages, "mate-backgrounds", {})
    with pytest.raises(InputError, match="holds no usr/share/doc/mate-backgrounds/copyright"):
        debian_animals.material(packages)
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(InputError, match="needs dpkg-deb, which is not on this machine"):
        debian_animals.material(packages)
