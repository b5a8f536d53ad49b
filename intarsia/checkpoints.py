"""How far a stage in training has come: its checkpoint and its log, read and checked."""

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

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


def restore(path: Path, state: dict[str, Any], device: torch.device) -> None:
    """Load a checkpoint into `state`. Modules and optimizers are changed in place, everything else is replaced.

    Raises:
        InputError: if the file is corrupt or was made by other settings.
    """
    loaded = read_checkpoint(path, device)
    try:
        if loaded.keys() != state.keys():
            raise ValueError(f"it holds {sorted(loaded)}, not {sorted(state)}")
        for name, value in loaded.items():
            if isinstance(state[name], Optimizer):
                _load_optimizer(state[name], value)
            elif hasattr(state[name], "load_state_dict"):
                state[name].load_state_dict(value)
            elif isinstance(state[name], Tensor) and _kind(value) != _kind(state[name]):
                raise ValueError(f"its {name} is of another shape or type")
            else:
                state[name] = value
    except Exception as error:
        raise unusable(path, error) from error


def _load_optimizer(wrapped: Optimizer, saved: dict[str, Any]) -> None:
    """Load an optimizer's state; `ValueError` if its next step would not find what it needs."""
    optimizer: Optimizer = getattr(wrapped, "optimizer", wrapped)  # Fabric's wrapper holds it
    kinds = [{name: type(value) for name, value in group.items()} for group in optimizer.param_groups]
    example = torch.zeros(1, device=optimizer.param_groups[0]["params"][0].device, requires_grad=True)
    example.grad = torch.zeros_like(example)
    other = type(optimizer)([example], **optimizer.defaults)  # what an optimizer of its kind keeps is seen after a step
    other.step()
    wrapped.load_state_dict(saved)
    for group, expected in zip(optimizer.param_groups, kinds, strict=True):
        if odd := [name for name, kind in expected.items() if not isinstance(group.get(name), kind)]:
            raise ValueError(f"{odd[0]} of an optimizer is {group.get(odd[0])!r}")
    for parameter, found in optimizer.state.items():
        shapes = {name: parameter.shape if value.dim() else value.shape for name, value in other.state[example].items()}
        if found and {name: getattr(value, "shape", None) for name, value in found.items()} != shapes:
            raise ValueError(f"an optimizer has {', '.join(map(str, found))} of a weight, not {', '.join(shapes)} of its shape")


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


def _kind(value: Any) -> tuple[Any, Any]:
    return getattr(value, "shape", None), getattr(value, "dtype", None)
