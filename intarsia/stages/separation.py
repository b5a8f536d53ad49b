"""Stage 2: segmenter against inpainter (Contextual Information Separation)."""

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, nn

from intarsia.data import scenes_of
from intarsia.diagnosis import diagnose
from intarsia.engine import Run
from intarsia.metrics import adjusted_rand_index, best_overlap_iou, hard
from intarsia.model import Model
from intarsia.networks.tensorflow import Adam
from intarsia.objectives import inpainting_loss, separation_loss
from intarsia.pictures import game_sheet
from intarsia.regrouping import regroup
from intarsia.settings import Separation
from intarsia.shapes import Edges, Guesses, Images, Labels, Logits, Masks, PerImage, one_hot
from intarsia.stages.inpainting import random_regions, set_learning_rate


def separation(model: Model, run: Run) -> None:
    """Train `model.inpainter` in place; `model.segmenter` becomes the running average of the segmenter that plays."""
    recipe, settings, fabric = model.recipe, model.recipe.separation, run.fabric
    scenes = scenes_of(recipe, "train")
    average, player = model.segmenter.to(fabric.device), copy.deepcopy(model.segmenter)
    inpainter, inpainter_optimizer = fabric.setup(
        model.inpainter, Adam(model.inpainter.parameters(), settings.inpainter_learning_rate, fused=True)
    )
    segmenter, segmenter_optimizer = fabric.setup(player.train(), Adam(player.parameters(), fused=True))
    state = {
        "inpainter": inpainter,
        "inpainter_optimizer": inpainter_optimizer,
        "segmenter": segmenter,
        "segmenter_optimizer": segmenter_optimizer,
        "average": average,
    }

    hard_from_step = settings.steps if settings.hard_from_step is None else settings.hard_from_step
    for step in run.steps(state, settings.steps, model.save):
        draws = run.generator(step=step)
        indices, mine = run.share(settings.batch, step=step)
        images = scenes(indices).images.to(fabric.device)
        edges, spread = model.edges(images), step >= settings.spread_from_step
        rates = (settings.segmenter_learning_rate, settings.segmenter_final_learning_rate)
        set_learning_rate(segmenter_optimizer, rates[0], step, settings.steps, settings.warmup_steps, rates[1])

        if step % (settings.inpainter_turns + settings.segmenter_turns) < settings.inpainter_turns:
            inpainter.requires_grad_(True)
            if torch.rand((), generator=draws) < settings.random_regions:
                hidden = random_regions(settings.batch, recipe, draws)[mine].to(fabric.device)
            else:
                hidden = some_segments(segmenter, images, settings.branches, draws)
            practised = spread or bool(torch.rand((), generator=draws) < settings.spread_practice)
            loss = inpainting_loss(images, hidden, inpainter(images, hidden, edges, practised))
            inpainter_optimizer.zero_grad()
            fabric.backward(loss)
            inpainter_optimizer.step()
            figures: dict[str, object] = {"inpainting_loss": loss}
        else:
            inpainter.requires_grad_(False)
            logits = segmenter(images)
            masks = hardened(logits) if step >= hard_from_step else logits.softmax(1)
            judge = partial(play, inpainter, images, edges, epsilon_at(step, settings), spread)
            with fabric.no_backward_sync(inpainter):
                separation = judge(masks)
                loss, figures = separation.mean(), {"separation_loss": separation.mean()}
                if settings.regrouping.weight and step >= settings.regrouping.from_step:
                    with fabric.autocast():
                        proposal, promise = propose(average, images, judge, settings.regrouping.smallest)
                    accepted = (promise <= separation + settings.regrouping.tolerance).float()
                    towards = F.cross_entropy(logits, proposal, reduction="none").mean((1, 2))
                    loss = loss + settings.regrouping.weight * (towards * accepted).mean()
                    figures["accepted"] = accepted.mean()
                segmenter_optimizer.zero_grad()
                fabric.backward(loss)
            segmenter_optimizer.step()
            follow(average, player, settings.averaging, step)

        if run.due(step):
            figures |= validate(model, run, step)
        run.log(step, **figures)


@torch.no_grad()
def some_segments(segmenter: nn.Module, images: Images, count: int, draws: Generator) -> Masks:
    """Some of the segmenter's masks, the same channels for all images."""
    masks: Masks = segmenter(images).softmax(1)
    return masks[:, torch.randperm(masks.shape[1], generator=draws)[:count].to(masks.device)]


@torch.no_grad()
def propose(average: nn.Module, images: Images, judge: Callable[[Masks], PerImage], smallest: int) -> tuple[Labels, PerImage]:
    """The better of two proposals for each image, by the judge's separation loss, and that loss.

    Both come from the averaged segmenter, whose preferences are steadier than the player's.
    """
    logits = average(images)
    proposals = torch.stack([regroup(logits, whole, smallest) for whole in (True, False)])
    best = torch.stack([judge(one_hot(labels, logits.shape[1])) for labels in proposals]).min(0)
    return proposals[best.indices, torch.arange(len(images), device=images.device)], best.values


def hardened(logits: Logits) -> Masks:
    """The masks of these logits made hard, with the gradient of the soft ones (straight-through; Bengio et al., 2013)."""
    masks = logits.softmax(1)
    return one_hot(masks.argmax(1), masks.shape[1]) + (masks - masks.detach())


def play(inpainter: nn.Module, images: Images, edges: Edges, epsilon: float, spread: bool, masks: Masks) -> PerImage:
    """The separation loss of some segments; the unconditional guess rides in the same batch and gets no gradient."""
    guesses: Guesses = inpainter(images, torch.cat([masks, torch.ones_like(masks[:, :1])], 1), edges, spread)
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
    """Scores of the averaged segmenter on the validation scenes, what its masks look like, and a picture of eight scenes."""
    recipe, device = model.recipe, run.fabric.device
    scenes = scenes_of(recipe, "val", seed=0)
    images, labels = (part.to(device) for part in scenes.first(200))
    masks = model.segment(images)
    truth, predicted = hard(labels), hard(masks)
    shown = slice(8)
    guesses = model.inpainter(images[shown], masks[shown], model.edges(images[shown]))
    run.picture(step, game_sheet(images[shown], masks[shown], guesses))
    diagnosis = diagnose(masks)
    if diagnosis.warning:
        run.say(f"Step {step + 1}: {diagnosis.warning}")
    scores: dict[str, object] = (
        {}
        if scenes.unlabelled
        else {
            "iou": float(best_overlap_iou(labels, masks)[0].mean()),
            "ari": float(adjusted_rand_index(truth, predicted).mean()),
            "fg_ari": float(adjusted_rand_index(truth, predicted, background=False).mean()),
        }
    )
    return scores | {
        "confidence": diagnosis.confidence,
        "variation": diagnosis.variation,
        "shares": diagnosis.shares,
        "solidity": diagnosis.solidity,
        "warning": diagnosis.warning,
    }
