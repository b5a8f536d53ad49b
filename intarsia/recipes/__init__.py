"""Recipes: settings and their ranges, the shipped recipes side by side, recipes in files. Nothing here loads PyTorch."""

from intarsia.recipes.settings import Recipe
from intarsia.recipes.shipped import RECIPES, STARTS, command_line, train_command

__all__ = ["RECIPES", "STARTS", "Recipe", "command_line", "train_command"]
