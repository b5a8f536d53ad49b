"""The one thread that computes, and whose turn it is."""

import asyncio
from collections import OrderedDict
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeAlias, TypeVar

from starlette.requests import Request

from intarsia.studio.refusals import Refusal

Result = TypeVar("Result")
Work: TypeAlias = Generator[None, None, Result]
"""What a request needs computed. It yields after each short step, such as an edit or a picture, and returns the result."""

MOST_WAITING = 256  # requests: enough for 200 pages at once, and their memory stays small
MOST_SECONDS = 120.0  # that the work of one request may be computed
TURN_SECONDS = 0.05  # after which the next step may be another request's


@dataclass(eq=False)
class _Job:
    work: Work[Any]
    result: asyncio.Future[Any]
    seconds: float = 0.0
    """Computed so far."""


class Worker:
    """Computes step by step in one thread: one call of a network uses all cores, and the store and its memo need no locks.

    Clients, told apart by their addresses, take turns. Of a client's requests, the one that was computed for the least time
    goes on. So a long request delays a short one by a turn, and a client with many requests delays the others no more than a
    client with one.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "studio")
        self._clients: OrderedDict[str, list[_Job]] = OrderedDict()  # the first one has the next turn
        self._rounds: asyncio.Task[None] | None = None
        self._turn: Future[list[Any]] | None = None

    async def __call__(self, request: Request, work: Work[Result]) -> Result:
        """The result of the work for a request whose body has been read.

        Raises:
            Refusal: if the client leaves (the work then ends after the step under way), if too many requests are waiting and
                the client has its share of them, or if the work takes more than `MOST_SECONDS`.
        """
        client = request.client.host if request.client else ""
        waiting, share = sum(map(len, self._clients.values())), MOST_WAITING // len({*self._clients, client})
        if waiting >= MOST_WAITING and len(self._clients.get(client, ())) >= share:
            raise Refusal(503, f"The server is busy: {waiting} requests are waiting. Try again in a moment.")
        job = _Job(work, asyncio.get_running_loop().create_future())
        self._clients.setdefault(client, []).append(job)
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._go_round())
        left = asyncio.create_task(_departure(request))
        try:
            await asyncio.wait({job.result, left}, return_when=asyncio.FIRST_COMPLETED)
            if not job.result.done():
                raise Refusal(400, "The connection broke off.")
            result: Result = job.result.result()
            return result
        finally:
            left.cancel()
            job.result.cancel()

    def rests_within(self, seconds: float) -> bool:
        """Whether the turn under way, if any, ends within some seconds, which are waited for."""
        return self._turn is None or not wait([self._turn], seconds).not_done

    async def _go_round(self) -> None:
        while self._clients:
            client, jobs = next(iter(self._clients.items()))
            job = min(jobs, key=lambda each: each.seconds)
            if not job.result.done():
                await self._compute(job)
            if job.result.done():
                jobs.remove(job)
            self._clients.move_to_end(client)
            if not jobs:
                del self._clients[client]

    async def _compute(self, job: _Job) -> None:
        """Give a job one turn."""
        began = monotonic()
        self._turn = self._thread.submit(_steps, job.work)
        try:
            found = await asyncio.wrap_future(self._turn)
        except Exception as error:
            if not job.result.done():
                job.result.set_exception(error)
            return
        job.seconds += monotonic() - began
        if job.result.done():  # its client left meanwhile
            return
        if found:
            job.result.set_result(found[0])
        elif job.seconds > MOST_SECONDS:
            said = f"That takes more than {MOST_SECONDS:g} seconds and was given up; fewer edits take less."
            job.result.set_exception(Refusal(503, said))


def _steps(work: Work[Result]) -> list[Result]:
    """Take the next steps of some work, for one turn, and return its result alone in a list; nothing if it is not done."""
    end = monotonic() + TURN_SECONDS
    try:
        next(work)
        while monotonic() < end:
            next(work)
    except StopIteration as stop:
        return [stop.value]
    return []


async def _departure(request: Request) -> None:
    """Return when the client of a request whose body has been read is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
