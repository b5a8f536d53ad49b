"""Request bodies: read only up to a size and a time, and checked before they are used."""

import asyncio
import json
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request

from intarsia.errors import InputError
from intarsia.pictures import Picture, read_picture
from intarsia.studio.refusals import Refusal

__all__ = ["MOST_BYTES", "MOST_PIXELS", "picture_of", "read_body", "read_json"]

MOST_BYTES = 20_000_000  # of a picture's file
MOST_PIXELS = 24_000_000  # of a picture, decompressed
MOST_JSON = 500_000  # bytes
SECONDS = 30.0  # that a body may take to arrive


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request; `Refusal` if it is longer than `most` bytes or takes too long."""
    content = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > most:
                    raise Refusal(413, f"That is too much: at most {most / 1e6:g} MB are taken.")
    except TimeoutError:
        raise Refusal(408, f"It did not arrive within {SECONDS:g} seconds.") from None
    except ClientDisconnect:
        raise Refusal(400, "The connection broke off.") from None
    return bytes(content)


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object in the body of a request; `InputError` if it is none."""
    try:
        values = json.loads(await read_body(request, MOST_JSON))
    except (ValueError, RecursionError) as error:
        raise InputError(f"The request is no JSON: {error}.") from error
    if not isinstance(values, dict):
        raise InputError("The request should be a JSON object.")
    return values


def picture_of(content: bytes, height: int, width: int) -> Picture:
    """The picture in the bytes of a PNG, JPEG or WebP file; `InputError` if they are none."""
    return read_picture(Path("The picture"), height, width, content, MOST_PIXELS)
