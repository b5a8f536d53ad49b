"""The dataset: up to three squares of strong colours on dark ground, with a little noise."""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from intarsia import InputError, Scenes, SceneSample

SIZE, SQUARES, SIDE = 32, 3, 9  # pixels, objects, pixels
SPLITS = {"train": None, "val": 50, "test": 100}


def open_scenes(seed: int, split: str, data_root: Path | None, size: tuple[int, int] | None) -> Scenes:
    """A split of the dataset. Intarsia calls this with the settings of a recipe or of the command line."""
    if data_root is not None or size not in (None, (SIZE, SIZE)):
        raise InputError(f"squares are drawn, without files, in {SIZE} x {SIZE} pixels; got {data_root} and {size}.")
    draw = partial(_draw, seed, list(SPLITS).index(split))
    return Scenes("squares", SPLITS[split], SIZE, SIZE, 1 + SQUARES, draw)


def _draw(seed: int, split: int, indices: np.ndarray) -> SceneSample:
    """Each scene has its own source of random numbers, so that it does not depend on the others."""
    images = np.zeros((len(indices), 3, SIZE, SIZE), np.float32)
    masks = np.zeros((len(indices), 1 + SQUARES, SIZE, SIZE), np.float32)
    for row, index in enumerate(indices):
        images[row], labels = _scene(np.random.default_rng([seed, split, index]))
        masks[row] = labels == np.arange(1 + SQUARES)[:, None, None]
    return SceneSample(torch.from_numpy(images), torch.from_numpy(masks))


def _scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image `3 h w` and its labels `h w`; a square may hide another one."""
    image, labels = np.full((3, SIZE, SIZE), 0.15), np.zeros((SIZE, SIZE), int)
    colours = rng.permutation([[0.9, 0.2, 0.2], [0.2, 0.9, 0.2], [0.3, 0.4, 1.0]])
    for number in range(1, rng.integers(2, SQUARES + 2)):
        top, left = rng.integers(0, SIZE - SIDE, 2)
        place = np.s_[top : top + SIDE, left : left + SIDE]
        image[:, *place], labels[place] = colours[number - 1][:, None, None], number
    return np.clip(image + rng.normal(0, 0.02, image.shape), 0, 1), labels
