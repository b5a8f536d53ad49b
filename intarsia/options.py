"""Where and how fast a run trains. Apart from the engine, so that the command line's help needs no PyTorch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Options:
    """Where and how fast a run trains, how often it saves and shows; none of it changes what is computed."""

    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """auto: bf16 autocast where the processor computes in bf16, else float32."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Kind of device."""
    devices: int = 1
    """Devices (on a CPU: processes) per machine; they share each batch."""
    num_nodes: int = 1
    """Machines."""
    threads: int = 0
    """Threads per process; 0 leaves it to PyTorch."""
    save_every: int = 250
    """Steps between checkpoints."""
    show_every: int = 500
    """Steps between validations, each with a picture."""
