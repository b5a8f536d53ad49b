"""How a run trains: the options of the command line that belong to no recipe."""

from dataclasses import dataclass
from typing import Literal

from intarsia.errors import InputError

MOST = 1024  # threads, and workers
Precision = Literal["32-true", "bf16-mixed"]
PRECISIONS: dict[Precision, str] = {"32-true": "float32", "bf16-mixed": "bf16"}


@dataclass(frozen=True)
class Options:
    """Where and how fast a run trains, how often it saves and shows: nothing that belongs to a recipe."""

    precision: Literal["auto", Precision] = "auto"
    """auto: float32 or bf16 autocast, whichever trains the recipe's networks faster here; a run keeps it."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Kind of device."""
    devices: int = 1
    """Devices (on a CPU: processes) per machine; they share each batch."""
    num_nodes: int = 1
    """Machines."""
    threads: int = 0
    """Threads per process; 0 leaves it to PyTorch."""
    workers: Literal["auto"] | int = "auto"
    """Processes that draw images ahead, per device; auto: up to 4 on a GPU, none on a CPU."""
    save_every: int = 250
    """Steps between checkpoints."""
    show_every: int = 500
    """Steps between validations, each with a picture."""


def check_options(options: Options) -> None:
    """Raise `InputError` for numbers that no run could use."""
    for name, least in {"devices": 1, "num_nodes": 1, "save_every": 1, "show_every": 1, "threads": 0, "workers": 0}.items():
        if (given := getattr(options, name)) != "auto" and given < least:
            raise InputError(f"--{name.replace('_', '-')} is {given}; it must be at least {least}.")
    for name in ("threads", "workers"):
        if (given := getattr(options, name)) != "auto" and given > MOST:
            raise InputError(f"--{name} is {given}; it must be at most {MOST}.")
