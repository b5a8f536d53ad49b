import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.commands.predict import predict
from intarsia.errors import InputError
from intarsia.model import Model
from intarsia.recipes import RECIPES
from intarsia.recipes.settings import Inpainter, Segmenter

TINY = dataclasses.replace(
    RECIPES["multi_texture"]["compact"], inpainter=Inpainter(channels=2), segmenter=Segmenter(channels=8, dimension=4)
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
