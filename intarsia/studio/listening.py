"""uvicorn, with deadlines: for the headers of requests, and for its own end."""

import asyncio
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 500  # half of the files that a process may usually open
HEADER_SECONDS = 10.0  # in which the headers of a request must arrive, and some of an answer must be taken
LOOK_SECONDS = 1.0  # between looks at a connection's deadline


class Connection(H11Protocol):
    """A connection that is cut if no request arrives in time, or if it has waited for one the longest when there are too many.

    uvicorn has a deadline for connections on which nothing arrives after an answer, but none for half a request.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Start the clock of a new connection; drop one that has been idle longest if there are too many."""
        super().connection_made(transport)
        self._idle_since, self._untaken = self.loop.time(), 0
        self._look()
        alive: list[Any] = [each for each in self.connections if not each.transport.is_closing()]
        if len(alive) > MOST_CONNECTIONS:
            idle = [each for each in alive if not each._answering]
            min(idle, key=lambda each: each._idle_since, default=self).transport.abort()

    @property
    def _answering(self) -> bool:
        """Whether a request is being answered. `uploads` has a deadline for its body."""
        return self.cycle is not None and not self.cycle.response_complete

    def _look(self) -> None:
        now, untaken = self.loop.time(), self.transport.get_write_buffer_size()
        if self._answering or untaken < self._untaken:
            self._idle_since = now
        self._untaken = untaken
        if now - self._idle_since >= HEADER_SECONDS:
            self.transport.abort()
        elif self in self.connections:
            self.loop.call_later(LOOK_SECONDS, self._look)


class Server(uvicorn.Server):
    """uvicorn for an application. When it has to stop, it closes all connections and drops their requests."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app, http=Connection, ws="none", lifespan="off", log_level="warning", timeout_graceful_shutdown=1
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening and answering."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # now they are gone
        await super().shutdown(sockets)
