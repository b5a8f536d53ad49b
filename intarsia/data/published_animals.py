"""The published pictures of Flying Animals: `foregrounds/N.png`, `masks/N.png`, `backgrounds/N.png`.

As in the original, picture 0 of each folder is blank and not used, and some pictures are not used in test scenes. The file
`removed_from_test.json` beside the three folders names those: `{"backgrounds": [N, ...], "foregrounds": [N, ...]}`.
"""

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from intarsia.data.arrays import Material
from intarsia.data.cutouts import Bytes, Pictures, material_of
from intarsia.data.flying_animals import HEIGHT, WIDTH
from intarsia.errors import InputError
from intarsia.files import readable_name

NAME = "flying_animals"
FOLDERS = ("foregrounds", "masks", "backgrounds")
REMOVED = "removed_from_test.json"


def material(source: Path | None) -> Material:
    """The arrays to write for the original's zip file, or for a folder with its content.

    Raises:
        InputError: if there is no such file or folder, or a picture in it is missing or wrong.
    """
    if source is None:
        raise InputError(f"{NAME} is made from the original's pictures: name the zip file, or its folder, with --from FILE.")
    root = _root(source)
    numbers = {folder: _numbers(root / folder) for folder in FOLDERS}
    if missing := sorted(set(numbers["foregrounds"]) ^ set(numbers["masks"])):
        raise InputError(f"{source} should hold a mask for every foreground, but only one of the two for {missing[:5]}.")
    removed = _removed(root, numbers)
    animals, masks, backgrounds = (
        _read(root / folder, numbers[folder], mode) for folder, mode in zip(FOLDERS, ("RGB", "L", "RGB"), strict=True)
    )
    if blank := [n for n, mask in zip(numbers["masks"], masks, strict=True) if not mask.any()]:
        raise InputError(f"{source} has masks with no animal: {blank[:5]}.")
    no_animal = np.zeros((len(backgrounds), HEIGHT, WIDTH), np.uint8)
    return material_of(
        NAME,
        readable_name(source) + (" less what is removed from tests" if any(removed.values()) else ""),
        Pictures(backgrounds, no_animal, _uses(numbers["backgrounds"], removed["backgrounds"])),
        Pictures(animals, (masks > 0).astype(np.uint8), _uses(numbers["foregrounds"], removed["foregrounds"])),
        {},
    )


def _root(source: Path) -> Any:
    """The folder that holds the three folders. A folder in a zip file is read like a real one."""
    if source.is_dir():
        top: Any = source
    elif zipfile.is_zipfile(source):
        top = zipfile.Path(source)
    else:
        raise InputError(f"{source} is neither a folder nor a zip file with {', '.join(FOLDERS)} in it.")
    for folder in (top, *(inner for inner in top.iterdir() if inner.is_dir())):
        if all((folder / name).is_dir() for name in FOLDERS):
            return folder
    raise InputError(f"{source} holds no folders {', '.join(FOLDERS)}.")


def _numbers(folder: Any) -> list[int]:
    names = [path.name.removesuffix(".png") for path in folder.iterdir() if path.name.endswith(".png")]
    numbers = sorted(int(name) for name in names if name.isdecimal() and int(name) > 0)
    if not numbers:
        raise InputError(f"{folder} holds no pictures 1.png, 2.png and so on.")
    return numbers


def _removed(root: Any, numbers: dict[str, list[int]]) -> dict[str, list[int]]:
    path = root / REMOVED
    kinds = ("backgrounds", "foregrounds")
    try:
        lists = json.loads(path.read_text()) if path.is_file() else {}
        removed = {kind: [int(number) for number in lists.get(kind, [])] for kind in kinds}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f'{path} should hold {{"backgrounds": [1, ...], "foregrounds": [1, ...]}}: {error}.') from error
    for kind in kinds:
        if not set(numbers[kind]) - set(removed[kind]):
            raise InputError(f"{path} leaves no {kind} for the tests.")
    return removed


def _uses(numbers: list[int], removed: Iterable[int]) -> dict[str, list[int]]:
    gone = set(removed)
    places = enumerate(numbers)
    split: dict[str, list[int]] = {"train": [], "both": [], "test": []}
    for place, number in places:
        split["train" if number in gone else "both"].append(place)
    return split


def _read(folder: Any, numbers: list[int], mode: str) -> Bytes:
    pictures = []
    for number in numbers:
        path = folder / f"{number}.png"
        try:
            with path.open("rb") as file, Image.open(file) as picture:
                pixels = np.asarray(picture.convert(mode))
        except (OSError, UnidentifiedImageError) as error:
            raise InputError(f"{path} can't be read: {error}.") from error
        if pixels.shape[:2] != (HEIGHT, WIDTH):
            raise InputError(f"{path} is {pixels.shape[1]}x{pixels.shape[0]}; {WIDTH}x{HEIGHT} is expected.")
        pictures.append(pixels)
    return np.stack(pictures)
