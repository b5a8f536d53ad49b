"""The records of a run folder beside its weights: recipe, logs, scores, and the machine that it was trained on."""

import json
import os
import platform
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.checkpoints import CHECKPOINT, LOG, parse_log, read_checkpoint
from intarsia.errors import InputError
from intarsia.files import make_folder, replacing
from intarsia.recipes.file import load_recipe
from intarsia.recipes.options import Precision
from intarsia.recipes.settings import Recipe, planned
from intarsia.records.reading import read_as, read_json
from intarsia.records.scores import PICTURE, SCORES, Scores
from intarsia.weights import RECIPE, START, START_NAME, TRAINING, weights_sha256

__all__ = [
    "PICTURE", "SCORES", "TRAINING", "WHOLE_IMAGE_VAE", "Machine", "Records", "Scores", "Training", "WholeImageVae",
    "check_finished", "read_as", "read_json", "read_records", "read_training", "record_machine", "record_precision",
    "recorded_precision", "this_machine",
]  # fmt: skip

MACHINE, WHOLE_IMAGE_VAE = "machine.json", "whole_image_vae.json"
PRECISION = "precision.json"


@dataclass(frozen=True)
class Machine:
    """What a run was trained on: the name of the processor or accelerator, and the number of threads."""

    processor: str
    threads: int


@dataclass(frozen=True)
class TrainedIn:
    """The precision that a run trains in."""

    precision: Precision


@dataclass(frozen=True)
class WholeImageVae:
    """The figures of a whole-image VAE beside a run's model, as `benchmarks/locality.py` writes them.

    weights_sha256: The hash of the run's weights that it was compared with.
    """

    weights_sha256: str
    figures: dict[str, int | float | None]
    code_length: int
    steps: int
    test_images: int


@dataclass(frozen=True)
class Training:
    """The records that a run wrote during training.

    logs: The records of each stage of the recipe, one per optimizer step, up to the step of its checkpoint, which its weights
        have. Empty for a stage without a checkpoint.
    start: The SHA-256 of the weights that training started from, if it was given a model.
    start_name: The name of that model, if it is a shipped one.
    """

    recipe: Recipe
    logs: dict[str, list[dict[str, Any]]]
    machine: Machine
    start: str | None
    start_name: str | None

    @property
    def starting(self) -> str:
        """The part of the training command after the recipe, quoted for a shell."""
        return f" --start {shlex.quote(self.start_name or 'MODEL')}" if self.start else ""

    def step(self, stage: str) -> int:
        """The step of a stage's checkpoint; 0 if there is none."""
        return int(self.logs[stage][-1]["step"]) if self.logs[stage] else 0

    @property
    def steps(self) -> int:
        """The optimizer steps of all stages together."""
        return sum(map(self.step, self.logs))

    @property
    def minutes(self) -> float:
        """The training time of all stages together."""
        return sum(log[-1]["seconds"] for log in self.logs.values() if log) / 60


@dataclass(frozen=True)
class StageTraining:
    """What a stage took."""

    steps: int
    minutes: float


@dataclass(frozen=True)
class Exported:
    """How an exported model was trained: the fields of its `training.json` that others read.

    start_weights_sha256: As `Training.start`.
    """

    command: str
    stages: dict[str, StageTraining]
    processor: str
    threads: int
    start_weights_sha256: str | None = None


@dataclass(frozen=True)
class Records(Training):
    """The records of an evaluated run.

    scores: Of the newest weights.
    whole_image_vae: None where the baseline was not trained.
    """

    scores: Scores
    whole_image_vae: WholeImageVae | None


def read_training(run: Path) -> Training:
    """Read the records that a run folder, or the folder of an exported model, holds of its training.

    Raises:
        InputError: if the folder is not a run, or a file can't be read.
    """
    if not (run / RECIPE).is_file():
        raise InputError(f"{run} is not a run: it holds no {RECIPE}.")
    recipe = load_recipe(run / RECIPE)
    if (run / TRAINING).is_file():
        return _exported(recipe, read_as(Exported, run / TRAINING, "export the model again"))
    logs = {stage: _log(run / stage) for stage in planned(recipe)}
    recorded = (run / MACHINE).is_file()
    machine = read_as(Machine, run / MACHINE, "delete it, or correct it") if recorded else this_machine()
    start = weights_sha256(run / START) if (run / START).is_dir() else None
    name = run / START / START_NAME
    return Training(recipe, logs, machine, start, name.read_text().strip() if name.is_file() else None)


def _exported(recipe: Recipe, record: Exported) -> Training:
    """The training of an exported model; of each stage only the last record of the log is known."""
    logs = {name: [{"step": stage.steps, "seconds": 60 * stage.minutes}] for name, stage in record.stages.items()}
    _, _, start = record.command.partition(" --start ")
    return Training(recipe, logs, Machine(record.processor, record.threads), record.start_weights_sha256, start or None)


def check_finished(run: Path, training: Training) -> None:
    """Raise `InputError` if a stage has steps left."""
    for stage in training.logs:
        steps = getattr(training.recipe, stage).steps
        if training.step(stage) != steps:
            raise InputError(f"{run} is unfinished: {stage} is at step {training.step(stage)} of {steps}.")


def read_records(run: Path) -> Records:
    """Read all records of an evaluated run, or of an exported model.

    Raises:
        InputError: if the folder is not a run, was not evaluated, or a file can't be read or belongs to other weights.
    """
    training, scores = read_training(run), Scores.load(run)
    baseline, path = None, run / WHOLE_IMAGE_VAE
    if path.is_file():
        remedy = "run benchmarks/locality.py again, or delete it"
        baseline = read_as(WholeImageVae, path, remedy)
        if baseline.weights_sha256 != scores.weights_sha256:
            raise InputError(f"{path} is of other weights; {remedy}.")
    return Records(**vars(training), scores=scores, whole_image_vae=baseline)


def record_machine(run: Path, threads: int) -> None:
    """Write processor and number of threads into a run folder; an earlier record stays."""
    path = run / MACHINE
    if not path.exists():
        make_folder(run)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"processor": _processor(), "threads": threads}, indent=2) + "\n")


def record_precision(run: Path, precision: Precision) -> None:
    """Write the precision of a run into its folder, in place of an earlier one."""
    with replacing(run / PRECISION) as temporary:
        temporary.write_text(json.dumps({"precision": precision}) + "\n")


def recorded_precision(run: Path) -> Precision | None:
    """The precision that a run was last trained in; None if there is no record.

    Raises:
        InputError: if the record can't be read.
    """
    path = run / PRECISION
    return read_as(TrainedIn, path, "delete it, or correct it").precision if path.exists() else None


def this_machine() -> Machine:
    """The machine that this runs on, for a run that has no record of its own."""
    return Machine(_processor(), int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))


def _processor() -> str:
    """The name of the accelerator, or of the processor where there is none."""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _log(stage: Path) -> list[dict[str, Any]]:
    """The records in a stage's log up to the step of its checkpoint: a log runs ahead. None without a checkpoint."""
    checkpoint, path = stage / CHECKPOINT, stage / LOG
    if not checkpoint.is_file():
        return []
    step = read_checkpoint(checkpoint)["step"]
    try:
        lines = parse_log(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.") from error
    records: list[dict[str, Any]] = []
    last = 0
    for number, record in enumerate(lines, 1):
        if last >= step:
            break
        if record is None:
            raise InputError(f"{path} can't be read: line {number} is no record with a step and seconds.")
        records.append(record)
        last = record["step"]
    if last != step:
        raise InputError(f"{path} ends at step {last}, but {checkpoint.name} beside it is of step {step}: a part is missing.")
    return records
