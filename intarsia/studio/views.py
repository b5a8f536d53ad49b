"""Views: what the page shows of a scene, its picture, objects and codes, and the effect of each number of a code."""

from base64 import b64encode
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.manipulation import Part, composite, placements, remove, set_code
from intarsia.manipulation.layers import PRESENT, appearance, layers
from intarsia.manipulation.replay import Edited
from intarsia.masks import resample, visible_shapes
from intarsia.pictures import cutout_png, png
from intarsia.rendering import Renderer
from intarsia.scene import Scene

FARTHEST = 2.0  # value of the number in a strip, in standard deviations of the prior, unless it is farther now
SHOWN = 5  # pictures of a strip
TRIED = 13  # values on the way from one end to the other
IN_VIEW = 0.25  # of the area that an object has now: with less it is out of view, or next to nothing
STRIP_SIZE = 64  # px, the longer side of a strip's pictures
SEEN = 0.5  # a pixel belongs to a shape or mask that is above this
ROOM = 1.2  # side of what a strip shows, in sizes of the object


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
    """The effect of one number of a code: pictures side by side, one for each of `values`."""

    picture: str
    """PNG, in Base64."""
    values: list[float]
    """In standard deviations of the prior, evenly spaced. With each of them the object is in view."""


@dataclass(frozen=True)
class Pieces:
    """What a page needs to show an object on its way before the server's picture comes: PNGs of the picture's size, in Base64.

    From back to front: the picture without it, the object, and the objects in front of it, which cover it.
    """

    behind: str
    object: str
    """Its colours and opacity before its transform."""
    front: str
    """With opacity."""
    centre: tuple[float, float]
    """Of `object`: to the right and down, in pixels. When the object is scaled, this place stays where it is drawn."""
    transform: list[float]
    """As in `ObjectView`."""


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


@torch.no_grad()
def pieces(renderer: Renderer, before: Scene, edited: Edited, number: int) -> Pieces:
    """The pieces of an edited scene around the object of this number; `InputError` if there is none."""
    scene, row = edited.scene, edited.row(number)
    shown, (opacities, colours) = appearance(renderer, scene, row), layers(renderer, scene)
    visible = visible_shapes(opacities[:row])
    covered = visible.sum(0, keepdim=True)
    front = torch.cat([(visible[:, None] * colours[:row]).sum(0) / covered.clamp(min=1e-6), covered]).clamp(0, 1)
    place = placements(shown[3:])[0]
    return Pieces(
        behind=encoded(png(composite(renderer, before, remove(scene, row)).cpu())),
        object=encoded(cutout_png(shown.cpu())),
        front=encoded(cutout_png(front.cpu())),
        centre=(place.x, place.y) if place.area else (0.0, 0.0),
        transform=scene.transform[row].tolist(),
    )


@torch.no_grad()
def values_in_view(renderer: Renderer, edited: Edited, part: Part, dimension: int, number: int | None) -> list[float]:
    """The values of one number of a code that its strip shows: evenly spaced, and such that the object stays in view.

    Raises:
        InputError: if there is no such part, object or dimension.
    """
    row = None if number is None else edited.row(number)
    set_code(edited.scene, part, dimension, 0.0, row)  # which checks them
    low = high = FARTHEST
    if part != "shape" or row is None:
        return torch.linspace(-low, high, SHOWN).tolist()
    now = float(edited.scene.shape[row, dimension])
    tried = torch.linspace(min(-low, now), max(high, now), TRIED)
    here = int((tried - now).abs().argmin())
    areas = (_shapes(renderer, edited.scene, row, dimension, [*tried.tolist(), now]) > SEEN).sum((1, 2)).tolist()
    seen = [area >= max(1, IN_VIEW * areas[-1]) for area in areas[:-1]]
    first = next((place + 1 for place in range(here - 1, -1, -1) if not seen[place]), 0)
    last = next((place - 1 for place in range(here + 1, TRIED) if not seen[place]), TRIED - 1)
    if first == last:  # the object is hardly in view now
        first, last = max(first - 1, 0), min(last + 1, TRIED - 1)
    return torch.linspace(float(tried[first]), float(tried[last]), SHOWN).tolist()


def varied(edited: Edited, part: Part, dimension: int, number: int | None, values: list[float]) -> list[Scene]:
    """The scene with one number of an object's or the background's code set to each of some values.

    Raises:
        InputError: if there is no such part, object or dimension.
    """
    row = edited.row(number) if number is not None else None
    return [set_code(edited.scene, part, dimension, value, row) for value in values]


@torch.no_grad()
def place_of_strip(
    renderer: Renderer, edited: Edited, part: Part, dimension: int, number: int | None, values: list[float]
) -> tuple[int, int, int, int]:
    """What a strip shows of the picture: left, top, right and bottom of all places where the object is, with some room."""
    height, width = edited.scene.image.shape[1:]
    if number is None:
        return 0, 0, width, height
    row = edited.row(number)
    if part == "shape":
        return _surroundings(_shapes(renderer, edited.scene, row, dimension, values).amax(0))
    return _surroundings(layers(renderer, edited.scene).opacities[row])


def strip(pictures: list[Tensor], place: tuple[int, int, int, int], values: list[float]) -> Strip:
    """The strip of pictures `3 h w` of the scenes that `varied` gave, cut to a place."""
    left, top, right, bottom = place
    frames = torch.stack(pictures).cpu()[:, :, top:bottom, left:right]
    longest = max(frames.shape[2:])
    frames = F.interpolate(frames, scale_factor=STRIP_SIZE / longest, mode="nearest" if longest <= STRIP_SIZE else "area")
    return Strip(encoded(png(torch.cat(list(frames), -1))), values)


def _shapes(renderer: Renderer, scene: Scene, row: int, dimension: int, values: list[float]) -> Tensor:
    """The decoded shapes `n h w` of an object where it is drawn, with one number of its code set to each of n values."""
    codes = scene.shape[row].repeat(len(values), 1)
    codes[:, dimension] = codes.new_tensor(values)
    return torch.cat([resample(each, scene.transform[row]) for each in renderer.picture("shape", codes)])


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


def _surroundings(shape: Tensor) -> tuple[int, int, int, int]:
    """The box of a square round a shape `h w`, inside the picture."""
    height, width = shape.shape
    left, top, right, bottom = _box(shape)
    side = ROOM * max(right - left, bottom - top)
    side = round(min(max(side, min(height, width) / 4), height, width))
    x = min(max(round((left + right - side) / 2), 0), width - side)
    y = min(max(round((top + bottom - side) / 2), 0), height - side)
    return x, y, x + side, y + side
