import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.errors import InputError
from intarsia.model import Model
from intarsia.predict import predict, read_picture
from intarsia.recipes import RECIPES, Inpainter, Segmenter

TINY = dataclasses.replace(
    RECIPES["multi_texture"]["compact"], inpainter=Inpainter(2), segmenter=Segmenter(channels=8, dimension=4)
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    Model(TINY).save(folder)
    return folder


def image(path: Path, size: tuple[int, int] = (64, 64)) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def centre(picture: torch.Tensor) -> list[float]:
    return [round(float(value), 3) for value in picture[:, 32, 32]]


def test_files_hold_what_they_say(run: Path, tmp_path: Path) -> None:
    given = image(tmp_path / "photo.png")
    notices, files = predict(run, [given], tmp_path / "out" / "deeper")
    assert notices == []
    assert {path.name for path in files} == {"photo-overlay.png", "photo.npz", *(f"photo-segment-{k}.png" for k in range(5))}
    assert {path.name for path in files[0].parent.iterdir()} == {path.name for path in files}

    pixels = np.asarray(Image.open(given))
    with np.load(tmp_path / "out" / "deeper" / "photo.npz") as arrays:
        kept, masks = arrays["image"], arrays["masks"]
    assert kept.dtype == masks.dtype == np.float32
    np.testing.assert_allclose(kept.transpose(1, 2, 0) * 255, pixels, atol=1e-3)
    np.testing.assert_allclose(masks.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(masks, Model.load(run).segment(torch.from_numpy(kept)[None])[0].numpy())
    for k in range(5):
        with Image.open(tmp_path / "out" / "deeper" / f"photo-segment-{k}.png") as cut:
            assert (cut.mode, cut.size) == ("RGBA", (64, 64))
            assert (np.asarray(cut)[..., :3] == pixels).all()
            np.testing.assert_allclose(np.asarray(cut)[..., 3], masks[k] * 255, atol=0.51)
    with Image.open(tmp_path / "out" / "deeper" / "photo-overlay.png") as shown:
        assert (shown.mode, shown.size) == ("RGB", (256, 256))


KINDS = {
    "red.png": (Image.new("RGB", (64, 64), (255, 0, 0)), [1, 0, 0]),
    "grey.png": (Image.new("L", (64, 64), 51), [0.2, 0.2, 0.2]),
    "deep_grey.png": (Image.fromarray(np.full((64, 64), 51 * 257, np.uint16)), [0.2, 0.2, 0.2]),
    "black_white.png": (Image.new("1", (64, 64), 1), [1, 1, 1]),
    "palette.png": (Image.new("RGB", (64, 64), (0, 0, 255)).convert("P", palette=Image.Palette.ADAPTIVE), [0, 0, 1]),
    "clear.png": (Image.new("RGBA", (64, 64), (255, 0, 0, 0)), [1, 1, 1]),
    "half.png": (Image.new("RGBA", (64, 64), (0, 0, 0, 51)), [0.8, 0.8, 0.8]),
    "grey_half.png": (Image.new("LA", (64, 64), (0, 51)), [0.8, 0.8, 0.8]),
    "grey.jpg": (Image.new("L", (64, 64), 51), [0.2, 0.2, 0.2]),
    "print.jpeg": (Image.new("CMYK", (64, 64), (0, 0, 0, 204)), [0.2, 0.2, 0.2]),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_files(name: str, tmp_path: Path) -> None:
    content, colour = KINDS[name]
    content.save(tmp_path / name)
    picture = read_picture(tmp_path / name, TINY)
    assert (picture.pixels.shape, picture.pixels.dtype) == ((3, 64, 64), torch.float32)
    assert centre(picture.pixels) == pytest.approx(colour, abs=0.005)
    transparent = any(part in name for part in ("clear", "half"))
    assert picture.notices == ([f"{tmp_path / name}: its transparent parts are shown on white."] if transparent else [])


def test_transparent_palette_is_shown_on_white(tmp_path: Path) -> None:
    Image.new("P", (64, 64), 0).save(tmp_path / "a.png", transparency=0)
    assert centre(read_picture(tmp_path / "a.png", TINY).pixels) == [1, 1, 1]


def test_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    picture = read_picture(tmp_path / "a.jpg", TINY).pixels
    assert picture[:, :30].max() < 0.1
    assert picture[:, 34:].min() > 0.9


@pytest.mark.parametrize(
    ("size", "notice"),
    [
        ((128, 128), "resized from 128x128 to 64x64 pixels, the size the model takes."),
        ((100, 50), "resized from 100x50 to 64x64 pixels, the size the model takes, which changes its proportions."),
        ((1, 1), "resized from 1x1 to 64x64 pixels, the size the model takes."),
    ],
)
def test_other_sizes_are_resized_with_a_notice(size: tuple[int, int], notice: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", size, (255, 0, 0)).save(path)
    picture = read_picture(path, TINY)
    assert picture.notices == [f"{path}: {notice}"]
    assert picture.pixels.shape == (3, 64, 64)
    assert centre(picture.pixels) == [1, 0, 0]


def test_shrinking_averages(tmp_path: Path) -> None:
    chequers = np.indices((256, 256)).sum(0) % 2 * 255
    Image.fromarray(chequers.astype(np.uint8)).save(tmp_path / "a.png")
    assert centre(read_picture(tmp_path / "a.png", TINY).pixels) == pytest.approx([0.5] * 3, abs=0.02)


def bad_file(kind: str, path: Path) -> Path:
    if kind == "text":
        path.write_text("not an image")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "cut short":
        path.write_bytes(image(path.with_name("whole.png")).read_bytes()[:3000])
    elif kind == "GIF":
        Image.new("RGB", (64, 64)).save(path, format="gif")
    return path


@pytest.mark.parametrize("kind", ["text", "empty", "folder", "cut short", "GIF", "missing"])
def test_bad_file_is_refused_before_anything_is_written(kind: str, run: Path, tmp_path: Path) -> None:
    path = bad_file(kind, tmp_path / "bad.png")
    with pytest.raises(InputError) as error:
        predict(run, [image(tmp_path / "good.png"), path], tmp_path / "out")
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_one_name_twice_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    first, second = image(tmp_path / "a.png"), image(tmp_path / "b" / "a.jpg")
    with pytest.raises(InputError) as error:
        predict(run, [first, second], tmp_path / "out")
    assert str(first) in str(error.value)
    assert str(second) in str(error.value)


def test_files_are_replaced_only_when_asked(run: Path, tmp_path: Path) -> None:
    given, out = image(tmp_path / "a.png"), tmp_path / "out"
    out.mkdir()
    (out / "a-segment-3.png").write_text("mine")
    with pytest.raises(InputError, match=r"a-segment-3\.png exists; give --overwrite"):
        predict(run, [given], out)
    assert [path.name for path in out.iterdir()] == ["a-segment-3.png"]
    assert (out / "a-segment-3.png").read_text() == "mine"
    predict(run, [given], out, overwrite=True)
    assert (out / "a-segment-3.png").read_bytes().startswith(b"\x89PNG")


def test_images_given_are_never_replaced(run: Path, tmp_path: Path) -> None:
    first, second = image(tmp_path / "a.png"), image(tmp_path / "a-overlay.png")
    before = second.read_bytes()
    with pytest.raises(InputError, match="is one of the images given"):
        predict(run, [first, second], tmp_path, overwrite=True)
    assert second.read_bytes() == before


def test_out_that_is_a_file_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="Can't make the folder"):
        predict(run, [image(tmp_path / "a.png")], tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_no_image_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No image is given"):
        predict(run, [], tmp_path / "out")
