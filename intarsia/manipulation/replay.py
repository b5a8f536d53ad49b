"""Replaying a history. What the studio shows, what it exports and what `intarsia manipulate --edits` repeats is all this."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from intarsia.errors import InputError
from intarsia.manipulation import edits as plain
from intarsia.manipulation.history import (
    Edit,
    History,
    Move,
    Order,
    Paste,
    Recolour,
    Remove,
    Scale,
    SetCode,
    SwapTexture,
)
from intarsia.manipulation.solving import move, recolour, scale
from intarsia.model import Model
from intarsia.rendering import Renderer
from intarsia.scene import Scene

__all__ = ["Edited", "begin", "check_history", "model_sha256", "picture_sha256", "replay"]


@dataclass(frozen=True, eq=False)
class Edited:
    """A scene after some edits, with the numbers of its objects, from front to back, and the one that the next gets."""

    scene: Scene
    numbers: tuple[int, ...]
    next: int

    def row(self, number: int) -> int:
        """Where an object is in the scene's tensors; `InputError` where there is none of that number."""
        if number not in self.numbers:
            left = ", ".join(map(str, sorted(self.numbers))) or "none"
            raise InputError(f"There is no object {number}; those left are {left}.")
        return self.numbers.index(number)


def begin(scene: Scene) -> Edited:
    """An encoded scene, before any edit."""
    count = len(scene.shape)
    return Edited(scene, tuple(range(1, count + 1)), count + 1)


def replay(renderer: Renderer, edited: Edited, edits: Iterable[Edit]) -> Edited:
    """What edits make of a scene, one after the other. The same edits give the same scene, in one go or in parts.

    Raises:
        InputError: for the first edit that is not possible, with its place in the list if it is one of several.
    """
    edits = tuple(edits)
    for place, edit in enumerate(edits, 1):
        try:
            edited = _after(renderer, edited, edit)
        except InputError as error:
            raise InputError(f"Edit {place} of {len(edits)}: {error}" if len(edits) > 1 else str(error)) from error
    return edited


def check_history(history: History, model: Model, image: Tensor) -> None:
    """Raise `InputError` where a history was made on another picture `3 h w` or another model: it would mean nothing here."""
    if history.model_sha256 != model_sha256(model):
        raise InputError(f"The edits are for another model: that with the weights {history.model_sha256[:12]}...")
    if history.picture_sha256 != picture_sha256(image):
        raise InputError(f"The edits are for another picture: that with the pixels {history.picture_sha256[:12]}...")


def picture_sha256(image: Tensor) -> str:
    """The SHA-256 of a picture `3 h w` in [0, 1] as the model takes it: of its 8-bit values, and its size."""
    pixels = (image.cpu() * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return hashlib.sha256(np.array(pixels.shape, "<u4").tobytes() + pixels.tobytes()).hexdigest()


def model_sha256(model: Model) -> str:
    """The SHA-256 of a model's weights; that of the file that `Model.save` writes."""
    return hashlib.sha256(save({name: value.cpu().contiguous() for name, value in model.state_dict().items()})).hexdigest()


def _after(renderer: Renderer, edited: Edited, edit: Edit) -> Edited:
    scene, numbers = edited.scene, edited.numbers
    match edit:
        case Paste():
            return _pasted(renderer, edited, edit)
        case SetCode(object=None):
            return Edited(plain.set_code(scene, edit.part, edit.dimension, edit.value), numbers, edited.next)
    row = edited.row(edit.object)  # type: ignore[arg-type]  # the background's edits are done by now
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
            scene = move(renderer, scene, row, edit.dx, edit.dy)
        case Scale():
            scene = scale(renderer, scene, row, edit.factor)
        case Recolour():
            scene = recolour(renderer, scene, row, [int(edit.colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
        case SwapTexture():
            scene = plain.swap_texture(scene, row, edited.row(edit.other))
        case SetCode():
            scene = plain.set_code(scene, edit.part, edit.dimension, edit.value, row)
    return Edited(scene, numbers, edited.next)


def _pasted(renderer: Renderer, edited: Edited, paste: Paste) -> Edited:
    scene, numbers = edited.scene, edited.numbers
    rows = {name: scene.shape.new_tensor(value)[None] for name, value in vars(paste).items()}
    for name, row in rows.items():
        length = getattr(scene, name).shape[1]
        if row.shape[1] != length:
            raise InputError(f"The pasted object's {name} holds {row.shape[1]} numbers; it must be {length}, as the model's.")
    spare = plain.spare_object(renderer, scene)
    if spare is not None:
        scene, numbers = plain.remove(scene, spare), numbers[:spare] + numbers[spare + 1 :]
    source = Scene(scene.image, scene.masks[-2:], background=scene.background, background_kl=scene.background_kl, **rows)
    return Edited(plain.copy(renderer, scene, source, 0), (edited.next, *numbers), edited.next + 1)
