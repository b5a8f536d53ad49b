"""Arrays in a folder: written in pieces, so that an interruption costs little, and read by index, without loading them.

A folder holds `dataset.json` (`Contents`, the number of rows, and whether they are complete), and for each array a file
`NAME.npy`, uint8, with one row per scene. Scenes have the arrays `images`, `N h w 3`, and `masks`, `N h w`: the number of each
pixel's segment, 0 for the background.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Interval
from numpy.lib import format as npy
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from intarsia.data.random import shuffled
from intarsia.data.scenes import SPLITS, Indices, Scenes, SceneSample
from intarsia.errors import InputError, one_line
from intarsia.files import held, replacing
from intarsia.shapes import one_hot

CONTENTS = "dataset.json"
FORMAT = 1
KINDS = {"images": 3, "masks": None}  # arrays of scenes: values of a pixel
HEADER = 128  # bytes before the first row; NumPy leaves space for a larger number of rows

Rows = dict[str, NDArray[np.uint8]]
"""Consecutive rows `n ...` of each array by its name."""


Side = Annotated[int, Interval(ge=1, le=2**16)]
Number = Annotated[int, Interval(ge=0, le=2**40)]


@dataclass(frozen=True)
class Contents:
    """A description of a folder of arrays; height and width are in pixels.

    name: The dataset.
    source: The name of the file that the arrays were made from, or of the program. It goes into scores, so it has no path.
    segments: The number of segments in the masks, background included.
    splits: The number of rows of each split, in the order of the rows; None for all that follow.
    backgrounds: How many segments, from the first on, are background.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid", "strict": True}

    name: str
    source: str
    height: Side
    width: Side
    segments: Annotated[int, Interval(ge=1, le=256)]
    splits: dict[str, Number | None]
    backgrounds: Annotated[int, Interval(ge=1, le=256)] = 1


@dataclass(frozen=True)
class Record(Contents):
    """What `dataset.json` holds."""

    format: Literal[1] = field(kw_only=True)
    rows: Number = field(kw_only=True)
    complete: bool = field(kw_only=True)

    @property
    def contents(self) -> Contents:
        """The part of it that does not change while rows are written."""
        return Contents(**{item.name: getattr(self, item.name) for item in dataclasses.fields(Contents)})


@dataclass(frozen=True)
class Material:
    """Rows to be written into a folder of arrays.

    rows_from: Yields all rows from a given number on, in pieces that fit in memory.
    count: The number of rows; an estimate if it is not known before they are read.
    texts: Text files to write beside the arrays, by name, such as licences.
    """

    contents: Contents
    rows_from: Callable[[int], Iterator[Rows]]
    count: int
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stored:
    """A folder of arrays, open for reading. The arrays are memory-mapped: rows are read when they are used."""

    folder: Path
    contents: Contents
    rows: int
    arrays: Rows

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the folder's path instead of the arrays."""
        return open_arrays, (self.folder, self.contents.name)


def write(
    folder: Path, material: Material, limit: int | None = None, advance: Callable[[int], None] = lambda rows: None
) -> int:
    """Write arrays into a folder, or continue an interrupted call with the same contents.

    Args:
        folder: A new or empty folder, or that of the interrupted call.
        material: The rows to write.
        limit: The largest number of rows; None for all. A later call with a higher limit adds rows.
        advance: Called with the number of rows in the folder, at the start and after each piece.

    Returns:
        The number of rows in the folder.

    Raises:
        InputError: if the folder holds something else, another process writes to it, or writing fails. Rows that were written
            before stay.
    """
    check_limit(limit)
    with held(folder):
        return _write(folder, material, limit, advance)


def _write(folder: Path, material: Material, limit: int | None, advance: Callable[[int], None]) -> int:
    """Write arrays into a folder that no other process writes to."""
    rows, complete = begun(folder, material.contents)
    advance(rows)
    if complete or (limit is not None and rows >= limit):
        return rows
    for piece in material.rows_from(rows):
        piece = {name: part[: None if limit is None else limit - rows] for name, part in piece.items()}
        for name, part in piece.items():
            _append(folder / f"{name}.npy", part, rows)
        rows += len(next(iter(piece.values())))
        _record(folder, material.contents, rows, complete=False)
        advance(rows)
        if rows == limit:
            return rows
    for name, text in material.texts.items():
        with replacing(folder / name) as path:
            path.write_text(text)
    _record(folder, material.contents, rows, complete=True)
    return rows


def check_limit(limit: int | None) -> None:
    """Raise `InputError` if a limit is below 1."""
    if limit is not None and limit < 1:
        raise InputError(f"The limit is {limit}; it must be at least 1.")


def begun(folder: Path, contents: Contents) -> tuple[int, bool]:
    """The number of rows in a folder, and whether they are complete; `InputError` if it holds something else."""
    if not (folder / CONTENTS).is_file():
        others = sorted(path.name for path in folder.glob("*") if path.suffix != ".npy" and not path.name.startswith("."))
        if others:
            raise InputError(f"{folder} is no folder of arrays, but holds {others[0]}; name a new or an empty one.")
        return 0, False
    held = _read(folder)
    if held.contents != contents:
        raise InputError(f"{folder} holds {held.name} from {held.source}; name another folder for {contents.source}.")
    return held.rows, held.complete


