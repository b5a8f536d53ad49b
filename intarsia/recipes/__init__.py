"""Recipes: settings and their ranges, the shipped recipes side by side, recipes in files. Nothing here loads PyTorch."""

from intarsia.recipes.names import NAMED_RECIPES, RECIPES, command_line, train_command
from intarsia.recipes.settings import Recipe
from intarsia.recipes.shipped import STARTS

__all__ = ["NAMED_RECIPES", "RECIPES", "STARTS", "Recipe", "command_line", "train_command"]
