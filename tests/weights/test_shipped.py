"""Every model that comes with the package is what its files say, and scores as they say."""

import json
import math
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from intarsia import commands as cli
from intarsia.commands.train import Train
from intarsia.data import SPLITS, Scenes, scenes_of
from intarsia.data.arrays import write
from intarsia.data.objects_room_mujoco import material
from intarsia.evaluation.codes import reconstruction
from intarsia.evaluation.segments import TEST_SEED, score
from intarsia.model import Model, load
from intarsia.recipes.file import load_recipe
from intarsia.recipes.settings import planned
from intarsia.records import PICTURE, SCORES, TRAINING, read_json
from intarsia.weights import NOVELTY, PICTURES, RECIPE, SHIPPED, WEIGHTS, has_codes, shipped, weights_sha256

DRAWN = {"objects_room_mujoco": Path("data/objects_room_mujoco")}  # by MuJoCo: the folder that `intarsia prepare` writes
OF_PICTURES = {name for name, folder in shipped().items() if (folder / PICTURES).is_file()}  # which the package does not hold
ROUNDING = 1e-4  # between processors, of a figure


@pytest.fixture(scope="session")
def rooms(drawing: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to work in, with the test rooms where the recipe has them."""
    folder = tmp_path_factory.mktemp("drawn")
    write(folder / DRAWN["objects_room_mujoco"], material("train", None), limit=2000)
    return folder


@pytest.fixture
def at_the_scenes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where a model's scenes are found, if it needs a folder of them."""
    if request.node.callspec.params["name"] in DRAWN:
        monkeypatch.chdir(request.getfixturevalue("rooms"))


@pytest.mark.usefixtures("at_the_scenes")
@pytest.mark.parametrize("name", shipped())
def test_files_belong_to_the_weights(name: str) -> None:
    folder = SHIPPED / name
    texts = {path.name for path in folder.glob("*.txt")} if name in OF_PICTURES else set()
    assert {path.name for path in folder.iterdir()} == {RECIPE, WEIGHTS, SCORES, TRAINING, PICTURE, NOVELTY} | texts
    scores, training, recipe = read_json(folder / SCORES), read_json(folder / TRAINING), load_recipe(folder / RECIPE)
    assert scores["weights_sha256"] == training["weights_sha256"] == weights_sha256(folder)
    assert scores["recipe"] == json.loads((folder / RECIPE).read_text())
    command = cli.parse(shlex.split(training["command"])[1:])
    assert isinstance(command, Train) and command.recipe == recipe
    assert {stage: each["steps"] for stage, each in training["stages"].items()} == {
        stage: getattr(recipe, stage).steps for stage in planned(recipe)
    }
    assert training["steps"] == sum(each["steps"] for each in training["stages"].values())
    assert training["minutes"] > 0 and training["processor"]
    assert scores["test_images"] == (SPLITS["test"] if name in OF_PICTURES else scenes_of(recipe, "test").size)
    assert (scores["codes"] is not None) == has_codes(folder)


@pytest.mark.parametrize("name", shipped())
def test_weights_are_small_and_free(name: str) -> None:
    folder = SHIPPED / name
    assert (folder / WEIGHTS).stat().st_size < 8e6
    with safe_open(folder / WEIGHTS, "pt") as file:
        assert {file.get_slice(each).get_dtype() for each in file.offset_keys()} == {"F16"}
    # Trained on scenes that the package draws, by itself or with MuJoCo: the licence is its own. Or on pictures of packages,
    # each of which is listed with its licence.
    source, root = read_json(folder / SCORES)["source"], load_recipe(folder / RECIPE).data_root
    if name in OF_PICTURES:
        assert root == f"data/{name}"
        packages = [each.rpartition(" ")[0] or each.rpartition("-")[0] for each in source.split(", ")]
        listed = [line.partition(", ")[0] for line in (folder / PICTURES).read_text().splitlines()]
        assert {each.lstrip("@").replace("/", "-") for each in listed} == set(packages)
    elif name in DRAWN:
        assert source.startswith("MuJoCo ") and root == str(DRAWN[name])
    else:
        assert source == "generated" and root is None


def scored(model: Model, test: Scenes, indices: Any) -> dict[str, torch.Tensor]:
    images, masks = test(indices)
    return score(masks, model.segment(images), test.backgrounds)


@pytest.mark.usefixtures("at_the_scenes")
@pytest.mark.parametrize("name", sorted(shipped().keys() - OF_PICTURES))
def test_a_tenth_of_the_scenes_scores_as_stated(name: str) -> None:
    """All would take minutes; of what they state, what a tenth must obey.

    IoU is the mean of ten subsets', given with their sample standard deviation s: none of ten values, such as the first
    tenth's, is farther than s * 9 / sqrt(10) from their mean (Samuelson 1968). All figures are means over all scenes as well:
    those of every tenth scene, since a set may be a grid, are allowed to be off by five of their standard errors. And all the
    scenes named best and worst are that, in the order stated.
    """
    model, stated = load(name), read_json(SHIPPED / name / SCORES)
    test, count = scenes_of(model.recipe, "test", TEST_SEED), stated["test_images"]
    iou, figures = stated["figures"]["iou"], stated["figures"] | {"iou": stated["figures"]["iou"]["mean"]}
    first = float(scored(model, test, range(count // 10))["iou"].nanmean())
    assert abs(first - iou["mean"]) <= 9 / math.sqrt(10) * iou["std"] + ROUNDING
    tenth = range(0, count, 10)
    found = scored(model, test, tenth)
    miou = found["miou"]
    if has_codes(SHIPPED / name):
        images = test(tenth[::4]).images
        found |= reconstruction(images, model.render(model.encode(images)))
    for figure, values in found.items():
        known = values[~values.isnan()]
        error = 5 * float(known.std()) / math.sqrt(len(known))
        assert float(known.mean()) == pytest.approx(figures[figure], abs=error + ROUNDING), figure
    if name in DRAWN:
        return  # another driver draws a little otherwise: enough for another order of the scenes
    best, median, worst = (scored(model, test, stated["examples"][kind])["miou"] for kind in ("best", "median", "worst"))
    ranked = torch.cat([best, median, worst]).nan_to_num(0)
    assert (ranked.diff() <= ROUNDING).all()
    named = {*stated["examples"]["best"], *stated["examples"]["worst"]}
    others = miou[[place for place, scene in enumerate(tenth) if scene not in named]]
    assert (others.nan_to_num(0) <= best.min() + ROUNDING).all() and (others.nan_to_num(0) >= ranked[-4] - ROUNDING).all()


def test_no_folder_lies_about_that_is_no_model() -> None:
    assert {path.name for path in SHIPPED.glob("*") if path.is_dir() and path.name != "__pycache__"} == set(shipped())
