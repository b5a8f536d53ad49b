"""The method, in order: each stage takes a model and scenes, trains a part of the model, and writes its own folder.

1. `inpainting`: the inpainter learns to guess random regions.
2. `separation`: segmenter against inpainter. `distillation`: the segmenter learns segmentations found by search.
3. `vaes`: objects and background become codes and back; segmenter and inpainter are not trained.
4. `end_to_end`: all of them together.
5. `consistency`: an object whose shape changes has to be found in its own segment.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from intarsia.assembly import naming
from intarsia.engine import ExtraLoss, Run, finished, is_first_process, start_fabric
from intarsia.errors import InputError
from intarsia.files import held, is_unfinished, make_folder, replacing
from intarsia.model import Model
from intarsia.recipes.file import check_recipe, load_recipe, save_recipe
from intarsia.recipes.options import Options, check_options
from intarsia.recipes.settings import Recipe, flatten, planned
from intarsia.stages.consistency import consistency
from intarsia.stages.distillation import distillation
from intarsia.stages.end_to_end import end_to_end
from intarsia.stages.inpainting import inpainting
from intarsia.stages.precision import in_run_precision
from intarsia.stages.scenes import TrainingScenes, training_scenes
from intarsia.stages.separation import separation
from intarsia.stages.starting import started_from
from intarsia.stages.vaes import vaes
from intarsia.weights import RECIPE, START, START_NAME

STAGES: dict[str, Callable[[Model, TrainingScenes, Run], None]] = {
    "inpainting": inpainting,
    "separation": separation,
    "distillation": distillation,
    "vaes": vaes,
    "end_to_end": end_to_end,
    "consistency": consistency,
}


def train(
    recipe: Recipe,
    folder: str | Path,
    options: Options | None = None,
    stage: str | None = None,
    start: Path | None = None,
    scenes: TrainingScenes | None = None,
    segmenter: nn.Module | None = None,
    inpainter: nn.Module | None = None,
    extra_loss: ExtraLoss | None = None,
) -> Model:
    """Train the stages of a run folder one after the other. What is finished is read; what is not is resumed.

    Args:
        recipe: What to train.
        folder: New, empty, or a run of the same recipe. It holds `recipe.json`, one folder per stage, and the model that the
            run starts from, if one was given.
        options: Devices, precision, how often to save. The precision is kept in the folder (`in_run_precision`).
        stage: The only stage to train; those before it have to be finished. None trains all.
        start: A model whose learned weights the run starts from (`started_from`). The run keeps them: to resume, it need not
            be given again.
        scenes: What to train on, and what to be validated on; None takes the recipe's dataset.
        segmenter: A network of your own in place of the recipe's; it is trained in place. To resume, give it again.
        inpainter: The same.
        extra_loss: What the segmenter minimises besides, of images `b 3 h w` and its soft masks `b k h w`: a number for each
            image, or their mean. The run does not keep it: to resume, give it again.

    Returns:
        The model after the last stage, or after the one named. Stages of 0 steps are skipped.

    Raises:
        InputError: if the folder holds something else or a run of another recipe, the settings can't be used, a stage that
            comes before the one named is not finished, the model to start from does not fit, or another training has the
            folder.
    """
    folder, options = Path(folder), options or Options()
    networks: dict[str, Any] = {"segmenter": segmenter, "inpainter": inpainter}
    if start and not all(network is None for network in networks.values()):
        raise InputError(f"A run with networks of your own can't start from {start}: load its weights into them yourself.")
    recipe = naming(recipe, **networks)
    check_recipe(recipe)
    check_options(options)
    scenes = TrainingScenes(*scenes) if scenes else training_scenes(recipe)
    _check_fit(recipe, scenes, options.devices * options.num_nodes)
    names = _stages_up_to(stage, recipe, folder)
    with held(folder) if is_first_process(options) else nullcontext():  # the processes of one training hold it together
        return _train(recipe, folder, options, names, start, scenes, networks, extra_loss)


def _train(
    recipe: Recipe,
    folder: Path,
    options: Options,
    names: list[str],
    start: Path | None,
    scenes: TrainingScenes,
    networks: dict[str, Any],
    extra_loss: ExtraLoss | None,
) -> Model:
    """Train the stages that are named."""
    fabric = start_fabric(options)
    source, learned = started_from(start, recipe) if start else (None, [])
    is_new = _is_new(folder, recipe, start, source, learned)
    fabric.barrier()  # no process writes before all have looked
    if is_new:
        _begin(folder, recipe, start, source)
    if learned:
        fabric.print(f"Starts from {start}: {', '.join(learned)}.")
    model = Model.load(folder / START) if (folder / START).exists() else Model(recipe, **networks)
    for name in names:
        stage_folder = folder / name
        if finished(stage_folder, getattr(recipe, name).steps):
            model = Model.load(stage_folder, **networks)
        else:
            fabric = in_run_precision(folder, model, options, fabric)
            STAGES[name](model, scenes, Run(stage_folder, fabric, options, recipe.seed, extra_loss))
    return model


def _check_fit(recipe: Recipe, scenes: TrainingScenes, processes: int) -> None:
    """Raise `InputError` if the scenes have another size than the recipe's, or processes can't share its batches evenly."""
    if (recipe.height, recipe.width) != (scenes.train.height, scenes.train.width):
        raise InputError(
            f"The recipe is for images of {recipe.height} x {recipe.width} pixels, but those of {recipe.dataset} have "
            f"{scenes.train.height} x {scenes.train.width}."
        )
    for name in planned(recipe):
        batch = getattr(recipe, name).batch
        if batch % processes:
            raise InputError(f"{name}.batch is {batch}; it must be a multiple of the {processes} processes that share it.")


def _stages_up_to(last: str | None, recipe: Recipe, folder: Path) -> list[str]:
    """The stages that are not skipped, in order, up to the one named."""
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


def _is_new(folder: Path, recipe: Recipe, start: Path | None, source: Model | None, learned: list[str]) -> bool:
    """Whether a run has yet to begin in a folder. If not, its recipe and its first weights are those given.

    Args:
        folder: The run folder.
        recipe: The recipe of the run.
        start: What it starts from, if anything.
        source: The model that `started_from` makes of it.
        learned: The networks that it has trained.
    """
    path = folder / RECIPE
    if path.is_file():
        given, kept = flatten(recipe), flatten(load_recipe(path, to_train=True))
        odd = [f"{name} is {given[name]} here, {kept[name]} there" for name in given if given[name] != kept[name]]
        if odd:
            raise InputError(f"{folder} holds a run with other settings ({'; '.join(odd)}). Give another folder.")
        if source and not _holds(folder / START, source):
            raise InputError(f"{folder} holds a run that did not start from {start}. Give another folder.")
        return False
    foreign = [path for path in folder.iterdir() if not is_unfinished(path)] if folder.is_dir() else [folder]
    if folder.exists() and [path.name for path in foreign] not in ([], [START] if source else []):
        raise InputError(f"{folder} exists and is not a run; give a new or empty folder.")
    first = next(iter(planned(recipe)), None)
    if first == "vaes" and "segmenter" not in learned:
        raise InputError(
            "Stage 'vaes' builds on 'separation', which is skipped (--separation.steps 0): start from a model with segments."
        )
    if first in ("end_to_end", "consistency") and "autoencoder" not in learned:
        raise InputError(f"Stage {first!r} builds on 'vaes', which is skipped (--vaes.steps 0): start from a model with codes.")
    return True


def _begin(folder: Path, recipe: Recipe, start: Path | None, source: Model | None) -> None:
    """Write recipe and first weights into a new run folder. Processes of one training may do so at once."""
    make_folder(folder)
    if source:
        source.save(folder / START)
        if start and not start.exists():  # the name of a shipped model
            with replacing(folder / START / START_NAME) as temporary:
                temporary.write_text(f"{start}\n")
    with replacing(folder / RECIPE) as temporary:
        save_recipe(recipe, temporary)


def _holds(folder: Path, model: Model) -> bool:
    """Whether a folder holds a model of the same weights."""
    if not folder.exists():
        return False
    kept = Model.load(folder).state_dict()
    return all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
