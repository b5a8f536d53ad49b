"""The one thread that computes, and the queue in front of it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from intarsia.studio.refusals import Refusal

Given = ParamSpec("Given")
Result = TypeVar("Result")

MOST_WAITING = 256  # requests: enough for 200 pages at once, and their memory stays small


class Worker:
    """Runs functions one after the other: one call of a network uses all cores, and the store and its memo need no locks."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "studio")
        self._waiting = 0

    async def __call__(self, function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """The function's result, once it is its turn; `Refusal` if too many are waiting."""
        if self._waiting >= MOST_WAITING:
            raise Refusal(503, f"The server is busy: {self._waiting} requests are waiting. Try again in a moment.")
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._thread.submit(function, *args, **kwargs))
        finally:
            self._waiting -= 1
