"""Scenes from the TFRecord files of multi_object_datasets (Kabra et al., 2019): one `tf.train.Example` each.

`image` and `mask` are lists of single bytes: `h w c`, and one mask per entity, 0 or 255 (after occlusion). A pixel belongs to
the entity whose mask is the largest there, the first one of equals.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from intarsia.data.arrays import Contents, Material, Rows
from intarsia.data.tfrecord import Record, byte_values, features, records
from intarsia.errors import InputError

__all__ = ["SPLITS_OF_THE_ORIGINAL", "Layout", "material"]

Piece = TypeVar("Piece")

SIZE = 64  # px
AT_ONCE = 512  # scenes in memory, 8 MiB
READ_AHEAD = 16  # records
PROBED = 500  # records from which the number of all is estimated
SPLITS_OF_THE_ORIGINAL: dict[str, int | None] = {"test": 2000, "val": 1000, "train": None}


class Layout(NamedTuple):
    """How a file holds its scenes.

    colours: 3, or 1 for black and white.
    segments: the segment that each entity belongs to.
    entities_first: whether the masks are `e h w` instead of `h w e`.
    """

    colours: int
    segments: tuple[int, ...]
    splits: dict[str, int | None]
    entities_first: bool = False
    backgrounds: int = 1

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of image and mask: what tells the layouts apart."""
        return SIZE * SIZE * self.colours, SIZE * SIZE * len(self.segments)


def material(name: str, layouts: Mapping[str, Layout], file: Path | None) -> Material:
    """What a TFRecord file holds, for dataset `name`; the sizes in its first record tell which of the layouts it has.

    Raises:
        InputError: if there is no such file or it holds something else.
    """
    if file is None:
        raise InputError(f"{name} is made from a TFRecord file: name it with --from FILE.")
    probe = list(islice(records(file), PROBED))
    if not probe:
        raise InputError(f"{file} is empty.")
    sizes = tuple(len(values) for values in _values(file, 0, probe[0]))
    layout = next((layout for layout in layouts.values() if layout.sizes == sizes), None)
    if layout is None:
        known = ", ".join(f"{variant} {layout.sizes[0]} and {layout.sizes[1]}" for variant, layout in layouts.items())
        raise InputError(f"{file} is not {name}: image and mask have {sizes[0]} and {sizes[1]} bytes; known are {known}.")
    contents = Contents(name, file.name, SIZE, SIZE, max(layout.segments) + 1, layout.splits, backgrounds=layout.backgrounds)
    count = len(probe) if len(probe) < PROBED else round(file.stat().st_size / probe[-1].read * PROBED)
    return Material(contents, partial(_rows, file, layout), count)


def _rows(file: Path, layout: Layout, start: int) -> Iterator[Rows]:
    numbered = islice(enumerate(records(file)), start, None)
    pieces = iter(lambda: list(islice(numbered, READ_AHEAD)), [])
    scenes = (_scene(file, layout, *each) for piece in _ahead(pieces) for each in piece)
    while some := list(islice(scenes, AT_ONCE)):
        images, masks = map(np.stack, zip(*some, strict=True))
        yield {"images": images, "masks": masks}


def _ahead(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same pieces, each read while the one before is in use: unpacking gzip lets other threads run."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, pieces, None)
        while piece := coming.result():
            coming = reader.submit(next, pieces, None)
            yield piece


def _values(file: Path, number: int, record: Record) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The bytes of image and mask of a record."""
    try:
        found = features(record.data)
        return byte_values(found["image"]), byte_values(found["mask"])
    except (ValueError, KeyError) as error:
        missing = f"it has no feature {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{file}: record {number} is no scene: {missing}.") from error


def _scene(file: Path, layout: Layout, number: int, record: Record) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image `h w 3` and labels `h w` of a record, copied, so that what else it holds can leave memory."""
    image, mask = _values(file, number, record)
    if (len(image), len(mask)) != layout.sizes:
        raise InputError(
            f"{file}: image and mask of record {number} have {len(image)} and {len(mask)} bytes, not {layout.sizes[0]} and "
            f"{layout.sizes[1]} as in the first."
        )
    image = image.reshape(SIZE, SIZE, layout.colours)
    if layout.colours == 1:  # black and white: whatever is not 0 is white
        image = np.repeat(np.where(image > 0, np.uint8(255), np.uint8(0)), 3, axis=2)
    count = len(layout.segments)
    entities = mask.reshape(count, SIZE, SIZE) if layout.entities_first else mask.reshape(SIZE, SIZE, count).transpose(2, 0, 1)
    return image.copy(), _labels(np.ascontiguousarray(entities), layout.segments)


def _labels(entities: NDArray[np.uint8], segments: tuple[int, ...]) -> NDArray[np.uint8]:
    """The segment `h w` of the entity whose mask `e h w` is the largest; NumPy's argmax is slow over so few."""
    largest = entities[0].copy()
    labels = np.full(largest.shape, segments[0], np.uint8)
    for mask, segment in zip(entities[1:], segments[1:], strict=True):
        larger = mask > largest
        np.copyto(labels, np.uint8(segment), where=larger)
        np.copyto(largest, mask, where=larger)
    return labels
