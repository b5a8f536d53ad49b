"""Recipes in files: written as JSON, read, and checked."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from intarsia.errors import InputError
from intarsia.recipes.settings import Recipe

Settings = TypeVar("Settings")

LEAST_SEEN_THROUGH_WINDOW = 4  # numbers of a shape: three tell where it is and how large
AT_LEAST_ONE = {
    "batch", "channels", "hidden", "dimension", "texture_dimension", "shape_dimension", "background_dimension",
    "downsampling", "upsampling", "dilation", "inpainter_turns", "segmenter_turns", "variations", "dimensions",
}  # fmt: skip
FRACTIONS = {
    "propagation_fraction", "propagation_practice", "random_region_fraction", "split_fraction", "ema_decay", "overlap_fraction",
}  # fmt: skip
RENAMED = {
    "inpainting.spread": "propagation_fraction",
    "separation.spread_from_step": "propagation_from_step",
    "separation.spread_practice": "propagation_practice",
    "separation.branches": "sampled_segments",
    "separation.random_regions": "random_region_fraction",
    "separation.halved": "split_fraction",
    "separation.averaging": "ema_decay",
    "segmenter.names": "learn_channels",
    "segmenter.enlargement": "upsampling",
    "vae.filled": "fill_with_mean",
    "vae.reduction": "downsampling",
    "vae.stretched": "normalise_contrast",
    "fusion.corrective": "residual",
    "vaes.moves": "max_shift",
    "consistency.meetings": "overlap_fraction",
}  # settings that some files have under an earlier name
ADDED: dict[str, Any] = {  # settings that are younger than some files, and what those recipes mean
    "signed_edges": False,
    "segmenter": {"learn_channels": False},
    "consistency": {"separation_weight": 1.0, "segmenter_final_learning_rate": 3e-5, "overlap_fraction": 0.0},
    "vae": {"window": 0, "sharpness": 1.0, "downsampling": 1, "normalise_contrast": False},
    "vaes": {"beta_hold_steps": 0},
}


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe as JSON."""
    path.write_text(json.dumps(dataclasses.asdict(recipe), indent=2) + "\n")


def load_recipe(path: Path) -> Recipe:
    """Read a recipe that `save_recipe` wrote; `InputError` where the file is no such thing."""
    try:
        return _settings(Recipe, _renamed(json.loads(path.read_text())), "", ADDED)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a recipe: {error}") from error


def _renamed(values: Any, name: str = "") -> Any:
    """Nested settings under today's names."""
    if not isinstance(values, dict):
        return values
    return {RENAMED.get(f"{name}{key}", key): _renamed(value, f"{name}{key}.") for key, value in values.items()}


def check_recipe(recipe: Recipe) -> None:
    """Raise `InputError` for numbers that no training could use."""
    for name, size in (("height", recipe.height), ("width", recipe.width)):
        if size <= 0 or size % 32:
            raise InputError(f"{name} is {size}; it must be a positive multiple of 32 pixels.")
    if recipe.segments < 2:
        raise InputError(f"segments is {recipe.segments}; at least 2 are needed, a background and an object.")
    if not 1 <= recipe.backgrounds < recipe.segments:
        raise InputError(f"backgrounds is {recipe.backgrounds}; it must be from 1 to {recipe.segments - 1}.")
    if recipe.backgrounds > 1 and recipe.consistency.steps:
        raise InputError(f"backgrounds is {recipe.backgrounds}; consistency.steps above 0 need 1, as the original has it.")
    if not 1 <= recipe.separation.sampled_segments <= recipe.segments:
        raise InputError(
            f"separation.sampled_segments is {recipe.separation.sampled_segments}; it must be from 1 to the "
            f"{recipe.segments} segments."
        )
    if recipe.segmenter.channels < 8:
        raise InputError(f"segmenter.channels is {recipe.segmenter.channels}; at least 8 are needed.")
    for name, value in _numbers(recipe, ""):
        least = 1 if name.rpartition(".")[2] in AT_LEAST_ONE else 0
        if not least <= value < math.inf:
            raise InputError(f"{name} is {value}; it must be a number of at least {least}.")
        if name.rpartition(".")[2] in FRACTIONS and value > 1:
            raise InputError(f"{name} is {value}; it is a fraction, from 0 to 1.")
    if (window := recipe.vae.window) % 16 or (window and recipe.vae.shape_dimension < LEAST_SEEN_THROUGH_WINDOW):
        raise InputError(
            f"vae.window is {window} and vae.shape_dimension {recipe.vae.shape_dimension}; a window must be 0 or a multiple of "
            f"16 pixels, and shapes seen through one have at least {LEAST_SEEN_THROUGH_WINDOW} numbers."
        )
    step = 16 * recipe.vae.downsampling
    if recipe.height % step or recipe.width % step:
        raise InputError(
            f"vae.downsampling is {recipe.vae.downsampling}; height and width must be multiples of {step} pixels then."
        )
    if recipe.vae.downsampling > 1 and recipe.consistency.steps:
        raise InputError(
            f"vae.downsampling is {recipe.vae.downsampling}; consistency.steps above 0 need 1, as the original has it."
        )
    for part in (recipe.inpainter, recipe.segmenter):
        networks = get_args(get_type_hints(type(part))["network"])
        if part.network not in networks:
            raise InputError(f"{type(part).__name__.lower()}.network is {part.network!r}; choose one of {', '.join(networks)}.")
    if not any(dataclasses.astuple(recipe.inpainting.regions)):
        raise InputError("All weights of inpainting.regions are 0; at least one kind of region is needed.")


def _settings(kind: type[Settings], values: Any, name: str, added: dict[str, Any]) -> Settings:
    """A settings dataclass from nested dictionaries, with every field there, but for those that were added, and of its type."""
    fields = get_type_hints(kind)
    if isinstance(values, dict):
        values = {key: value for key, value in added.items() if not isinstance(value, dict)} | values
    if not isinstance(values, dict) or values.keys() != fields.keys():
        given = sorted(values) if isinstance(values, dict) else values
        raise ValueError(f"{name or 'the recipe'} holds {given}, but should hold {sorted(fields)}")
    built = {}
    for key in values:
        wanted = fields[key]
        if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
            built[key] = _settings(wanted, values[key], f"{name}{key}.", added.get(key, {}))
        elif get_origin(wanted) is Literal:
            if values[key] not in get_args(wanted):
                raise ValueError(f"{name}{key} is {values[key]!r}, but should be one of {', '.join(get_args(wanted))}")
            built[key] = values[key]
        elif isinstance(values[key], (int, float) if wanted is float else wanted) and (
            isinstance(values[key], bool) == (wanted is bool)
        ):
            built[key] = values[key]
        else:
            raise ValueError(f"{name}{key} is {values[key]!r}, but should be {wanted}")
    return kind(**built)


def _numbers(settings: Any, name: str) -> list[tuple[str, float]]:
    """All numbers of nested settings with their dotted names."""
    found = []
    for key in (item.name for item in dataclasses.fields(settings)):
        value = getattr(settings, key)
        if dataclasses.is_dataclass(value):
            found += _numbers(value, f"{name}{key}.")
        elif isinstance(value, int | float):
            found.append((f"{name}{key}", float(value)))
    return found
