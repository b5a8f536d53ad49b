"""TFRecord files without TensorFlow: the records, and the byte values in their `tf.train.Example`.

A record is the length of its data (8 bytes, little-endian), a checksum of these 8, the data, and a checksum of the data (4
bytes each: CRC-32C, rotated and shifted). The published files are one gzip stream around all records; some copies are not
compressed, so the first bytes decide, not the name.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from google_crc32c import value as crc32c
from numpy.typing import NDArray

from intarsia.errors import InputError

__all__ = ["Record", "byte_values", "features", "records"]

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
            stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if compressed else raw  # type: ignore[assignment]
            yield from _records(path, raw, stream, compressed)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from error


def _records(path: Path, raw: IO[bytes], stream: IO[bytes], compressed: bool) -> Iterator[Record]:
    position, number = 0, 0
    while True:
        where = f"record {number}, which begins at byte {position}{' of the uncompressed data' if compressed else ''}"
        try:
            head = stream.read(12)
            if not head:
                return
            if len(head) == 12:
                (length, length_check) = struct.unpack("<QI", head)
                if _masked(head[:8]) != length_check or length > LONGEST:
                    raise InputError(_foreign(path, head, stream) if not number else f"{path} is damaged in {where}.")
                body = stream.read(length + 4)
            if len(head) < 12 or len(body) < length + 4:
                raise EOFError
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            reason = "ends within" if isinstance(error, EOFError) else f"is damaged ({error}) in"
            raise InputError(f"{path} {reason} {where} (byte {raw.tell()} of the file). Fetch it again.") from error
        data = body[:-4]
        if _masked(data) != int.from_bytes(body[-4:], "little"):
            raise InputError(f"{path} is damaged in {where}: the data don't match their checksum. Fetch it again.")
        position += 16 + length
        number += 1
        yield Record(data, raw.tell())


def _masked(data: bytes) -> int:
    """The checksum as TFRecord keeps it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _foreign(path: Path, head: bytes, stream: IO[bytes]) -> str:
    """What to say of a file whose first record makes no sense."""
    start, magic = TAR
    if (head + stream.read(512))[start:].startswith(magic):
        return f"{path} is a tar archive; unpack it, and give the TFRecord file that is in it."
    return f"{path} is not a TFRecord file: at byte 0 there is no record, but {head!r}."


def features(data: bytes) -> dict[str, bytes]:
    """The features of a serialised `tf.train.Example`: name to serialised list of values, of whatever type.

    Raises:
        ValueError: if the data are no such thing.
    """
    found = {}
    for _, outer in _fields(data):
        for _, entry in _fields(outer):
            parts = dict(_fields(entry))
            for _, values in _fields(parts.get(2, b"")):
                found[parts[1].decode()] = values
    return found


def byte_values(values: bytes) -> NDArray[np.uint8]:
    """All bytes of a serialised list of byte strings, one after the other: `n`.

    The published files have a string for every byte: tag, length 1, and the byte. These are picked out at once.
    """
    triples = np.frombuffer(values, np.uint8)
    if len(triples) % 3 == 0 and (triples[::3] == 10).all() and (triples[1::3] == 1).all():
        return triples[2::3]
    return np.frombuffer(b"".join(string for _, string in _fields(values)), np.uint8)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each length-delimited field of a protobuf message; others are not expected."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 != 2:
            raise ValueError(f"a field of wire type {tag & 7} where one with a length is expected")
        length, at = _varint(data, at)
        if at + length > len(data):
            raise ValueError(f"a field of {length} bytes where {len(data) - at} are left")
        yield tag >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at a byte, seven bits per byte, lowest first; and the byte after it."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number that does not end")
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at
