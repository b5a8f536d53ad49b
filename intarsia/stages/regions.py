"""Regions to hide from the inpainter: random ones, and parts and margins of given ones."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from intarsia.recipes.settings import Recipe
from intarsia.shapes import Masks


def random_regions(count: int, recipe: Recipe, rng: Generator) -> Masks:
    """Random regions for every image of a batch, all of one kind, which is drawn by the recipe's weights: `count n h w`."""
    finest = 1 if recipe.content.kind == "pixels" else recipe.content.strides[0]
    size, weights = (recipe.height // finest, recipe.width // finest), recipe.inpainting.regions
    kinds = {
        "shared_box": lambda: shared_box(count, *size, rng),
        "boxes": lambda: boxes(count, *size, rng),
        "fields": lambda: fields(count, 2 + int(torch.randint(2, (), generator=rng)), *size, rng),
        "slivers": lambda: slivers(count, *size, rng),
        "everything": lambda: everything(count, *size),
    }
    if weights.ellipses or weights.partitions:  # else all that is drawn stays what it was before there were these two
        kinds |= {
            "ellipses": lambda: ellipses(count, *size, rng),
            "partitions": lambda: partitions(count, *size, rng),
        }
    drawn = torch.multinomial(torch.tensor([getattr(weights, kind) for kind in kinds]), 1, generator=rng)
    return list(kinds.values())[int(drawn)]()


def shared_box(count: int, height: int, width: int, rng: Generator) -> Masks:
    """One random box, shared by all images, and its complement, as in the original: `count 2 h w`.

    Rows from r1 ~ U{0 .. 2h//3 - 1} to r2 ~ U{r1 + h//5 .. h - 2}, the second excluded; columns likewise.
    """
    hidden = torch.zeros(height, width)
    (top, bottom), (left, right) = (_original_interval(size, rng) for size in (height, width))
    hidden[top:bottom, left:right] = 1
    return torch.stack([hidden, 1 - hidden]).expand(count, -1, -1, -1)


def boxes(count: int, height: int, width: int, rng: Generator) -> Masks:
    """A random box for every image, and its complement: `count 2 h w`. Sides from a tenth of the image to nearly all of it."""
    inside = []
    for size in (height, width):
        length = (0.1 + 0.83 * torch.rand(count, 1, generator=rng)) * size
        start = torch.rand(count, 1, generator=rng) * (size - length)
        position = torch.arange(size) + 0.5
        inside.append((position >= start) & (position < start + length))
    hidden = (inside[0][:, :, None] & inside[1][:, None, :]).float()
    return torch.stack([hidden, 1 - hidden], 1)


def fields(count: int, segments: int, height: int, width: int, rng: Generator) -> Masks:
    """Random soft partitions like a segmenter's first attempts: `count segments h w`, summing to 1 over segments.

    Softmax of smooth random fields; the grain (3 to 17 cells across) is drawn per call, the sharpness (0.3 to 30) per image.
    """
    cells = (3, 5, 9, 17)[int(torch.randint(4, (), generator=rng))]
    coarse = torch.randn(count, segments, cells, cells, generator=rng)
    smooth = F.interpolate(coarse, size=(height, width), mode="bicubic")
    sharpness = torch.exp(_uniform(math.log(0.3), math.log(30), (count, 1, 1, 1), rng))
    return (smooth * sharpness).softmax(1)


def slivers(count: int, height: int, width: int, rng: Generator) -> Masks:
    """Boxes, or the whole image, hidden but for thin winding lines, and the complement: `count 2 h w`.

    The lines are the zeros of a smooth random field (5 to 17 cells across), 1 to 3 px wide. From a few visible pixels the
    inpainter learns the colour of all that they are connected with. Otherwise the segmenter could leave rims behind.
    """
    cells = (5, 9, 17)[int(torch.randint(3, (), generator=rng))]
    coarse = torch.randn(count, 1, cells, cells, generator=rng)
    field = F.interpolate(coarse, size=(height, width), mode="bicubic")[:, 0]
    rows, columns = torch.gradient(field, dim=(1, 2))
    distance = field.abs() / torch.hypot(rows, columns).clamp(min=1e-6)
    lines = distance < _uniform(0.5, 1.5, (count, 1, 1), rng)
    whole = torch.rand(count, 1, 1, generator=rng) < 0.3
    hidden = ((boxes(count, height, width, rng)[:, 0] > 0) | whole) & ~lines
    return torch.stack([hidden, ~hidden], 1).float()


def everything(count: int, height: int, width: int) -> Masks:
    """All of the image, and nothing of it, for the unconditional guess: `count 2 h w`."""
    return torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(count, 2, height, width)


def ellipses(count: int, height: int, width: int, rng: Generator) -> Masks:
    """Two ellipses per image, of about an object's size: `count 2 h w`."""
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    shape = (count, 2, 1, 1)
    y, x = height * torch.rand(shape, generator=rng), width * torch.rand(shape, generator=rng)
    radius, ratio = _uniform(0.1 * height, 0.29 * height, shape, rng), _uniform(0.5, 2.0, shape, rng)
    return ((rows - y).square() * ratio + (columns - x).square() / ratio <= radius.square()).float()


def partitions(count: int, height: int, width: int, rng: Generator) -> Masks:
    """Two segments of a random partition of each image into six, with hard borders: `count 2 h w`."""
    cells = (3, 5, 9)[int(torch.randint(3, (), generator=rng))]
    coarse = torch.randn(count, 6, cells, cells, generator=rng)
    labels = F.interpolate(coarse, size=(height, width), mode="bicubic").argmax(1)
    return F.one_hot(labels, 6).permute(0, 3, 1, 2)[:, :2].float()


def one_side(regions: Masks, angles: Tensor) -> Masks:
    """One side of a line through the centre of gravity of each region `b k h w`: `b k h w`, 0 or 1; angles `b k` in radians."""
    height, width = regions.shape[2:]
    cells = torch.cartesian_prod(torch.arange(height), torch.arange(width)).view(height, width, 2).to(regions)
    centres = torch.einsum("bkhw,hwc->bkc", regions, cells) / regions.sum((2, 3)).clamp(min=1e-6)[..., None]
    across = torch.stack([angles.sin(), angles.cos()], 2).to(regions)
    above = torch.einsum("hwc,bkc->bkhw", cells, across) - (centres * across).sum(2)[..., None, None]
    return (above > 0).to(regions.dtype)


def random_angles(count: int, segments: int, rng: Generator) -> Tensor:
    """Angles `count segments`, in radians, all equally likely."""
    return 2 * math.pi * torch.rand(count, segments, generator=rng)


def with_margin(regions: Masks, margin: int) -> Masks:
    """Regions `b k h w` widened by a margin of so many pixels. The gradient is that of the regions alone."""
    wider = F.max_pool2d(regions, 2 * margin + 1, 1, margin)
    return regions + (wider - regions).detach()


def hidden_cells(regions: Masks, contents: Sequence[Tensor], margin: int) -> list[Tensor]:
    """What is hidden of each map of a content, of regions `b k h w` at the finest one's resolution and a margin of cells.

    Of a coarser map every cell that is touched is hidden. The gradient is that of the regions alone.
    """
    wider, found = with_margin(regions, margin), []
    for each in contents:
        factor = regions.shape[2] // each.shape[2]
        own = F.avg_pool2d(regions, factor) if factor > 1 else regions
        found.append(own + (F.max_pool2d(wider, factor) - own).detach() if factor > 1 else wider)
    return found


def _original_interval(size: int, rng: Generator) -> tuple[int, int]:
    start = int(torch.randint(2 * size // 3, (), generator=rng))
    return start, int(torch.randint(start + size // 5, size - 1, (), generator=rng))


def _uniform(low: float, high: float, shape: tuple[int, ...], rng: Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=rng)
