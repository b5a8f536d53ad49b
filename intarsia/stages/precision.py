"""The precision that a run trains in: bf16 if its networks are faster in it on this machine, else float32."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch
from lightning_fabric import Fabric
from torch import Generator, Tensor

from intarsia.engine import start_fabric
from intarsia.model import Model
from intarsia.recipes.options import PRECISIONS, Options, Precision
from intarsia.records import record_precision, recorded_precision
from intarsia.shapes import Images
from intarsia.stages.codes import draw, errors_of, reconstruct
from intarsia.stages.game import judge
from intarsia.stages.schedules import StepRules

BUDGET = 1.0  # seconds of timing
FEWEST = 2  # steps in each precision, even if they take longer: the first one also pays for what is set up once
WORTHWHILE = 0.95  # of the time in float32: bf16 has to take less, since it is less precise


def in_run_precision(folder: Path, model: Model, options: Options, fabric: Fabric) -> Fabric:
    """Fabric in the precision of a run: the one asked for, else the recorded one, else the faster one. It is recorded.

    The first process decides for all.

    Args:
        folder: The run folder.
        model: The networks that are timed; they stay as they are.
        options: The options of the run.
        fabric: What `start_fabric` gave for these options.

    Raises:
        InputError: if the record can't be read or written.
    """
    precision = options.precision
    if fabric.is_global_zero:
        recorded = recorded_precision(folder)
        if precision == "auto":
            precision = recorded or _timed(model, fabric)
        if precision != recorded:
            record_precision(folder, precision)
    return start_fabric(replace(options, precision=fabric.broadcast(precision)))


def _timed(model: Model, fabric: Fabric) -> Precision:
    """The faster precision for the networks of a model, timed; a line that says so is printed."""
    recipe, trial = model.recipe, copy.deepcopy(model).to(fabric.device)
    size = (recipe.separation.batch // fabric.world_size, 3, recipe.height, recipe.width)
    images = torch.rand(size, generator=Generator().manual_seed(0)).to(fabric.device)
    seconds = seconds_of_step(lambda: loss_of_all_networks(trial, images), fabric.device.type)
    choice: Precision = "bf16-mixed" if seconds["bf16-mixed"] < WORTHWHILE * seconds["32-true"] else "32-true"
    found = ", ".join(f"{seconds[precision]:.3g} s in {name}" for precision, name in PRECISIONS.items())
    fabric.print(f"Trains in {PRECISIONS[choice]}: a step of all networks takes {found}.")
    return choice


def seconds_of_step(
    loss_of: Callable[[], Tensor], device: str, clock: Callable[[], float] = perf_counter
) -> dict[Precision, float]:
    """The seconds that a loss and its gradients take in each precision: the fastest of some steps, which are made in turn.

    Args:
        loss_of: Computes the loss.
        device: The kind of device that it computes on.
        clock: The time in seconds.
    """
    fastest, steps, started = dict.fromkeys(PRECISIONS, math.inf), 0, clock()
    while steps < FEWEST or clock() - started < BUDGET:
        for precision in PRECISIONS:
            before = clock()
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = loss_of()
            loss.backward()
            loss.item()  # waits for the device
            fastest[precision] = min(fastest[precision], clock() - before)
        steps += 1
    return fastest


def loss_of_all_networks(model: Model, images: Images) -> Tensor:
    """A loss that trains segmenter and inpainter and, if the recipe has codes, the scene autoencoder.

    Args:
        model: The model.
        images: `b 3 h w` in [0, 1].
    """
    recipe = model.recipe
    masks = model.segmenter(images, *model.maps(images)).softmax(1)
    loss = judge(model.inpainter, model.contents(images), model.edges(images), masks, StepRules(epsilon=1.0)).mean()
    if recipe.vaes.steps:
        small, clean = model.autoencoder_images(images), model.downsample(model.ordered(masks.detach(), images))
        draws = draw(recipe, len(images), slice(None), Generator().manual_seed(0), images.device)
        errors = errors_of(reconstruct(model.autoencoder, small, clean, draws, recipe), small, clean)
        loss = loss + torch.stack(list(errors.values())).sum()
    return loss
