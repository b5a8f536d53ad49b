"""Stage 2: segmenter against inpainter (Contextual Information Separation)."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Generator, Tensor, nn

from intarsia.data import scenes_of
from intarsia.engine import Run
from intarsia.metrics import adjusted_rand_index, best_overlap_iou, hard
from intarsia.model import Model
from intarsia.networks.tensorflow import Adam
from intarsia.objectives import separation_loss
from intarsia.pictures import game_sheet
from intarsia.recipes.settings import Recipe, Separation
from intarsia.shapes import Edges, Guesses, Images, Labels, Logits, Masks, PerImage, one_hot
from intarsia.stages.diagnosis import diagnose
from intarsia.stages.inpainting import improve_guesses, random_regions, set_learning_rate
from intarsia.stages.regions import one_side, random_angles, with_margin
from intarsia.stages.regrouping import regroup

Judge = Callable[[Masks], PerImage]  # the separation loss of some masks, against one inpainter


def separation(model: Model, run: Run) -> None:
    """Train `model.inpainter` in place; `model.segmenter` becomes the running average of the segmenter that plays."""
    recipe, settings, fabric = model.recipe, model.recipe.separation, run.fabric
    scenes = scenes_of(recipe, "train")
    state = begin(model, fabric, settings.inpainter_learning_rate, settings.segmenter_learning_rate)
    inpainter, inpainter_optimizer, segmenter, segmenter_optimizer, average = state.values()

    for step in run.steps(state, settings.steps, model.save):
        rng = run.generator(step=step)
        indices, mine = run.shard(settings.batch, step=step)
        images = scenes(indices).images.to(fabric.device)
        edges, propagate = model.edges(images), step >= settings.propagation_from_step
        margin = 0 if propagate else settings.margin
        rates = (settings.segmenter_learning_rate, settings.segmenter_final_learning_rate)
        set_learning_rate(segmenter_optimizer, rates[0], step, settings.steps, settings.warmup_steps, rates[1])

        figures: dict[str, object]
        if is_inpainters_turn(step, settings):
            hidden = hidden_regions(segmenter, images, recipe, settings.batch, mine, rng, margin)
            practised = propagate or bool(torch.rand((), generator=rng) < settings.propagation_practice)
            loss = improve_guesses(fabric, inpainter, inpainter_optimizer, images, hidden, edges, practised)
            figures = {"inpainting_loss": loss}
        else:
            judge = partial(play, inpainter, images, edges, epsilon_at(step, settings), propagate, margin=margin)
            with frozen(inpainter), fabric.no_backward_sync(inpainter):
                loss, figures = game_loss(fabric, segmenter(images), images, judge, average, recipe, step)
                segmenter_optimizer.zero_grad()
                fabric.backward(loss)
            segmenter_optimizer.step()
            follow(average, segmenter, settings.ema_decay, step)

        if run.due(step):
            figures |= validate(model, run, step)
        run.log(step, **figures)


def begin(model: Model, fabric: Fabric, inpainter_learning_rate: float, segmenter_learning_rate: float) -> dict[str, Any]:
    """The state of a game: inpainter and optimizer, segmenter and optimizer, and the segmenter's running average.

    The inpainter and the average are the model's own; the segmenter that plays is a copy.
    """
    average, player = model.segmenter.to(fabric.device).eval(), copy.deepcopy(model.segmenter).train()
    inpainter, inpainter_optimizer = fabric.setup(
        model.inpainter, Adam(model.inpainter.parameters(), inpainter_learning_rate, fused=True)
    )
    segmenter, segmenter_optimizer = fabric.setup(player, Adam(player.parameters(), segmenter_learning_rate, fused=True))
    return {
        "inpainter": inpainter,
        "inpainter_optimizer": inpainter_optimizer,
        "segmenter": segmenter,
        "segmenter_optimizer": segmenter_optimizer,
        "average": average,
    }


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """The network stands still meanwhile; gradients pass through it."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def is_inpainters_turn(step: int, settings: Separation) -> bool:
    """Whether this step is the inpainter's; the segmenter's follow, and then it is the inpainter's turn again."""
    return step % (settings.inpainter_turns + settings.segmenter_turns) < settings.inpainter_turns


def hidden_regions(
    segmenter: nn.Module, images: Images, recipe: Recipe, batch: int, mine: slice, rng: Generator, margin: int = 0
) -> Masks:
    """What the inpainter has to guess in its turn: random regions, this process's share of the whole batch, or segments.

    Segments have a margin, and now and then they are cut in two: or the inpainter would forget, in a game that shows it whole
    objects, how to guess what is left of one from what is seen of it.
    """
    if torch.rand((), generator=rng) < recipe.separation.random_region_fraction:
        return random_regions(batch, recipe, rng)[mine].to(images.device)
    segments = some_segments(segmenter, images, recipe.separation.sampled_segments, rng)
    split_fraction = recipe.separation.split_fraction
    if split_fraction and torch.rand((), generator=rng) < split_fraction:
        segments = segments * one_side(segments, random_angles(batch, segments.shape[1], rng)[mine])
    return with_margin(segments, margin)


@torch.no_grad()
def some_segments(segmenter: nn.Module, images: Images, count: int, rng: Generator) -> Masks:
    """Some of the segmenter's masks, the same channels for all images."""
    masks: Masks = segmenter(images).softmax(1)
    return masks[:, torch.randperm(masks.shape[1], generator=rng)[:count].to(masks.device)]


