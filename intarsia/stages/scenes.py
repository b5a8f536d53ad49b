"""The scenes that stages need, and the images of their steps, drawn ahead by worker processes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_all_start_methods
from typing import Any, NamedTuple

import torch
from lightning_fabric.utilities.data import suggested_max_num_workers
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from intarsia.data import Scenes, scenes_of
from intarsia.engine import STOPS, Run
from intarsia.errors import InputError
from intarsia.recipes.options import Options
from intarsia.recipes.settings import Recipe
from intarsia.shapes import Images

WORKERS = 4  # at most, beside each process on a GPU


class TrainingScenes(NamedTuple):
    """The scenes for training and for validation."""

    train: Scenes
    val: Scenes


def training_scenes(recipe: Recipe) -> TrainingScenes:
    """The scenes that a recipe is for. All seeds are validated on the same ones."""
    return TrainingScenes(scenes_of(recipe, "train"), scenes_of(recipe, "val", seed=0))


class StepImages:
    """The images of a stage's steps that are this process's, to be called with each step in turn, from any first one.

    They are the same ones in the same order, however many worker processes draw them ahead.

    Args:
        scenes: The training scenes.
        run: Which of them are this process's, the device, and the number of workers.
        batch: Images of a step's whole batch.
        steps: Steps of the stage.
        period: Steps after which the same images come again; None for never.
    """

    def __init__(self, scenes: Scenes, run: Run, batch: int, steps: int, period: int | None = None) -> None:
        self.scenes, self.run, self.batch, self.steps, self.period = scenes, run, batch, steps, period or steps
        self._drawn: Iterator[Tensor | InputError] | None = None

    def __call__(self, step: int) -> Images:
        """The images of a step, `b 3 h w` on the device; `InputError` if they can't be read."""
        if self._drawn is None:
            self._drawn = self._drawn_from(step)
        images = next(self._drawn)
        if isinstance(images, InputError):
            raise images
        return images.to(self.run.fabric.device, non_blocking=True)

    def _drawn_from(self, first: int) -> Iterator[Tensor | InputError]:
        device, options = self.run.fabric.device, self.run.options
        workers = workers_for(options, device)
        loader = DataLoader(
            _Drawing(self.scenes),
            batch_sampler=(self.run.shard(self.batch, step=step % self.period)[0] for step in range(first, self.steps)),
            collate_fn=_as_it_is,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            worker_init_fn=_ignore_stops,
            multiprocessing_context="fork" if workers and "fork" in get_all_start_methods() else None,
            generator=Generator(),  # else PyTorch's own is used up
        )
        with _stops_held_back():
            return iter(loader)


def workers_for(options: Options, device: torch.device) -> int:
    """Worker processes that draw images ahead. If not told: some beside a GPU, none on a CPU, which has other work to do."""
    if options.workers != "auto":
        return options.workers
    return min(WORKERS, suggested_max_num_workers(options.devices)) if device.type == "cuda" else 0


class _Drawing(Dataset[Tensor]):
    """Draws the images of a batch. An `InputError` is returned, so that it reaches the training as it is."""

    def __init__(self, scenes: Scenes) -> None:
        self.scenes = scenes

    def __getitems__(self, indices: list[int]) -> Tensor | InputError:
        try:
            return self.scenes(indices).images
        except InputError as error:
            return error


def _as_it_is(images: Any) -> Any:
    return images


@contextmanager
def _stops_held_back() -> Iterator[None]:
    """Hold back the signals that stop a training, where the system can: workers that start meanwhile are not hit too early."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore_stops(worker: int) -> None:
    """Leave it to the training process to stop its workers: it ends its step first."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
