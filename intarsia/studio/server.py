"""The studio's server: its routes. The server keeps the encoded pictures (`store`), the page keeps the edits."""

import asyncio
import secrets
import shlex
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO, Annotated, Any

import torch
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from intarsia import __version__
from intarsia.data import PREPARED, Scenes, scenes_of
from intarsia.errors import InputError
from intarsia.manipulation import Part, composite
from intarsia.manipulation.history import Edits, Paste
from intarsia.manipulation.layers import layers
from intarsia.manipulation.replay import NO_CODES, copied, model_sha256
from intarsia.model import Model
from intarsia.novelty import notice
from intarsia.pictures import gif, png
from intarsia.studio.exporting import add_exports
from intarsia.studio.gate import Gate
from intarsia.studio.refusals import Refusal
from intarsia.studio.store import Store
from intarsia.studio.uploads import MOST_BYTES, body_of, picture_of, read_json
from intarsia.studio.views import Strip, View, encoded, strip, varied, view
from intarsia.studio.worker import Work, Worker

UPLOADS_AT_ONCE = 100  # of which at most 2 GB are on the disk; the others are not read before these are encoded
MOST_FRAMES = 100  # of the animation of a history
FRAME_MILLISECONDS = 600
KINDS_OF_FILES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@dataclass(frozen=True)
class About:
    """The model that is served."""

    version: str
    dataset: str
    height: int
    width: int
    room: int
    """The number of objects that a scene can hold."""
    model_sha256: str
    no_random_scene: str
    """Why there are no random scenes; empty if there are."""


@dataclass(frozen=True)
class Opened:
    """An encoded picture. `id` is the SHA-256 of its pixels; the server drops the picture when many others come."""

    id: str
    picture: str
    """As the model takes it: PNG, in Base64."""
    notices: list[str]
    """What was done to make it fit, one sentence each."""


class EditsRequest(BaseModel, strict=True):
    """The edits of a picture, the first one first."""

    edits: Edits


class ViewRequest(EditsRequest, strict=True):
    """What to show; with `raw`, the bare output of the fusion networks."""

    raw: bool = False


class CopyRequest(EditsRequest, strict=True):
    """Which object to copy after the edits."""

    object: int


class StripRequest(EditsRequest, strict=True):
    """Which number of a code to vary after the edits. The background's code belongs to no object."""

    object: int | None = None
    part: Part
    dimension: int


def create_app(model: Model, host: str = "localhost", worker: Worker | None = None) -> FastAPI:
    """The server of one model, under one name.

    No request can name a file: the page's own files are read once, here, and pictures come as bytes.
    """
    app = FastAPI(title="Intarsia Studio", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, host=host)
    _answer_errors(app)
    _add_page(app)
    store, worker, random_scenes = Store(model), worker or Worker(), _random_scenes(model)
    _add_pictures(app, model, store, worker, random_scenes)
    _add_views(app, store, worker)
    add_exports(app, lambda name: store, worker)
    about = About(
        __version__,
        model.recipe.dataset,
        model.recipe.height,
        model.recipe.width,
        model.recipe.objects,
        model_sha256(model),
        random_scenes if isinstance(random_scenes, str) else "",
    )

    @app.get("/api/model")
    async def what_is_served() -> About:
        """The model."""
        return about

    return app


def _random_scenes(model: Model) -> Scenes | str:
    """The test scenes of the model's recipe, or a sentence that says why there are none."""
    recipe, reason = model.recipe, "There are no random scenes:"
    if recipe.data_root is not None and not Path(recipe.data_root).exists():
        written = f"; `intarsia prepare {recipe.dataset} --out {shlex.quote(recipe.data_root)}` writes them"
        return f"{reason} their files are not here{written if recipe.dataset in PREPARED else ''}."
    try:
        scenes = scenes_of(recipe, "test")
    except (InputError, OSError) as error:
        return f"{reason} {error}"
    if (scenes.height, scenes.width) != (recipe.height, recipe.width):
        return f"{reason} they have {scenes.width}x{scenes.height} pixels, the model takes {recipe.width}x{recipe.height}."
    return scenes


def _add_pictures(app: FastAPI, model: Model, store: Store, worker: Worker, random_scenes: Scenes | str) -> None:
    recipe, slots = model.recipe, asyncio.Semaphore(UPLOADS_AT_ONCE)

    def opened(content: IO[bytes]) -> Work[Opened]:
        picture = picture_of(content.read(), recipe.height, recipe.width)
        yield
        unknown = notice(model, picture.pixels, "the picture")
        yield
        return Opened(store.add(picture.pixels), encoded(png(picture.pixels)), [*picture.notices, *filter(None, [unknown])])

    def drawn(index: int) -> Work[Opened]:
        assert isinstance(random_scenes, Scenes)
        image = (random_scenes([index]).images[0] * 255).round() / 255  # as it will be once it has been a PNG
        yield
        return Opened(store.add(image), encoded(png(image)), [])

    file = {"image/*": {"schema": {"type": "string", "format": "binary"}}}

    @app.post("/api/scenes", openapi_extra={"requestBody": {"required": True, "content": file}})
    async def open_picture(request: Request) -> Opened:
        """Encode a picture: the body is a PNG, JPEG, WebP, BMP, TIFF or AVIF file."""
        async with slots, body_of(request, MOST_BYTES) as content:
            return await worker(request, opened(content))

    @app.post("/api/scenes/random")
    async def open_random_scene(request: Request, index: Annotated[int | None, Query(ge=0)] = None) -> Opened:
        """Encode a test scene: a random one, or the one of an index."""
        if isinstance(random_scenes, str):
            raise Refusal(404, random_scenes)
        return await worker(request, drawn(secrets.randbelow(random_scenes.size or 2**31) if index is None else index))


