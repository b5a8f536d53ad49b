"""Multi-Texture: one to four squares and ellipses of one texture on a textured background; 64x64 pixels, 5 segments.

As in the original, every object is cut from the same texture picture, which does not move with the object. Objects differ
only in place, shape and hue. The package has its own pictures (see `pictures/draw.py`), of about the same size and contrast
as the original's, which have no licence. With a folder of the original's four pictures, `render` gives the original's scenes.
One thing is different: the random numbers are a function of seed, split and index, because the original's test scenes differ
from run to run.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from scipy.ndimage import spline_filter

from intarsia.data.colours import sixths
from intarsia.data.compose import paste
from intarsia.data.random import Keys, scene_keys, spaced, uniform
from intarsia.data.scenes import SPLITS, Factors, Indices, Scenes, SceneSample
from intarsia.errors import InputError

SIZE = 64  # px
MOST = 4  # objects
NUMBERS = np.array([4, 3, 2, 1])
NUMBER_LIMITS = np.array([0.8, 0.9, 0.97])  # u up to .8: 4 objects, up to .9: 3, up to .97: 2, else 1
REACH = 32.0  # px: offsets lie in [-REACH, REACH)
SPACING = 10.0  # px: two objects' offsets differ by more, rows and columns added
HUE = 0.45  # turns of the colour circle: hue shifts lie in [-HUE, HUE)
MARGIN = 36  # px around a shape, so that a window shifted by REACH stays inside

PICTURES = Path(__file__).parent / "pictures"

Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]


class IndexedPicture(NamedTuple):
    """The distinct colours of a picture (`n 3`, in [0, 1]) and the index of each pixel's colour (`h w`).

    A hue shift acts on colours, and a picture has far fewer colours than pixels.
    """

    palette: Pixels
    indices: NDArray[np.intp]


class Components(NamedTuple):
    """The components of scenes.

    windows: Spline coefficients of the shapes (see `_windows`).
    centres: The shapes' centres `n 2` in px (row, column) from the upper left corner of their pictures.
    """

    background: IndexedPicture
    texture: IndexedPicture
    windows: Pixels
    centres: Floats


class Parameters(NamedTuple):
    """The parameters of `b` scenes of up to n objects, nearest first."""

    number: NDArray[np.int64]  # b, 1 to n: the number of objects
    shape_index: NDArray[np.int64]  # b n: 0 ellipse, 1 square
    dr: Floats  # b n, px, -32 to 32: row r of the scene is row r + dr of the shape, so positive is up
    dc: Floats  # b n, px, -32 to 32: the same for columns, positive is left
    hue: Floats  # b n+1, turns: shift of the background's hue, then of each object's


def open_scenes(seed: int, split: str, data_root: Path | None, size: tuple[int, int] | None = None) -> Scenes:
    """The scenes of a split, from the pictures in `data_root`, or the package's own (see `components`)."""
    parts = components(data_root)
    draw, describe = partial(_draw, parts, seed, split), partial(_describe, parts, seed, split)
    return Scenes("multi_texture", SPLITS[split], SIZE, SIZE, MOST + 1, draw, describe)


def _draw(parts: Components, seed: int, split: str, indices: Indices) -> SceneSample:
    return render(parts, *draw_parameters(scene_keys(seed, split, indices)))


def _describe(parts: Components, seed: int, split: str, indices: Indices) -> Factors:
    return factors(parts, draw_parameters(scene_keys(seed, split, indices)))


def factors(parts: Components, parameters: Parameters) -> Factors:
    """The `Factors`; the hue is the hue shift, so an object in the texture's original colours has angle 0."""
    number, shape_index, dr, dc, hue = parameters
    centre = parts.centres[shape_index] - np.stack([dr, dc], axis=-1)
    angle = 2 * np.pi * hue[:, 1:]
    found = {
        "row": centre[..., 0],
        "column": centre[..., 1],
        "hue_sin": np.sin(angle),
        "hue_cos": np.cos(angle),
        "square": shape_index.astype(np.float64),
    }
    present = np.arange(shape_index.shape[1]) < number[:, None]
    return {name: np.where(present, values, np.nan) for name, values in found.items()}


def components(data_root: Path | None = None) -> Components:
    """Read the four pictures `bg.png`, `tex.png` (colours), `ellipse_2.png`, `square_2.png` (white on black), each 64x64.

    They are read from the folder `data_root`, or from the package. A missing or wrong file raises `InputError`.
    """
    folder = PICTURES if data_root is None else data_root
    background, texture = (_read(folder / name, "RGB") for name in ("bg.png", "tex.png"))
    shapes = np.stack([_read(folder / name, "L") for name in ("ellipse_2.png", "square_2.png")])
    return Components(_picture(background), _picture(texture), _windows(shapes), _centres(shapes))


def _read(path: Path, mode: str) -> Floats:
    wanted = f"a {SIZE}x{SIZE} picture is expected there"
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert(mode)) / 255
    except FileNotFoundError:
        raise InputError(f"There is no file {path}; {wanted}.") from None
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{path} can't be read ({error}); {wanted}.") from error
    if pixels.shape[:2] != (SIZE, SIZE):
        height, width = pixels.shape[:2]
        raise InputError(f"{path} is {width}x{height}; {wanted}.")
    return pixels


