"""Reading Protocol Buffers without their schema: enough for TensorFlow's checkpoints."""

MOST_BITS = 64  # of a number; a longer one is damage


class Message:
    """The fields of a message by number. What is absent is 0 or empty, as in Protocol Buffers.

    Raises:
        ValueError: if the bytes are no message, or a field is not of the kind asked for.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        data, at = memoryview(data), 0
        while at < len(data):
            tag, at = varint(data, at)
            if tag & 7 == 0:
                value, at = varint(data, at)
                self._fields.setdefault(tag >> 3, []).append(value)
                continue
            if tag & 7 == 2:
                size, at = varint(data, at)
            elif tag & 7 in (1, 5):
                size = 8 if tag & 7 == 1 else 4
            else:
                raise ValueError(f"a message has a field of unknown kind {tag & 7}")
            if at + size > len(data):
                raise ValueError(f"a message of {len(data)} bytes has a field up to byte {at + size}")
            part = data[at : at + size]
            self._fields.setdefault(tag >> 3, []).append(part if tag & 7 == 2 else int.from_bytes(part, "little"))
            at += size

    def number(self, field: int) -> int:
        """A whole number, unsigned; the last one written."""
        value = self._fields.get(field, [0])[-1]
        if not isinstance(value, int):
            raise ValueError(f"field {field} of a message is not a number")
        return value

    def part(self, field: int) -> memoryview:
        """The bytes of a text, a message or a packed list; the last ones written."""
        return next(reversed(self.parts(field)), memoryview(b""))

    def parts(self, field: int) -> list[memoryview]:
        """The bytes of each of several texts or messages."""
        found = [value for value in self._fields.get(field, []) if isinstance(value, memoryview)]
        if len(found) != len(self._fields.get(field, [])):
            raise ValueError(f"field {field} of a message is a number")
        return found


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number written in groups of seven bits at a place, and the place after it; `ValueError` where it does not end."""
    value = shift = 0
    while at < len(data) and shift < MOST_BITS:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError(f"a number does not end at byte {at}")


def varints(packed: memoryview) -> list[int]:
    """The whole numbers of a packed list, unsigned."""
    found, at = [], 0
    while at < len(packed):
        value, at = varint(packed, at)
        found.append(value)
    return found
