"""Errors of an inpainter in parts of a segment, which it should be able to guess, and in complete segments.

`python benchmarks/guesses.py runs/t0/inpainting runs/t0/separation` hides regions of test scenes, one at a time: half of an
object, all of it, half of the background, all of it. It measures the mean absolute error of a colour inside the region (colours
are 0 to 1), and for the same pixels the error if everything is hidden. The gain is the fraction of the second error that the
visible pixels remove. True segments only determine the regions. The last line is a JSON object.
"""

import json
import sys
from pathlib import Path

import torch
import tyro
from rich.console import Console
from rich.table import Table

from intarsia.data import scenes_of
from intarsia.errors import InputError
from intarsia.evaluation.batches import batches
from intarsia.evaluation.segments import TEST_SEED
from intarsia.metrics import hard
from intarsia.model import Model
from intarsia.objectives import hidden_error
from intarsia.recipes.options import Options, check_options
from intarsia.shapes import Labels, Masks
from intarsia.stages.regions import one_side, random_angles
from intarsia.weights import latest, shipped

AT_ONCE = 20  # scenes in memory
SMALLEST = 32  # px; smaller objects are left out

Errors = dict[str, dict[str, float]]


def regions_of(labels: Labels, rng: torch.Generator) -> dict[str, tuple[torch.Tensor, Masks]]:
    """The regions to hide in scenes with segments `b h w`, by kind: the index of the scene of each, and masks `r h w`."""
    found = {}
    for name, numbers in (("background", [0]), ("object", range(1, int(labels.max()) + 1))):
        segments = torch.stack([labels == number for number in numbers], 1)
        scene, place = (segments.sum((2, 3)) >= SMALLEST).nonzero(as_tuple=True)
        segment = segments[scene, place].float()
        half = segment * one_side(segment[:, None], random_angles(len(segment), 1, rng))[:, 0]
        found |= {
            f"half of the {name}": (scene, half),
            f"all of the {name}": (scene, segment),
        }
    return found


@torch.no_grad()
def errors(model: Model, count: int, propagate_colours: bool) -> Errors:
    """For each kind of region: the errors `guess` and `blind` (everything hidden), and `gain`, 1 - guess / blind."""
    recipe = model.eval().recipe
    test = scenes_of(recipe, "test", TEST_SEED)
    rng, sums = torch.Generator().manual_seed(0), {}
    for indices in batches(count, AT_ONCE, "Regions"):
        images, masks = test(indices)
        for kind, (scene, hidden) in regions_of(hard(masks), rng).items():
            hidden_in = images[scene]
            both = torch.stack([hidden, torch.ones_like(hidden)], 1)
            guesses = model.inpainter(hidden_in, both, model.edges(hidden_in), propagate_colours)
            error = hidden_error(hidden_in, hidden[:, None].expand_as(both), guesses).sum(0)
            sums[kind] = sums.get(kind, 0) + torch.stack([*error, 3 * hidden.sum()])
    return {
        kind: {
            "guess": round(float(guess / values), 4),
            "blind": round(float(blind / values), 4),
            "gain": round(float(1 - guess / blind), 3),
        }
        for kind, (guess, blind, values) in sums.items()
    }


def table(title: str, found: Errors) -> Table:
    rows = Table("hidden", "error", "with everything hidden", "gain", title=title, title_justify="left")
    for kind, figures in found.items():
        rows.add_row(kind, f"{figures['guess']:.4f}", f"{figures['blind']:.4f}", f"{100 * figures['gain']:.0f} %")
    return rows


def main(
    runs: tyro.conf.Positional[tuple[Path, ...]] = (), scenes: int = 200, propagate_colours: bool = True, threads: int = 0
) -> None:
    """Measure the inpainters of runs, of their stages, or of models.

    Args:
        runs: Folders, or names of shipped models; by default all shipped models.
        scenes: The number of test scenes, from the first on.
        propagate_colours: Whether the compact inpainter propagates visible colours.
        threads: The number of threads; 0 for PyTorch's default.
    """
    if scenes < 1:
        raise InputError(f"--scenes is {scenes}; it must be at least 1.")
    options = Options(threads=threads)
    check_options(options)
    if threads:
        torch.set_num_threads(threads)
    found = {str(run): errors(Model.load(latest(run)), scenes, propagate_colours) for run in runs or map(Path, shipped())}
    for run, figures in found.items():
        Console().print(table(f"{run}: {scenes} test scenes", figures))
    print(json.dumps(found))


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        sys.exit(str(error))
