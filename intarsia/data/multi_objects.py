"""Scenes from the TFRecord files of multi_object_datasets (Kabra et al., 2019): one `tf.train.Example` each.

`image` and `mask` are lists of single bytes: `h w c`, and one mask per entity, 0 or 255 (after occlusion). A pixel belongs to
the entity whose mask is the largest there, the first one of equals.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intarsia.data.arrays import Contents, Material, Rows
from intarsia.data.tfrecord import Record, byte_values, features, records
from intarsia.errors import InputError

__all__ = ["SPLITS_OF_THE_ORIGINAL", "Layout", "material"]

SIZE = 64  # px
AT_ONCE = 256  # scenes in memory
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
    while piece := list(islice(numbered, AT_ONCE)):
        images, masks = zip(*(_checked(file, layout, *each) for each in piece), strict=True)
        yield {"images": _images(np.stack(images), layout), "masks": _labels(np.stack(masks), layout)}


def _values(file: Path, number: int, record: Record) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The bytes of image and mask of a record."""
    try:
        found = features(record.data)
        return byte_values(found["image"]), byte_values(found["mask"])
    except (ValueError, KeyError) as error:
        missing = f"it has no feature {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{file}: record {number} is no scene: {missing}.") from error


def _checked(file: Path, layout: Layout, number: int, record: Record) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image, mask = _values(file, number, record)
    if (len(image), len(mask)) != layout.sizes:
        raise InputError(
            f"{file}: image and mask of record {number} have {len(image)} and {len(mask)} bytes, not {layout.sizes[0]} and "
            f"{layout.sizes[1]} as in the first."
        )
    return image, mask


def _images(images: NDArray[np.uint8], layout: Layout) -> NDArray[np.uint8]:
    """`b h w 3`; of black and white, anything but 0 is white."""
    images = images.reshape(-1, SIZE, SIZE, layout.colours)
    return images if layout.colours == 3 else np.repeat(np.where(images > 0, np.uint8(255), np.uint8(0)), 3, axis=3)


def _labels(masks: NDArray[np.uint8], layout: Layout) -> NDArray[np.uint8]:
    """The segment of each pixel, `b h w`."""
    count = len(layout.segments)
    if layout.entities_first:
        entity = masks.reshape(-1, count, SIZE, SIZE).argmax(1)
    else:
        entity = masks.reshape(-1, SIZE, SIZE, count).argmax(3)
    return np.array(layout.segments, np.uint8)[entity]
