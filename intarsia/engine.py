"""Running a stage: devices, precision, steps that can be stopped and resumed, log and pictures. The rest is Lightning Fabric."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Generator

from intarsia.errors import InputError
from intarsia.files import replacing

CHECKPOINT, LOG, PICTURES = "checkpoint.pt", "log.jsonl", "pictures"


@dataclass(frozen=True)
class Options:
    """Where and how fast a run trains, how often it saves and shows; none of it changes what is computed."""

    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
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


def start_fabric(options: Options) -> Fabric:
    """Fabric for these options, launched: with several devices this starts the other processes."""
    if options.threads:
        torch.set_num_threads(options.threads)
    fabric = Fabric(
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.num_nodes,
        strategy="ddp" if options.devices * options.num_nodes > 1 else "auto",
        precision=_precision(options),
    )
    fabric.launch()
    return fabric


def _precision(options: Options) -> Any:
    """The precision asked for; for auto, what the hardware is fast in."""
    if options.precision != "auto":
        return options.precision
    if options.accelerator in ("auto", "cuda") and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        fast = any(features.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return "bf16-mixed" if fast else "32-true"


class Run:
    """One stage's folder while it trains: last checkpoint, log (JSON lines), pictures.

    Args:
        folder: The stage's folder; made where it doesn't exist, resumed where it holds a checkpoint.
        fabric: As `start_fabric` gives it.
        options: How often to save and show.
        seed: The recipe's; all random draws of a step depend on it, the stage's name and the step alone.
    """

    def __init__(self, folder: Path, fabric: Fabric, options: Options, seed: int) -> None:
        self.folder, self.fabric, self.options, self.seed = folder, fabric, options, seed
        self.state: dict[str, Any] = {}
        self._latest: dict[str, float] = {}
        self._tensorboard = _tensorboard_writer(folder) if fabric.is_global_zero else None

    def steps(self, state: dict[str, Any], total: int, save: Callable[[Path], None]) -> Iterator[int]:
        """Yield each step's number that is left of `total`, from where the folder's checkpoint stopped.

        Args:
            state: Everything the trajectory depends on: modules, optimizers, tensors, numbers. Restored in place from the
                checkpoint; `step` and `seconds` (time spent training) are added to it.
            save: Called with the folder beside every checkpoint, to write what others read.

        Ctrl-C ends the step under way, saves, and raises KeyboardInterrupt; after kill -9 the last checkpoint stands.
        """
        self.state = state
        state |= {"step": 0, "seconds": 0.0}
        self._restore()
        with self._progress(total) as advance, self._interruptible() as interrupted:
            while state["step"] < total:
                started = time.monotonic()
                yield state["step"]
                state["step"] += 1
                state["seconds"] += time.monotonic() - started
                advance(state["step"])
                if state["step"] % self.options.save_every == 0 or state["step"] == total or interrupted():
                    self._checkpoint(save)
                if interrupted():
                    raise KeyboardInterrupt

    def generator(self, *, step: int) -> Generator:
        """The source of a step's random draws: the same on all devices, and after every resumption."""
        key = np.random.SeedSequence([self.seed, *self.folder.name.encode(), step]).generate_state(1, np.uint64)[0]
        return Generator().manual_seed(int(key) >> 1)

    def share(self, batch: int, *, step: int) -> tuple[list[int], slice]:
        """This process's share of a step's batch: scene indices, and the slice of the whole batch they are."""
        size = batch // self.fabric.world_size
        mine = slice(self.fabric.global_rank * size, (self.fabric.global_rank + 1) * size)
        return list(range(step * batch + mine.start, step * batch + mine.stop)), mine

    def due(self, step: int) -> bool:
        """Whether to validate and draw after this step."""
        total_done = step + 1
        return self.fabric.is_global_zero and total_done % self.options.show_every == 0

    def log(self, step: int, **values: Any) -> None:
        """Append a record to the log; numbers also show in the progress bar and, where installed, in TensorBoard."""
        if not self.fabric.is_global_zero:
            return
        record = {"step": step + 1, "seconds": round(self.state["seconds"], 2), **values}
        with (self.folder / LOG).open("a") as log:
            log.write(json.dumps(record) + "\n")
        for name, value in values.items():
            if isinstance(value, float):
                self._latest[name] = value
                if self._tensorboard:
                    self._tensorboard.add_scalar(name, value, step + 1)

    def picture(self, step: int, pixels: np.ndarray) -> Path:
        """Save a picture, uint8 `h w 3`, under the step's number."""
        (self.folder / PICTURES).mkdir(exist_ok=True)
        path = self.folder / PICTURES / f"{step + 1:06d}.png"
        with replacing(path) as temporary:
            Image.fromarray(pixels).save(temporary, format="png")
        return path

    def say(self, text: str) -> None:
        """A line on the terminal, above the progress bar."""
        if self.fabric.is_global_zero:
            Console(stderr=True).print(text, highlight=False, soft_wrap=True)

    def _restore(self) -> None:
        """Load the checkpoint where there is one, and forget the log's lines after it."""
        path = self.folder / CHECKPOINT
        if path.is_file():
            restore(path, self.state, self.fabric)
        if self.fabric.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            log = self.folder / LOG
            lines = log.read_text().splitlines() if log.is_file() else []
            with replacing(log) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in lines if _step_of(line) <= self.state["step"]))
        self.fabric.barrier()

    def _checkpoint(self, save: Callable[[Path], None]) -> None:
        if self.fabric.is_global_zero:
            with replacing(self.folder / CHECKPOINT) as temporary:
                try:
                    torch.save({name: _portable(value) for name, value in self.state.items()}, temporary)
                except RuntimeError as error:  # what PyTorch's writer makes of a full disk
                    raise OSError(str(error).splitlines()[0]) from error
            save(self.folder)
        self.fabric.barrier()

    @contextmanager
    def _interruptible(self) -> Iterator[Callable[[], bool]]:
        """Turn the first Ctrl-C into a flag; the second, or any with several processes, interrupts as usual."""
        asked: list[int] = []
        if self.fabric.world_size > 1:
            yield lambda: False
            return

        def ask(number: int, frame: Any) -> None:
            asked.append(number)
            signal.signal(signal.SIGINT, before)
            self.say("Stopping after this step; Ctrl-C again stops at once, back at the last checkpoint.")

        before = signal.signal(signal.SIGINT, ask)
        try:
            yield lambda: bool(asked)
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def _progress(self, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar with steps/s, the time left and the latest figures; on the first process alone."""
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(), TextColumn("{task.fields[figures]}"),
        )  # fmt: skip
        first = self.state["step"]
        with Progress(*columns, console=Console(stderr=True), disable=not self.fabric.is_global_zero) as bar:
            task = bar.add_task(self.folder.name, total=total, completed=first, rate="", figures="")
            started = time.monotonic()

            def advance(step: int) -> None:
                rate = f"{(step - first) / (time.monotonic() - started):.1f} steps/s"
                figures = " ".join(f"{name} {value:.3f}" for name, value in self._latest.items())
                bar.update(task, completed=step, rate=rate, figures=figures)

            yield advance


def restore(path: Path, state: dict[str, Any], fabric: Fabric) -> None:
    """Load a checkpoint into `state`: modules and optimizers in place, everything else replaced.

    Raises:
        InputError: if the file is corrupt or was made by other settings.
    """
    try:
        loaded = torch.load(path, map_location=fabric.device, weights_only=True)
        if loaded.keys() != state.keys():
            raise ValueError(f"it holds {sorted(loaded)}, not {sorted(state)}")
        for name, value in loaded.items():
            if hasattr(state[name], "load_state_dict"):
                state[name].load_state_dict(value)
            else:
                state[name] = value
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is corrupt or not a checkpoint of this run: {reason}. Delete it to start over.") from error


def finished(folder: Path, total: int) -> bool:
    """Whether a stage's folder holds a run of (at least) so many steps."""
    lines = (folder / LOG).read_text().splitlines() if (folder / LOG).is_file() else []
    return (folder / CHECKPOINT).is_file() and bool(lines) and _step_of(lines[-1]) >= total


def _portable(value: Any) -> Any:
    return value.state_dict() if hasattr(value, "state_dict") else value


def _step_of(line: str) -> int:
    """The step of a log line; a line that a crash cut short counts as later than all."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 2**62


def _tensorboard_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / "tensorboard")
