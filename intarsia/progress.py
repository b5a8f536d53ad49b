"""Progress bars: on a terminal and in a notebook, where a person may be looking, and nowhere else."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import rich.progress
from rich.console import Console

Item = TypeVar("Item")


def track(items: Iterable[Item], title: str) -> Iterator[Item]:
    """Yield the items, with a progress bar that goes away at the end."""
    console = Console(stderr=True)
    yield from rich.progress.track(items, title, console=console, transient=True, disable=not is_seen(console))


def is_seen(console: Console) -> bool:
    """Whether the console is a terminal or the output of a notebook's cell."""
    return console.is_terminal or console.is_jupyter
