"""The original's large segmenter, number for number: a ResNet-50 whose maps keep a quarter of its input's size."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.networks.tensorflow import BatchNorm, SameConv, bilinear, glorot, resized
from intarsia.shapes import Images, Logits

BLOCKS = ((3, 64, 1), (4, 128, 2), (6, 256, 4), (3, 512, 8))  # units, channels and dilation of each block
WIDENING = 4  # a unit's outputs per channel


def activate(x: Tensor) -> Tensor:
    """ReLU in place: the maps are large, and to allocate a new one takes as long as to fill it."""
    return F.relu_(x)


class Unit(nn.Module):
    """Bottleneck unit: normalisation, then 1x1, dilated 3x3 and 1x1 convolution, added to a shortcut.

    The convolutions have biases and no normalisation between them (as in the original, which used slim without its defaults).
    """

    def __init__(self, inputs: int, channels: int, dilation: int) -> None:
        super().__init__()
        outputs = WIDENING * channels
        self.norm = BatchNorm(inputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None
        self.narrow = nn.Conv2d(inputs, channels, 1)
        self.convolve = SameConv(channels, channels, 3, dilation=dilation)
        self.widen = nn.Conv2d(channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `b inputs h w` to `b outputs h w`."""
        normed = activate(self.norm(x))
        shortcut = x if self.shortcut is None else self.shortcut(normed)
        found: Tensor = self.widen(activate(self.convolve(activate(self.narrow(normed)))))
        return found.add_(shortcut)


class ResNet50(nn.Module):
    """ResNet-50 v2 as the original builds it: four dilated convolutions give the logits, which are upsampled bilinearly.

    It keeps the quirks of the original's use of slim: biases and no normalisation inside the units, normalisation without a
    factor, pooling without padding.

    Args:
        segments: Number of segments k.
        upsampling: Factor by which the image is upsampled first; 2 in the original for images of 64x64 pixels.
        dilation: Smallest dilation of the last four convolutions; they have 1, 2, 3 and 4 times as much.

    References:
        He et al., Identity Mappings in Deep Residual Networks, ECCV 2016.
    """

    def __init__(self, segments: int, upsampling: int = 2, dilation: int = 2) -> None:
        super().__init__()
        self.upsampling = upsampling
        self.stem = nn.Conv2d(3, 64, 7, 2, padding=3)
        units, inputs = [], 64
        for count, channels, rate in BLOCKS:
            for _ in range(count):
                units.append(Unit(inputs, channels, rate))
                inputs = WIDENING * channels
        self.units = nn.ModuleList(units)
        self.norm = BatchNorm(inputs)
        self.classify = nn.ModuleList(SameConv(inputs, segments, 3, dilation=dilation * i) for i in (1, 2, 3, 4))
        glorot(self)

    def forward(self, images: Images) -> Logits:
        """Images `b 3 h w` in [0, 1]; returns logits `b k h w`: the masks are their softmax over k."""
        size = images.shape[-2:]
        height, width = (self.upsampling * length for length in size)
        x = resized(2 * (images - 0.5), height, width) if self.upsampling > 1 else 2 * (images - 0.5)
        x = F.pad(x, (0, 1, 0, 1), mode="reflect").contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(self.stem(x), 3, 2)
        for unit in self.units:
            x = unit(x)
        x = activate(self.norm(x))
        found: Tensor = sum(layer(x) for layer in self.classify)
        rows, columns = (
            torch.from_numpy(upsampling(*sizes)).to(found.device)
            for sizes in zip(found.shape[-2:], (height, width), size, strict=True)
        )
        return rows @ found.float() @ columns.mT


def upsampling(coarse: int, wide: int, size: int) -> np.ndarray:
    """The matrix `size coarse` of one axis: from the coarse maps to the upsampled image and its border, then to the image."""
    return bilinear(wide, size) @ bilinear(coarse, wide + 1)[:wide]
