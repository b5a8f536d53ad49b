"""TFRecord files without TensorFlow: the records, and the byte values in their `tf.train.Example`.

A record is the length of its data (8 bytes, little-endian), a checksum of these 8, the data, and a checksum of the data (4
bytes each: CRC-32C, rotated and shifted). The published files are one gzip stream around all records; some copies are not
compressed, so the first bytes decide, not the name.
"""

import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import numpy as np
from google_crc32c import value as crc32c
from numpy.typing import NDArray

from intarsia.errors import InputError
from intarsia.formats.gunzip import Gunzip

__all__ = ["Record", "byte_values", "features", "masked_crc32c", "records"]

GZIP = b"\x1f\x8b"
TAR = 257, b"ustar"
LONGEST = 1 << 30  # bytes; protobuf allows no message of 2 GiB


class Record(NamedTuple):
    """One record: its data, and how many bytes of the file have been read once it is there."""

    data: bytes
    read: int


def records(path: Path) -> Iterator[Record]:
    """The records of a file, in order; each is checked.

    Raises:
        InputError: for a file that can't be read, is of another kind, ends within a record or doesn't match a checksum; it
            names the record and the byte where it begins (of the uncompressed data, where the file is compressed).
    """
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == GZIP
            raw.seek(0)
            yield from _records(path, raw, Gunzip(raw) if compressed else raw, compressed)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from error


def _records(path: Path, raw: BufferedReader, stream: BufferedReader | Gunzip, compressed: bool) -> Iterator[Record]:
    position, number = 0, 0
    while True:
        where = f"record {number}, which begins at byte {position}{' of the uncompressed data' if compressed else ''}"
        try:
            head = stream.read(12)
            if not head:
                return
            if len(head) == 12:
                (length, length_check) = struct.unpack("<QI", head)
                if masked_crc32c(head[:8]) != length_check or length > LONGEST:
                    raise InputError(_foreign(path, head, stream) if not number else f"{path} is damaged in {where}.")
                data, check = stream.read(length), stream.read(4)
            if len(head) < 12 or len(data) < length or len(check) < 4:
                raise EOFError
        except (EOFError, zlib.error) as error:
            reason = "ends within" if isinstance(error, EOFError) else f"is damaged ({error}) in"
            raise InputError(f"{path} {reason} {where} (byte {raw.tell()} of the file). Fetch it again.") from error
        if masked_crc32c(data) != int.from_bytes(check, "little"):
            raise InputError(f"{path} is damaged in {where}: the data don't match their checksum. Fetch it again.")
        position += 16 + length
        number += 1
        yield Record(data, raw.tell())


def masked_crc32c(data: bytes | memoryview) -> int:
    """The checksum that TensorFlow's files carry: a CRC-32C, rotated and shifted, so that it can stand in what it covers."""
    plain = crc32c(bytes(data))
    return ((plain >> 15 | plain << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _foreign(path: Path, head: bytes, stream: BufferedReader | Gunzip) -> str:
    """What to say of a file whose first record makes no sense."""
    start, magic = TAR
    if (head + stream.read(512))[start:].startswith(magic):
        return f"{path} is a tar archive, as byte {start} says; unpack it, and give the TFRecord file that is in it."
    return f"{path} is not a TFRecord file: at byte 0 there is no record, but {head!r}."


def features(data: bytes) -> dict[str, memoryview]:
    """The features of a serialised `tf.train.Example`: name to serialised list of values, of whatever type.

    Raises:
        ValueError: if the data are no such thing.
    """
    found: dict[str, memoryview] = {}
    for _, outer in _fields(memoryview(data)):
        for _, entry in _fields(outer):
            parts = dict(_fields(entry))
            if not parts.keys() >= {1, 2}:
                raise ValueError(f"a feature with the fields {sorted(parts)} instead of a name and values")
            found |= {bytes(parts[1]).decode(): values for _, values in _fields(parts[2])}
    return found


def byte_values(values: memoryview) -> NDArray[np.uint8]:
    """All bytes of a serialised list of byte strings, one after the other: `n`, a view where that can be.

    The published files have a string for every byte: tag, length 1, and the byte. These are picked out at once.
    """
    given = np.frombuffer(values, np.uint8)
    mask, wanted = _single_bytes(len(given))
    if len(given) % 3 == 0 and (given & mask).tobytes() == wanted:
        return given[2::3]
    return np.frombuffer(b"".join(string for _, string in _fields(values)), np.uint8)


@lru_cache(maxsize=4)
def _single_bytes(length: int) -> tuple[NDArray[np.uint8], bytes]:
    """What serialised strings of one byte each look like: which bits are given, and their values. (Faster than to look at every
    third byte.)
    """
    strings = -(-length // 3)
    return np.tile(np.array([255, 255, 0], np.uint8), strings)[:length], (b"\n\1\0" * strings)[:length]


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field of a protobuf message; only fields 1 to 15 with a length are expected."""
    at, end = 0, len(data)
    while at < end:
        tag, at = data[at], at + 1
        length = shift = 0
        while at < end:  # seven bits per byte, lowest first, until one below 128
            length |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 0x80:
                break
        if tag & 0x87 != 2 or at + length > end or not shift:
            raise ValueError(f"byte {at} of {end} is not in a field with a length that fits")
        yield tag >> 3, data[at : at + length]
        at += length
