"""Composed photographs: one to five things of any size pasted on a photograph; 192x256 pixels, or 1/n of it, and 6 segments.

A thing is a cut-out or a smooth shape, from a tenth to nine tenths of the image's height long. It is turned, mirrored, and may
be cut at the border or partly hidden by nearer things. Its colours are those of its picture, of a close view of another
photograph, or mixed of both: real things have textures, drawn ones hardly do. A shape has no colours of its own.

Training scenes get harder with their index. The first ones show cut-outs of middling size in their own colours. The range of
sizes and the fraction of shapes and of other colours grow steadily up to scene `EASY`, and are those of the test from there on.
The game does not get started on things of very different size, but goes on with them (docs/notes/008-content.md).

A folder of arrays holds a picture per row: `images`, and in `masks` how much of each pixel the thing covers, 0 to 255. Every
split has pictures of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from intarsia.data.arrays import Contents, Material
from intarsia.data.compose import paste, placed
from intarsia.data.cutouts import open_pictures, rows_from
from intarsia.data.flying_animals import reduced
from intarsia.data.random import Keys, scene_keys, uniform
from intarsia.data.scenes import SPLITS, Indices, Scenes, SceneSample

NAME = "composed_photographs"
KINDS = ("photograph", "cut-out", "shape")  # of pictures, in the order of the rows
USES = tuple(SPLITS)
HEIGHT, WIDTH = 192, 256  # px
VIEWS = 3  # rows of each photograph, the closest last
SIDE = 176  # px: the longer side of a cut-out in its row
MOST = 5  # things
FULL = 0.7  # of all scenes have the most things; in the others, all smaller numbers are equally likely
EASY = 4000  # training scenes until they are as hard as the test's
EASY_SIZES, SIZES = (0.25, 0.45), (0.1, 0.9)  # of the longer side, in image heights; its logarithm is uniform
TURN = np.pi / 4  # largest angle
SHAPES = 0.3  # of all things
PLACES = 8  # that are tried for a thing; if nearer ones cover too much of it in all of them, it is left out
COVERED = 0.4  # of a thing's square, at most
INSIDE = 0.2  # of a thing's length that lies between its centre and the border, at least
GAIN = 0.6, 1.25  # factor of the colours; its logarithm is uniform
TINT = 0.5, 1.6  # factor of each colour of a photograph in a thing; its logarithm is uniform
SATURATION = 0.6, 1.2  # factor of the colours' distances from grey
ROUNDING = 0.3  # of the level's logarithm: a cut-out is reduced to at least 2**-ROUNDING of its size in the scene
LEVELS = 4  # of detail: a small thing is drawn from a picture reduced by 2, 4 or 8, as interpolation sees only four pixels

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]
Integers = NDArray[np.int64]


class Pictures(NamedTuple):
    """The pictures of a split."""

    photographs: Bytes  # m h w 3
    levels: Sequence[Bytes]  # n 4 192/f 192/f for f = 1, 2, 4, 8: red, green, blue and alpha of cut-outs, then of shapes
    cut_outs: int  # how many of n


class Parameters(NamedTuple):
    """The parameters of `b` scenes of n things, nearest first."""

    present: NDArray[np.bool_]  # b n
    photograph: Integers  # b n+1: index of the background, then of those that give the things their colours
    flipped: Integers  # b n+1 2, 1 or -1: their rows, and their columns; the background's rows are not
    thing: Integers  # b n: index
    size: Floats  # b n: the longer side, in image heights
    angle: Floats  # b n
    mirrored: Integers  # b n, 1 or -1
    centre: Floats  # b n 2: row and column, in image heights
    share: Floats  # b n, 0 to 1: how much of a thing's colours is a photograph's
    tint: Floats  # b n 3: of that photograph's colours
    gain: Floats  # b n+1: of the background, then of the things
    saturation: Floats  # b n+1


def material_of(
    source: str, kinds: Mapping[str, tuple[Bytes, Bytes, Mapping[str, Integers]]], texts: Mapping[str, str]
) -> Material:
    """The arrays to write for pictures of each of `KINDS`.

    These are images `n 192 256 3`, alpha `n 192 256`, 0 to 255, and the indices for each split.
    """
    parts = [(images[uses[use]], alpha[uses[use]]) for images, alpha, uses in (kinds[kind] for kind in KINDS) for use in USES]
    images, alpha = (np.concatenate(part) for part in zip(*parts, strict=True))
    splits: dict[str, int | None] = {f"{kind} {use}": len(kinds[kind][2][use]) for kind in KINDS for use in USES}
    contents = Contents(NAME, source, HEIGHT, WIDTH, MOST + 1, splits)
    return Material(contents, partial(rows_from, {"images": images, "masks": alpha}), len(images), texts)


def open_scenes(seed: int, split: str, data_root: Path | None, size: tuple[int, int] | None = None) -> Scenes:
    """The scenes of a split, composed of the pictures in a prepared folder, at 1/n of their size for an integer n.

    Raises:
        InputError: if there is no such folder, it is not complete, or there is no such n for the size.
    """
    stored, factor, counts = open_pictures(NAME, data_root, size, len(KINDS) * len(USES))
    ends = np.cumsum(counts)
    rows = [slice(ends[i] - counts[i], ends[i]) for i in range(USES.index(split), len(counts), len(USES))]
    (views, empty), *things = ([stored.arrays[name][part] for name in ("images", "masks")] for part in rows)
    photographs, _ = reduced(views, empty, factor)
    pictures = Pictures(
        photographs, _levels(*(np.concatenate(parts) for parts in zip(*things, strict=True))), len(things[0][0])
    )
    height, width = photographs.shape[1:3]
    draw = partial(_draw, pictures, seed, split)
    return Scenes(NAME, SPLITS[split], height, width, MOST + 1, draw, source=stored.contents.source)


def _levels(images: Bytes, alpha: Bytes) -> list[Bytes]:
    middle = slice((WIDTH - HEIGHT) // 2, (WIDTH + HEIGHT) // 2)
    parts = [(images[:, :, middle], alpha[:, :, middle])]
    for _ in range(LEVELS - 1):
        parts.append(reduced(*parts[-1], 2))
    return [np.concatenate([colours, alpha[..., None]], 3).transpose(0, 3, 1, 2).copy() for colours, alpha in parts]


def _draw(pictures: Pictures, seed: int, split: str, indices: Indices) -> SceneSample:
    photographs, levels, cut_outs = pictures
    keys = scene_keys(seed, split, indices)
    hardness = np.minimum(indices / EASY, 1) if split == "train" else np.ones(len(indices))
    return render(pictures, draw_parameters(keys, hardness, len(photographs), cut_outs, len(levels[0]) - cut_outs))


def draw_parameters(keys: Keys, hardness: Floats, photographs: int, cut_outs: int, shapes: int) -> Parameters:
    """Random parameters for `b` scenes, given their hardness from 0 to 1 and the numbers of pictures."""
    counts = dict.fromkeys(("rows", "kind", "thing", "size", "angle", "mirrored", "share"), MOST)
    counts |= {"number": 1, "tint": 3 * MOST, "centre": 2 * PLACES * MOST}
    counts |= dict.fromkeys(("photograph", "columns", "gain", "saturation"), MOST + 1)
    u = uniform(keys, np.arange(sum(counts.values())))
    parts = dict(zip(counts, np.split(u, np.cumsum([*counts.values()])[:-1], axis=1), strict=True))
    hardness = hardness[:, None]
    limits = [easy ** (1 - hardness) * hard**hardness for easy, hard in zip(EASY_SIZES, SIZES, strict=True)]
    size = _between(limits, parts["size"])
    centre, fits = _places(parts["centre"].reshape(-1, MOST, PLACES, 2), size, parts["number"])
    shape = parts["kind"] < SHAPES * hardness
    photograph = (photographs * parts["photograph"]).astype(np.int64)
    photograph[:, 1:] += VIEWS - 1 - photograph[:, 1:] % VIEWS
    flipped = np.stack([np.pad(parts["rows"], [(0, 0), (1, 0)], constant_values=1), parts["columns"]], axis=-1)
    return Parameters(
        present=fits,
        photograph=photograph,
        flipped=np.where(flipped < 0.5, -1, 1),
        thing=np.where(shape, cut_outs + shapes * parts["thing"], cut_outs * parts["thing"]).astype(np.int64),
        size=size,
        angle=TURN * (2 * parts["angle"] - 1),
        mirrored=np.where(parts["mirrored"] < 0.5, -1, 1),
        centre=centre,
        share=np.where(shape, 1, hardness * np.clip(2 * parts["share"] - 0.6, 0, 1)),
        tint=_between(TINT, parts["tint"].reshape(-1, MOST, 3)),
        gain=_between(GAIN, parts["gain"]),
        saturation=SATURATION[0] + (SATURATION[1] - SATURATION[0]) * parts["saturation"],
    )


def _between(limits: Sequence[float | Floats], u: Floats) -> Floats:
    low, high = (np.log(limit) for limit in limits)
    return np.exp(low + (high - low) * u)


def _places(u: Floats, size: Floats, number: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The centre of each thing, `b n 2`, and whether it is there, `b n`.

    A thing takes the first of its places, `b n p 2` in [0, 1), where nearer ones cover little of the square around it.
    """
    margin = INSIDE * size[..., None, None]
    places = margin + u * (np.array([1, WIDTH / HEIGHT]) - 2 * margin)
    fewer = 1 + np.floor((MOST - 1) * (number - FULL) / (1 - FULL))
    wanted = np.arange(MOST) < np.where(number < FULL, MOST, fewer)
    centre, fits = np.zeros((*size.shape, 2)), np.zeros(size.shape, bool)
    for i in range(MOST):
        reach = (size[:, i, None] + size[:, :i])[:, None, :, None] / 2
        distance = np.abs(places[:, i, :, None] - centre[:, None, :i])
        common = np.clip(reach - distance, 0, np.minimum(size[:, i, None], size[:, :i])[:, None, :, None]).prod(-1)
        free = (common * fits[:, None, :i]).sum(-1) <= COVERED * size[:, i, None] ** 2
        centre[:, i] = np.take_along_axis(places[:, i], free.argmax(1)[:, None, None], 1)[:, 0]
        fits[:, i] = wanted[:, i] & free.any(1)
    return centre, fits


