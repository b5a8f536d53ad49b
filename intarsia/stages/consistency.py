"""Stage 5: perceptual cycle consistency. An object whose shape is changed has to be found in its own segment again."""

from functools import partial
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Generator, Tensor, nn

from intarsia.data import scenes_of
from intarsia.engine import Run
from intarsia.masks import background_last_order, open_masks, reorder_channels, visible_shapes
from intarsia.model import Model
from intarsia.networks.autoencoder import Codes, Reconstruction, SceneAutoencoder
from intarsia.objectives import consistency_error, divergence
from intarsia.pictures import coloured, sheet
from intarsia.recipes.settings import Recipe
from intarsia.shapes import Images, Logits, Masks
from intarsia.stages.inpainting import improve_guesses, set_learning_rate
from intarsia.stages.separation import (
    begin,
    epsilon_at,
    follow,
    frozen,
    game_loss,
    hidden_regions,
    is_inpainters_turn,
    play,
    segment_scores,
)
from intarsia.stages.vaes import draw_moves, draw_noise, moved_shapes


def consistency(model: Model, run: Run) -> None:
    """Train `model.inpainter` in place, and `model.segmenter`, which becomes a running average; the VAEs stand still."""
    recipe, settings, game, fabric = model.recipe, model.recipe.consistency, model.recipe.separation, run.fabric
    scenes = scenes_of(recipe, "train")
    model.autoencoder.to(fabric.device).requires_grad_(False)
    state = begin(model, fabric, settings.inpainter_learning_rate, settings.segmenter_learning_rate)
    inpainter, inpainter_optimizer, segmenter, segmenter_optimizer, average = state.values()
    played = max(0, game.steps - 1)  # the game goes on as in the last step of stage 2

    for step in run.steps(state, settings.steps, model.save):
        rng = run.generator(step=step)
        indices, mine = run.shard(settings.batch, step=step)
        images = scenes(indices).images.to(fabric.device)
        edges, propagate = model.edges(images), played >= game.propagation_from_step
        rates = (settings.segmenter_learning_rate, settings.segmenter_final_learning_rate)
        set_learning_rate(segmenter_optimizer, rates[0], step, settings.steps, 0, rates[1])

        figures: dict[str, object]
        if settings.separation_weight and is_inpainters_turn(step, game):
            hidden = hidden_regions(segmenter, images, recipe, settings.batch, mine, rng)
            loss = improve_guesses(fabric, inpainter, inpainter_optimizer, images, hidden, edges, propagate)
            figures = {"inpainting_loss": loss}
        else:
            judge = partial(play, inpainter, images, edges, epsilon_at(played, game), propagate)
            with frozen(inpainter), fabric.no_backward_sync(inpainter):
                logits = segmenter(images)
                error = error_of_changes(fabric, model, segmenter, images, logits, mine, rng)
                loss, figures = settings.weight * error, {"consistency_error": error}
                if settings.separation_weight:
                    of_the_game, found = game_loss(fabric, logits, images, judge, average, recipe, played)
                    loss, figures = loss + settings.separation_weight * of_the_game, found | figures
                segmenter_optimizer.zero_grad()
                fabric.backward(loss)
            segmenter_optimizer.step()
            follow(average, segmenter, game.ema_decay, step)

        if run.due(step):
            figures |= validate(model, run, step)
        run.log(step, **figures)


def error_of_changes(
    fabric: Fabric, model: Model, segmenter: nn.Module, images: Images, logits: Logits, mine: slice, rng: Generator
) -> Tensor:
    """The consistency error of some images, one object of each changed; for this process's share of the whole batch."""
    recipe, settings = model.recipe, model.recipe.consistency
    masks = open_masks(logits.softmax(1))
    order = background_last_order(masks, recipe.vaes.background_per_batch)
    noise = Codes(*(part[mine].to(fabric.device) for part in draw_noise(recipe, settings.batch, rng)))
    moves = draw_moves(recipe, settings.batch, rng)[:, mine]
    number, other, values = draw_change(recipe, rng)
    with fabric.autocast():
        clean = reorder_channels(masks, order)
        found = model.autoencoder(images, clean, noise, moved_shapes(clean, moves) if recipe.vaes.max_shift else None)
        dimensions = informative(fabric, found, settings.dimensions)
        values = met(found, other, dimensions, values[:, mine], round(settings.overlap_fraction * settings.variations))
        codes = changed_codes(found, number, dimensions, values)
        changed, demanded = changed_scenes(model.autoencoder, found, number, codes, settings.canonical, recipe.vae.sharpness)
    if settings.canonical:
        demanded = reorder_channels(demanded, order.argsort(1).repeat(settings.variations, 1))
    error = consistency_error(demanded, segmenter(changed)).mean()
    return error if settings.canonical else error / settings.batch


