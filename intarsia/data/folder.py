"""A folder of own images: PNG, JPEG or WebP of any sizes, in it or in folders below; masks are optional.

An image is scaled until it covers the model's size, and cropped to its middle. The split of an image depends only on the
names of the files: in the order of the names' SHA-256, the first tenth (10 to 2,000) is test, the next tenth (10 to 200) is
val, the rest is train. All images are decoded once and kept in memory.

A split has true segments if every image `NAME.*` in it has a mask `masks/NAME.png`. A mask is an indexed or grey PNG of the
image's size, whose values are the numbers of the segments, 0 for the background. A split without them has one segment, and says
which masks are missing.
"""

import hashlib
import os
import sys
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track

from intarsia.data.random import shuffled
from intarsia.data.scenes import SPLITS, Indices, Scenes, SceneSample
from intarsia.errors import InputError
from intarsia.files import readable_name
from intarsia.shapes import one_hot

NAME, MASKS = "folder", "masks"
KINDS = {".png", ".jpg", ".jpeg", ".webp"}
FEWEST = 30  # images: ten for each split
TENTH, FEWEST_PER_SPLIT = 10, 10
MOST_TEST, MOST_VAL = 2000, 200
MOST_SEGMENTS = 64
NAMED = 5  # files in a message
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


class Photos(NamedTuple):
    """The readable images of a folder, in the order of the splits: paths, and pixels `n h w 3`."""

    paths: list[Path]
    pixels: NDArray[np.uint8]


def open_scenes(seed: int, split: str, data_root: Path | None, size: tuple[int, int] | None = None) -> Scenes:
    """The images of a split, at a size (height, width); 64 x 64 by default.

    Raises:
        InputError: if there are too few images, or a mask can't be used.
    """
    if data_root is None:
        raise InputError("Own images need their folder: --data-root PATH.")
    height, width = size or (64, 64)
    photos = _photos(data_root.resolve(), height, width)
    rows = _split_range(len(photos.paths), split)
    masks, missing = _masks(data_root.resolve(), photos.paths[rows.start : rows.stop], height, width)
    segments = 1 if masks is None else int(masks.max()) + 1
    endless = SPLITS[split] is None
    pixels = photos.pixels[rows.start : rows.stop]
    draw = partial(_draw, pixels, masks, segments, seed if endless else None)
    source = f"{readable_name(data_root.resolve())}, {len(photos.paths):,} images"
    return Scenes(NAME, None if endless else len(rows), height, width, segments, draw, source=source, unlabelled=missing)


def _split_range(count: int, split: str) -> range:
    """The images that are in a split, in the order of the splits."""
    tenth = max(FEWEST_PER_SPLIT, count // TENTH)
    test = min(tenth, MOST_TEST)
    val = test + min(tenth, MOST_VAL)
    return {"test": range(test), "val": range(test, val), "train": range(val, count)}[split]


@lru_cache(maxsize=2)
def _photos(folder: Path, height: int, width: int) -> Photos:
    """Decode the images of a folder; files that can't be read are named on stderr and left out."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    found = [path for path in folder.rglob("*") if path.suffix.lower() in KINDS and path.relative_to(folder).parts[0] != MASKS]
    found.sort(key=lambda path: hashlib.sha256(os.fsencode(path.relative_to(folder).as_posix())).digest())
    paths, pixels, odd = [], [], []
    for path in track(found, "Images", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()):
        try:
            pixels.append(_fitted(path, height, width))
            paths.append(path)
        except UNREADABLE as error:
            odd.append(f"{path.relative_to(folder)} ({(str(error).splitlines() or [type(error).__name__])[0]})")
    if odd:
        print(f"{folder}: skipped {len(odd)} of {len(found)} files that can't be read: {', '.join(odd)}.", file=sys.stderr)
    if len(paths) < FEWEST:
        raise InputError(
            f"{folder} holds {len(paths)} images (PNG, JPEG, WebP) that can be read; at least {FEWEST} are needed."
        )
    return Photos(paths, np.stack(pixels))


def _fitted(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """An image, turned by its EXIF orientation, with transparent parts on white, scaled and cropped: `h w 3`."""
    with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as file:
        file.draft("RGB", (2 * width, 2 * height))  # a JPEG can be decoded at a smaller size
        image = ImageOps.exif_transpose(file)
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return np.asarray(ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.BICUBIC))


def _masks(folder: Path, paths: list[Path], height: int, width: int) -> tuple[NDArray[np.uint8] | None, str]:
    """The labels `n h w` of some images and an empty text; or None and a text that says which masks are missing."""
    files = [folder / MASKS / f"{path.stem}.png" for path in paths]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        more = ", ..." if len(missing) > NAMED else ""
        return None, (
            f"{folder / MASKS} lacks {len(missing)} of {len(files)} masks, PNG files whose pixels number the segments, 0 the "
            f"background: {', '.join(missing[:NAMED])}{more}."
        )
    return np.stack([_labels(file, path, height, width) for file, path in zip(files, paths, strict=True)]), ""


def _labels(file: Path, path: Path, height: int, width: int) -> NDArray[np.uint8]:
    try:
        with Image.open(file, formats=("PNG",)) as mask, Image.open(path) as image:
            shape = ImageOps.exif_transpose(image).size
            if mask.mode not in ("P", "L", "1") or mask.size != shape:
                raise ValueError(f"it is {mask.mode} of {mask.width}x{mask.height}, not P or L of {shape[0]}x{shape[1]}")
            indices = Image.fromarray(np.asarray(mask).astype(np.uint8))
    except UNREADABLE as error:
        raise InputError(f"{file} can't be used as a mask: {error}.") from error
    labels = np.asarray(ImageOps.fit(indices, (width, height), Image.Resampling.NEAREST))
    if labels.max() >= MOST_SEGMENTS:
        raise InputError(f"{file} holds the value {labels.max()}; segments are numbered from 0 to at most {MOST_SEGMENTS - 1}.")
    return labels


def _draw(
    pixels: NDArray[np.uint8], masks: NDArray[np.uint8] | None, segments: int, seed: int | None, indices: Indices
) -> SceneSample:
    rows = indices if seed is None else shuffled(seed, indices, len(pixels))
    images = torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2).contiguous().float() / 255
    labels = np.zeros((len(rows), *pixels.shape[1:3]), np.uint8) if masks is None else masks[rows]
    return SceneSample(images, one_hot(torch.from_numpy(labels).long(), segments))
