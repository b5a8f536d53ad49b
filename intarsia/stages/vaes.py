"""Stage 3: objects and background become codes and back."""

import torch
from torch import Generator, Tensor

from intarsia.data import scenes_of
from intarsia.engine import Run
from intarsia.masks import translate
from intarsia.metrics import psnr, shape_iou
from intarsia.model import Model
from intarsia.networks.autoencoder import Codes, Reconstruction
from intarsia.networks.tensorflow import Adam
from intarsia.objectives import capacity_loss, divergence, hidden_error, object_error, scene_error, shape_error
from intarsia.pictures import coloured, sheet
from intarsia.recipes.settings import Recipe, Vaes
from intarsia.shapes import Images, Masks
from intarsia.stages.inpainting import set_learning_rate

COPIES = 2  # of every mask, each moved on its own


def vaes(model: Model, run: Run) -> None:
    """Train `model.autoencoder` in place, on what the segmenter finds; segmenter and inpainter stand still."""
    recipe, settings, fabric = model.recipe, model.recipe.vaes, run.fabric
    scenes = scenes_of(recipe, "train")
    model.segmenter.to(fabric.device).train()  # a normalisation by the batch goes on by the batch (as in the original)
    autoencoder, optimizer = fabric.setup(model.autoencoder, Adam(model.autoencoder.parameters(), fused=True))

    for step in run.steps({"autoencoder": autoencoder, "optimizer": optimizer}, settings.steps, model.save):
        final = settings.final_learning_rate
        set_learning_rate(optimizer, settings.learning_rate, step, settings.steps, settings.warmup_steps, final)
        indices, mine = run.shard(settings.batch, step=step)
        images = scenes(indices).images.to(fabric.device)
        rng = run.generator(step=step)
        noise = Codes(*(part[mine].to(fabric.device) for part in draw_noise(recipe, settings.batch, rng)))
        with fabric.autocast(), torch.no_grad():
            images, masks = model.autoencoder_input(images, model.ordered(model.segmenter(images).softmax(1)))
        practice = moved_shapes(masks, draw_moves(recipe, settings.batch, rng)[:, mine]) if settings.max_shift else None

        # Detached at the borders between the networks, the sum trains each of them on its own errors alone.
        errors = errors_of(autoencoder(images, masks, noise, practice), images, masks)
        loss = vae_loss(errors, settings, step, run)
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()

        run.log(step, loss=loss, **errors, **(validate(model, run, step) if run.due(step) else {}))


def capacity_at(step: int, settings: Vaes) -> float:
    """The nats that a shape code should carry: from 0 linearly to the capacity, and then no more."""
    return settings.capacity * ramp_at(step, settings.capacity_ramp_steps)


def ramp_at(step: int, steps: int) -> float:
    """From 0 linearly to 1, over so many steps."""
    return min(1.0, step / steps) if steps else 1.0


def price_at(step: int, settings: Vaes) -> float:
    """The share of both betas, and of shape_gamma, that counts: 0 at first, then rising to 1."""
    held = settings.beta_hold_steps
    return ramp_at(step - held, settings.beta_ramp_steps) if step > held else 0.0


def vae_loss(errors: dict[str, Tensor], settings: Vaes, step: int, run: Run) -> Tensor:
    """The sum of all networks' losses, with the capacity and weights of this step of stage 3, from what `errors_of` gives."""
    nats, shard = errors["shape_nats"], price_at(step, settings)
    return (
        errors["texture_error"]
        + shard * settings.texture_beta * errors["texture_nats"]
        + errors["shape_error"]
        + shard * settings.shape_gamma * capacity_loss(nats, capacity_at(step, settings), run.mean_over_processes(nats))
        + errors["background_error"]
        + shard * settings.background_beta * errors["background_nats"]
        + errors["object_error"]
        + errors["scene_error"]
    )


def draw_noise(recipe: Recipe, batch: int, rng: Generator) -> Codes:
    """Noise from a standard normal for every code of a step's whole batch."""
    objects, codes = recipe.objects, recipe.vae
    shapes = objects * (1 + COPIES) if recipe.vaes.max_shift else objects
    return Codes(
        texture=torch.randn(batch, objects, codes.texture_dimension, generator=rng),
        shape=torch.randn(batch, shapes, codes.shape_dimension, generator=rng),
        background=torch.randn(batch, codes.background_dimension, generator=rng),
    )


def draw_moves(recipe: Recipe, batch: int, rng: Generator) -> Tensor:
    """How far `moved_shapes` moves each copy to the right and down, `2 b COPIES*n`, in pixels, for a step's whole batch."""
    return recipe.vaes.max_shift * (2 * torch.rand(2, batch, COPIES * recipe.objects, generator=rng) - 1)


def moved_shapes(masks: Masks, moves: Tensor) -> Masks:
    """Copies of the objects' masks, each moved on its own, `b COPIES*n h w`: other places for the shape VAE to learn.

    The original makes four copies, and takes a random half of all of them.
    """
    return translate(masks[:, :-1].repeat(1, COPIES, 1, 1), *moves.to(masks.device))


def errors_of(found: Reconstruction, images: Images, masks: Masks) -> dict[str, Tensor]:
    """Every error of the scene autoencoder, as a mean over images and objects; codes' divergences summed over dimensions."""
    objects = masks[:, :-1]
    ground = 1 - objects.sum(1, keepdim=True)  # not the last mask: what the opening removed is background as well
    nats, examples = divergences(found), found.shape_examples
    return {
        "texture_error": hidden_error(images, objects, found.textures).mean(),
        "texture_nats": nats.texture.sum(-1).mean(),
        "shape_error": shape_error(examples.masks, examples.logits).mean(),
        "shape_nats": divergence(examples.mean, examples.log_variance).sum(-1).mean(),
        "background_error": hidden_error(images, ground, found.background[:, None]).mean(),
        "background_nats": nats.background.sum(-1).mean(),
        "object_error": object_error(images, objects, found.object_logits).mean(),
        "scene_error": scene_error(images, found.images).mean(),
    }


def divergences(found: Reconstruction) -> Codes:
    """Of every number of every code, in nats."""
    return Codes(*(divergence(*posterior) for posterior in zip(found.mean, found.log_variance, strict=True)))


@torch.no_grad()
def validate(model: Model, run: Run, step: int) -> dict[str, object]:
    """Scores on the validation scenes with every code at its mean, nats per dimension, and a picture of eight scenes."""
    recipe, device = model.recipe, run.fabric.device
    images = scenes_of(recipe, "val", seed=0).first(100).images.to(device)
    with run.fabric.autocast():
        images, masks = model.autoencoder_input(images, model.ordered_masks(images))
        found = model.autoencoder(images, masks)
    shapes, nats, shown = found.shape_logits.sigmoid(), divergences(found), slice(8)
    objects = found.object_logits[shown].sigmoid().unbind(1)
    run.picture(
        step,
        sheet(
            [
                images[shown],
                coloured(masks[shown]),
                coloured(shapes[shown]),
                *objects,
                found.background[shown],
                found.images[shown],
            ]
        ),
    )
    overlaps = shape_iou(masks[:, :-1], shapes)
    overlaps = overlaps[~overlaps.isnan()]  # an image whose masks are all faint or tiny has nothing to compare
    return {
        "psnr": float(psnr(images, found.images).mean()),
        "shape_iou": float(overlaps.mean()) if len(overlaps) else None,
        "texture_kl": nats.texture.mean((0, 1)).tolist(),
        "shape_kl": nats.shape.mean((0, 1)).tolist(),
        "background_kl": nats.background.mean(0).tolist(),
    }