def draw_change(recipe: Recipe, rng: Generator) -> tuple[int, int, Tensor]:
    """Which object of all scenes changes, which other one it may meet, and what is drawn for it: `v b d`, a step's whole batch.

    Where there is but one object, it meets itself.
    """
    settings, objects = recipe.consistency, recipe.objects
    number = int(torch.randint(objects, (), generator=rng))
    values = 2 * torch.rand(settings.variations, settings.batch, settings.dimensions, generator=rng) - 1
    ahead = 1 + int(torch.randint(max(objects - 1, 1), (), generator=rng))
    return number, (number + ahead) % objects, settings.reach * values


@torch.no_grad()
def informative(fabric: Fabric, found: Reconstruction, count: int) -> Tensor:
    """The numbers of a shape code that tell the most, on average over the objects of the whole batch: `count`, rising."""
    nats = divergence(found.shape_examples.mean, found.shape_examples.log_variance).mean((0, 1))
    nats = cast(Tensor, fabric.all_reduce(nats))
    return nats.topk(count).indices.sort().values


def met(found: Reconstruction, other: int, dimensions: Tensor, values: Tensor, count: int) -> Tensor:
    """Values `v b d` of which the first `count` variations are halved and added to another object's numbers."""
    there = found.mean.shape[:, other].detach()[:, dimensions].to(values)
    return torch.cat([there + values[:count] / 2, values[count:]])


def changed_codes(found: Reconstruction, number: int, dimensions: Tensor, values: Tensor) -> Tensor:
    """An object's mean shape codes `(v b) d` with some numbers replaced by values `v b count`."""
    codes = found.mean.shape[:, number].repeat(len(values), 1)
    return codes.index_copy(1, dimensions, values.flatten(0, 1).to(codes))


def changed_scenes(
    autoencoder: SceneAutoencoder, found: Reconstruction, number: int, codes: Tensor, in_order: bool, sharpness: float
) -> tuple[Images, Masks]:
    """Scenes in which one object has other shapes, and where their segments are now.

    As in the original, the changed object is behind all others, and gradients flow through the images back to the masks they
    came from, but not through the segments.

    Args:
        autoencoder: Whose codes they are.
        found: What it made of `b` images.
        number: The number of the object.
        codes: `(v b) d`, its shape codes: v variations of each image.
        in_order: Give the layers to the fusion in the order that it has learned; the original puts the changed one first.
        sharpness: As in `Vae`; 1 for shapes with all the doubt of their VAE, as in the original.

    Returns:
        Images `(v b) 3 h w`, and masks `(v b) n+1 h w`: the objects in their order, the background last; they sum to 1.
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
def validate(model: Model, run: Run, step: int) -> dict[str, object]:
    """`segment_scores`, and a picture of eight validation scenes.

    Its rows: the images, their segments; the images with the first object's shape changed, the segments that are there now, and
    those found.
    """
    recipe, settings, device = model.recipe, model.recipe.consistency, run.fabric.device
    images = scenes_of(recipe, "val", seed=0).first(8).images.to(device)
    with run.fabric.autocast():
        masks = model.ordered_masks(images)
        found = model.autoencoder(images, masks)
        dimensions = divergence(found.mean.shape, found.log_variance.shape).mean((0, 1)).topk(settings.dimensions).indices
        values = torch.full((1, len(images), settings.dimensions), settings.reach)
        codes = changed_codes(found, 0, dimensions, values)
        changed, demanded = changed_scenes(model.autoencoder, found, 0, codes, settings.canonical, recipe.vae.sharpness)
        again = model.ordered_masks(changed)
    run.picture(step, sheet([images, coloured(masks), changed, coloured(demanded), coloured(again)]))
    return segment_scores(model, run, step)
