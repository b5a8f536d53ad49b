"""The figures that the README shows, gathered from finished and evaluated runs into one JSON file."""

import dataclasses
import json
import os
import platform
from pathlib import Path
from typing import Any

from intarsia.errors import InputError
from intarsia.files import replacing
from intarsia.model import RECIPE, latest, weights_sha256
from intarsia.recipes import RECIPES
from intarsia.settings import Recipe, load_recipe, planned

__all__ = ["command_line", "record_machine", "report", "results_of"]

SCORES, LOG, MACHINE = "scores.json", "log.jsonl", "machine.json"
SHARED = ("recipe", "test_images")  # the same for all runs of a dataset; everything else is a list by seed


def report(runs: list[Path], out: Path) -> dict[str, Any]:
    """Gather runs into `out`: the entries of their datasets are replaced, those of others kept.

    Returns:
        The whole content of `out`.

    Raises:
        InputError: if a run is unfinished or not evaluated, or two runs of one dataset share a seed or differ in recipe.
    """
    if not runs:
        raise InputError("No run is given; name at least one run folder.")
    found: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        dataset, results = results_of(run)
        found.setdefault(dataset, []).append(results)
    entries = _kept(out) | {dataset: _joined(dataset, results) for dataset, results in found.items()}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Can't make the folder {out.parent}: {error.strerror}.") from error
    with replacing(out) as path:
        path.write_text(json.dumps(dict(sorted(entries.items())), indent=2) + "\n")
    return entries


def results_of(run: Path) -> tuple[str, dict[str, Any]]:
    """Dataset and results of one run: its scores, and what its training took."""
    if not (run / RECIPE).is_file():
        raise InputError(f"{run} is not a run: it holds no {RECIPE}.")
    recipe = load_recipe(run / RECIPE)
    if not (run / SCORES).is_file():
        raise InputError(f"{run} has not been evaluated: it holds no {SCORES}. Run `intarsia evaluate {run}` first.")
    scores = _read(run / SCORES)
    logs = {stage: _last(run / stage / LOG) for stage in planned(recipe)}
    for stage, log in logs.items():
        if log["step"] != getattr(recipe, stage).steps:
            raise InputError(f"{run} is unfinished: {stage} is at step {log['step']} of {getattr(recipe, stage).steps}.")
    if scores.get("weights_sha256") != weights_sha256(latest(run)):
        raise InputError(f"{run / SCORES} is of other weights; run `intarsia evaluate {run}` again.")
    machine = _read(run / MACHINE) if (run / MACHINE).is_file() else machine_now()
    try:
        return recipe.dataset, {
            "seeds": recipe.seed,
            "recipe": command_line(recipe),
            "test_images": scores["test_images"],
            "iou": scores["figures"]["iou"]["mean"],
            "iou_std": scores["figures"]["iou"]["std"],
            **{name: value for name, value in scores["figures"].items() if name != "iou"},
            "steps": sum(log["step"] for log in logs.values()),
            "minutes": round(sum(log["seconds"] for log in logs.values()) / 60, 1),
            **{name: machine[name] for name in ("processor", "threads")},
            "weights_sha256": scores["weights_sha256"],
        }
    except (KeyError, TypeError) as error:
        raise InputError(f"{run / SCORES} is incomplete ({error}); run `intarsia evaluate {run}` again.") from error


def _joined(dataset: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    """One entry for all runs of a dataset: lists by seed."""
    results = sorted(results, key=lambda result: result["seeds"])
    seeds = [result["seeds"] for result in results]
    if len(set(seeds)) < len(seeds):
        raise InputError(f"Two runs of {dataset} have the same seed: {seeds}.")
    for name in SHARED:
        values = list(dict.fromkeys(result[name] for result in results))
        if len(values) > 1:
            raise InputError(f"The runs of {dataset} differ in {name}: {values}.")
    return {name: results[0][name] if name in SHARED else [result[name] for result in results] for name in results[0]}


def command_line(recipe: Recipe) -> str:
    """A recipe in the command line's words: the closest shipped variant and what is changed in it, the seed aside.

    Example:
        >>> command_line(dataclasses.replace(RECIPES["multi_texture"]["compact"], seed=3, segments=4))
        'compact --segments 4'
    """
    flat = _flat(dataclasses.asdict(recipe))
    spellings: list[list[str]] = []
    for variant, shipped in RECIPES.get(recipe.dataset, {}).items():
        known = _flat(dataclasses.asdict(shipped))
        changed = [f"--{name.replace('_', '-')} {value}" for name, value in flat.items() if value != known[name]]
        spellings.append([variant, *(change for change in changed if not change.startswith("--seed "))])
    if not spellings:
        raise InputError(f"There is no dataset {recipe.dataset!r}; the recipes are for {', '.join(RECIPES)}.")
    return " ".join(sorted(spellings, key=len)[0])


def _flat(settings: dict[str, Any], name: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{name}{key}.") if isinstance(value, dict) else {f"{name}{key}": value}
    return found


def record_machine(run: Path, threads: int) -> None:
    """Write down in a run folder what it was trained on, `threads` in all; the first record stays."""
    path = run / MACHINE
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(machine_now() | {"threads": threads}, indent=2) + "\n")


def machine_now() -> dict[str, Any]:
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


def _kept(out: Path) -> dict[str, Any]:
    return _read(out) if out.is_file() else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} should hold a JSON object, but holds a {type(content).__name__}.")
    return content


def _last(log: Path) -> dict[str, Any]:
    """The last record of a log; step 0 where there is none."""
    try:
        lines = log.read_text().splitlines() if log.is_file() else []
        return dict(json.loads(lines[-1])) if lines else {"step": 0, "seconds": 0.0}
    except (OSError, ValueError) as error:
        raise InputError(f"{log} can't be read: {error}.") from error
