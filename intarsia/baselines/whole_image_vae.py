"""A beta-VAE of the whole image, to compare with the method's codes of objects.

It is `globalVAE` in the original, whose code no longer runs: one encoder and one decoder like those of objects, and a code as
long as all codes of objects together. Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained Variational
Framework, ICLR 2017. As far as the code shows, there is one difference to the original: the learning rate is higher and
decays, for a short training.
"""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Generator, Tensor

from intarsia.baselines.training import Trained, fit
from intarsia.data import Scenes
from intarsia.errors import InputError
from intarsia.files import replacing
from intarsia.metrics.locality import Change, Changed
from intarsia.networks.vae import VAE
from intarsia.objectives import divergence
from intarsia.shapes import Images

DIMENSION = 4 * (10 + 5) + 5  # the codes of four objects (shape and texture) and of the background
BETA = 6.0  # the original's for textures and background
LEARNING_RATE, WARM_UP = 1e-3, 0.02


class Posterior(NamedTuple):
    """The normal distributions of codes given images: means and logarithms of variances, `b d` each."""

    mean: Tensor
    log_variance: Tensor


class WholeImageVae(VAE):
    """A VAE as for objects and background (`networks.vae`), of the whole image.

    Args:
        height: Rows of the images, a multiple of 16 pixels.
        width: Columns, the same.
        dimension: Length d of the code.
        seed: Of the initial weights.
    """

    def __init__(self, height: int = 64, width: int = 64, dimension: int = DIMENSION, seed: int = 0) -> None:
        if min(height, width) < 16 or height % 16 or width % 16 or dimension < 1:
            raise InputError(
                f"height and width must be multiples of 16 pixels, dimension at least 1; got {height}, {width} and {dimension}."
            )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            super().__init__(height, width, 3, dimension)
        self.height, self.width, self.dimension = height, width, dimension

    def forward(self, images: Images, noise: Tensor) -> tuple[Images, Posterior]:  # type: ignore[override]
        """Reconstruct images `b 3 h w` from codes drawn with standard normal `noise` `b d`; also returns their posterior."""
        mean, log_variance, logits = super().forward(images, noise)
        return logits.sigmoid(), Posterior(mean, log_variance)


def train(
    scenes: Scenes,
    dimension: int = DIMENSION,
    beta: float = BETA,
    *,
    minutes: float = math.inf,
    steps: float = math.inf,
    batch: int = 16,
    seed: int = 0,
    fabric: Fabric | None = None,
) -> Trained[WholeImageVae]:
    """Train with the summed absolute error plus beta times the KL divergence, for a number of minutes or steps.

    Args:
        scenes: An endless split; the first step uses the first `batch` scenes, and so on.
        dimension: Length of the code.
        beta: Weight of the divergence, in summed absolute intensities per nat.
        minutes: Of the processor's time, including drawing the scenes.
        steps: Of training. Minutes or steps must be finite; training ends with the first that is over.
        batch: Images per step; the original's 16 unless given.
        seed: Of the initial weights and the codes' noise.
        fabric: Device and precision, from `start_fabric`; None for its defaults.

    Raises:
        InputError: if a number is out of range, or the loss is not finite.
    """
    if not 0 <= beta < math.inf:
        raise InputError(f"beta must be a number of at least 0; got {beta}.")
    network = WholeImageVae(scenes.height, scenes.width, dimension, seed)
    rng = Generator().manual_seed(seed)

    def loss_of(model: WholeImageVae, images: Images) -> Tensor:
        noise = torch.randn(batch, dimension, generator=rng).to(images.device)
        rendered, posterior = model(images, noise)
        return (F.l1_loss(rendered, images, reduction="sum") + beta * divergence(*posterior).sum()) / batch

    return fit("Whole-image VAE", network, scenes, loss_of, learning_rate_at, minutes, steps, batch, fabric)


def learning_rate_at(progress: float) -> float:
    """The learning rate after a fraction of the training: a linear warm-up, times a cosine down to 0."""
    return LEARNING_RATE * min(1.0, progress / WARM_UP) * (1 + math.cos(math.pi * progress)) / 2


@torch.no_grad()
def encode(model: WholeImageVae, images: Images, chunk: int = 100) -> Posterior:
    """The posterior of the codes of images `b 3 h w` in [0, 1], computed for `chunk` images at a time."""
    parts = [model.encode(part) for part in images.split(chunk)]
    return Posterior(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


@torch.no_grad()
def decode(model: WholeImageVae, codes: Tensor, chunk: int = 100) -> Images:
    """Images `b 3 h w` in (0, 1) from codes `b d`, computed for `chunk` codes at a time."""
    return torch.cat([model.decode(part).sigmoid() for part in codes.split(chunk)])


def changes(
    model: WholeImageVae, images: Images, dimensions: Sequence[int], amount: float = 1.0
) -> tuple[Tensor, list[Change]]:
    """Images rendered from their mean codes, and changes that add `amount` to one of the given dimensions each.

    They are for `intarsia.metrics.locality`, in one version, and belong to no segment, since the code is not that of an object.
    """
    codes = encode(model, images).mean

    def render(offset: Tensor, rows: Tensor) -> Changed:
        return Changed(decode(model, codes[rows] + offset)[None], None)

    offsets = amount * torch.eye(model.dimension, device=codes.device)
    return decode(model, codes)[None], [Change(None, partial(render, offsets[dimension])) for dimension in dimensions]


def save(model: WholeImageVae, path: Path) -> None:
    """Write sizes and weights into one safetensors file."""
    sizes = {name: str(getattr(model, name)) for name in ("height", "width", "dimension")}
    with replacing(path) as temporary:
        temporary.write_bytes(to_bytes({name: value.contiguous() for name, value in model.state_dict().items()}, sizes))


def load(path: Path) -> WholeImageVae:
    """Read a file that `save` wrote; raise `InputError` if it is not such a file."""
    try:
        with safe_open(path, "pt") as file:
            sizes = file.metadata() or {}
        model = WholeImageVae(*(int(sizes[name]) for name in ("height", "width", "dimension")))
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} holds no whole-image VAE: {error}") from error
    return model
