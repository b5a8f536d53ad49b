"""Slot Attention: a few slots compete for the pixels, and each paints its part of the image.

Locatello et al., Object-Centric Learning with Slot Attention, NeurIPS 2020: the object discovery model, in the size its
appendix gives for Multi-dSprites and Tetrominoes. Written from the paper; it departs from it where noted.
"""

import math

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Generator, Tensor, nn

from intarsia.baselines.training import Trained, check_budget, fit
from intarsia.data import Scenes
from intarsia.engine import start_fabric
from intarsia.errors import InputError
from intarsia.recipes.options import Options
from intarsia.shapes import Images, Masks

__all__ = ["SlotAttention", "learning_rate_at", "segment", "train"]

CHANNELS, DIMENSION, HIDDEN = 32, 64, 128  # of the convolutions, of a slot, in the slots' perceptron
ITERATIONS = 3
LEARNING_RATE, WARM_UP, HALVINGS = 4e-4, 10_000 / 500_000, 500_000 / 100_000  # over the paper's 500,000 steps


class PositionEmbedding(nn.Module):
    """A linear map of each pixel's distances to the four sides, as shares of the image, to be added to its features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(4, channels, 1)

    def forward(self, height: int, width: int) -> Tensor:
        """The embedding of an image of that size, `1 channels height width`."""
        like = self.project.weight
        down = torch.linspace(0, 1, height, device=like.device, dtype=like.dtype)[:, None].expand(height, width)
        right = torch.linspace(0, 1, width, device=like.device, dtype=like.dtype).expand(height, width)
        return self.project(torch.stack([down, right, 1 - down, 1 - right])[None])


class Encoder(nn.Module):
    """Four 5x5 convolutions at full size, position embedding, then a perceptron for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve = nn.ModuleList(nn.Conv2d(i, CHANNELS, 5, padding=2) for i in (3, *[CHANNELS] * 3))
        self.position = PositionEmbedding(CHANNELS)
        self.mix = nn.Sequential(
            nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, CHANNELS)
        )

    def forward(self, images: Images) -> Tensor:
        """Images `b 3 h w` to features `b n c` of their n = h*w pixels."""
        x = (2 * images - 1).contiguous(memory_format=torch.channels_last)
        for layer in self.convolve:
            x = F.relu(layer(x))
        x = x + self.position(*images.shape[-2:])
        return self.mix(x.permute(0, 2, 3, 1).flatten(1, 2))


