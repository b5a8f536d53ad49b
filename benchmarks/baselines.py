"""Scores of k-means over colours and of Slot Attention on a dataset's test scenes, as `intarsia evaluate` scores a model.

In `python benchmarks/baselines.py multi_texture --minutes 22`, the minutes should be those that the training of the model
took on the same machine with as many threads. Writes a JSON file and, beside it, the weights.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean
from time import monotonic
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table
from safetensors.torch import save

from intarsia.baselines import kmeans, slot_attention
from intarsia.data import SPLITS, Scenes, open_dataset
from intarsia.engine import start_fabric
from intarsia.errors import InputError
from intarsia.evaluation.means import number
from intarsia.evaluation.segments import SUBSETS, TEST_SEED, figures, score_scenes
from intarsia.files import make_folder, replacing
from intarsia.recipes.options import Options, check_options
from intarsia.records import this_machine
from intarsia.shapes import Images, Masks

ALL = SPLITS["test"] or 0


def evaluated(scenes: Scenes, count: int, segment: Callable[[Images], Masks]) -> dict[str, Any]:
    """Score a function that segments images on the first `count` scenes, and time it."""
    seconds = 0.0

    def timed(images: Images) -> Masks:
        nonlocal seconds
        started = monotonic()
        found = segment(images)
        seconds += monotonic() - started
        return found

    values = figures(score_scenes(timed, scenes, count)).by_name()
    return {"figures": values, "seconds_per_image": round(seconds / count, 5)}


def table(title: str, methods: dict[str, dict[str, Any]]) -> Table:
    rows = Table("", *methods, title=title, title_justify="left")
    values = [found["figures"] for found in methods.values()]
    rows.add_row("iou", *(f"{value['iou']['mean']:.3f} ± {value['iou']['std']:.3f}" for value in values))
    for name in list(values[0])[1:]:
        rows.add_row(name, *(number(value[name]) for value in values))
    return rows


def main(
    dataset: tyro.conf.Positional[str] = "multi_texture",
    minutes: float = 1.0,
    seed: int = 0,
    test_images: int = ALL,
    batch: int = 64,
    threads: int = 0,
    out: Path | None = None,
) -> None:
    """Train and score both baselines.

    Args:
        dataset: Name of the dataset.
        minutes: Of training Slot Attention; k-means needs no training.
        seed: Of the training scenes, the initial weights and all random numbers. The test scenes do not depend on it.
        test_images: The number of test scenes, a multiple of 10; fewer than all only for a quick test.
        batch: Images per step of Slot Attention.
        threads: The number of threads; 0 for PyTorch's default.
        out: The JSON file; by default runs/baselines/DATASET-seedSEED.json.
    """
    if test_images % SUBSETS or not SUBSETS <= test_images <= ALL:
        raise InputError(f"--test-images is {test_images}; it must be a multiple of {SUBSETS} from {SUBSETS} to {ALL}.")
    out = out or Path("runs/baselines") / f"{dataset}-seed{seed}.json"
    options = Options(threads=threads)
    check_options(options)
    train, test = open_dataset(dataset, seed, "train"), open_dataset(dataset, TEST_SEED, "test")
    make_folder(out.parent)
    load = os.getloadavg()[0]  # of other processes, before training
    fabric = start_fabric(options)

    trained = slot_attention.train(train, minutes=minutes, batch=batch, seed=seed, fabric=fabric)
    model = trained.model.cpu()
    with replacing(out.with_suffix(".safetensors")) as path:
        path.write_bytes(save({name: value.contiguous() for name, value in model.state_dict().items()}))

    methods = {
        "colour k-means": evaluated(test, test_images, partial(kmeans.segment, clusters=test.segments, seed=seed)),
        "Slot Attention": evaluated(test, test_images, partial(slot_attention.segment, model, seed=seed)),
    }
    methods["Slot Attention"] |= {
        "batch": batch,
        "steps": len(trained.losses),
        "train_minutes": round(trained.seconds / 60, 2),
        "first_loss": round(trained.losses[0], 6),
        "last_loss": round(mean(trained.losses[-100:]), 6),  # the mean of its last steps
    }
    record = {
        "dataset": dataset, "seed": seed, "test_seed": TEST_SEED, "test_images": test_images, "segments": test.segments,
        "minutes": minutes, "threads": torch.get_num_threads(), "processor": this_machine().processor,
        "device": str(fabric.device), "precision": fabric.strategy.precision.precision, "load_at_start": round(load, 2),
        "torch": torch.__version__, "methods": methods,
    }  # fmt: skip
    with replacing(out) as path:
        path.write_text(json.dumps(record, indent=2) + "\n")
    Console().print(table(f"{dataset}, seed {seed}: {test_images} test scenes, 1 is perfect", methods))
    print(f"Slot Attention: {len(trained.losses)} steps of {batch} images in {trained.seconds / 60:.1f} min")
    print(f"{record['threads']} threads of {record['processor']}, {record['precision']}, load at the start {load:.1f}")
    print(f"Wrote {out}")
    print(json.dumps(record))


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        sys.exit(str(error))
