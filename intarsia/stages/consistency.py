"""Stage 5: perceptual cycle consistency. The segmenter has to find an object of changed shape in the same segment."""

from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Generator, Tensor, nn

from intarsia.engine import Run, descend
from intarsia.masks import background_last_order, open_masks, reorder_channels, visible_shapes
from intarsia.model import Model
from intarsia.networks.autoencoder import Reconstruction, SceneAutoencoder
from intarsia.objectives import consistency_error, divergence
from intarsia.pictures import coloured, sheet
from intarsia.recipes.settings import Recipe
from intarsia.shapes import Images, Logits, Masks
from intarsia.stages.codes import draw, reconstruct
from intarsia.stages.game import (
    Turn,
    frozen,
    inpainter_turn,
    segmenter_loss,
    start_game,
    start_turn,
    update_average,
    with_extra_loss,
)
from intarsia.stages.scenes import StepImages, TrainingScenes
from intarsia.stages.schedules import final_rules, is_inpainters_turn, set_learning_rate
from intarsia.stages.validation import segment_scores

DIMENSIONS = 2  # how many numbers of a shape code change: the most informative ones
REACH = 1.0  # they are drawn uniformly from minus this to this


def consistency(model: Model, scenes: TrainingScenes, run: Run) -> None:
    """Train `model.inpainter` in place, and `model.segmenter`, which becomes a running average; the VAEs are not trained."""
    recipe, settings, fabric = model.recipe, model.recipe.consistency, run.fabric
    model.autoencoder.to(fabric.device).requires_grad_(False)
    game, rules = start_game(model, fabric), final_rules(recipe.separation)
    images_of = StepImages(scenes.train, run, settings.batch, settings.steps)

    for step in run.steps(game.state(), settings.steps, model.save):
        set_learning_rate(game.segmenter_optimizer, settings.learning_rate, step, settings.steps)
        turn = start_turn(model, images_of(step), run, step, settings.batch, rules)

        if settings.separation_weight and is_inpainters_turn(step, recipe.separation.segmenter_turns):
            figures = inpainter_turn(game, turn, recipe, fabric)
        else:
            with frozen(game.inpainter):
                logits = game.segmenter(turn.images, *turn.maps)
                error = error_of_changes(fabric, model, game.segmenter, logits, turn)
                loss, figures = settings.weight * error, {"consistency_error": error}
                if settings.separation_weight:
                    separation, found = segmenter_loss(game, turn, logits, recipe, fabric)
                    loss, figures = loss + settings.separation_weight * separation, found | figures
                loss, figures = with_extra_loss(run, turn.images, logits, loss, figures)
                descend(fabric, loss, game.segmenter_optimizer)
            update_average(game.average, game.segmenter, recipe.separation.ema_decay, step)

        if run.due(step):
            figures |= validate(model, scenes, run, step)
        run.log(step, **figures)


def error_of_changes(fabric: Fabric, model: Model, segmenter: nn.Module, logits: Logits, turn: Turn) -> Tensor:
    """The consistency error of the turn's images, in each of which one object is changed.

    Args:
        fabric: For the precision, and for what processes share.
        model: The recipe, and the scene autoencoder that draws the changes.
        segmenter: It has to find the changed objects.
        logits: The segmenter's, of the turn's images.
        turn: What is played on.
    """
    recipe, settings, images = model.recipe, model.recipe.consistency, turn.images
    masks = open_masks(logits.softmax(1))
    order = background_last_order(masks, recipe.vaes.background_per_batch)
    draws = draw(recipe, turn.batch, turn.mine, turn.rng, fabric.device)
    number, other, values = draw_change(recipe, turn.batch, turn.rng)
    with fabric.autocast():
        clean = reorder_channels(masks, order)
        found = reconstruct(model.autoencoder, images, clean, draws, recipe)
        dimensions = most_informative(fabric, found)
        values = overlapping(found, other, dimensions, values[:, turn.mine], settings.overlap_fraction)
        codes = changed_codes(found, number, dimensions, values)
        changed, demanded = changed_scenes(model.autoencoder, found, number, codes, settings.canonical, recipe.vae.sharpness)
    if settings.canonical:
        demanded = reorder_channels(demanded, order.argsort(1).repeat(settings.variations, 1))
    error = consistency_error(demanded, segmenter(changed, *model.maps(changed))).mean()
    return error if settings.canonical else error / turn.batch


def draw_change(recipe: Recipe, batch: int, rng: Generator, reach: float = REACH) -> tuple[int, int, Tensor]:
    """The object that changes in all scenes, another one that it may overlap, and new values `v b d` for the whole batch.

    A scene of one object has no other: it is the same one then.
    """
    objects = recipe.objects
    number = int(torch.randint(objects, (), generator=rng))
    values = 2 * torch.rand(recipe.consistency.variations, batch, DIMENSIONS, generator=rng) - 1
    ahead = 1 + int(torch.randint(max(objects - 1, 1), (), generator=rng))
    return number, (number + ahead) % objects, reach * values


