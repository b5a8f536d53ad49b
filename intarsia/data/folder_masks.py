"""True masks of own images: what the values in their files mean.

Each distinct value in a mask is a segment: a number of 8 or 16 bits, the index of a palette's colour, or a colour. 0, which is
black, is the background. The numbers need no order: a mask of 0 and 255 has two segments, as one of 0 and 1 has.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from intarsia.data.folder_files import named
from intarsia.errors import InputError
from intarsia.formats.image_file import Stored, read_stored

MOST_SEGMENTS = 64
VOID = -1  # the label of a pixel whose segment is not known
OFTEN_VOID = {255, 65535}  # such pixels' usual values, the highest of 8 and of 16 bits
GREYS = 65536  # a colour that is no grey is a number from here on
OPAQUE = (255, 255)

Labels = NDArray[np.int8]


class Pair(NamedTuple):
    """A mask and its photograph, whose size is its width and height."""

    mask: Path
    photograph: Path
    size: tuple[int, int]


def read_masks(pairs: Iterable[Pair], height: int, width: int, void: int | None) -> Labels:
    """The labels `n h w` in masks, scaled and cropped as their photographs are: 0 the background, -1 void.

    Args:
        pairs: All masks of a folder. Their values are looked at together: 255 may be void in one only.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        void: The value of pixels whose segment is not known; None if there are none. In colours it is that grey.

    Raises:
        InputError: if a mask can't be read, or what its values mean can't be told.
    """
    found, labels = set[int](), list[Labels]()
    for pair in pairs:
        values, numbers = _read(pair, height, width)
        segments = sorted({0, *values} - {void})
        if len(segments) > MOST_SEGMENTS:
            raise _too_many(pair.mask, f"{len(segments)}")
        label = np.searchsorted(segments, numbers).astype(np.int8)
        label[numbers == void] = VOID
        if (label == VOID).all():
            raise InputError(f"{pair.mask} tells no segment: all its pixels are {void}, which is void.")
        found.update(values)
        labels.append(label)
    _check(found - {void}, void)
    return np.stack(labels)


def _check(found: set[int], void: int | None) -> None:
    """Raise `InputError` if it can't be told from the values in all masks what they mean."""
    shown = named([_shown(value) for value in sorted(found)])
    if 0 not in found:
        apart = " apart from void pixels" if void == 0 else ""
        raise InputError(
            f"The masks hold no 0, which is the background{apart}, but {shown}; the background must be 0 or black."
        )
    doubtful = found & OFTEN_VOID
    if doubtful and found - doubtful - {0} and max(found) < GREYS:
        value = max(doubtful)
        raise InputError(
            f"The masks hold {value} beside other numbers, {shown}; if that means that the segment is not known, say --void "
            f"{value}, and if it is a segment, give it another number."
        )


def _read(pair: Pair, height: int, width: int) -> tuple[list[int], NDArray[np.int64]]:
    """The distinct values in a mask, and the value of each pixel once it is scaled and cropped."""
    stored = read_stored(pair.mask)
    if stored.size != pair.size:
        raise InputError(
            f"{pair.mask} has {stored.size[0]}x{stored.size[1]} pixels; a mask has those of its picture, "
            f"{pair.size[0]}x{pair.size[1]} of {pair.photograph}."
        )
    image = _opaque(pair.mask, stored)
    fitted = np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.NEAREST)).astype(np.int64)
    if image.mode == "RGB":
        colours = image.getcolors(MOST_SEGMENTS + 1)  # one may be void
        if colours is None:
            raise _too_many(pair.mask, f"more than {MOST_SEGMENTS + 1}")
        every = np.array([colour for _, colour in colours], np.int64)
        return _numbers(every).tolist(), _numbers(fitted)
    steps = 255 // (2**stored.bits - 1) if stored.bits in (2, 4) else 1  # such a PNG's values are stretched to 8 bits
    return (np.unique(np.asarray(image)).astype(np.int64) // steps).tolist(), fitted // steps


def _opaque(path: Path, stored: Stored) -> Image.Image:
    """A mask's image without its alpha channel; `InputError` for kinds of files whose values are no labels."""
    image = stored.image
    if stored.bits == 16 and not image.mode.startswith("I;16"):
        raise InputError(f"{path} has colours of 16 bits; a mask's colours have 8, its greys 8 or 16.")
    if image.mode in ("LA", "RGBA"):
        if image.getchannel("A").getextrema() != OPAQUE:
            raise InputError(f"{path} has transparent pixels; a mask has none.")
        return image.convert(image.mode[:-1])
    if image.mode in ("1", "L", "P", "RGB") or image.mode.startswith("I;16"):
        return image
    raise InputError(f"{path} is of kind {image.mode}; a mask is a PNG of greys, of a palette, or of RGB colours.")


def _numbers(colours: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number for each colour `... 3`: for a grey its value, for others one from `GREYS` on."""
    red, green, blue = np.moveaxis(colours, -1, 0)
    return np.where((red == green) & (green == blue), red, GREYS + (red << 16 | green << 8 | blue))


def _shown(value: int) -> str:
    return f"{value}" if value < GREYS else f"#{value - GREYS:06x}"


def _too_many(path: Path, count: str) -> InputError:
    return InputError(
        f"{path} holds {count} different values; at most {MOST_SEGMENTS} segments are read, each of one value, so a mask must "
        f"not be smoothed or compressed with loss."
    )
