import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask

from intarsia.commands.predict import predict
from intarsia.errors import InputError
from intarsia.masks import open_masks
from intarsia.model import Model
from intarsia.recipes import RECIPES
from intarsia.recipes.settings import Inpainter, Segmenter

TINY = dataclasses.replace(
    RECIPES["multi_texture"]["pixels"], inpainter=Inpainter(channels=2), segmenter=Segmenter(channels=8, dimension=4)
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
    cuts = {f"photo-segment-{k}.png" for k in range(5)}
    assert {path.name for path in files} == {"photo-overlay.png", "photo.npz", "photo-labels.png", "photo-segments.json", *cuts}
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


def test_labels_and_coco_have_the_size_of_the_file(run: Path, tmp_path: Path) -> None:
    given = image(tmp_path / "photo.png", (150, 90))
    notices, _ = predict(run, [given], tmp_path)
    assert len(notices) == 1 and "resized from 150x90 to 64x64" in notices[0]
    with Image.open(tmp_path / "photo-labels.png") as file:
        assert (file.mode, file.size) == ("P", (150, 90))
        labels = np.asarray(file)
        shown = np.asarray(file.convert("RGB"))
    assert labels.max() <= 4 and (labels == 0).any()
    assert (shown[labels == 0] == 0).all() and shown[labels > 0].any(1).all()
    content = json.loads((tmp_path / "photo-segments.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "photo.png", "width": 150, "height": 90}]
    for each in content["annotations"]:
        assert (np.asarray(mask.decode(each["segmentation"])) == (labels == each["id"])).all()
    assert {each["id"] for each in content["annotations"]} == {*labels.ravel().tolist()} - {0}
    # The objects are the segments but the largest one, in their order.
    with np.load(tmp_path / "photo.npz") as arrays:
        masks = open_masks(torch.from_numpy(arrays["masks"])[None])[0]
    objects = [k for k in range(5) if k != int(masks.sum((1, 2)).argmax())]
    assert all(each["name"] == f"segment {objects[each['id'] - 1]}" for each in content["annotations"])


def test_labels_of_the_models_size_are_the_largest_masks(run: Path, tmp_path: Path) -> None:
    predict(run, [image(tmp_path / "photo.png")], tmp_path)
    with np.load(tmp_path / "photo.npz") as arrays:
        largest, order = arrays["masks"].argmax(0), arrays["masks"].sum((1, 2)).argsort()
    labels = np.asarray(Image.open(tmp_path / "photo-labels.png"))
    assert np.mean((labels == 0) == (largest == order[-1])) > 0.9


def test_folders_keep_their_paths(run: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "trip" / "day").mkdir(parents=True)
    image(photos / "a.png")
    image(photos / "trip" / "a.jpg", (80, 80))
    image(photos / "trip" / "day" / "b.png", (90, 30))
    (photos / "notes.txt").write_text("mine")
    single = image(tmp_path / "c.png")
    out = photos / "found"
    notices, files = predict(run, [photos, single], out)
    overlays = {path.relative_to(out).as_posix() for path in files if path.name.endswith("-overlay.png")}
    assert overlays == {"a-overlay.png", "trip/a-overlay.png", "trip/day/b-overlay.png", "c-overlay.png"}
    assert all(path.is_file() for path in files)
    assert notices[0] == "Left out: 1 have another ending (notes.txt)."
    size = "the size the model takes, 64x64 pixels"
    assert notices[1] == f"2 pictures have {size} ({photos / 'a.png'}, {single})."
    assert notices[2] == f"1 picture has another size, resized to {size} ({photos / 'trip' / 'a.jpg'})."
    assert notices[3] == f"1 picture has other proportions, squeezed into {size} ({photos / 'trip' / 'day' / 'b.png'})."
    # What was written is not taken for a picture the next time.
    notices, again = predict(run, [photos], out, overwrite=True)
    assert {path.name for path in again} == {path.name for path in files if not path.name.startswith("c")}
    assert "are in the folder for the results" in notices[0]


def test_names_that_clash_over_folders_are_refused(run: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        image(tmp_path / name / "sub" / "a.png")
    with pytest.raises(InputError) as error:
        predict(run, [tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    assert all(str(tmp_path / name / "sub" / "a.png") in str(error.value) for name in ("one", "two"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no pictures"):
        predict(run, [tmp_path / "empty"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pictures_that_the_model_does_not_know_are_named(tmp_path: Path) -> None:
    noise = [image(tmp_path / f"{number}.png", (64, 64)) for number in range(5)]
    notices, _ = predict(Path("multi_dsprites"), noise, tmp_path / "out")
    assert notices[0].startswith("5 pictures have the size the model takes")
    assert [line.split(" is unlike")[0] for line in notices[1:4]] == [
        f"This model knows only generated sprites on plain backgrounds; {path}" for path in noise[:3]
    ]
    assert notices[4:] == ["Also unlike those: 2 more of the 5 pictures."]


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
