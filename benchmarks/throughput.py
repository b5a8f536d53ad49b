"""Training steps per second, and the share of their time spent waiting for images: `python benchmarks/throughput.py`.

A step draws a batch, computes a loss of all networks of a recipe and its gradients, and moves the weights. Each step is waited
for, so that all time in which the device has no images counts as waiting. Arithmetic is counted by PyTorch (`FlopCounterMode`:
products of matrices and convolutions), and compared with that of one large product of matrices on the same device in the same
precision. Writes docs/throughput.json, which keeps the figures of other devices; the last line is that JSON object.
"""

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Literal

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from intarsia.data import open_dataset
from intarsia.engine import Run, start_fabric
from intarsia.files import replacing
from intarsia.model import Model
from intarsia.networks.tensorflow import Adam
from intarsia.recipes import RECIPES
from intarsia.recipes.options import PRECISIONS, Options
from intarsia.stages.precision import loss_of_all_networks
from intarsia.stages.scenes import StepImages, workers_for

WARM_UP = 2  # steps
LARGE = {"cpu": 2048, "cuda": 8192}  # rows and columns of the product of matrices
TRIES = 5  # of it


@dataclass(frozen=True)
class Figures:
    """What was measured: rates are per second."""

    batch: int
    workers: int
    steps: float
    images: float
    waiting: float
    """Share of the time."""
    teraflops: float
    share_of_product: float
    """Of the arithmetic per second of a large product of matrices."""


def measure(recipe_name: str, options: Options, compiled: bool, steps: int) -> Figures:
    dataset, _, name = recipe_name.partition("/")
    recipe, fabric = RECIPES[dataset][name], start_fabric(options)
    model, batch = Model(recipe).to(fabric.device), recipe.separation.batch
    optimizer = Adam((each for each in model.parameters() if each.requires_grad), 1e-5, fused=True)
    with TemporaryDirectory() as folder:
        run = Run(Path(folder), fabric, options, recipe.seed)
        images_of = StepImages(open_dataset(dataset), run, batch, WARM_UP + steps)

        def learn(images: Tensor) -> None:
            with fabric.autocast():
                loss = loss_of_all_networks(model, images)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()  # waits for the device

        with FlopCounterMode(display=False) as counter:
            learn(images_of(0))
        if compiled:
            for network in (model.segmenter, model.inpainter, model.autoencoder):
                network.compile()
        waited, taken = [], []
        for step in range(1, WARM_UP + steps):
            started = perf_counter()
            images = images_of(step)
            waited.append(perf_counter() - started)
            learn(images)
            taken.append(perf_counter() - started)
    seconds = median(taken[WARM_UP - 1 :])
    rate = counter.get_total_flops() / seconds
    return Figures(
        batch=batch,
        workers=workers_for(options, fabric.device),
        steps=round(1 / seconds, 3),
        images=round(batch / seconds, 2),
        waiting=round(sum(waited[WARM_UP - 1 :]) / sum(taken[WARM_UP - 1 :]), 4),
        teraflops=round(rate / 1e12, 4),
        share_of_product=round(rate / product_rate(fabric.device, options.precision), 3),
    )


def product_rate(device: torch.device, precision: str) -> float:
    """Operations per second in a large product of matrices."""
    side = LARGE[device.type]
    matrix = torch.rand(side, side, device=device, dtype=torch.bfloat16 if precision == "bf16-mixed" else torch.float32)
    seconds = []
    for _ in range(TRIES):
        started = perf_counter()
        float((matrix @ matrix)[0, 0])
        seconds.append(perf_counter() - started)
    return 2 * side**3 / min(seconds)


def device_name(accelerator: str) -> str:
    """The card, or the processor with the number of threads."""
    if accelerator == "cuda":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, threads: {torch.get_num_threads()}"


def main(
    recipes: tuple[str, ...] = ("multi_dsprites/pixels", "multi_texture_pair/reference"),
    compiled: tuple[bool, ...] = (False, True),
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    workers: Literal["auto"] | int = "auto",
    threads: int = 0,
    steps: int = 20,
    out: Path = Path("docs/throughput.json"),
) -> None:
    """Measure the recipes in float32 and in bf16.

    Args:
        recipes: DATASET/NAME of shipped recipes.
        compiled: Whether networks are compiled by `torch.compile`: without, with, or both.
        accelerator: The device; auto is a GPU if there is one.
        workers: As in `intarsia train`.
        threads: The number of threads on a CPU; 0 leaves it to PyTorch.
        steps: The number of steps that are timed, after two for warm-up.
        out: The JSON file.
    """
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if threads:
        torch.set_num_threads(threads)
    device = device_name(accelerator)
    table = Table("recipe", "precision", "compiled", *Figures.__dataclass_fields__, title=device)
    found = json.loads(out.read_text()) if out.is_file() else {}
    for recipe in recipes:
        for precision, precision_name in PRECISIONS.items():
            for compiling in compiled:
                options = Options(precision=precision, accelerator=accelerator, threads=threads, workers=workers)
                figures = asdict(measure(recipe, options, compiling, steps))
                case = f"{recipe}, {precision_name}{', compiled' if compiling else ''}"
                found.setdefault(device, {})[case] = figures
                with replacing(out) as path:
                    path.write_text(json.dumps(found, indent=2) + "\n")
                table.add_row(recipe, precision_name, str(compiling), *map(str, figures.values()))
    Console().print(table, f"load at the end: {os.getloadavg()[0]:.1f}")
    print(json.dumps(found))


if __name__ == "__main__":
    tyro.cli(main)
