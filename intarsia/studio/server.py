"""The studio's server: its routes. The server keeps the encoded pictures (`store`), the page keeps the edits."""

import asyncio
import secrets
from collections.abc import Mapping
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
from torch import Tensor

from intarsia import __version__
from intarsia.errors import InputError
from intarsia.manipulation import Part, composite
from intarsia.manipulation.history import Edits, Paste
from intarsia.manipulation.replay import NO_CODES, copied
from intarsia.model import Model
from intarsia.novelty import model_for_photographs, notice
from intarsia.pictures import gif, png
from intarsia.studio.examples import Examples, gallery
from intarsia.studio.exporting import add_exports
from intarsia.studio.gate import Gate
from intarsia.studio.models import About, Models
from intarsia.studio.refusals import Refusal
from intarsia.studio.uploads import MOST_BYTES, body_of, picture_of, read_json
from intarsia.studio.views import Pieces, Strip, View, encoded, pieces, place_of_strip, strip, values_in_view, varied, view
from intarsia.studio.worker import Work, Worker

UPLOADS_AT_ONCE = 100  # of which at most 2 GB are on the disk; the others are not read before these are encoded
MOST_FRAMES = 100  # of the animation of a history
FRAME_MILLISECONDS = 600
KINDS_OF_FILES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


ModelName = Annotated[str | None, Query(description="A name of /api/models; without it, the first one.")]


@dataclass(frozen=True)
class Opened:
    """An encoded picture. The server drops it when many others come."""

    id: str
    """Stands for the picture and the model that encoded it."""
    picture: str
    """As the model takes it: PNG, in Base64."""
    picture_sha256: str
    """Of the pixels, as in the history of its edits."""
    notices: list[str]
    """What was done to make it fit, and whether the model knows such pictures; one sentence each."""
    instead: str = ""
    """Another served model to try, for photographs that this one does not know; empty if there is none."""


@dataclass(frozen=True)
class Example:
    """A scene to begin with: `/api/scenes/random?index=` opens it."""

    index: int
    picture: str
    """PNG, in Base64."""
    objects: int
    """How many the model finds."""


class EditsRequest(BaseModel, strict=True):
    """The edits of a picture, the first one first."""

    edits: Edits


class ViewRequest(EditsRequest, strict=True):
    """What to show; with `raw`, the bare output of the fusion networks."""

    raw: bool = False


class ObjectRequest(EditsRequest, strict=True):
    """Which object is meant, after the edits."""

    object: int


class StripRequest(EditsRequest, strict=True):
    """Which number of a code to vary after the edits. The background's code belongs to no object."""

    object: int | None = None
    part: Part
    dimension: int


def create_app(models: Model | Mapping[str, Path | Model], host: str = "localhost", worker: Worker | None = None) -> FastAPI:
    """The server of some models, as `Models` takes them, or of a single one; under one name.

    No request can name a file: the page's own files are read once, here, pictures come as bytes, and models go by the names of
    a list that is made here.
    """
    app = FastAPI(title="Intarsia Studio", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, host=host)
    _answer_errors(app)
    _add_page(app)
    served = Models({models.recipe.dataset: models} if isinstance(models, Model) else models)
    worker = worker or Worker()
    served.get(served.names[0])  # what is wrong with it is said before the page opens
    _add_models(app, served, worker)
    _add_pictures(app, served, worker)
    _add_views(app, served, worker)
    add_exports(app, lambda scene: served.of(scene).store, worker)
    return app


def _add_models(app: FastAPI, models: Models, worker: Worker) -> None:
    def loaded(name: str) -> Work[About]:
        yield
        return models.get(name).about

    def shown(name: str | None) -> Work[list[Example]]:
        served = models.get(name or models.names[0])
        if isinstance(served.examples, str):
            return []
        if served.gallery is None:
            served.gallery = yield from gallery(served.model, served.examples)
        return [Example(index, encoded(png(image)), objects) for index, image, objects in served.gallery]

    @app.get("/api/models")
    async def names_of_models() -> list[str]:
        """The models that are served, the first one first."""
        return models.names

    @app.get("/api/model")
    async def what_is_served(request: Request, model: ModelName = None) -> About:
        """A model."""
        name = model or models.names[0]
        return models.abouts[name] if name in models.abouts else await worker(request, loaded(name))

    @app.get("/api/gallery")
    async def scenes_to_begin_with(request: Request, model: ModelName = None) -> list[Example]:
        """Up to six scenes in which the model finds several objects; none where it has no test scenes."""
        return await worker(request, shown(model))


