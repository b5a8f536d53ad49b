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
from torch import Generator, Tensor, nn
from torch.distributed import is_torchelastic_launched
from torch.optim import Optimizer

from intarsia.checkpoints import CHECKPOINT, LOG, parse_log, read_checkpoint, restore
from intarsia.errors import InputError
from intarsia.files import make_folder, replacing
from intarsia.processes import SharedBatches, average, is_first
from intarsia.recipes.options import Options

ExtraLoss = Callable[[Tensor, Tensor], Tensor]  # of images and the segmenter's masks

PICTURES = "pictures"
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def start_fabric(options: Options) -> Fabric:
    """Lightning Fabric for these options, in float32 if the precision is auto.

    With several devices this starts the other processes, unless torchrun or srun has. It may be called again in the same
    processes.

    Raises:
        InputError: if there are no such devices, or the launcher started another number of processes.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    fabric = _fabric(options)
    with _refusals(options):
        fabric.launch()
    return fabric


def is_first_process(options: Options) -> bool:
    """Whether this is the first of the processes that train with these options, also before the others are started.

    Raises:
        InputError: if there are no such devices.
    """
    return is_first(_fabric(options))


def _fabric(options: Options) -> Fabric:
    with _refusals(options):
        return Fabric(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.num_nodes,
            strategy=SharedBatches() if options.devices * options.num_nodes > 1 or is_torchelastic_launched() else "auto",
            precision="32-true" if options.precision == "auto" else options.precision,
        )


@contextmanager
def _refusals(options: Options) -> Iterator[None]:
    """Turn what Fabric refuses into an `InputError`."""
    try:
        yield
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"Can't train on {options.devices} x {options.accelerator!r}: {error}") from error


def descend(fabric: Fabric, loss: Tensor, *optimizers: Optimizer, max_norm: float = 0.0) -> None:
    """Take one step of each optimizer down the mean of a loss over all processes.

    With a norm, each optimizer's gradient is clipped to it.
    """
    for optimizer in optimizers:
        optimizer.zero_grad()
    fabric.backward(loss)
    for optimizer in optimizers:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        average(fabric, [parameter.grad for parameter in parameters if parameter.grad is not None])
        if max_norm:
            nn.utils.clip_grad_norm_(parameters, max_norm)
        optimizer.step()


class Run:
    """The folder of a stage in training: last checkpoint, log (JSON lines), pictures.

    Args:
        folder: The stage's folder. It is made if it doesn't exist, and resumed if it holds a checkpoint.
        fabric: From `start_fabric`.
        options: How often to save and show.
        seed: The recipe's seed. The random draws of a step depend on it, the stage's name and the step alone.
        extra_loss: What the segmenter minimises besides the method's own loss.
    """

    def __init__(self, folder: Path, fabric: Fabric, options: Options, seed: int, extra_loss: ExtraLoss | None = None) -> None:
        self.folder, self.fabric, self.options, self.seed, self.extra_loss = folder, fabric, options, seed, extra_loss
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
        modules = [value for value in state.values() if isinstance(value, nn.Module)]
        statistics = [buffer for module in modules for buffer in module.buffers() if buffer.is_floating_point()]
        with self._progress(total) as advance, self._stoppable() as stopped:
            while state["step"] < total:
                started = time.monotonic()
                yield state["step"]
                average(self.fabric, statistics)
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
            restore(path, self.state, self.fabric.device)
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


def finished(folder: Path, total: int) -> bool:
    """Whether the checkpoint in a stage's folder is of at least so many steps. The log may be ahead of it.

    Raises:
        InputError: if the checkpoint is corrupt.
    """
    path = folder / CHECKPOINT
    return path.is_file() and read_checkpoint(path)["step"] >= total


def _portable(value: Any) -> Any:
    return value.state_dict() if hasattr(value, "state_dict") else value


def _tensorboard_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / "tensorboard")
