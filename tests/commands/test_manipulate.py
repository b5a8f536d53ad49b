"""What `manipulate` writes and prints. How good the edits are, tests/manipulation/test_manipulation.py checks."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.commands.edit_flags import EditFlags, edits_of
from intarsia.commands.manipulate import manipulate
from intarsia.errors import InputError
from intarsia.manipulation import composite, copy, move, swap_texture, to_back
from intarsia.manipulation.history import History, Move, Order, Recolour, Remove, Scale, SwapTexture
from intarsia.manipulation.replay import model_sha256, picture_sha256
from intarsia.model import Model
from intarsia.pictures import read_picture
from intarsia.rendering import Renderer
from tests.halves import RECIPE, by_hand, model_of_halves


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = model_of_halves()
    Model(RECIPE).save(tmp_path / "run" / "vaes")
    monkeypatch.setattr(Model, "load", lambda *given: model)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path / "run"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_list(run: Path, photo: Path, tmp_path: Path) -> None:
    lines, files = manipulate(run, photo, EditFlags(list=True, count=2), tmp_path / "out")
    assert files == [] and not (tmp_path / "out").exists()
    assert [line.split(":")[0] for line in lines] == ["object 1", "object 2", "background", "(dN"]
    assert lines[0].startswith("object 1: at (7.5, 24.5), 224 pixels; shape d")
    assert lines[1].startswith("object 2: at (23.5, 24.5), 224 pixels; shape d")
    assert lines[1].count(" d") == 4


def test_edit_leaves_other_pixels_alone(run: Path, photo: Path, tmp_path: Path) -> None:
    flags = EditFlags(object=1, move=(3, 0), recolour="#ff8000", to_back=True)
    _, files = manipulate(run, photo, flags, tmp_path)
    assert [path.name for path in files] == ["a-edited.png", "a-before-after.png"]
    edited, before = pixels(files[0]), pixels(photo)
    assert edited.shape == before.shape
    assert (edited[:, 26:] == before[:, 26:]).all()
    assert (edited != before).any()
    assert pixels(files[1]).shape == (8 * 32 + 2, 2 * (8 * 32 + 2), 3)
    manipulate(run, photo, dataclasses.replace(flags, raw=True), tmp_path, overwrite=True)
    assert (pixels(files[0])[:, 26:] != before[:, 26:]).any()


def test_edited_picture_has_the_size_of_the_file(run: Path, tmp_path: Path) -> None:
    large = np.kron(np.random.default_rng(0).integers(0, 256, (32, 32, 3)), np.ones((4, 5, 1))).astype(np.uint8)
    Image.fromarray(large).save(tmp_path / "large.png")
    flags = EditFlags(object=1, move=(3, -2))
    lines, files = manipulate(run, tmp_path / "large.png", flags, tmp_path / "out")
    edited = pixels(files[0])
    assert edited.shape == (128, 160, 3) and "resized from 160x128 to 32x32" in lines[0]
    assert (edited[:, 26 * 5 :] == large[:, 26 * 5 :]).all()
    # The inside of the object is the file's own, moved by 15 and -8 pixels.
    assert (abs(edited[80:100, 40:60].astype(int) - large[88:108, 25:45]) <= 1).all()
    manipulate(run, tmp_path / "large.png", dataclasses.replace(flags, raw=True), tmp_path / "out", overwrite=True)
    assert pixels(files[0]).shape == (32, 32, 3)


def test_file_of_edits_gives_what_the_edits_give(run: Path, photo: Path, tmp_path: Path) -> None:
    manipulate(run, photo, EditFlags(object=1, move=(3, 0), recolour="#ff8000", to_back=True), tmp_path / "by-hand")
    edits = (Move(1, 3.0, 0.0), Recolour(1, "#ff8000"), Order(1, 1))
    image = read_picture(photo, 32, 32).pixels
    history = dataclasses.asdict(History(1, picture_sha256(image), model_sha256(model_of_halves()), edits))
    (tmp_path / "edits.json").write_text(json.dumps(history))
    _, files = manipulate(run, photo, EditFlags(edits=tmp_path / "edits.json"), tmp_path / "replayed")
    for path in files:
        assert (pixels(path) == pixels(tmp_path / "by-hand" / path.name)).all()
    (tmp_path / "edits.json").write_text(json.dumps(history | {"picture_sha256": "0" * 64}))
    with pytest.raises(InputError, match="The edits are for another picture"):
        manipulate(run, photo, EditFlags(edits=tmp_path / "edits.json"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "flags",
    [
        EditFlags(object=2, remove=True),
        EditFlags(object=1, swap_texture=2),
        EditFlags(object=1, scale=1.2, to_front=True),
    ],
)
def test_every_edit_gives_a_picture(flags: EditFlags, run: Path, photo: Path, tmp_path: Path) -> None:
    _, files = manipulate(run, photo, flags, tmp_path / "out")
    assert all(path.is_file() for path in files)


def test_flags_stand_for_edits() -> None:
    flags = EditFlags(swap_texture=1, move=(3, -1), scale=2, recolour="red", to_back=True)
    edits = [SwapTexture(2, 1), Move(2, 3.0, -1.0), Scale(2, 2.0), Recolour(2, "#ff0000"), Order(2, 4)]
    assert edits_of(flags, 2, objects=5) == edits
    assert edits_of(EditFlags(to_front=True), 2, objects=5) == [Order(2, 0)]
    assert edits_of(EditFlags(remove=True), 3, objects=5) == [Remove(3)]


def test_edits_are_made_to_a_copied_object(run: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = by_hand(Model(dataclasses.replace(RECIPE, segments=4)))  # with room for one more object
    monkeypatch.setattr(Model, "load", lambda *given: model)
    flags = EditFlags(copy_from=photo, copy_object=2, swap_texture=1, move=(3, 0), to_back=True)
    _, files = manipulate(run, photo, flags, tmp_path / "out")
    scene = model.encode(read_picture(photo, 32, 32).pixels)
    renderer = Renderer(model)
    with_copy = copy(renderer, scene, scene, 1)
    by_functions = to_back(move(renderer, swap_texture(with_copy, 0, 1), 0, 3.0, 0.0), 0)
    expected = (composite(renderer, scene, by_functions) * 255).round().byte().permute(1, 2, 0).numpy()
    assert (abs(pixels(files[0]).astype(int) - expected) <= 1).all()


def test_copied_object_needs_room(run: Path, photo: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no room for one more object"):
        manipulate(run, photo, EditFlags(copy_from=photo, copy_object=2), tmp_path / "out")
    with pytest.raises(InputError, match="--copy-object is 3; the objects are 1 to 2"):
        manipulate(run, photo, EditFlags(copy_from=photo, copy_object=3), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_objects_without_codes_are_moved_and_not_changed(
    run: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of_halves()
    model.recipe = dataclasses.replace(RECIPE, vaes=dataclasses.replace(RECIPE.vaes, steps=0))
    monkeypatch.setattr(Model, "load", lambda *given: model)
    lines, _ = manipulate(run, photo, EditFlags(list=True), tmp_path / "out")
    assert lines == ["object 1: at (7.5, 24.5), 224 pixels", "object 2: at (23.5, 24.5), 224 pixels"]
    _, files = manipulate(run, photo, EditFlags(object=1, move=(0, -9), scale=0.5, to_back=True), tmp_path / "out")
    assert (pixels(files[0]) != pixels(photo)).any()
    for flags in (
        EditFlags(object=1, recolour="red"),
        EditFlags(object=1, swap_texture=2),
        EditFlags(traverse=True),
        EditFlags(object=1, remove=True, raw=True),
    ):
        with pytest.raises(InputError, match="This model was trained without codes"):
            manipulate(run, photo, flags, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_one_number(run: Path, photo: Path, tmp_path: Path) -> None:
    flags = EditFlags(object=2, dimension=1, range=(-2, 2), steps=4)
    lines, files = manipulate(run, photo, flags, tmp_path)
    assert [path.name for path in files] == ["a-object2-shape-d1.png", "a-object2-shape-d1.gif"]
    assert lines == ["Rows of a-object2-shape-d1.png: object2-shape-d1."]
    with Image.open(files[1]) as file:
        assert (file.n_frames, file.size) == (4, (256, 256))
    assert pixels(files[0]).shape == (66, 4 * 66, 3)  # twice the size, and gaps


def test_traversals_of_everything(run: Path, photo: Path, tmp_path: Path) -> None:
    lines, files = manipulate(run, photo, EditFlags(traverse=True, steps=12, count=2), tmp_path)
    assert files[0].name == "a-traversals.png"
    assert len(files) == 1 + (2 + 2) * 2 + 2
    assert sorted(path.name for path in tmp_path.glob("a-*")) == sorted(path.name for path in files)
    assert pixels(files[0]).shape == (10 * 66, 9 * 66, 3)
    assert lines[0].count(", ") == 9
    _, files = manipulate(run, photo, EditFlags(traverse=True, object=1, part="texture", steps=2, count=99), tmp_path / "b")
    assert len(files) == 1 + 5


WRONG = {
    "--object is 3; the objects are 1 to 2": EditFlags(object=3, remove=True),
    "--object is 0; the objects are 1 to 2": EditFlags(object=0, dimension=1),
    "--swap-texture is 9; the objects are 1 to 2": EditFlags(object=1, swap_texture=9),
    "There is no dimension 10 of shape; choose one of 0 to 9": EditFlags(object=1, dimension=10),
    "There is no dimension -1 of background; choose one of 0 to 4": EditFlags(part="background", dimension=-1),
    "--recolour is 'reddish'; give '#rrggbb'": EditFlags(object=1, recolour="reddish"),
    "factor is 0.0; it must be at least 0.125": EditFlags(object=1, scale=0.0),
    "Nothing to do": EditFlags(),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_can_not_be_done_is_said_before_anything_is_written(said: str, run: Path, photo: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        manipulate(run, photo, WRONG[said], tmp_path / "out")
    assert said in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_package_for_videos_is_said_before_anything_is_written(
    run: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match=r"pip install 'intarsia\[video\]'"):
        manipulate(run, photo, EditFlags(object=1, dimension=0, steps=2, mp4=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_are_replaced_only_when_asked(run: Path, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "a-edited.png").write_text("mine")
    flags = EditFlags(object=1, remove=True)
    with pytest.raises(InputError, match=r"a-edited\.png exists; give --overwrite"):
        manipulate(run, photo, flags, tmp_path)
    assert (tmp_path / "a-edited.png").read_text() == "mine"
    _, files = manipulate(run, photo, flags, tmp_path, overwrite=True)
    assert pixels(files[0]).shape == (32, 32, 3)


def test_codes_have_to_be_trained(run: Path, photo: Path, tmp_path: Path) -> None:
    (run / "vaes").rename(run / "separation")
    with pytest.raises(InputError, match=r"once stage 'vaes' is trained; the newest model of .* is that of 'separation'"):
        manipulate(run, photo, EditFlags(list=True), tmp_path / "out")
