"""Writing files whole, and folders by one process at a time: a crash, a kill or a full disk leaves the old or the new content.

Unfinished files are locked while they are written. The system takes a lock back when its process ends, however it ends; so an
unfinished file that nobody has locked was left by a killed process. A file system without locks keeps nobody out.
"""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import lock_descriptor

from intarsia.errors import InputError

UNFINISHED = ".unfinished"
HOLDER = f".holder{UNFINISHED}"  # in a folder that `held` holds: by whom
PAGE = 4096  # bytes that show whether there is space


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to. It replaces `path` when the block ends without an error.

    Raises:
        InputError: if the system refuses (no space, no permission), with its reason. `path` is unchanged then.
    """
    try:
        with _locked(path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}"), wait=True) as (temporary, _):
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    except OSError as error:
        raise InputError(f"Can't write {path}: {error.strerror or error}. What was there before is unchanged.") from error


def is_unfinished(path: Path) -> bool:
    """Whether a file is one that `replacing` or `held` removes in the end, unless its process is killed."""
    return path.name.startswith(".") and path.suffix == UNFINISHED


def readable_name(path: Path) -> str:
    """The name of a file or folder, for records; its bytes that are not UTF-8 are shown by number."""
    return os.fsencode(path.name).decode(errors="backslashreplace")


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, if they don't exist, and remove the unfinished files that killed processes left in it.

    Raises:
        InputError: if the system refuses, or takes no files there, with its reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Can't make the folder {folder}: {error.strerror or error}.") from error
    try:
        for path in filter(is_unfinished, list(folder.iterdir())):
            with suppress(OSError), path.open("rb+") as file:
                if lock_descriptor(file.fileno(), blocking=False):
                    path.unlink()
        with _locked(folder / f".{secrets.token_hex(4)}{UNFINISHED}", wait=True) as (_, descriptor):
            os.write(descriptor, bytes(PAGE))
    except OSError as error:
        raise InputError(f"Can't write to the folder {folder}: {error.strerror or error}.") from error


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep all other processes that ask for a folder out of it until the block ends. It is made if it doesn't exist.

    Raises:
        InputError: if another process has it, with its number, its machine and the time since when; or the system refuses.
    """
    was_there, path = folder.exists(), folder / HOLDER
    make_folder(folder)
    with ExitStack() as stack:
        if not was_there:
            stack.callback(_remove_if_empty, folder)
        try:
            _, descriptor = stack.enter_context(_locked(path, wait=False))
            since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode())
        except BlockingIOError:
            holder = path.read_text() if path.is_file() else ""
            raise InputError(f"{folder} is in use by {holder or 'another process'}. Wait for it to end.") from None
        except OSError as error:
            raise InputError(f"Can't write to the folder {folder}: {error.strerror or error}.") from error
        yield


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def _locked(path: Path, wait: bool) -> Iterator[tuple[Path, int]]:
    """Yield the path and the descriptor of an empty file, which is locked, and removed in the end.

    Raises:
        BlockingIOError: if another process has it locked; not when told to wait.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                free = lock_descriptor(descriptor, blocking=wait)
            except OSError:  # the file system knows no locks
                free = True
            if not free:
                raise BlockingIOError
            if os.fstat(descriptor).st_nlink:  # else it was removed before the lock was taken
                os.truncate(descriptor, 0)
                try:
                    yield path, descriptor
                finally:
                    path.unlink(missing_ok=True)
                return
        finally:
            os.close(descriptor)
