"""Image files: the one reader of pictures, of every size and kind, and of the numbers in masks."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION

from intarsia.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF")
KINDS = "PNG, JPEG, WebP, BMP, TIFF or AVIF"
ENDINGS = {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".avif"}
MOST_PIXELS = 80_000_000  # of a file, before it is decompressed

TURNS = {  # by EXIF's number for the orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
FIRST_SIDEWAYS = 5  # of these numbers
BITS = {"L;2": 2, "L;4": 4, "LA;16B": 16, "RGB;16B": 16, "RGBA;16B": 16}  # of a PNG's values, where Pillow gives them 8
IN_8_BITS = ((np.arange(2**16) + 128) // 257).astype(np.uint8)


class Stored(NamedTuple):
    """An image as its file stores it, turned as its EXIF tag says.

    image: In the mode that Pillow gives it. A JPEG may be decoded at a smaller size.
    size: Width and height in pixels, those of the file.
    bits: Of each value in the file.
    """

    image: Image.Image
    size: tuple[int, int]
    bits: int


class Photo(NamedTuple):
    """An image in colour.

    image: RGB with 8 bits, transparent parts on white. A JPEG may be decoded at a smaller size.
    size: Width and height in pixels, those of the file.
    transparent: Whether the file has transparent parts.
    """

    image: Image.Image
    size: tuple[int, int]
    transparent: bool


def read_photo(path: Path, content: bytes | None = None, least: int | None = None, most: int = MOST_PIXELS) -> Photo:
    """Read a picture: grey or coloured, of 1, 8 or 16 bits, with or without a palette or transparent parts, or CMYK.

    Args:
        path: The file; only its name for messages if the content is given.
        content: The file's bytes, if they are not read from the disk.
        least: Pixels that are needed of each side: a larger JPEG may be decoded at a half, a quarter or an eighth of its size.
        most: Pixels that the picture may have.

    Raises:
        InputError: if it can't be read, or has more than `most` pixels.
    """
    stored = read_stored(path, content, least, most)
    try:
        image = _in_8_bits(stored)
        transparent = image.has_transparency_data
        if transparent:
            rgba = _converted(image, "RGBA")
            transparent = int(np.asarray(rgba)[..., 3].min()) < 255
            image = Image.new("RGB", rgba.size, "white")
            image.paste(rgba, mask=rgba)
        return Photo(_converted(image, "RGB"), stored.size, transparent)
    except ValueError as error:
        raise InputError(f"{path} can't be read as an image: {error}.") from error


def read_stored(path: Path, content: bytes | None = None, least: int | None = None, most: int = MOST_PIXELS) -> Stored:
    """Read an image file without converting its values. The arguments and errors are those of `read_photo`."""
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # about damaged tags, which don't matter
            Image.open(path if content is None else BytesIO(content), formats=FORMATS) as file,
        ):
            return _loaded(path, file, least, most)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"There is no image {path}.") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} has far more than {MOST_PIXELS / 1e6:g} million pixels, the most that are read.") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} can't be read as an image: it is no {KINDS} file.") from error
    except Exception as error:  # decoders raise whatever a damaged file makes them stumble over
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"{path} can't be read as an image: {reason}.") from error


def _loaded(path: Path, file: ImageFile.ImageFile, least: int | None, most: int) -> Stored:
    width, height = file.size
    if width * height > most:
        raise InputError(
            f"{path} has {width}x{height} pixels, {width * height / 1e6:.1f} million; at most {most / 1e6:g} million are read."
        )
    bits = _bits(file)
    if least is not None:
        file.draft(None, (2 * least, 2 * least))
    orientation = _orientation(file)
    # Pillow would turn a TIFF by itself as it loads it, and raise if a tag is damaged. It gets no tags: all are turned here.
    file.getexif = Image.Exif  # type: ignore[method-assign]
    file.load()
    image = file.transpose(TURNS[orientation]) if orientation in TURNS else file
    swapped = orientation >= FIRST_SIDEWAYS and file.format != "TIFF"  # Pillow gives a TIFF's size as it is when turned
    return Stored(image, (height, width) if swapped else (width, height), bits)


def _bits(file: ImageFile.ImageFile) -> int:
    """The bits of each value in a file; `ValueError` for values that Pillow does not scale as those of a picture."""
    if file.mode in ("I", "F"):
        raise ValueError("its values have 32 bits or a sign; at most 16 bits without a sign are read")
    if file.mode.startswith("I;16"):
        tags = getattr(file, "tag_v2", {})
        if tags.get(BITSPERSAMPLE, (16,)) != (16,) or tags.get(PHOTOMETRIC_INTERPRETATION, 1) != 1:
            raise ValueError("its greys have 12 bits, or 0 is white; 16 bits are read if 0 is black")
        return 16
    stored_as = file.tile[0].args if file.tile else ""
    return BITS.get(stored_as, 8) if isinstance(stored_as, str) else 8


def _orientation(file: ImageFile.ImageFile) -> int:
    """EXIF's number for the orientation; 1, upright, if it can't be told."""
    try:
        value = file.getexif().get(Base.Orientation, 1)
        number = value[0] if isinstance(value, bytes | tuple) and len(value) == 1 else value
        return int(number) if int(number) in TURNS else 1
    except Exception:  # tags can be of any type, and damaged
        return 1


def _in_8_bits(stored: Stored) -> Image.Image:
    """An image with values of 8 bits. Its colour for transparent parts, if it has one, is scaled too."""
    image, bits = stored.image, stored.bits
    colour = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        grey = Image.fromarray(IN_8_BITS[values])
        if colour is not None:
            grey.putalpha(Image.fromarray(np.where(values == colour, 0, 255).astype(np.uint8)))
        return grey
    if colour is not None and bits != 8 and image.mode != "P":
        image.info["transparency"] = tuple(each >> 8 for each in colour) if bits == 16 else colour * 255 // (2**bits - 1)
    return image


def _converted(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)
