"""Scenes from the TFRecord files of multi_object_datasets (Kabra et al., 2019): one `tf.train.Example` each.

`image` and `mask` are lists of single bytes: the image `h w c`, and for each entity the mask of its visible part, 0 or 255. A
pixel belongs to the entity with the largest mask value there, and to the first one of equals.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intarsia.data.arrays import Contents, Material, Rows
from intarsia.errors import InputError
from intarsia.formats.tfrecord import Record, byte_values, features, records

SIZE = 64  # px
PIXELS = SIZE * SIZE
AT_ONCE = 512  # scenes in memory, 8 MiB
PROBED = 100  # at least as many records are read to estimate the number of all
SPLITS_OF_THE_ORIGINAL: dict[str, int | None] = {"test": 2000, "val": 1000, "train": None}


class Layout(NamedTuple):
    """The layout of a scene in a file.

    colours: 3, or 1 for black and white.
    segments: The segment of each entity, in ascending order.
    entities_first: Whether the masks are `e h w` instead of `h w e`.
    """

    colours: int
    segments: tuple[int, ...]
    splits: dict[str, int | None]
    entities_first: bool = False
    backgrounds: int = 1

    @property
    def sizes(self) -> tuple[int, int]:
        """The numbers of bytes of image and mask, which differ between layouts."""
        return PIXELS * self.colours, PIXELS * len(self.segments)


def material(name: str, layouts: Mapping[str, Layout], file: Path | None) -> Material:
    """The arrays to write for a TFRecord file of dataset `name`. Its layout follows from the sizes in the first record.

    Raises:
        InputError: if there is no such file, or it holds something else.
    """
    if file is None:
        raise InputError(f"{name} is made from a TFRecord file: name it with --from FILE.")
    first = next(records(file), None)
    if first is None:
        raise InputError(f"{file} is empty.")
    sizes = tuple(len(values) for values in _values(file, 0, first))
    layout = next((layout for layout in layouts.values() if layout.sizes == sizes), None)
    if layout is None:
        known = ", ".join(f"{variant} {layout.sizes[0]} and {layout.sizes[1]}" for variant, layout in layouts.items())
        raise InputError(f"{file} is not {name}: image and mask have {sizes[0]} and {sizes[1]} bytes; known are {known}.")
    contents = Contents(name, file.name, SIZE, SIZE, max(layout.segments) + 1, layout.splits, backgrounds=layout.backgrounds)
    return Material(contents, partial(_rows, file, layout), _estimated_count(file))


def _estimated_count(file: Path) -> int:
    """The number of records in a file, estimated unless the file is small."""
    count = read = 0
    for record in records(file):
        if count >= PROBED and record.read > read:  # the bytes read so far are used up: `count` records took `read` bytes
            return round(file.stat().st_size / read * count)
        count, read = count + 1, record.read
    return count


def _rows(file: Path, layout: Layout, start: int) -> Iterator[Rows]:
    """Yield the scenes from a number on. Each piece is read in a thread while the caller writes the one before to the disk."""
    pieces = _pieces(file, layout, start)
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, pieces, None)
        while piece := coming.result():
            coming = reader.submit(next, pieces, None)
            yield piece


def _pieces(file: Path, layout: Layout, start: int) -> Iterator[Rows]:
    numbered, keys = islice(enumerate(records(file)), start, None), _keys(layout)
    count = AT_ONCE
    while count == AT_ONCE:
        images, labels = np.empty((AT_ONCE, PIXELS, layout.colours), np.uint8), np.empty((AT_ONCE, PIXELS), np.uint8)
        count = 0
        for number, record in islice(numbered, AT_ONCE):
            images[count], masks = _scene(file, layout, number, record)
            labels[count] = _labels(masks, keys)
            count += 1
        if count:
            yield {"images": _coloured(images[:count]), "masks": labels[:count].reshape(-1, SIZE, SIZE)}


def _values(file: Path, number: int, record: Record) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The bytes of image and mask in a record."""
    try:
        found = features(record.data)
        return byte_values(found["image"]), byte_values(found["mask"])
    except (ValueError, KeyError) as error:
        missing = f"it has no feature {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{file}: record {number} is no scene: {missing}.") from error


def _scene(file: Path, layout: Layout, number: int, record: Record) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image `hw c` and masks `e hw` of a record, as views of its data."""
    image, mask = _values(file, number, record)
    if (len(image), len(mask)) != layout.sizes:
        raise InputError(
            f"{file}: image and mask of record {number} have {len(image)} and {len(mask)} bytes, not {layout.sizes[0]} and "
            f"{layout.sizes[1]} as in the first."
        )
    masks = mask.reshape(-1, PIXELS) if layout.entities_first else mask.reshape(PIXELS, -1).T
    return image.reshape(PIXELS, layout.colours), masks


def _coloured(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images `n h w 3` from pixels `n hw c`. With one channel, values above 0 are white."""
    if images.shape[2] == 1:
        images = np.repeat(np.where(images > 0, np.uint8(255), np.uint8(0)), 3, axis=2)
    return images.reshape(-1, SIZE, SIZE, 3)


def _keys(layout: Layout) -> NDArray[np.uint8]:
    """Space for the masks as 16-bit numbers, `e hw 2`: the high byte is the mask's value, the low byte ~segment.

    So the largest number at a pixel belongs to the largest mask and, of equals, to the first.
    """
    keys = np.empty((len(layout.segments), PIXELS, 2), np.uint8)
    keys[..., 0] = ~np.array(layout.segments, np.uint8)[:, None]
    return keys


def _labels(masks: NDArray[np.uint8], keys: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The segment `hw` of the entity with the largest mask `e hw`. (NumPy's argmax is slow over so few.)"""
    keys[..., 1] = masks
    return ~keys.view("<u2")[..., 0].max(axis=0).astype(np.uint8)
