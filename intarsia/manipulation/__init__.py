"""Edits of a scene's objects: each returns a new scene and leaves the given one unchanged."""

from intarsia.manipulation.compositing import composite
from intarsia.manipulation.edits import (
    Part,
    copy,
    move,
    remove,
    reorder,
    scale,
    set_code,
    shift_code,
    swap_texture,
    to_back,
    to_front,
)
from intarsia.manipulation.layers import placements
from intarsia.manipulation.solving import recolour
from intarsia.manipulation.traversals import most_informative, traverse

__all__ = [
    "Part", "composite", "copy", "most_informative", "move", "placements", "recolour", "remove", "reorder", "scale",
    "set_code", "shift_code", "swap_texture", "to_back", "to_front", "traverse",
]  # fmt: skip
