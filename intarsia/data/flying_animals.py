"""Flying Animals: one to five animals pasted on a photograph; 192x256 pixels, or 1/n of it, and 6 segments.

As in the original: the distributions of the number of animals, of their pictures, places, sizes, distances and order of depth,
and of the brightness added to each animal and to the background. There are two differences. The image is clipped to [0, 1]. And
the random numbers are a function of seed, split and index, because the original's test scenes differ from run to run.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from intarsia.data.colours import sixths
from intarsia.data.compose import paste, placed
from intarsia.data.random import Keys, scene_keys, spaced, uniform
from intarsia.data.scenes import SPLITS, Factors, Indices, Scenes, SceneSample

HEIGHT, WIDTH = 192, 256  # px
MOST = 5  # animals
NUMBERS = np.array([5, 4, 3, 2, 1])
NUMBER_LIMITS = np.array([0.8, 0.9, 0.96, 0.99])  # u up to .8: 5 animals, up to .9: 4, up to .96: 3, up to .99: 2, else 1
ZOOM = 0.9, 1.2  # px of an animal's picture per px of the scene
DX, DY = (-113.0, 112.0), (-85.0, 84.0)  # px; the original rounds the limits down, so they aren't symmetric
SPACING = 97.0  # px: the places of two animals differ by more, rows and columns added
BRIGHTNESS = 0.36  # added to a picture: from -BRIGHTNESS to BRIGHTNESS

Pixels = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]


class Animals(NamedTuple):
    """Animals cut out of their pictures, in windows `wh ww` of the size of the largest.

    Pictures and windows have the same scale. A window extends past its animal by at least one pixel on each side.
    """

    windows: Bytes  # n 4 wh ww: red, green, blue, and the fraction of the pixel that the animal covers
    corner: NDArray[np.int64]  # n 2, px: row and column of the window's upper left pixel in the animal's picture
    centre: Floats  # n 2, px from the upper left corner of the picture: the centre of mass
    colour: Floats  # n 3, in [0, 1]: the mean


class Parameters(NamedTuple):
    """The parameters of `b` scenes of up to n animals, nearest first."""

    number: NDArray[np.int64]  # b, 1 to n: the number of animals
    background: NDArray[np.int64]  # b: index of the background
    animal: NDArray[np.int64]  # b n: index of the animal
    zoom: Floats  # b n, 0.9 to 1.2: px of the picture per px of the scene; a larger zoom makes the animal smaller
    dx: Floats  # b n, px of a scene 256 wide, positive is right: from the scene's centre to the picture's
    dy: Floats  # b n, px of a scene 192 high, positive is down
    brightness: Floats  # b n+1: added to the background, then to each animal


def composed_scenes(name: str, seed: int, split: str, backgrounds: Bytes, animals: Animals, source: str) -> Scenes:
    """The scenes of a split, composed of backgrounds `m h w 3` and animals, in the size of the backgrounds."""
    height, width = backgrounds.shape[1:3]
    draw, describe = partial(_draw, backgrounds, animals, seed, split), partial(_describe, backgrounds, animals, seed, split)
    return Scenes(name, SPLITS[split], height, width, MOST + 1, draw, describe, source)


def _draw(backgrounds: Bytes, animals: Animals, seed: int, split: str, indices: Indices) -> SceneSample:
    keys = scene_keys(seed, split, indices)
    return render(backgrounds, animals, draw_parameters(keys, len(backgrounds), len(animals.corner)))


def _describe(backgrounds: Bytes, animals: Animals, seed: int, split: str, indices: Indices) -> Factors:
    """The `Factors`, with `scale` relative to the picture, the added `brightness`, and the hue of the animal's mean colour."""
    keys = scene_keys(seed, split, indices)
    number, _, animal, zoom, dx, dy, brightness = draw_parameters(keys, len(backgrounds), len(animals.corner))
    inset = _inset(zoom, dx, dy, *backgrounds.shape[1:3])
    # Pixel p of the scene shows pixel zoom * p + inset of the picture; a pixel's centre lies half a px from its corner.
    centre = (animals.centre[animal] - 0.5 - inset) / zoom[..., None] + 0.5
    angle = np.pi / 3 * sixths(animals.colour)[animal]
    factors = {
        "row": centre[..., 0],
        "column": centre[..., 1],
        "scale": 1 / zoom,
        "brightness": brightness[:, 1:],
        "hue_sin": np.sin(angle),
        "hue_cos": np.cos(angle),
    }
    present = np.arange(MOST) < number[:, None]
    return {name: np.where(present, values, np.nan) for name, values in factors.items()}


def reduced(pictures: Bytes, alpha: Bytes, factor: int) -> tuple[Bytes, Bytes]:
    """Pictures `n h w 3` and the alpha of their animals (`n h w`, 0 to 255), downsampled by a factor.

    Each new pixel is the mean of a block of factor x factor pixels, weighted by alpha if any of it is above 0. So the colours
    around an animal don't mix with those at its border.
    """
    if factor == 1:
        return pictures, alpha
    n, height, width = alpha.shape
    blocks = n, height // factor, factor, width // factor, factor
    weights = np.maximum(alpha, 1e-6, dtype=np.float32).reshape(*blocks, 1)
    colours = (pictures.reshape(*blocks, 3) * weights).sum(axis=(2, 4)) / weights.sum(axis=(2, 4))
    means = alpha.reshape(blocks).mean(axis=(2, 4), dtype=np.float32)
    return np.rint(colours).astype(np.uint8), np.rint(means).astype(np.uint8)


