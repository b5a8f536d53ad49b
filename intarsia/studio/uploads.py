"""Request bodies: read only up to a size and a time, and checked before they are used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from intarsia.errors import InputError, one_line
from intarsia.pictures import Picture, read_picture
from intarsia.studio.refusals import Refusal

MOST_BYTES = 20_000_000  # of a picture's file
MOST_JSON = 500_000  # bytes
MOST_IN_MEMORY = 100_000  # bytes of a body while it arrives; the rest is in a file without a name
SECONDS = 30.0  # that a body may take to arrive
STALLED_SECONDS = 5.0  # in which some of it must arrive

Body = TypeVar("Body", bound=BaseModel)


@asynccontextmanager
async def body_of(request: Request, most: int) -> AsyncIterator[IO[bytes]]:
    """The body of a request as a file; `Refusal` if it is longer than `most` bytes or takes too long.

    A body takes hardly any memory while it arrives, so that many may do so at once, and slow ones hold up nobody.
    """
    with SpooledTemporaryFile(MOST_IN_MEMORY) as content:
        await _receive(request, content, most)
        content.seek(0)
        yield content


async def read_json(request: Request, kind: type[Body]) -> Body:
    """Return the JSON object in the body of a request, checked; `InputError` if it is not of this kind."""
    try:
        async with body_of(request, MOST_JSON) as content:
            return kind.model_validate_json(content.read())
    except ValidationError as error:
        raise InputError(one_line(error)) from error


def picture_of(content: bytes, height: int, width: int) -> Picture:
    """The picture in the bytes of an image file; `InputError` if they are none."""
    return read_picture(Path("The picture"), height, width, content)


async def _receive(request: Request, content: IO[bytes], most: int) -> None:
    clock = asyncio.get_running_loop().time
    end = clock() + SECONDS
    try:
        async with asyncio.timeout(STALLED_SECONDS) as deadline:
            async for part in request.stream():
                content.write(part)
                if content.tell() > most:
                    raise Refusal(413, f"That is too much: at most {most / 1e6:g} MB are taken.")
                deadline.reschedule(min(end, clock() + STALLED_SECONDS))
    except TimeoutError:
        waited = f"none of it for {STALLED_SECONDS:g} seconds, or not all of it within {SECONDS:g}"
        raise Refusal(408, f"It did not arrive: {waited}.") from None
    except ClientDisconnect:
        raise Refusal(400, "The connection broke off.") from None
