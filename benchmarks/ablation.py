"""What each part of the game over content gives: `python benchmarks/ablation.py` leaves out one at a time.

The segments of the compact recipe are trained whole, then without one part, with each seed in turn and for the same number of
steps; the search and the codes that may follow are left out everywhere. Scores are those of the first test scenes. Each row is
added to the JSON file as soon as it is there; a row of that file is not measured again, and a finished run of `--runs` is not
trained again. Minutes are those of the clock: compare them only if nothing else ran.

`python benchmarks/ablation.py flying_animals_debian --data-root FOLDER --start RUN/inpainting --scenes 200` starts from an
inpainter that is trained already.
"""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from unittest.mock import patch

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from intarsia.data import SPLITS, scenes_of
from intarsia.errors import InputError
from intarsia.evaluation.means import number
from intarsia.evaluation.segments import SUBSETS, TEST_SEED, evaluate, figures
from intarsia.files import replacing
from intarsia.model import Model
from intarsia.networks import content
from intarsia.recipes import RECIPES
from intarsia.recipes.options import Options
from intarsia.recipes.settings import Content, Inpainter, Recipe, Regrouping
from intarsia.records import read_training
from intarsia.shapes import Maps
from intarsia.stages import train

RECIPE = "compact"  # of each dataset
ALL = SPLITS["test"] or 0
RUNS = Path(gettempdir()) / "intarsia-ablation"
NOTHING, VOTES = "nothing", "votes"
UNFACTORED = {"factors", "factors, same epsilon"}
STATISTICS = content.CHANNELS["statistics"]
REGROUPING = {"multi_texture": Regrouping(weight=1.0, from_step=200)}  # until this showed that it gives nothing
FIGURES = {"miou": "mIoU", "ari": "ARI", "fg_ari": "FG-ARI", "iou": "IoU"}

Row = dict[str, Any]


def without_content(recipe: Recipe, highest: float, final: float) -> Recipe:
    """Guess pixels, with the epsilon of `pixels` and a network of its size that propagates nothing, as the whole's."""
    regions, epsilon = recipe.inpainting.regions, recipe.separation.epsilon
    return replace(
        _game(recipe, epsilon=replace(epsilon, start=30.0, highest=highest, final=final)),
        content=Content(kind="pixels"),
        inpainter=Inpainter(patches=0),
        inpainting=replace(recipe.inpainting, regions=replace(regions, clusters=0.0)),
    )


def with_all_statistics(recipe: Recipe) -> Recipe:
    """Keep as many numbers as are measured. Their errors are summed."""
    return replace(recipe, content=replace(recipe.content, factors=(STATISTICS, STATISTICS)))


def with_epsilon_times(recipe: Recipe, times: float) -> Recipe:
    """Multiply all values of epsilon."""
    old = recipe.separation.epsilon
    return _game(recipe, epsilon=replace(old, start=times * old.start, highest=times * old.highest, final=times * old.final))


def standardised(maps: Maps, _distance: int, _count: int) -> tuple[Tensor, Tensor]:
    """In place of `content.factors`: what is measured in maps `b c h w`, each number scaled to unit variance."""
    cells = maps.permute(0, 2, 3, 1)
    return cells.mean((0, 1, 2)), (1 / cells.std((0, 1, 2)).clamp(min=1e-6)).diag()


def _game(recipe: Recipe, **settings: Any) -> Recipe:
    return replace(recipe, separation=replace(recipe.separation, **settings))


def _segmenter(recipe: Recipe, **settings: Any) -> Recipe:
    return replace(recipe, segmenter=replace(recipe.segmenter, **settings))


PARTS: dict[str, dict[str, Callable[[Recipe], Recipe]]] = {
    "multi_texture": {
        NOTHING: lambda recipe: recipe,
        VOTES: lambda recipe: _segmenter(recipe, votes=0),
        "content": lambda recipe: without_content(recipe, 100.0, 50.0),  # of `pixels`
        "content, larger epsilon": lambda recipe: without_content(recipe, 300.0, 100.0),  # of the demo recipe
        "choice of factors": lambda recipe: with_epsilon_times(with_all_statistics(recipe), 2.0),  # twice as many
        "factors": lambda recipe: with_epsilon_times(with_all_statistics(recipe), 2.0),
        "factors, same epsilon": with_all_statistics,
        "margin": lambda recipe: _game(recipe, margin=0),
        "hard masks": lambda recipe: _game(recipe, hard_from_step=None),
        "regrouping": lambda recipe: _game(recipe, regrouping=replace(recipe.separation.regrouping, weight=0.0)),
        "halves": lambda recipe: _game(recipe, split_fraction=0.0),
    },
    "flying_animals_debian": {
        NOTHING: lambda recipe: recipe,
        "features in the segmenter": lambda recipe: _segmenter(recipe, backbone=False),
    },
}
"""Of each dataset: what is left out, and the recipe without it."""


