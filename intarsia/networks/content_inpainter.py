"""An inpainter of content: it guesses the maps of `networks.content` inside hidden regions."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.networks.inpainter import activate, conv3
from intarsia.networks.layers import Attention
from intarsia.shapes import Edges

__all__ = ["ContentInpainter", "propagate_within_edges"]

HALF = 2  # px: the finest stride at which content is propagated
FAINT = 0.2  # part of a cell that is visible, up to which it counts as hidden: soft regions hide cells in part
SEEN = 1e-3  # of a cell's weight
LAST_ROUNDS = 2  # of the propagation, which go over the edges' own pixels


class ContentInpainter(nn.Module):
    """A U-Net at the size of a grid. Every map is folded into the grid and out again; two levels below have attention.

    What is seen of the finest map is also propagated over what is hidden, up to the next edge (`propagate_within_edges`), so
    that a few visible cells of an object tell all of it. The network decides where that is the better guess.

    Args:
        height: Image height in pixels, a multiple of 4 grid cells.
        width: Image width in pixels, a multiple of 4 grid cells.
        strides: Of the content's maps, in pixels, divisors of the grid.
        counts: Channels of each map.
        grid: Side of a grid cell in pixels.
        channels: At the grid's size; the two deeper levels have 2 and 3 times as many.
        propagation: Rounds of propagation; 0 for an inpainter that sees no edges.
    """

    def __init__(
        self,
        height: int,
        width: int,
        strides: Sequence[int],
        counts: Sequence[int],
        grid: int = 4,
        channels: int = 32,
        propagation: int = 12,
    ) -> None:
        super().__init__()
        self.strides, self.grid, self.propagation = tuple(strides), grid, propagation
        self.folds = [grid // stride for stride in strides]
        self.widths = [fold * fold * count for fold, count in zip(self.folds, counts, strict=True)]
        one, two, three = channels, 2 * channels, 3 * channels
        self.enter = conv3(sum(self.widths) + sum(fold * fold for fold in self.folds), one)
        self.position = nn.Parameter(torch.zeros(one, height // grid, width // grid))
        self.down = nn.ModuleList([conv3(one, two, 2), conv3(two, three, 2)])
        self.middle = nn.ModuleList([conv3(two, two), conv3(three, three)])
        self.attend = nn.ModuleList([Attention(two), Attention(three)])
        self.up = nn.ModuleList([conv3(three + two, two), conv3(two + one, one)])
        self.leave = conv3(one, sum(self.widths))
        if propagation:
            self.see_edges = nn.Sequential(conv3(2 * grid * grid, one), nn.LeakyReLU(0.2), conv3(one, one))
            self.carried = grid // max(strides[0], HALF)  # how often the propagated map is folded
            self.see_propagated = conv3(self.carried**2 * (counts[0] + 1), one)
            self.gate = conv3(one, self.folds[0] ** 2)
            nn.init.zeros_(self.gate.weight)

    def forward(self, contents: Sequence[Tensor], hidden: Sequence[Tensor], edges: Edges) -> list[Tensor]:
        """Guess every hidden region of every image, all in one batch.

        Args:
            contents: `b count h/stride w/stride` for each stride.
            hidden: `b k h/stride w/stride` in [0, 1] for each stride, 1 where the content is hidden.
            edges: `b 2 h w`, the edge map of the whole image.

        Returns:
            `b k count h/stride w/stride` for each stride: guesses of the whole maps.
        """
        regions = hidden[0].shape[1]
        x = self.enter(torch.cat([self._seen(*level) for level in zip(contents, hidden, self.folds, strict=True)], 1))
        x = x + self.position
        propagated = None
        if self.propagation:
            x = (x.unflatten(0, (-1, regions)) + self.see_edges(F.pixel_unshuffle(edges, self.grid))[:, None]).flatten(0, 1)
            propagated = self._propagated(contents[0], hidden[0], edges)
            x = x + self.see_propagated(F.pixel_unshuffle(propagated.flatten(0, 1), self.carried))
        levels = [activate(x)]
        for down, middle, attend in zip(self.down, self.middle, self.attend, strict=True):
            x = activate(down(levels[-1]))
            levels.append(attend(activate(middle(x)) + x))
        x = levels.pop()
        for layer in self.up:
            level = levels.pop()
            x = activate(layer(torch.cat([F.interpolate(x, size=level.shape[-2:], mode="bilinear"), level], 1)))
        guesses = [
            F.pixel_shuffle(part, fold).unflatten(0, (-1, regions))
            for part, fold in zip(self.leave(x).float().split(self.widths, 1), self.folds, strict=True)
        ]
        if propagated is not None:
            gate = F.pixel_shuffle(self.gate(x).float().sigmoid(), self.folds[0]).unflatten(0, (-1, regions))
            value = F.interpolate(propagated[:, :, :-1].flatten(0, 1), size=guesses[0].shape[-2:], mode="nearest")
            guesses[0] = torch.lerp(guesses[0], value.unflatten(0, (-1, regions)), gate)
        return guesses

    @staticmethod
    def _seen(content: Tensor, hidden: Tensor, fold: int) -> Tensor:
        """What is visible of one map, for every region, and where, folded into the grid: `(b k) c h w`."""
        shown = 1 - hidden[:, :, None]
        seen = torch.cat([content[:, None] * shown, shown], 2).flatten(0, 1)
        return F.pixel_unshuffle(seen, fold).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def _propagated(self, content: Tensor, hidden: Tensor, edges: Edges) -> Tensor:
        """The finest map, at half the image's size or less, propagated; and where that reached."""
        shown = 1 - hidden[:, :, None]
        content = content[:, None].expand(-1, hidden.shape[1], -1, -1, -1)
        if self.strides[0] < HALF:
            seen = _half(content * shown)
            shown = _half(shown)
            content = seen / shown.clamp(min=FAINT / 2)
        return propagate_within_edges(content, (shown > FAINT).float(), edges, self.propagation)


