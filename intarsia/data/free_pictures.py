"""Pictures whose licences allow to pass on what is made of them: photographs, cut-outs, and shapes, for composed photographs.

The photographs are those of landscapes, towns and interiors in two of Debian's packages, as far as their copyright files put
them in the public domain or under CC0, CC-BY or CC-BY-SA. The cut-outs are those of Microsoft's Fluent Emoji (MIT, npm) that
show one thing in one piece: no flags, symbols, texts or people. The shapes are random and smooth, and have no colours.

Of each kind, a fifth is only for tests and a tenth only for validation. Neighbours in the order of the names, which are often
alike, have the same use.
"""

import re
import unicodedata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from intarsia.data.arrays import Material
from intarsia.data.composed_photographs import HEIGHT, KINDS, NAME, SIDE, WIDTH, material_of
from intarsia.data.cutting import Bytes, centred_cut_out, crops
from intarsia.data.packages import licence_of, licences, members, package_files, reading, versions
from intarsia.data.random import scene_keys, uniform
from intarsia.errors import InputError

EMOJI = "@lobehub/fluent-emoji-3d"
SOURCES = {  # where the photographs are installed, where they are in the source, and which of them have no dominant object
    "endless-sky-data": ("usr/share/games/endless-sky/", "", r"images/land/(?!earthrise|nasa|loc)[\w-]+\.jpg"),
    "lomiri-wallpapers-16.04": (
        "usr/share/backgrounds/",
        "16.04/",
        r"(Bridge|Dragonfly|aitzgorri|analogpattern|life|picosdeeuropa|seeding|sunset)_by_\w+\.jpg",
    ),
}
FREE = re.compile(r"public-domain|CC0|CC-BY(-SA)?-\d")
SIZE = 100  # MB of all packages
CROPS = (1.0, 0.6, 0.35)  # of each photograph; the last is blurred, as a background out of focus
SHAPES = 300
LARGEST_PIECE = 0.97  # at least this fraction of a cut-out is in one piece
FEWEST = 100  # photographs, and cut-outs
# Code points of the emoji.
THINGS = """
231a-231b 23f0-23f3 2602-2603 260e 2615 2618 265f 2693 2697 2699 26b0-26b1 26bd-26be 26cf 26d1 26ea 26f2 26f4-26f5 26f8
26fa 26fd 2702 2708 270f 2712 1f32d-1f32f 1f330-1f342 1f344-1f364 1f366-1f373 1f375-1f37f 1f380-1f384 1f388 1f390
1f392-1f393 1f399 1f3a0-1f3a5 1f3a7-1f3a9 1f3b7-1f3b8 1f3ba-1f3bb 1f3bd 1f3bf-1f3c0 1f3c6 1f3c8-1f3c9 1f3cd-1f3d0
1f3d2-1f3d3 1f3d7-1f3d8 1f3da-1f3db 1f3dd 1f3df-1f3e4 1f3e6 1f3eb-1f3f0 1f3f8-1f3fa 1f400-1f43c 1f43f 1f451-1f462 1f484
1f488-1f48a 1f48d-1f48e 1f490 1f4a1 1f4a3 1f4b0 1f4ba-1f4bd 1f4d2-1f4da 1f4de-1f4e1 1f4e3 1f4e6 1f4ea-1f4ef 1f4f1 1f4f7
1f4f9-1f4fd 1f50b-1f50d 1f510-1f514 1f526-1f52e 1f54a 1f56f-1f570 1f576-1f577 1f579 1f58a-1f58d 1f5a5-1f5b2 1f5c3-1f5c4
1f5d1 1f5dc-1f5de 1f5e1 1f5fb-1f5fd 1f5ff 1f680-1f686 1f688 1f68a-1f68e 1f690-1f69d 1f69f-1f6a4 1f6a6 1f6a8 1f6b2 1f6bd
1f6bf 1f6c1 1f6cb 1f6cd-1f6cf 1f6d2 1f6d5-1f6d6 1f6dd-1f6e2 1f6e5 1f6e9 1f6f0 1f6f3-1f6fc 1f916 1f93f-1f941 1f943-1f945
1f94a-1f94f 1f950-1f96f 1f97b-1f9ae 1f9b4 1f9ba 1f9bc-1f9bf 1f9c0-1f9cb 1f9e2-1f9e6 1f9e8-1f9ef 1f9f0-1f9fd 1fa70 1fa74
1fa7a 1fa7c 1fa80-1fa88 1fa91-1fa99 1fa9a-1fa9e 1faa0-1faa5 1faa8-1faa9 1faad-1faae 1fab0-1fab6 1fab7-1fabf 1face-1facf
1fad0-1fad6 1fad9-1fadb
"""
EMOJI_LICENCE = """\
The cut-outs are Fluent Emoji by Microsoft, from the npm package @lobehub/fluent-emoji-3d by LobeHub; both under the MIT
License:

Copyright (c) Microsoft Corporation.
Copyright (c) 2023 LobeHub

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def material(source: Path | None) -> Material:
    """The arrays to write, from the packages in a folder; without a folder they are downloaded.

    Raises:
        InputError: if there is no such package, or the packages hold too few pictures.
    """
    with package_files(NAME, source, SIZE, tuple(SOURCES), (EMOJI,)) as files:
        photographs, listed, texts = _photographs(files)
        things, names = _things(files[EMOJI])
        made_of = versions(files)
    if min(len(photographs), len(things)) < FEWEST:
        raise InputError(f"The packages hold {len(photographs)} photographs and {len(things)} cut-outs; too few for scenes.")
    images, alpha = (np.stack(parts) for parts in zip(*things, strict=True))
    shapes = _shapes(SHAPES)
    views = np.concatenate(photographs)
    kinds = [
        (views, np.zeros(views.shape[:3], np.uint8), _uses(len(photographs), 2, len(CROPS))),
        (images, alpha, _uses(len(things), 4, 1)),
        (np.full((*shapes.shape, 3), 128, np.uint8), shapes, _uses(len(shapes), 1, 1)),
    ]
    texts |= {"pictures.txt": "\n".join([*listed, *names, ""]), "fluent-emoji-licence.txt": EMOJI_LICENCE}
    return material_of(made_of, dict(zip(KINDS, kinds, strict=True)), texts)


def _photographs(files: dict[str, Path]) -> tuple[list[Bytes], list[str], dict[str, str]]:
    """Crops of each photograph, a line for each that names its licence, and the packages' copyright files."""
    found: list[Bytes] = []
    listed: list[str] = []
    texts: dict[str, str] = {}
    for package, (installed, original, pattern) in SOURCES.items():
        file, licence = files[package], f"usr/share/doc/{package}/copyright"
        contents = dict(members(file, f"{installed}{pattern}|{licence}"))
        named = next((name for name in contents if name.endswith(licence)), None)
        if named is None:
            raise InputError(f"{file.name} holds no {licence}: its pictures may not be passed on.")
        texts[f"{package}-copyright.txt"] = contents.pop(named).decode(errors="replace")
        known = licences(texts[f"{package}-copyright.txt"])
        for name, content in contents.items():
            own = original + name.partition(installed)[2]
            allowed = licence_of(own, known)
            if allowed and FREE.match(allowed.name):
                with reading(name, file):
                    found.append(crops(content, len(found), CROPS, (HEIGHT, WIDTH)))
                listed.append(f"{package}, {own}: {allowed.name}, {allowed.holder}")
    return found, listed, texts


