"""Exports of an edited scene at the size of the picture that was given: the picture, its masks, and its objects cut out.

The page keeps the picture's file and sends it along: the server keeps no file.
"""

import asyncio
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import IO, Annotated, Literal
from zipfile import ZipFile

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, ValidationError

from intarsia.errors import InputError, one_line
from intarsia.formats.coco import coco
from intarsia.formats.image_file import read_photo
from intarsia.manipulation.enlarging import Original, Region
from intarsia.manipulation.full_size import FullSize
from intarsia.manipulation.history import Edits
from intarsia.pictures import label_png, png_of
from intarsia.studio.store import Store
from intarsia.studio.uploads import MOST_BYTES, MOST_JSON, body_of
from intarsia.studio.worker import Work, Worker

MOST_PIXELS = 30_000_000  # of a picture's file
MOST_DISTANCE = 1e6  # px of a region from the picture's corner
BODIES_AT_ONCE = 20  # on the disk
EXPORTS_AT_ONCE = 2  # in memory

Kind = Literal["picture", "masks", "coco", "cutouts"]
MEDIA = {"picture": "image/png", "masks": "image/png", "coco": "application/json", "cutouts": "application/zip"}
Place = Annotated[float, Field(ge=-MOST_DISTANCE, le=MOST_DISTANCE, allow_inf_nan=False)]


class ExportRequest(BaseModel, strict=True):
    """What to export after some edits.

    name: The file's name, for COCO's JSON.
    region: Left, top, right and bottom of the part of the file that was opened, in its pixels; None for all of it.
    """

    edits: Edits
    name: Annotated[str, Field(max_length=1000)] = "picture"
    region: Annotated[list[Place], Field(min_length=4, max_length=4)] | None = None


def add_exports(app: FastAPI, store_of: Callable[[str], Store], worker: Worker) -> None:
    """Add the route of the exports. `store_of` finds the store that keeps a scene, by the scene's name."""
    bodies, exports = asyncio.Semaphore(BODIES_AT_ONCE), asyncio.Semaphore(EXPORTS_AT_ONCE)
    schema = {"description": "ExportRequest as JSON on one line, and after it the picture's file."}
    body = {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", **schema}}}}

    @app.post("/api/scenes/{name}/export/{kind}", openapi_extra={"requestBody": body})
    async def export_scene(name: str, kind: Kind, request: Request) -> Response:
        """The picture after some edits at the size of its file: a PNG, masks as an indexed PNG or as COCO's JSON, or a ZIP."""
        async with bodies, body_of(request, MOST_JSON + MOST_BYTES) as content, exports:
            found = await worker(request, exported(store_of(name), name, kind, content))
        return Response(found, media_type=MEDIA[kind])


def exported(store: Store, name: str, kind: Kind, content: IO[bytes]) -> Work[bytes]:
    """The content of an exported file.

    Raises:
        InputError: if the body is no `ExportRequest` and a picture, or an edit is not possible.
    """
    try:
        asked = ExportRequest.model_validate_json(content.readline(MOST_JSON))
    except ValidationError as error:
        raise InputError(one_line(error)) from error
    before = store.scene(name)
    original = _original(content.read(), asked.region, (before.image.shape[1], before.image.shape[2]))
    yield
    edited = yield from store.edited(name, asked.edits)
    full = FullSize(store.renderer, before, edited, original)
    yield
    if kind == "picture":
        pixels = yield from full.drawn()
        return png_of(pixels)
    if kind == "cutouts":
        return (yield from _zipped(full))
    labels = yield from full.labels()
    if kind == "masks":
        return label_png(labels)
    return json.dumps(coco(asked.name, labels, {number: f"object {number}" for number in full.numbers})).encode()


def _original(content: bytes, region: list[float] | None, size: tuple[int, int]) -> Original:
    pixels = np.asarray(read_photo(Path("The picture"), content, most=MOST_PIXELS).image)
    if region is None:
        return Original.whole(pixels, size)
    left, top, right, bottom = region
    height, width = pixels.shape[:2]
    if right - left < 1 or bottom - top < 1 or right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise InputError(
            f"The region is {region}; it must be left, top, right and bottom of a part of the picture, {width}x{height} pixels."
        )
    return Original(pixels, Region(left, top, right, bottom), size)


def _zipped(full: FullSize) -> Work[bytes]:
    """A ZIP of each object as a PNG with opacity, cut to its box, and of a list of where each was."""
    content, places = BytesIO(), []
    with ZipFile(content, "w") as archive:
        for row, number in enumerate(full.numbers):
            found = yield from full.cutout(row)
            if found is None:
                continue
            name = f"object-{number}.png"
            archive.writestr(name, png_of(found.pixels))
            height, width = found.pixels.shape[:2]
            places.append({"file": name, "left": found.left, "top": found.top, "width": width, "height": height})
            yield
        archive.writestr("objects.json", json.dumps(places, indent=2) + "\n")
    return content.getvalue()
