"""Data on the command line: published files and own images, from the file to the figures."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia import commands as cli
from intarsia.data.objects_room import LAYOUTS
from intarsia.model import Model
from intarsia.recipes import RECIPES
from intarsia.recipes.settings import Inpainter, Segmenter
from tests.commands.test_cli import Capture, complaint, contents, refusal
from tests.formats.test_tfrecord import drawn, examples

COUNT = 40
SMALL = "--inpainter.channels 2 --segmenter.channels 8 --segmenter.dimension 4 --accelerator cpu --show-every 10"
SHORT = "--inpainting.steps 1 --inpainting.batch 2 --separation.steps 1 --separation.batch 2 --vaes.steps 0"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    layout = LAYOUTS["six_objects and identical_color"]
    return examples(layout, *drawn(layout, COUNT), tmp_path / "six.tfrecords")


@pytest.fixture
def rooms_model(tmp_path: Path) -> Path:
    recipe = dataclasses.replace(
        RECIPES["objects_room"]["pixels"], inpainter=Inpainter(channels=2), segmenter=Segmenter(channels=8, dimension=4)
    )
    Model(dataclasses.replace(recipe, vaes=dataclasses.replace(recipe.vaes, steps=0))).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("evaluate a --data photos", "--data is 'photos'; it must be NAME:PATH, such as folder:photos"),
        ("evaluate a --data=", "--data is ''; it must be NAME:PATH"),
        ("evaluate a --data folder:", "--data is 'folder:'; it must be NAME:PATH"),
        ("evaluate multi_dsprites --data photos:here", "There is no dataset 'photos'; choose one of"),
        ("train folder/pixels --data-root here", "here"),
        ("train folder/pixels", "--data-root PATH"),
        ("prepare multi_texture", "There is nothing to prepare for 'multi_texture'; choose one of multi_dsprites"),
        ("prepare objects_room", "--from FILE"),
        ("prepare objects_room --from none.tfrecords", "none.tfrecords"),
        ("prepare objects_room --limit 0", "The limit is 0"),
    ],
)
def test_bad_data(line: str, said: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(line.split()) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_prepare_refuses_what_it_cannot_read(capsys: Capture) -> None:
    assert "Missing from intarsia prepare: DATASET" in refusal(["prepare"], capsys)
    said = refusal(["prepare", "objects_room", "--limit", "few"], capsys)
    assert "Error parsing --limit" in said and "'few'" in said and "--limit INT" in said


def test_a_published_file_is_prepared_in_parts_and_evaluated(
    published: Path, rooms_model: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "six"
    prepare = ["prepare", "objects_room", "--from", str(published), "--out", str(out)]
    assert cli.main([*prepare, "--limit", "30"]) == 0
    shown = capsys.readouterr().out
    assert "0 images are there, writing takes 0.5 MB for about 30 images" in shown
    assert f"{out} holds 30 images. Next: intarsia evaluate RUN --data objects_room:{out}" in shown
    first = np.load(out / "images.npy", mmap_mode="r")[:30].copy()
    assert cli.main(prepare) == 0  # goes on
    assert "30 images are there" in capsys.readouterr().out
    assert cli.main(prepare) == 0  # all are there
    assert "40 images are there, writing takes 0.0 MB for about 0 images" in capsys.readouterr().out
    images = np.load(out / "images.npy")
    assert images.shape == (COUNT, 64, 64, 3)
    np.testing.assert_array_equal(images[:30], first)
    np.testing.assert_array_equal(images, drawn(LAYOUTS["six_objects and identical_color"], COUNT)[0])

    before = contents(out)
    assert cli.main(["evaluate", str(rooms_model), "--data", f"objects_room:{out}", "--scenes", "20"]) == 0
    scores = json.loads((rooms_model / "objects_room" / "scores.json").read_text())
    assert scores["test_images"] == 20
    assert scores["source"] == "six.tfrecords, 40 scenes"
    assert contents(out) == before


def test_what_is_prepared_for_training_says_so(tmp_path: Path, capsys: Capture) -> None:
    layout = LAYOUTS["train"]
    file, out = examples(layout, *drawn(layout, 2), tmp_path / "rooms.tfrecords"), tmp_path / "rooms"
    assert cli.main(["prepare", "objects_room", "--from", str(file), "--out", str(out)]) == 0
    assert f"{out} holds 2 images. Next: intarsia train objects_room/compact --data-root {out}" in capsys.readouterr().out


def test_too_little_room_is_told_before_anything_is_written(
    published: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=600_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    line = ["prepare", "objects_room", "--from", str(published), "--out", str(tmp_path / "six")]
    assert "not enough room: it takes 0.7 MB for about 40 images (0.6 MB are free)" in complaint(line, capsys)
    assert not (tmp_path / "six").exists()


def test_own_images_are_trained_on_and_predicted_and_need_masks_to_be_evaluated(tmp_path: Path, capsys: Capture) -> None:
    photos, run = tmp_path / "photos", tmp_path / "run"
    photos.mkdir()
    random = np.random.default_rng(1)
    for number in range(30):
        Image.fromarray(random.integers(0, 256, (50, 80, 3), np.uint8)).save(photos / f"{number:02}.png")
    (photos / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    train = ["train", "folder/pixels", "--data-root", str(photos), "--height", "32", "--width", "64", "--run", str(run)]
    train += f"{SHORT} {SMALL}".split()
    assert cli.main(train) == 0
    out, err = capsys.readouterr()
    assert f"Trained: {run}" in out and "torn.jpg" in err
    assert cli.main(["predict", str(run), str(photos / "00.png")]) == 0
    assert Image.open(run / "predictions" / "00-overlay.png").width % 64 == 0
    capsys.readouterr()
    assert cli.main(["evaluate", str(run)]) == 2
    assert f"{photos}/masks" in capsys.readouterr().err
    assert not (run / "scores.json").exists()
