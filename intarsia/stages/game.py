"""The game of segmenter and inpainter (Contextual Information Separation), which stages 2, 4 and 5 play.

The inpainter learns to guess each segment from the rest of the image; the segmenter learns segments that can't be guessed.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from intarsia.engine import Run, descend
from intarsia.model import Model
from intarsia.networks.guessing import cells_of, guess, is_pixels
from intarsia.networks.tensorflow import Adam
from intarsia.objectives import content_error, content_loss, hidden_error, inpainting_loss, most_content_error, separation_loss
from intarsia.recipes.settings import Recipe
from intarsia.shapes import Edges, Images, Labels, Logits, Masks, PerImage, PerSegment, one_hot
from intarsia.stages.regions import hidden_cells, one_side, random_angles, random_regions, with_margin
from intarsia.stages.regrouping import regroup
from intarsia.stages.schedules import StepRules

INPAINTER_LEARNING_RATE = 1e-4  # of Adam, constant: the original's
TOLERANCE = 0.01  # a proposal is accepted if its separation loss is at most so much above that of the present masks


@dataclass(frozen=True)
class Game:
    """The two players with their optimizers, and the running average of the segmenter's weights."""

    inpainter: nn.Module
    inpainter_optimizer: Optimizer
    segmenter: nn.Module
    segmenter_optimizer: Optimizer
    average: nn.Module

    def state(self) -> dict[str, Any]:
        """What a checkpoint of the game holds, by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class Turn:
    """What a player has in its turn.

    images: This process's part of the step's batch.
    contents, edges, maps: Of these images what the inpainter guesses, their edge maps, and the backbone's maps, if any.
    rules: The rules of the step.
    rng: The source of the step's random draws, the same on all processes. What it draws is for the whole batch.
    batch: Images of the whole batch.
    mine: Which of them are this process's.
    """

    images: Images
    contents: list[Tensor]
    edges: Edges
    maps: list[Tensor]
    rules: StepRules
    rng: Generator
    batch: int
    mine: slice


def start_game(model: Model, fabric: Fabric) -> Game:
    """The game at its start: inpainter and average are the model's own, and a copy of its segmenter plays."""
    average, player = model.segmenter.to(fabric.device).eval(), copy.deepcopy(model.segmenter).train()
    for fixed in (model.content, model.backbone):
        if fixed is not None:
            fixed.to(fabric.device)
    adam = Adam(model.inpainter.parameters(), INPAINTER_LEARNING_RATE, fused=True)
    inpainter, inpainter_optimizer = fabric.setup(model.inpainter, adam)
    segmenter, segmenter_optimizer = fabric.setup(player, Adam(player.parameters(), fused=True))
    return Game(inpainter, inpainter_optimizer, segmenter, segmenter_optimizer, average)


def start_turn(model: Model, images: Images, run: Run, step: int, batch: int, rules: StepRules) -> Turn:
    """A turn on this process's part of a step's batch."""
    _, mine = run.shard(batch, step=step)
    contents, edges, maps = model.contents(images), model.edges(images), model.maps(images)
    return Turn(images, contents, edges, maps, rules, run.rng(step=step), batch, mine)


def inpainter_turn(game: Game, turn: Turn, recipe: Recipe, fabric: Fabric) -> dict[str, object]:
    """The inpainter takes one step on its guesses of what is hidden. Returns the figures to log."""
    hidden, rules = hidden_regions(game.segmenter, turn, recipe), turn.rules
    propagate = rules.propagate or bool(torch.rand((), generator=turn.rng) < rules.practice)
    loss = guessing_loss(game.inpainter, turn.contents, turn.edges, hidden, propagate, 0, fabric)
    descend(fabric, loss, game.inpainter_optimizer)
    return {"inpainting_loss": loss}


def segmenter_loss(game: Game, turn: Turn, logits: Logits, recipe: Recipe, fabric: Fabric) -> tuple[Tensor, dict[str, object]]:
    """What the segmenter minimises in its turn: the separation loss and regrouping. Also returns the figures to log.

    Args:
        game: Its inpainter is the judge, and its average makes the proposals.
        turn: What is played on.
        logits: The segmenter's, of the turn's images.
        recipe: The recipe.
        fabric: For the precision.
    """
    rules = turn.rules

    def judge_masks(masks: Masks) -> PerImage:
        return judge(game.inpainter, turn.contents, turn.edges, masks, rules)

    separation = judge_masks(harden(logits) if rules.hard else logits.softmax(1))
    loss, figures = separation.mean(), {"separation_loss": separation.mean()}
    if rules.regrouping:
        with fabric.autocast():
            proposal, judged = propose(game.average(turn.images, *turn.maps), judge_masks, recipe.backgrounds > 1)
        accepted = (judged <= separation + TOLERANCE).float()
        towards = F.cross_entropy(logits, proposal, reduction="none").mean((1, 2))
        loss = loss + rules.regrouping * (towards * accepted).mean()
        figures["accepted"] = accepted.mean()
    return loss, dict(figures)


def with_extra_loss(
    run: Run, images: Images, logits: Logits, loss: Tensor, figures: dict[str, object]
) -> tuple[Tensor, dict[str, object]]:
    """The segmenter's loss and the figures to log, with the extra loss of the run if it has one."""
    if run.extra_loss is None:
        return loss, figures
    extra = run.extra_loss(images, logits.softmax(1)).mean()
    return loss + extra, figures | {"extra_loss": extra}


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Within it a network is not trained, but gradients pass through it."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