def _add_pictures(app: FastAPI, models: Models, worker: Worker) -> None:
    slots = asyncio.Semaphore(UPLOADS_AT_ONCE)

    def added(name: str | None, image: Tensor, notices: list[str], instead: str = "") -> Opened:
        scene = models.get(name or models.names[0]).store.add(image)
        return Opened(scene, encoded(png(image)), scene.rpartition(".")[2], notices, instead)

    def opened(content: IO[bytes], name: str | None) -> Work[Opened]:
        served = models.get(name or models.names[0])
        picture = picture_of(content.read(), served.model.recipe.height, served.model.recipe.width)
        yield
        unknown = notice(served.model, picture.pixels, "the picture")
        other = model_for_photographs(served.model) if unknown else ""
        yield
        notices = [*picture.notices, *filter(None, [unknown])]
        return added(name, picture.pixels, notices, other if other in models.names else "")

    def drawn(index: int | None, name: str | None) -> Work[Opened]:
        examples = models.get(name or models.names[0]).examples
        if not isinstance(examples, Examples):
            raise Refusal(404, examples)
        image = examples.draw(secrets.randbelow(examples.count or 2**31) if index is None else index)
        yield
        return added(name, image, [])

    file = {"image/*": {"schema": {"type": "string", "format": "binary"}}}

    @app.post("/api/scenes", openapi_extra={"requestBody": {"required": True, "content": file}})
    async def open_picture(request: Request, model: ModelName = None) -> Opened:
        """Encode a picture: the body is a PNG, JPEG, WebP, BMP, TIFF or AVIF file."""
        async with slots, body_of(request, MOST_BYTES) as content:
            return await worker(request, opened(content, model))

    @app.post("/api/scenes/random")
    async def open_random_scene(
        request: Request, index: Annotated[int | None, Query(ge=0)] = None, model: ModelName = None
    ) -> Opened:
        """Encode a test scene: a random one, or the one of an index."""
        return await worker(request, drawn(index, model))


def _body(kind: type[BaseModel]) -> dict[str, Any]:
    """Return what openapi.json says of a request's body, with the schemas of the edits written where they are referred to."""
    schema = kind.model_json_schema()
    schema["properties"]["edits"]["items"] = {"oneOf": list(schema.pop("$defs").values())}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


class _Answers:
    """What is computed for requests about the scene of a name."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def view(self, name: str, asked: ViewRequest) -> Work[View]:
        store = self.models.of(name).store
        if asked.raw:
            self._check_codes(name)
        before = store.scene(name)
        edited = yield from store.edited(name, asked.edits)
        return view(store.renderer, before, edited, asked.raw)

    def pieces(self, name: str, asked: ObjectRequest) -> Work[Pieces]:
        store = self.models.of(name).store
        edited = yield from store.edited(name, asked.edits)
        return pieces(store.renderer, store.scene(name), edited, asked.object)

    def strip(self, name: str, asked: StripRequest) -> Work[Strip]:
        self._check_codes(name)
        store, pictures = self.models.of(name).store, []
        before, renderer, number = store.scene(name), store.renderer, (asked.part, asked.dimension, asked.object)
        edited = yield from store.edited(name, asked.edits)
        values = values_in_view(renderer, edited, *number)
        yield
        for scene in varied(edited, *number, values):
            pictures.append(composite(renderer, before, scene))
            yield
        return strip(pictures, place_of_strip(renderer, edited, *number, values), values)

    def copy(self, name: str, asked: ObjectRequest) -> Work[Paste]:
        store = self.models.of(name).store
        edited = yield from store.edited(name, asked.edits)
        return copied(store.renderer, edited.scene, edited.row(asked.object))

    def animation(self, name: str, edits: Edits) -> Work[bytes]:
        store = self.models.of(name).store
        before, frames = store.scene(name), []
        for count in sorted({*range(0, len(edits), len(edits) // MOST_FRAMES + 1), len(edits)}):
            edited = yield from store.edited(name, edits[:count])
            frames.append(composite(store.renderer, before, edited.scene))
            yield
        return gif(torch.stack(frames).cpu(), FRAME_MILLISECONDS)

    def _check_codes(self, name: str) -> None:
        if not self.models.of(name).model.has_codes:
            raise InputError(NO_CODES)


def _add_views(app: FastAPI, models: Models, worker: Worker) -> None:
    answers = _Answers(models)

    @app.post("/api/scenes/{name}/view", openapi_extra=_body(ViewRequest))
    async def view_scene(name: str, request: Request) -> View:
        """A picture after some edits; with `raw`, the bare output of the fusion networks."""
        return await worker(request, answers.view(name, await read_json(request, ViewRequest)))

    @app.post("/api/scenes/{name}/strip", openapi_extra=_body(StripRequest))
    async def strip_of_scene(name: str, request: Request) -> Strip:
        """What one number of a code does to the picture after some edits."""
        return await worker(request, answers.strip(name, await read_json(request, StripRequest)))

    @app.post("/api/scenes/{name}/pieces", openapi_extra=_body(ObjectRequest))
    async def pieces_of_scene(name: str, request: Request) -> Pieces:
        """The picture after some edits in three pieces: an object, what is behind it, and what is in front of it."""
        return await worker(request, answers.pieces(name, await read_json(request, ObjectRequest)))

    @app.post("/api/scenes/{name}/copy", openapi_extra=_body(ObjectRequest))
    async def copy_of_object(name: str, request: Request) -> Paste:
        """The edit that adds a copy of an object as it is after some edits, to this picture or to another one."""
        return await worker(request, answers.copy(name, await read_json(request, ObjectRequest)))

    @app.post("/api/scenes/{name}/gif", openapi_extra=_body(EditsRequest))
    async def animation_of_edits(name: str, request: Request) -> Response:
        """The edits one after the other, as an animation: a GIF file."""
        asked = await read_json(request, EditsRequest)
        return Response(await worker(request, answers.animation(name, asked.edits)), media_type="image/gif")


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
