"""Multi-dSprites: the published scenes from a prepared folder; without one, generated scenes as a stand-in.

Generated scenes have one to four flat sprites on a flat background, 64x64 pixels and 5 segments. They stand in for the
"colored on colored" variant of Multi-dSprites (Kabra et al., multi_object_datasets, 2019), which the original reads from a
file that can't be shipped. The same are: hard masks, one to four sprites, squares, ellipses and hearts at any angle and
scales from 0.5 to 1, occlusion, and colours uniform in RGB for sprites and background. So some sprites are hidden, or hardly
differ from what is behind them. Different are: the outlines are formulas, of about the same size; scale, angle and position
are continuous instead of in 6, 40 and 32 steps; the masks are ordered by depth, nearest first after the background.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from intarsia.data.arrays import Material, stored_scenes
from intarsia.data.colours import sixths
from intarsia.data.compose import paste
from intarsia.data.multi_objects import SPLITS_OF_THE_ORIGINAL, Layout
from intarsia.data.multi_objects import material as tfrecord_material
from intarsia.data.random import scene_keys, uniform
from intarsia.data.scenes import SPLITS, Factors, Indices, Scenes, SceneSample

NAME = "multi_dsprites"
LAYOUTS = {  # entities: the background and the sprites
    "colored_on_colored": Layout(3, (0, 1, 2, 3, 4), SPLITS_OF_THE_ORIGINAL),
    "colored_on_grayscale": Layout(3, (0, 1, 2, 3, 4, 5), SPLITS_OF_THE_ORIGINAL),
    "binarized": Layout(1, (0, 1, 2, 3), SPLITS_OF_THE_ORIGINAL),
}
SIZE = 64  # px
MOST = 4  # sprites
SCALE = 0.5, 1.0
CENTRE = 12.0, 52.0  # px: no sprite extends over the border
WINDOW = 25  # px: large enough for any sprite, wherever its centre lies within a pixel
# At scale 1, in px. All three are 23 to 24 px across and cover about the same area.
SQUARE = 8.5  # half a side
ELLIPSE = 12.0, 7.0  # semi-axes
HEART = 6.4  # half a side of its square, and the radius of its lobes

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Parameters(NamedTuple):
    """The parameters of `b` scenes of up to n sprites, nearest first."""

    present: Flags  # b n
    kind: Floats  # b n: index into OUTLINES
    scale: Floats  # b n
    angle: Floats  # b n, radians
    centre: Floats  # b n 2, px from the image's upper left corner
    colours: Floats  # b n+1 3, the background's first


def material(file: Path | None) -> Material:
    """The arrays to write for a TFRecord file of any variant."""
    return tfrecord_material(NAME, LAYOUTS, file)


def open_scenes(seed: int, split: str, data_root: Path | None, size: tuple[int, int] | None = None) -> Scenes:
    """The scenes of a split: from a prepared folder, or generated without one."""
    if data_root is not None:
        return stored_scenes(data_root, NAME, seed, split)
    return Scenes(NAME, SPLITS[split], SIZE, SIZE, MOST + 1, partial(_draw, seed, split), partial(_describe, seed, split))


def _draw(seed: int, split: str, indices: Indices) -> SceneSample:
    present, kind, scale, angle, centre, colours = _parameters(seed, split, indices)
    shapes = np.zeros((*present.shape, SIZE, SIZE), np.bool_)
    corner, sprites = _sprites(kind[present], scale[present], angle[present], centre[present])
    windows = sliding_window_view(shapes, (WINDOW, WINDOW), axis=(2, 3), writeable=True)
    windows[(*np.nonzero(present), *corner.T)] = sprites
    return paste(shapes, colours.astype(np.float32)[..., None, None].swapaxes(0, 1))


def _parameters(seed: int, split: str, indices: Indices) -> Parameters:
    counts = [1, MOST, MOST, MOST, 2 * MOST, 3 * (MOST + 1)]
    u = uniform(scene_keys(seed, split, indices), np.arange(sum(counts)))
    number, kind, scale, angle, centre, colours = np.split(u, np.cumsum(counts)[:-1], axis=1)
    return Parameters(
        present=np.arange(MOST) <= np.floor(MOST * number),
        kind=np.floor(len(OUTLINES) * kind),
        scale=_between(SCALE, scale),
        angle=_between((0.0, 2 * np.pi), angle),
        centre=_between(CENTRE, centre.reshape(-1, MOST, 2)),
        colours=colours.reshape(-1, MOST + 1, 3),
    )


def _describe(seed: int, split: str, indices: Indices) -> Factors:
    """The `Factors`, with `scale`, `saturation` and `brightness` (of HSV), and sine and cosine of the angle.

    The angle is multiplied by the sprite's rotational symmetry (square 4, ellipse 2, heart 1), so that sprites that look the
    same have the same factors.
    """
    found = _parameters(seed, split, indices)
    colours = found.colours[:, 1:]
    strongest, hue = colours.max(axis=-1), np.pi / 3 * sixths(colours)
    angle = np.array(SYMMETRY)[found.kind.astype(np.int64)] * found.angle
    factors = {
        "row": found.centre[..., 0],
        "column": found.centre[..., 1],
        "scale": found.scale,
        "angle_sin": np.sin(angle),
        "angle_cos": np.cos(angle),
        "hue_sin": np.sin(hue),
        "hue_cos": np.cos(hue),
        "saturation": np.ptp(colours, axis=-1) / strongest,
        "brightness": strongest,
    }
    factors |= {name: np.where(found.kind == number, 1.0, 0.0) for number, name in enumerate(KINDS)}
    return {name: np.where(found.present, values, np.nan) for name, values in factors.items()}


def _between(limits: tuple[float, float], u: Floats) -> Floats:
    low, high = limits
    return low + (high - low) * u


def _sprites(kind: Floats, scale: Floats, angle: Floats, centre: Floats) -> tuple[NDArray[np.int64], Flags]:
    """The upper left corners of windows around sprites, `n 2` (row, column), and the sprites' masks in them, `n h w`.

    The angle is in radians, the centre `n 2` in px from the image's upper left corner.
    """
    corner = np.floor(centre - CENTRE[0]).astype(np.int64)
    sprites = np.empty((len(kind), WINDOW, WINDOW), np.bool_)
    for number, inside in enumerate(OUTLINES):
        own = kind == number
        sprites[own] = inside(*_frame(scale[own], angle[own], (centre - corner)[own]))
    return corner, sprites


def _frame(scale: Floats, angle: Floats, centre: Floats) -> tuple[Floats, Floats]:
    """The coordinates u and v of each pixel in the sprite's turned and scaled frame, `n h w` each."""
    away = (np.arange(WINDOW) + 0.5 - centre[..., None]) / scale[:, None, None]
    along, across = (away * f(angle)[:, None, None] for f in (np.cos, np.sin))
    u = across[:, 0, :, None] + along[:, 1, None, :]
    v = along[:, 0, :, None] - across[:, 1, None, :]
    return u, v


def _square(u: Floats, v: Floats) -> Flags:
    return np.maximum(np.abs(u), np.abs(v)) < SQUARE


def _ellipse(u: Floats, v: Floats) -> Flags:
    return np.square(u / ELLIPSE[0]) + np.square(v / ELLIPSE[1]) < 1


def _heart(u: Floats, v: Floats) -> Flags:
    """A square, with a disc around the middle of each of two adjacent sides; centred in its bounding circle."""
    u, v = u + HEART / 4, v + HEART / 4
    square = np.maximum(np.abs(u), np.abs(v)) < HEART
    # A disc around (r, 0) with radius r is u² + v² < 2 r u, one around (0, r) is u² + v² < 2 r v.
    return square | (u * u + v * v < 2 * HEART * np.maximum(u, v))


OUTLINES = (_square, _ellipse, _heart)
KINDS = ("square", "ellipse", "heart")
SYMMETRY = (4, 2, 1)  # rotational: how many angles of a full turn look the same
