"""Replaying edits. The studio, its exports and `intarsia manipulate` all change scenes in this way, and in no other."""

import binascii
import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor

from intarsia.errors import InputError, one_line
from intarsia.manipulation import edits as plain
from intarsia.manipulation.history import Edit, History, Move, Order, Paste, Recolour, Remove, Scale, SetCode, SwapTexture
from intarsia.manipulation.layers import appearance, is_decoded
from intarsia.manipulation.solving import recolour
from intarsia.model import Model
from intarsia.pictures import cutout_png, read_cutout
from intarsia.rendering import Renderer
from intarsia.scene import Origin, Scene

NO_CODES = "This model was trained without codes: its objects can be moved, scaled, copied and removed, but not changed."


@dataclass(frozen=True, eq=False)
class Edited:
    """A scene after some edits, and the numbers of its objects."""

    scene: Scene
    numbers: tuple[int, ...]
    """One for each object, from front to back."""
    next: int
    """The number that the next pasted object gets."""

    def row(self, number: int) -> int:
        """Return the row of an object in the scene's tensors; `InputError` if no object has that number."""
        if number not in self.numbers:
            left = ", ".join(map(str, sorted(self.numbers))) or "none"
            raise InputError(f"There is no object {number}; those left are {left}.")
        return self.numbers.index(number)


def begin(scene: Scene) -> Edited:
    """Return an encoded scene as it is before any edit."""
    count = len(scene.shape)
    return Edited(scene, tuple(range(1, count + 1)), count + 1)


def replay(renderer: Renderer, edited: Edited, edits: Iterable[Edit]) -> Edited:
    """Return the scene after some edits, made one after the other; it is the same whether they are made at once or in parts.

    Raises:
        InputError: for the first edit that is not possible. It names the edit's place if there are several.
    """
    edits = tuple(edits)
    for place, edit in enumerate(edits, 1):
        try:
            edited = _after(renderer, edited, edit)
        except InputError as error:
            raise InputError(f"Edit {place} of {len(edits)}: {error}" if len(edits) > 1 else str(error)) from error
    return edited


def copied(renderer: Renderer, scene: Scene, row: int) -> Paste:
    """Return the edit that adds a copy of an object of this scene, to the same scene or to another one.

    The copy has the object's own pixels in 8 bits, unless the object is decoded.

    Raises:
        InputError: if its codes or its pixels are beyond all that an edit may hold.
    """
    numbers: dict[str, Any] = {name: tuple(getattr(scene, name)[row].tolist()) for name in plain.PER_OBJECT}
    cutout = None if is_decoded(scene, row) else b64encode(cutout_png(appearance(renderer, scene, row))).decode()
    try:
        return Paste(cutout=cutout, **numbers)
    except ValidationError as error:
        raise InputError(one_line(error)) from error


def check_history(history: History, model: Model, image: Tensor) -> None:
    """Raise `InputError` if a history was made for another picture `3 h w` or another model."""
    if history.model_sha256 != model_sha256(model):
        raise InputError(f"The edits are for another model: that with the weights {history.model_sha256[:12]}...")
    if history.picture_sha256 != picture_sha256(image):
        raise InputError(f"The edits are for another picture: that with the pixels {history.picture_sha256[:12]}...")


def picture_sha256(image: Tensor) -> str:
    """Return the SHA-256 of the size and the 8-bit values of a picture `3 h w` in [0, 1]."""
    pixels = (image.cpu() * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return hashlib.sha256(np.array(pixels.shape, "<u4").tobytes() + pixels.tobytes()).hexdigest()


def model_sha256(model: Model) -> str:
    """Return the SHA-256 of a model's weights; the file that `Model.save` writes has the same."""
    return hashlib.sha256(save({name: value.cpu().contiguous() for name, value in model.state_dict().items()})).hexdigest()


def _after(renderer: Renderer, edited: Edited, edit: Edit) -> Edited:
    scene, numbers = edited.scene, edited.numbers
    if isinstance(edit, Recolour | SwapTexture | SetCode) and not renderer.model.has_codes:
        raise InputError(NO_CODES)
    match edit:
        case Paste():
            return _pasted(renderer, edited, edit)
        case SetCode(object=None):
            return Edited(plain.set_code(scene, edit.part, edit.dimension, edit.value), numbers, edited.next)
    row = edited.row(edit.object)  # type: ignore[arg-type]  # None is the background, which is done above
    match edit:
        case Remove():
            return Edited(plain.remove(scene, row), numbers[:row] + numbers[row + 1 :], edited.next)
        case Order():
            order = [each for each in range(len(numbers)) if each != row]
            order.insert(edit.place, row)
            return Edited(plain.reorder(scene, order), tuple(numbers[each] for each in order), edited.next)
        case Move():
            height, width = scene.image.shape[1:]
            if abs(edit.dx) > width or abs(edit.dy) > height:
                raise InputError(f"The distance is ({edit.dx}, {edit.dy}); the picture is {width}x{height} pixels.")
            scene = plain.move(renderer, scene, row, edit.dx, edit.dy)
        case Scale():
            scene = plain.scale(renderer, scene, row, edit.factor)
        case Recolour():
            scene = recolour(renderer, scene, row, [int(edit.colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
        case SwapTexture():
            scene = plain.swap_texture(scene, row, edited.row(edit.other))
        case SetCode():
            scene = plain.set_code(scene, edit.part, edit.dimension, edit.value, row)
    return Edited(scene, numbers, edited.next)


def _pasted(renderer: Renderer, edited: Edited, paste: Paste) -> Edited:
    scene, numbers = edited.scene, edited.numbers
    rows = {name: getattr(scene, name).new_tensor(getattr(paste, name))[None] for name in plain.PER_OBJECT}
    for name, row in rows.items():
        length = getattr(scene, name).shape[1]
        if row.shape[1] != length:
            raise InputError(f"The pasted object's {name} holds {row.shape[1]} numbers; it must be {length}, as the model's.")
    origin = None if paste.cutout is None else _origin(scene, paste.cutout, rows["shape"][0], rows["texture"][0])
    spare = plain.spare_object(renderer, scene)
    if spare is not None:
        scene, numbers = plain.remove(scene, spare), numbers[:spare] + numbers[spare + 1 :]
    source = replace(scene, masks=scene.masks[-2:], origins=(origin,), **rows)
    return Edited(plain.copy(renderer, scene, source, 0), (edited.next, *numbers), edited.next + 1)


def _origin(scene: Scene, cutout: str, shape: Tensor, texture: Tensor) -> Origin:
    """The origin of a pasted object with these codes, given its cut-out as `Paste` describes it."""
    try:
        content = b64decode(cutout, validate=True)
    except binascii.Error as error:
        raise InputError("The pasted object's cut-out is not in Base64.") from error
    pixels = read_cutout(content, *scene.image.shape[1:]).to(scene.image)
    return Origin(pixels[:3], pixels[3], None, shape, texture)
