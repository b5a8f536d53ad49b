"""After stage 2: the segmenter learns segmentations that are found by search, each for one training scene.

A scene's candidates are clusters of its own content, merged step by step, and the segmenter's own segments and pieces. The
separation loss alone chooses among them. What a search of a second finds for one scene, the segmenter then does at a glance.
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from intarsia.clusters import snap_to_colours
from intarsia.engine import Run, descend
from intarsia.model import Model
from intarsia.recipes.settings import Recipe
from intarsia.shapes import Images, Labels, Logits, PerImage, one_hot
from intarsia.stages.clusters import CLUSTERINGS, cluster_levels, match_channels, piece_levels
from intarsia.stages.game import Game, judge, start_game, update_average, with_extra_loss
from intarsia.stages.regrouping import regroup
from intarsia.stages.scenes import StepImages, TrainingScenes
from intarsia.stages.schedules import StepRules, set_learning_rate
from intarsia.stages.validation import show_segments

SURE = 12.0  # logit of a pixel's own segment, where pieces of hard segments are regrouped
LEAST_AREA = 1e-3  # of the image: smaller segments weigh no more than one of this area
NORM = 5.0  # most, of the gradient
COLOUR, BRIGHTNESS = 0.3, 0.4  # the logarithms of an image's factors when colours change are at most these


def distillation(model: Model, scenes: TrainingScenes, run: Run) -> None:
    """Search segmentations, with `model.inpainter` as the judge, and train `model.segmenter`, a running average, on them."""
    recipe, settings, fabric = model.recipe, model.recipe.distillation, run.fabric
    searches = settings.scenes // settings.batch
    game = start_game(model, fabric)
    found = torch.zeros(settings.scenes, recipe.height, recipe.width, dtype=torch.uint8)
    state = game.state() | {"found": found}
    images_of = StepImages(scenes.train, run, settings.batch, settings.steps, period=searches)

    for step in run.steps(state, settings.steps, model.save):
        rng, place = run.rng(step=step), step % searches
        indices, mine = run.shard(settings.batch, step=place)
        images = images_of(step)
        figures: dict[str, object]
        if step < searches:
            seeds = torch.randint(2**31, (settings.batch,), generator=rng)[mine].tolist()
            labels, losses = search(model, game, images, recipe, seeds)
            whole = torch.zeros(settings.batch, *labels.shape[1:], dtype=torch.uint8, device=fabric.device)
            whole[mine] = labels.to(torch.uint8)
            whole = cast(Tensor, fabric.all_reduce(whole, reduce_op="sum"))
            state["found"][place * settings.batch : (place + 1) * settings.batch] = whole.cpu()
            figures = {"separation_loss": losses.mean()}
        else:
            set_learning_rate(game.segmenter_optimizer, settings.learning_rate, step - searches, settings.steps - searches)
            labels = state["found"][indices].long().to(fabric.device)
            images, labels = mirrored(images, labels, settings.upside_down, rng)
            if settings.recolour:
                images = recoloured(images, colour_changes(settings.batch, rng)[mine])
            logits = game.segmenter(images, *model.maps(images))
            learning = learning_loss(logits, labels, settings.balance)
            loss, figures = with_extra_loss(run, images, logits, learning, {"loss": learning})
            descend(fabric, loss, game.segmenter_optimizer, max_norm=NORM)
            update_average(game.average, game.segmenter, settings.ema_decay, step - searches)
        if step >= searches and run.due(step):  # before, the segmenter does not change
            figures |= show_segments(model, scenes.val, run, step)
        run.log(step, **figures)


@torch.no_grad()
def search(model: Model, game: Game, images: Images, recipe: Recipe, seeds: list[int]) -> tuple[Labels, PerImage]:
    """The candidate with the lowest separation loss for each image: labels `b h w`, and that loss."""
    settings, segments = recipe.distillation, recipe.segments
    contents, edges = model.contents(images), model.edges(images)
    rules = StepRules(epsilon=settings.epsilon, empty=recipe.separation.empty, margin=settings.margin)

    def loss_of(labels: Labels) -> PerImage:
        return judge(game.inpainter, contents, edges, one_hot(labels, segments), rules)

    best = Best(loss_of)
    values = F.interpolate(contents[0], size=images.shape[-2:], mode="bilinear")
    for turn in range(settings.rounds):
        ways = [CLUSTERINGS[(seed + turn) % len(CLUSTERINGS)] for seed in seeds]
        levels = [cluster_levels(v, segments, way, seed + turn) for v, way, seed in zip(values, ways, seeds, strict=True)]
        for candidate in torch.stack(levels, 1).to(images.device):
            best.add(candidate)
    if settings.rounds:
        logits = SURE * one_hot(best.labels, segments)
        best.add(regroup(logits, False, several_backgrounds=recipe.backgrounds > 1))
    else:
        logits = game.average(images, *model.maps(images))
        best.add(logits.argmax(1))
        for across in (False,) if recipe.backgrounds > 1 else (True, False):
            best.add(regroup(logits, across, several_backgrounds=recipe.backgrounds > 1))
        levels = [piece_levels(v, own, segments) for v, own in zip(values, logits.argmax(1), strict=True)]
        for candidate in torch.stack(levels, 1).to(images.device):
            best.add(candidate)
    if settings.border_radius:
        values = values if contents[0].shape[2:] == images.shape[2:] else images
        reach = settings.border_radius, settings.border_window
        labels = snap_to_colours(best.labels, segments, values, settings.border_colours, *reach, seeds)
        return labels, loss_of(labels)
    return best.labels, best.losses


class Best:
    """The best labels seen so far for each image of a batch."""

    def __init__(self, loss_of: Callable[[Labels], PerImage]) -> None:
        self.loss_of = loss_of
        self.labels = self.losses = torch.empty(0)

    def add(self, labels: Labels) -> None:
        """Judge other labels `b h w`, and keep them where they are better."""
        losses = self.loss_of(labels)
        if not len(self.labels):
            self.labels, self.losses = labels, losses
            return
        better = losses < self.losses
        self.labels = torch.where(better[:, None, None], labels, self.labels)
        self.losses = torch.where(better, losses, self.losses)


def mirrored(images: Images, labels: Labels, upside_down: bool, rng: Generator) -> tuple[Images, Labels]:
    """Images `b 3 h w` and labels `b h w`, all of them mirrored at random."""
    for axis in (3, 2) if upside_down else (3,):
        if torch.rand((), generator=rng) < 0.5:
            images, labels = images.flip(axis), labels.flip(axis - 1)
    return images, labels


def colour_changes(batch: int, rng: Generator) -> Tensor:
    """Random changes of colours: matrices `b 3 3`, to be multiplied by red, green and blue.

    Each colour has a factor between `exp(-COLOUR)` and `exp(COLOUR)`, and all three have another one in common, between
    `exp(-BRIGHTNESS)` and `exp(BRIGHTNESS)`. In half of the matrices the colours are put in a random order.
    """
    exponents = COLOUR * torch.rand(batch, 1, 3, generator=rng) + BRIGHTNESS * torch.rand(batch, 1, 1, generator=rng)
    factors = (2 * exponents - COLOUR - BRIGHTNESS).exp()
    orders = torch.rand(batch, 3, generator=rng).argsort(1)
    exchanged = torch.rand(batch, 1, generator=rng) < 0.5
    return torch.eye(3)[torch.where(exchanged, orders, torch.arange(3))] * factors


def recoloured(images: Images, changes: Tensor) -> Images:
    """Images `b 3 h w` with their colours multiplied by matrices `b 3 3`, clipped to [0, 1]."""
    return torch.einsum("bij,bjhw->bihw", changes.to(images), images).clamp(0, 1)


def learning_loss(logits: Logits, labels: Labels, balance: float) -> Tensor:
    """Cross-entropy of logits `b k h w` with labels `b h w`, in the channels that fit the logits best.

    A pixel's weight is its segment's area to the power of minus `balance`, relative to the mean of its image.
    """
    with torch.no_grad():
        labels = match_channels(labels, logits)
        areas = one_hot(labels, logits.shape[1]).mean((2, 3)).clamp(min=LEAST_AREA)
        weights = areas.gather(1, labels.flatten(1)).view_as(labels) ** -balance
        weights = weights / weights.mean((1, 2), keepdim=True)
    return (F.cross_entropy(logits, labels, reduction="none") * weights).mean()
