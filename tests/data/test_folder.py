import dataclasses
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from intarsia.data import SPLITS, Scenes, open_dataset, scenes_of
from intarsia.data.folder import _labels, _photos
from intarsia.data.folder_files import find_photographs
from intarsia.errors import InputError
from intarsia.evaluation import evaluate_run
from intarsia.formats.image_file import ENDINGS
from intarsia.model import Model
from intarsia.recipes import RECIPES
from intarsia.recipes.settings import Inpainter, Segmenter

COUNT = 40
KINDS = ("png", "jpg", "webp", "jpeg")
SIZES = {"test": 10, "val": 10, "train": 20}


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


def pictures(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.*") if path.suffix[1:] in KINDS and "masks" not in path.parts]


def add_masks(folder: Path, make: Callable[[], Image.Image] = mask) -> None:
    """A mask for every picture in a folder of `photos`."""
    for path in pictures(folder):
        target = folder / "masks" / path.relative_to(folder).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        make().save(target)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    _photos.cache_clear()
    _labels.cache_clear()
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in range(COUNT):
        kind = KINDS[number % 4]
        below = "more/" if number % 3 else ""
        picture(number).save(folder / f"{below}{number:02}.{kind}")
    return folder


def opened(folder: Path, split: str = "train", size: tuple[int, int] | None = (32, 32)) -> Scenes:
    return open_dataset("folder", 0, split, folder, size)


def numbers(scenes: Scenes, count: int) -> list[int]:
    return [round(float(value) * 255 / 3) for value in scenes(range(count)).images[:, 0, -1, -1]]


def test_every_image_is_in_one_split(photos: Path) -> None:
    assert [opened(photos, split).size for split in SPLITS] == [None, 10, 10]
    found = [number for split in SPLITS for number in numbers(opened(photos, split), SIZES[split])]
    assert sorted(found) == list(range(COUNT))


def test_images_are_scaled_to_cover_and_cut_alike_on_both_sides(photos: Path) -> None:
    """Of 50 x 30 pixels, the middle 30 x 30 are kept: columns 10 to 39."""
    images, masks = opened(photos, size=(30, 30))([0])
    assert images.shape == (1, 3, 30, 30) and masks.shape == (1, 1, 30, 30)
    white = (images[0, 0] > 0.9).nonzero()
    assert white.amin(0).tolist() == [5, 2] and white.amax(0).tolist() == [14, 11]


def test_too_few_images_are_an_error(tmp_path: Path) -> None:
    for number in range(29):
        picture(number).save(tmp_path / f"{number}.png")
    with pytest.raises(InputError, match=r"holds 29 different images .* at least 30"):
        opened(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        opened(tmp_path / "none")
    with pytest.raises(InputError, match="--data-root PATH"):
        open_dataset("folder")


def test_masks_are_cut_as_the_images_are(photos: Path) -> None:
    add_masks(photos)
    for split in SPLITS:
        scenes = opened(photos, split, (30, 30))
        assert (scenes.segments, scenes.unlabelled) == (2, "")
        images, masks = scenes([3])
        assert torch.equal(masks[0, 1] == 1, images[0].amin(0) > 0.9)


def test_masks_of_turned_photographs_have_their_turned_size(photos: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    for path in pictures(photos):
        with Image.open(path) as image:
            image.load()
        image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    add_masks(photos)
    images, masks = opened(photos, "test", (30, 30))([3])
    assert torch.equal(masks[0, 1] == 1, images[0].amin(0) > 0.9)


def test_a_split_without_all_masks_has_no_true_segments(photos: Path) -> None:
    add_masks(photos)
    (photos / "masks" / "00.png").unlink()
    scenes = {split: opened(photos, split) for split in SPLITS}
    assert sorted(each.segments for each in scenes.values()) == [1, 2, 2]
    (lacking,) = (each for each in scenes.values() if each.unlabelled)
    assert "lacks 1 of" in lacking.unlabelled and "missing of 00.png" in lacking.unlabelled
    assert (lacking([0]).masks == 1).all()


# Which files are used.


def test_masks_are_matched_by_path(photos: Path) -> None:
    """One name in two folders, and two pictures of one name in one folder: each has its own mask."""
    places = ("a/one.png", "b/one.png", "b/two.png", "b/two.bmp")
    add_masks(photos)
    for number, place in enumerate(places):
        (photos / place).parent.mkdir(exist_ok=True)
        picture(number + 50).save(photos / place)
        name = place if "two" in place else place.removesuffix(".png")
        target = photos / "masks" / f"{name}.png"
        target.parent.mkdir(exist_ok=True)
        labels = np.zeros((30, 50), np.uint8)
        labels[:, : 10 + 5 * number] = 1
        Image.fromarray(labels).save(target)
    found = {}
    for split, count in {"test": 10, "val": 10, "train": 24}.items():
        images, masks = opened(photos, split, (30, 50))(range(count))
        found |= dict(zip((images[:, 0, -1, -1] * 255 / 3).round().int().tolist(), masks[:, 1, 0].sum(1).tolist(), strict=True))
    assert [found[number + 50] for number in range(4)] == [10, 15, 20, 25]


def test_masks_that_could_belong_to_two_pictures_are_errors(photos: Path) -> None:
    (photos / "masks").mkdir()
    picture(60).save(photos / "one.png")
    picture(61).save(photos / "one.bmp")
    mask().save(photos / "masks" / "one.png")
    with pytest.raises(InputError, match=r"masks/one\.png could be the mask of one\.(png and one\.bmp|bmp and one\.png)"):
        opened(photos)
    (photos / "one.bmp").unlink()
    mask().save(photos / "masks" / "one.png.png")
    with pytest.raises(InputError, match=r"one\.png and .*one\.png\.png could both be the mask of .*photos/one\.png"):
        opened(photos)


def test_masks_and_hidden_files_are_no_photographs(photos: Path) -> None:
    for place in ("masks", "more/masks/deeper", "more/Masks", ".hidden", "more/.ipynb_checkpoints"):
        (photos / place).mkdir(parents=True)
        picture(70).save(photos / place / "x.png")
    picture(71).save(photos / ".hidden.png")
    assert "40 images" in opened(photos).source


def test_linked_folders_are_followed_once(photos: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    picture(72).save(elsewhere / "x.png")
    (photos / "masks").mkdir()
    mask().save(photos / "masks" / "y.png")
    for place, target in {"linked": elsewhere, "again": elsewhere, "more/loop": photos, "labels": photos / "masks"}.items():
        (photos / place).symlink_to(target)
    (photos / "broken.png").symlink_to(tmp_path / "gone.png")
    paths, left_out = find_photographs(photos)
    assert len(paths) == COUNT + 1 and len({path.resolve() for path in paths}) == COUNT + 1
    assert left_out == {"are no files": ["broken.png"]}


def test_all_endings_are_used(photos: Path) -> None:
    for number, ending in enumerate(sorted(ENDINGS)):
        kind = "jpeg" if ending == ".jfif" else None
        picture(50 + number).save(photos / f"x{number}{ending.upper()}", kind)
    assert f"{COUNT + len(ENDINGS)} images" in opened(photos).source


def test_what_is_left_out_is_counted_by_reason(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(25):
        (photos / f"note{number:02}.txt").write_text("a note")
    (photos / "text.png").write_text("no picture")
    (photos / "half.jpg").write_bytes((photos / "more" / "01.jpg").read_bytes()[:200])
    (photos / "wide.tif").mkdir()
    assert opened(photos, "test").size == 10 and "40 images" in opened(photos).source
    printed = capsys.readouterr().err
    assert printed.count("40 of 67 files are used") == 1
    assert "25 have another ending (note00.txt, note01.txt, note02.txt, note03.txt, note04.txt, ...)" in printed
    assert "2 can't be used (" in printed and "half.jpg: " in printed and "text.png: can't be read" in printed


@settings(max_examples=8, deadline=None)
@given(copies=st.lists(st.tuples(st.integers(0, COUNT - 1), st.sampled_from(["png", "bmp", "tif"])), max_size=30))
def test_copies_never_stand_in_two_splits(copies: list[tuple[int, str]]) -> None:
    """Whatever their names, and also if other files have the same pixels."""
    _photos.cache_clear()
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(COUNT):
            picture(number).save(folder / f"{number}.png")
        for place, (number, kind) in enumerate(copies):
            picture(number).save(folder / f"copy{place}.{kind}")
        scenes = {split: opened(folder, split) for split in SPLITS}
        found = [number for split, count in SIZES.items() for number in numbers(scenes[split], count)]
    assert sorted(found) == list(range(COUNT))


def test_of_copies_the_one_with_a_mask_is_used(photos: Path) -> None:
    add_masks(photos)
    for path in pictures(photos):
        (path.parent / f"copy of {path.name}").write_bytes(path.read_bytes())
    assert [opened(photos, split).unlabelled for split in SPLITS] == ["", "", ""]


# What the values of masks mean.

NUMBERS = np.zeros((30, 50), np.uint8)
NUMBERS[5:15, 12:22], NUMBERS[20:25] = 1, 2
COLOURS = np.array([(0, 0, 0), (255, 255, 255), (200, 30, 40), (1, 2, 3)], np.uint8)
NOT_KNOWN = np.where(NUMBERS == 2, 255, NUMBERS)
READ: dict[str, tuple[Image.Image, int | None]] = {
    "numbers": (Image.fromarray(NUMBERS), None),
    "numbers with gaps": (Image.fromarray(NUMBERS * 40), None),
    "palette": (Image.fromarray(NUMBERS, "P"), None),
    "16 bits": (Image.fromarray(NUMBERS.astype(np.uint16) * 26001), None),
    "colours": (Image.fromarray(COLOURS[NUMBERS]), None),
    "colours with alpha": (Image.fromarray(COLOURS[NUMBERS]).convert("RGBA"), None),
    "grey colours": (Image.fromarray(NUMBERS).convert("RGB"), None),
    "0 and 255": (Image.fromarray(np.where(NUMBERS == 1, 255, 0).astype(np.uint8)), None),
    "colours of 0 and 255": (Image.fromarray(np.where(NUMBERS == 1, 255, 0).astype(np.uint8)).convert("RGB"), None),
    "1 bit": (Image.fromarray(np.where(NUMBERS == 1, 255, 0).astype(np.uint8)).convert("1"), None),
    "void": (Image.fromarray(NOT_KNOWN), 255),
    "void of a palette": (Image.fromarray(NOT_KNOWN, "P"), 255),
    "void of 16 bits": (Image.fromarray(NOT_KNOWN.astype(np.uint16) * 257), 65535),
    "void in colours": (Image.fromarray(COLOURS[[0, 2, 1]][NUMBERS]), 255),
    "void that does not occur": (Image.fromarray(NUMBERS), 255),
}


@pytest.mark.parametrize("name", READ)
def test_masks_are_read(name: str, photos: Path) -> None:
    image, void = READ[name]
    image.putpalette(bytes(range(256)) * 3) if image.mode == "P" else None
    add_masks(photos, lambda: image)
    scenes = open_dataset("folder", 0, "test", photos, (30, 50), void)
    masks = scenes([0, 4]).masks
    expected = np.where(NUMBERS == 2, 0, NUMBERS) if "0 and 255" in name or name == "1 bit" else NUMBERS
    is_void = void is not None and "not occur" not in name
    assert scenes.segments == (2 if is_void else expected.max() + 1)
    known = (expected != 2) | (not is_void)
    for mask in masks:
        assert np.array_equal(mask.sum(0), known)
        assert np.array_equal(mask.argmax(0).numpy()[known], expected[known])


def grey(*values: int) -> Image.Image:
    """A mask of stripes with these values."""
    return Image.fromarray(np.resize(np.repeat(np.array(values, np.uint8), 5), (30, 50)))


REFUSED: dict[str, tuple[Image.Image, int | None]] = {
    r"has 50x20 pixels; a mask has those of its picture, 50x30 of .*\.(png|jpg|webp|jpeg)": (mask(20, 50), None),
    r"hold no 0, which is the background, but 1, 2; the background must be 0 or black": (grey(1, 2), None),
    r"hold no 0, which is the background, but #c81e28, #c81e29": (
        Image.fromarray(np.array([(200, 30, 40), (200, 30, 41)], np.uint8)[NUMBERS % 2]),
        None,
    ),
    r"hold no 0, which is the background apart from void pixels, but 1, 2": (grey(0, 1, 2), 0),
    r"hold 255 beside other numbers, 0, 1, 255; .* say --void 255, and if it is a segment": (grey(0, 1, 255), None),
    r"holds 256 different values; at most 64 segments": (
        Image.fromarray(np.resize(np.arange(256, dtype=np.uint8), (30, 50))),
        None,
    ),
    r"holds 65 different values": (grey(*range(65)), None),
    r"holds more than 65 different values": (Image.effect_noise((50, 30), 90).convert("RGB").rotate(3), None),
    r"tells no segment: all its pixels are 7, which is void": (grey(7), 7),
    r"has transparent pixels": (Image.new("RGBA", (50, 30), (0, 0, 0, 7)), None),
}


@pytest.mark.parametrize("complaint", REFUSED)
def test_masks_that_can_be_misread_are_errors(complaint: str, photos: Path) -> None:
    image, void = REFUSED[complaint]
    add_masks(photos, lambda: image)
    with pytest.raises(InputError, match=complaint):
        open_dataset("folder", 0, "test", photos, (30, 50), void)


def test_only_own_images_have_void_pixels() -> None:
    with pytest.raises(InputError, match=r"void pixels is 255, .* not those of multi_texture"):
        open_dataset("multi_texture", void=255)


def test_255_is_an_object_only_if_all_masks_say_so(photos: Path) -> None:
    """A mask of 0 and 255 beside one of 0, 1 and 255: in both, 255 may be void."""
    add_masks(photos, lambda: grey(0, 255))
    assert opened(photos, "test").segments == 2
    _photos.cache_clear()
    _labels.cache_clear()
    grey(0, 1, 255).save(next((photos / "masks" / "more").iterdir()))
    for split in SPLITS:
        with pytest.raises(InputError, match="255 beside other numbers"):
            opened(photos, split)


def test_evaluation_needs_masks(photos: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(
        RECIPES["folder"]["pixels"],
        data_root=str(photos),
        inpainter=Inpainter(channels=2),
        segmenter=Segmenter(channels=8, dimension=4),
    )
    Model(recipe).save(tmp_path / "model")
    out = tmp_path / "model"
    with pytest.raises(InputError, match=r"needs the true segments: .*masks lacks 10 of 10.*predict"):
        evaluate_run(out, out)
    _photos.cache_clear()
    add_masks(photos, lambda: grey(0, 1, 255))
    with pytest.raises(InputError, match="say --void 255"):
        evaluate_run(out, out)
    scores = evaluate_run(out, out, void=255)
    assert (scores.dataset, scores.source, scores.test_images) == ("folder", "photos, 40 images", 10)
    assert scenes_of(dataclasses.replace(recipe, void=255), "test").segments == 2
