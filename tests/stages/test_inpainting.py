import dataclasses

import pytest
import torch
from torch import Generator, Tensor

from intarsia.model import Model
from intarsia.objectives import hidden_error
from intarsia.stages.inpainting import inpainting
from intarsia.stages.regions import boxes
from tests.stages.toys import LEARNS, TINY, run_stage


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, {False}), (0.5, {False, True}), (1.0, {True})])
def test_the_inpainter_practises_with_and_without_propagated_colours(tmp_path, fraction, expected):
    recipe = dataclasses.replace(TINY, inpainting=dataclasses.replace(TINY.inpainting, steps=12, propagation_fraction=fraction))
    model, seen = Model(recipe), []
    model.inpainter.register_forward_pre_hook(lambda _, given: seen.extend(given[3:] if torch.is_grad_enabled() else ()))
    run_stage(inpainting, model, tmp_path)  # the validation at its end always propagates
    assert set(seen) == expected


@torch.no_grad()
def box_error(model: Model, images: Tensor) -> float:
    """Mean absolute error inside random boxes."""
    hidden = boxes(len(images), *images.shape[2:], Generator().manual_seed(0))[:, :1]
    return float(hidden_error(images, hidden, model.inpainter(images, hidden, model.edges(images))).sum() / hidden.sum() / 3)


@pytest.mark.slow
def test_inpainting_learns(inpainted, images):
    before, after = box_error(Model(LEARNS), images), box_error(inpainted, images)
    best_constant = float((images - images.mean((0, 2, 3), keepdim=True)).abs().mean())
    print(f"error in boxes: {before:.3f} before, {after:.3f} after; the mean colour of all images has {best_constant:.3f}")
    assert after < 0.7 * before
    assert after < 0.85 * best_constant  # so it looks at the image
