"""Writing files so that a crash, a kill or a full disk leaves the old one or the new one, never half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from intarsia.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it takes the place of `path` once the block ends without an error.

    Raises:
        InputError: when the system refuses (no space, no permission), with its reason; `path` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"Can't write {path}: {error.strerror or error}. What was there before is unchanged.") from error
    finally:
        temporary.unlink(missing_ok=True)
