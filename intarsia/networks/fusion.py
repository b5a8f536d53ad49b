"""Fusion: a shape and a texture become an object, objects and a background become an image.

In the original, convolutions compute every pixel anew, and blur the image even where the shapes are right. Residual networks
start from the plain composition instead (texture times shape, or the sum of the layers) and learn what to add to its logits
(docs/notes/004-vaes.md).
"""

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.networks.layers import ReflectConv, initialise
from intarsia.shapes import Images, Maps, Objects

HALF_STEP = 0.5 / 255


class TextureShapeFusion(nn.Module):
    """Three convolutions with mirrored borders, shared by all objects; as in the original unless residual.

    Args:
        channels: Of the hidden layers; 32 in the original.
        residual: Whether the logits of the plain composition are added.
    """

    def __init__(self, channels: int = 32, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.convolve = _layers((4, channels, channels, 3), residual)

    def forward(self, textures: Images, shapes: Maps) -> Images:
        """Pictures `b 3 h w` and masks `b 1 h w`, both in [0, 1], to logits `b 3 h w` of the object on black, in float32."""
        logits = _convolve(self.convolve, torch.cat([textures, shapes], 1))
        return logits + _logits(textures * shapes) if self.residual else logits


class SceneFusion(nn.Module):
    """Four convolutions with mirrored borders; as in the original unless residual.

    Args:
        objects: Number of objects n, empty ones included.
        channels: Of the hidden layers; 32 in the original.
        residual: Whether the logits of the plain composition are added.
    """

    def __init__(self, objects: int, channels: int = 32, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.convolve = _layers((3 * (objects + 1), channels, channels, channels, 3), residual)

    def forward(self, layers: Objects) -> Images:
        """Layers `b n+1 3 h w` in [0, 1], each black where it is not visible, the background last; returns images `b 3 h w`.

        The channels of the first convolution are ordered by colour, then by layer, as in the original's weights.
        """
        logits = _convolve(self.convolve, layers.transpose(1, 2).flatten(1, 2))
        return (logits + _logits(layers.sum(1)) if self.residual else logits).sigmoid()


def _layers(sizes: tuple[int, ...], residual: bool) -> nn.ModuleList:
    """Convolutions with these numbers of channels; the last one of a residual network starts at 0."""
    layers = nn.ModuleList(ReflectConv(i, o) for i, o in pairwise(sizes))
    initialise(layers)
    if residual:
        nn.init.zeros_(cast(ReflectConv, layers[-1]).weight)
    return layers


def _convolve(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """Apply convolutions with ReLU between them; the result is float32."""
    x = x.contiguous(memory_format=torch.channels_last)
    for layer in layers[:-1]:
        x = F.relu(layer(x))
    return layers[-1](x).float()


def _logits(pictures: Images) -> Images:
    """The logits of pictures, which are first clamped to half an 8-bit step from black and white."""
    return pictures.float().clamp(HALF_STEP, 1 - HALF_STEP).logit()
