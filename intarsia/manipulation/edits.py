"""Edits that need no search: move, scale, add, remove and reorder objects; swap their textures; set a number of a code.

Moving and scaling change an object's transform and leave its codes alone. So both can be combined with changes of codes, in any
order, and an object that only moves is never decoded (see `intarsia.scene`).

Objects are numbered from 0, from front to back, as in the scene's tensors. The divergences (`shape_kl` and so on) stay those
of the image that a code was encoded from.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from intarsia.errors import InputError, is_finite
from intarsia.manipulation.layers import PRESENT, appearance, placements
from intarsia.rendering import Renderer
from intarsia.scene import Scene

Part = Literal["shape", "texture", "background"]
CODES = ("shape", "texture", "shape_kl", "texture_kl")  # of each object
PER_OBJECT = (*CODES, "transform")  # fields of a scene with a row for each object, beside masks and origins
FARTHEST = 8  # in images' sides
LARGEST_FACTOR = 100  # of a size; the smallest is its inverse
DIGITS = 9  # after the decimal point of a transform: without rounding errors, an object comes back to exactly its place

EMPTY = "The object is empty: the image has none for its place, so there is nothing to change."


def set_code(scene: Scene, part: Part, dimension: int, value: float, object: int | None = None) -> Scene:
    """The scene with one number of a code set: of an object's shape or texture, or of the background, which needs no object.

    Raises:
        InputError: if there is no such part, object or dimension, or the value is not a finite number.
    """
    if not is_finite(value):
        raise InputError(f"The value is {value}; it must be a finite number.")
    codes = getattr(scene, check_code(scene, part, dimension, object)).clone()
    codes[dimension if part == "background" else (object, dimension)] = value
    return replace(scene, **{part: codes})


def shift_code(scene: Scene, part: Part, dimension: int, offset: float, object: int | None = None) -> Scene:
    """The scene with an offset added to one number of a code; otherwise like `set_code`."""
    if not is_finite(offset):
        raise InputError(f"The offset is {offset}; it must be a finite number.")
    codes = getattr(scene, check_code(scene, part, dimension, object))
    now = codes[dimension] if part == "background" else codes[object, dimension]
    return set_code(scene, part, dimension, float(now) + offset, object)


def move(renderer: Renderer, scene: Scene, object: int, dx: float, dy: float) -> Scene:
    """The scene with an object moved by `dx` pixels to the right and `dy` down; parts of pixels count. Its pixels move along.

    Raises:
        InputError: if there is no such object, it is empty, or the distance is beyond 8 times the image's longer side.
    """
    most = FARTHEST * max(scene.image.shape[1:])
    if not (is_finite(dx) and is_finite(dy) and max(abs(dx), abs(dy)) <= most):
        raise InputError(f"The distance is ({dx}, {dy}); it must be two numbers of pixels, from {-most} to {most}.")
    _present_shape(renderer, scene, object)
    return _transformed(scene, object, 1.0, dx, dy)


def scale(renderer: Renderer, scene: Scene, object: int, factor: float) -> Scene:
    """The scene with an object made `factor` times as wide and high, about its centre of mass; otherwise like `move`.

    Raises:
        InputError: if there is no such object, it is empty, or the factor is not from 0.01 to 100.
    """
    if not (is_finite(factor) and 1 / LARGEST_FACTOR <= factor <= LARGEST_FACTOR):
        raise InputError(f"The factor is {factor}; it must be from {1 / LARGEST_FACTOR:g} to {LARGEST_FACTOR}.")
    centre = placements(_present_shape(renderer, scene, object)[None])[0]
    now, right, down = scene.transform[object].tolist()
    x, y = now * centre.x + right, now * centre.y + down
    return _transformed(scene, object, factor, (1 - factor) * x, (1 - factor) * y)


def remove(scene: Scene, object: int) -> Scene:
    """The scene without an object. The objects behind it and the background fill its place."""
    check_object(scene, object)
    return _pick(scene, [number for number in range(len(scene.shape)) if number != object])


def swap_texture(scene: Scene, first: int, second: int) -> Scene:
    """The scene with the textures of two objects exchanged."""
    order = list(range(len(scene.shape)))
    for number in (first, second):
        check_object(scene, number)
    order[first], order[second] = second, first
    return replace(scene, texture=scene.texture[order], texture_kl=scene.texture_kl[order])


def copy(renderer: Renderer, scene: Scene, source: Scene, object: int) -> Scene:
    """The scene with a copy of an object of another scene of the same model (or of itself), in front of its own objects.

    The copy shows the pixels that the object shows, and lies at the same place. If the model has no more room, the copy takes
    the place of an empty object: one that stands for a channel in which the segmenter found nothing. The mask of the copy is
    empty, since `scene.image` does not show it.

    Raises:
        InputError: if there is no such object, or no room for it.
    """
    check_object(source, object)
    spare = spare_object(renderer, scene)
    if spare is not None:
        scene = remove(scene, spare)
    codes = {name: torch.cat([getattr(source, name)[object][None], getattr(scene, name)]) for name in PER_OBJECT}
    masks = torch.cat([torch.zeros_like(scene.masks[:1]), scene.masks])
    return replace(scene, masks=masks, origins=(source.origins[object], *scene.origins), **codes)


def spare_object(renderer: Renderer, scene: Scene) -> int | None:
    """The last empty object, whose place one more object takes; None while the model has room.

    Raises:
        InputError: if there is no room, and no object is empty.
    """
    room = renderer.model.recipe.objects
    if len(scene.shape) < room:
        return None
    empty = [row for row in range(room) if appearance(renderer, scene, row)[3].max() <= PRESENT]
    if not empty:
        raise InputError(f"There is no room for one more object: the model has {room} places. Remove an object first.")
    return empty[-1]


def reorder(scene: Scene, order: Sequence[int]) -> Scene:
    """The scene with its objects in another order, given by their present numbers, the front one first.

    Raises:
        InputError: if the order does not name each object once.
    """
    if sorted(order) != list(range(len(scene.shape))):
        raise InputError(f"The order is {list(order)}; it must name each of {_counted(len(scene.shape))} once.")
    return _pick(scene, list(order))


def to_front(scene: Scene, object: int) -> Scene:
    """The scene with an object in front of all others; its number is 0 then."""
    check_object(scene, object)
    return reorder(scene, sorted(range(len(scene.shape)), key=lambda number: number != object))


def to_back(scene: Scene, object: int) -> Scene:
    """The scene with an object behind all others but in front of the background; its number is the last one then."""
    check_object(scene, object)
    return reorder(scene, sorted(range(len(scene.shape)), key=lambda number: number == object))


def check_object(scene: Scene, object: int | None) -> None:
    """Raise `InputError` if the scene does not hold the object."""
    if object is None or not 0 <= object < len(scene.shape):
        raise InputError(f"There is no object {object}; the scene holds {_counted(len(scene.shape))}.")


def check_code(scene: Scene, part: Part, dimension: int, object: int | None) -> Part:
    """The part; `InputError` if the scene has no such part, object or dimension."""
    if part not in get_args(Part):
        raise InputError(f"There is no part {part!r}; choose one of {', '.join(get_args(Part))}.")
    if part == "background":
        if object is not None:
            raise InputError("The background's code belongs to no object; name none.")
    else:
        check_object(scene, object)
    length = getattr(scene, part).shape[-1]
    if not 0 <= dimension < length:
        raise InputError(f"There is no dimension {dimension} of {part}; choose one of 0 to {length - 1}.")
    return part


def _pick(scene: Scene, objects: list[int]) -> Scene:
    """The scene with only these objects, in this order."""
    codes = {name: getattr(scene, name)[objects] for name in PER_OBJECT}
    masks = torch.cat([scene.masks[:-1][objects], scene.masks[-1:]])
    return replace(scene, masks=masks, origins=tuple(scene.origins[each] for each in objects), **codes)


def _present_shape(renderer: Renderer, scene: Scene, object: int) -> Tensor:
    """The opacity `h w` of an object before its transform; `InputError` if there is no such object, or it is empty."""
    check_object(scene, object)
    shape = appearance(renderer, scene, object)[3]
    if shape.max() <= PRESENT:
        raise InputError(EMPTY)
    return shape


def _transformed(scene: Scene, object: int, factor: float, dx: float, dy: float) -> Scene:
    """The scene with an object drawn at `factor` times the place where it was, and then `dx` to the right and `dy` down."""
    transform = scene.transform.clone()
    transform[object] = torch.round(factor * transform[object] + transform.new_tensor([0, dx, dy]), decimals=DIGITS)
    return replace(scene, transform=transform)


def _counted(objects: int) -> str:
    return f"objects 0 to {objects - 1}" if objects else "no objects"
