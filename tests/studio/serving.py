"""The studio's server, running in this process for a test, and talking to it."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, cast

import numpy as np
from PIL import Image
from starlette.types import ASGIApp

from intarsia.studio.listening import Server
from intarsia.studio.worker import Result, Work


@contextmanager
def running(app: ASGIApp, port: int = 0) -> Iterator[int]:
    """The server, on a port that it takes by itself."""
    listening = socket.create_server(("127.0.0.1", port), backlog=512)
    server = Server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)
        listening.close()


def ask(port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status and answer of a request; bodies that are no bytes go as JSON, and JSON comes back as what it says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, content, headers or {})
        answer = connection.getresponse()
        read = answer.read()
        return answer.status, json.loads(read) if "json" in answer.headers["content-type"] else read
    finally:
        connection.close()


def made_of(work: Work[Result]) -> Result:
    """The result of work, computed at once."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return cast(Result, stop.value)


def photo(seed: int = 0, size: tuple[int, int] = (32, 32), kind: str = "png") -> bytes:
    """The content of a picture's file: noise."""
    content = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)).save(content, kind)
    return content.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(content)))
