"""The studio's server under strain: many clients, slow ones, greedy ones, and those that leave."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from starlette.responses import Response

from intarsia.studio import listening, server, uploads
from tests.halves import model_of_halves
from tests.studio.serving import ask, photo, running


@pytest.fixture
def port() -> Iterator[int]:
    with running(server.create_app(model_of_halves())) as port:
        yield port


@contextmanager
def sent(port: int, content: bytes) -> Iterator[socket.socket]:
    """A connection on which so much of a request was sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(content)
        yield connection


def post(path: str, body: bytes, length: int | None = None) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length or len(body)}\r\n\r\n".encode() + body


STALLED = post("/api/scenes", b"\x89PNG", 1_000_000)
HALF_A_REQUEST = b"GET /api/model HTTP/1.1\r\nHost: loc"


def is_cut(connection: socket.socket) -> bool:
    """Whether a connection ends, after some answer perhaps; waits for it for 30 seconds."""
    try:
        while connection.recv(1000):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def is_waiting(connection: socket.socket) -> bool:
    """Whether a connection is open, and nothing has come on it."""
    connection.setblocking(False)
    try:
        connection.recv(1)
    except BlockingIOError:
        return True
    return False


# Slow ones.


def test_stalled_uploads_hold_nobody_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "STALLED_SECONDS", 25.0)
    with ExitStack() as stack:
        stalled = [stack.enter_context(sent(port, STALLED)) for _ in range(40)]
        assert ask(port, "POST", "/api/scenes", photo())[0] == 200
        assert all(map(is_waiting, stalled))


def test_stalled_upload_ends(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "STALLED_SECONDS", 0.2)
    with sent(port, STALLED) as connection:
        assert b"408 Request Timeout" in connection.recv(1000)


def test_upload_that_drips_ends(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "SECONDS", 0.5)
    with sent(port, STALLED) as connection:
        for _ in range(4):
            time.sleep(0.1)
            connection.sendall(b".")
        assert b"408 Request Timeout" in connection.recv(1000)


@pytest.mark.parametrize("before", [b"", b"GET /api/model HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_half_a_request_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch, before: bytes) -> None:
    monkeypatch.setattr(listening, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(listening, "LOOK_SECONDS", 0.1)
    with sent(port, before + HALF_A_REQUEST) as connection:
        assert is_cut(connection)


@pytest.mark.parametrize("taken", [True, False])
def test_answer_is_cut_off_if_it_is_not_taken(taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "HEADER_SECONDS", 1.0)
    monkeypatch.setattr(listening, "LOOK_SECONDS", 0.1)
    size = 20_000_000  # more than the system keeps for a connection

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Response(bytes(size))(scope, receive, send)

    with running(app) as port, sent(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
        time.sleep(0.0 if taken else 2.0)
        found = 0
        with suppress(ConnectionError):
            while found < size and (part := connection.recv(100_000)):
                found += len(part)
                time.sleep(0.008 if taken else 0.0)  # 1.6 seconds in all
        assert (found >= size) == taken


def test_more_connections_than_there_may_be_are_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MOST_CONNECTIONS", 20)
    with ExitStack() as stack:
        waiting = [stack.enter_context(sent(port, HALF_A_REQUEST)) for _ in range(60)]
        assert ask(port, "GET", "/api/model")[0] == 200
        assert all(map(is_cut, waiting[:40]))  # those that came first
        assert all(map(is_waiting, waiting[41:]))
