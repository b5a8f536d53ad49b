"""Slot Attention: slots compete for the pixels of an image, or for its features, and each reconstructs its part.

Locatello et al., Object-Centric Learning with Slot Attention, NeurIPS 2020: the object discovery model in the size for
Multi-dSprites and Tetrominoes, as in the appendix. Over the features of a frozen network, with a perceptron as decoder, it is
smaller than, but otherwise like DINOSAUR: Seitzer et al., Bridging the Gap to Real-World Object-Centric Learning, ICLR 2023.
Written from the papers; differences are noted.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Generator, Tensor, nn

from intarsia.baselines.training import Trained, fit
from intarsia.data import Scenes
from intarsia.errors import InputError
from intarsia.shapes import Images, Maps, Masks

CHANNELS, DIMENSION, HIDDEN = 32, 64, 128  # channels of the convolutions, numbers of a slot, units of the slots' perceptron
ITERATIONS = 3
FEATURES_HIDDEN = 128  # units in the decoder of features; 1024 and more in DINOSAUR
LEARNING_RATE, WARM_UP, HALVINGS = 4e-4, 10_000 / 500_000, 500_000 / 100_000  # relative to the paper's 500,000 steps


class PositionEmbedding(nn.Module):
    """A linear map of each pixel's distances to the four sides, as fractions of the image, to be added to its features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(4, channels, 1)

    def forward(self, height: int, width: int) -> Tensor:
        """The embedding for an image size: `1 channels height width`."""
        like = self.project.weight
        down = torch.linspace(0, 1, height, device=like.device, dtype=like.dtype)[:, None].expand(height, width)
        right = torch.linspace(0, 1, width, device=like.device, dtype=like.dtype).expand(height, width)
        return self.project(torch.stack([down, right, 1 - down, 1 - right])[None])


class Encoder(nn.Module):
    """Four 5x5 convolutions at full size, position embedding, then a perceptron for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve = nn.ModuleList(nn.Conv2d(i, CHANNELS, 5, padding=2) for i in (3, *[CHANNELS] * 3))
        self.position, self.mix = PositionEmbedding(CHANNELS), _perceptron(CHANNELS, CHANNELS)

    def forward(self, images: Images) -> Tensor:
        """Images `b 3 h w` to features `b n c` of their n = h*w pixels."""
        x = (2 * images - 1).contiguous(memory_format=torch.channels_last)
        for layer in self.convolve:
            x = F.relu(layer(x))
        x = x + self.position(*images.shape[-2:])
        return self.mix(x.permute(0, 2, 3, 1).flatten(1, 2))


class FeatureEncoder(nn.Module):
    """Position embedding, then a perceptron for each cell.

    DINOSAUR needs no embedding: the features of its transformer know where they are, those of convolutions don't.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.position, self.mix = PositionEmbedding(channels), _perceptron(channels, channels)

    def forward(self, features: Maps) -> Tensor:
        """Features `b c h w` to features `b n c` of their n = h*w cells."""
        return self.mix((features + self.position(*features.shape[-2:])).permute(0, 2, 3, 1).flatten(1, 2))


