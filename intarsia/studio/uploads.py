"""Request bodies: read only up to a size and a time, and checked before they are used."""

import asyncio
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from intarsia.errors import InputError, one_line
from intarsia.pictures import Picture, read_picture
from intarsia.studio.refusals import Refusal

MOST_BYTES = 20_000_000  # of a picture's file
MOST_JSON = 500_000  # bytes
SECONDS = 30.0  # that a body may take to arrive

Body = TypeVar("Body", bound=BaseModel)


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


async def read_json(request: Request, kind: type[Body]) -> Body:
    """Return the JSON object in the body of a request, checked; `InputError` if it is not of this kind."""
    try:
        return kind.model_validate_json(await read_body(request, MOST_JSON))
    except ValidationError as error:
        raise InputError(one_line(error)) from error


def picture_of(content: bytes, height: int, width: int) -> Picture:
    """The picture in the bytes of an image file; `InputError` if they are none."""
    return read_picture(Path("The picture"), height, width, content)
