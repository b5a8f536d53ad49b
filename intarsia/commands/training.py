"""Reading `intarsia train`: dataset and recipe decide what the defaults of all its options are."""

import dataclasses
from pathlib import Path
from typing import Any

from intarsia.commands.filling import fill, similar
from intarsia.commands.table import DEFAULT_VARIANT, Settings, Train, TrainForm
from intarsia.errors import InputError
from intarsia.recipes import RECIPES, STARTS
from intarsia.recipes.file import check_recipe
from intarsia.recipes.options import check_options
from intarsia.recipes.settings import STAGES, Recipe

__all__ = ["parse_train", "split_data"]


def parse_train(argv: list[str]) -> Train:
    """Understand what follows `train`; `InputError` where that can't be done."""
    wants_help = any(word in ("-h", "--help") for word in argv)
    argv = _without_data(argv)
    named = bool(argv) and not argv[0].startswith("-")
    if not named and not wants_help:
        raise InputError(f"Name a dataset right after `train`: {', '.join(RECIPES)}.")
    dataset = argv[0] if named else next(iter(RECIPES))
    if dataset not in RECIPES:
        raise InputError(f"There is no dataset {dataset!r}; choose one of {', '.join(RECIPES)}.{similar(dataset, RECIPES)}")
    options = argv[1:] if named else argv
    variant = _variant(options, dataset)
    shipped = RECIPES[dataset][variant]
    default = TrainForm(settings=Settings(**_shallow(shipped)), recipe=variant)
    description = (
        f"{Train.__doc__} The numbers shown are those of {dataset}, recipe {variant}. "
        f"Datasets: {', '.join(RECIPES)}. Recipes of {dataset}: {', '.join(RECIPES[dataset])}."
    )
    form = fill(TrainForm, options, f"train {dataset if named else 'DATASET'}", description, default)
    recipe = Recipe(**_shallow(form.settings))
    check_recipe(recipe)
    check_options(form.options)
    if form.stage not in (None, *STAGES):
        raise InputError(f"There is no stage {form.stage!r}; choose one of {', '.join(STAGES)}.{similar(form.stage, STAGES)}")
    run = form.run or Path("runs") / f"{dataset}-{variant}-{recipe.seed}"
    start = form.start
    if start is None and not recipe.separation.steps and (dataset, variant) in STARTS and not (run / "recipe.json").exists():
        start = Path(STARTS[dataset, variant])  # a run that is there keeps what it started from
    return Train(recipe, run, form.options, form.stage, start)


def _without_data(argv: list[str]) -> list[str]:
    """`--data NAME:PATH` in other words: the dataset NAME, with --data-root PATH."""
    for at, word in enumerate(argv):
        option, equals, value = word.partition("=")
        if option == "--data":
            given = value if equals else "".join(argv[at + 1 : at + 2])
            name, root = split_data(given)
            return [name, "--data-root", root, *argv[:at], *argv[at + (1 if equals else 2) :]]
    return argv


def split_data(given: str) -> tuple[str, str]:
    """Dataset and folder of NAME:PATH."""
    name, _, root = given.partition(":")
    if not name or not root:
        raise InputError(f"--data is {given!r}; it must be NAME:PATH, such as folder:photos.")
    return name, root


def _variant(options: list[str], dataset: str) -> str:
    """The recipe asked for: it decides the defaults of all other options, so it is sought before they are read."""
    variant = DEFAULT_VARIANT if DEFAULT_VARIANT in RECIPES[dataset] else next(iter(RECIPES[dataset]))
    for word, following in zip(options, [*options, None][1:], strict=True):
        if word.startswith("--recipe="):
            variant = word.partition("=")[2]
        elif word == "--recipe" and following is not None:
            variant = following
    if variant not in RECIPES[dataset]:
        raise InputError(f"There is no recipe {variant!r} for {dataset}; choose one of {', '.join(RECIPES[dataset])}.")
    return variant


def _shallow(settings: Any) -> dict[str, Any]:
    return {item.name: getattr(settings, item.name) for item in dataclasses.fields(settings)}