def _record(folder: Path, contents: Contents, rows: int, complete: bool) -> None:
    """Write the number of rows. This comes after the rows, so that the number is never too high."""
    record = {"format": FORMAT, **dataclasses.asdict(contents), "rows": rows, "complete": complete}
    with replacing(folder / CONTENTS) as path:
        path.write_text(json.dumps(record, indent=2) + "\n")


def _append(path: Path, part: NDArray[np.uint8], rows: int) -> None:
    """Write rows after the first `rows` rows of a file. What follows them in the file is left from an interrupted call."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (rows + len(part), *part.shape[1:])}
    try:
        with path.open("r+b" if path.exists() else "w+b") as file:
            npy.write_array_header_1_0(file, header)
            file.seek(HEADER + rows * part[0].size)
            file.truncate()
            file.write(np.ascontiguousarray(part).data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"Can't write {path}: {error.strerror or error}. The same command resumes.") from error


def open_arrays(folder: Path, name: str) -> Stored:
    """Open a folder with the arrays of dataset `name`.

    Raises:
        InputError: if it holds no arrays or those of another dataset, or a file is damaged.
    """
    if not (folder / CONTENTS).is_file():
        raise InputError(f"{folder} holds no {CONTENTS}: it was not written by `intarsia prepare {name}`.")
    record = _read(folder)
    if record.name != name:
        raise InputError(f"{folder} holds {record.name}, not {name}.")
    arrays = {path.stem: _mapped(path, record) for path in sorted(folder.glob("*.npy"))}
    for kind, values in KINDS.items():
        shape = (record.height, record.width, *([values] if values else []))
        if kind not in arrays or arrays[kind].shape[1:] != shape:
            found = "x".join(map(str, arrays[kind].shape[1:])) if kind in arrays else "missing"
            raise InputError(f"{folder / kind}.npy is {found}; a row should be {'x'.join(map(str, shape))}. Prepare it again.")
    return Stored(folder, record.contents, record.rows, arrays)


def _mapped(path: Path, record: Record) -> NDArray[np.uint8]:
    try:
        array = np.load(path, mmap_mode="r")
        kind, shape = array.dtype, array.shape
    except Exception as error:  # NumPy reads the header as Python: a damaged one raises almost anything
        raise InputError(f"{path} is damaged: {error or type(error).__name__}. Prepare the folder again.") from error
    if kind != np.uint8 or not shape:
        raise InputError(f"{path} is damaged: it should hold rows of uint8. Prepare the folder again.")
    if len(array) < record.rows:
        raise InputError(f"{path} holds {len(array)} rows, but should hold {record.rows}. Prepare the folder again.")
    return array


def _read(folder: Path) -> Record:
    """What `dataset.json` holds."""
    path = folder / CONTENTS
    try:
        record: Record = TypeAdapter(Record).validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from error
    except ValidationError as error:
        raise InputError(f"{path} does not describe a folder of arrays: {one_line(error)} Prepare the folder again.") from error
    return record


def split_range(stored: Stored, split: str) -> range:
    """The rows of a split.

    Raises:
        InputError: if it has none.
    """
    first = 0
    for name, count in stored.contents.splits.items():
        following = stored.rows if count is None else min(first + count, stored.rows)
        if name == split and following > first:
            return range(first, following)
        first = following
    rule = ", ".join(f"{name} {'the rest' if count is None else count}" for name, count in stored.contents.splits.items())
    raise InputError(
        f"{stored.contents.name} from {stored.contents.source} has no scenes for {split}: {stored.rows} scenes in all ({rule})."
    )


def stored_scenes(folder: Path, name: str, seed: int, split: str) -> Scenes:
    """The scenes of a split of a folder with `images` and `masks`.

    Train is endless: it repeats its scenes in ever new orders, which depend on the seed. The other splits keep the order of the
    file, whatever the seed.
    """
    stored = open_arrays(folder, name)
    rows = split_range(stored, split)
    contents = stored.contents
    endless = SPLITS[split] is None
    draw = partial(_draw, stored, rows, seed if endless else None)
    return Scenes(
        name,
        None if endless else len(rows),
        contents.height,
        contents.width,
        contents.segments,
        draw,
        source=f"{contents.source}, {stored.rows:,} scenes",
        backgrounds=contents.backgrounds,
    )


def _draw(stored: Stored, rows: range, seed: int | None, indices: Indices) -> SceneSample:
    drawn = rows.start + (indices if seed is None else shuffled(seed, indices, len(rows)))
    images, masks = (torch.from_numpy(stored.arrays[name][drawn]) for name in ("images", "masks"))
    if len(masks) and (most := int(masks.max())) >= stored.contents.segments:
        row, label = int(drawn[int((masks == most).flatten(1).any(1).nonzero()[0])]), f"a pixel of segment {most}"
        allowed = f"those are 0 to {stored.contents.segments - 1}"
        raise InputError(f"{stored.folder / 'masks.npy'} is damaged: row {row} has {label}; {allowed}. Prepare it again.")
    return SceneSample(images.permute(0, 3, 1, 2).contiguous().float() / 255, one_hot(masks.long(), stored.contents.segments))
