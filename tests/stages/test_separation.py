import dataclasses

import pytest
import torch
from torch import Tensor

from intarsia.model import Model
from intarsia.recipes.settings import Recipe, Regrouping
from intarsia.stages.game import judge
from intarsia.stages.schedules import StepRules
from intarsia.stages.separation import separation
from tests.stages.test_inpainting import box_error
from tests.stages.toys import TINY, changed, run_stage

ALONE = dataclasses.replace(TINY.separation, steps=6, regrouping=Regrouping(weight=0.0))


def tiny(**settings: object) -> Recipe:
    """The tiny recipe with other settings of stage 2, without regrouping."""
    return dataclasses.replace(TINY, separation=dataclasses.replace(ALONE, **settings))


def inputs(model: Model, folder) -> list[tuple]:
    """What the inpainter sees in each step: images, hidden regions, edges, and whether colours propagate."""
    seen = []
    model.inpainter.register_forward_pre_hook(lambda _, given: seen.append(given))
    run_stage(separation, model, folder)
    return seen[: model.recipe.separation.steps]  # without those of the validation


def test_regrouping_takes_part(tmp_path):
    """The test of resumption relies on it: without it, the end differs."""
    ends = []
    for name, regrouping in {"with": TINY.separation.regrouping, "without": Regrouping(weight=0.0)}.items():
        model = Model(tiny(steps=12, regrouping=regrouping))
        run_stage(separation, model, tmp_path / name)
        ends.append(model)
    assert "segmenter" in changed(*ends)


def test_the_inpainter_sees_hard_masks_from_their_step_on(tmp_path):
    k, masks = TINY.segments, []
    for _, hidden, *_ in inputs(Model(tiny(steps=12, hard_from_step=6)), tmp_path):
        if hidden.shape[1] == k + 1:  # a turn of the segmenter: all segments, and the unconditional guess
            assert hidden.requires_grad
            masks.append(float(hidden[:, :k].detach().amax(1).mean()))
    assert [confidence > 0.9999 for confidence in masks] == 4 * [False] + 4 * [True]  # two turns of every three steps


def test_the_inpainter_gets_stronger_at_its_step(tmp_path):
    recipe = dataclasses.replace(tiny(propagation_from_step=3), inpainter=dataclasses.replace(TINY.inpainter, patches=4))
    assert [given[3] for given in inputs(Model(recipe), tmp_path)] == [False] * 3 + [True] * 3


def test_the_inpainter_practises_for_later(tmp_path):
    seen = [given[3] for given in inputs(Model(tiny(propagation_from_step=5, propagation_practice=1.0)), tmp_path)]
    assert seen == [True, False, False, True, False, True]  # its own turn, then two of the segmenter's; all from step 5 on


def test_the_margin_goes_when_the_inpainter_gets_stronger(tmp_path):
    model, k = Model(tiny(propagation_from_step=3, margin=1, random_region_fraction=0.0)), TINY.segments
    overlaps = [float(given[1][:, :k].sum(1).max().detach()) for given in inputs(model, tmp_path)]
    assert min(overlaps[1:3]) > 1.001 and max(overlaps[4:6]) < 1.0001  # the segmenter's turns, all segments


@torch.no_grad()
def separation_of(model: Model, inpainter: torch.nn.Module, images: Tensor) -> float:
    return float(judge(inpainter, [images], model.edges(images), model.segment(images), StepRules(epsilon=30.0)).mean())


@pytest.mark.slow
def test_separation_learns(inpainted, images, tmp_path):
    model = Model(inpainted.recipe)
    model.load_state_dict(inpainted.state_dict())
    run_stage(separation, model, tmp_path)
    # Either inpainter judges: the segmenter of the end against that of the start.
    for judging in (inpainted, model):
        before, after = (separation_of(player, judging.inpainter, images) for player in (inpainted, model))
        print(f"separation loss: {before:.3f} before, {after:.3f} after")
        assert after < before - 0.15
    # The inpainter keeps learning too, and does not forget boxes.
    assert "inpainter" in changed(inpainted, model)
    assert box_error(model, images) < 1.2 * box_error(inpainted, images)
