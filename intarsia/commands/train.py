"""`intarsia train`: a subcommand for each shipped recipe, with the recipe's numbers as defaults."""

import difflib
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Fixed, FlagConversionOff, Suppress, arg
from tyro.extras import subcommand_type_from_defaults

from intarsia.errors import InputError
from intarsia.recipes import NAMED_RECIPES, STARTS
from intarsia.recipes.options import Options
from intarsia.recipes.settings import Recipe, planned
from intarsia.weights import RECIPE


def _usable() -> dict[str, Recipe]:
    """The recipes by name, without those of broken packages; a line on standard error says why."""
    found = {}
    for name in NAMED_RECIPES:
        try:
            found[name] = NAMED_RECIPES[name]
        except InputError as error:
            print(f"intarsia: {error}", file=sys.stderr)
    return found


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
        if is_first_process(self.options):
            import torch

            threads = self.options.threads or torch.get_num_threads()
            record_machine(self.run_folder, threads * self.options.devices)
            run = shlex.quote(str(self.run_folder))
            labelled = not scenes_of(self.recipe, "test").unlabelled
            following = f"intarsia evaluate {run}" if labelled else f"intarsia report {run}, or intarsia predict {run} IMAGE"
            print(f"Trained: {self.run_folder}. Next: {following}")


def named_recipe(name: str) -> Recipe:
    """The recipe DATASET/NAME, shipped or installed; `InputError` with names like the given one if there is none."""
    if name not in USABLE_RECIPES:
        alike = [each for each in USABLE_RECIPES if name in each] or difflib.get_close_matches(name, USABLE_RECIPES)
        meant = f" Did you mean {' or '.join(alike)}?" if alike else ""
        raise InputError(f"There is no recipe {name!r}.{meant} `intarsia train --help` lists all.")
    return USABLE_RECIPES[name]


def described(recipe: Recipe) -> str:
    """Networks, sizes and steps of a recipe, in a sentence."""
    names = {recipe.inpainter.network, recipe.segmenter.network}
    others = sorted(name.partition(":")[0] for name in names if ":" in name)
    networks = "Our networks" if recipe.inpainter.network == "compact" else "The original's networks"
    networks = f"Networks of {others[0]}" if others else networks
    steps = sum(getattr(recipe, stage).steps for stage in planned(recipe))
    return f"{networks}, {recipe.height}x{recipe.width} pixels, {recipe.segments} segments, {steps:,} steps."


USABLE_RECIPES = _usable()
TRAIN_EACH = subcommand_type_from_defaults(
    {name: Train(name, recipe) for name, recipe in USABLE_RECIPES.items()},
    {name: described(recipe) for name, recipe in USABLE_RECIPES.items()},
)
