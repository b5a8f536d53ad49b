"""Fusion: a shape and a texture become an object, objects and a background become an image."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.networks.layers import ReflectConv, initialise
from intarsia.shapes import Images, Maps, Objects


class TextureShapeFusion(nn.Module):
    """Three convolutions with mirrored borders, shared by all objects; as in the original.

    Args:
        channels: Of the layers between; 32 in the original.
    """

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.convolve = nn.ModuleList(ReflectConv(i, o) for i, o in ((4, channels), (channels, channels), (channels, 3)))
        initialise(self)

    def forward(self, textures: Images, shapes: Maps) -> Images:
        """Pictures `b 3 h w` and masks `b 1 h w`, both in [0, 1], to logits `b 3 h w` of the object on black, in float32."""
        return _convolve(self.convolve, torch.cat([textures, shapes], 1))


class SceneFusion(nn.Module):
    """Four convolutions with mirrored borders; as in the original.

    Args:
        objects: Number of objects n, empty ones included.
        channels: Of the layers between; 32 in the original.
    """

    def __init__(self, objects: int, channels: int = 32) -> None:
        super().__init__()
        sizes = ((3 * (objects + 1), channels), (channels, channels), (channels, channels), (channels, 3))
        self.convolve = nn.ModuleList(ReflectConv(i, o) for i, o in sizes)
        initialise(self)

    def forward(self, layers: Objects) -> Images:
        """Layers `b n+1 3 h w` in [0, 1], each black where it is not visible, the background last; returns images `b 3 h w`.

        The first convolution sees colour by colour, and layer by layer within a colour, as the original's weights want it.
        """
        return _convolve(self.convolve, layers.transpose(1, 2).flatten(1, 2)).sigmoid()


def _convolve(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """Convolutions with ReLU between them, in float32 at the end."""
    x = x.contiguous(memory_format=torch.channels_last)
    for layer in layers[:-1]:
        x = F.relu(layer(x))
    return layers[-1](x).float()
