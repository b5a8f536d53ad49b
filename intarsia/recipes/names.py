"""Recipes by name: the shipped ones, and those of installed packages. Recipes in the words of the command line."""

import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from intarsia.errors import InputError
from intarsia.recipes import installed
from intarsia.recipes.settings import Recipe, flatten
from intarsia.recipes.shipped import SHIPPED

NAMED_RECIPES = installed.Catalogue(
    installed.RECIPES,
    Recipe,
    {f"{dataset}/{name}": recipe for dataset, recipes in SHIPPED.items() for name, recipe in recipes.items()},
)
"""Every recipe under its name on the command line, `DATASET/NAME`."""


class _ByDataset(Mapping[str, dict[str, Recipe]]):
    def __getitem__(self, dataset: str) -> dict[str, Recipe]:
        names = [name for name in NAMED_RECIPES if name.startswith(f"{dataset}/")]
        if not names:
            raise KeyError(dataset)
        return {name.partition("/")[2]: NAMED_RECIPES[name] for name in names}

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.partition("/")[0] for name in NAMED_RECIPES))

    def __len__(self) -> int:
        return len(list(iter(self)))


RECIPES: Mapping[str, dict[str, Recipe]] = _ByDataset()
"""The recipes of each dataset by name, such as `RECIPES["multi_texture"]["compact"]`."""


def command_line(recipe: Recipe) -> str:
    """A recipe in the words of `intarsia train`, quoted for a shell: the closest shipped one and what differs but the seed.

    Examples:
        >>> command_line(dataclasses.replace(RECIPES["multi_texture"]["compact"], seed=3, segments=4))
        'compact --segments 4'
    """
    if recipe.dataset not in RECIPES:
        raise InputError(f"There is no dataset {recipe.dataset!r}; the recipes are for {', '.join(RECIPES)}.")
    spellings: list[list[str]] = []
    for variant, shipped in RECIPES[recipe.dataset].items():
        known, given = flatten(shipped), flatten(dataclasses.replace(recipe, seed=shipped.seed))
        changed = {name: value for name, value in given.items() if value != known[name]}
        spellings.append([variant, *(f"--{name.replace('_', '-')} {_words(value)}" for name, value in changed.items())])
    return " ".join(sorted(spellings, key=len)[0])


def _words(value: Any) -> str:
    """A setting's value in the words of the command line."""
    return shlex.join(map(str, value if isinstance(value, tuple) else (value,)))


def train_command(recipe: Recipe) -> str:
    """The command that trains a recipe, seed included."""
    return f"intarsia train {recipe.dataset}/{command_line(recipe)} --seed {recipe.seed}"
