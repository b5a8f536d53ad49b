"""Layers that several networks share."""

import torch.nn.functional as F
from torch import Tensor, nn


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
