"""Many scenes in batches, with a progress bar."""

import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import track


def batches(count: int, size: int, title: str) -> Iterator[range]:
    """Yield the indices from 0 to `count` - 1 in ranges of up to `size`, with a progress bar if stderr is a terminal."""
    ranges = [range(first, min(first + size, count)) for first in range(0, count, size)]
    yield from track(ranges, title, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
