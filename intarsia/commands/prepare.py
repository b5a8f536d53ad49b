"""`intarsia prepare`: writes a dataset's images into arrays, which training reads by index."""

import shutil
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from intarsia.data import PREPARED
from intarsia.data.arrays import Stored, begun, check_limit, open_arrays, write
from intarsia.errors import InputError


def prepare(dataset: str, source: Path | None, out: Path, limit: int | None = None) -> Stored:
    """Write the images of a dataset into a folder, or resume it. First prints how much disk space that takes.

    Args:
        dataset: One of `PREPARED`.
        source: The published file, for a dataset that is read from one.
        out: The folder.
        limit: Largest number of images; None for all.

    Returns:
        The folder, open for reading.

    Raises:
        InputError: if the source can't be used, the folder holds something else, or the disk is too full.
    """
    if dataset not in PREPARED:
        raise InputError(f"There is nothing to prepare for {dataset!r}; choose one of {', '.join(PREPARED)}.")
    check_limit(limit)
    material = PREPARED[dataset](source)
    contents, (held, complete) = material.contents, begun(out, material.contents)
    count = held if complete else max(held, material.count if limit is None else min(limit, material.count))
    needed = (count - held) * contents.height * contents.width * 4  # three colour bytes and a label byte per pixel
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    room = f"{_size(needed)} for about {count - held:,} images ({_size(free)} are free)"
    if needed > free:
        raise InputError(f"{out} has not enough room: it takes {room}. Give a smaller --limit, or another folder with --out.")
    print(f"{contents.name} from {contents.source} to {out}: {held:,} images are there, writing takes {room}.", flush=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("Images", total=count, completed=held)
        rows = write(out, material, limit, lambda rows: bar.update(task, completed=rows))
        bar.update(task, total=rows)  # the count may have been an estimate
    return open_arrays(out, contents.name)


def _size(count: int) -> str:
    """A number of bytes, in GB or MB."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
