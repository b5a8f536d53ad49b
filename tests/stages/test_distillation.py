"""The search of segmentations, and how the segmenter learns what is found."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import Generator, Tensor

from intarsia.data.scenes import Scenes
from intarsia.engine import CHECKPOINT, start_fabric
from intarsia.metrics import adjusted_rand_index, hard
from intarsia.model import Model
from intarsia.recipes.settings import Schedule
from intarsia.shapes import one_hot
from intarsia.stages.clusters import CLUSTERINGS, cluster_levels, piece_levels
from intarsia.stages.distillation import (
    BRIGHTNESS,
    COLOUR,
    SURE,
    colour_changes,
    distillation,
    learning_loss,
    mirrored,
    recoloured,
    search,
)
from intarsia.stages.game import judge, start_game
from intarsia.stages.inpainting import fit_content, inpainting
from intarsia.stages.regrouping import regroup
from intarsia.stages.scenes import TrainingScenes
from intarsia.stages.schedules import StepRules
from tests.stages.toys import CONTENT, DISCS, ONE_THREAD, changed, log_of, run_stage

VAL = dataclasses.replace(DISCS, size=8)
SCENES = TrainingScenes(DISCS, VAL)


@pytest.fixture(scope="module")
def taught(tmp_path_factory) -> Model:
    """A model after stage 1."""
    model = Model(CONTENT)
    run_stage(inpainting, model, tmp_path_factory.mktemp("content"), SCENES)
    return model


def with_rounds(rounds: int):
    return dataclasses.replace(CONTENT, distillation=dataclasses.replace(CONTENT.distillation, rounds=rounds))


def candidates_of(model: Model, images: Tensor, rounds: int, seeds: list[int]) -> list[Tensor]:
    """The clusters' levels, or the segmenter's own segments and their pieces."""
    if not rounds:
        logits = model.segmenter(images)
        own = logits.argmax(1)
        levels = [piece_levels(image, each, 3) for image, each in zip(model.contents(images)[0], own, strict=True)]
        return [own, *(regroup(logits, across) for across in (True, False)), *torch.stack(levels, 1).unbind()]
    found = []
    for turn in range(rounds):
        levels = [
            cluster_levels(image, 3, CLUSTERINGS[(seed + turn) % len(CLUSTERINGS)], seed + turn)
            for image, seed in zip(model.contents(images)[0], seeds, strict=True)
        ]
        found += torch.stack(levels, 1).unbind()
    return found


@torch.no_grad()
@pytest.mark.parametrize("rounds", [2, 0])
def test_the_search_returns_the_candidate_of_least_loss(taught, rounds):
    model, images, seeds = copy.deepcopy(taught), DISCS(range(20, 26)).images, [3, 7, 1, 11, 5, 0]
    game = start_game(model, start_fabric(ONE_THREAD))
    labels, losses = search(model, game, images, with_rounds(rounds), seeds)

    def loss_of(candidate: Tensor) -> Tensor:
        rules = StepRules(CONTENT.distillation.epsilon, margin=CONTENT.distillation.margin)
        return judge(model.inpainter, model.contents(images), model.edges(images), one_hot(candidate, 3), rules)

    every = candidates_of(model, images, rounds, seeds)
    judged = torch.stack([loss_of(candidate) for candidate in every])
    if rounds:  # and the best one's connected pieces
        best = torch.stack(every)[judged.argmin(0), torch.arange(6)]
        judged = torch.cat([judged, loss_of(regroup(SURE * one_hot(best, 3), False))[None]])
    torch.testing.assert_close(losses, judged.amin(0))
    torch.testing.assert_close(losses, loss_of(labels))


class Stopped(Exception):
    """Takes the place of a crash."""


def stopping_after(draws: int) -> Scenes:
    """The discs, until so many batches have been drawn."""
    drawn = []

    def draw(indices):
        drawn.append(indices)
        if len(drawn) > draws:
            raise Stopped
        return DISCS.draw(indices)

    return dataclasses.replace(DISCS, draw=draw)


def test_a_resumed_run_has_the_same_weights_and_memory(taught, tmp_path):
    """Stopped once in the search and once while it learns; the checkpoints are those of steps 7 and 14."""
    settings = dataclasses.replace(CONTENT.distillation, steps=18, batch=2, scenes=20, rounds=1, recolour=True)
    recipe = dataclasses.replace(CONTENT, distillation=settings)

    def start() -> Model:
        model = Model(recipe)
        model.load_state_dict(taught.state_dict())
        return model

    whole = start()
    folder = run_stage(distillation, whole, tmp_path / "whole", SCENES)
    for draws in (8, 9):
        with pytest.raises(Stopped):
            run_stage(distillation, start(), tmp_path / "resumed", TrainingScenes(stopping_after(draws), VAL))
    resumed = start()
    other = run_stage(distillation, resumed, tmp_path / "resumed", SCENES)
    assert changed(start(), whole) == {"segmenter"}  # the judge stays as it is
    assert not changed(whole, resumed)
    one, two = (torch.load(each / CHECKPOINT, weights_only=True)["found"] for each in (folder, other))
    assert torch.equal(one, two) and one.shape == (20, 32, 32) and (one.amax((1, 2)) > 0).all()
    log = log_of(other)
    assert [record["step"] for record in log] == list(range(1, 19))
    assert all(("separation_loss" in record) == (record["step"] <= 10) for record in log)


@pytest.mark.parametrize("upside_down", [False, True])
def test_image_and_labels_are_mirrored_together(upside_down):
    labels = torch.arange(12).view(1, 3, 4).expand(2, -1, -1)
    seen = set()
    for seed in range(40):
        images, found = mirrored(labels[:, None].expand(-1, 3, -1, -1), labels, upside_down, Generator().manual_seed(seed))
        assert torch.equal(images, found[:, None].expand(-1, 3, -1, -1))
        seen.add(int(found[0, 0, 0]))
    assert seen == ({0, 3, 8, 11} if upside_down else {0, 3})


def test_colours_are_multiplied_and_exchanged():
    changes = colour_changes(2000, Generator().manual_seed(0))
    kept = changes != 0
    assert (kept.sum(1) == 1).all() and (kept.sum(2) == 1).all()  # each colour becomes one colour
    factors = changes.sum(1).log()
    assert factors.abs().max() <= COLOUR + BRIGHTNESS
    assert (factors.amax(1) - factors.amin(1)).max() <= 2 * COLOUR  # the rest is common to all three
    assert factors.mean().item() == pytest.approx(0, abs=0.02)
    in_place = kept.diagonal(dim1=1, dim2=2).all(1).float().mean().item()
    assert in_place == pytest.approx(1 / 2 + 1 / 12, abs=0.03)  # one of six orders is the old one

    exchange = torch.tensor([[[0.0, 2.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    image = torch.tensor([0.4, 0.3, 0.2]).view(1, 3, 1, 1)
    torch.testing.assert_close(recoloured(image, exchange).flatten(), torch.tensor([0.6, 0.2, 0.2]))
    assert recoloured(torch.ones(1, 3, 1, 1), exchange).flatten().tolist() == [1, 0.5, 1]


@pytest.mark.parametrize(("balance", "weights"), [(0.0, (1, 1)), (1.0, (2 / 3, 2))])
def test_learning_loss_by_hand(balance, weights):
    """Of four pixels three are of segment 0, and the segmenter gives each its true segment with a probability of its own.

    With balance 1 both segments weigh the same: pixels have the weights 4/3 and 4, whose mean is 2.
    """
    labels = torch.tensor([[[0, 0], [0, 1]]])
    right = torch.tensor([0.9, 0.8, 0.6, 0.7])
    masks = torch.stack([torch.cat([right[:3], 1 - right[3:]]), torch.cat([1 - right[:3], right[3:]])]).view(1, 2, 2, 2)
    expected = -(weights[0] * sum(math.log(p) for p in (0.9, 0.8, 0.6)) + weights[1] * math.log(0.7)) / 4
    assert learning_loss(masks.log(), labels, balance).item() == pytest.approx(expected, rel=1e-5)
    assert learning_loss(masks.log(), 1 - labels, balance).item() == pytest.approx(expected, rel=1e-5)  # names don't matter


@pytest.mark.slow
def test_the_segmenter_learns_what_is_found(taught, tmp_path):
    settings = dataclasses.replace(
        CONTENT.distillation,
        steps=300,
        batch=8,
        scenes=160,
        rounds=1,
        learning_rate=Schedule(5e-3, warmup_steps=10),
        ema_decay=0.9,
    )
    recipe = dataclasses.replace(CONTENT, distillation=settings, segmenter=dataclasses.replace(CONTENT.segmenter, channels=16))
    model = Model(recipe)
    model.inpainter.load_state_dict(taught.inpainter.state_dict())
    model.content.load_state_dict(taught.content.state_dict())
    run_stage(distillation, model, tmp_path, SCENES)
    images, masks = DISCS(range(1000, 1032))
    found = adjusted_rand_index(hard(masks), hard(model.segment(images))).mean()
    print(f"ARI {found:.3f} on scenes that it has not seen")
    assert found > 0.9


def test_scenes_of_another_process_are_searched_alike(taught):
    """A scene's candidates depend on its seed alone, not on the batch."""
    model, images = copy.deepcopy(taught), DISCS(range(4)).images
    game = start_game(model, start_fabric(ONE_THREAD))
    labels, losses = search(model, game, images, with_rounds(1), [4, 5, 6, 7])
    half, of_half = search(model, game, images[2:], with_rounds(1), [6, 7])
    assert torch.equal(labels[2:], half)
    torch.testing.assert_close(losses[2:], of_half)


def test_factors_are_those_of_the_first_scenes(taught):
    again = Model(CONTENT)
    fit_content(again, SCENES)
    for name, value in taught.content.state_dict().items():
        assert torch.equal(value, again.content.state_dict()[name])
