"""Protocol Buffers without their schema, as far as TensorFlow's files need it."""

MOST_BITS = 64  # of a number; a longer one is damaged


class Message:
    """The fields of a message by number. An absent field is 0 or empty, as in Protocol Buffers.

    Raises:
        ValueError: if the bytes are not a message, or a field is of another kind than the one asked for.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        data, at = memoryview(data), 0
        while at < len(data):
            tag, at = varint(data, at)
            kind, values = tag & 7, self._fields.setdefault(tag >> 3, [])
            if kind == 0:
                number, at = varint(data, at)
                values.append(number)
                continue
            if kind == 2:
                size, at = varint(data, at)
            elif kind in (1, 5):
                size = 8 if kind == 1 else 4
            else:
                raise ValueError(f"a message has a field of unknown kind {kind}")
            if at + size > len(data):
                raise ValueError(f"a message of {len(data)} bytes has a field up to byte {at + size}")
            part = data[at : at + size]
            values.append(part if kind == 2 else int.from_bytes(part, "little"))
            at += size

    def number(self, field: int) -> int:
        """The unsigned integer in a field; the last one if there are several."""
        value = self._fields.get(field, [0])[-1]
        if not isinstance(value, int):
            raise ValueError(f"field {field} of a message is not a number")
        return value

    def part(self, field: int) -> memoryview:
        """The bytes of a text, a message or a packed list; the last one if there are several."""
        return (self.parts(field) or [memoryview(b"")])[-1]

    def parts(self, field: int) -> list[memoryview]:
        """The bytes of each text or message in a repeated field."""
        values = self._fields.get(field, [])
        found = [value for value in values if isinstance(value, memoryview)]
        if len(found) != len(values):
            raise ValueError(f"field {field} of a message is a number")
        return found


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at a place, in groups of seven bits, and the place after it; `ValueError` if it does not end."""
    if at < len(data) and data[at] < 0x80:  # most are this short
        return data[at], at + 1
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
    """The unsigned integers of a packed list."""
    found, at = [], 0
    while at < len(packed):
        value, at = varint(packed, at)
        found.append(value)
    return found
