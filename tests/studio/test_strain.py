"""The studio's server under strain: many clients, slow ones, greedy ones, and those that leave."""

import asyncio
import dataclasses
import json
import signal
import socket
import subprocess
import sys
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from intarsia.manipulation.history import SetCode
from intarsia.studio import listening, server, store, uploads, worker
from intarsia.studio.refusals import Refusal
from intarsia.studio.worker import Work, Worker
from tests.halves import model_of_halves
from tests.studio.serving import ask, photo, pixels, running


def run_alone(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a thread of its own: the browser's driver keeps a loop running in the main one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


EDITS = [dataclasses.asdict(SetCode(1, "shape", 0, number / 1000)) for number in range(1000)]


@pytest.fixture
def port() -> Iterator[int]:
    with running(server.create_app(model_of_halves())) as port:
        yield port


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The edits that the server made; each takes 10 ms at least."""
    made: list[Any] = []

    def slow(renderer: Any, state: Any, edits: Any) -> Any:
        made.extend(edits)
        time.sleep(0.01)
        return real(renderer, state, edits)

    real = store.replay
    monkeypatch.setattr(store, "replay", slow)
    return made


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


def opened(port: int) -> str:
    name: str = ask(port, "POST", "/api/scenes", photo())[1]["id"]
    return f"/api/scenes/{name}"


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# Whose turn it is.


class Client(Request):
    """A request of which nothing but its address is asked, and whose client stays."""

    def __init__(self, address: str) -> None:
        super().__init__({"type": "http", "client": (address, 1)}, self.stays)

    async def stays(self) -> Any:
        await asyncio.Event().wait()


def computed(jobs: list[tuple[str, int, int]]) -> list[int]:
    """Which job's step came when, for jobs of clients with so many steps that take so many seconds, one a turn."""
    order, seconds = list[int](), 0

    def steps(job: int, count: int, cost: int) -> Work[None]:
        nonlocal seconds
        for left in range(count, 0, -1):
            order.append(job)
            seconds += cost
            if left > 1:
                yield

    async def all_at_once() -> None:
        work = Worker()
        asked = (work(Client(client), steps(job, count, cost)) for job, (client, count, cost) in enumerate(jobs))
        await asyncio.gather(*asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "TURN_SECONDS", 0)
        patch.setattr(worker, "monotonic", lambda: seconds)
        run_alone(all_at_once())
    return order


def test_clients_take_turns_and_short_requests_go_first() -> None:
    assert computed([("a", 3, 1), ("b", 2, 9), ("c", 1, 1)]) == [0, 1, 2, 0, 1, 0]
    assert computed([("a", 3, 5), ("a", 4, 1)]) == [0, 1, 1, 1, 1, 0, 0]
    assert computed([("a", 3, 5), ("a", 4, 1), ("b", 3, 9)]) == [0, 2, 1, 2, 1, 2, 1, 1, 0, 0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5), st.integers(1, 9)), max_size=8))
def test_no_client_is_served_more_than_one_that_waits(jobs: list[tuple[str, int, int]]) -> None:
    order, left, served = computed(jobs), Counter[str](), Counter[str]()
    for client, count, _ in jobs:
        left[client] += count
    assert len(order) == left.total()
    for client in (jobs[job][0] for job in order):
        served[client] += 1
        left[client] -= 1
        assert all(served[client] <= served[other] + 1 for other in left if left[other])


def test_line_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MOST_WAITING", 4)

    async def statuses(clients: str) -> list[int]:
        def nothing() -> Work[int]:
            yield
            return 200

        work = Worker()
        found = await asyncio.gather(*(work(Client(client), nothing()) for client in clients), return_exceptions=True)
        return [each.status if isinstance(each, Refusal) else each for each in found]  # type: ignore[misc]

    assert run_alone(statuses("aaaaaa")) == [200, 200, 200, 200, 503, 503]
    assert run_alone(statuses("aaaabbba")) == [200, 200, 200, 200, 200, 200, 503, 503]  # half of the line is b's


def test_long_request_holds_nobody_up(port: int, made: list[Any]) -> None:
    path = opened(port)
    with sent(port, post(f"{path}/view", json.dumps({"edits": EDITS}).encode())):
        until(lambda: len(made) > 5)
        for number in range(5):
            status, _ = ask(port, "POST", f"{path}/view", {"edits": [EDITS[-number - 1]]})
            assert status == 200
        assert len(made) < 500  # of 1,000


def test_work_ends_when_its_client_leaves(port: int, made: list[Any]) -> None:
    path = opened(port)

    def resting() -> bool:
        now = len(made)
        time.sleep(0.3)
        return len(made) == now

    for what, others in (("view", {}), ("gif", {}), ("strip", {"object": 1, "part": "shape", "dimension": 0})):
        with sent(port, post(f"{path}/{what}", json.dumps({"edits": EDITS, **others}).encode())):
            until(lambda: len(made) > 5)
        until(resting)
        assert len(made) < 900, what  # of 1,000
        made.clear()


def test_request_has_a_limit_and_the_next_one_goes_on(port: int, made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    path, edits = opened(port), EDITS[:60]
    monkeypatch.setattr(worker, "MOST_SECONDS", 0.2)
    status, answer = ask(port, "POST", f"{path}/view", {"edits": edits})
    assert (status, answer["error"]) == (503, "That takes more than 0.2 seconds and was given up; fewer edits take less.")
    assert len(made) < len(edits)
    monkeypatch.setattr(worker, "MOST_SECONDS", 60.0)
    status, shown = ask(port, "POST", f"{path}/view", {"edits": edits})
    assert status == 200 and len(made) == len(edits)  # each was made once
    whole = ask(port, "POST", f"{path}/view", {"edits": [edits[-1]]})[1]  # all set the same number
    assert (pixels(b64decode(shown["picture"])) == pixels(b64decode(whole["picture"]))).all()


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


def test_request_that_is_computed_for_long_is_not_cut_off(port: int, made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "HEADER_SECONDS", 0.2)
    monkeypatch.setattr(listening, "LOOK_SECONDS", 0.05)
    assert ask(port, "POST", f"{opened(port)}/view", {"edits": EDITS[:60]})[0] == 200


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


# The end.

SLOW = """
import sys, time
from intarsia.commands import main
from intarsia.studio import store
store.replay = lambda *given: time.sleep(60)
sys.exit(main(["serve", "multi_dsprites", "--no-open", "--port", "0"]))
"""


def test_ctrl_c_ends_it_whatever_hangs_on() -> None:
    with subprocess.Popen([sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = int(process.stdout.readline().split("/ ")[0].rpartition(":")[2])
        path = opened(port)
        with (
            sent(port, STALLED),
            sent(port, HALF_A_REQUEST),
            sent(port, post(f"{path}/view", json.dumps({"edits": EDITS}).encode())),
            sent(port, post(f"{path}/view", b'{"edits": []}')),
        ):
            assert ask(port, "GET", "/api/model")[0] == 200
            time.sleep(0.3)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert time.monotonic() - began < 3
            assert process.stderr and process.stderr.read() == ""