def game_loss(
    fabric: Fabric, logits: Logits, images: Images, judge: Judge, average: nn.Module, recipe: Recipe, step: int
) -> tuple[Tensor, dict[str, object]]:
    """What the segmenter minimises in its turn, the separation loss and regrouping, and the figures to log."""
    settings = recipe.separation
    is_hard = settings.hard_from_step is not None and step >= settings.hard_from_step
    separation = judge(hardened(logits) if is_hard else logits.softmax(1))
    loss, figures = separation.mean(), {"separation_loss": separation.mean()}
    if settings.regrouping.weight and step >= settings.regrouping.from_step:
        with fabric.autocast():
            proposal, promise = propose(average, images, judge, settings.regrouping.smallest, recipe.backgrounds > 1)
        accepted = (promise <= separation + settings.regrouping.tolerance).float()
        towards = F.cross_entropy(logits, proposal, reduction="none").mean((1, 2))
        loss = loss + settings.regrouping.weight * (towards * accepted).mean()
        figures["accepted"] = accepted.mean()
    return loss, dict(figures)


@torch.no_grad()
def propose(average: nn.Module, images: Images, judge: Judge, smallest: int, several: bool) -> tuple[Labels, PerImage]:
    """The better of two proposals for each image, by the judge's separation loss, and that loss.

    Both come from the averaged segmenter, whose preferences are steadier than the player's. Where the background has several
    parts there is but one: pieces that run on over the borders of those would hold the objects, too.
    """
    logits = average(images)
    kinds = (False,) if several else (True, False)
    proposals = torch.stack([regroup(logits, whole, smallest, several) for whole in kinds])
    best = torch.stack([judge(one_hot(labels, logits.shape[1])) for labels in proposals]).min(0)
    return proposals[best.indices, torch.arange(len(images), device=images.device)], best.values


def hardened(logits: Logits) -> Masks:
    """The masks of these logits made hard, with the gradient of the soft ones (straight-through; Bengio et al., 2013)."""
    masks = logits.softmax(1)
    return one_hot(masks.argmax(1), masks.shape[1]) + (masks - masks.detach())


def play(
    inpainter: nn.Module, images: Images, edges: Edges, epsilon: float, propagate: bool, masks: Masks, margin: int = 0
) -> PerImage:
    """The separation loss of some segments, guessed from what is seen beyond a margin of so many pixels.

    The unconditional guess rides in the same batch and gets no gradient.
    """
    hidden = torch.cat([with_margin(masks, margin), torch.ones_like(masks[:, :1])], 1)
    guesses: Guesses = inpainter(images, hidden, edges, propagate)
    return separation_loss(images, masks, guesses[:, :-1], guesses[:, -1].detach(), epsilon)


def epsilon_at(step: int, settings: Separation) -> float:
    """Epsilon is held at its first value for some steps, rises linearly to its highest, and falls linearly to its last."""
    hold, ramp = settings.epsilon_hold_steps, settings.epsilon_ramp_steps
    values = (settings.epsilon_start, settings.epsilon_start, settings.epsilon, settings.epsilon_end)
    return float(np.interp(step, (0, hold, hold + ramp, max(hold + ramp, settings.steps)), values))


@torch.no_grad()
def follow(average: nn.Module, player: nn.Module, decay: float, step: int) -> None:
    """Move the running average of the weights towards the player; a plain mean at first, while it is short.

    Statistics that the player keeps of its own maps are taken over as they are.
    """
    decay = min(decay, 1 - 2 / (step + 2))
    for kept, live in zip(average.parameters(), player.parameters(), strict=True):
        kept.lerp_(live, 1 - decay)
    for own, theirs in zip(average.buffers(), player.buffers(), strict=True):
        own.copy_(theirs)


@torch.no_grad()
def validate(model: Model, run: Run, step: int) -> dict[str, object]:
    """`segment_scores`, and a picture of eight validation scenes: their segments, and the inpainter's guess of each."""
    recipe = model.recipe
    images = scenes_of(recipe, "val", seed=0).first(8).images.to(run.fabric.device)
    masks = model.segment(images)
    run.picture(step, game_sheet(images, masks, model.inpainter(images, masks, model.edges(images))))
    return segment_scores(model, run, step)


@torch.no_grad()
def segment_scores(model: Model, run: Run, step: int) -> dict[str, object]:
    """Scores of the averaged segmenter on the validation scenes, and what its masks look like."""
    recipe, device = model.recipe, run.fabric.device
    scenes = scenes_of(recipe, "val", seed=0)
    images, labels = (part.to(device) for part in scenes.first(200))
    masks = model.segment(images)
    truth, predicted = hard(labels), hard(masks)
    objects = (truth - (scenes.backgrounds - 1)).clamp(min=0)  # all backgrounds are 0
    diagnosis = diagnose(masks)
    if diagnosis.warning:
        run.say(f"Step {step + 1}: {diagnosis.warning}")
    scores: dict[str, object] = (
        {}
        if scenes.unlabelled
        else {
            "iou": float(best_overlap_iou(labels, masks)[0].mean()),
            "ari": float(adjusted_rand_index(truth, predicted).mean()),
            "fg_ari": float(adjusted_rand_index(objects, predicted, background=False).mean()),
        }
    )
    return scores | {
        "confidence": diagnosis.confidence,
        "variation": diagnosis.variation,
        "shares": diagnosis.shares,
        "solidity": diagnosis.solidity,
        "warning": diagnosis.warning,
    }