def render(pictures: Pictures, parameters: Parameters) -> SceneSample:
    """Render the scenes with some parameters, in the size of the photographs."""
    b, n = parameters.thing.shape
    height, width = pictures.photographs.shape[1:3]
    layers = np.zeros((b * n, 4, height, width), np.float32)
    zoom = SIDE / (height * parameters.size.ravel())  # px of the cut-out per px of the scene
    level = np.clip(np.floor(np.log2(zoom) + ROUNDING), 0, LEVELS - 1)
    for number, windows in enumerate(pictures.levels):
        chosen = np.flatnonzero((level == number) & parameters.present.ravel())
        if len(chosen):
            layers[chosen] = _turned(windows, parameters, chosen, zoom, (height, width))
    layers = layers.reshape(b, n, 4, height, width)

    tone = _tone(parameters.gain, parameters.saturation)

    def textures() -> Iterator[Pixels]:
        for k in range(n + 1):
            matrix = tone[:, k]
            picture = _photograph(pictures.photographs, parameters.photograph[:, k], parameters.flipped[:, k])
            if k:
                share = parameters.share[:, k - 1, None, None]
                own = _recoloured((1 - share) * matrix, layers[:, k - 1, :3])
                matrix = share * matrix * parameters.tint[:, k - 1, None]
            picture = _recoloured(matrix, picture)
            if k:
                picture += own
            yield np.clip(picture, 0, 1, out=picture)

    return paste(layers[:, :, 3], textures())


