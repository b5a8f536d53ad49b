import dataclasses
from pathlib import Path

import pytest
import torch

from intarsia.data import open_dataset
from intarsia.metrics import best_overlap_iou
from intarsia.model import Model
from intarsia.recipes.settings import EndToEnd, Regrouping, Schedule
from intarsia.stages.end_to_end import description_of, end_to_end
from intarsia.stages.scenes import TrainingScenes
from tests.stages.toys import TINY, TOYS, changed, run_stage, teach, toy_scenes


def turns(folder: Path, steps: int, **weights: float) -> Model:
    """The networks after some steps of stage 4 from their initial values, without regrouping; the first is the inpainter's."""
    game = dataclasses.replace(TINY.separation, regrouping=Regrouping(weight=0.0))
    settings = EndToEnd(steps=steps, batch=4, learning_rate=Schedule(3e-4, warmup_steps=0))
    model = Model(dataclasses.replace(TINY, separation=game, end_to_end=settings))
    run_stage(end_to_end, model, folder, **weights)
    return model


def test_end_to_end_takes_turns(tmp_path):
    initial, first, second = Model(TINY), turns(tmp_path / "1", 1), turns(tmp_path / "2", 2)
    assert changed(initial, first) == {"inpainter"}
    assert changed(initial, second) == {"inpainter", "segmenter", "autoencoder"}


def test_in_stage_four_each_loss_reaches_its_own_players(tmp_path):
    """After one turn of each player: which networks end up elsewhere when only this loss is weighed differently."""
    plain = turns(tmp_path / "plain", 2)
    no_game, no_description = (turns(tmp_path / name, 2, **{f"{name}_weight": 0.0}) for name in ("separation", "description"))
    assert changed(plain, no_game) == changed(plain, no_description) == {"segmenter"}
    neither = turns(tmp_path / "neither", 2, separation_weight=0.0, description_weight=0.0)
    assert changed(Model(TINY), neither) == {"inpainter", "autoencoder"}  # the VAEs' losses leave the segmenter alone


def test_the_description_moves_masks_alone():
    model, images = Model(TINY), open_dataset(TINY.dataset, 0, "val")(range(2)).images
    masks = model.segment(images).requires_grad_()
    found = model.autoencoder(images, masks.detach())
    description_of(found, images, masks).sum().backward()
    assert masks.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.slow
def test_the_description_mends_masks(coded, tmp_path):
    """Without a game: the segmenter takes a rim of 2 pixels for part of the object, the VAEs know better."""
    images, truth = toy_scenes(range(16))
    wide = torch.nn.functional.max_pool2d(truth[:, 1:], 5, 1, 2)
    teach(coded, images, wide[:, 0].long(), 100)
    before = float(best_overlap_iou(truth, coded.segment(images))[0].mean())
    run_stage(end_to_end, coded, tmp_path, TrainingScenes(TOYS, TOYS), separation_weight=0.0, description_weight=1.0)
    after = float(best_overlap_iou(truth, coded.segment(images))[0].mean())
    print(f"IoU {before:.3f} before, {after:.3f} after")
    assert before < 0.75  # the rims are there: the object's own IoU with a rim of 2 pixels is 100 / 196
    assert after > before + 0.1
