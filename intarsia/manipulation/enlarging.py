"""Enlarging: masks of the model's size at the size of the picture that was given, with borders that follow that picture.

The model sees a *region* of the picture, resized. In every small window of the resized image a mask is nearly a linear function
of the colour. That function, taken at the picture's own colours, gives the mask at the picture's own size (the guided filter).
So it costs no more than a resized mask. It never departs from what the mask is within a pixel around.

References:
    He, Sun, Tang, Guided image filtering, IEEE Transactions on Pattern Analysis and Machine Intelligence 2013.
    He, Sun, Fast guided filter, 2015.
"""

from collections.abc import Generator, Iterator
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Result = TypeVar("Result")
Steps: TypeAlias = Generator[None, None, Result]
"""Work in short steps: it yields after each one, and returns the result."""
Bytes: TypeAlias = NDArray[np.uint8]

WINDOW = 3  # px of the model's image, side of the windows
SMOOTHEST = 1e-4  # variance of a colour below which it tells nothing
STRIP = 2**18  # px that are computed at once


class Region(NamedTuple):
    """The part of a picture that the model sees, in the picture's pixels; it may reach beyond the picture."""

    left: float
    top: float
    right: float
    bottom: float


class Original(NamedTuple):
    """A picture at its own size, and what the model sees of it.

    pixels: `H W 3`.
    size: Height and width of the model's image.
    """

    pixels: Bytes
    region: Region
    size: tuple[int, int]

    @classmethod
    def whole(cls, pixels: Bytes, size: tuple[int, int]) -> "Original":
        """A picture that the model sees all of."""
        height, width = pixels.shape[:2]
        return cls(pixels, Region(0, 0, width, height), size)

    @property
    def is_image(self) -> bool:
        """Whether the picture is the model's image, pixel by pixel."""
        height, width = self.size
        return self.pixels.shape[:2] == self.size and self.region == (0, 0, width, height)

    def places(self, rows: slice, columns: slice, finer: int = 1) -> tuple[Tensor, Tensor]:
        """Where pixels of the picture are in the model's image, whose first pixel's centre is at 0: down, and to the right.

        `finer` places for each pixel, evenly spread.
        """
        (height, width), (left, top, right, bottom) = self.size, self.region
        down, across = (
            torch.arange(each.start * finer, each.stop * finer, dtype=torch.double).add(0.5) / finer for each in (rows, columns)
        )
        return (down - top) * (height / (bottom - top)) - 0.5, (across - left) * (width / (right - left)) - 0.5

    def colours(self, down: Tensor, across: Tensor) -> Tensor:
        """The picture's colours `3 h w` at places in the model's image, interpolated cubically; beyond it, its border's."""
        (height, width), (left, top, right, bottom) = self.size, self.region
        rows = (down + 0.5) * ((bottom - top) / height) + top - 0.5
        columns = (across + 0.5) * ((right - left) / width) + left - 0.5
        first = [max(int(each[0].round()) - 3, 0) for each in (rows, columns)]
        first = [min(start, most - 1) for start, most in zip(first, self.pixels.shape, strict=False)]
        last = [max(int(each[-1].round()) + 3, start) for each, start in zip((rows, columns), first, strict=True)]
        part = self.pixels[first[0] : last[0] + 1, first[1] : last[1] + 1]
        colours = torch.from_numpy(part.astype(np.float32) / 255).permute(2, 0, 1)
        return sampled(colours, rows - first[0], columns - first[1], "bicubic").clamp(0, 1)

    def box(self, seen: Tensor) -> tuple[slice, slice]:
        """Rows and columns of the picture where a map `h w` of the model's image is above 0, and a pixel of the map around."""
        slices, (left, top, right, bottom) = [], self.region
        for axis, (low, high) in enumerate(((top, bottom), (left, right))):
            size, most = seen.shape[axis], self.pixels.shape[axis]
            scale, there = (high - low) / size, (seen > 0).any(1 - axis).nonzero()[:, 0].tolist()
            start, stop = (max(there[0] - 1, 0), min(there[-1] + 2, size)) if there else (0, 0)
            first, last = (min(max(round(low + each * scale), 0), most) for each in (start, stop))
            slices.append(slice(first, last))
        return slices[0], slices[1]


