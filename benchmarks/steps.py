"""Seconds per optimizer step of the reference networks, in float32 and bf16: `python benchmarks/steps.py`.

Batches, networks and losses are the published ones, and drawing the data is included. A figure is the median of some steps
after warm-up, on 2 threads. Each case runs in its own process, so that peak memory is measured per case. Writes
docs/steps.json; the last line is that JSON object. docs/notes/007-reference-networks.md has the original's figures.
"""

import json
import multiprocessing
import os
import resource
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
import tyro
from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table
from torch import Generator, Tensor

from intarsia.data import open_dataset
from intarsia.files import replacing
from intarsia.model import Model
from intarsia.networks.tensorflow import Adam
from intarsia.objectives import capacity_loss, inpainting_loss
from intarsia.recipes import RECIPES
from intarsia.recipes.settings import Recipe
from intarsia.shapes import Images
from intarsia.stages.codes import draw, errors_of, reconstruct
from intarsia.stages.consistency import error_of_changes
from intarsia.stages.game import Turn, judge, sample_segments
from intarsia.stages.regions import random_regions
from intarsia.stages.schedules import StepRules

PRECISIONS = ("float32", "bfloat16")
LARGE, SMALL = (RECIPES[name]["reference"] for name in ("multi_texture", "multi_texture_pair"))
Loss = Callable[[Model, Images, Generator], Tensor]


def rules_of(model: Model) -> StepRules:
    return StepRules(model.recipe.separation.epsilon.highest)


def turn_of(model: Model, images: Images, rng: Generator) -> Turn:
    return Turn(images, [images], model.edges(images), [], rules_of(model), rng, len(images), slice(None))


def pretraining(model: Model, images: Images, rng: Generator) -> Tensor:
    hidden = random_regions(len(images), model.recipe, rng)
    return inpainting_loss(images, hidden, model.inpainter(images, hidden, model.edges(images)))


def inpainter_turn(model: Model, images: Images, rng: Generator) -> Tensor:
    hidden = sample_segments(model.segmenter, turn_of(model, images, rng), model.recipe.separation.sampled_segments)
    return inpainting_loss(images, hidden, model.inpainter(images, hidden, model.edges(images)))


def segmenter_turn(model: Model, images: Images, rng: Generator) -> Tensor:
    masks = model.segmenter(images).softmax(1)
    return judge(model.inpainter, [images], model.edges(images), masks, rules_of(model)).mean()


def codes(model: Model, images: Images, rng: Generator) -> Tensor:
    settings, draws = model.recipe.vaes, draw(model.recipe, len(images), slice(None), rng, images.device)
    with torch.no_grad():
        masks = model.ordered(model.segmenter(images).softmax(1), images)
    errors = errors_of(reconstruct(model.autoencoder, images, masks, draws, model.recipe), images, masks)
    loss = settings.shape_gamma * capacity_loss(errors["shape_nats"], 0.1)
    loss = loss + settings.texture_beta * errors["texture_nats"] + settings.background_beta * errors["background_nats"]
    return loss + sum(value for name, value in errors.items() if name.endswith("_error"))


def consistent_segmenter_turn(model: Model, images: Images, rng: Generator) -> Tensor:
    logits, turn = model.segmenter(images), turn_of(model, images, rng)
    judged = judge(model.inpainter, turn.contents, turn.edges, logits.softmax(1), turn.rules)
    error = error_of_changes(Fabric(accelerator="cpu"), model, model.segmenter, logits, turn)
    return judged.mean() + model.recipe.consistency.weight * error


# Recipe, images per step, the trained network, and its loss.
CASES: dict[str, tuple[Recipe, int, str, Loss]] = {
    "pretrain": (LARGE, 16, "inpainter", pretraining),
    "cis_resnet_inpainter": (LARGE, 8, "inpainter", inpainter_turn),
    "cis_resnet_segmenter": (LARGE, 8, "segmenter", segmenter_turn),
    "cis_segnet_inpainter": (SMALL, 8, "inpainter", inpainter_turn),
    "cis_segnet_segmenter": (SMALL, 8, "segmenter", segmenter_turn),
    "vae": (SMALL, 16, "autoencoder", codes),
    "consistency_inpainter": (SMALL, 4, "inpainter", inpainter_turn),
    "consistency_segmenter": (SMALL, 4, "segmenter", consistent_segmenter_turn),
}


def measure(case: str, precision: str, steps: int, threads: int) -> tuple[float, float]:
    """The median seconds of a step, and the peak memory in GB."""
    torch.set_num_threads(threads)
    recipe, batch, learner, loss_of = CASES[case]
    model, scenes = Model(recipe), open_dataset(recipe.dataset)
    parameters = list(model.requires_grad_(False).get_submodule(learner).requires_grad_(True).parameters())
    optimizer, seconds = Adam(parameters, 1e-5, fused=True), []
    for step in range(2 + steps):
        started = perf_counter()
        images = scenes(range(step * batch, (step + 1) * batch)).images
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = loss_of(model, images, Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(perf_counter() - started)
    return median(seconds[2:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main(cases: tuple[str, ...] = tuple(CASES), steps: int = 10, threads: int = 2, out: Path = Path("docs/steps.json")) -> None:
    """Measure the cases.

    Args:
        cases: The cases to measure; the others keep their figures in the file.
        steps: The number of steps of each case, after two for warm-up.
        threads: The number of threads.
        out: The JSON file.
    """
    table = Table("case", *PRECISIONS, "GB", title=f"seconds per step, {threads} threads")
    found = json.loads(out.read_text()) if out.is_file() else {}
    for case in cases:
        row, memory = [], 0.0
        found[case] = {}
        for precision in PRECISIONS:
            with multiprocessing.get_context("spawn").Pool(1) as process:
                ours, peak = process.apply(measure, (case, precision, steps, threads))
            found[case][precision], memory = round(ours, 3), max(memory, peak)
            row.append(f"{ours:.3f}")
        with replacing(out) as path:
            path.write_text(json.dumps(found, indent=2) + "\n")
        table.add_row(case, *row, f"{memory:.1f}")
    Console().print(table, f"load at the end: {os.getloadavg()[0]:.1f}")
    print(json.dumps(found))


if __name__ == "__main__":
    tyro.cli(main)
