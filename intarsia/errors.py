"""The exception for input that can't be used. The command line prints it as one line and exits with 2."""

import json
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

LONGEST = 80  # characters of a value or a name in a message
REQUIREMENTS = {  # by pydantic's type of fault
    "greater_than_equal": "be at least {ge:g}",
    "less_than_equal": "be at most {le:g}",
    "multiple_of": "be a positive multiple of {multiple_of}",
    "int_type": "be a whole number",
    "float_type": "be a number",
    "finite_number": "be a finite number",
    "string_type": "be text",
    "bool_type": "be true or false",
    "unexpected_keyword_argument": "be left out: there is nothing of that name",
    "union_tag_invalid": "hold {discriminator} with one of {expected_tags}",
}


def is_finite(value: object) -> bool:
    """Whether a value is a number that is finite and no larger than a float can hold."""
    try:
        return math.isfinite(value)  # type: ignore[arg-type]  # anything may be given
    except (TypeError, ValueError, OverflowError):
        return False


class InputError(ValueError):
    """A setting, path, image or file that can't be used. The text says what was given and what is allowed."""


def one_line(error: "ValidationError") -> str:
    """The first fault that pydantic found, as a sentence: `move.dx is NaN; it must be a finite number.`"""
    fault = error.errors(include_url=False)[0]
    place, given = _cut(".".join(map(str, fault["loc"]))), _cut(_written(fault["input"]))
    said = fault["msg"].removeprefix("Value error, ").replace(" after validation", "").rstrip(".")
    known = REQUIREMENTS.get(fault["type"])
    wanted = known.format(**fault.get("ctx", {})) if known else said.partition(" should ")[2]
    if wanted:
        return f"{place or 'The input'} is {given}; it must {wanted}."
    return f"{place}: {said}." if place else f"{said}."


def _written(value: object) -> str:
    try:
        return json.dumps(value, default=str)
    except (ValueError, RecursionError):  # Python writes no number of more than 4,300 digits
        return "too long to be shown"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
