"""Layers that several networks share, and the conventions of the original's framework, TensorFlow 1."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: output size ceil(size / stride), an odd pixel of padding at bottom and right.

    A 4x4 kernel pads (1, 1) with stride 2 and an even size, and (1, 2) with stride 1.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `b inputs h w` to `b outputs ceil(h/stride) ceil(w/stride)`."""
        totals = [
            max((-(-size // self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0] - size, 0) for size in x.shape[2:]
        ]
        if self.stride[0] > 1 and any(total % 2 for total in totals):
            (top, left), (bottom, right) = ([total // 2 for total in totals], [-(-total // 2) for total in totals])
            return super().forward(F.pad(x, (left, right, top, bottom)))
        # Padding all sides alike inside the convolution, and leaving out an odd first row or column, saves a copy of the input.
        wide = F.conv2d(x, self.weight, self.bias, self.stride, [-(-total // 2) for total in totals])
        return wide[..., totals[0] % 2 :, totals[1] % 2 :]


class ReflectConv(nn.Conv2d):
    """4x4 convolution that keeps the size; the borders are mirrored, 1 pixel at top and left, 2 at bottom and right.

    As in the original's fusion networks.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `b inputs h w` to `b outputs h w`."""
        return super().forward(F.pad(x, (1, 2, 1, 2), mode="reflect"))


def doubled(x: Tensor) -> Tensor:
    """Bilinear resizing to twice the size as in TensorFlow 1, for `b h w c`, channels last: returns `b 2h 2w c`.

    Output pixel i lies at input position i / 2, the last one on the last pixel. PyTorch has no such mode, and what it has is
    several times slower than these sums.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        following = torch.cat([x.narrow(axis, 1, size - 1), x.narrow(axis, size - 1, 1)], axis)
        x = torch.stack([x, (x + following) / 2], axis + 1).flatten(axis, axis + 1)
    return x


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Weights of convolutions and dense layers by He's uniform rule, biases 0.

    Departs from the original, whose rule is Glorot's: half of the variance is lost in each ReLU, and deep VAEs hardly learn
    in the first hundreds of steps (docs/notes/004-vaes.md).
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Attention(nn.Module):
    """Self-attention over all positions of a small map, added to it: carries colours across the image in one layer."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.mix_in = nn.Linear(channels, 3 * channels)
        self.mix_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `b c h w` to `b c h w`."""
        b, c, h, w = x.shape
        tokens = self.norm(x.permute(0, 2, 3, 1).reshape(b, h * w, c))
        query, key, value = self.mix_in(tokens).view(b, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(b, h, w, c)
        return x + self.mix_out(mixed).permute(0, 3, 1, 2)
