"""Edited scenes at the size of the picture that was given, drawn from the picture's own pixels.

The layers are those of `compositing`: what moved shows the picture's pixels where it was, cut out along borders that follow the
picture (`enlarging`). The model's size is left for what the picture does not show: decoded objects, objects of other pictures,
and what came to light. Everything is drawn strip by strip, so a large picture needs hardly more memory than itself.

References:
    Forte, Approximate fast foreground colour estimation, ICIP 2021.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.errors import InputError
from intarsia.manipulation.compositing import changed_region, composite, soft
from intarsia.manipulation.cutouts import INSIDE
from intarsia.manipulation.edits import remove
from intarsia.manipulation.enlarging import Bytes, Guided, Original, Steps, inside, pixels_of, sampled, strips
from intarsia.manipulation.layers import appearance, backdrop, hole, is_decoded, layers
from intarsia.manipulation.replay import Edited
from intarsia.masks import ALMOST, FINEST
from intarsia.pictures import MOST_LABELS, cutout_png, read_cutout
from intarsia.rendering import Renderer
from intarsia.scene import Origin, Scene

FAINT = 0.02  # opacity at the model's size below which an object is not drawn


class Cutout(NamedTuple):
    """An object's pixels: red, green, blue and opacity, `h w 4`, and the picture's column and row of the first one."""

    left: int
    top: int
    pixels: Bytes


class FullSize:
    """An edited scene at the size of its picture.

    Args:
        renderer: Of the model of the scenes.
        before: The scene as it was encoded from the picture's region.
        edited: The scene after its edits.
        original: The picture that was given.
    """

    def __init__(self, renderer: Renderer, before: Scene, edited: Edited, original: Original) -> None:
        after = edited.scene
        self.original, self.numbers = original, edited.numbers
        shown, placed = composite(renderer, before, after), layers(renderer, after)
        self._shown = shown.cpu()
        repainted = not torch.equal(before.background, after.background)
        behind = shown if repainted else backdrop(renderer, before, before.background)
        filled = torch.ones_like(before.masks[0]) if repainted else hole(before)
        self._changed = soft(changed_region(renderer, before, after)).cpu()[None]
        self._behind = torch.cat([behind, filled[None]]).cpu()
        self._opacities = placed.opacities.cpu()
        self._objects: list[_Own | Tensor] = []
        sources: dict[int, _Source] = {}
        for row in range(len(edited.numbers)):
            origin, decoded = after.origins[row], is_decoded(after, row)
            source = None if origin is None or decoded else _source(renderer, before, origin)
            if source is None:
                colours = shown if decoded else placed.colours[row]
                self._objects.append(torch.cat([colours, placed.opacities[row, None]]).cpu())
            else:
                if source not in sources:
                    sources[source] = _Source(renderer, before, source)
                self._objects.append(_Own(sources[source], *after.transform[row].tolist()))

    def drawn(self) -> Steps[Bytes]:
        """The picture `H W 3` with its edits. Where they change nothing, the pixels are the given ones."""
        if self.original.is_image:
            return pixels_of(self._shown)
        result = self.original.pixels.copy()
        rows, columns = self.original.box(self._changed[0])
        for strip in strips(rows, columns):
            places = self.original.places(strip, columns)
            given = torch.from_numpy(result[strip, columns].astype(np.float32) / 255).permute(2, 0, 1)
            colours, visible = self._layers(strip, columns)
            behind = sampled(self._behind, *places)
            ground = torch.lerp(given, behind[:3], behind[3])
            full = (colours * visible[:, None]).sum(0) + ground * (1 - visible.sum(0))
            weight = sampled(self._changed, *places)[0] * inside(self.original.size, *places)
            result[strip, columns] = pixels_of(torch.lerp(given, full, weight))
            yield
        return result

    def labels(self) -> Steps[Bytes]:
        """The number of the visible object at each pixel, `H W`; 0 for the background.

        Raises:
            InputError: if a number is above 255.
        """
        if max(self.numbers, default=0) > MOST_LABELS:
            raise InputError(f"An object has the number {max(self.numbers)}; masks in one picture hold up to {MOST_LABELS}.")
        labels = np.zeros(self.original.pixels.shape[:2], np.uint8)
        numbers = np.array([0, *self.numbers], np.uint8)
        rows, columns = self.original.box(torch.ones_like(self._changed[0]))
        for strip in strips(rows, columns):
            visible = self._layers(strip, columns)[1]
            labels[strip, columns] = numbers[torch.cat([1 - visible.sum(0, keepdim=True), visible]).argmax(0).numpy()]
            yield
        return labels

    def cutout(self, row: int) -> Steps[Cutout | None]:
        """An object where it lies now, with what others hide of it; None if nothing of it is in the picture."""
        rows, columns = self.original.box(self._opacities[row] > FAINT)
        pixels = np.zeros((rows.stop - rows.start, columns.stop - columns.start, 4), np.uint8)
        for strip in strips(rows, columns):
            layer = self._layer(row, strip, columns)
            layer[:3] *= layer[3] > 0
            pixels[strip.start - rows.start : strip.stop - rows.start] = pixels_of(layer)
            yield
        return Cutout(columns.start, rows.start, pixels) if (pixels[..., 3] > INSIDE * 255).any() else None

    def _layers(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
        """Colours `n 3 h w` of the objects, and how much of each is visible, `n h w`."""
        left = torch.ones(rows.stop - rows.start, columns.stop - columns.start)
        colours, visible = torch.zeros(len(self.numbers), 3, *left.shape), torch.zeros(len(self.numbers), *left.shape)
        for row, opacity in enumerate(self._opacities):
            near = self.original.box(opacity > FAINT)
            part = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(near, (rows, columns), strict=True)]
            if any(each.start >= each.stop for each in part):
                continue
            layer = self._layer(row, *part)
            here = [slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, (rows, columns), strict=True)]
            taken = torch.minimum(layer[3], left[here[0], here[1]])
            visible[row, here[0], here[1]] = taken
            left[here[0], here[1]] -= taken
            colours[row, :, here[0], here[1]] = layer[:3]
        return colours, visible

    def _layer(self, row: int, rows: slice, columns: slice) -> Tensor:
        """Colours and opacity of an object, `4 h w`."""
        shown = self._objects[row]
        if isinstance(shown, _Own):
            return shown.at(self.original, rows, columns)
        places = self.original.places(rows, columns)
        layer = sampled(shown, *places)
        layer[3] *= inside(self.original.size, *places)
        return layer


class _Source:
    """An object of the encoded scene: what is known of it at the model's size."""

    def __init__(self, renderer: Renderer, before: Scene, row: int) -> None:
        whole, without = appearance(renderer, before, row), composite(renderer, before, remove(before, row))
        others = before.masks[:-1].sum(0) - before.masks[row]
        self.guided = Guided(before.image, whole[3:])
        # What hides the object is not the object's: there the picture's pixels say nothing about it.
        self.maps = torch.cat([whole, without, (others <= INSIDE).float()[None]]).cpu()

    def at(self, original: Original, down: Tensor, across: Tensor) -> Tensor:
        """Colours and opacity `4 h w` at places in the model's image."""
        pixels, maps = original.colours(down, across), sampled(self.maps, down, across)
        own, opacity, behind, seen = maps[:3], maps[3], maps[4:7], maps[7]
        opacity = torch.lerp(opacity, self.guided.at(pixels, down, across)[0].clamp(0, 1), seen)
        # The object's part of a mixed pixel: what its colour and the one behind leave unexplained.
        unmixed = own + opacity * (pixels - opacity * own - (1 - opacity) * behind)
        colours = torch.lerp(own, unmixed.clamp(0, 1), seen)
        return torch.cat([colours, (opacity * inside(original.size, down, across))[None]])


class _Own(NamedTuple):
    """An object that shows the picture's own pixels, and its transform."""

    source: _Source
    scale: float
    right: float
    down: float

    def at(self, original: Original, rows: slice, columns: slice) -> Tensor:
        """Colours and opacity `4 h w` at pixels of the picture. If the object shrank, each is the mean of several."""
        finer = min(int(np.ceil(1 / self.scale - ALMOST)), FINEST)
        down, across = original.places(rows, columns, finer)
        down, across = (down - self.down) / self.scale, (across - self.right) / self.scale
        return F.avg_pool2d(self.source.at(original, down, across), finer)


def _source(renderer: Renderer, before: Scene, origin: Origin) -> int | None:
    """The row of the object that an origin shows, in the encoded scene; None if it is of another picture.

    A pasted object is known by its pixels: they are those of the cut-out that a copy of the object has.
    """
    for row, own in enumerate(before.origins):
        if own is origin:
            return row
        if origin.others is None:
            cutout = read_cutout(cutout_png(appearance(renderer, before, row)), *before.image.shape[1:]).to(origin.image)
            if torch.equal(cutout[:3], origin.image) and torch.equal(cutout[3], origin.mask):
                return row
    return None
