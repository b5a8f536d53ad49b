"""Starting a run from the learned weights of another model."""

from pathlib import Path

import torch
from torch import Tensor

from intarsia.errors import InputError
from intarsia.model import Model
from intarsia.recipes.settings import Recipe, flatten
from intarsia.weights import latest

# For each network: the settings of how it computes, the settings of its size, and the stage that trains it first.
PARTS = {
    "inpainter": (("inpainter", "content"), ("height", "width"), "inpainting"),
    "segmenter": (("segmenter",), ("height", "width", "segments"), "separation"),
    "autoencoder": (("vae", "fusion"), ("height", "width", "segments", "backgrounds"), "vaes"),
}
INITIAL = {"vae.glorot"}  # matters for initial values alone
FINAL = {  # matters for the final masks alone: the network is the same
    f"segmenter.{name}"
    for name in (
        "object_weight",
        "votes",
        "clusters",
        "mixed_borders",
        "border_radius",
        "border_colours",
        "border_window",
        "one_piece",
    )
}
ADDS_WEIGHTS = {"segmenter.learn_channels"}  # with it a network has all weights that it has without it, and more


def started_from(source: Path, recipe: Recipe) -> tuple[Model, list[str]]:
    """A recipe's model with the weights that another model has learned, and the names of the networks that have learned.

    Weights are learned if they differ from the initial ones of their own recipe. All others start as in any run. So does a
    network of another size, if the recipe trains it.

    Args:
        source: A model folder, a run or one of its stages, or the name of a shipped model.
        recipe: The recipe of the run that starts. It may be for another dataset, and have other stages.

    Raises:
        InputError: if there is no such model, it has learned nothing, or a network that has learned does not fit the recipe.
            The message names the settings that differ.
    """
    given, model = Model.load(latest(source)), Model(recipe)
    learned = _learned(given)
    if not learned:
        raise InputError(f"{source} has learned nothing: all its weights are initial ones.")
    state, names = model.state_dict(), []
    for part, (kinds, sizes, stage) in PARTS.items():
        own = {name: value for name, value in learned.items() if name.partition(".")[0] in (part, *kinds)}
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
    """The weights that are no longer initial ones, not even initial ones that were exported in float16."""
    initial, state = Model(model.recipe).state_dict(), model.state_dict()
    return {
        name: value
        for name, value in state.items()
        if not torch.equal(value, initial[name]) and not torch.equal(value, initial[name].half().float())
    }


def _odd(groups: tuple[str, ...], theirs: Recipe, ours: Recipe) -> list[str]:
    """The settings that differ in some groups, each with both values."""
    there, here = flatten(theirs), flatten(ours)
    return [
        f"{name} is {here[name]} here, {there[name]} there"
        for name in here.keys() - INITIAL - FINAL
        if name.partition(".")[0] in groups and here[name] != there[name] and not (name in ADDS_WEIGHTS and here[name])
    ]
