"""What holds for every recipe."""

from pathlib import Path

import torch

from intarsia.data import DATASETS
from intarsia.model import Model
from intarsia.recipes.file import check_recipe, load_recipe, save_recipe
from intarsia.recipes.names import command_line
from intarsia.recipes.settings import Recipe, planned


class RecipeContract:
    """Tests of a recipe that the command line knows. Fixture `recipe`: the recipe."""

    def test_recipe_can_be_trained(self, recipe: Recipe) -> None:
        check_recipe(recipe)
        assert recipe.dataset in DATASETS
        assert planned(recipe)
        assert " " not in command_line(recipe)  # one word: its name

    def test_recipe_builds_a_model(self, recipe: Recipe) -> None:
        model = Model(recipe)
        images = torch.rand(1, 3, recipe.height, recipe.width)
        with torch.no_grad():
            logits = model.segmenter.eval()(images, *model.maps(images))
        assert logits.shape == (1, recipe.segments, recipe.height, recipe.width)

    def test_recipe_is_saved_and_loaded(self, recipe: Recipe, tmp_path: Path) -> None:
        save_recipe(recipe, tmp_path / "recipe.json")
        assert load_recipe(tmp_path / "recipe.json") == recipe
