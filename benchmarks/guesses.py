"""What an inpainter can guess, and what not: parts of something still visible, which should cost nothing, and whole things.

`python benchmarks/guesses.py runs/t0/inpainting runs/t0/separation`: hides regions of test scenes, one at a time, and takes the
mean absolute error of a colour, in intensities (0 to 1), inside them: half of an object, all of it, half of the background, all
of it. Beside it, for the same pixels, the error of the guess made with everything hidden, and the share of it that seeing the
rest takes away. True segments choose the regions, and nothing else. The last line is one JSON object.
"""

import json
import sys
from pathlib import Path

import torch
import tyro
from rich.console import Console
from rich.table import Table

from intarsia.data import open_dataset
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
SMALLEST = 32  # px: smaller objects are left out

Errors = dict[str, dict[str, float]]


def regions_of(labels: Labels, generator: torch.Generator) -> dict[str, tuple[torch.Tensor, Masks]]:
    """The regions to hide in scenes with segments `b h w`, by kind: the scene each lies in, and its mask `r h w`."""
    found = {}
    for name, numbers in (("background", [0]), ("object", range(1, int(labels.max()) + 1))):
        whole = torch.stack([labels == number for number in numbers], 1)
        scene, place = (whole.sum((2, 3)) >= SMALLEST).nonzero(as_tuple=True)
        whole = whole[scene, place].float()
        half = whole * one_side(whole[:, None], random_angles(len(whole), 1, generator))[:, 0]
        found |= {
            f"half of the {name}": (scene, half),
            f"all of the {name}": (scene, whole),
        }
    return found


@torch.no_grad()
def errors(model: Model, count: int, spread: bool) -> Errors:
    """By kind of region: `guess` and `blind`, mean absolute errors of a colour; `gain`, the share that looking takes away."""
    recipe = model.eval().recipe
    test = open_dataset(recipe.dataset, TEST_SEED, "test", recipe.data_root, (recipe.height, recipe.width))
    generator, sums = torch.Generator().manual_seed(0), {}
    for indices in batches(count, AT_ONCE, "Regions"):
        images, masks = test(indices)
        for kind, (scene, hidden) in regions_of(hard(masks), generator).items():
            seen = images[scene]
            both = torch.stack([hidden, torch.ones_like(hidden)], 1)
            guesses = model.inpainter(seen, both, model.edges(seen), spread)
            error = hidden_error(seen, hidden[:, None].expand_as(both), guesses).sum(0)
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
    rows = Table("hidden", "error", "with everything hidden", "taken away", title=title, title_justify="left")
    for kind, figures in found.items():
        rows.add_row(kind, f"{figures['guess']:.4f}", f"{figures['blind']:.4f}", f"{100 * figures['gain']:.0f} %")
    return rows


def main(runs: tyro.conf.Positional[tuple[Path, ...]] = (), scenes: int = 200, spread: bool = True, threads: int = 0) -> None:
    """Measure the inpainters of runs, of their stages, or of models.

    Args:
        runs: Their folders, or names of shipped models; all of these unless named.
        scenes: Test scenes, from the first on.
        spread: Whether visible colours spread over patches. Compact.
        threads: Threads; 0 leaves it to PyTorch.
    """
    if scenes < 1:
        raise InputError(f"--scenes is {scenes}; it must be at least 1.")
    options = Options(threads=threads)
    check_options(options)
    if threads:
        torch.set_num_threads(threads)
    found = {str(run): errors(Model.load(latest(run)), scenes, spread) for run in runs or map(Path, shipped())}
    for run, figures in found.items():
        Console().print(table(f"{run}: {scenes} test scenes", figures))
    print(json.dumps(found))


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        sys.exit(str(error))
