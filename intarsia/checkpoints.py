"""How far a stage in training has come: its checkpoint and its log, read and checked."""

import json
import zipfile
from pathlib import Path
from typing import Any

import torch

from intarsia.errors import InputError

CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"
LONGEST = 200  # characters of a reason
MOST = 1e15  # steps, or seconds: beyond, a number is damaged


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The values in a checkpoint by name. All checksums of the file are verified.

    Raises:
        InputError: if the file is damaged, or holds no step and seconds.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch writes the checksums, and does not read them
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} is wrong")
        loaded = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(loaded, dict):
            raise TypeError(f"it holds a {type(loaded).__name__}")
        if odd := _odd(loaded):
            raise ValueError(f"its {odd} is {loaded.get(odd)!r}")
        return loaded
    except Exception as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: Exception) -> InputError:
    """The error that says that a checkpoint can't be used, and the reason in one line."""
    said = " ".join(str(error).split())[:LONGEST] or type(error).__name__
    reason = f"it lacks {said}" if isinstance(error, KeyError) else said.rstrip(".")
    return InputError(f"{path} is corrupt or not a checkpoint of this run: {reason}. Delete it to start over.")


def parse_log(content: bytes) -> list[dict[str, Any] | None]:
    """The records of a log, one a line; None for a line without a step and seconds, such as one that a crash cut short."""
    return [_record(line) for line in content.splitlines()]


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and not _odd(record) else None


def _odd(values: dict[str, Any]) -> str | None:
    """Which of step and seconds is missing, or is not such a number."""
    for name, kind in {"step": int, "seconds": int | float}.items():
        value = values.get(name)
        if isinstance(value, bool) or not isinstance(value, kind) or not 0 <= value <= MOST:
            return name
    return None
