"""Going through many scenes, so many at a time, with a progress bar."""

import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import track


def in_parts(count: int, size: int, doing: str) -> Iterator[range]:
    """The indices 0 to `count` - 1 in ranges of up to `size`, with a bar on the terminal that says what is being done."""
    parts = [range(first, min(first + size, count)) for first in range(0, count, size)]
    yield from track(parts, doing, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
