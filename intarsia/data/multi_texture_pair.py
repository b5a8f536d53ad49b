"""Multi-Texture with two objects, for the consistency experiment: does a segmenter keep the objects' identities?

As in the original, an ellipse in front and a square, which may overlap. Each is at one of 9 x 9 places and has a constant
hue. So there are 6,561 scenes. Training and validation scenes are random ones of these. Test scene i is combination i of the
original's evaluation, for i up to 6,559; the original leaves out the last one. So the splits share scenes: the test is about
consistency, not generalisation.
"""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intarsia.data.multi_texture import SIZE, Components, Parameters, components, factors, render
from intarsia.data.random import scene_keys, uniform
from intarsia.data.scenes import SPLITS, Factors, Indices, Scenes, SceneSample

PLACES = np.arange(-24.0, 25.0, 6.0)  # px, of an offset as in `Parameters`
OFFSETS = 4  # the ellipse's row and column, the square's row and column; the first changes fastest from scene to scene
HUES = -0.2, 0.0, 0.2  # turns: background, ellipse, square
COMBINATIONS = len(PLACES) ** OFFSETS - 1
COARSE = np.array([1, 3, 5, 7])  # the four places of the coarse grid


def _coarse() -> Indices:
    """The combinations of every second place, without the last: 255, as many as in the paper, which does not name them."""
    digits = COARSE[np.arange(len(COARSE) ** OFFSETS - 1)[:, None] // len(COARSE) ** np.arange(OFFSETS) % len(COARSE)]
    return digits @ len(PLACES) ** np.arange(OFFSETS)


def open_scenes(seed: int, split: str, data_root: Path | None, size: tuple[int, int] | None = None) -> Scenes:
    """The scenes of a split, from the pictures in `data_root`, or the package's own."""
    parts = components(data_root)
    draw, describe = partial(_draw, parts, seed, split), partial(_describe, parts, seed, split)
    count, tracks = SPLITS[split], {}
    if split == "test":
        count, tracks = COMBINATIONS, {"all": np.arange(COMBINATIONS), "coarse": _coarse()}
    return Scenes("multi_texture_pair", count, SIZE, SIZE, 3, draw, describe, tracks=tracks)


def _draw(parts: Components, seed: int, split: str, indices: Indices) -> SceneSample:
    return render(parts, *_parameters(seed, split, indices))


def _describe(parts: Components, seed: int, split: str, indices: Indices) -> Factors:
    return factors(parts, _parameters(seed, split, indices))


def _parameters(seed: int, split: str, indices: Indices) -> Parameters:
    offsets = PLACES[_digits(seed, split, indices)].reshape(-1, 2, 2)
    b = len(indices)
    return Parameters(
        number=np.full(b, 2),
        shape_index=np.tile([0, 1], (b, 1)),
        dr=offsets[..., 0],
        dc=offsets[..., 1],
        hue=np.tile(HUES, (b, 1)),
    )


def _digits(seed: int, split: str, indices: Indices) -> NDArray[np.int64]:
    """The index of each offset's place, `b 4`."""
    if split == "test":
        return indices[:, None] // len(PLACES) ** np.arange(OFFSETS) % len(PLACES)
    return (len(PLACES) * uniform(scene_keys(seed, split, indices), np.arange(OFFSETS))).astype(np.int64)