def _turned(windows: Bytes, parameters: Parameters, chosen: Integers, zoom: Floats, size: tuple[int, int]) -> Pixels:
    """Some of the things at their places in pictures `c 4 h w`, which are 0 elsewhere, from cut-outs of one level."""
    angle, mirrored, thing = (part.ravel()[chosen] for part in (parameters.angle, parameters.mirrored, parameters.thing))
    centre, zoom = size[0] * parameters.centre.reshape(-1, 2)[chosen], zoom[chosen, None, None]
    level = HEIGHT // windows.shape[2]
    longest = min(SIZES[1] * size[0], SIDE / level * 2**ROUNDING)  # px of the things of this level
    side = int(np.ceil(longest * np.sqrt(2))) + 2
    corner = np.floor(centre - side / 2).astype(np.int64)
    down, right = (corner + 0.5 - centre).T[..., None] + np.arange(side)
    down, right = down[:, :, None], right[:, None, :]
    cosine, sine = (function(angle)[:, None, None] for function in (np.cos, np.sin))
    column = mirrored[:, None, None] * (cosine * right + sine * down)
    row = cosine * down - sine * right
    grid = torch.from_numpy(np.stack([column * zoom, row * zoom], axis=-1) / (HEIGHT / 2)).float()
    found = F.grid_sample(torch.from_numpy(windows[thing]).float().div_(255), grid, align_corners=False)
    return placed(found.numpy(), corner, size)


def _photograph(photographs: Bytes, index: Integers, flipped: Integers) -> Pixels:
    """Photographs `b 3 h w` in [0, 1]."""
    pictures = photographs[index]
    for picture, (down, right) in zip(pictures, flipped, strict=True):
        picture[:] = picture[::down, ::right].copy()
    return np.divide(pictures.transpose(0, 3, 1, 2), 255, dtype=np.float32)


def _tone(gain: Floats, saturation: Floats) -> Floats:
    """The matrices `... 3 3` that multiply colours' distances from grey by a saturation, and the colours by a gain."""
    kept = saturation[..., None, None]
    return gain[..., None, None] * (kept * np.eye(3) + (1 - kept) / 3)


def _recoloured(matrices: Floats, pictures: Pixels) -> Pixels:
    """Pictures `b 3 h w` whose colours are multiplied by matrices `b 3 3`."""
    b, c, h, w = pictures.shape
    return (matrices.astype(np.float32) @ pictures.reshape(b, c, h * w)).reshape(b, c, h, w)
