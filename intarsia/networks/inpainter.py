"""The compact inpainter: guesses the content of a hidden region from the rest of the image and the image's edge map."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.networks.layers import Attention
from intarsia.shapes import Edges, Guesses, Images, Masks


def conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size, or halves it with stride 2."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2, as in the original."""
    return F.leaky_relu(x, 0.2)


class CompactInpainter(nn.Module):
    """A U-Net of five levels, small enough for a laptop.

    Like the original's inpainter it has one tower for the edges and one for the visible pixels, joined at every level.
    It differs in four ways that make it fast:

    - The image is folded 2x2 into channels, so that no layer runs at full size.
    - The edges are added to every level before the activation. That is a convolution over the joined channels, written as a
      sum: everything about the edges is computed once per image and not once per region.
    - A learned bias per position tells each pixel its place.
    - Visible colours are propagated over the soft patches that the edges enclose (`Patches`), so that a few visible pixels of
      an object colour all of it.

    Args:
        height: Image height in pixels, a multiple of 32.
        width: Image width in pixels, a multiple of 32.
        channels: Channels at half size; deeper levels have 2, 4, 8 and 8 times as many.
        patches: Number of soft patches; 0 for an inpainter without them.
    """

    def __init__(self, height: int = 64, width: int = 64, channels: int = 16, patches: int = 96) -> None:
        super().__init__()
        down = [channels * factor for factor in (1, 2, 4, 8, 8)]
        up = down[:-1]
        self.edge_stem, self.stem = conv3(8, down[0]), conv3(16, down[0])
        self.edge_encoder = nn.ModuleList(conv3(i, o, 2) for i, o in pairwise(down))
        self.encoder = nn.ModuleList(conv3(i, o, 2) for i, o in pairwise(down))
        self.edge_encoder_terms = nn.ModuleList(nn.Conv2d(c, c, 1) for c in down)
        self.decoder = nn.ModuleList(conv3(i + o, o) for i, o in zip(down[1:], up, strict=True))
        self.edge_decoder_terms = nn.ModuleList(conv3(c, c) for c in up)
        self.attend = Attention(down[2])
        self.patches = Patches(channels, patches) if patches else None
        self.spread_stem = conv3(4, down[0]) if patches else None  # of propagated colours; saved weights have this name
        self.position = nn.Parameter(torch.zeros(channels, height // 2, width // 2))
        self.head = conv3(2 * channels + (4 if patches else 0), 2 * channels)
        self.output = conv3(2 * channels, 12)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, images: Images, hidden: Masks, edges: Edges, propagate: bool = True) -> Guesses:
        """Guess every hidden region of every image, all in one batch.

        Args:
            images: `b 3 h w` in [0, 1].
            hidden: `b k h w` in [0, 1], 1 where the region's content is hidden. A region that covers everything gives the
                unconditional guess, which knows the edges alone (as in the original).
            edges: `b 2 h w`, the edge map of the image, hidden regions included.
            propagate: Whether to propagate visible colours over the patches. Without that, the inpainter is weaker and faster.

        Returns:
            `b k 3 h w`, for each region a guess of all pixels of the image, hidden or not; not clamped.
        """
        count = hidden.shape[1]
        tower, skips, terms = self._see_edges(edges)
        shown = 1 - hidden[:, :, None]
        seen = torch.cat([(images[:, None] - 0.5) * shown, shown], 2)
        x = self.stem(F.pixel_unshuffle(seen.flatten(0, 1), 2).contiguous(memory_format=torch.channels_last))
        propagated = []
        if self.patches is not None and self.spread_stem is not None:
            if propagate:
                colours = (
                    propagate_colours(seen, self.patches(tower)).flatten(0, 1).contiguous(memory_format=torch.channels_last)
                )
                x = x + self.spread_stem(colours)
                propagated = [colours.to(x.dtype)]
            else:
                x = x + self.spread_stem(x.new_zeros(1, 4, 1, 1))  # its output for zeros, which is its bias
        levels = [activate(_add_per_image(x, skips[0], count))]
        for layer, skip in zip(self.encoder, skips[1:], strict=True):
            levels.append(activate(_add_per_image(layer(levels[-1]), skip, count)))
            if len(levels) == 3:
                levels[-1] = self.attend(levels[-1])
        x = levels.pop()
        for layer, term in zip(reversed(self.decoder), reversed(terms), strict=True):
            level = levels.pop()
            x = F.interpolate(x, size=level.shape[-2:], mode="bilinear")
            x = activate(_add_per_image(layer(torch.cat([x, level], 1)), term, count))
        x = torch.cat([x, level, *propagated], 1)
        x = activate(F.conv2d(x, self.head.weight[:, : x.shape[1]], self.head.bias, padding=1))
        return F.pixel_shuffle(self.output(x), 2).unflatten(0, (-1, count)) + 0.5

    def _see_edges(self, edges: Edges) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """The levels of the edge tower, and the terms that they add to the encoder's and to the decoder's levels."""
        x = F.pixel_unshuffle(edges, 2).contiguous(memory_format=torch.channels_last)
        levels = [activate(self.edge_stem(x) + self.position)]
        for layer in self.edge_encoder:
            levels.append(activate(layer(levels[-1])))
        encoder = [layer(x) for layer, x in zip(self.edge_encoder_terms, levels, strict=True)]
        decoder = [layer(x) for layer, x in zip(self.edge_decoder_terms, levels[:-1], strict=True)]
        return levels, encoder, decoder


class Patches(nn.Module):
    """Divides an image into soft patches of pixels that probably have one colour, from its edges alone.

    Args:
        channels: Of the finest level of the edge tower; the next two have 2 and 4 times as many.
        patches: Number of patches p.
    """

    def __init__(self, channels: int, patches: int = 96) -> None:
        super().__init__()
        self.attend = Attention(4 * channels)
        self.up = nn.ModuleList([conv3(6 * channels, 2 * channels), conv3(3 * channels, 2 * channels)])
        self.assign = nn.Conv2d(2 * channels, patches, 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """The levels of the edge tower, finest first; returns `b p h w`, summing to 1 over the patches."""
        x = self.attend(levels[2])
        for layer, level in zip(self.up, (levels[1], levels[0]), strict=True):
            x = activate(layer(torch.cat([F.interpolate(x, size=level.shape[-2:], mode="bilinear"), level], 1)))
        return self.assign(x).float().softmax(1)


def propagate_colours(seen: Tensor, patches: Tensor) -> Tensor:
    """Give each pixel the mean visible colour of its patches: attention between all pixels, of low rank.

    Args:
        seen: `b k 4 2h 2w`, the pixels' colours times their visibility, and their visibility.
        patches: `b p h w`, summing to 1 over p.

    Returns:
        `b k 4 h w`: the propagated colour, and the visible fraction of the patches, in [0, 1]. The colour is 0 where nothing
        is visible.
    """
    size = patches.shape[-2:]
    with torch.autocast(seen.device.type, enabled=False):
        pixels = patches.flatten(2)
        sources = F.avg_pool2d(seen.float().flatten(0, 2), 2).view(len(seen), -1, pixels.shape[-1])
        sums = (sources @ pixels.mT @ pixels).view(*seen.shape[:3], *size)
        total = (pixels.sum(2)[:, None] @ pixels).view(len(seen), 1, 1, *size)
        return torch.cat([sums[:, :, :3] / (sums[:, :, 3:] + 1e-2), sums[:, :, 3:] / total], 2)


def _add_per_image(x: Tensor, term: Tensor, count: int) -> Tensor:
    """Add a term per image, `b c h w`, to maps of its `count` regions, `(b count) c h w`."""
    return (x.unflatten(0, (-1, count)) + term[:, None]).flatten(0, 1)