@torch.no_grad()
def most_informative(fabric: Fabric, found: Reconstruction) -> Tensor:
    """The `DIMENSIONS` numbers of a shape code with the most nats, on average over all processes' objects; in rising order."""
    nats = divergence(found.shape_examples.mean, found.shape_examples.log_variance).mean((0, 1))
    nats = cast(Tensor, fabric.all_reduce(nats))
    return nats.topk(DIMENSIONS).indices.sort().values


def overlapping(found: Reconstruction, other: int, dimensions: Tensor, values: Tensor, fraction: float) -> Tensor:
    """Values `v b d`. In the first variations, this fraction of all, they are near the values of another object.

    There half of the given value is added to the other object's. Where these numbers say where an object is, it comes to lie
    behind the other.
    """
    count = round(fraction * len(values))
    there = found.mean.shape[:, other].detach()[:, dimensions].to(values)
    return torch.cat([there + values[:count] / 2, values[count:]])


def changed_codes(found: Reconstruction, number: int, dimensions: Tensor, values: Tensor) -> Tensor:
    """An object's mean shape codes `(v b) d` with some of their numbers replaced by values `v b d`."""
    codes = found.mean.shape[:, number].repeat(len(values), 1)
    return codes.index_copy(1, dimensions, values.flatten(0, 1).to(codes))


def changed_scenes(
    autoencoder: SceneAutoencoder, found: Reconstruction, number: int, codes: Tensor, in_order: bool, sharpness: float
) -> tuple[Images, Masks]:
    """Scenes in which one object has another shape, and their segments.

    As in the original, the changed object is behind all others. Gradients flow through the images back to the masks that were
    reconstructed, but not through the segments.

    Args:
        autoencoder: The scene autoencoder.
        found: Its reconstruction of `b` images.
        number: The number of the object.
        codes: `(v b) d`, the object's new shape codes: v variations of each image.
        in_order: Fuse the layers in the order that the fusion has learned; the original puts the changed one first.
        sharpness: As in `Vae`; 1 in the original.

    Returns:
        Images `(v b) 3 h w`, and masks `(v b) n+1 h w`, which sum to 1: the objects in their order, the background last.
    """
    variations = len(codes) // len(found.images)
    before, after = slice(number), slice(number + 1, None)

    def others(parts: Tensor) -> Tensor:
        return torch.cat([parts[:, before], parts[:, after]], 1)

    shapes = visible_shapes(others((sharpness * found.shape_logits).sigmoid()))
    kept = autoencoder.object_fusion(others(found.textures).flatten(0, 1), shapes.flatten(0, 1)[:, None]).sigmoid()
    kept = kept.unflatten(0, shapes.shape[:2]).repeat(variations, 1, 1, 1, 1)
    shapes = shapes.repeat(variations, 1, 1, 1)
    own = (sharpness * autoencoder.shape.decode(codes)).sigmoid() * (1 - shapes.sum(1, keepdim=True))
    textures = found.textures[:, number].repeat(variations, 1, 1, 1)
    shown = autoencoder.object_fusion(textures, own).sigmoid()[:, None]
    visible = torch.cat([shapes[:, before], own, shapes[:, number:]], 1)
    ground = 1 - visible.sum(1, keepdim=True)
    behind = (found.background.repeat(variations, 1, 1, 1) * ground)[:, None]
    layers = [kept[:, before], shown, kept[:, number:], behind] if in_order else [shown, kept, behind]
    return autoencoder.scene_fusion(torch.cat(layers, 1)), torch.cat([visible, ground], 1).detach()


@torch.no_grad()
def validate(model: Model, scenes: TrainingScenes, run: Run, step: int) -> dict[str, object]:
    """`segment_scores`. Saves a picture of eight validation scenes.

    Its rows: the images and their segments; the images with the first object's shape changed, the segments that should be
    found there, and those that are found.
    """
    recipe, settings = model.recipe, model.recipe.consistency
    images = scenes.val.first(8).images.to(run.fabric.device)
    with run.fabric.autocast():
        masks = model.ordered_masks(images)
        found = model.autoencoder(images, masks)
        nats = divergence(found.mean.shape, found.log_variance.shape).mean((0, 1))
        codes = changed_codes(found, 0, nats.topk(DIMENSIONS).indices, torch.full((1, len(images), DIMENSIONS), REACH))
        changed, demanded = changed_scenes(model.autoencoder, found, 0, codes, settings.canonical, recipe.vae.sharpness)
        again = model.ordered_masks(changed)
    run.picture(step, sheet([images, coloured(masks), changed, coloured(demanded), coloured(again)]))
    return segment_scores(model, scenes.val, run, step)
