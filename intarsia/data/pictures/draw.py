"""Draw the four pictures of Multi-Texture beside this file: `python -m intarsia.data.pictures.draw`.

They replace the original's pictures, which have no licence. Sizes and contrasts are about the same, so that the scenes are as
hard to segment: a tiling of 8 px period in two saturated, opposite colours; a mildly saturated background with a fine grain
that is too weak to count as an edge; a square of 13 px and an ellipse of 17 x 11 px around pixel (32, 32).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

SIZE, MIDDLE, PERIOD = 64, 32, 8  # px
ROW, COLUMN = np.indices((SIZE, SIZE))
LIME, VIOLET = (200, 226, 26), (52, 28, 232)
SAGE = np.array([80, 172, 132])
GRAIN = 6.5  # grey levels, standard deviation in the brightest channel
LEVELS = 64  # distinct brightnesses of the grain

Bytes = NDArray[np.uint8]


def tiling() -> Bytes:
    """Lime diamonds on violet, corner to corner."""
    away = (np.abs(line % PERIOD - (PERIOD - 1) / 2) for line in (ROW, COLUMN))
    return np.where(sum(away, np.zeros(()))[..., None] < PERIOD / 2, LIME, VIOLET).astype(np.uint8)


def grain() -> Bytes:
    """A background of long vertical fibres with fine noise, all of one hue."""
    noise = np.random.default_rng(0).standard_normal((2, SIZE, SIZE))
    fibres = gaussian_filter(noise[0], (8, 0.6), mode="wrap")
    texture = fibres / fibres.std() + 0.3 * noise[1]
    level = np.clip(texture / texture.std(), -2.5, 2.5)
    level = np.round(level * LEVELS / 5) * 5 / LEVELS
    return np.round(SAGE * (1 + GRAIN / SAGE.max() * level[..., None])).astype(np.uint8)


def square() -> Bytes:
    """A white square of 13 px on black."""
    return _white(np.maximum(abs(ROW - MIDDLE), abs(COLUMN - MIDDLE)) < 6.5)


def ellipse() -> Bytes:
    """A white ellipse, 17 px wide and 11 px high, on black."""
    return _white(((ROW - MIDDLE) / 5.5) ** 2 + ((COLUMN - MIDDLE) / 8.5) ** 2 < 1)


def _white(inside: NDArray[np.bool_]) -> Bytes:
    return np.where(inside, 255, 0).astype(np.uint8)


PICTURES = {"tex.png": tiling, "bg.png": grain, "square_2.png": square, "ellipse_2.png": ellipse}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        Image.fromarray(draw()).save(Path(__file__).with_name(name), optimize=True)
