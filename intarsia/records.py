"""What a run folder records beside its weights: recipe, logs, scores, and the machine that it was trained on."""

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.errors import InputError
from intarsia.files import replacing
from intarsia.recipes.file import load_recipe
from intarsia.recipes.settings import Recipe, planned
from intarsia.weights import RECIPE, START, START_NAME, latest, weights_sha256

__all__ = [
    "PICTURE", "SCORES", "TRAINING", "WHOLE_IMAGE_VAE", "Records", "Training", "check_finished", "read_records",
    "read_training", "record_machine",
]  # fmt: skip

SCORES, LOG, MACHINE, WHOLE_IMAGE_VAE = "scores.json", "log.jsonl", "machine.json", "whole_image_vae.json"
PICTURE = "segments.png"  # of the first test scenes
TRAINING = "training.json"  # beside a model that has left its run


@dataclass(frozen=True)
class Training:
    """What a run recorded while it was trained.

    logs: For each stage of the recipe its records, one per optimizer step; none for a stage that has not begun.
    machine: `processor` and `threads`.
    start: The SHA-256 of the weights that it started from, where it was given a model.
    start_name: That model's name, where it came with the package.
    """

    recipe: Recipe
    logs: dict[str, list[dict[str, Any]]]
    machine: dict[str, Any]
    start: str | None
    start_name: str | None

    @property
    def starting(self) -> str:
        """What the command that trains it has to say besides its recipe."""
        return f" --start {self.start_name or 'MODEL'}" if self.start else ""

    def step(self, stage: str) -> int:
        """The last step that a stage has logged."""
        return int(self.logs[stage][-1]["step"]) if self.logs[stage] else 0

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages."""
        return sum(map(self.step, self.logs))

    @property
    def minutes(self) -> float:
        """Spent training, in all stages."""
        return sum(log[-1]["seconds"] for log in self.logs.values() if log) / 60


@dataclass(frozen=True)
class Records(Training):
    """The records of an evaluated run.

    scores: As `intarsia evaluate` wrote them, of the newest weights.
    whole_image_vae: The baseline's figures beside this model's, where `benchmarks/locality.py` took them.
    """

    scores: dict[str, Any]
    whole_image_vae: dict[str, Any] | None


def read_training(run: Path) -> Training:
    """Read what a run folder recorded while it was trained.

    Raises:
        InputError: if it is no run, or a file can't be read.
    """
    if not (run / RECIPE).is_file():
        raise InputError(f"{run} is not a run: it holds no {RECIPE}.")
    recipe = load_recipe(run / RECIPE)
    logs = {stage: _lines(run / stage / LOG) for stage in planned(recipe)}
    machine = read_json(run / MACHINE) if (run / MACHINE).is_file() else _machine_now()
    start = weights_sha256(run / START) if (run / START).is_dir() else None
    name = run / START / START_NAME
    return Training(recipe, logs, machine, start, name.read_text().strip() if name.is_file() else None)


def check_finished(run: Path, training: Training) -> None:
    """Raise `InputError` if a stage has steps left."""
    for stage in training.logs:
        steps = getattr(training.recipe, stage).steps
        if training.step(stage) != steps:
            raise InputError(f"{run} is unfinished: {stage} is at step {training.step(stage)} of {steps}.")


def read_records(run: Path) -> Records:
    """Read a run folder.

    Raises:
        InputError: if it is no run, it has not been evaluated, a file can't be read, or figures are of other weights.
    """
    training = read_training(run)
    if not (run / SCORES).is_file():
        raise InputError(f"{run} has not been evaluated: it holds no {SCORES}. Run `intarsia evaluate {run}` first.")
    scores = read_json(run / SCORES)
    newest = weights_sha256(latest(run))
    if scores.get("weights_sha256") != newest:
        raise InputError(f"{run / SCORES} is of other weights; run `intarsia evaluate {run}` again.")
    baseline = read_json(run / WHOLE_IMAGE_VAE) if (run / WHOLE_IMAGE_VAE).is_file() else None
    if baseline is not None and baseline.get("weights_sha256") != newest:
        raise InputError(f"{run / WHOLE_IMAGE_VAE} is of other weights; run benchmarks/locality.py again, or delete it.")
    return Records(training.recipe, training.logs, training.machine, training.start, training.start_name, scores, baseline)


def record_machine(run: Path, threads: int) -> None:
    """Write down in a run folder what it was trained on, `threads` in all; the first record stays."""
    path = run / MACHINE
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(_machine_now() | {"threads": threads}, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; `InputError` where there is none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} should hold a JSON object, but holds a {type(content).__name__}.")
    return content


def _machine_now() -> dict[str, Any]:
    """Processor and threads of this machine: what a run without a record of its own is taken to be trained on."""
    return {"processor": _processor(), "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)}


def _processor() -> str:
    """The accelerator's name, else the processor's."""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _lines(log: Path) -> list[dict[str, Any]]:
    """The records of a log; none where it does not exist."""
    try:
        return [dict(json.loads(line)) for line in log.read_text().splitlines()] if log.is_file() else []
    except (OSError, ValueError) as error:
        raise InputError(f"{log} can't be read: {error}.") from error
