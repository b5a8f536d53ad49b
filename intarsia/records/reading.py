"""JSON files read into typed values."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from intarsia.errors import InputError

Value = TypeVar("Value")


def read_json(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file; raise `InputError` if there is none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} can't be read: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} should hold a JSON object, but holds a {type(content).__name__}.")
    return content


def read_as(kind: type[Value], path: Path, remedy: str) -> Value:
    """Read a file that holds the fields of a dataclass; fields that the dataclass does not have are ignored.

    Raises:
        InputError: if the file can't be read, or a field is missing or of another type. The message ends with the remedy.
    """
    try:
        return TypeAdapter(kind).validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(f"{path} is incomplete ({field}: {first['msg']}); {remedy}.") from error
