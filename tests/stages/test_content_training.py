"""Stage 1 over content, and all stages after it: what is fitted, hidden, kept and handed on."""

import dataclasses
import json

import pytest
import torch
from torch import Generator

from intarsia.data import SceneSample
from intarsia.errors import InputError
from intarsia.model import Model
from intarsia.recipes.settings import Content, Regions, Segmenter
from intarsia.stages import train
from intarsia.stages.inpainting import expectation, inpainting, regions_to_hide
from intarsia.stages.scenes import TrainingScenes
from intarsia.stages.starting import started_from
from tests.stages.test_distillation import VAL, Stopped, stopping_after
from tests.stages.toys import CONTENT, DISCS, ONE_THREAD, changed, run_stage

SCENES = TrainingScenes(DISCS, VAL)


def half_as_bright(indices):
    images, masks = DISCS.draw(indices)
    return SceneSample(images / 2, masks)


def in_two_steps(recipe):
    """The recipe with two steps of every stage; of the search, one, and one that learns what it found."""
    two = {name: dataclasses.replace(getattr(recipe, name), steps=2) for name in ("inpainting", "separation", "vaes")}
    two |= {name: dataclasses.replace(getattr(recipe, name), steps=2, batch=4) for name in ("end_to_end", "consistency")}
    learned = dataclasses.replace(recipe.distillation, steps=2, batch=4, scenes=4)
    return dataclasses.replace(recipe, **two, distillation=learned)


FEATURES = dataclasses.replace(
    CONTENT,
    content=Content("features", (4, 8), (6, 4), grid=8),
    segmenter=Segmenter(channels=8, dimension=4, backbone=True, background_first=False),
)


@pytest.mark.parametrize("recipe", [CONTENT, FEATURES], ids=["means", "features"])
def test_all_stages_train_over_content(recipe, tmp_path, capsys):
    recipe = in_two_steps(recipe)
    model = train(recipe, tmp_path / "run", ONE_THREAD, scenes=SCENES)
    error = json.loads((tmp_path / "run" / "inpainting" / "log.jsonl").read_text().splitlines()[-1])["box_error"]
    assert expectation(error) in capsys.readouterr().err
    stages = {path.name for path in (tmp_path / "run").iterdir() if path.is_dir()}
    assert stages == {"inpainting", "separation", "distillation", "vaes", "end_to_end", "consistency"}
    assert not changed(model, Model.load(tmp_path / "run" / "consistency"))
    first, second, third, fourth = (
        Model.load(tmp_path / "run" / stage) for stage in ("inpainting", "separation", "distillation", "vaes")
    )
    assert changed(Model(recipe), first) == {"content", "inpainter"}
    assert changed(first, second) == {"inpainter", "segmenter"}
    assert changed(second, third) == {"segmenter"}
    assert changed(third, fourth) == {"autoencoder"}
    image = DISCS([5]).images[0]
    assert model.render(model.encode(image)).shape == image.shape


def test_what_to_expect_is_told_in_per_cent():
    assert expectation(0.63).startswith("Of the content of a hidden box, 37 % is guessed")
    assert " 0 % " in expectation(1.2)


def test_a_resumed_stage_has_the_same_factors_and_weights(tmp_path):
    recipe = dataclasses.replace(CONTENT, inpainting=dataclasses.replace(CONTENT.inpainting, steps=10, batch=4))
    whole, resumed = Model(recipe), Model(recipe)
    run_stage(inpainting, whole, tmp_path / "whole", SCENES)
    with pytest.raises(Stopped):  # the first draw is that of the factors
        run_stage(inpainting, Model(recipe), tmp_path / "resumed", TrainingScenes(stopping_after(9), VAL))
    run_stage(inpainting, resumed, tmp_path / "resumed", SCENES)
    assert changed(Model(recipe), whole) == {"content", "inpainter"} and not changed(whole, resumed)


def test_an_inpainter_that_stage_one_goes_on_with_keeps_its_factors(tmp_path):
    recipe = in_two_steps(CONTENT)
    source = train(recipe, tmp_path / "source", ONE_THREAD, "inpainting", scenes=SCENES)
    others = TrainingScenes(dataclasses.replace(DISCS, draw=half_as_bright), VAL)
    found = train(recipe, tmp_path / "run", ONE_THREAD, "inpainting", tmp_path / "source", scenes=others)
    assert changed(source, found) == {"inpainter"}
    assert "content" in changed(source, train(recipe, tmp_path / "new", ONE_THREAD, "inpainting", scenes=others))


def test_a_run_without_stage_one_starts_with_the_factors_of_its_inpainter(tmp_path):
    source = train(in_two_steps(CONTENT), tmp_path / "source", ONE_THREAD, "inpainting", scenes=SCENES)
    recipe = dataclasses.replace(in_two_steps(CONTENT), inpainting=dataclasses.replace(CONTENT.inpainting, steps=0))
    model, names = started_from(tmp_path / "source", recipe)
    assert names == ["inpainter"] and not changed(model, source)
    other = dataclasses.replace(recipe, content=dataclasses.replace(recipe.content, kind="chromaticity"))
    with pytest.raises(InputError, match=r"its inpainter is another network \(content\.kind is chromaticity here, means there"):
        started_from(tmp_path / "source", other)


@pytest.mark.parametrize(("weight", "fraction"), [(0.0, 0), (1.0, 0.5), (3.0, 0.75)])
def test_clusters_are_hidden_as_often_as_asked(weight, fraction):
    """Beside `everything`, which hides whole images."""
    none = dict.fromkeys(("boxes", "fields", "slivers"), 0.0)
    regions = Regions(**none, everything=1.0, clusters=weight)
    recipe = dataclasses.replace(CONTENT, inpainting=dataclasses.replace(CONTENT.inpainting, regions=regions))
    contents = Model(CONTENT).contents(DISCS(range(2)).images)
    clustered = 0
    for seed in range(200):
        hidden = regions_to_hide(2, slice(None), contents, recipe, Generator().manual_seed(seed))
        assert hidden.shape == (2, 2, 32, 32)
        clustered += int(hidden.mean((2, 3)).frac().any())
    assert clustered / 200 == pytest.approx(fraction, abs=0.1)


def test_clusters_are_the_same_however_a_batch_is_shared():
    regions = Regions(boxes=0.0, fields=0.0, slivers=0.0, everything=1e-9, clusters=1.0)
    recipe = dataclasses.replace(CONTENT, inpainting=dataclasses.replace(CONTENT.inpainting, regions=regions))
    images = DISCS(range(4)).images
    for seed in range(6):
        whole = regions_to_hide(4, slice(None), [images], recipe, Generator().manual_seed(seed))
        half = regions_to_hide(4, slice(2, 4), [images[2:]], recipe, Generator().manual_seed(seed))
        assert torch.equal(whole[2:], half)
