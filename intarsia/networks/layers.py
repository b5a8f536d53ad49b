"""Layers that several networks share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ReflectConv(nn.Conv2d):
    """4x4 convolution that keeps the size; the borders are mirrored, 1 pixel at top and left, 2 at bottom and right.

    As in the original's fusion networks.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `b inputs h w` to `b outputs h w`."""
        with torch.autocast(x.device.type, enabled=False):  # which would have it pad in float32, there and back
            x = F.pad(x, (1, 2, 1, 2), mode="reflect")
        return super().forward(x)


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
