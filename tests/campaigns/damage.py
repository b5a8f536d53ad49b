"""Damage to files: of their bytes, and of the values in JSON and NumPy headers."""

import json
import random
from typing import Any

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**70), 10**310, 1e308, -0.5, float("inf"), float("nan"), "", "text",
    "9" * 5000, "\x00", "é🐈", [], {}, [[]], {"": None}, [0] * 1000, "../..", "/", [1, "a"], {"step": 1},
]  # fmt: skip
NUMBERS = [b"0", b"-1", b"1e999", b"9" * 400, b"2147483648", b"NaN", b"Infinity", b"1.5", b"true", b"null", b'"x"']


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content with some damage: in its values if it is JSON, in half of the cases, else in its bytes."""
    if chance.random() < 0.5:
        try:
            text = content.decode()
            lines = text.splitlines() if "\n{" in text.strip() and text.startswith("{") and "}\n{" in text else [text]
            place = chance.randrange(len(lines))
            lines[place] = json.dumps(_damaged_value(json.loads(lines[place]), chance))
            return "\n".join([*lines, ""]).encode()
        except (ValueError, RecursionError, IndexError):
            pass
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        content = _damaged_bytes(content, chance)
    return content


def _damaged_value(value: Any, chance: random.Random) -> Any:
    """The value with one part of it replaced, removed or added."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(list(value))
        how = chance.random()
        if how < 0.1:
            return {key: each for key, each in value.items() if key != name}
        if how < 0.2:
            return value | {chance.choice(["", "odd", name.upper()]): chance.choice(ODD)}
        return value | {name: _damaged_value(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.7:
        place = chance.randrange(len(value))
        how = chance.random()
        if how < 0.2:
            return value[:place] + value[place + 1 :]
        if how < 0.3:
            return [*value, *value]
        return [*value[:place], _damaged_value(value[place], chance), *value[place + 1 :]]
    if chance.random() < 0.1:
        deep: Any = value
        for _ in range(500):
            deep = [deep]
        return deep
    if isinstance(value, int | float) and not isinstance(value, bool) and chance.random() < 0.4:
        return chance.choice([value + 1, -value, value * 1000, value / 7, str(value)])
    return chance.choice(ODD)


def _damaged_bytes(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content) + 1)
    if chance.random() < 0.5:  # headers are at the start, tables at the end
        place = min(place % 256, len(content)) if chance.random() < 0.7 else max(0, len(content) - place % 256)
    size = chance.choice([1, 1, 2, 4, 8, 64, 1000])
    how = chance.randrange(8)
    if how == 0 and content:
        place = min(place, len(content) - 1)
        return content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]
    if how == 1:
        return content[:place]
    if how == 2:
        return content[:place] + content[place + size :]
    if how == 3:
        return content[:place] + chance.randbytes(size) + content[place + size :]
    if how == 4:
        return content[:place] + chance.choice([b"\x00", b"\xff", b"\x7f", b"\x80"]) * size + content[place + size :]
    if how == 5:
        return content[:place] + chance.randbytes(size) + content[place:]
    if how == 6:
        return content[:place] + content[max(0, place - size) :]
    digits = [at for at, byte in enumerate(content[:4096]) if 48 <= byte <= 57]
    if not digits:
        return content[:place] + b"\xff\xff\xff\xff" + content[place + 4 :]
    first = last = chance.choice(digits)
    while last < len(content) and 48 <= content[last] <= 57:
        last += 1
    return content[:first] + chance.choice(NUMBERS) + content[last:]
