"""Unpacking beside Python's own reader."""

import gzip
import io
import zlib

import numpy as np
import pytest

from intarsia.formats.gunzip import Gunzip

CONTENT = np.random.default_rng(0).integers(0, 4, 300_000, np.uint8).tobytes()  # packs to ten times what a buffer holds
MEMBER = gzip.compress(CONTENT)
HEADER, BODY = MEMBER[:10], MEMBER[10:]


def unpacked(data: bytes, size: int) -> bytes:
    stream = Gunzip(io.BufferedReader(io.BytesIO(data)))
    return b"".join(iter(lambda: stream.read(size), b""))


def flagged(flags: int, fields: bytes) -> bytes:
    return HEADER[:3] + bytes([flags]) + HEADER[4:] + fields + BODY


@pytest.mark.parametrize("size", [999, 65_536, 10**9])
@pytest.mark.parametrize(
    "data",
    [
        MEMBER,
        MEMBER + gzip.compress(b"") + MEMBER,
        MEMBER + bytes(20),
        flagged(8, b"sprites.tfrecords\0"),
        flagged(2 + 4 + 8 + 16, b"\3\0a\0b" + b"name\0" + b"comment\0" + b"\1\2"),
    ],
)
def test_content_is_what_python_reads(data: bytes, size: int) -> None:
    assert unpacked(data, size) == gzip.decompress(data)


def test_no_more_is_read_than_asked_for_and_less_at_the_end() -> None:
    stream = Gunzip(io.BufferedReader(io.BytesIO(MEMBER)))
    assert [len(stream.read(size)) for size in (0, 1, 299_000, 5000, 1)] == [0, 1, 299_000, 999, 0]


@pytest.mark.parametrize("length", [11, 5000, len(MEMBER) - 9])
def test_a_file_that_ends_within_a_member_is_an_error(length: int) -> None:
    with pytest.raises(EOFError):
        unpacked(MEMBER[:length], 999)


def test_what_is_no_member_is_an_error() -> None:
    for data in (b"\x1f\x8b", MEMBER + b"more", HEADER + b"\7" + BODY):
        with pytest.raises(zlib.error):
            unpacked(data, 999)
