"""Guessing hidden regions with any of the inpainters: of pixels, or of content on several grids."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.shapes import Edges, Masks


def guess(
    inpainter: nn.Module, contents: Sequence[Tensor], edges: Edges, hidden: Sequence[Tensor], propagate: bool
) -> list[Tensor]:
    """The inpainter's guesses `b k c h w` of every map of the content, for each hidden region."""
    if is_pixels(contents):
        return [inpainter(contents[0], hidden[0], edges, propagate)]
    guesses: list[Tensor] = inpainter(contents, hidden, edges)
    return guesses


def is_pixels(contents: Sequence[Tensor]) -> bool:
    """Whether the content is the image itself: the only one of a single map."""
    return len(contents) == 1


def cells_of(masks: Masks, contents: Sequence[Tensor]) -> list[Tensor]:
    """Masks `b k h w` at the resolution of each map: the fraction of each cell that they cover."""
    return [F.avg_pool2d(masks, factor) if (factor := masks.shape[2] // each.shape[2]) > 1 else masks for each in contents]
