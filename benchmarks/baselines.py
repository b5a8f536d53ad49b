"""Scores of other methods on a dataset's test scenes, as `intarsia evaluate` scores a model.

In `python benchmarks/baselines.py multi_texture --minutes 2.5`, the minutes should be those of the processor that the training
of the `compact` recipe took on the same machine. Two methods are trained for so long: Slot Attention over pixels and over
features. Of several batches and learning rates the one is scored whose masks have the highest sum of ARI and FG-ARI on
validation scenes. Writes a JSON file and, beside it, the weights. What these hold already is not computed again, so a benchmark
that was stopped goes on where it was.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean
from time import process_time
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
import tyro
from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from intarsia.baselines import kmeans, normalised_cut, slot_attention
from intarsia.baselines.features import Features, enlarged
from intarsia.baselines.slot_attention import SlotAttention
from intarsia.data import SPLITS, Scenes, scenes_of
from intarsia.engine import start_fabric
from intarsia.errors import InputError
from intarsia.evaluation.means import number
from intarsia.evaluation.segments import SUBSETS, TEST_SEED, figures, score_scenes
from intarsia.files import make_folder, replacing
from intarsia.model import Model
from intarsia.networks.backbone import load_pretrained
from intarsia.recipes import RECIPES
from intarsia.recipes.options import Options, check_options
from intarsia.recipes.settings import Recipe
from intarsia.records import this_machine
from intarsia.shapes import Images, Maps, Masks
from intarsia.stages.inpainting import FITTED, fit_content
from intarsia.stages.scenes import training_scenes

ALL = SPLITS["test"] or 0
VALIDATION = 100  # scenes by which batch and learning rate are chosen
CELLS = 800  # at most, in the grid of features: a cut takes time and memory by the square of their number

Method = Literal["colour k-means", "content k-means", "normalised cut", "Slot Attention over features", "Slot Attention"]
Segment = Callable[[Images], Masks]


@dataclasses.dataclass(frozen=True)
class Tries:
    """The trainings among which the best is chosen.

    batches: Images per step.
    rates: Highest learning rates.
    """

    batches: tuple[int, ...] = (8, 32)
    rates: tuple[float, ...] = (4e-4, 1.6e-3)


def evaluated(scenes: Scenes, count: int, segment: Segment) -> dict[str, Any]:
    """Score a function that segments images on the first `count` scenes, and time it."""
    seconds = 0.0

    def timed(images: Images) -> Masks:
        nonlocal seconds
        started = process_time()
        found = segment(images)
        seconds += process_time() - started
        return found

    values = figures(score_scenes(timed, scenes, count)).by_name()
    return {"test_images": count, "figures": values, "seconds_per_image": round(seconds / count, 5)}


def features_of(recipe: Recipe) -> Features:
    """The features on the finest of the backbone's own grids that has not too many cells."""
    backbone = load_pretrained()
    strides = [stride for stride in backbone.strides if recipe.height * recipe.width // stride**2 <= CELLS]
    if not strides:
        raise InputError(f"Images of {recipe.width}x{recipe.height} pixels have more than {CELLS} cells of features.")
    return Features(backbone, strides[0], scenes_of(recipe, "train").first(FITTED).images)


def over(maps_of: Callable[[Images], Maps], segment: Callable[[Maps], Masks], images: Images) -> Masks:
    """Masks of images, found on a coarser grid."""
    return enlarged(segment(maps_of(images)), *images.shape[2:])


def untrained(method: Method, recipe: Recipe) -> Segment:
    """The function that segments images without training."""
    if method == "colour k-means":
        return partial(kmeans.segment, clusters=recipe.segments, seed=recipe.seed)
    if method == "content k-means":
        model = Model(recipe)
        fit_content(model, training_scenes(recipe))
        cluster = partial(kmeans.segment, clusters=recipe.segments, seed=recipe.seed)
        return partial(over, lambda images: model.contents(images)[0], cluster)
    cut = partial(normalised_cut.segment, segments=recipe.segments, seed=recipe.seed)
    return partial(over, features_of(recipe), cut)


def trained(
    method: Method, recipe: Recipe, tries: Tries, minutes: float, reduction: int, fabric: Fabric, folder: Path
) -> tuple[Segment, dict[str, Any]]:
    """The function that segments images after the best of some trainings, and what is recorded of them."""
    features = features_of(recipe) if method == "Slot Attention over features" else None
    maps_of = features or partial(F.avg_pool2d, kernel_size=reduction)
    channels = features.channels if features else 0
    train, validation = training_scenes(recipe)
    found: list[tuple[float, Segment, dict[str, Any]]] = []
    for batch, rate in product(tries.batches, tries.rates):
        path = folder / f"{recipe.dataset}-{method}-{minutes:g}-{batch}-{rate:g}.safetensors".replace(" ", "_")
        if not path.is_file():
            run = slot_attention.train(
                train, maps_of=maps_of, features=channels, minutes=minutes, batch=batch, learning_rate=rate, seed=recipe.seed,
                fabric=fabric,
            )  # fmt: skip
            told = {"steps": len(run.losses), "train_minutes": round(run.seconds / 60, 2), "last_loss": mean(run.losses[-20:])}
            weights = {name: value.contiguous() for name, value in run.model.cpu().state_dict().items()}
            with replacing(path) as temporary:
                save_file(weights, temporary, {"told": json.dumps(told)})
        model = SlotAttention(train.segments, recipe.seed, channels)
        model.load_state_dict(load_file(path))
        with safe_open(path, "pt") as file:
            told = json.loads(file.metadata()["told"])
        segment = partial(over, maps_of, partial(slot_attention.segment, model, seed=recipe.seed))
        chosen = figures(score_scenes(segment, validation, VALIDATION)).by_name()
        told |= {"batch": batch, "learning_rate": rate, "val_ari": chosen["ari"], "val_fg_ari": chosen["fg_ari"]}
        print(f"{method}: {told}", flush=True)
        found.append((chosen["ari"] + chosen["fg_ari"], segment, told))
    _, segment, told = max(found, key=lambda one: one[0])
    return segment, told | {"tries": [one[2] for one in found]}


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
    methods: tuple[Method, ...] = get_args(Method),
    tries: tyro.conf.OmitArgPrefixes[Tries] = Tries(),
    reduction: int = 1,
    data_root: str | None = None,
    seed: int = 0,
    test_images: int = ALL,
    threads: int = 1,
    out: Path | None = None,
) -> None:
    """Train and score other methods.

    Args:
        dataset: Name of the dataset.
        minutes: Of the processor's time for each training; k-means and the normalised cut need none.
        methods: Those to score.
        tries: Batches and learning rates.
        reduction: Factor by which images are made smaller for Slot Attention over pixels.
        data_root: Folder of the dataset's files.
        seed: Of the training scenes, the initial weights and all random numbers. The test scenes do not depend on it.
        test_images: The number of test scenes, a multiple of 10.
        threads: The number of threads; 0 for PyTorch's default.
        precision: Of the training of Slot Attention.
        out: The JSON file; by default runs/baselines/DATASET-seedSEED.json.
    """
    if test_images % SUBSETS or not SUBSETS <= test_images <= ALL:
        raise InputError(f"--test-images is {test_images}; it must be a multiple of {SUBSETS} from {SUBSETS} to {ALL}.")
    compact = {name: variants["compact"] for name, variants in RECIPES.items() if "compact" in variants}
    over_content = [name for name, recipe in compact.items() if recipe.content.kind != "pixels"]
    if dataset not in over_content:
        raise InputError(f"There is no compact recipe over content for {dataset!r}; choose one of {', '.join(over_content)}.")
    recipe = dataclasses.replace(compact[dataset], data_root=data_root, seed=seed)
    out = out or Path("runs/baselines") / f"{dataset}-seed{seed}.json"
    options = Options(threads=threads, precision="32-true")
    check_options(options)
    fabric = start_fabric(options)
    make_folder(out.parent)
    record: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {
        "dataset": dataset, "seed": seed, "test_seed": TEST_SEED, "segments": recipe.segments, "minutes": minutes,
        "threads": torch.get_num_threads(), "processor": this_machine().processor, "device": str(fabric.device),
        "torch": torch.__version__, "methods": {},
    }  # fmt: skip
    for method in methods:
        if method not in record["methods"]:
            told: dict[str, Any] = {}
            if method.startswith("Slot Attention"):
                segment, told = trained(method, recipe, tries, minutes, reduction, fabric, out.parent)
            else:
                segment = untrained(method, recipe)
            test = scenes_of(recipe, "test", TEST_SEED)
            record["methods"][method] = evaluated(test, test_images, segment) | told
            with replacing(out) as path:
                path.write_text(json.dumps(record, indent=2) + "\n")
    Console().print(table(f"{dataset}, seed {seed}, 1 is perfect", record["methods"]))
    print(f"Wrote {out}")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        sys.exit(str(error))
