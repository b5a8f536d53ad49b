"""A history: the edits of one picture, one after the other, as data, and as JSON. `intarsia.manipulation.replay` makes them.

Objects keep the number that `intarsia manipulate --list` gives them, from 1; a pasted object gets the next one.
"""

import json
import math
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

from intarsia.errors import InputError
from intarsia.manipulation.edits import Part

__all__ = [
    "Edit", "History", "Move", "Order", "Paste", "Recolour", "Remove", "Scale", "SetCode", "SwapTexture",
    "edit_from_json", "edit_to_json", "edits_from_json", "history_to_json", "read_history",
]  # fmt: skip

VERSION = 1
MOST_EDITS = 1000
LARGEST_CODE = 20.0  # standard deviations of the prior; beyond, there is nothing to see
LARGEST_SCALE = 8.0  # and the smallest is its inverse
COLOUR = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)


@dataclass(frozen=True)
class Move:
    """Move an object by so many pixels to the right and down."""

    object: int
    dx: float
    dy: float


@dataclass(frozen=True)
class Scale:
    """Make an object so many times as wide and high."""

    object: int
    factor: float


@dataclass(frozen=True)
class Recolour:
    """Give an object a mean colour, `#rrggbb`."""

    object: int
    colour: str


@dataclass(frozen=True)
class Remove:
    """Remove an object."""

    object: int


@dataclass(frozen=True)
class SwapTexture:
    """Exchange the textures of two objects."""

    object: int
    other: int


@dataclass(frozen=True)
class Order:
    """Put an object at a place in the order of all: 0 is in front."""

    object: int
    place: int


@dataclass(frozen=True)
class SetCode:
    """Set one number of a code, in standard deviations of the prior; the background's belongs to no object."""

    object: int | None
    part: Part
    dimension: int
    value: float


@dataclass(frozen=True)
class Paste:
    """Add an object in front of all, by its codes; of this picture or another one, the codes are all there is to it."""

    shape: tuple[float, ...]
    texture: tuple[float, ...]
    shape_kl: tuple[float, ...]
    texture_kl: tuple[float, ...]


Edit = Move | Scale | Recolour | Remove | SwapTexture | Order | SetCode | Paste

KINDS: dict[str, type] = {
    "move": Move, "scale": Scale, "recolour": Recolour, "remove": Remove, "swap_texture": SwapTexture, "order": Order,
    "set_code": SetCode, "paste": Paste,
}  # fmt: skip


@dataclass(frozen=True)
class History:
    """The edits of a picture, and what they were made on.

    picture_sha256: Of the picture as the model takes it (`picture_sha256`).
    model_sha256: Of the weights (`model_sha256`).
    """

    picture_sha256: str
    model_sha256: str
    edits: tuple[Edit, ...]


def edit_from_json(values: Any) -> Edit:
    """An edit from a JSON object, `{"edit": "move", "object": 1, "dx": 8, "dy": -3}`; `InputError` where it is none."""
    kind = values.get("edit") if isinstance(values, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f'{_short(values)} is no edit: "edit" must be one of {", ".join(KINDS)}.')
    wanted = get_type_hints(KINDS[kind])
    if values.keys() != {"edit", *wanted}:
        raise InputError(f'{_short(values)} should hold "edit", {", ".join(wanted)}, and nothing else.')
    return KINDS[kind](**{name: _checked(kind, name, values[name], of) for name, of in wanted.items()})


def edit_to_json(edit: Edit) -> dict[str, Any]:
    """The JSON object that `edit_from_json` reads."""
    kind = next(name for name, kind in KINDS.items() if isinstance(edit, kind))
    return {"edit": kind, **asdict(edit)}


def edits_from_json(values: Any) -> tuple[Edit, ...]:
    """A list of edits; `InputError` where it is none, or too long to be replayed."""
    if not isinstance(values, list) or len(values) > MOST_EDITS:
        length = f"holds {len(values)}" if isinstance(values, list) else f"is {_short(values)}"
        raise InputError(f"The list of edits {length}; it must be a list of at most {MOST_EDITS}.")
    return tuple(map(edit_from_json, values))


def history_to_json(history: History) -> dict[str, Any]:
    """The JSON object that `read_history` reads from a file."""
    return {"version": VERSION, **asdict(history), "edits": [edit_to_json(edit) for edit in history.edits]}


def read_history(path: Path) -> History:
    """The history in a JSON file, such as the studio exports; `InputError` where it is none."""
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} can't be read as JSON: {error}.") from error
    expected = {"version", *(item.name for item in fields(History))}
    if not isinstance(values, dict) or values.keys() != expected:
        raise InputError(f"{path} holds no edits: it should be a JSON object of {', '.join(sorted(expected))}.")
    if values["version"] != VERSION:
        raise InputError(f"{path} is of version {_short(values['version'])}; this program reads version {VERSION}.")
    try:
        edits = edits_from_json(values["edits"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return History(str(values["picture_sha256"]), str(values["model_sha256"]), edits)


def _checked(kind: str, name: str, value: Any, wanted: Any) -> Any:
    """A value of the type that a field wants, in its range."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if wanted is float:
        limits = {"factor": (1 / LARGEST_SCALE, LARGEST_SCALE), "value": (-LARGEST_CODE, LARGEST_CODE)}
        least, most = limits.get(name, (-math.inf, math.inf))
        if number and least <= value <= most:
            return float(value)
        allowed = f"a number from {least:g} to {most:g}" if name in limits else "a number"
    elif wanted is int or isinstance(wanted, UnionType):
        if (value is None and wanted is not int) or (isinstance(value, int) and number and 0 <= value <= 2**31):
            return value
        allowed = "a whole number" if wanted is int else "a whole number or null"
    elif wanted is str:
        if isinstance(value, str) and COLOUR.fullmatch(value):
            return value
        allowed = "#rrggbb"
    elif get_args(wanted) and wanted is Part:
        if value in get_args(wanted):
            return value
        allowed = f"one of {', '.join(get_args(wanted))}"
    else:
        if isinstance(value, list) and 0 < len(value) <= 1000:
            return tuple(_checked(kind, "value" if name in ("shape", "texture") else "kl", each, float) for each in value)
        allowed = "a list of numbers"
    raise InputError(f"{name} of {kind} is {_short(value)}; it must be {allowed}.")


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
