"""A run that starts from the weights of another model, whole or in part."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from intarsia.errors import InputError
from intarsia.model import Model
from intarsia.recipes.settings import Recipe
from intarsia.weights import latest

__all__ = ["started_from"]

# What decides how a network computes, what decides how large it is, and the stage that trains it first.
PARTS = {
    "inpainter": (("inpainter",), ("height", "width"), "inpainting"),
    "segmenter": (("segmenter",), ("height", "width", "segments"), "separation"),
    "autoencoder": (("vae", "fusion"), ("height", "width", "segments", "backgrounds"), "vaes"),
}
OF_THE_START = {"vae.glorot"}  # decides nothing but initial values
ADDED = {"segmenter.learn_channels"}  # where it is on, adds weights to those that there are without it


def started_from(source: Path, recipe: Recipe) -> tuple[Model, list[str]]:
    """A recipe's model with the weights that another model has learned.

    A network has learned where its weights differ from the initial ones of its own recipe. Of a checkpoint imported in part, or
    of an early stage, the rest so starts as it always does; and so does a network of another size that the recipe trains anew.

    Args:
        source: A model folder, a run or one of its stages, or the name of a shipped model.
        recipe: Of the run that starts. It may be for another dataset, with other stages.

    Returns:
        The model, and which of its networks have learned weights.

    Raises:
        InputError: if there is no such model, it has learned nothing, or a network that has is another one in this recipe; with
            the settings that differ.
    """
    given, model = Model.load(latest(source)), Model(recipe)
    learned = _learned(given)
    if not learned:
        raise InputError(f"{source} has learned nothing: all its weights are initial ones.")
    state, names = model.state_dict(), []
    for part, (kinds, sizes, stage) in PARTS.items():
        own = {name: value for name, value in learned.items() if name.startswith(f"{part}.")}
        fits = all(name in state and state[name].shape == value.shape for name, value in own.items())
        other = _odd(kinds, given.recipe, recipe)
        if own and (fits or other or not getattr(recipe, stage).steps):
            odd = sorted(other + ([] if fits else _odd(sizes, given.recipe, recipe)))
            if odd or not fits:
                raise InputError(f"The run can't start from {source}: its {part} is another network ({'; '.join(odd)}).")
            state |= own
            names.append(part)
    if not names:
        raise InputError(f"The run can't start from {source}: each of its networks has another size here, and is trained anew.")
    model.load_state_dict(state)
    return model, names


def _learned(model: Model) -> dict[str, Tensor]:
    """The weights that are no longer initial ones; an exported model's have been float16."""
    initial, state = Model(model.recipe).state_dict(), model.state_dict()
    return {
        name: value
        for name, value in state.items()
        if not torch.equal(value, initial[name]) and not torch.equal(value, initial[name].half().float())
    }


def _odd(names: tuple[str, ...], theirs: Recipe, ours: Recipe) -> list[str]:
    """Which of these settings differ, and how."""
    odd = []
    for name in names:
        there, here = (_flat(name, getattr(recipe, name)) for recipe in (theirs, ours))
        odd += [
            f"{key} is {here[key]} here, {there[key]} there"
            for key in here.keys() - OF_THE_START
            if here[key] != there[key] and not (key in ADDED and here[key])
        ]
    return odd


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return {name: value}
    return {f"{name}.{key}": inner for key, inner in dataclasses.asdict(value).items()}