@torch.no_grad()
def update_average(average: nn.Module, segmenter: nn.Module, decay: float, step: int) -> None:
    """Move the running average of the weights towards the segmenter that plays. At first it is a plain mean.

    Statistics that the segmenter keeps of its activations are copied.
    """
    decay = min(decay, 1 - 2 / (step + 2))
    for kept, live in zip(average.parameters(), segmenter.parameters(), strict=True):
        kept.lerp_(live, 1 - decay)
    for own, theirs in zip(average.buffers(), segmenter.buffers(), strict=True):
        own.copy_(theirs)


def hidden_regions(segmenter: nn.Module, turn: Turn, recipe: Recipe) -> Masks:
    """What the inpainter guesses in its turn, in cells of the finest content: random regions, or segments with their margin.

    Now and then the segments are cut in two: in a game of whole objects the inpainter would forget how to guess one part of an
    object from the other.
    """
    settings, rng = recipe.separation, turn.rng
    if torch.rand((), generator=rng) < settings.random_region_fraction:
        return random_regions(turn.batch, recipe, rng)[turn.mine].to(turn.images.device)
    segments = cells_of(sample_segments(segmenter, turn, settings.sampled_segments), turn.contents[:1])[0]
    if settings.split_fraction and torch.rand((), generator=rng) < settings.split_fraction:
        segments = segments * one_side(segments, random_angles(turn.batch, segments.shape[1], rng)[turn.mine])
    return with_margin(segments, turn.rules.margin)


@torch.no_grad()
def sample_segments(segmenter: nn.Module, turn: Turn, count: int) -> Masks:
    """Some of the segmenter's masks, of the same channels for all images."""
    masks: Masks = segmenter(turn.images, *turn.maps).softmax(1)
    return masks[:, torch.randperm(masks.shape[1], generator=turn.rng)[:count].to(masks.device)]


def judge(inpainter: nn.Module, contents: Sequence[Tensor], edges: Edges, masks: Masks, rules: StepRules) -> PerImage:
    """The separation loss of masks `b k h w`."""
    return separation_loss(*segment_errors(inpainter, contents, edges, masks, rules), rules.epsilon, rules.empty)


def segment_errors(
    inpainter: nn.Module, contents: Sequence[Tensor], edges: Edges, masks: Masks, rules: StepRules
) -> tuple[PerSegment, PerSegment]:
    """The errors in masks `b k h w` of guesses from what is visible outside each and its margin, and of unconditional ones.

    The unconditional guess is made in the same batch and gets no gradient.
    """
    cells = cells_of(masks, contents)
    hidden = hidden_cells(cells[0], contents, rules.margin)
    everything = [torch.cat([each, torch.ones_like(each[:, :1])], 1) for each in hidden]
    guesses = guess(inpainter, contents, edges, everything, rules.propagate)
    own, prior = [each[:, :-1] for each in guesses], [each[:, -1:].detach().expand_as(each[:, :-1]) for each in guesses]
    error = pixel_error if is_pixels(contents) else content_error
    return error(contents, cells, own), error(contents, cells, prior)


def guessing_loss(
    inpainter: nn.Module,
    contents: Sequence[Tensor],
    edges: Edges,
    regions: Masks,
    propagate: bool,
    margin: int,
    fabric: Fabric | None = None,
) -> Tensor:
    """What the inpainter minimises: its error in hidden regions `b k h w`, given at the resolution of the finest content.

    With Fabric, these are the images of one process, and all of them have to call it; else they are the whole batch.
    """
    hidden = hidden_cells(regions, contents, margin)
    guesses = guess(inpainter, contents, edges, hidden, propagate)
    if is_pixels(contents):
        return inpainting_loss(contents[0], hidden[0], guesses[0])
    if fabric is None:
        return content_loss(contents, hidden, guesses)
    most = cast(Tensor, fabric.all_reduce(most_content_error(contents, hidden)))
    return content_loss(contents, hidden, guesses, most, fabric.world_size)


def pixel_error(contents: Sequence[Tensor], hidden: Sequence[Tensor], guesses: Sequence[Tensor]) -> PerSegment:
    """`hidden_error` of the only map."""
    return hidden_error(contents[0], hidden[0], guesses[0])


def harden(logits: Logits) -> Masks:
    """Hard masks of these logits, with the gradient of the soft ones (straight-through; Bengio et al., 2013)."""
    masks = logits.softmax(1)
    return one_hot(masks.argmax(1), masks.shape[1]) + (masks - masks.detach())


@torch.no_grad()
def propose(logits: Logits, judge: Callable[[Masks], PerImage], several_backgrounds: bool) -> tuple[Labels, PerImage]:
    """The better of two proposals for each image by the judge's separation loss, and that loss.

    They are made from the averaged segmenter's logits: it is steadier than the one that plays. A background of several parts
    gets one proposal alone, since pieces that cross the borders between those parts would hold the objects too.
    """
    kinds = (False,) if several_backgrounds else (True, False)
    proposals = torch.stack([regroup(logits, kind, several_backgrounds=several_backgrounds) for kind in kinds])
    best = torch.stack([judge(one_hot(labels, logits.shape[1])) for labels in proposals]).min(0)
    return proposals[best.indices, torch.arange(len(logits), device=logits.device)], best.values
