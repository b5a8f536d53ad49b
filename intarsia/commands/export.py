"""`intarsia export`: copies a model out of its run, with a record of how it was trained."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from intarsia import __version__
from intarsia.errors import InputError
from intarsia.files import held, replacing
from intarsia.interop.onnx import export_onnx
from intarsia.model import Model
from intarsia.recipes import train_command
from intarsia.recipes.settings import STAGES, Recipe, planned
from intarsia.records import Training, check_finished, read_training
from intarsia.weights import RECIPE, TRAINING, WEIGHTS, check_new, has_codes, latest


def export(run: Path, out: Path, float32: bool = False) -> int:
    """Write the newest model of a finished run into a folder of its own, with a record of its training, `training.json`.

    The record holds the command that trains the model, steps and minutes of each stage, the machine, and the hashes of the
    weights, both as exported and as in the run. The recipe is the run's, with 0 steps for stages after this model's.

    Args:
        run: A run folder, or one of its stages.
        out: A new or empty folder, or that of an export that was killed.
        float32: Keep the weights as float32. Otherwise they are rounded to float16, which halves the file.

    Returns:
        The size of the weights' file in bytes.

    Raises:
        InputError: if `run` is not a run or is unfinished, `out` holds something, or a weight is too large for float16.
    """
    source = latest(run)
    folder = source.parent
    if source.name not in STAGES or not (folder / RECIPE).is_file():
        raise InputError(f"{run} is not a run nor a stage of one: it does not tell how the model was trained.")
    check_new(out)
    training = _until(source.name, read_training(folder))
    check_finished(folder, training)
    model = Model.load(source)
    model.recipe = training.recipe
    kind, most = torch.float32 if float32 else torch.float16, torch.finfo(torch.float16).max
    if not float32 and not all(value.abs().max() <= most for value in model.state_dict().values()):
        raise InputError(f"Some weights of {source} are more than the {most:g} that float16 can hold; give --float32.")
    digest = hashlib.sha256(model.weights(kind)).hexdigest()
    record = _record(training) | {"weights_sha256": digest, "run_weights_sha256": model.weights_sha256}
    with held(out):
        check_new(out)
        with replacing(out / TRAINING) as path:
            path.write_text(json.dumps(record, indent=2) + "\n")
        model.save(out, kind)  # the weights come last: only with them the folder is a model
    return (out / WEIGHTS).stat().st_size


def export_networks(run: Path, out: Path) -> list[str]:
    """Write the networks of the newest model of a run, or of any model, as ONNX files into a folder (`export_onnx`).

    Returns:
        What the files leave out, a sentence each.

    Raises:
        InputError: if there is no such model, `out` holds something, or the model can't be exported.
    """
    source = latest(run)
    with held(out):
        check_new(out)
        return export_onnx(Model.load(source), out, has_codes(source))


def _until(last: str, training: Training) -> Training:
    """The training up to a stage, with 0 steps for the later stages in its recipe."""
    recipe = training.recipe
    trained = planned(recipe)[: planned(recipe).index(last) + 1]
    while planned(recipe) != trained:
        recipe = _without(planned(recipe)[len(trained)], recipe)
    return dataclasses.replace(training, recipe=recipe, logs={stage: training.logs[stage] for stage in trained})


def _without(stage: str, recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, **{stage: dataclasses.replace(getattr(recipe, stage), steps=0)})


def _record(training: Training) -> dict[str, Any]:
    return {
        "command": train_command(training.recipe) + training.starting,
        **({"start_weights_sha256": training.start} if training.start else {}),
        "stages": {
            stage: {"steps": training.step(stage), "minutes": round(log[-1]["seconds"] / 60, 1)}
            for stage, log in training.logs.items()
        },
        "steps": training.steps,
        "minutes": round(training.minutes, 1),
        **dataclasses.asdict(training.machine),
        "intarsia": __version__,
    }