def _body(kind: type[BaseModel]) -> dict[str, Any]:
    """Return what openapi.json says of a request's body, with the schemas of the edits written where they are referred to."""
    schema = kind.model_json_schema()
    schema["properties"]["edits"]["items"] = {"oneOf": list(schema.pop("$defs").values())}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _add_views(app: FastAPI, store: Store, worker: Worker) -> None:
    def check_codes() -> None:
        if not store.renderer.model.has_codes:
            raise InputError(NO_CODES)

    def viewed(name: str, asked: ViewRequest) -> Work[View]:
        if asked.raw:
            check_codes()
        before = store.scene(name)
        edited = yield from store.edited(name, asked.edits)
        return view(store.renderer, before, edited, asked.raw)

    def stripped(name: str, asked: StripRequest) -> Work[Strip]:
        check_codes()
        before, pictures = store.scene(name), []
        edited = yield from store.edited(name, asked.edits)
        for scene in varied(edited, asked.part, asked.dimension, asked.object):
            pictures.append(composite(store.renderer, before, scene))
            yield
        if asked.object is None:
            return strip(pictures, asked.part, None)
        return strip(pictures, asked.part, layers(store.renderer, edited.scene).opacities[edited.row(asked.object)])

    def copy(name: str, asked: CopyRequest) -> Work[Paste]:
        edited = yield from store.edited(name, asked.edits)
        return copied(store.renderer, edited.scene, edited.row(asked.object))

    def animated(name: str, edits: Edits) -> Work[bytes]:
        before, frames = store.scene(name), []
        for count in sorted({*range(0, len(edits), len(edits) // MOST_FRAMES + 1), len(edits)}):
            edited = yield from store.edited(name, edits[:count])
            frames.append(composite(store.renderer, before, edited.scene))
            yield
        return gif(torch.stack(frames).cpu(), FRAME_MILLISECONDS)

    @app.post("/api/scenes/{name}/view", openapi_extra=_body(ViewRequest))
    async def view_scene(name: str, request: Request) -> View:
        """A picture after some edits; with `raw`, the bare output of the fusion networks."""
        return await worker(request, viewed(name, await read_json(request, ViewRequest)))

    @app.post("/api/scenes/{name}/strip", openapi_extra=_body(StripRequest))
    async def strip_of_scene(name: str, request: Request) -> Strip:
        """What one number of a code does to the picture after some edits."""
        return await worker(request, stripped(name, await read_json(request, StripRequest)))

    @app.post("/api/scenes/{name}/copy", openapi_extra=_body(CopyRequest))
    async def copy_of_object(name: str, request: Request) -> Paste:
        """The edit that adds a copy of an object as it is after some edits, to this picture or to another one."""
        return await worker(request, copy(name, await read_json(request, CopyRequest)))

    @app.post("/api/scenes/{name}/gif", openapi_extra=_body(EditsRequest))
    async def animation_of_edits(name: str, request: Request) -> Response:
        """The edits one after the other, as an animation: a GIF file."""
        asked = await read_json(request, EditsRequest)
        return Response(await worker(request, animated(name, asked.edits)), media_type="image/gif")


def _answer_errors(app: FastAPI) -> None:
    """Answer every error as `{"error": "a sentence"}`."""

    def answer(status: int, text: str) -> JSONResponse:
        return JSONResponse({"error": text}, status, {"retry-after": "1"} if status == 503 else None)

    @app.exception_handler(InputError)
    async def input_error(request: Request, error: InputError) -> JSONResponse:
        return answer(400, str(error))

    @app.exception_handler(Refusal)
    async def refusal(request: Request, error: Refusal) -> JSONResponse:
        return answer(error.status, str(error))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, f"{request.method} {request.url.path}: {error.detail}.")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return answer(400, f"{first['loc'][-1]}: {first['msg']}.")

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        return answer(500, "Something went wrong in the server; what it was is printed where it runs.")


def _add_page(app: FastAPI) -> None:
    page = {item.name: item.read_bytes() for item in files("intarsia.studio").joinpath("page").iterdir()}

    def served(name: str) -> Response:
        if name not in page:
            raise HTTPException(404, "there is no such page")
        kind = KINDS_OF_FILES[name.rpartition(".")[2]]
        return Response(page[name], media_type=kind)

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return served("index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return served("docs.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        return served(name)
