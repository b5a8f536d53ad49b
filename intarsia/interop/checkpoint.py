"""Read the variables of a TensorFlow 1 checkpoint of either format, without TensorFlow.

The newer format ("V2") has a table of the variables, `PREFIX.index`, and their values in `PREFIX.data-00000-of-00001` and so
on. The older format ("V1") is a single file, a table that holds everything. Every checksum is verified. Only little-endian
files of numbers are read, and no variables that are split into slices: the original and slim's published networks are so.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import InputError
from intarsia.formats.protobuf import Message, varints
from intarsia.formats.sstable import entries
from intarsia.formats.tfrecord import masked_crc32c

LARGEST_SIDE, MOST_SIDES = 2**31, 8  # of a variable
TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "<u1", 5: "<i2", 6: "<i1", 9: "<i8", 10: "?", 19: "<f2"}  # TensorFlow's numbers
LISTS = {"<f4": 5, "<f8": 6, "<i4": 7, "<i8": 10}  # fields that hold the older format's values


@dataclass(frozen=True)
class Variable:
    """A variable of a checkpoint: its shape, and a function that reads its values."""

    shape: tuple[int, ...]
    read: Callable[[], NDArray]
    """Raises `InputError` if the values are missing, damaged or not numbers."""


def read_checkpoint(prefix: Path) -> dict[str, Variable]:
    """The variables of a checkpoint by name.

    Args:
        prefix: The path without `.index` or `.data-...`, as TensorFlow names it (with them works, too); or the file of the
            older format.

    Raises:
        InputError: if there is no checkpoint, or it is truncated, damaged or of a kind that is not read; with the place.
    """
    if not prefix.name:
        raise InputError(f"{prefix} is a folder; give the path of a checkpoint in it, without `.index`.")
    parts = re.fullmatch(r"(.+)\.(index|meta|data-\d{5}-of-\d{5})", prefix.name)
    if parts and prefix.with_name(f"{parts[1]}.index").is_file():
        prefix = prefix.with_name(parts[1])
    index = prefix.with_name(f"{prefix.name}.index")
    path, understand = (index, _newer) if index.is_file() else (prefix, _older)
    if not path.is_file():
        raise InputError(f"There is no checkpoint {prefix}: neither {index} nor a file of that name exists.")
    try:
        return understand(prefix, entries(path.read_bytes()))
    except ValueError as error:
        raise InputError(f"{path} is not a whole TensorFlow checkpoint: {error}.") from error


def _newer(prefix: Path, table: Iterator[tuple[bytes, memoryview]]) -> dict[str, Variable]:
    """The variables of an index file; their values stay in the data files until they are read."""
    key, value = next(table, (b"?", memoryview(b"")))
    header = Message(value)
    files = header.number(1)
    if key:
        raise ValueError("its table does not start with a header, so it is the index of something else")
    if header.number(2):
        raise ValueError("its numbers are big-endian, which is not read")
    found = {}
    for key, value in table:
        entry, name = Message(value), _text(key)
        data = prefix.with_name(f"{prefix.name}.data-{entry.number(3):05d}-of-{files:05d}")
        found[name] = Variable(_shape(entry), partial(_newer_value, data, name, entry))
    return found


def _newer_value(path: Path, name: str, entry: Message) -> NDArray:
    try:
        kind, offset, size, checksum, sliced = TYPES.get(entry.number(1)), *map(entry.number, (4, 5, 6)), entry.parts(7)
    except ValueError as error:
        raise _unread(path, name) from error
    shape = _shape(entry)
    if kind is None or sliced or size != math.prod(shape) * np.dtype(kind).itemsize:
        raise _unread(path, name)
    if not path.is_file():
        raise InputError(f"{path} is missing: it holds the values of {name}.")
    if offset + size > (end := path.stat().st_size):
        raise InputError(f"{path} is cut short: {name} ends at byte {offset + size}, the file at byte {end}.")
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(size)
    if masked_crc32c(data) != checksum:
        raise InputError(f"{path} is damaged: the checksum of {name}, {size} bytes from byte {offset}, is wrong.")
    return np.frombuffer(data, kind).reshape(shape)


def _older(path: Path, table: Iterator[tuple[bytes, memoryview]]) -> dict[str, Variable]:
    """The variables of a single file, which stays in memory as long as one of them does."""
    key, value = next(table, (b"?", memoryview(b"")))
    described = Message(Message(value).part(1)).parts(1)
    if key or not described:
        raise ValueError("its table does not start with a list of variables, so it is that of something else")
    slices = [Message(Message(value).part(2)) for _, value in table]
    values = {_text(each.part(1)): Message(each.part(3)) for each in slices}
    found = {}
    for variable in map(Message, described):
        name = _text(variable.part(1))
        found[name] = Variable(_shape(variable), partial(_older_value, path, name, variable, values.get(name, Message(b""))))
    return found


def _older_value(path: Path, name: str, variable: Message, tensor: Message) -> NDArray:
    try:
        kind = TYPES.get(variable.number(3), "")
        part = tensor.part(LISTS.get(kind, 0))
        # A negative integer is written with 64 bits.
        values = np.frombuffer(part, kind) if "f" in kind else np.array(varints(part), np.uint64).astype(kind)
        return values.reshape(_shape(variable))
    except (ValueError, TypeError, OverflowError) as error:
        raise _unread(path, name) from error


def _unread(path: Path, name: str) -> InputError:
    return InputError(f"{name} of {path} is not a variable of numbers that is saved whole; nothing else is read.")


def _shape(entry: Message) -> tuple[int, ...]:
    shape = tuple(Message(dimension).number(1) for dimension in Message(entry.part(2)).parts(2))
    if len(shape) > MOST_SIDES or any(side > LARGEST_SIDE for side in shape):
        raise ValueError(f"a variable has the shape {shape[:MOST_SIDES]}")
    return shape


def _text(name: bytes | memoryview) -> str:
    return bytes(name).decode(errors="backslashreplace")