class Competition(nn.Module):
    """The slot attention module itself: algorithm 1 of the paper."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, DIMENSION)))
        self.log_deviation = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, DIMENSION)))
        self.norm_pixels, self.norm_slots = nn.LayerNorm(CHANNELS), nn.LayerNorm(DIMENSION)
        self.key, self.value = (nn.Linear(CHANNELS, DIMENSION, bias=False) for _ in range(2))
        self.query = nn.Linear(DIMENSION, DIMENSION, bias=False)
        self.update = nn.GRUCell(DIMENSION, DIMENSION)
        self.refine = nn.Sequential(
            nn.LayerNorm(DIMENSION), nn.Linear(DIMENSION, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, DIMENSION)
        )

    def forward(self, pixels: Tensor, noise: Tensor) -> Tensor:
        """Pixels' features `b n c` and the slots' standard normal noise `b k d` to slots `b k d`."""
        pixels = self.norm_pixels(pixels)
        keys, values = self.key(pixels) / math.sqrt(DIMENSION), self.value(pixels)
        slots = self.mean + self.log_deviation.exp() * noise
        for _ in range(ITERATIONS):
            shares = (keys @ self.query(self.norm_slots(slots)).mT).softmax(2) + 1e-8
            wins = (shares / shares.sum(1, keepdim=True)).mT @ values
            slots = self.update(wins.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
            slots = slots + self.refine(slots)
        return slots


class Decoder(nn.Module):
    """Spatial broadcast decoder (Watters et al., 2019): every slot is laid on every pixel, and convolved to an image.

    The first convolution, over slot plus position, is written as a sum: the position's part is the same for all slots, and
    that of a slot differs only within two pixels of the border. The result is the same, with half the decoder's arithmetic.
    """

    def __init__(self) -> None:
        super().__init__()
        self.position = PositionEmbedding(DIMENSION)
        self.broadcast = nn.Conv2d(DIMENSION, CHANNELS, 5, padding=2)
        self.convolve = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 5, padding=2) for _ in range(2))
        self.output = nn.Conv2d(CHANNELS, 4, 3, padding=1)

    def forward(self, slots: Tensor, height: int, width: int) -> Tensor:
        """Slots `b k d` to a colour in [-1, 1], not clamped, and a mask logit for each pixel: `b k 4 height width`."""
        x = F.relu(self.lay(slots.flatten(0, 1), height, width)).contiguous(memory_format=torch.channels_last)
        for layer in self.convolve:
            x = F.relu(layer(x))
        return self.output(x).unflatten(0, slots.shape[:2])

    def lay(self, slots: Tensor, height: int, width: int) -> Tensor:
        """The first convolution of slots `n d`, each laid on all pixels with the position added: `n c height width`."""
        small = self.broadcast(slots[:, :, None, None].expand(-1, -1, 5, 5))  # has every kind of border once
        place = F.conv2d(self.position(height, width), self.broadcast.weight, padding=2)
        return _stretched(_stretched(small, 2, height), 3, width) + place


def _stretched(x: Tensor, axis: int, size: int) -> Tensor:
    """An axis of length 5 brought to `size` by repeating its middle."""
    shape = list(x.shape)
    shape[axis] = size - 4
    return torch.cat([x.narrow(axis, 0, 2), x.narrow(axis, 2, 1).expand(shape), x.narrow(axis, 3, 2)], axis)


class SlotAttention(nn.Module):
    """The autoencoder: encoder, slots that compete for its pixels, decoder.

    Weights start as in the published code (Glorot uniform, biases 0), but for the recurrent cell's, which are PyTorch's.

    Args:
        slots: Number of slots k; segments of an image, background included.
        seed: Of the initial weights.
    """

    def __init__(self, slots: int = 5, seed: int = 0) -> None:
        super().__init__()
        if slots < 1:
            raise InputError(f"slots is {slots}; it must be at least 1.")
        self.slots = slots
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.encoder, self.competition, self.decoder = Encoder(), Competition(), Decoder()
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    nn.init.xavier_uniform_(layer.weight)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from PyTorch's types

    def forward(self, images: Images, noise: Tensor) -> tuple[Images, Masks]:
        """Reconstruct images from their slots.

        Args:
            images: `b 3 h w` in [0, 1], h and w at least 5.
            noise: `b k 64`, standard normal (`draw_noise`): where the slots start.

        Returns:
            The reconstruction `b 3 h w`, not clamped, and the masks `b k h w` by which it mixes the slots' colours.
        """
        pixels = self.encoder(images)
        with torch.autocast(images.device.type, enabled=False):  # little work, and sums over all pixels
            slots = self.competition(pixels.float(), noise)
        painted = self.decoder(slots, *images.shape[-2:]).float()
        masks = painted[:, :, 3].softmax(1)
        return ((masks[:, :, None] * painted[:, :, :3]).sum(1) + 1) / 2, masks


def draw_noise(count: int, slots: int, generator: Generator) -> Tensor:
    """Where the slots of `count` images start: standard normal, `count slots d`."""
    return torch.randn(count, slots, DIMENSION, generator=generator)


@torch.no_grad()
def segment(model: SlotAttention, images: Images, seed: int = 0, chunk: int = 50) -> Masks:
    """Soft masks `b k h w` of images `b 3 h w` in [0, 1]; `chunk` images at a time.

    The slots of an image start from noise that depends on the seed and on the image's place among those given.
    """
    noise = draw_noise(len(images), model.slots, Generator().manual_seed(seed)).to(images.device)
    parts = zip(images.split(chunk), noise.split(chunk), strict=True)
    return torch.cat([model(*part)[1] for part in parts])


def train(
    scenes: Scenes,
    slots: int | None = None,
    *,
    minutes: float = math.inf,
    steps: float = math.inf,
    batch: int = 64,
    seed: int = 0,
    fabric: Fabric | None = None,
) -> Trained[SlotAttention]:
    """Train a model to reconstruct scenes by the mean squared error, until the minutes or the steps are over.

    The paper trains for 500,000 steps. Here its schedule of learning rates is compressed to the training there is, so that a
    run by steps is reproducible, and one by minutes depends on the machine.

    Args:
        scenes: An endless split; the first `batch` scenes make the first step, and so on.
        slots: Number of slots; None for the scenes' number of segments.
        minutes: Of training, drawing the scenes included.
        steps: Of training; minutes or steps must be finite, and what is over first ends it.
        batch: Images per step; the paper's 64 unless given.
        seed: Of the initial weights and the slots' noise.
        fabric: Device and precision, from `start_fabric`; None for what it takes by itself.

    Raises:
        InputError: for numbers that no training could use, or if the loss is no longer finite.
    """
    check_budget(minutes, steps, batch)
    fabric = fabric or start_fabric(Options())
    network = SlotAttention(scenes.segments if slots is None else slots, seed)
    draws = Generator().manual_seed(seed)

    def loss_of(model: SlotAttention, step: int) -> Tensor:
        images = scenes(range(step * batch, (step + 1) * batch)).images.to(fabric.device)
        noise = draw_noise(batch, network.slots, draws).to(fabric.device)
        return F.mse_loss(model(images, noise)[0], images)

    return fit("Slot Attention", network, loss_of, learning_rate_at, fabric, minutes, steps)


def learning_rate_at(progress: float) -> float:
    """The paper's learning rate after a share in [0, 1] of the training: a linear warm-up times an exponential decay."""
    return LEARNING_RATE * min(1.0, progress / WARM_UP) * 0.5 ** (HALVINGS * progress)
