"""Sorted string tables (of LevelDB), in which TensorFlow keeps checkpoints and their lists of variables."""

from collections.abc import Iterator

from intarsia.formats.protobuf import varint
from intarsia.formats.tfrecord import masked_crc32c

MAGIC = bytes.fromhex("57fb808b247547db")  # the last bytes of every table
FOOTER, TRAILER = 48, 5  # bytes: at the end of the file; after every block
LONGEST_KEY = 1000  # bytes; a key of n bytes can be stored in four, so without a limit a small file could fill the memory


def is_table(file: bytes) -> bool:
    """Whether a file ends like a table."""
    return len(file) >= FOOTER and file.endswith(MAGIC)


def entries(file: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the keys and values of a table in the order of the keys; the checksums are verified.

    Raises:
        ValueError: if the file is not a table, is compressed, or is damaged. The message names the place.
    """
    if not is_table(file):
        raise ValueError(f"its last {len(MAGIC)} of {len(file)} bytes are not those of a table: cut short, or another format")
    data = memoryview(file)
    at, blocks = len(data) - FOOTER, []
    for _ in range(2):  # the index of filters, which is empty in TensorFlow's tables, and the index of blocks
        offset, at = varint(data, at)
        size, at = varint(data, at)
        blocks.append(_block(data, offset, size))
    for _, place in _pairs(blocks[1]):
        offset, at = varint(place, 0)
        size, _ = varint(place, at)
        yield from _pairs(_block(data, offset, size))


def _block(data: memoryview, offset: int, size: int) -> memoryview:
    """The content of a block; the checksum is verified."""
    if offset + size + TRAILER > len(data) - FOOTER:
        raise ValueError(f"a block of {size} bytes at byte {offset} goes beyond the end of the file")
    trailer = data[offset + size : offset + size + TRAILER]
    if int.from_bytes(trailer[1:], "little") != masked_crc32c(data[offset : offset + size + 1]):
        raise ValueError(f"the checksum of the {size} bytes at byte {offset} is wrong")
    if trailer[0]:
        raise ValueError(f"the block at byte {offset} is compressed, as TensorFlow's never are")
    return data[offset : offset + size]


def _pairs(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the keys and values of a block. A key is stored as its difference from the key before it."""
    restarts = int.from_bytes(block[-4:], "little")  # places of complete keys, for searching; listed at the end
    end, at, key = len(block) - 4 * (restarts + 1), 0, b""
    if end < 0:
        raise ValueError(f"a block of {len(block)} bytes can't hold {restarts} starts")
    while at < end:
        shared, at = varint(block, at)
        added, at = varint(block, at)
        size, at = varint(block, at)
        if at + added + size > end or shared > len(key):
            raise ValueError(f"a value goes beyond the end of its block, at byte {at}")
        if shared + added > LONGEST_KEY:
            raise ValueError(f"a key has {shared + added} bytes, at byte {at} of its block")
        key = key[:shared] + bytes(block[at : at + added])
        yield key, block[at + added : at + added + size]
        at += added + size
