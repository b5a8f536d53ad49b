"""Running a stage: devices, precision, steps that can be stopped and resumed, log, pictures. The rest is Lightning Fabric."""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Generator, Tensor
from torch.optim import Optimizer

from intarsia.errors import InputError
from intarsia.files import is_unfinished, make_folder, replacing
from intarsia.recipes.options import Options

CHECKPOINT, LOG, PICTURES = "checkpoint.pt", "log.jsonl", "pictures"


def start_fabric(options: Options) -> Fabric:
    """Fabric for these options, launched: with several devices this starts the other processes.

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
            precision=_precision(options),
        )
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"Can't train on {options.devices} x {options.accelerator!r}: {error}") from error
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
        self._total = 0
        self._latest: dict[str, float] = {}
        self._tensorboard = _tensorboard_writer(folder) if fabric.is_global_zero else None

    def steps(self, state: dict[str, Any], total: int, save: Callable[[Path], None]) -> Iterator[int]:
        """Yield each step's number that is left of `total`, from where the folder's checkpoint stopped.

        Args:
            state: Everything the trajectory depends on: modules, optimizers, tensors, numbers. Restored in place from the
                checkpoint; `step` and `seconds` (time spent training) are added to it.
            total: Steps of a complete run.
            save: Called with the folder beside every checkpoint, to write what others read.

        Ctrl-C ends the step under way, saves, and raises KeyboardInterrupt; after kill -9 the last checkpoint stands.
        """
        self.state, self._total = state, total
        state |= {"step": 0, "seconds": 0.0}
        self._restore()
        with self._progress(total) as advance, self._interruptible() as interrupted:
            while state["step"] < total:
                started = time.monotonic()
                yield state["step"]
                state["step"] += 1
                state["seconds"] += time.monotonic() - started
                advance(state["step"])
                stop = interrupted()
                if state["step"] % self.options.save_every == 0 or state["step"] == total or stop:
                    self._checkpoint(save)
                if stop:
                    raise KeyboardInterrupt

    def rng(self, *, step: int) -> Generator:
        """The source of a step's random draws: the same on all devices, and after every resumption."""
        key = np.random.SeedSequence([self.seed, *self.folder.name.encode(), step]).generate_state(1, np.uint64)[0]
        return Generator().manual_seed(int(key) >> 1)

    def shard(self, batch: int, *, step: int) -> tuple[list[int], slice]:
        """The part of a step's batch that falls to this process: scene indices, and the slice of the whole batch they are."""
        size = batch // self.fabric.world_size
        mine = slice(self.fabric.global_rank * size, (self.fabric.global_rank + 1) * size)
        return list(range(step * batch + mine.start, step * batch + mine.stop)), mine

    def due(self, step: int) -> bool:
        """Whether to validate and draw after this step: every so often, and after the last one."""
        return self.fabric.is_global_zero and ((step + 1) % self.options.show_every == 0 or step + 1 == self._total)

    def log(self, step: int, **values: Any) -> None:
        """Append a record to the log; numbers also show in the progress bar and, where installed, in TensorBoard.

        Every process calls it. Tensors, such as losses, are each process's mean over its share of the batch, and become
        the mean over the whole batch; everything else is taken as the first process gives it.

        Raises:
            InputError: for a loss that is not finite, before anything is saved: the settings broke the training.
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
        """Save a picture, uint8 `h w 3`, under the step's number."""
        make_folder(self.folder / PICTURES)
        path = self.folder / PICTURES / f"{step + 1:06d}.png"
        with replacing(path) as temporary:
            Image.fromarray(pixels).save(temporary, format="png")
        return path

    def say(self, text: str) -> None:
        """A line on the terminal, above the progress bar."""
        if self.fabric.is_global_zero:
            Console(stderr=True).print(text, highlight=False, soft_wrap=True)

    def mean_over_processes(self, value: Tensor) -> float:
        """The mean over all processes of a number each has of its share; `all_reduce` works in place, hence the copy."""
        return float(cast(Tensor, self.fabric.all_reduce(value.detach().clone())))

    def _restore(self) -> None:
        """Load the checkpoint where there is one, and forget what came after it."""
        path = self.folder / CHECKPOINT
        if path.is_file():
            restore(path, self.state, self.fabric)
        if self.fabric.is_global_zero:
            make_folder(self.folder)
            for path in filter(is_unfinished, list(self.folder.iterdir())):
                path.unlink(missing_ok=True)
            log = self.folder / LOG
            lines = log.read_text().splitlines() if log.is_file() else []
            with replacing(log) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in lines if _step_of(line) <= self.state["step"]))
        self.fabric.barrier()

    def _checkpoint(self, save: Callable[[Path], None]) -> None:
        """What others read goes first: it is never older than the checkpoint, so that a complete one means all is there."""
        if self.fabric.is_global_zero:
            save(self.folder)
            with replacing(self.folder / CHECKPOINT) as temporary:
                try:
                    torch.save({name: _portable(value) for name, value in self.state.items()}, temporary)
                except RuntimeError as error:  # what PyTorch's writer makes of a full disk
                    raise OSError(str(error).splitlines()[0]) from error
        self.fabric.barrier()

    @contextmanager
    def _interruptible(self) -> Iterator[Callable[[], bool]]:
        """Turn the first Ctrl-C into a flag; the second, or any with several processes, interrupts as usual.

        Outside the main thread, where Python delivers no signals, there is nothing to turn.
        """
        asked: list[int] = []
        if self.fabric.world_size > 1 or threading.current_thread() is not threading.main_thread():
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
    loaded = _load(path, fabric.device)
    try:
        if loaded.keys() != state.keys():
            raise ValueError(f"it holds {sorted(loaded)}, not {sorted(state)}")
        for name, value in loaded.items():
            if hasattr(state[name], "load_state_dict"):
                state[name].load_state_dict(value)
            else:
                state[name] = value
    except Exception as error:
        raise _unusable(path, error) from error


def finished(folder: Path, total: int) -> bool:
    """Whether a stage's folder holds a run of (at least) so many steps; the checkpoint says so, not the log, which runs ahead.

    Raises:
        InputError: if the checkpoint is corrupt.
    """
    path = folder / CHECKPOINT
    return path.is_file() and _load(path, torch.device("cpu")).get("step", 0) >= total


def _load(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        loaded = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(loaded, dict):
            raise TypeError(f"it holds a {type(loaded).__name__}")
        return loaded
    except Exception as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"{path} is corrupt or not a checkpoint of this run: {reason}. Delete it to start over.")


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
