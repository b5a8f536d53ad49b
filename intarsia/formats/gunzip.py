"""Unpacking a gzip file whose content is checked elsewhere.

Python's own reader spends more than a third of its time on the file's checksum. Records of a TFRecord file carry checksums
themselves, which cover every byte.
"""

import zlib
from io import BufferedReader

__all__ = ["Gunzip"]

MAGIC = b"\x1f\x8b\x08"  # gzip, deflated
CHECKED, EXTRA, NAME, COMMENT = 2, 4, 8, 16  # flags: what follows the ten bytes of a header
TRAILER = 8  # bytes: checksum and length


class Gunzip:
    """The content of a gzip file's members, one after the other."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._within = False  # a member

    def read(self, size: int) -> bytes:
        """The next `size` bytes, or as many as are left.

        Raises:
            EOFError: if the file ends within a member.
            zlib.error: if it is damaged so that it can't be unpacked.
        """
        parts = []
        while size and (self._within or self._file.peek()):
            if not self._within:
                self._begin()
            given = self._file.peek()
            part = self._inflater.decompress(given, size)
            self._file.read(len(given) - len(self._inflater.unused_data or self._inflater.unconsumed_tail))
            if self._inflater.eof:
                self._file.read(TRAILER)
                self._within = False
                while self._file.peek()[:1] == b"\0":  # padding
                    self._file.read(1)
            elif not given and not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _begin(self) -> None:
        """Skip the header of a member."""
        head = self._file.read(10)
        if len(head) < 10 or not head.startswith(MAGIC):
            raise zlib.error(f"no member of a gzip file begins with {head!r}")
        if head[3] & EXTRA:
            self._file.read(int.from_bytes(self._file.read(2), "little"))
        for text in (NAME, COMMENT):
            while head[3] & text and self._file.read(1) not in (b"\0", b""):
                pass
        if head[3] & CHECKED:
            self._file.read(2)
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._within = True
