"""Layers that several networks share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ReflectConv(nn.Conv2d):
    """4x4 convolution that keeps the size; it mirrors 1 pixel at top and left, and 2 at bottom and right.

    As in the original's fusion networks.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `b inputs h w` to `b outputs h w`."""
        with torch.autocast(x.device.type, enabled=False):  # autocast would pad in float32 and convert back
            x = F.pad(x, (1, 2, 1, 2), mode="reflect")
        return super().forward(x)


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Draw the weights of convolutions and dense layers by He's uniform rule; set biases to 0.

    The original uses Glorot's rule. With that, each ReLU loses half of the variance, and deep VAEs hardly learn in their first
    hundreds of steps (docs/notes/004-vaes.md).
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Attention(nn.Module):
    """Self-attention between all positions of a small map, added to it: one layer carries colours across the image."""

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
