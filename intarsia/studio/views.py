"""What the page shows of a scene: the picture, what is where, the codes, and what each number of a code does."""

from base64 import b64encode
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.manipulation import Part, composite, set_code
from intarsia.manipulation.edits import PRESENT
from intarsia.manipulation.replay import Edited
from intarsia.masks import visible_shapes
from intarsia.memo import Memo
from intarsia.model import Model
from intarsia.pictures import png
from intarsia.scene import Scene

__all__ = ["ObjectView", "Strip", "View", "encoded", "strip", "varied", "view"]

# Of a strip, in standard deviations of the prior: values of the number, whatever it is now.
OFFSETS = (-2.0, -1.0, 0.0, 1.0, 2.0)
STRIP_SIZE = 64  # px, of the longer side of a strip's pictures
SEEN = 0.5  # a shape or mask is where it is above this
ROOM = 2.0  # what a strip shows of an object's surroundings, in its own sizes


@dataclass(frozen=True)
class ObjectView:
    """One object. Codes are in standard deviations of the prior, `*_kl` in nats: how much each number tells."""

    number: int
    empty: bool
    """Nothing of it is anywhere: a place that the model has and the picture had no object for."""
    box: tuple[int, int, int, int]
    """Left, top, right and bottom, in pixels; of the whole shape, whatever is in front of it."""
    colour: str
    """The mean colour, #rrggbb."""
    shape: list[float]
    texture: list[float]
    shape_kl: list[float]
    texture_kl: list[float]


@dataclass(frozen=True)
class View:
    """A scene after some edits."""

    picture: str
    """PNG, in Base64."""
    labels: str
    """A byte for each pixel, row by row, in Base64: 0 for the background, else which of `objects`, counted from 1, is seen."""
    objects: list[ObjectView]
    """From front to back."""
    background: list[float]
    background_kl: list[float]


@dataclass(frozen=True)
class Strip:
    """What one number of a code does: pictures side by side, one for each of `offsets`."""

    picture: str
    """PNG, in Base64."""
    offsets: tuple[float, ...]


def encoded(content: bytes) -> str:
    """Base64, as JSON can hold it."""
    return b64encode(content).decode()


@torch.no_grad()
def view(model: Model, before: Scene, edited: Edited, raw: bool, memo: Memo) -> View:
    """All that the page shows of a scene; `raw` for the bare output of the fusion networks."""
    scene = edited.scene
    shown, parts = composite(model, before, scene, raw, memo), model.decode(scene, memo)
    shapes = _places(before, edited, parts.shapes)
    visible = visible_shapes(shapes)
    behind = (1 - visible.sum(0, keepdim=True)).clamp(min=0)
    labels = torch.cat([behind, visible]).argmax(0)
    return View(
        picture=encoded(png(shown.cpu())),
        labels=encoded(labels.to(torch.uint8).cpu().numpy().tobytes()),
        objects=_objects(edited, shapes, parts.textures),
        background=scene.background.tolist(),
        background_kl=scene.background_kl.tolist(),
    )


def varied(edited: Edited, part: Part, dimension: int, number: int | None) -> list[Scene]:
    """The scene as it is now, with one number of the code of an object, or of the background, at each of `OFFSETS`.

    Raises:
        InputError: if there is no such part, object or dimension.
    """
    row = edited.row(number) if number is not None else None
    return [set_code(edited.scene, part, dimension, value, row) for value in OFFSETS]


def strip(pictures: list[Tensor], part: Part, shape: Tensor | None) -> Strip:
    """Pictures `3 h w` of what `varied` gave, side by side; of an object with this shape `h w`, only what is round it."""
    frames = torch.stack(pictures).cpu()
    if shape is not None:
        left, top, right, bottom = _surroundings(shape, part)
        frames = frames[:, :, top:bottom, left:right]
    longest = max(frames.shape[2:])
    frames = F.interpolate(frames, scale_factor=STRIP_SIZE / longest, mode="nearest" if longest <= STRIP_SIZE else "area")
    return Strip(encoded(png(torch.cat(list(frames), -1))), OFFSETS)


def _places(before: Scene, edited: Edited, shapes: Tensor) -> Tensor:
    """Where each object is, `n h w`: by its mask as long as its shape is that of the picture, then by its decoded shape."""
    scene = edited.scene
    shapes = shapes.clone()
    for row, number in enumerate(edited.numbers):
        if number <= len(before.shape) and torch.equal(scene.shape[row], before.shape[number - 1]):
            shapes[row] = before.masks[number - 1]
    return shapes


def _objects(edited: Edited, shapes: Tensor, textures: Tensor) -> list[ObjectView]:
    scene = edited.scene
    colours = ((textures * shapes[:, None]).sum((2, 3)) / shapes.sum((1, 2)).clamp(min=1e-6)[:, None]).clamp(0, 1)
    return [
        ObjectView(
            number=number,
            empty=bool(shapes[row].max() <= PRESENT),
            box=_box(shapes[row]),
            colour="#" + "".join(f"{round(value * 255):02x}" for value in colours[row].tolist()),
            shape=scene.shape[row].tolist(),
            texture=scene.texture[row].tolist(),
            shape_kl=scene.shape_kl[row].tolist(),
            texture_kl=scene.texture_kl[row].tolist(),
        )
        for row, number in enumerate(edited.numbers)
    ]


def _box(shape: Tensor) -> tuple[int, int, int, int]:
    rows, columns = (shape > SEEN).any(1).nonzero(), (shape > SEEN).any(0).nonzero()
    if not len(rows):
        return (0, 0, 0, 0)
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _surroundings(shape: Tensor, part: Part) -> tuple[int, int, int, int]:
    """A square round an object, within the picture as far as that is large enough; with room for a shape to change."""
    height, width = shape.shape
    left, top, right, bottom = _box(shape)
    side = max(right - left, bottom - top) * (ROOM if part == "shape" else 1.2)
    side = round(min(max(side, min(height, width) / 4), height, width))
    x = min(max(round((left + right - side) / 2), 0), width - side)
    y = min(max(round((top + bottom - side) / 2), 0), height - side)
    return x, y, x + side, y + side
