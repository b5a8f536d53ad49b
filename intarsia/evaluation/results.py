"""The figures of finished and evaluated runs, gathered: one entry for each dataset of docs/results.md, with lists by seed."""

import json
from pathlib import Path
from typing import Any

from intarsia.errors import InputError
from intarsia.files import make_folder, replacing
from intarsia.recipes import command_line
from intarsia.records import check_finished, read_json, read_records
from intarsia.weights import named

SHARED = ("recipe", "test_images")  # the same for all runs of a dataset; everything else is a list by seed


def results(runs: list[Path], out: Path) -> dict[str, Any]:
    """Gather the results of runs into a JSON file. The entries of their datasets are replaced, all others stay.

    Returns:
        The new content of `out`.

    Raises:
        InputError: as `gathered`.
    """
    entries = gathered(runs)
    entries = (read_json(out) if out.is_file() else {}) | entries
    make_folder(out.parent)
    with replacing(out) as path:
        path.write_text(json.dumps(dict(sorted(entries.items())), indent=2) + "\n")
    return entries


def gathered(runs: list[Path]) -> dict[str, Any]:
    """The results of runs, or of shipped and exported models, by dataset.

    Raises:
        InputError: if a run is unfinished or not evaluated, or two runs of one dataset have the same seed or other recipes.
    """
    if not runs:
        raise InputError("No run is given; name at least one run folder.")
    found: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        dataset, result = results_of(named(run))
        found.setdefault(dataset, []).append(result)
    return {dataset: _joined(dataset, results) for dataset, results in sorted(found.items())}


def results_of(run: Path) -> tuple[str, dict[str, Any]]:
    """The dataset and the results of one run: its scores, those of its baseline if there is one, and the cost of training."""
    records = read_records(run)
    recipe, scores = records.recipe, records.scores
    check_finished(run, records)
    figures = scores.figures.by_name()
    iou = figures.pop("iou")
    baseline = records.whole_image_vae.figures if records.whole_image_vae else {}
    return recipe.dataset, {
        "seeds": recipe.seed,
        "recipe": command_line(recipe) + records.starting,
        "test_images": scores.test_images,
        "iou": iou["mean"],
        "iou_std": iou["std"],
        **figures,
        **{f"{name}_whole_image_vae": value for name, value in baseline.items()},
        "steps": records.steps,
        "minutes": round(records.minutes, 1),
        "processor": records.machine.processor,
        "threads": records.machine.threads,
        "weights_sha256": scores.weights_sha256,
    }


def _joined(dataset: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    """One entry for all runs of a dataset: lists by seed, with None for a figure that a run does not have."""
    results = sorted(results, key=lambda result: result["seeds"])
    seeds = [result["seeds"] for result in results]
    if len(set(seeds)) < len(seeds):
        raise InputError(f"Two runs of {dataset} have the same seed: {seeds}.")
    for name in SHARED:
        values = list(dict.fromkeys(result[name] for result in results))
        if len(values) > 1:
            raise InputError(f"The runs of {dataset} differ in {name}: {values}.")
    names = dict.fromkeys(name for result in sorted(results, key=len, reverse=True) for name in result)
    return {name: results[0][name] if name in SHARED else [result.get(name) for result in results] for name in names}
