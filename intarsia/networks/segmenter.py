"""Segmenters: split an image into k soft segments."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.shapes import Images, Logits


class CompactSegmenter(nn.Module):
    """Groups pixels by content, with slot attention, where a plain convolutional network tends to cut the image by position.

    A small convolutional encoder at half size; a few rounds in which k learned slots compete for the pixels (Locatello et
    al., "Object-Centric Learning with Slot Attention", NeurIPS 2020, algorithm 1, but with a learned start per slot, so that
    a channel keeps its role from image to image). The masks are what the slots win, enlarged, plus a correction at full size
    that also sees the image and sharpens the borders.
    Departs from the original's segmenters because those need far more steps than a laptop has (docs/notes).

    Args:
        segments: Number of segments k.
        channels: Channels of the encoder.
        dimension: Length of a slot.
        rounds: How often the slots compete.
    """

    def __init__(self, segments: int = 5, channels: int = 32, dimension: int = 64, rounds: int = 3) -> None:
        super().__init__()
        self.rounds = rounds
        self.stem = nn.Conv2d(12, channels, 3, padding=1)
        self.encoder = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=d, dilation=d) for d in (1, 2, 4))
        self.norms = nn.ModuleList(nn.InstanceNorm2d(channels, affine=True) for _ in range(4))
        self.position = nn.Conv2d(2, channels, 1)
        self.features = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, dimension),
            nn.ReLU(),
            nn.Linear(dimension, dimension),
            nn.LayerNorm(dimension),
        )
        self.key, self.value, self.query = (nn.Linear(dimension, dimension, bias=False) for _ in range(3))
        self.slots = nn.Parameter(torch.randn(segments, dimension))
        self.update = nn.GRUCell(dimension, dimension)
        self.refine = nn.Sequential(
            nn.LayerNorm(dimension), nn.Linear(dimension, 2 * dimension), nn.ReLU(), nn.Linear(2 * dimension, dimension)
        )
        self.slot_norm = nn.LayerNorm(dimension)
        half = channels // 2
        self.narrow = nn.Conv2d(channels, half, 1)
        self.sharpen = nn.Conv2d(half + 3, half, 3, padding=1)
        self.pixel_key = nn.Conv2d(half, half, 1)
        self.pixel_query = nn.Linear(dimension, half)

    def forward(self, images: Images) -> Logits:
        """Images `b 3 h w` in [0, 1], h and w even; returns logits `b k h w`: the masks are their softmax over k."""
        x = F.pixel_unshuffle(images - 0.5, 2).contiguous(memory_format=torch.channels_last)
        x = F.relu(self.norms[0](self.stem(x)))
        for layer, norm in zip(self.encoder, self.norms[1:], strict=True):
            x = x + F.relu(norm(layer(x)))
        x = x + self.position(_grid(x))
        features = self.features(x.permute(0, 2, 3, 1)).flatten(1, 2)
        key = self.key(features)
        slots = self._compete(key, self.value(features))
        groups = F.interpolate(self._match(slots, key).unflatten(2, x.shape[-2:]), size=images.shape[-2:], mode="bilinear")
        x = F.interpolate(self.narrow(x), size=images.shape[-2:], mode="bilinear")
        pixels = self.pixel_key(F.relu(self.sharpen(torch.cat([x, images - 0.5], 1))))
        return groups + torch.einsum("bkd,bdhw->bkhw", self.pixel_query(self.slot_norm(slots)), pixels)

    def _compete(self, key: Tensor, value: Tensor) -> Tensor:
        """Slots `b k d` after a few rounds over the pixels' keys and values, `b n d`."""
        slots = self.slots.expand(len(key), -1, -1)
        for _ in range(self.rounds):
            weights = self._match(slots, key).softmax(1) + 1e-8
            means = torch.einsum("bkn,bnd->bkd", weights / weights.sum(2, keepdim=True), value)
            slots = self.update(means.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
            slots = slots + self.refine(slots)
        return slots

    def _match(self, slots: Tensor, key: Tensor) -> Tensor:
        """How well each pixel fits each slot, `b k n`."""
        return torch.einsum("bkd,bnd->bkn", self.query(self.slot_norm(slots)), key) * key.shape[-1] ** -0.5


def _grid(x: Tensor) -> Tensor:
    """Row and column of every pixel in [-1, 1], `1 2 h w`."""
    rows, columns = (torch.linspace(-1, 1, size, device=x.device, dtype=x.dtype) for size in x.shape[-2:])
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]
