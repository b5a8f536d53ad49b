"""Pictures to begin with: test scenes of a model's dataset, and a gallery of those in which the model finds several objects.

Where the test scenes are not here, the first eight are left: `intarsia evaluate` drew them beside the model.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from intarsia.data import PREPARED, scenes_of
from intarsia.errors import InputError
from intarsia.model import Model
from intarsia.recipes.settings import Recipe
from intarsia.records import PICTURE
from intarsia.studio.worker import Work

CANDIDATES = 24  # test scenes that are looked at for the gallery
SHOWN = 6
INSIDE = 0.5  # a pixel belongs to an object whose mask is above this
LEAST = 0.005  # of all pixels: smaller objects don't count
ZOOM, GAP, COLUMNS = 2, 4, 3  # of the picture that `evaluate` draws


@dataclass(frozen=True)
class Examples:
    """Scenes by their indices.

    count: How many there are; None if they are endless.
    draw: Returns an image `3 h w` in [0, 1] of 8-bit values; `InputError` if there is no such scene.
    """

    count: int | None
    draw: Callable[[int], Tensor]


def examples_of(recipe: Recipe, folder: Path | None) -> Examples | str:
    """The test scenes of a recipe, or those drawn beside the model in a folder; or a sentence that says why there are none."""
    found = _test_scenes(recipe)
    if isinstance(found, str) and folder is not None:
        return _drawn(folder / PICTURE, recipe.height, recipe.width) or found
    return found


def gallery(model: Model, examples: Examples) -> Work[list[tuple[int, Tensor, int]]]:
    """Index, image and number of objects of the first scenes with the most objects, in the order of their indices."""
    found = []
    for index in range(min(CANDIDATES, examples.count or CANDIDATES)):
        image = examples.draw(index)
        masks = model.ordered_masks(image[None].to(model.device))[0, :-1]
        sizes = (masks > INSIDE).float().mean((1, 2))
        found.append((index, image, int((sizes >= LEAST).sum())))
        yield
    return sorted(sorted(found, key=lambda each: -each[2])[:SHOWN], key=lambda each: each[0])


def _test_scenes(recipe: Recipe) -> Examples | str:
    reason = "There are no random scenes:"
    if recipe.data_root is not None and not Path(recipe.data_root).exists():
        written = f"; `intarsia prepare {recipe.dataset} --out {shlex.quote(recipe.data_root)}` writes them"
        return f"{reason} their files are not here{written if recipe.dataset in PREPARED else ''}."
    try:
        scenes = scenes_of(recipe, "test")
    except (InputError, OSError) as error:
        return f"{reason} {error}"
    if (scenes.height, scenes.width) != (recipe.height, recipe.width):
        return f"{reason} they have {scenes.width}x{scenes.height} pixels, the model takes {recipe.width}x{recipe.height}."
    return Examples(scenes.size, lambda index: (scenes([index]).images[0] * 255).round() / 255)


def _drawn(path: Path, height: int, width: int) -> Examples | None:
    """The images in the first column of the picture that `evaluate` drew; None if there is none of this size."""
    try:
        with Image.open(path, formats=("PNG",)) as file:
            sheet = np.array(file.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    row, column = (ZOOM * size + GAP for size in (height, width))
    if sheet.shape[0] % row or sheet.shape[1] != COLUMNS * column:
        return None
    count = len(sheet) // row

    def draw(index: int) -> Tensor:
        if not index < count:
            raise InputError(f"There is no scene {index}; indices go from 0 to {count - 1}.")
        pixels = sheet[index * row : index * row + ZOOM * height : ZOOM, : ZOOM * width : ZOOM]
        return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1).contiguous()

    return Examples(count, draw)