def propagate_within_edges(content: Tensor, shown: Tensor, edges: Edges, rounds: int) -> Tensor:
    """Visible content, propagated over hidden cells up to the next edge by normalised averaging.

    In every round a cell takes the mean of those around it that have a value. The last two rounds go over the edges' own cells.

    Args:
        content: `b k c h w`.
        shown: `b k 1 h w`, 0 or 1, where the content is visible.
        edges: `b 2 H W`, with H and W multiples of h and w.
        rounds: How many cells far content is carried.

    Returns:
        `b k c+1 h w`: the content, 0 where none has arrived, and 1 where some has.

    References:
        Knutsson and Westin, Normalized and differential convolution, CVPR 1993.
    """
    factor = edges.shape[2] // content.shape[3]
    free = (1 - F.max_pool2d(edges.amax(1, keepdim=True), factor))[:, None]
    weight, value = shown, content * shown
    for left in range(rounds, 0, -1):
        gate = torch.ones_like(free) if left <= LAST_ROUNDS else free
        around = F.avg_pool2d(torch.cat([value * gate, weight * gate], 2).flatten(0, 1), 3, 1, 1).unflatten(0, shown.shape[:2])
        total = around[:, :, -1:]
        has = (weight > SEEN).to(weight.dtype)
        arriving = (total > SEEN) * gate
        new, smoother = arriving * (1 - has), arriving * has * (1 - shown) * (left > LAST_ROUNDS)
        mean = around[:, :, :-1] / total.clamp(min=SEEN)
        value = torch.where(new + smoother > 0, mean, value)
        weight = torch.where(new > 0, torch.ones_like(weight), weight)
    return torch.cat([value, weight], 2)


def _half(maps: Tensor) -> Tensor:
    return F.avg_pool2d(maps.flatten(0, 1), HALF).unflatten(0, maps.shape[:2])
