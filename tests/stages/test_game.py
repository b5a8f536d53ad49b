import dataclasses

import pytest
import torch
from torch import Generator

from intarsia.model import Model
from intarsia.networks.tensorflow import BatchNorm
from intarsia.recipes.settings import Content
from intarsia.stages.game import Turn, harden, hidden_regions, judge, propose, update_average
from intarsia.stages.schedules import StepRules
from tests.stages.toys import TINY


def test_hardened_masks_are_one_hot_with_the_gradient_of_the_soft():
    logits = torch.randn(2, 4, 5, 6, generator=Generator().manual_seed(0))
    weights = torch.randn(2, 4, 5, 6, generator=Generator().manual_seed(1))
    one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    masks = harden(one)
    assert (masks == 1).sum(1).eq(1).all() and (masks == 0).sum(1).eq(3).all()
    assert torch.equal(masks.argmax(1), logits.argmax(1))
    (masks * weights).sum().backward()
    (other.softmax(1) * weights).sum().backward()
    assert other.grad.abs().max() > 0.1
    torch.testing.assert_close(one.grad, other.grad)


@torch.no_grad()
def test_what_lies_in_the_margin_is_not_seen():
    model, rng = Model(TINY), Generator().manual_seed(0)
    images = torch.rand(1, 3, TINY.height, TINY.width, generator=rng)
    edges, box = model.edges(images), torch.zeros(1, 1, TINY.height, TINY.width)
    box[..., 4:10, 4:10] = 1
    other = images.clone()
    other[..., 3:11, 3:11] = torch.where(box[..., 3:11, 3:11] > 0, images[..., 3:11, 3:11], 1 - images[..., 3:11, 3:11])
    for margin, blind in ((0, False), (1, True)):
        losses = [judge(model.inpainter, [seen], edges, box, StepRules(30.0, margin=margin)) for seen in (images, other)]
        assert torch.equal(*losses) == blind


def test_the_inpainter_practises_halves():
    """The same segments are drawn with and without; cut, they lose some of themselves, and nothing else."""
    images = torch.rand(4, 3, TINY.height, TINY.width, generator=Generator().manual_seed(0))

    def regions(split_fraction: float, mine: slice) -> torch.Tensor:
        game = dataclasses.replace(TINY.separation, random_region_fraction=0.0, split_fraction=split_fraction)
        recipe = dataclasses.replace(TINY, separation=game)
        model, rng = Model(recipe), Generator().manual_seed(1)
        turn = Turn(images[mine], [images[mine]], model.edges(images[mine]), [], StepRules(30.0), rng, batch=4, mine=mine)
        return hidden_regions(model.segmenter, turn, recipe)

    every = slice(None)
    whole, half = regions(0.0, every), regions(1.0, every)
    assert torch.equal(half, torch.where(half > 0, whole, 0))
    assert 0.2 < float(half.sum() / whole.sum()) < 0.8
    torch.testing.assert_close(regions(1.0, slice(2, 4)), half[2:])  # as the second of two processes would cut them


def test_the_better_proposal_is_taken_for_each_image():
    rows = torch.zeros(2, 8, 8, dtype=torch.int64)
    rows[:, 2:6, 1:4], rows[:, 2:6, 4:7] = 1, 2  # two objects that touch
    logits = 5 * torch.nn.functional.one_hot(rows, 3).permute(0, 3, 1, 2).float()
    losses = iter([torch.tensor([1.0, 0.0]), torch.tensor([0.5, 2.0])])  # of pieces across segments, then of pieces by segment
    labels, judged = propose(logits, lambda _: next(losses), False)
    assert torch.equal(labels[0], rows[0])  # by segment
    assert labels[1].unique().numel() == 2  # across: one piece
    assert judged.tolist() == [0.5, 0.0]


def linear(weight: float) -> torch.nn.Linear:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, weight)
    return layer


def test_the_average_starts_as_a_mean_and_follows():
    average = linear(0.0)
    update_average(average, linear(3.0), 0.995, 0)
    assert average.weight.item() == 3.0  # the first has no past
    update_average(average, linear(6.0), 0.995, 10**6)
    assert average.weight.item() == pytest.approx(3.015)


def test_the_average_takes_over_statistics_as_they_are():
    average, player = BatchNorm(2), BatchNorm(2)
    player(torch.arange(8.0).view(1, 2, 2, 2))
    update_average(average, player, 0.995, 10**6)
    assert average.mean.any() and torch.equal(average.mean, player.mean) and torch.equal(average.variance, player.variance)


def content_turn(margin: int) -> tuple[Model, Turn]:
    """A model of statistics at strides 2 and 4 whose segmenter finds one square of 8 px, and a turn with such a margin."""
    recipe = dataclasses.replace(
        TINY,
        segments=2,
        content=Content("statistics", (2, 4), (4, 4)),
        separation=dataclasses.replace(TINY.separation, random_region_fraction=0.0, sampled_segments=2),
    )
    model = Model(recipe)
    images, square = torch.rand(2, 3, 64, 64, generator=Generator().manual_seed(0)), torch.zeros(2, 64, 64, dtype=torch.int64)
    square[:, 8:16, 8:16] = 1
    model.segmenter.forward = lambda _: 50 * torch.nn.functional.one_hot(square, 2).permute(0, 3, 1, 2).float()
    rules, rng = StepRules(10.0, margin=margin), Generator().manual_seed(0)
    return model, Turn(images, model.contents(images), model.edges(images), [], rules, rng, 2, slice(None))


@pytest.mark.parametrize(("margin", "cells"), [(0, 16), (1, 36)])
def test_segments_to_guess_are_given_in_cells_of_the_finest_content(margin, cells):
    model, turn = content_turn(margin)
    hidden = hidden_regions(model.segmenter, turn, model.recipe)
    assert hidden.shape == (2, 2, 32, 32)
    assert sorted(hidden[0].sum((1, 2)).round().tolist())[0] == cells


def test_the_judge_of_content_sees_nothing_of_a_segment_and_its_margin():
    model, turn = content_turn(1)
    other = [each.clone() for each in turn.contents]
    masks = torch.zeros(2, 1, 64, 64)
    masks[..., 8:16, 8:16] = 1
    other[0][..., 3, 3:9] += 1  # in the margin of one cell; it touches the coarse cells from 1 to 4
    other[1][..., 1, 1:5] += 1
    losses = [judge(model.inpainter, seen, turn.edges, masks, turn.rules) for seen in (turn.contents, other)]
    assert torch.equal(*losses)
    bare = [judge(model.inpainter, seen, turn.edges, masks, StepRules(10.0)) for seen in (turn.contents, other)]
    assert not torch.equal(*bare)


def test_masks_teach_through_the_inpainter_of_content():
    model, turn = content_turn(1)
    logits = torch.randn(2, 3, 64, 64, generator=Generator().manual_seed(0), requires_grad=True)
    judge(model.inpainter, turn.contents, turn.edges, harden(logits), turn.rules).sum().backward()
    assert logits.grad.isfinite().all() and logits.grad.abs().amax((2, 3)).gt(0).all()
