"""The original's inpainter, number for number."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.networks.tensorflow import SameConv, by_tap, gathered, glorot, resized, tap_matrix, taps
from intarsia.shapes import Edges, Guesses, Images, Masks

CHANNELS = (32, 64, 128, 256, 256, 256)  # of the levels, at 1/2, 1/4, ..., 1/64 of the size


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2."""
    return F.leaky_relu(x, 0.2)


class Tower(nn.Module):
    """Six levels, each with half the size of the one before; the third to the fifth have a second convolution."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        first, second, third, fourth, fifth, sixth = CHANNELS
        self.convolve = nn.ModuleList(
            [
                SameConv(inputs, first, 7, 2),
                SameConv(first, second, 5, 2),
                SameConv(second, third, 5, 2),
                SameConv(third, third, 3),
                SameConv(third, fourth, 3, 2),
                SameConv(fourth, fourth, 3),
                SameConv(fourth, fifth, 3, 2),
                SameConv(fifth, fifth, 3),
                SameConv(fifth, sixth, 3, 2),
            ]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """The levels of maps `b inputs h w`, finest first."""
        levels: list[Tensor] = []
        for layer in self.convolve:
            x = activate(layer(x))
            if layer.stride == (1, 1):
                levels.pop()  # where a level has two convolutions, the second one's result counts
            levels.append(x)
        return levels


class JoinedConv(nn.Module):
    """Bilinear resizing, then a SAME convolution over joined channels of a region and of the edges.

    The part of the edges is the same for all regions of an image and is computed once.

    Args:
        before: Number of channels of a region that the weights have first.
        edges: Number of channels of the edges, which come next.
        after: Number of channels of the region again.
        outputs: Number of output channels.
        kernel: Side of the kernel.
    """

    def __init__(self, before: int, edges: int, after: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.parts = (before, edges, after)
        self.weight = by_tap(torch.empty(outputs, before + edges + after, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, own: Tensor, edges: Tensor | None, height: int, width: int) -> Tensor:
        """Maps `(b k) before+after h w` and `b edges h w`, if any, to `(b k) outputs height width`."""
        before, between, after = tap_matrix(self.weight).to(own.dtype).split(self.parts, 1)
        found = taps(own, torch.cat([before, after], 1))
        if edges is not None:
            shared = taps(edges, between)
            found = (found.reshape(len(edges), -1, shared[0].numel()) + shared.flatten(1)[:, None]).view(found.shape)
        return gathered(found, self.bias, self.weight.shape[-1], height, width)


class ReferenceInpainter(nn.Module):
    """The original's inpainter: 13.5 million parameters, one tower for the edges and one for the visible pixels.

    It computes the same as the original in another order. All regions are one batch; everything about the edges is computed
    once per image; products with the decoder's kernels come before the resizing (`tensorflow.gathered`). As in the original,
    the skips of the third to fifth level come from their second convolution, and the last prediction has half the size and is
    merely resized.
    """

    def __init__(self) -> None:
        super().__init__()
        self.edge_tower, self.tower = Tower(2), Tower(5)
        levels = list(reversed(CHANNELS[:-1]))
        last = CHANNELS[-1]
        inputs = [(0, last, last), *((2 * c, c, 0 if i == 0 else 3) for i, c in enumerate(levels))]
        self.decoder = nn.ModuleList(JoinedConv(*parts, c, 4) for parts, c in zip(inputs[:-1], levels, strict=True))
        kernels = (3, 3, 3, 3, 5)
        self.intensity = nn.ModuleList(JoinedConv(*parts, 3, k) for parts, k in zip(inputs[1:], kernels, strict=True))
        self.enlarge_intensity = nn.ModuleList(JoinedConv(3, 0, 0, 3, 4) for _ in levels[1:])
        glorot(self)

    def forward(self, images: Images, hidden: Masks, edges: Edges, propagate: bool = True) -> Guesses:
        """Guess every hidden region of every image, all in one batch.

        Args:
            images: `b 3 h w` in [0, 1], of any size.
            hidden: `b k h w` in [0, 1], 1 where the region's content is hidden. A region that covers everything gives the
                unconditional guess, which knows the edges alone.
            edges: `b 2 h w`, the edge map of the image, hidden regions included.
            propagate: Has no effect here; `CompactInpainter` needs it.

        Returns:
            `b k 3 h w`, for each region a guess of all pixels of the image, hidden or not; not clamped.
        """
        shown = 1 - hidden[:, :, None]
        seen = torch.cat([(images[:, None] - 0.5) * shown, torch.ones_like(shown), shown], 2)
        levels = self.tower(seen.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        edge_levels = self.edge_tower(edges.contiguous(memory_format=torch.channels_last))
        own, edge = levels.pop(), edge_levels.pop()
        guesses: list[Tensor] = []
        enlarge = iter(self.enlarge_intensity)
        for deconvolve, intensity in zip(self.decoder, self.intensity, strict=True):
            level = levels.pop()
            size = level.shape[-2:]
            joined = [activate(deconvolve(own, edge, *size)), level]
            if guesses:
                joined.append(next(enlarge)(guesses.pop(), None, *size))
            own, edge = torch.cat(joined, 1), edge_levels.pop()
            guesses.append(intensity(own, edge, *size))
        return resized(guesses.pop().float(), *images.shape[-2:]).unflatten(0, hidden.shape[:2]) + 0.5