class Competition(nn.Module):
    """The slot attention module: algorithm 1 of the paper."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.mean = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, DIMENSION)))
        self.log_deviation = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, DIMENSION)))
        self.norm_pixels, self.norm_slots = nn.LayerNorm(channels), nn.LayerNorm(DIMENSION)
        self.key, self.value = (nn.Linear(channels, DIMENSION, bias=False) for _ in range(2))
        self.query = nn.Linear(DIMENSION, DIMENSION, bias=False)
        self.update = nn.GRUCell(DIMENSION, DIMENSION)
        self.refine = _perceptron(DIMENSION, HIDDEN)

    def forward(self, pixels: Tensor, noise: Tensor) -> Tensor:
        """Features of pixels `b n c` and standard normal noise `b k d` to slots `b k d`."""
        pixels = self.norm_pixels(pixels)
        keys, values = self.key(pixels) / math.sqrt(DIMENSION), self.value(pixels)
        slots = self.mean + self.log_deviation.exp() * noise
        for _ in range(ITERATIONS):
            attention = (keys @ self.query(self.norm_slots(slots)).mT).softmax(2) + 1e-8
            updates = (attention / attention.sum(1, keepdim=True)).mT @ values
            slots = self.update(updates.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
            slots = slots + self.refine(slots)
        return slots


class Decoder(nn.Module):
    """Spatial broadcast decoder (Watters et al., 2019): every slot is copied to all pixels, and convolved to an image.

    The first convolution, of slot plus position, is computed as a sum of two convolutions. That of the position is the same for
    all slots, and that of a slot is constant except within two pixels of the border. This gives the same result with half of
    the decoder's arithmetic.
    """

    def __init__(self) -> None:
        super().__init__()
        self.position = PositionEmbedding(DIMENSION)
        self.broadcast = nn.Conv2d(DIMENSION, CHANNELS, 5, padding=2)
        self.convolve = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 5, padding=2) for _ in range(2))
        self.output = nn.Conv2d(CHANNELS, 4, 3, padding=1)

    def forward(self, slots: Tensor, height: int, width: int) -> Tensor:
        """Slots `b k d` to a colour in [0, 1], not clamped, and a mask logit per pixel: `b k 4 height width`."""
        x = F.relu(self.broadcast_convolved(slots.flatten(0, 1), height, width)).contiguous(memory_format=torch.channels_last)
        for layer in self.convolve:
            x = F.relu(layer(x))
        decoded = self.output(x).float().unflatten(0, slots.shape[:2])
        return torch.cat([(decoded[:, :, :3] + 1) / 2, decoded[:, :, 3:]], 2)

    def broadcast_convolved(self, slots: Tensor, height: int, width: int) -> Tensor:
        """The first convolution of slots `n d`, each copied to all pixels and added to the position: `n c height width`."""
        small = self.broadcast(slots[:, :, None, None].expand(-1, -1, 5, 5))  # contains each kind of border once
        place = F.conv2d(self.position(height, width), self.broadcast.weight, padding=2)
        return _enlarged(_enlarged(small, 2, height), 3, width) + place


class FeatureDecoder(nn.Module):
    """A perceptron that turns slot plus position into features: the decoder of DINOSAUR."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = FEATURES_HIDDEN
        self.enter, self.position = nn.Linear(DIMENSION, hidden), PositionEmbedding(hidden)
        self.leave = nn.Sequential(
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, channels + 1),
        )

    def forward(self, slots: Tensor, height: int, width: int) -> Tensor:
        """Slots `b k d` to features and a mask logit per cell: `b k c+1 height width`."""
        x = self.enter(slots)[:, :, None] + self.position(height, width).flatten(2).mT
        return self.leave(x).float().mT.unflatten(3, (height, width))


def _perceptron(channels: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))


def _enlarged(x: Tensor, axis: int, size: int) -> Tensor:
    """Enlarge an axis of length 5 to `size` by repeating its middle."""
    shape = list(x.shape)
    shape[axis] = size - 4
    return torch.cat([x.narrow(axis, 0, 2), x.narrow(axis, 2, 1).expand(shape), x.narrow(axis, 3, 2)], axis)


