"""The one exception that means "what you gave can't be used"; the command line prints it as one line and exits with 2."""

import json

from pydantic import ValidationError

LONGEST = 80  # characters of a value or a name in a message


class InputError(ValueError):
    """A setting, path, image or file of the caller's that can't be used. Its text says what was given and what is allowed."""


def one_line(error: ValidationError) -> str:
    """Return the first fault that pydantic found, as a sentence: `move.dx is NaN; it must be a finite number.`"""
    fault = error.errors(include_url=False)[0]
    place, given = _cut(".".join(map(str, fault["loc"]))), _cut(json.dumps(fault["input"], default=str))
    said = fault["msg"].removeprefix("Value error, ").replace(" after validation", "").rstrip(".")
    if fault["type"] == "union_tag_invalid":
        said = f"Input should hold {fault['ctx']['discriminator']} with one of {fault['ctx']['expected_tags']}"
    _, should, wanted = said.partition(" should ")
    if should:
        return f"{place or 'The input'} is {given}; it must {wanted}."
    return f"{place}: {said}." if place else f"{said}."


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
