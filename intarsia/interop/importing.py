"""Import the original's checkpoints, complete or in part, or slim's ResNet-50 for ImageNet as initial weights."""

import re
from dataclasses import replace
from pathlib import Path

from torch import nn

from intarsia.errors import InputError
from intarsia.interop.checkpoint import Variable, read_checkpoint
from intarsia.interop.names import from_original, original_names, original_shape
from intarsia.model import Model
from intarsia.networks.resnet import ResNet50
from intarsia.recipes.settings import Recipe

SCOPES = {"inpainter": ("Inpainter//",), "segmenter": ("Generator//",), "autoencoder": ("VAE//", "Fusion//")}
COUNTERS = re.compile(r"(train_op|summary_vars)/.*|.*/Adam(_\d+)?")  # variables of the optimizers and logs
TRUNK, IMAGENET = "Generator//resnet_v2/", "resnet_v2_50/"
SHOWN = 30  # names in an error message


def import_tf1(prefix: Path, recipe: Recipe, all_that_fits: bool = False) -> tuple[Model, list[str]]:
    """Load the weights of a TensorFlow checkpoint into a new model.

    A checkpoint can hold the inpainter, the segmenter, and the VAEs with the fusion networks, each completely or not at all.
    Networks that it does not hold keep their initial values. If it holds no VAEs, the model's recipe gets 0 steps of theirs. A
    checkpoint of slim's ResNet-50 (`resnet_v2_50/...`) gives the large segmenter its trainable weights of the same names; as
    in the original, moving averages are left out.

    Args:
        prefix: As `read_checkpoint` takes it.
        recipe: Needs the original's networks for everything that the checkpoint holds.
        all_that_fits: Take all variables of slim's ResNet-50 of the same name and shape, including moving averages.

    Returns:
        The model, and a line for each of its networks that says what was loaded.

    Raises:
        InputError: if there is no complete checkpoint, or it does not fit; with the names of the variables that are missing,
            surplus or of the wrong shape.
    """
    variables, model = read_checkpoint(prefix), Model(recipe)
    if not any(name.startswith(SCOPES["autoencoder"]) for name in variables):
        model.recipe = replace(recipe, vaes=replace(recipe.vaes, steps=0))
    if any(name.startswith(IMAGENET) for name in variables):
        return model, [_start_from_imagenet(prefix, variables, model.segmenter, all_that_fits)]
    kept = {name for name in variables if not COUNTERS.fullmatch(name)}
    lines: list[str] = []
    wanted: dict[str, str] = {}  # our name of a weight, and the original's
    for part, scopes in SCOPES.items():
        network = model.get_submodule(part)
        if any(name.startswith(scopes) for name in kept):
            names = original_names(network)
            wanted |= {f"{part}.{ours}": theirs for ours, theirs in names.items()}
            lines.append(f"{part}: {len(names)} variables")
        else:
            lines.append(f"{part}: initial values, the checkpoint holds nothing of it")
    if not wanted:
        raise InputError(f"{prefix} holds none of {', '.join(sum(SCOPES.values(), ()))}: {_listed(sorted(variables))}.")
    _check(prefix, variables, kept, wanted, model)
    values = {ours: from_original(variables[theirs].read(), theirs) for ours, theirs in wanted.items()}
    model.load_state_dict(values, strict=False)
    lines.append(f"left out: {len(variables) - len(kept)} variables of optimizers and counters")
    return model, lines


def _check(prefix: Path, variables: dict[str, Variable], kept: set[str], wanted: dict[str, str], model: Model) -> None:
    """Raise `InputError` unless the checkpoint holds exactly the wanted variables."""
    state = model.state_dict()
    shapes = {theirs: original_shape(state[ours]) for ours, theirs in wanted.items()}
    wrong = [
        f"{name} is {variables[name].shape}, not {shape}"
        for name, shape in shapes.items()
        if name in kept and variables[name].shape != shape
    ]
    complaints = {
        "missing": [name for name in shapes if name not in kept],
        "surplus": sorted(kept - shapes.keys()),
        "of the wrong shape": wrong,
    }
    found = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in complaints.items() if names]
    if found:
        raise InputError(f"{prefix} does not fit the recipe. Of its variables, {'; '.join(found)}.")


def _start_from_imagenet(prefix: Path, variables: dict[str, Variable], segmenter: nn.Module, all_that_fits: bool) -> str:
    if not isinstance(segmenter, ResNet50):
        raise InputError(f"{prefix} holds a ResNet-50, but the recipe's segmenter is none; give a recipe that has it.")
    trunk = {ours: theirs for ours, theirs in original_names(segmenter).items() if theirs.startswith(TRUNK)}
    trainable, state, values = dict(segmenter.named_parameters()), segmenter.state_dict(), {}
    for ours, theirs in trunk.items():
        name, shape = theirs.replace(TRUNK, IMAGENET), original_shape(state[ours])
        if name not in variables or (all_that_fits and variables[name].shape != shape):
            continue
        if variables[name].shape != shape:
            raise InputError(f"{prefix} does not fit: {name} is {variables[name].shape}, not {shape}.")
        if all_that_fits or ours in trainable:
            values[ours] = from_original(variables[name].read(), name)
    segmenter.load_state_dict(values, strict=False)
    rest = f"the {len(state) - len(values)} others have their initial values"
    return f"segmenter: {len(values)} variables of {IMAGENET.rstrip('/')}, {rest}"


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
