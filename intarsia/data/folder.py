"""A folder of own images: photographs of any sizes, in it or in folders below; masks are optional.

An image is scaled until it covers the model's size, and cropped to its middle. The split of an image depends only on the
names of the files: in the order of the names' SHA-256, the first tenth (10 to 2,000) is test, the next tenth (10 to 200) is
val, the rest is train. Of several copies of a picture one is used. All images are decoded once and kept in memory.

A split has true segments if every image in it has a mask (`folder_files` says where, `folder_masks` how). A split without them
has one segment, and says which masks are missing.
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

from intarsia.data.folder_files import MASKS, counted, find_masks, find_photographs, named
from intarsia.data.folder_masks import VOID, Labels, Pair, read_masks
from intarsia.data.random import shuffled
from intarsia.data.scenes import SPLITS, Indices, Scenes, SceneSample
from intarsia.errors import InputError
from intarsia.files import readable_name
from intarsia.formats.image_file import KINDS, read_photo
from intarsia.progress import track
from intarsia.shapes import one_hot

NAME = "folder"
FEWEST = 30  # images: ten for each split
TENTH, FEWEST_PER_SPLIT = 10, 10
MOST_TEST, MOST_VAL = 2000, 200


class Photos(NamedTuple):
    """The images of a folder, in the order of the splits.

    paths: Their files.
    sizes: Width and height of each, in pixels.
    pixels: `n h w 3`, at the model's size.
    masks: Each image's file of its mask; None if it has none.
    """

    paths: list[Path]
    sizes: list[tuple[int, int]]
    pixels: NDArray[np.uint8]
    masks: list[Path | None]


def open_scenes(
    seed: int, split: str, data_root: Path | None, size: tuple[int, int] | None = None, void: int | None = None
) -> Scenes:
    """The images of a split, at a size (height, width); 64 x 64 by default. `void` is the value of masks that means none.

    Raises:
        InputError: if there are too few images, or a mask can't be used.
    """
    if data_root is None:
        raise InputError("Own images need their folder: --data-root PATH.")
    folder, (height, width) = data_root.resolve(), size or (64, 64)
    photos = _photos(folder, height, width)
    rows = _split_range(len(photos.paths), split)
    own = slice(rows.start, rows.stop)
    missing = _missing(folder, photos.masks[own], photos.paths[own])
    labels = None if missing else _labels(folder, height, width, void)[own]
    segments = 1 if labels is None else int(labels.max()) + 1
    endless = SPLITS[split] is None
    draw = partial(_draw, photos.pixels[own], labels, segments, seed if endless else None)
    source = f"{readable_name(folder)}, {len(photos.paths):,} images"
    return Scenes(NAME, None if endless else len(rows), height, width, segments, draw, source=source, unlabelled=missing)


def fitted(image: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    """An RGB image, scaled until it just covers a size and cropped to its middle: `h w 3`."""
    return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC))


def _split_range(count: int, split: str) -> range:
    """The images that are in a split, in the order of the splits."""
    tenth = max(FEWEST_PER_SPLIT, count // TENTH)
    test = min(tenth, MOST_TEST)
    val = test + min(tenth, MOST_VAL)
    return {"test": range(test), "val": range(test, val), "train": range(val, count)}[split]


@lru_cache(maxsize=2)
def _photos(folder: Path, height: int, width: int) -> Photos:
    """Read the images of a folder; files that are left out are counted on stderr."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    found, left_out = find_photographs(folder)
    masks = find_masks(folder, found)
    # Those with a mask come first, so that they are the ones that are kept of copies.
    found.sort(key=lambda path: (path not in masks, _place(path, folder)))
    read: dict[bytes, tuple[Path, tuple[int, int], NDArray[np.uint8]]] = {}
    for path in track(found, "Images"):
        name = path.relative_to(folder).as_posix()
        try:
            photo = read_photo(path, least=max(height, width))
        except InputError as error:
            reason = str(error).removeprefix(f"{path} ").rstrip(".")
            left_out.setdefault("can't be used", []).append(f"{name}: {reason}")
            continue
        pixels = fitted(photo.image, height, width)
        content = hashlib.sha256(pixels.tobytes()).digest()
        if content in read:
            same = read[content][0].relative_to(folder).as_posix()
            left_out.setdefault("are copies", []).append(f"{name} of {same}")
        else:
            read[content] = path, photo.size, pixels
    if left_out:
        total = len(read) + sum(map(len, left_out.values()))
        print(f"{folder}: {len(read)} of {total} files are used; of the others, {counted(left_out)}.", file=sys.stderr)
    if len(read) < FEWEST:
        raise InputError(
            f"{folder} holds {len(read)} different images ({KINDS}) that can be read; at least {FEWEST} are needed."
        )
    rows = sorted(read.values(), key=lambda row: _place(row[0], folder))
    paths, sizes, pictures = (list(column) for column in zip(*rows, strict=True))
    return Photos(paths, sizes, np.stack(pictures), [masks.get(path) for path in paths])


def _place(path: Path, folder: Path) -> bytes:
    """What images are sorted by."""
    return hashlib.sha256(os.fsencode(path.relative_to(folder).as_posix())).digest()


def _missing(folder: Path, masks: list[Path | None], paths: list[Path]) -> str:
    """Which images of a split have no mask; empty if all have one."""
    missing = [path.relative_to(folder).as_posix() for path, mask in zip(paths, masks, strict=True) if mask is None]
    if not missing:
        return ""
    return (
        f"{folder / MASKS} lacks {len(missing)} of {len(masks)} masks; that of SUB/NAME.EXT is {MASKS}/SUB/NAME.png. They are "
        f"missing of {named(missing)}."
    )


@lru_cache(maxsize=2)
def _labels(folder: Path, height: int, width: int, void: int | None) -> Labels:
    """The labels `n h w` of all images in the order of the splits; void where there is no mask."""
    photos = _photos(folder, height, width)
    pairs = {
        row: Pair(mask, path, size)
        for row, (path, size, mask) in enumerate(zip(photos.paths, photos.sizes, photos.masks, strict=True))
        if mask is not None
    }
    labels = np.full(photos.pixels.shape[:3], VOID, np.int8)
    labels[list(pairs)] = read_masks(track(list(pairs.values()), "Masks"), height, width, void)
    return labels


def _draw(pixels: NDArray[np.uint8], labels: Labels | None, segments: int, seed: int | None, indices: Indices) -> SceneSample:
    rows = indices if seed is None else shuffled(seed, indices, len(pixels))
    images = torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2).contiguous().float() / 255
    drawn = np.zeros((len(rows), *pixels.shape[1:3]), np.int8) if labels is None else labels[rows]
    return SceneSample(images, one_hot(torch.from_numpy(drawn).long(), segments))
