"""The minutes that recipes take until validation scenes reach a foreground ARI of 0.5, 0.8 and 0.9.

`python benchmarks/quality.py multi_texture` trains the segments (stages 1 and 2) of the recipes `pixels` and `compact` from
scratch, one after the other in one process, and validates every 100 steps with 200 scenes. The minutes are those of the clock,
and hold the validations too. Runs are kept in `--folder`; a run that is there is resumed, and read if it is finished. Compare
minutes of one machine alone.
"""

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir

import tyro
from rich.console import Console
from rich.table import Table

from intarsia.errors import InputError
from intarsia.recipes import RECIPES
from intarsia.recipes.options import Options, Precision
from intarsia.recipes.settings import Recipe
from intarsia.records import Training, read_training, this_machine
from intarsia.stages import train

LEVELS = (0.5, 0.8, 0.9)
FIGURE = "fg_ari"
RUNS = Path(gettempdir()) / "intarsia-quality"


def segments_only(recipe: Recipe) -> Recipe:
    """The recipe without the stages that train codes."""
    return replace(recipe, vaes=replace(recipe.vaes, steps=0))


def progress(training: Training) -> list[tuple[float, float]]:
    """The minutes since the beginning, and the foreground ARI, of each validation of a run, in order."""
    found, before = [], 0.0
    for log in training.logs.values():
        found += [((before + record["seconds"]) / 60, record[FIGURE]) for record in log if FIGURE in record]
        before += log[-1]["seconds"]
    return found


def reached(points: list[tuple[float, float]], level: float) -> float | None:
    """The minutes of the first validation from which on all figures are at least `level`; None if the last one is below."""
    below = [index for index, (_, figure) in enumerate(points) if figure < level]
    first = below[-1] + 1 if below else 0
    return points[first][0] if first < len(points) else None


def main(
    datasets: tyro.conf.Positional[tuple[str, ...]] = ("multi_texture",),
    recipes: tuple[str, ...] = ("pixels", "compact"),
    seed: int = 0,
    data_root: str | None = None,
    every: int = 100,
    threads: int = 0,
    precision: Precision = "32-true",
    folder: Path = RUNS,
) -> None:
    """Train recipes in turn, and print the minutes to each level.

    Args:
        datasets: Their names.
        recipes: Their names; a dataset has to have them all.
        seed: Of the training.
        data_root: Folder of the datasets' own files, for those that have some.
        every: Steps between validations.
        threads: The number of threads; 0 for PyTorch's default.
        precision: Of the training.
        folder: Where the runs are kept.
    """
    rows = Table("dataset", "recipe", *(f"min to {level:g}" for level in LEVELS), "at the end", "min in all")
    for dataset in datasets:
        unknown = [name for name in recipes if name not in RECIPES.get(dataset, {})]
        if unknown:
            raise InputError(f"There is no recipe {dataset}/{unknown[0]}; datasets with recipes: {', '.join(RECIPES)}.")
        for name in recipes:
            recipe = segments_only(replace(RECIPES[dataset][name], seed=seed, data_root=data_root))
            run = folder / f"{dataset}-{name}-{seed}"
            train(recipe, run, Options(precision=precision, threads=threads, show_every=every))
            training = read_training(run)
            points = progress(training)
            minutes = [reached(points, level) for level in LEVELS]
            shown = ["never" if each is None else f"{each:.1f}" for each in minutes]
            rows.add_row(dataset, name, *shown, f"{points[-1][1]:.3f}", f"{training.minutes:.1f}")
    Console().print(rows)
    where = f"{threads or 'all'} threads, {this_machine().processor}"
    print(f"Seed {seed}, {precision}, {where}; 200 validation scenes every {every} steps.")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        sys.exit(str(error))
