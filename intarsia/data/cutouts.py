"""Animals and backgrounds in a folder of arrays, and scenes composed of them.

A row is a picture in `images`; its row of `masks` is 1 where the animal is. Backgrounds come first. Of the animals and of the
backgrounds, some are only for training, some for training and tests, and some only for tests. Validation scenes use the
pictures for training.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intarsia.data.arrays import Contents, Material, Rows, Stored, open_arrays
from intarsia.data.flying_animals import HEIGHT, MOST, WIDTH, composed_scenes, cut_out, reduced
from intarsia.data.scenes import Scenes
from intarsia.errors import InputError

USES = ("train", "both", "test")  # in this order, the rows for training, and those for tests, are contiguous
AT_ONCE = 64  # pictures

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """Pictures of animals, or of backgrounds, and what they are for.

    images: `n 192 256 3`.
    masks: `n 192 256`, 1 where the animal is; 0 everywhere for a background.
    uses: The indices of the pictures for `train`, `both` and `test`.
    """

    images: Bytes
    masks: Bytes
    uses: Mapping[str, list[int]]


def material_of(name: str, source: str, backgrounds: Pictures, animals: Pictures, texts: Mapping[str, str]) -> Material:
    """The arrays to write for some pictures, and the texts (licences) to write beside them."""
    images = np.concatenate([kind.images[kind.uses[use]] for kind in (backgrounds, animals) for use in USES])
    masks = np.concatenate([kind.masks[kind.uses[use]] for kind in (backgrounds, animals) for use in USES])
    splits: dict[str, int | None] = {
        f"{word} {use}": len(kind.uses[use])
        for word, kind in (("background", backgrounds), ("animal", animals))
        for use in USES
    }
    contents = Contents(name, source, HEIGHT, WIDTH, MOST + 1, splits)
    return Material(contents, partial(rows_from, {"images": images, "masks": masks}), len(images), texts)


def rows_from(rows: Rows, start: int) -> Iterator[Rows]:
    """Yield all rows from a given number on, in pieces."""
    for first in range(start, len(rows["images"]), AT_ONCE):
        yield {name: part[first : first + AT_ONCE] for name, part in rows.items()}


def open_pictures(
    name: str, data_root: Path | None, size: tuple[int, int] | None, splits: int
) -> tuple[Stored, int, list[int]]:
    """The pictures in a prepared folder, the factor by which scenes of a size reduce them, and how many each split has.

    Raises:
        InputError: if there is no such folder, it is not complete, or there is no such factor.
    """
    if data_root is None:
        raise InputError(f"{name} is composed of pictures from files: `intarsia prepare {name}`, then --data-root FOLDER.")
    stored = open_arrays(data_root, name)
    factor = reduction(name, size)
    counts = [count or 0 for count in stored.contents.splits.values()]
    if len(counts) != splits or stored.rows != sum(counts):
        raise InputError(f"{data_root} holds {stored.rows} pictures of {sum(counts)}: prepare it again, without --limit.")
    return stored, factor, counts


def open_scenes(name: str, seed: int, split: str, data_root: Path | None, size: tuple[int, int] | None = None) -> Scenes:
    """The scenes of a split, composed of the pictures in a prepared folder, at 1/n of their size for an integer n.

    Raises:
        InputError: if there is no such folder, it is not complete, or there is no such n for the size.
    """
    stored, factor, counts = open_pictures(name, data_root, size, 2 * len(USES))
    first = 1 if split == "test" else 0  # train and both, or both and test
    starts = np.cumsum([0, *counts])
    backgrounds, animals = (
        _reduced(stored, slice(starts[kind + first], starts[kind + first + 2]), factor) for kind in (0, len(USES))
    )
    return composed_scenes(name, seed, split, backgrounds[0], cut_out(*animals), stored.contents.source)


def reduction(name: str, size: tuple[int, int] | None) -> int:
    """The n for which scenes of a size (height, width) are 1/n of 192 x 256; `InputError` if there is none."""
    height, width = size or (HEIGHT, WIDTH)
    factor = max(1, HEIGHT // height)
    if (height * factor, width * factor) != (HEIGHT, WIDTH):
        raise InputError(f"{name} has scenes of {HEIGHT} x {WIDTH} pixels or a whole fraction of it, not {height} x {width}.")
    return factor


def _reduced(stored: Stored, rows: slice, factor: int) -> tuple[Bytes, Bytes]:
    return reduced(stored.arrays["images"][rows], 255 * stored.arrays["masks"][rows], factor)
