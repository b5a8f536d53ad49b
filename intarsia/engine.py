"""Running a stage on Lightning Fabric: devices, precision, steps that can be stopped and resumed, log, pictures."""

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from torch import Generator, Tensor
from torch.optim import Optimizer

from intarsia.checkpoints import CHECKPOINT, LOG, parse_log, read_checkpoint, unusable
from intarsia.errors import InputError
from intarsia.files import make_folder, replacing
from intarsia.recipes.options import Options

PICTURES = "pictures"
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")  # by which launchers number processes and machines
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def start_fabric(options: Options) -> Fabric:
    """Lightning Fabric for these options, in float32 if the precision is auto. With several devices this starts the others.

    It may be called again in the same processes.

    Raises:
        InputError: if there are no such devices.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        fabric = Fabric(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.num_nodes,
            strategy="ddp_find_unused_parameters_true" if options.devices * options.num_nodes > 1 else "auto",
            precision="32-true" if options.precision == "auto" else options.precision,
        )
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"Can't train on {options.devices} x {options.accelerator!r}: {error}") from error
    fabric.launch()
    return fabric


def is_first_process() -> bool:
    """Whether this is the first process of a training, also before Fabric has started the others."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


def descend(fabric: Fabric, loss: Tensor, *optimizers: Optimizer, max_norm: float = 0.0) -> None:
    """Take one step of each optimizer down a loss; with a norm, each one's gradient is clipped to it."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    fabric.backward(loss)
    for optimizer in optimizers if max_norm else ():
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], max_norm)
    for optimizer in optimizers:
        optimizer.step()


class Run:
    """The folder of a stage in training: last checkpoint, log (JSON lines), pictures.

    Args:
        folder: The stage's folder. It is made if it doesn't exist, and resumed if it holds a checkpoint.
        fabric: From `start_fabric`.
        options: How often to save and show.
        seed: The recipe's seed. The random draws of a step depend on it, the stage's name and the step alone.
    """

    def __init__(self, folder: Path, fabric: Fabric, options: Options, seed: int) -> None:
        self.folder, self.fabric, self.options, self.seed = folder, fabric, options, seed
        self.state: dict[str, Any] = {}
        self._total = 0
        self._latest: dict[str, float] = {}
        self._tensorboard = _tensorboard_writer(folder) if fabric.is_global_zero else None

    def steps(self, state: dict[str, Any], total: int, save: Callable[[Path], None]) -> Iterator[int]:
        """Yield the numbers of the remaining steps, from where the folder's checkpoint stopped.

        Ctrl-C, SIGTERM and SIGHUP, to any of the processes, end the current step, save, and raise KeyboardInterrupt. After
        kill -9 the last checkpoint stands.

        Args:
            state: Everything that training depends on: modules, optimizers, tensors, numbers. A checkpoint is loaded into it;
                `step` and `seconds` (time spent training) are added to it.
            total: Steps of a complete run.
            save: Called with the folder before every checkpoint. It writes what others read.
        """
        self.state, self._total = state, total
        state |= {"step": 0, "seconds": 0.0}
        self._restore()
        with self._progress(total) as advance, self._stoppable() as stopped:
            while state["step"] < total:
                started = time.monotonic()
                yield state["step"]
                state["step"] += 1
                state["seconds"] += time.monotonic() - started
                advance(state["step"])
                stop = self._any_process(stopped())
                if state["step"] % self.options.save_every == 0 or state["step"] == total or stop:
                    self._checkpoint(save)
                if stop:
                    raise KeyboardInterrupt

    def rng(self, *, step: int) -> Generator:
        """The source of a step's random draws: the same on all devices, and after every resumption."""
        key = np.random.SeedSequence([self.seed, *self.folder.name.encode(), step]).generate_state(1, np.uint64)[0]
        return Generator().manual_seed(int(key) >> 1)

    def shard(self, batch: int, *, step: int) -> tuple[list[int], slice]:
        """The part of a step's batch that is this process's: scene indices, and their slice of the whole batch."""
        size = batch // self.fabric.world_size
        mine = slice(self.fabric.global_rank * size, (self.fabric.global_rank + 1) * size)
        return list(range(step * batch + mine.start, step * batch + mine.stop)), mine

    def due(self, step: int) -> bool:
        """Whether to validate after this step: every `show_every` steps and after the last one, on the first process."""
        return self.fabric.is_global_zero and ((step + 1) % self.options.show_every == 0 or step + 1 == self._total)

    def log(self, step: int, **values: Any) -> None:
        """Append a record to the log. Numbers also go to the progress bar and to TensorBoard, if it is installed.

        Every process has to call it. Tensors, such as losses, are means over a process's part of the batch; their mean over all
        processes is logged. Of everything else the first process's value is logged.

        Raises:
            InputError: for a number that is not finite, before anything is saved: the settings broke the training.
        """
        values = {
            name: self.mean_over_processes(value) if isinstance(value, Tensor) else value for name, value in values.items()
        }
        broken = [name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
        if broken:
            raise InputError(
                f"{broken[0]} is {values[broken[0]]} at step {step + 1} of {self.folder.name}: training broke down. The last "
                "checkpoint stands; try a lower learning rate."
            )
        if not self.fabric.is_global_zero:
            return
        record = {"step": step + 1, "seconds": round(self.state["seconds"], 2), **values}
        try:
            with (self.folder / LOG).open("a") as log:
                log.write(json.dumps(record) + "\n")
        except OSError as error:
            raise InputError(f"Can't write {self.folder / LOG}: {error.strerror or error}.") from error
        for name, value in values.items():
            if isinstance(value, float):
                self._latest[name] = value
                if self._tensorboard:
                    self._tensorboard.add_scalar(name, value, step + 1)

    def picture(self, step: int, pixels: np.ndarray) -> Path:
        """Save a picture, uint8 `h w 3`, under the step's number; its path."""
        make_folder(self.folder / PICTURES)
        path = self.folder / PICTURES / f"{step + 1:06d}.png"
        with replacing(path) as temporary:
            Image.fromarray(pixels).save(temporary, format="png")
        return path

    def say(self, text: str) -> None:
        """Print a line on the terminal, above the progress bar."""
        if self.fabric.is_global_zero:
            with suppress(OSError):  # the terminal was closed
                Console(stderr=True).print(text, highlight=False, soft_wrap=True)

    def mean_over_processes(self, value: Tensor) -> float:
        """The mean of a number over all processes."""
        return float(cast(Tensor, self.fabric.all_reduce(value.detach().clone())))  # a copy: it works in place

    def _any_process(self, stop: bool) -> bool:
        """Whether it is so on any process."""
        if self.fabric.world_size == 1:
            return stop
        return self.mean_over_processes(torch.tensor(float(stop), device=self.fabric.device)) > 0

    def _restore(self) -> None:
        """Load the checkpoint if there is one, and remove unfinished files and the log's lines after it."""
        path = self.folder / CHECKPOINT
        if path.is_file():
            restore(path, self.state, self.fabric)
        if self.fabric.is_global_zero:
            make_folder(self.folder)
            log = self.folder / LOG
            content = log.read_bytes() if log.is_file() else b""
            lines = list(zip(content.splitlines(), parse_log(content), strict=True))
            kept = [line for line, record in lines if record and record["step"] <= self.state["step"]]
            if any(record is None for _, record in lines[:-1]):  # the last one may have been cut short by a kill
                self.say(f"{log}: the lines that are damaged are left out.")
            with replacing(log) as temporary:
                temporary.write_bytes(b"".join(line + b"\n" for line in kept))
        self.fabric.barrier()

    def _checkpoint(self, save: Callable[[Path], None]) -> None:
        """Save what others read, then the checkpoint: where the last checkpoint is there, all else is."""
        if self.fabric.is_global_zero:
            save(self.folder)
            with suppress(FileNotFoundError), (self.folder / LOG).open("rb+") as log:
                os.fsync(log.fileno())
            with replacing(self.folder / CHECKPOINT) as temporary:
                try:
                    torch.save({name: _portable(value) for name, value in self.state.items()}, temporary)
                except RuntimeError as error:  # PyTorch's error for a full disk
                    raise OSError(str(error).splitlines()[0]) from error
        self.fabric.barrier()

    @contextmanager
    def _stoppable(self) -> Iterator[Callable[[], bool]]:
        """Yield a function that tells whether a signal asked this process to stop; the second Ctrl-C interrupts at once.

        Launchers and terminals may send the other signals more than once. Outside the main thread Python delivers no signals.
        """
        asked: list[int] = []
        if threading.current_thread() is not threading.main_thread():
            yield lambda: False
            return

        def ask(number: int, frame: Any) -> None:
            if not asked:
                self.say("Stopping after this step; Ctrl-C again stops at once, back at the last checkpoint.")
            asked.append(number)
            if number == signal.SIGINT:
                signal.signal(number, before[number])

        kept = [number for number in STOPS if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]  # nohup
        before = {number: signal.signal(number, ask) for number in kept}
        try:
            yield lambda: bool(asked)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def _progress(self, total: int) -> Iterator[Callable[[int], None]]:
        """Yield a function that moves the progress bar to a step. The first process alone shows it."""
        rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # figures that don't fit the terminal are cut off
        columns = (
            TextColumn("{task.description}"), BarColumn(12), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(), TextColumn("{task.fields[figures]}", table_column=rest),
        )  # fmt: skip
        first = self.state["step"]
        with Progress(*columns, console=Console(stderr=True), expand=True, disable=not self.fabric.is_global_zero) as bar:
            task = bar.add_task(self.folder.name, total=total, completed=first, rate="", figures="")
            started = time.monotonic()

            def advance(step: int) -> None:
                rate = f"{(step - first) / (time.monotonic() - started):.1f} steps/s"
                figures = " ".join(f"{name} {value:.3f}" for name, value in self._latest.items())
                bar.update(task, completed=step, rate=rate, figures=figures)

            yield advance


def restore(path: Path, state: dict[str, Any], fabric: Fabric) -> None:
    """Load a checkpoint into `state`. Modules and optimizers are changed in place, everything else is replaced.

    Raises:
        InputError: if the file is corrupt or was made by other settings.
    """
    loaded = read_checkpoint(path, fabric.device)
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


def finished(folder: Path, total: int) -> bool:
    """Whether the checkpoint in a stage's folder is of at least so many steps. The log may be ahead of it.

    Raises:
        InputError: if the checkpoint is corrupt.
    """
    path = folder / CHECKPOINT
    return path.is_file() and read_checkpoint(path)["step"] >= total


def _kind(value: Any) -> tuple[Any, Any]:
    return getattr(value, "shape", None), getattr(value, "dtype", None)


def _portable(value: Any) -> Any:
    return value.state_dict() if hasattr(value, "state_dict") else value


def _tensorboard_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / "tensorboard")
