"""Variational autoencoders: they encode an image or a mask as a few numbers, and decode these."""

from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.networks.layers import initialise
from intarsia.networks.tensorflow import SameConv, gathered, tap_matrix, taps
from intarsia.shapes import Maps, Vectors

SCALE = 16  # size of the image per size of the coarsest maps
CONTRAST = 4.0  # of a thumbnail: colours around 1/2 become numbers around 0 with a deviation near 1


class Encoder(nn.Module):
    """Four convolutions that halve the size, then two dense layers; gives a Gaussian over codes.

    With a `thumbnail` the first dense layer also sees the picture reduced to so many rows and columns.
    """

    def __init__(
        self, height: int, width: int, colours: int, dimension: int, channels: int, hidden: int, thumbnail: int
    ) -> None:
        super().__init__()
        self.convolve = nn.ModuleList(SameConv(i, channels, 4, 2) for i in (colours, channels, channels, channels))
        sizes = (height // SCALE * (width // SCALE) * channels, hidden, hidden)
        self.dense = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.mean = nn.Linear(hidden, dimension)
        self.log_variance = nn.Linear(hidden, dimension)
        self.cell = (height // max(thumbnail, 1), width // max(thumbnail, 1))
        self.thumbnail = nn.Linear(colours * thumbnail**2, hidden) if thumbnail else None

    def forward(self, x: Maps) -> tuple[Vectors, Vectors]:
        """Maps `b colours h w` to mean and log variance of the codes, `b d` each, in float32."""
        picture = x
        for layer in self.convolve:
            x = F.relu(layer(x))
        x = self.dense[0](x.permute(0, 2, 3, 1).flatten(1))  # rows, columns, channels, as in the original's weights
        if self.thumbnail is not None:
            x = x + self.thumbnail(CONTRAST * (F.avg_pool2d(picture, self.cell) - 0.5).flatten(1))
        x = F.relu(self.dense[1](F.relu(x)))
        return self.mean(x).float(), self.log_variance(x).float()


class Decoder(nn.Module):
    """Two dense layers, then four convolutions, each at twice the size of the one before.

    With a `thumbnail` the codes also give logits of so many rows and columns, by a linear map. They are enlarged and added.
    """

    def __init__(
        self, height: int, width: int, colours: int, dimension: int, channels: int, hidden: int, thumbnail: int
    ) -> None:
        super().__init__()
        self.size = (height // SCALE, width // SCALE, channels)
        sizes = (dimension, hidden, self.size[0] * self.size[1] * channels)
        self.dense = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.convolve = nn.ModuleList(SameConv(channels, o, 4) for o in (channels, channels, channels, colours))
        self.coarse = (colours, thumbnail, thumbnail)
        self.thumbnail = nn.Linear(dimension, colours * thumbnail**2) if thumbnail else None

    def forward(self, codes: Vectors) -> Maps:
        """Codes `b d` to logits `b colours h w`, in float32; their sigmoid is the picture or mask."""
        x = codes
        for layer in self.dense:
            x = F.relu(layer(x))
        x = x.unflatten(1, self.size).permute(0, 3, 1, 2)  # from rows, columns, channels
        for number, layer in enumerate(cast(Iterable[SameConv], self.convolve)):
            x = gathered(taps(x, tap_matrix(layer.weight)), cast(Tensor, layer.bias), 4, 2 * x.shape[2], 2 * x.shape[3])
            if number < len(self.convolve) - 1:
                x = F.leaky_relu(x, 0.2)
        x = x.float()
        if self.thumbnail is None:
            return x
        coarse = self.thumbnail(codes).float().unflatten(1, self.coarse)
        return x + F.interpolate(coarse, size=x.shape[2:], mode="bilinear")


class VAE(nn.Module):
    """Encoder and decoder; with the default sizes, for 64x64 pixels, they are the original's.

    Args:
        height: Image height in pixels, a multiple of 16.
        width: Image width in pixels, a multiple of 16.
        colours: 3 for pictures, 1 for masks.
        dimension: Length of a code.
        channels: Of every convolution, except the first one's inputs and the last one's outputs.
        hidden: Width of the dense layers.
        thumbnail: Rows and columns of a reduced picture that the dense layers see and draw directly, which divide the image's;
            0 for none, as in the original. The colours of large surfaces are learned several times faster with it
            (docs/notes/004-vaes.md).

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014.
    """

    def __init__(
        self, height: int, width: int, colours: int, dimension: int, channels: int = 32, hidden: int = 256, thumbnail: int = 0
    ) -> None:
        super().__init__()
        self.encoder = Encoder(height, width, colours, dimension, channels, hidden, thumbnail)
        self.decoder = Decoder(height, width, colours, dimension, channels, hidden, thumbnail)
        initialise(self)

    def forward(self, x: Maps, noise: Vectors | None = None) -> tuple[Vectors, Vectors, Maps]:
        """Pictures or masks `b colours h w` in [0, 1]; returns mean and log variance of their codes, `b d`, and logits.

        With `noise`, `b d` from a standard normal, the decoded code is drawn from that Gaussian; without noise it is its mean.
        """
        mean, log_variance = self.encode(x)
        codes = mean if noise is None else mean + torch.exp(log_variance / 2) * noise
        return mean, log_variance, self.decode(codes)

    def encode(self, x: Maps) -> tuple[Vectors, Vectors]:
        """Pictures or masks `b colours h w` to mean and log variance of the codes, `b d` each, in float32."""
        mean, log_variance = self.encoder(x)
        return mean, log_variance

    def decode(self, codes: Vectors) -> Maps:
        """Codes `b d` to logits `b colours h w`, in float32."""
        logits: Tensor = self.decoder(codes)
        return logits
