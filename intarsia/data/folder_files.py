"""The files of a folder of own images: which are photographs, and which mask belongs to which."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from intarsia.errors import InputError
from intarsia.formats.image_file import ENDINGS

MASKS = "masks"
NAMED = 10  # files in a message

LeftOut = dict[str, list[str]]
"""Names of files by the reason why they are left out."""


def find_photographs(folder: Path) -> tuple[list[Path], LeftOut]:
    """The photographs in a folder and all folders below it, and what else is there.

    Linked folders are followed; none is entered twice. Folders of masks at any depth are left out, and all hidden files and
    folders.
    """
    photographs: list[Path] = []
    left_out: LeftOut = {}
    entered, waiting, linked = set[tuple[int, int]](), [folder], list[Path]()
    while waiting or linked:
        current = waiting.pop() if waiting else linked.pop(0)  # a folder's own path comes before its links
        try:
            status = os.stat(current)
            inside = (
                [] if (status.st_dev, status.st_ino) in entered else sorted(os.scandir(current), key=lambda each: each.name)
            )
        except OSError as error:
            left_out.setdefault("can't be opened", []).append(f"{_name(current, folder)} ({error.strerror})")
            continue
        entered.add((status.st_dev, status.st_ino))
        for entry in inside:
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if entry.name.lower() == MASKS:
                    entered.add((entry.stat().st_dev, entry.stat().st_ino))
                else:
                    (linked if entry.is_symlink() else waiting).append(path)
            elif path.suffix.lower() not in ENDINGS:
                left_out.setdefault("have another ending", []).append(_name(path, folder))
            elif not entry.is_file():
                left_out.setdefault("are no files", []).append(_name(path, folder))
            else:
                photographs.append(path)
    return photographs, left_out


def find_masks(folder: Path, photographs: Sequence[Path]) -> dict[Path, Path]:
    """The masks of those photographs that have one: that of `SUB/NAME.EXT` is `masks/SUB/NAME.png` or `masks/SUB/NAME.EXT.png`.

    Raises:
        InputError: if a mask could belong to two photographs, or two masks to one.
    """
    masks: dict[Path, Path] = {}
    owners: dict[Path, Path] = {}
    for photograph in photographs:
        place = folder / MASKS / photograph.relative_to(folder).parent
        for name in (photograph.stem, photograph.name):
            mask = place / f"{name}.png"
            if not mask.is_file():
                continue
            if mask in owners:
                both = f"{_name(owners[mask], folder)} and {_name(photograph, folder)}"
                raise InputError(
                    f"{mask} could be the mask of {both}; name it after one of them with its ending, as {photograph.name}.png."
                )
            if photograph in masks:
                raise InputError(f"{masks[photograph]} and {mask} could both be the mask of {photograph}; keep one of them.")
            owners[mask], masks[photograph] = photograph, mask
    return masks


def counted(left_out: Mapping[str, Sequence[str]]) -> str:
    """How many files are left out for each reason, and at most ten names: `2 can't be read (a.png, b.png)`."""
    each = max(1, NAMED // max(1, len(left_out)))
    return "; ".join(f"{len(names)} {reason} ({named(names, each)})" for reason, names in left_out.items())


def named(names: Sequence[str], most: int = NAMED) -> str:
    """The first names, and `...` if there are more."""
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
