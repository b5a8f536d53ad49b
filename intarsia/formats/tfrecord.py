"""TFRecord files without TensorFlow: the records, and the byte values in their `tf.train.Example`.

A record consists of the length of its data (8 bytes, little-endian), a checksum of the length, the data, and a checksum of the
data. A checksum has 4 bytes and is a CRC-32C, rotated and shifted. The published files are gzip streams of all records. Some
copies are not compressed, so the first bytes of a file decide, not its name.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache
from gzip import BadGzipFile
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from google_crc32c import value as crc32c
from isal.igzip import IGzipFile
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from intarsia.errors import InputError
from intarsia.formats.protobuf import Message

GZIP = b"\x1f\x8b"
TAR = 257, b"ustar"
LONGEST = 1 << 30  # bytes; protobuf allows no message of 2 GiB


class Record(NamedTuple):
    """The data of one record, and how many bytes of the file have been read so far.

    A compressed file is read ahead, by up to half a MiB.
    """

    data: bytes
    read: int


def records(path: Path) -> Iterator[Record]:
    """Yield the records of a file in order; the checksums are verified.

    Raises:
        InputError: if the file can't be read, is of another kind, ends within a record, or does not match a checksum. The
            message names the record and the byte where it begins, which in a compressed file is a byte of the uncompressed
            data.
    """
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == GZIP
            raw.seek(0)
            yield from _records(path, raw, IGzipFile(fileobj=raw) if compressed else raw, compressed)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from error


def _records(path: Path, raw: BinaryIO, stream: BinaryIO | IGzipFile, compressed: bool) -> Iterator[Record]:
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
        except (EOFError, BadGzipFile, IsalError) as error:  # type: ignore[misc]  # isal's stubs type it as an instance
            reason = "ends within" if isinstance(error, EOFError) else f"is damaged ({error}) in"
            raise InputError(f"{path} {reason} {where} (byte {raw.tell()} of the file). Fetch it again.") from error
        if masked_crc32c(data) != int.from_bytes(check, "little"):
            raise InputError(f"{path} is damaged in {where}: the data don't match their checksum. Fetch it again.")
        position += 16 + length
        number += 1
        yield Record(data, raw.tell())


def masked_crc32c(data: bytes | memoryview) -> int:
    """The checksum in TensorFlow's files: a CRC-32C, rotated and shifted."""
    plain = crc32c(bytes(data))
    return ((plain >> 15 | plain << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _foreign(path: Path, head: bytes, stream: BinaryIO | IGzipFile) -> str:
    """The message about a file that does not begin with a record."""
    start, magic = TAR
    if (head + stream.read(512))[start:].startswith(magic):
        return f"{path} is a tar archive, as byte {start} says; unpack it, and give the TFRecord file that is in it."
    return f"{path} is not a TFRecord file: at byte 0 there is no record, but {head!r}."


def features(data: bytes) -> dict[str, memoryview]:
    """The features of a serialised `tf.train.Example`: by name, the serialised list of values, of any type.

    Raises:
        ValueError: if the data are not a protobuf message.
    """
    found: dict[str, memoryview] = {}
    for group in Message(data).parts(1):
        for entry in Message(group).parts(1):
            pair = Message(entry)
            values = Message(pair.part(2))
            found[bytes(pair.part(1)).decode()] = values.part(1) or values.part(2) or values.part(3)
    return found


def byte_values(values: memoryview) -> NDArray[np.uint8]:
    """The bytes of a serialised list of byte strings, one after the other: `n`; a view where possible.

    The published files have one string per byte, which is three bytes: tag, length 1, and the byte. For these the result is a
    view of every third byte.
    """
    given = np.frombuffer(values, np.uint8)
    mask, wanted = _single_bytes(len(given))
    if len(given) % 3 == 0 and (given & mask).tobytes() == wanted:
        return given[2::3]
    return np.frombuffer(b"".join(Message(values).parts(1)), np.uint8)


@lru_cache(maxsize=4)
def _single_bytes(length: int) -> tuple[NDArray[np.uint8], bytes]:
    """A mask of the tags and lengths of serialised strings of one byte, and what they are. (Faster than comparing slices.)"""
    strings = -(-length // 3)
    return np.tile(np.array([255, 255, 0], np.uint8), strings)[:length], (b"\n\1\0" * strings)[:length]
