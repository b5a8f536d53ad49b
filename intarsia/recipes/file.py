"""Recipes in files: written as JSON, read, and checked."""

import dataclasses
import functools
import json
import re
from pathlib import Path
from typing import Any

from intarsia.errors import LONGEST, InputError, one_line
from intarsia.recipes.networks import INPAINTERS, OUTSIDE, SEGMENTERS
from intarsia.recipes.older import updated
from intarsia.recipes.settings import Recipe, flatten

LEAST_SEEN_THROUGH_WINDOW = 4  # numbers of a shape: three tell where it is and how large


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe as JSON."""
    path.write_text(json.dumps(dataclasses.asdict(recipe), indent=2) + "\n")


def load_recipe(path: Path, to_train: bool = False) -> Recipe:
    """Read a recipe that `save_recipe` wrote, in this version or an earlier one.

    Raises:
        InputError: if the file is no recipe, or it is to be trained but this version can't train it as the earlier one did.
    """
    try:
        values = json.loads(path.read_text())
        if not isinstance(values, dict):
            raise ValueError(f"it holds {values!r} instead of settings")
        return _recipe(_nested(updated(flatten(values), to_train)))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a recipe: {error}") from error


def check_recipe(recipe: Recipe) -> None:
    """Raise `InputError` for settings that no training could use."""
    if recipe.data_root and any("\ud800" <= letter <= "\udfff" for letter in recipe.data_root):  # how Python marks such bytes
        raise InputError(f"data_root is {recipe.data_root!r}, a name that is not UTF-8; a recipe can't hold it.")
    _recipe(dataclasses.asdict(recipe))
    segments, vae, trains_consistency = recipe.segments, recipe.vae, recipe.consistency.steps > 0
    if recipe.backgrounds >= segments:
        raise InputError(f"backgrounds is {recipe.backgrounds}; it must be from 1 to {segments - 1}.")
    if recipe.backgrounds > 1 and trains_consistency:
        raise InputError(f"backgrounds is {recipe.backgrounds}; consistency.steps above 0 need 1, as in the original.")
    if (sampled := recipe.separation.sampled_segments) > segments:
        raise InputError(f"separation.sampled_segments is {sampled}; it must be from 1 to the {segments} segments.")
    if vae.window % 16 or (vae.window and vae.shape_dimension < LEAST_SEEN_THROUGH_WINDOW):
        raise InputError(
            f"vae.window is {vae.window} and vae.shape_dimension {vae.shape_dimension}; a window must be 0 or a multiple of "
            f"16 pixels, and shapes seen through one have at least {LEAST_SEEN_THROUGH_WINDOW} numbers."
        )
    step = 16 * vae.downsampling
    if recipe.height % step or recipe.width % step:
        raise InputError(f"vae.downsampling is {vae.downsampling}; height and width must be multiples of {step} pixels then.")
    if vae.downsampling > 1 and trains_consistency:
        raise InputError(f"vae.downsampling is {vae.downsampling}; consistency.steps above 0 need 1, as in the original.")
    if recipe.vaes.scenes % recipe.vaes.batch:
        raise InputError(f"vaes.scenes is {recipe.vaes.scenes}; it must be a multiple of vaes.batch ({recipe.vaes.batch}).")
    _check_content(recipe)
    if not any(weight for kind, weight in vars(recipe.inpainting.regions).items() if kind != "clusters"):  # the game has none
        raise InputError("All weights of inpainting.regions but clusters are 0; at least one kind of random region is needed.")


def _check_content(recipe: Recipe) -> None:
    """Raise `InputError` for content that the recipe's networks can't use."""
    content, learned = recipe.content, recipe.distillation
    if recipe.segmenter.backbone and recipe.segmenter.network in SEGMENTERS[1:]:
        raise InputError(f"segmenter.network is {recipe.segmenter.network!r}; segmenter.backbone needs 'compact'.")
    if content.kind == "pixels":
        if recipe.inpainting.regions.clusters or learned.steps:
            raise InputError("content.kind is 'pixels'; inpainting.regions.clusters and distillation.steps must be 0 then.")
        return
    if recipe.inpainter.network in INPAINTERS[1:]:
        raise InputError(f"content.kind is {content.kind!r}; inpainter.network must be 'compact' then.")
    fine, coarse = content.strides
    if coarse % fine or content.grid % coarse or recipe.height % (4 * content.grid) or recipe.width % (4 * content.grid):
        raise InputError(
            f"content.strides are {fine} and {coarse}, and content.grid is {content.grid}; each must be a multiple of the one "
            f"before it, and height and width of 4 times the grid."
        )
    if fine == 1 and content.grid % 2 and recipe.inpainter.propagation:  # which is done at half size then
        raise InputError(f"content.grid is {content.grid}; it must be even for content.strides from 1.")
    if content.kind == "features" and content.strides != (4, 8):
        raise InputError(f"content.strides are {fine} and {coarse}; the backbone's features have 4 and 8.")
    if learned.steps and (learned.scenes % learned.batch or learned.scenes // learned.batch >= learned.steps):
        raise InputError(
            f"distillation.scenes is {learned.scenes}; it must be a multiple of distillation.batch ({learned.batch}), and "
            f"leave some of the {learned.steps} steps for learning."
        )


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted name as nested dictionaries: the inverse of `flatten`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *groups, last = name.split(".")
        inner = found
        for group in groups:
            if not isinstance(inner.get(group), dict):
                inner[group] = {}
            inner = inner[group]
        inner[last] = value
    return found


@functools.cache
def _checker() -> Any:
    """Pydantic's checker of recipes. It is imported here because that takes longer than the help of the command line."""
    from pydantic import TypeAdapter

    return TypeAdapter(Recipe)


def _recipe(values: dict[str, Any]) -> Recipe:
    """The recipe of nested settings; `InputError` where one is missing, unknown, of another type or out of its range."""
    from pydantic import ValidationError

    try:
        recipe: Recipe = _checker().validate_json(json.dumps(values))
    except ValidationError as error:
        raise InputError(one_line(error)) from error
    if missing := flatten(recipe).keys() - flatten(values).keys():
        raise InputError(f"{min(missing)} is missing.")
    for part, own in {"segmenter": SEGMENTERS, "inpainter": INPAINTERS}.items():
        name = getattr(recipe, part).network
        if name not in own and not re.fullmatch(r"[^\s:]{1,100}:[^\s:]{1,100}", name):
            wanted = f"{', '.join(map(repr, own[:-1]))} or {own[-1]!r}, or {OUTSIDE} for a network of another package"
            raise InputError(f"{part}.network is {json.dumps(name[:LONGEST])}; it must be {wanted}.")
    return recipe