def _picture(pixels: Floats) -> IndexedPicture:
    palette, indices = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    return IndexedPicture(palette.astype(np.float32), indices.reshape(SIZE, SIZE))


def _centres(shapes: Floats) -> Floats:
    """The centres of mass of shapes `n h w`: `n 2`, in px from the upper left corner."""
    places = np.arange(SIZE) + 0.5
    return np.stack([shapes.sum(2) @ places, shapes.sum(1) @ places], axis=1) / shapes.sum((1, 2))[:, None]


def _windows(shapes: Floats) -> Pixels:
    """Cubic-spline coefficients of shapes `n h w`, as a view of the windows for all possible shifts.

    Entry [i, MARGIN + r, MARGIN + c] is the window of shape i that begins at row r and column c. It is 3 pixels larger than a
    picture, as interpolation with four taps needs. Coefficients beyond the border are mirrored, as the spline demands.
    """
    coefficients = np.stack([spline_filter(shape, order=3, mode="mirror") for shape in shapes])
    padded = np.pad(coefficients, [(0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)], mode="reflect")
    return sliding_window_view(padded.astype(np.float32), (SIZE + 3, SIZE + 3), axis=(1, 2))


def draw_parameters(keys: Keys) -> Parameters:
    """Random parameters for `b` scenes of up to four objects by the original's rules."""
    counts = [1, MOST, MOST + 1]
    u = uniform(keys, np.arange(sum(counts)))
    number, shape, hue = np.split(u, np.cumsum(counts)[:-1], axis=1)
    offsets = spaced(keys, sum(counts), MOST, [-REACH, -REACH], [REACH, REACH], SPACING)
    return Parameters(
        number=NUMBERS[np.searchsorted(NUMBER_LIMITS, number[:, 0])],
        shape_index=(2 * shape).astype(np.int64),
        dr=offsets[..., 0],
        dc=offsets[..., 1],
        hue=HUE * (2 * hue - 1),
    )


def render(
    parts: Components,
    number: NDArray[np.int64],
    shape_index: NDArray[np.int64],
    dr: Floats,
    dc: Floats,
    hue: Floats,
) -> SceneSample:
    """Render the scenes with some `Parameters`: n + 1 masks for up to n objects."""
    present = np.arange(shape_index.shape[1]) < number[:, None]
    shapes = np.zeros((*present.shape, SIZE, SIZE), np.float32)
    shapes[present] = _shifted(parts.windows, shape_index[present], dr[present], dc[present])
    pictures = [parts.background] + [parts.texture] * present.shape[1]
    return paste(shapes, (_recoloured(picture, shift) for picture, shift in zip(pictures, hue.T, strict=True)))


def _shifted(windows: Pixels, shape_index: NDArray[np.int64], dr: Floats, dc: Floats) -> Pixels:
    """Shapes `n h w`: pixel (r, c) is the spline at (r + dr, c + dc), 0 outside the picture, clipped to [0, 1]."""
    top, left = np.floor(dr).astype(np.int64), np.floor(dc).astype(np.int64)
    shapes = windows[shape_index, MARGIN + top - 1, MARGIN + left - 1]
    for axis, offset in (1, dr), (2, dc):
        shapes = _interpolated(shapes.swapaxes(1, axis), offset).swapaxes(1, axis)
    return np.clip(shapes, 0, 1, out=shapes)


def _interpolated(lines: Pixels, offset: Floats) -> Pixels:
    """The spline along axis 1 of coefficients `n h+3 w`: `n h w`. The four weights are the same for all lines of a shape."""
    weights = _spline_weights(offset % 1)
    source = np.arange(SIZE) + offset[:, None]
    inside = (source >= 0) & (source <= SIZE - 1)
    total = weights[:, 0, None, None] * lines[:, :SIZE]
    term = np.empty_like(total)
    for tap in range(1, 4):
        total += np.multiply(weights[:, tap, None, None], lines[:, tap : tap + SIZE], out=term)
    total *= inside[..., None]
    return total


def _spline_weights(f: Floats) -> Pixels:
    """The weights `n 4` of the coefficients at -1, 0, 1, 2 in a cubic B-spline at position f in [0, 1)."""
    g = 1 - f
    weights = np.stack([g**3, 4 - 3 * f**2 * (1 + g), 4 - 3 * g**2 * (1 + f), f**3], axis=1) / 6
    return weights.astype(np.float32)


def _recoloured(picture: IndexedPicture, shift: Floats) -> Pixels:
    """A picture with each of `b` hue shifts: `b 3 h w`."""
    palettes = shift_hue(picture.palette, shift[:, None])
    return palettes.swapaxes(1, 2).take(picture.indices, axis=2)


def shift_hue(colours: Pixels, shift: Floats) -> Pixels:
    """Colours `... 3` (red, green, blue) turned by `shift` around the colour circle, in full turns; greys stay.

    Like TensorFlow's `adjust_hue`, this keeps the largest and the smallest of the three values, and so value and saturation of
    HSV.
    """
    top, chroma = colours.max(axis=-1), np.ptp(colours, axis=-1)
    angle = sixths(colours) + 6 * shift.astype(np.float32)
    turned = (angle[..., None] + np.array([5, 3, 1], np.float32)) % 6
    return top[..., None] - chroma[..., None] * np.clip(np.minimum(turned, 4 - turned), 0, 1)
