"""Views: what the page shows of a scene, its picture, objects and codes, and the effect of each number of a code."""

from base64 import b64encode
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.manipulation import Part, composite, set_code
from intarsia.manipulation.layers import PRESENT, layers
from intarsia.manipulation.replay import Edited
from intarsia.masks import visible_shapes
from intarsia.pictures import png
from intarsia.rendering import Renderer
from intarsia.scene import Scene

OFFSETS = (-2.0, -1.0, 0.0, 1.0, 2.0)  # values of the number in a strip, in standard deviations of the prior
STRIP_SIZE = 64  # px, the longer side of a strip's pictures
SEEN = 0.5  # a pixel belongs to a shape or mask that is above this
SURROUNDINGS = 2.0  # side of what a strip of a shape shows, in sizes of the object


@dataclass(frozen=True)
class ObjectView:
    """One object. Codes are in standard deviations of the prior; `*_kl` are the divergences of their numbers, in nats.

    Without codes in the model, they are empty.
    """

    number: int
    empty: bool
    """Whether it has no pixel: the segmenter found nothing in its channel."""
    box: tuple[int, int, int, int]
    """Left, top, right and bottom of its shape, in pixels, including what other objects hide."""
    colour: str
    """The mean colour, #rrggbb."""
    transform: list[float]
    """Scale, and distances to the right and down in pixels (`Scene.transform`)."""
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
    """A byte for each pixel, row by row, in Base64: 0 for the background, else the visible one of `objects`, counted from 1."""
    objects: list[ObjectView]
    """From front to back."""
    background: list[float]
    background_kl: list[float]


@dataclass(frozen=True)
class Strip:
    """The effect of one number of a code: pictures side by side, one for each of `offsets`."""

    picture: str
    """PNG, in Base64."""
    offsets: tuple[float, ...]


def encoded(content: bytes) -> str:
    """The content in Base64, for JSON."""
    return b64encode(content).decode()


@torch.no_grad()
def view(renderer: Renderer, before: Scene, edited: Edited, raw: bool) -> View:
    """The view of an edited scene; with `raw`, its picture is the bare output of the fusion networks."""
    scene = edited.scene
    shown, (shapes, colours) = composite(renderer, before, scene, raw), layers(renderer, scene)
    visible = visible_shapes(shapes)
    behind = (1 - visible.sum(0, keepdim=True)).clamp(min=0)
    labels = torch.cat([behind, visible]).argmax(0)
    return View(
        picture=encoded(png(shown.cpu())),
        labels=encoded(labels.to(torch.uint8).cpu().numpy().tobytes()),
        objects=_objects(edited, shapes, colours, renderer.model.has_codes),
        background=scene.background.tolist() if renderer.model.has_codes else [],
        background_kl=scene.background_kl.tolist() if renderer.model.has_codes else [],
    )


def varied(edited: Edited, part: Part, dimension: int, number: int | None) -> list[Scene]:
    """The scene with one number of an object's or the background's code set to each of `OFFSETS`.

    Raises:
        InputError: if there is no such part, object or dimension.
    """
    row = edited.row(number) if number is not None else None
    return [set_code(edited.scene, part, dimension, value, row) for value in OFFSETS]


def strip(pictures: list[Tensor], part: Part, shape: Tensor | None) -> Strip:
    """The strip of pictures `3 h w` of the scenes that `varied` gave; cut to the surroundings of an object's shape `h w`."""
    frames = torch.stack(pictures).cpu()
    if shape is not None:
        left, top, right, bottom = _surroundings(shape, part)
        frames = frames[:, :, top:bottom, left:right]
    longest = max(frames.shape[2:])
    frames = F.interpolate(frames, scale_factor=STRIP_SIZE / longest, mode="nearest" if longest <= STRIP_SIZE else "area")
    return Strip(encoded(png(torch.cat(list(frames), -1))), OFFSETS)


def _objects(edited: Edited, shapes: Tensor, pictures: Tensor, with_codes: bool) -> list[ObjectView]:
    scene = edited.scene

    def code(name: str, row: int) -> list[float]:
        numbers: list[float] = getattr(scene, name)[row].tolist()
        return numbers if with_codes else []

    colours = ((pictures * shapes[:, None]).sum((2, 3)) / shapes.sum((1, 2)).clamp(min=1e-6)[:, None]).clamp(0, 1)
    return [
        ObjectView(
            number=number,
            empty=bool(shapes[row].max() <= PRESENT),
            box=_box(shapes[row]),
            colour="#" + "".join(f"{round(value * 255):02x}" for value in colours[row].tolist()),
            transform=scene.transform[row].tolist(),
            shape=code("shape", row),
            texture=code("texture", row),
            shape_kl=code("shape_kl", row),
            texture_kl=code("texture_kl", row),
        )
        for row, number in enumerate(edited.numbers)
    ]


def _box(shape: Tensor) -> tuple[int, int, int, int]:
    rows, columns = (shape > SEEN).any(1).nonzero(), (shape > SEEN).any(0).nonzero()
    if not len(rows):
        return (0, 0, 0, 0)
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _surroundings(shape: Tensor, part: Part) -> tuple[int, int, int, int]:
    """The box of a square round an object, inside the picture, with room for a shape to change."""
    height, width = shape.shape
    left, top, right, bottom = _box(shape)
    side = max(right - left, bottom - top) * (SURROUNDINGS if part == "shape" else 1.2)
    side = round(min(max(side, min(height, width) / 4), height, width))
    x = min(max(round((left + right - side) / 2), 0), width - side)
    y = min(max(round((top + bottom - side) / 2), 0), height - side)
    return x, y, x + side, y + side
