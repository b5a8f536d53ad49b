"""`intarsia train`: a subcommand for each shipped recipe, with the recipe's numbers as defaults."""

import difflib
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Fixed, FlagConversionOff, Suppress, arg
from tyro.extras import subcommand_type_from_defaults

from intarsia.errors import InputError
from intarsia.recipes import RECIPES, STARTS
from intarsia.recipes.options import Options
from intarsia.recipes.settings import Recipe, planned
from intarsia.weights import RECIPE

SHIPPED_RECIPES = {f"{dataset}/{name}": recipe for dataset, recipes in RECIPES.items() for name, recipe in recipes.items()}


@dataclass(frozen=True)
class Train:
    """Train a recipe, stage by stage. If interrupted, the same command resumes."""

    name: Suppress[Fixed[str]]  # the shipped recipe, DATASET/NAME, whose numbers are the defaults
    recipe: Annotated[Recipe, FlagConversionOff, arg(name="")]
    folder: Annotated[
        Path | None, arg(name="run", metavar="FOLDER", help_behavior_hint="(default: runs/DATASET-NAME-SEED)")
    ] = None
    """The run folder: new, empty, or a run with the same settings, which is resumed."""
    stage: Annotated[str | None, arg(metavar="STAGE", help_behavior_hint="(default: all that are not finished)")] = None
    """Train only this stage. The stages before it must be finished."""
    start: Annotated[
        Path | None,
        arg(metavar="MODEL", help_behavior_hint="(default: new weights, or the shipped model that the recipe needs)"),
    ] = None
    """Start from the weights of this run, model folder or shipped model. The run keeps a copy: resuming needs no --start."""
    options: Annotated[Options, arg(name="")] = field(default_factory=Options)

    @property
    def run_folder(self) -> Path:
        """The run folder that was given, or the default one."""
        return self.folder or Path("runs") / f"{self.name.replace('/', '-')}-{self.recipe.seed}"

    @property
    def start_model(self) -> Path | None:
        """The model to start from: the one given, or the shipped one that a recipe without the first stages needs."""
        dataset, _, variant = self.name.partition("/")
        resumed = (self.run_folder / RECIPE).exists()  # such a run keeps its own copy
        if self.start or resumed or self.recipe.separation.steps or (dataset, variant) not in STARTS:
            return self.start
        return Path(STARTS[dataset, variant])

    def run(self) -> None:
        """Train what is not trained yet."""
        from intarsia.data import scenes_of
        from intarsia.engine import is_first_process
        from intarsia.records import record_machine
        from intarsia.stages import train

        train(self.recipe, self.run_folder, self.options, self.stage, self.start_model)
        if is_first_process():
            import torch

            threads = self.options.threads or torch.get_num_threads()
            record_machine(self.run_folder, threads * self.options.devices)
            run = shlex.quote(str(self.run_folder))
            labelled = not scenes_of(self.recipe, "test").unlabelled
            following = f"intarsia evaluate {run}" if labelled else f"intarsia report {run}, or intarsia predict {run} IMAGE"
            print(f"Trained: {self.run_folder}. Next: {following}")


def shipped_recipe(name: str) -> Recipe:
    """The shipped recipe DATASET/NAME; `InputError` with names like the given one if there is none."""
    if name not in SHIPPED_RECIPES:
        alike = [each for each in SHIPPED_RECIPES if name in each] or difflib.get_close_matches(name, SHIPPED_RECIPES)
        meant = f" Did you mean {' or '.join(alike)}?" if alike else ""
        raise InputError(f"There is no recipe {name!r}.{meant} `intarsia train --help` lists all.")
    return SHIPPED_RECIPES[name]


def described(recipe: Recipe) -> str:
    """Networks, sizes and steps of a recipe, in a sentence."""
    networks = "Our networks" if recipe.inpainter.network == "compact" else "The original's networks"
    steps = sum(getattr(recipe, stage).steps for stage in planned(recipe))
    return f"{networks}, {recipe.height}x{recipe.width} pixels, {recipe.segments} segments, {steps:,} steps."


TRAIN_EACH = subcommand_type_from_defaults(
    {name: Train(name, recipe) for name, recipe in SHIPPED_RECIPES.items()},
    {name: described(recipe) for name, recipe in SHIPPED_RECIPES.items()},
)