class Guided:
    """Masks `n h w` in [0, 1] of an image `3 h w`, to be had wherever there are colours."""

    def __init__(self, image: Tensor, masks: Tensor) -> None:
        self._count = len(masks)
        mean, target = _mean(image), _mean(masks)
        spread = _mean((image[:, None] * image).flatten(0, 1)).unflatten(0, (3, 3)) - mean[:, None] * mean
        shared = _mean((masks[:, None] * image).flatten(0, 1)).unflatten(0, (-1, 3)) - target[:, None] * mean
        inverse = torch.linalg.inv(spread.permute(2, 3, 0, 1) + SMOOTHEST * torch.eye(3, device=image.device))
        slope = torch.einsum("hwcd,nchw->ndhw", inverse, shared)
        rest = target - (slope * mean).sum(1)
        near = F.max_pool2d(torch.cat([masks, -masks])[None], 3, 1, 1)[0]
        self._maps = torch.cat([_mean(slope.flatten(0, 1)), _mean(rest), -near[self._count :], near[: self._count]]).cpu()

    def at(self, colours: Tensor, down: Tensor, across: Tensor) -> Tensor:
        """The masks `n h w` of colours `3 h w` at places in the image."""
        maps = sampled(self._maps, down, across)
        slope, rest, least, most = maps.split([3 * self._count, *[self._count] * 3])
        found = (slope.unflatten(0, (self._count, 3)) * colours).sum(1) + rest
        return torch.minimum(torch.maximum(found, least), most)


def sampled(maps: Tensor, down: Tensor, across: Tensor, mode: str = "bilinear") -> Tensor:
    """Maps `c H W` at places `h` down and `w` to the right, `c h w`; beyond the maps, the nearest pixel."""
    height, width = maps.shape[1:]
    rows, columns = torch.meshgrid((2 * down + 1) / height - 1, (2 * across + 1) / width - 1, indexing="ij")
    grid = torch.stack([columns, rows], -1).to(maps)[None]
    return F.grid_sample(maps[None], grid, mode=mode, padding_mode="border", align_corners=False)[0]


def pixels_of(values: Tensor) -> Bytes:
    """Values `c h w` in [0, 1] as bytes `h w c`."""
    pixels: Bytes = (values.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return pixels


def inside(size: tuple[int, int], down: Tensor, across: Tensor) -> Tensor:
    """Which places, `h w`, are inside an image of this height and width."""
    rows, columns = ((each >= -0.5) & (each <= most - 0.5) for each, most in zip((down, across), size, strict=True))
    return rows[:, None] & columns


def strips(rows: slice, columns: slice) -> Iterator[slice]:
    """Rows in strips of at most `STRIP` pixels."""
    step = max(1, STRIP // max(1, columns.stop - columns.start))
    for first in range(rows.start, rows.stop, step):
        yield slice(first, min(first + step, rows.stop))


def enlarged_labels(original: Original, image: Tensor, masks: Tensor) -> Steps[Bytes]:
    """The largest mask at each pixel of a picture, `H W`: its number in masks `k h w`; 0 outside of the region.

    Args:
        original: The picture.
        image: `3 h w` in [0, 1]: the region at the model's size.
        masks: `k h w`, which sum to 1 over k.
    """
    guided, labels = Guided(image, masks), np.zeros(original.pixels.shape[:2], np.uint8)
    rows, columns = original.box(torch.ones_like(masks[0]))
    for strip in strips(rows, columns):
        places = original.places(strip, columns)
        labels[strip, columns] = guided.at(original.colours(*places), *places).argmax(0).numpy()
        yield
    return labels


def at_once(steps: "Steps[Result]") -> Result:
    """The result of all steps."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            found: Any = stop.value
            return found


def _mean(maps: Tensor) -> Tensor:
    """The mean of maps `c h w` in the window around each pixel, as far as it is inside."""
    return F.avg_pool2d(maps[None], WINDOW, 1, WINDOW // 2, count_include_pad=False)[0]
