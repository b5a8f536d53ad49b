"""The scenes that stages need."""

from typing import NamedTuple

from intarsia.data import Scenes, scenes_of
from intarsia.recipes.settings import Recipe


class TrainingScenes(NamedTuple):
    """The scenes for training and for validation."""

    train: Scenes
    val: Scenes


def training_scenes(recipe: Recipe) -> TrainingScenes:
    """The scenes that a recipe is for. All seeds are validated on the same ones."""
    return TrainingScenes(scenes_of(recipe, "train"), scenes_of(recipe, "val", seed=0))