def whole(dataset: str, seed: int, data_root: str | None, started: bool) -> Recipe:
    """The recipe of which parts are left out; without stage 1 if the run starts from a trained inpainter."""
    recipe = replace(RECIPES[dataset][RECIPE], seed=seed, data_root=data_root)
    recipe = _game(recipe, regrouping=REGROUPING.get(dataset, recipe.separation.regrouping))
    return replace(
        recipe,
        inpainting=replace(recipe.inpainting, steps=0) if started else recipe.inpainting,
        distillation=replace(recipe.distillation, steps=0),
        vaes=replace(recipe.vaes, steps=0),
    )


def measure(recipe: Recipe, part: str, run: Path, scenes: int, start: Path | None) -> Row:
    """Train a recipe without one part in a run folder, unless it is finished, and score it on the first test scenes."""
    changed = PARTS[recipe.dataset][part](recipe)
    with patch.object(content, "factors", standardised) if part in UNFACTORED else nullcontext():
        options = Options(precision="32-true", accelerator="cpu", threads=1, show_every=10**6)
        model: Model = train(recipe if part == VOTES else changed, run, options, start=start)
    model.recipe = changed  # votes have no part in training: they are taken from the finished model
    found = figures(evaluate(model.eval(), scenes_of(recipe, "test", TEST_SEED), scenes)).by_name()
    training = read_training(run)
    return {
        "dataset": recipe.dataset, "left_out": part, "seed": recipe.seed, "test_scenes": scenes,
        **{name: found[name]["mean"] if name == "iou" else found[name] for name in FIGURES},
        "steps": training.steps, "minutes": round(training.minutes, 2), "processor": training.machine.processor,
    }  # fmt: skip


def table(dataset: str, rows: list[Row]) -> Table:
    """Figures and minutes of rows."""
    shown = Table("left out", "seed", *FIGURES.values(), "steps", "minutes", "scenes", title=dataset, title_justify="left")
    for row in rows:
        numbers = [number(row[name]) for name in FIGURES]
        shown.add_row(
            row["left_out"], str(row["seed"]), *numbers, str(row["steps"]), f"{row['minutes']:.1f}", str(row["test_scenes"])
        )
    return shown


def main(
    dataset: tyro.conf.Positional[str] = "multi_texture",
    seeds: tuple[int, ...] = (0, 1),
    scenes: int = 500,
    data_root: str | None = None,
    start: Path | None = None,
    out: Path = Path("docs/ablation.json"),
    runs: Path = RUNS,
) -> None:
    """Train the compact recipe of a dataset whole and without each of its parts, on one thread in float32.

    Args:
        dataset: Its name.
        seeds: Of the trainings.
        scenes: The number of test scenes, a multiple of 10.
        data_root: Folder of the dataset's own files, if it has some.
        start: A model whose inpainter is trained already. Stage 1 is skipped then.
        out: The JSON file. It keeps the rows of other datasets, seeds and numbers of scenes.
        runs: Where the runs are kept.
    """
    if dataset not in PARTS:
        raise InputError(f"Nothing is known of {dataset!r} that could be left out; choose one of {', '.join(PARTS)}.")
    if scenes % SUBSETS or not SUBSETS <= scenes <= ALL:
        raise InputError(f"--scenes is {scenes}; it must be a multiple of {SUBSETS} from {SUBSETS} to {ALL}.")
    torch.set_num_threads(1)
    rows: list[Row] = json.loads(out.read_text()) if out.is_file() else []
    for seed in seeds:
        recipe = whole(dataset, seed, data_root, start is not None)
        for part in PARTS[dataset]:
            key = {"dataset": dataset, "left_out": part, "seed": seed, "test_scenes": scenes}
            if not any(key.items() <= row.items() for row in rows):
                run = runs / f"{dataset}-{NOTHING if part == VOTES else part}-{seed}".replace(" ", "_").replace(",", "")
                rows.append(measure(recipe, part, run, scenes, start))
                print(json.dumps(rows[-1]), flush=True)
                with replacing(out) as path:
                    path.write_text(json.dumps(rows, indent=2) + "\n")
    Console().print(table(dataset, [row for row in rows if row["dataset"] == dataset]))


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        sys.exit(str(error))
