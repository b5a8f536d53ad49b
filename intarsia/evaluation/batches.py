"""Many scenes in batches, with a progress bar."""

from collections.abc import Iterator

from intarsia.progress import track


def batches(count: int, size: int, title: str) -> Iterator[range]:
    """Yield the indices from 0 to `count` - 1 in ranges of up to `size`, with a progress bar."""
    ranges = [range(first, min(first + size, count)) for first in range(0, count, size)]
    yield from track(ranges, title)