def cut_out(pictures: Bytes, alpha: Bytes) -> Animals:
    """Cut animals out of their pictures `n h w 3`, where their alpha `n h w`, 0 to 255, is above 0."""
    corner, size = np.empty((len(alpha), 2), np.int64), np.zeros(2, np.int64)
    for number, mask in enumerate(alpha):
        rows, columns = np.nonzero(mask)
        corner[number] = rows.min(), columns.min()
        size = np.maximum(size, (np.ptp(rows) + 3, np.ptp(columns) + 3))  # a px on each side, where interpolation fades out
    layers = np.concatenate([pictures, alpha[..., None]], axis=3).transpose(0, 3, 1, 2)
    padded = np.pad(layers, [(0, 0), (0, 0), (1, size[0]), (1, size[1])])
    windows = np.stack([layer[:, r : r + size[0], c : c + size[1]] for layer, (r, c) in zip(padded, corner, strict=True)])
    mass = alpha.sum(axis=(1, 2), dtype=np.float64)[:, None]
    down, right = (np.arange(length) + 0.5 for length in alpha.shape[1:])
    centre = np.stack([alpha.sum(axis=2) @ down, alpha.sum(axis=1) @ right], axis=1) / mass
    colour = np.einsum("nchw,nhw->nc", windows[:, :3] / 255, windows[:, 3]) / mass
    return Animals(windows, corner - 1, centre, colour)


def draw_parameters(keys: Keys, backgrounds: int, animals: int) -> Parameters:
    """Random parameters for `b` scenes by the original's rules, given the numbers of backgrounds and animals."""
    counts = [1, 1, MOST, MOST, MOST + 1]
    u = uniform(keys, np.arange(sum(counts)))
    number, background, animal, zoom, brightness = np.split(u, np.cumsum(counts)[:-1], axis=1)
    place = spaced(keys, sum(counts), MOST, [DY[0], DX[0]], [DY[1], DX[1]], SPACING)
    return Parameters(
        number=NUMBERS[np.searchsorted(NUMBER_LIMITS, number[:, 0])],
        background=(backgrounds * background[:, 0]).astype(np.int64),
        animal=(animals * animal).astype(np.int64),
        zoom=ZOOM[0] + (ZOOM[1] - ZOOM[0]) * zoom,
        dx=place[..., 1],
        dy=place[..., 0],
        brightness=BRIGHTNESS * (2 * brightness - 1),
    )


def render(backgrounds: Bytes, animals: Animals, parameters: Parameters) -> SceneSample:
    """Render the scenes with some parameters, in the size of the backgrounds: n + 1 masks for up to n animals."""
    number, background, animal, zoom, dx, dy, brightness = parameters
    size = backgrounds.shape[1:3]
    layers, corner = _zoomed(animals, animal, zoom, _inset(zoom, dx, dy, *size))
    layers[np.arange(animal.shape[1]) >= number[:, None], 3] = 0  # absent animals
    added = brightness.astype(np.float32)[..., None, None, None]
    shapes = np.stack([placed(layers[:, k, 3:], corner[:, k], size)[:, 0] for k in range(animal.shape[1])], axis=1)

    def textures() -> Iterator[Pixels]:
        yield np.divide(backgrounds[background].transpose(0, 3, 1, 2), 255, dtype=np.float32) + added[:, 0]
        for k in range(animal.shape[1]):
            yield placed(layers[:, k, :3], corner[:, k], size) + added[:, k + 1]

    return paste(shapes, textures())


def _inset(zoom: Floats, dx: Floats, dy: Floats, height: int, width: int) -> Floats:
    """The row and column of the animal's picture at the scene's pixel (0, 0): `b n 2`.

    The next pixel of the scene is `zoom` pixels further in the picture. The middle of the picture (in the original, half its
    height and width) is at dy, dx from the middle of the scene.
    """
    moved = np.stack([dy * height / HEIGHT, dx * width / WIDTH], axis=-1)
    middle = np.array([height, width]) / 2
    return middle - zoom[..., None] * (middle + moved)


def _zoomed(animals: Animals, animal: NDArray[np.int64], zoom: Floats, inset: Floats) -> tuple[Pixels, NDArray[np.int64]]:
    """Animals at the size of the scene, in windows `b n 4 oh ow`, bilinear; and the windows' upper left corners `b n 2`."""
    source = np.array(animals.windows.shape[2:])
    first = np.ceil((animals.corner[animal] - inset) / zoom[..., None])
    offset = first * zoom[..., None] + inset - animals.corner[animal]  # px of the source, in [0, zoom)
    rows, columns = (
        2 * (offset[..., axis, None] + zoom[..., None] * np.arange(length)) / (source[axis] - 1) - 1
        for axis, length in enumerate(np.ceil(source / ZOOM[0]).astype(np.int64))
    )
    shape = *zoom.shape, rows.shape[-1], columns.shape[-1]
    grid = np.stack([np.broadcast_to(columns[..., None, :], shape), np.broadcast_to(rows[..., None], shape)], axis=-1)
    windows = torch.from_numpy(animals.windows[animal.ravel()]).float().div_(255)
    found = F.grid_sample(windows, torch.from_numpy(grid).float().flatten(0, 1), align_corners=True)
    return found.numpy().reshape(*zoom.shape, 4, *shape[-2:]), first.astype(np.int64)
