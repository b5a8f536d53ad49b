"""The one thread that computes, and the line in front of it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from intarsia.studio.refusals import Refusal

__all__ = ["Worker"]

Given = ParamSpec("Given")
Result = TypeVar("Result")

MOST_WAITING = 256  # requests: 200 pages are served, and what waits stays small


class Worker:
    """Runs functions one after the other: the networks use all cores for one, and what they keep needs no locks."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "studio")
        self._waiting = 0

    async def __call__(self, function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """What the function returns, once it is its turn; `Refusal` when too many wait."""
        if self._waiting >= MOST_WAITING:
            raise Refusal(503, f"The server is busy: {self._waiting} requests are waiting. Try again in a moment.")
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._thread.submit(function, *args, **kwargs))
        finally:
            self._waiting -= 1