class SlotAttention(nn.Module):
    """The autoencoder: encoder, competition of the slots, decoder.

    Initial weights are as in the published code (Glorot uniform, biases 0), except those of the recurrent cell, which are
    PyTorch's.

    Args:
        slots: Number of slots k, which is the number of segments, background included.
        seed: Of the initial weights.
        features: Channels c of the features that are reconstructed; 0 for images.
    """

    def __init__(self, slots: int = 5, seed: int = 0, features: int = 0) -> None:
        super().__init__()
        if slots < 1 or features < 0:
            raise InputError(f"slots must be at least 1, features at least 0; got {slots} and {features}.")
        self.slots = slots
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.encoder = FeatureEncoder(features) if features else Encoder()
            self.competition = Competition(features or CHANNELS)
            self.decoder = FeatureDecoder(features) if features else Decoder()
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    nn.init.xavier_uniform_(layer.weight)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from PyTorch's types

    def forward(self, maps: Maps, noise: Tensor) -> tuple[Maps, Masks]:
        """Reconstruct images or features from their slots.

        Args:
            maps: Images `b 3 h w` in [0, 1], h and w at least 5, or features `b c h w`.
            noise: `b k 64`, standard normal (`draw_noise`), for the initial slots.

        Returns:
            The reconstruction `b c h w`, not clamped, and the masks `b k h w` that mix what the slots decode to.
        """
        cells = self.encoder(maps)
        with torch.autocast(maps.device.type, enabled=False):  # little work, and sums over all cells
            slots = self.competition(cells.float(), noise)
        decoded = self.decoder(slots, *maps.shape[-2:])
        masks = decoded[:, :, -1].softmax(1)
        return (masks[:, :, None] * decoded[:, :, :-1]).sum(1), masks


def draw_noise(count: int, slots: int, rng: Generator) -> Tensor:
    """Standard normal noise for the initial slots of `count` images: `count slots d`."""
    return torch.randn(count, slots, DIMENSION, generator=rng)


@torch.no_grad()
def segment(model: SlotAttention, maps: Maps, seed: int = 0, chunk: int = 50) -> Masks:
    """Soft masks `b k h w` of images `b 3 h w` in [0, 1] or features `b c h w`, computed for `chunk` of them at a time.

    The noise of an image's initial slots depends on the seed and on the image's index.
    """
    noise = draw_noise(len(maps), model.slots, Generator().manual_seed(seed)).to(maps.device)
    parts = zip(maps.split(chunk), noise.split(chunk), strict=True)
    return torch.cat([model(*part)[1] for part in parts])


def train(
    scenes: Scenes,
    slots: int | None = None,
    *,
    maps_of: Callable[[Images], Maps] = lambda images: images,
    features: int = 0,
    minutes: float = math.inf,
    steps: float = math.inf,
    batch: int = 64,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
    fabric: Fabric | None = None,
) -> Trained[SlotAttention]:
    """Train a model to reconstruct scenes or features of them, with the mean squared error, for a number of minutes or steps.

    The paper trains for 500,000 steps; here its schedule of learning rates is scaled to the length of the training. So training
    by steps is reproducible, and training by minutes depends on the machine.

    Args:
        scenes: An endless split; the first step uses the first `batch` scenes, and so on.
        slots: Number of slots; None for the scenes' number of segments.
        maps_of: What is reconstructed of images `b 3 h w`: themselves, smaller images, or features.
        features: Channels of the features; 0 for images.
        minutes: Of the processor's time, including drawing the scenes.
        steps: Of training. Minutes or steps must be finite; training ends with the first that is over.
        batch: Images per step; the paper's 64 unless given.
        learning_rate: The highest one, after the warm-up; the paper's unless given.
        seed: Of the initial weights and the slots' noise.
        fabric: Device and precision, from `start_fabric`; None for its defaults.

    Raises:
        InputError: if a number is out of range, or the loss is not finite.
    """
    if not 0 < learning_rate < math.inf:
        raise InputError(f"learning_rate must be above 0 and finite; got {learning_rate}.")
    network = SlotAttention(scenes.segments if slots is None else slots, seed, features)
    rng = Generator().manual_seed(seed)

    def loss_of(model: SlotAttention, images: Images) -> Tensor:
        noise = draw_noise(batch, network.slots, rng).to(images.device)
        maps = maps_of(images)
        return F.mse_loss(model(maps, noise)[0], maps)

    rate_at = partial(learning_rate_at, highest=learning_rate)
    return fit("Slot Attention", network, scenes, loss_of, rate_at, minutes, steps, batch, fabric)


def learning_rate_at(progress: float, highest: float = LEARNING_RATE) -> float:
    """The paper's learning rate after a fraction of the training: a linear warm-up times an exponential decay."""
    return highest * min(1.0, progress / WARM_UP) * 0.5 ** (HALVINGS * progress)
