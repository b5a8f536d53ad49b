"""Writing files whole: a crash, a kill or a full disk leaves the old file or the new one, never half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from intarsia.errors import InputError

UNFINISHED = ".unfinished"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to. It replaces `path` when the block ends without an error.

    Raises:
        InputError: if the system refuses (no space, no permission), with its reason. `path` is unchanged then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        try:
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"Can't write {path}: {error.strerror or error}. What was there before is unchanged.") from error


def is_unfinished(path: Path) -> bool:
    """Whether a file is a temporary one that `replacing` left behind when its process was killed."""
    return path.name.startswith(".") and path.suffix == UNFINISHED


def readable_name(path: Path) -> str:
    """The name of a file or folder, for records; its bytes that are not UTF-8 are shown by number."""
    return os.fsencode(path.name).decode(errors="backslashreplace")


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, if they don't exist.

    Raises:
        InputError: if the system refuses, with its reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Can't make the folder {folder}: {error.strerror or error}.") from error


def check_new(folder: Path) -> None:
    """Raise `InputError` if the path holds anything but an empty folder."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} exists; give a new or empty folder.")
