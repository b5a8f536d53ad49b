"""The edits of a picture as data and as JSON; `intarsia.manipulation.replay` makes them.

An object keeps the number that `intarsia manipulate --list` gives it, from 1. A pasted object gets the next free number.
The JSON object of an edit is `{"edit": "move", "object": 1, "dx": 8, "dy": -3}`; `dataclasses.asdict` gives it.
"""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from intarsia.errors import InputError, one_line
from intarsia.manipulation.edits import Part

MOST_EDITS = 1000
LONGEST_CODE = 1000  # numbers
LARGEST_CODE = 20.0  # standard deviations of the prior; nothing can be seen beyond
LARGEST_SCALE = 8.0  # the smallest is its inverse

LARGEST_SIZE, LARGEST_DISTANCE = 1e3, 1e6  # of a pasted object's transform
LARGEST_CUTOUT = 400_000  # characters

STRICT = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")  # a bool is no number, and text isn't either

Number = Annotated[int, Field(ge=0, le=2**31)]
Code = Annotated[float, Field(ge=-LARGEST_CODE, le=LARGEST_CODE)]
Codes = Annotated[tuple[Code, ...], Field(min_length=1, max_length=LONGEST_CODE)]
Size = Annotated[float, Field(ge=1 / LARGEST_SIZE, le=LARGEST_SIZE)]
Distance = Annotated[float, Field(ge=-LARGEST_DISTANCE, le=LARGEST_DISTANCE)]
Divergences = Annotated[tuple[float, ...], Field(min_length=1, max_length=LONGEST_CODE)]


@dataclass(frozen=True, config=STRICT)
class Move:
    """Move an object by so many pixels to the right and down."""

    object: Number
    dx: float
    dy: float
    edit: Literal["move"] = field(default="move", kw_only=True)


@dataclass(frozen=True, config=STRICT)
class Scale:
    """Make an object so many times as wide and high."""

    object: Number
    factor: Annotated[float, Field(ge=1 / LARGEST_SCALE, le=LARGEST_SCALE)]
    edit: Literal["scale"] = field(default="scale", kw_only=True)


@dataclass(frozen=True, config=STRICT)
class Recolour:
    """Give an object a mean colour, `#rrggbb`."""

    object: Number
    colour: Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]
    edit: Literal["recolour"] = field(default="recolour", kw_only=True)


@dataclass(frozen=True, config=STRICT)
class Remove:
    """Remove an object."""

    object: Number
    edit: Literal["remove"] = field(default="remove", kw_only=True)


@dataclass(frozen=True, config=STRICT)
class SwapTexture:
    """Exchange the textures of two objects."""

    object: Number
    other: Number
    edit: Literal["swap_texture"] = field(default="swap_texture", kw_only=True)


@dataclass(frozen=True, config=STRICT)
class Order:
    """Put an object at a place in the order of all objects; place 0 is in front."""

    object: Number
    place: Number
    edit: Literal["order"] = field(default="order", kw_only=True)


@dataclass(frozen=True, config=STRICT)
class SetCode:
    """Set one number of a code, in standard deviations of the prior. The background's code belongs to no object."""

    object: Number | None
    part: Part
    dimension: Number
    value: Code
    edit: Literal["set_code"] = field(default="set_code", kw_only=True)


@dataclass(frozen=True, config=STRICT)
class Paste:
    """Add an object in front of all others. It may come from this picture or from another one.

    transform: As `Scene.transform`.
    cutout: The object's own pixels, a PNG with opacity of the picture's size, in Base64. None for an object that is decoded.
    """

    shape: Codes
    texture: Codes
    shape_kl: Divergences
    texture_kl: Divergences
    transform: tuple[Size, Distance, Distance] = (1.0, 0.0, 0.0)
    cutout: Annotated[str, Field(max_length=LARGEST_CUTOUT)] | None = None
    edit: Literal["paste"] = field(default="paste", kw_only=True)


Edit = Move | Scale | Recolour | Remove | SwapTexture | Order | SetCode | Paste
Edits = Annotated[tuple[Annotated[Edit, Field(discriminator="edit")], ...], Field(max_length=MOST_EDITS), FailFast()]


@dataclass(frozen=True, config=STRICT)
class History:
    """The edits of a picture, with the picture and the model that they were made for.

    picture_sha256: Digest of the picture as the model takes it (`replay.picture_sha256`).
    model_sha256: Digest of the weights (`replay.model_sha256`).
    """

    version: Literal[1]
    picture_sha256: str
    model_sha256: str
    edits: Edits


def read_history(path: Path) -> History:
    """Return the history in a JSON file, such as the studio exports; `InputError` if the file holds none."""
    try:
        return TypeAdapter(History).validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error}.") from error
    except ValidationError as error:
        raise InputError(f"{path}: {one_line(error)}") from error