def _things(file: Path) -> tuple[list[tuple[Bytes, Bytes]], list[str]]:
    """The cut-outs and their alpha, and a line for each that names its licence."""
    found, listed = [], []
    wanted = {f"{code:x}{variant}.webp": code for code in _codes() for variant in ("", "-fe0f")}
    for name, content in members(file, r"assets/[0-9a-f]{4,5}(-fe0f)?\.webp"):
        code = wanted.get(name.rpartition("/")[2])
        if code is None:
            continue
        with reading(name, file):
            thing = centred_cut_out(content, (HEIGHT, WIDTH), SIDE)
        if thing and _in_one_piece(thing[1]):
            found.append(thing)
            listed.append(f"{EMOJI}, {unicodedata.name(chr(code), f'{code:x}').lower()}: MIT, Microsoft")
    return found, listed


def _codes() -> list[int]:
    """The code points of `THINGS`, in which A-B stands for all from A to B."""
    ends = [[int(end, 16) for end in part.split("-")] for part in THINGS.split()]
    return [code for first, *last in ends for code in range(first, (last or [first])[0] + 1)]


def _in_one_piece(alpha: Bytes) -> bool:
    pieces, _ = label(alpha > 127)
    counts = np.bincount(pieces.ravel())[1:]
    return bool(counts.max() >= LARGEST_PIECE * counts.sum())


def _shapes(count: int) -> Bytes:
    """The alpha of random smooth shapes, `n h w`, 0 to 255, as large as the cut-outs.

    The logarithm of the radius, as a function of the angle, is a sum of five waves. Then the shape is stretched.
    """
    waves = np.arange(2, 7)
    u = uniform(scene_keys(0, "shapes", range(count)), np.arange(2 * len(waves) + 1))
    amplitude, phase, stretch = u[:, : len(waves)] / waves, 2 * np.pi * u[:, len(waves) : -1], np.exp(u[:, -1] - 0.5)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    shapes = np.empty((count, HEIGHT, WIDTH), np.uint8)

    def radius(shape: int, angle: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp((amplitude[shape] * np.cos(waves * angle[..., None] + phase[shape])).sum(-1))

    turn = np.linspace(-np.pi, np.pi, 1000)
    for shape in range(count):
        border = radius(shape, turn) * np.stack([np.sin(turn), stretch[shape] * np.cos(turn)])
        low, high = border.min(1), border.max(1)
        scale = SIDE / (high - low).max()  # px
        y = (rows - HEIGHT / 2) / scale + (low + high)[0] / 2
        x = ((columns - WIDTH / 2) / scale + (low + high)[1] / 2) / stretch[shape]
        inside = scale * (radius(shape, np.arctan2(y, x)) - np.hypot(x, y)) + 0.5
        shapes[shape] = np.rint(255 * np.clip(inside, 0, 1))
    return shapes


def _uses(groups: int, neighbours: int, each: int) -> dict[str, NDArray[np.int64]]:
    """The indices of the pictures for each use: of ten times `neighbours` groups of `each` pictures, a fifth for tests."""
    part = np.arange(groups * each) // each // neighbours % 10
    parts = {"train": (0, 1, 2, 4, 5, 7, 8), "val": (6,), "test": (3, 9)}
    return {use: np.flatnonzero(np.isin(part, chosen)) for use, chosen in parts.items()}
