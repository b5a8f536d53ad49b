"""The method, in order: each stage takes a model, trains a part of it, and writes its own folder.

1. `inpainting`: the inpainter learns to guess random regions.
2. `separation`: segmenter against inpainter.
3. `vaes`: objects and background become codes and back; segmenter and inpainter stand still.
4. `end_to_end`: all of them together.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from intarsia.data import scenes_of
from intarsia.engine import Run, finished, start_fabric
from intarsia.errors import InputError
from intarsia.files import is_unfinished, make_folder, replacing
from intarsia.model import RECIPE, Model
from intarsia.options import Options, check_options
from intarsia.recipe_file import check_recipe, load_recipe, save_recipe
from intarsia.settings import Recipe, planned
from intarsia.stages.consistency import consistency
from intarsia.stages.end_to_end import end_to_end
from intarsia.stages.inpainting import inpainting
from intarsia.stages.separation import separation
from intarsia.stages.vaes import vaes

STAGES: dict[str, Callable[[Model, Run], None]] = {
    "inpainting": inpainting,
    "separation": separation,
    "vaes": vaes,
    "end_to_end": end_to_end,
    "consistency": consistency,
}


def train(recipe: Recipe, folder: Path, options: Options | None = None, stage: str | None = None) -> Model:
    """Train what is missing in a run folder, stage after stage, and resume what is there.

    Args:
        recipe: What to train.
        folder: New, empty, or a run of the same recipe. Holds `recipe.json` and one folder per stage.
        options: Devices, precision, how often to save.
        stage: The only one to train; those before it have to be finished. All of them where none is named.

    Returns:
        The model after the last stage, or after the one named. Stages of 0 steps are skipped.

    Raises:
        InputError: if the folder holds something else or a run of another recipe, the settings can't be used, or a stage that
            comes before the one named is not finished.
    """
    options = options or Options()
    check_recipe(recipe)
    scenes = scenes_of(recipe, "train")
    if (recipe.height, recipe.width) != (scenes.height, scenes.width):
        raise InputError(
            f"The recipe is for images of {recipe.height} x {recipe.width} pixels, but those of {recipe.dataset} have "
            f"{scenes.height} x {scenes.width}."
        )
    check_options(options)
    processes = options.devices * options.num_nodes
    for name in STAGES:
        batch = getattr(recipe, name).batch
        if batch % processes:
            raise InputError(f"{name}.batch is {batch}; it must be a multiple of the {processes} processes that share it.")
    names = _stages_to_go_through(recipe, folder, stage)
    _claim(folder, recipe)
    fabric = start_fabric(options)
    model = Model(recipe)
    for name in names:
        stage_folder = folder / name
        if finished(stage_folder, getattr(recipe, name).steps):
            model = Model.load(stage_folder)
        else:
            STAGES[name](model, Run(stage_folder, fabric, options, recipe.seed))
    return model


def _stages_to_go_through(recipe: Recipe, folder: Path, last: str | None) -> list[str]:
    """The stages that are not skipped, in order, up to the last one where it is named."""
    names = planned(recipe)
    if last is None:
        return names
    if last not in names:
        steps = f"--{'vaes' if not recipe.vaes.steps else last}.steps".replace("_", "-")
        reason = f"is skipped by this recipe ({steps} 0)" if last in STAGES else "does not exist"
        raise InputError(f"Stage {last!r} {reason}; choose one of {', '.join(names)}.")
    names = names[: names.index(last) + 1]
    for name in names[:-1]:
        if not finished(folder / name, getattr(recipe, name).steps):
            raise InputError(f"Stage {last!r} builds on {name!r}, which is not finished in {folder}; train that first.")
    return names


def _claim(folder: Path, recipe: Recipe) -> None:
    """Make the run folder this recipe's, or see that it is."""
    path = folder / RECIPE
    if path.is_file():
        given, kept = dataclasses.asdict(recipe), dataclasses.asdict(load_recipe(path))
        odd = [f"{key} is {given[key]} here, {kept[key]} there" for key in given if given[key] != kept[key]]
        if odd:
            raise InputError(f"{folder} holds a run with other settings ({'; '.join(odd)}). Give another folder.")
    elif folder.exists() and not (folder.is_dir() and all(map(is_unfinished, folder.iterdir()))):
        raise InputError(f"{folder} exists and is not a run; give a new or empty folder.")
    else:
        make_folder(folder)
        with replacing(path) as temporary:
            save_recipe(recipe, temporary)
