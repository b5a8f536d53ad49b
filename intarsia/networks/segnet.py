"""The original's small segmenter, number for number."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.networks.tensorflow import FrozenNormConv, gathered, glorot, nearest, tap_matrix, taps
from intarsia.shapes import Images, Logits

TEMPERATURE = 10.0  # the logits' divisor


class SegNet(nn.Module):
    """Seventeen convolutions at full, half and quarter size, four of them dilated; the original's "segnet".

    A normalisation with fixed statistics follows each of them (`FrozenNormConv`), and an ELU each but the last.

    Args:
        segments: Number of segments k.
        channels: At full size; half and quarter size have 2 and 4 times as many. 64 in the original.
    """

    def __init__(self, segments: int, channels: int = 64) -> None:
        super().__init__()
        full, half, quarter = channels, 2 * channels, 4 * channels
        self.layers = nn.ModuleList(
            [
                FrozenNormConv(3, full, 5),
                FrozenNormConv(full, half, 3, stride=2),
                FrozenNormConv(half, half, 3),
                FrozenNormConv(half, quarter, 3, stride=2),
                FrozenNormConv(quarter, quarter, 3),
                FrozenNormConv(quarter, quarter, 3),
                *(FrozenNormConv(quarter, quarter, 3, dilation=dilation) for dilation in (2, 4, 8, 16)),
                FrozenNormConv(quarter, quarter, 3),
                FrozenNormConv(quarter, quarter, 3),
                FrozenNormConv(quarter, half, 3),  # at twice the size of its input
                FrozenNormConv(half, half, 3),
                FrozenNormConv(half, full, 3),  # at twice the size of its input
                FrozenNormConv(full, full // 2, 3),
                FrozenNormConv(full // 2, segments, 3),
            ]
        )
        glorot(self)

    def forward(self, images: Images) -> Logits:
        """Images `b 3 h w` in [0, 1], sizes multiples of 4; returns logits `b k h w`: the masks are their softmax over k."""
        layers = list(self.layers)
        full = _through(layers[:1], images.contiguous(memory_format=torch.channels_last))
        half = _through(layers[1:3], full)
        quarter = _through(layers[3:6], half)
        x = _through(layers[6:11], quarter) + quarter
        x = _through(layers[11:12], x)
        x = _through(layers[13:14], _doubled(layers[12], x)) + half
        x = _through(layers[15:16], _doubled(layers[14], x) + full)
        logits: Tensor = layers[16](x)
        return logits.float() / TEMPERATURE


def _through(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = F.elu(layer(x))
    return x


def _doubled(layer: nn.Module, x: Tensor) -> Tensor:
    """The layer's convolution of the map at twice its size, every pixel repeated."""
    assert isinstance(layer, FrozenNormConv)  # for the type checker
    weight, bias = layer.folded()
    return F.elu(gathered(taps(x, tap_matrix(weight)), bias, 3, 2 * x.shape[2], 2 * x.shape[3], nearest))
