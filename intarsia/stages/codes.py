"""The scene autoencoder in training, as stages 3 to 5 share it: random draws, reconstruction, errors and loss."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from intarsia.engine import Run
from intarsia.masks import translate
from intarsia.networks.autoencoder import Codes, Reconstruction
from intarsia.objectives import capacity_loss, divergence, hidden_error, object_error, scene_error, shape_error
from intarsia.recipes.settings import Recipe, Vaes
from intarsia.shapes import Images, Masks
from intarsia.stages.schedules import capacity_at, price_at

COPIES = 2  # of every mask, each shifted on its own. The original makes four, and takes a random half of all of them


class Draws(NamedTuple):
    """The random draws for one reconstruction.

    noise: From a standard normal, for every number of every code.
    shifts: `2 b COPIES*n`, how far each copy of a mask is moved to the right and down, in pixels.
    """

    noise: Codes
    shifts: Tensor


def draw(recipe: Recipe, batch: int, mine: slice, rng: Generator, device: torch.device) -> Draws:
    """The draws for this process's part of a batch."""
    objects, sizes, max_shift = recipe.objects, recipe.vae, recipe.vaes.max_shift
    shapes = objects * (1 + COPIES) if max_shift else objects
    noise = Codes(
        texture=torch.randn(batch, objects, sizes.texture_dimension, generator=rng),
        shape=torch.randn(batch, shapes, sizes.shape_dimension, generator=rng),
        background=torch.randn(batch, sizes.background_dimension, generator=rng),
    )
    shifts = max_shift * (2 * torch.rand(2, batch, COPIES * objects, generator=rng) - 1)
    return Draws(Codes(*(part[mine].to(device) for part in noise)), shifts[:, mine].to(device))


def reconstruct(autoencoder: nn.Module, images: Images, masks: Masks, draws: Draws, recipe: Recipe) -> Reconstruction:
    """The scene autoencoder's reconstruction of images and ordered masks; the shape VAE learns shifted masks if asked to."""
    examples = shifted(masks, draws.shifts) if recipe.vaes.max_shift else None
    found: Reconstruction = autoencoder(images, masks, draws.noise, examples)
    return found


def shifted(masks: Masks, shifts: Tensor) -> Masks:
    """Copies of the objects' masks, each shifted on its own: `b COPIES*n h w`."""
    return translate(masks[:, :-1].repeat(1, COPIES, 1, 1), *shifts)


def errors_of(found: Reconstruction, images: Images, masks: Masks) -> dict[str, Tensor]:
    """Every error of the scene autoencoder, as a mean over images and objects. Divergences are summed over dimensions."""
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
    """The divergence of every number of every code, in nats."""
    return Codes(*(divergence(*posterior) for posterior in zip(found.mean, found.log_variance, strict=True)))


def vae_loss(errors: dict[str, Tensor], settings: Vaes, step: int, run: Run) -> Tensor:
    """The sum of the losses of all VAEs and fusion networks in a step of stage 3, from `errors_of`.

    Inputs are detached at the borders between the networks, so that the sum trains each of them on its own loss alone.
    """
    nats, price = errors["shape_nats"], price_at(step, settings)
    return (
        errors["texture_error"]
        + price * settings.texture_beta * errors["texture_nats"]
        + errors["shape_error"]
        + price * settings.shape_gamma * capacity_loss(nats, capacity_at(step, settings), run.mean_over_processes(nats))
        + errors["background_error"]
        + price * settings.background_beta * errors["background_nats"]
        + errors["object_error"]
        + errors["scene_error"]
    )
