"""Crops of photographs, and pictures cut out along their transparent pixels, from the contents of files."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.ndimage import distance_transform_edt

from intarsia.data.random import scene_keys, uniform

Bytes = NDArray[np.uint8]
Size = tuple[int, int]


def crops(content: bytes, number: int, fractions: tuple[float, ...], size: Size) -> Bytes:
    """Crops of a photograph, `n h w 3`; their random places depend on its number.

    `fractions` are their sizes, as fractions of the largest crop with the proportions of `size` (height, width).
    """
    height, width = size
    with Image.open(io.BytesIO(content)) as opened:
        opened.draft("RGB", (1600, 1200))  # decodes a large JPEG at a fraction of its size
        photograph = ImageOps.exif_transpose(opened.convert("RGB"))
    largest = min(photograph.width / width, photograph.height / height)
    places = uniform(scene_keys(number, "crops", range(len(fractions))), [0, 1])
    found = []
    for fraction, (right, down) in zip(fractions, places, strict=True):
        wide, high = fraction * largest * width, fraction * largest * height
        left, top = right * (photograph.width - wide), down * (photograph.height - high)
        box = (left, top, left + wide, top + high)
        found.append(np.asarray(photograph.resize((width, height), Image.Resampling.LANCZOS, box=box)))
    return np.stack(found)


def centred_cut_out(content: bytes, size: Size, longest: int, area: float = np.inf) -> tuple[Bytes, Bytes] | None:
    """What is in front of transparent pixels, in the middle of a picture `h w 3`, and its alpha `h w`, 0 to 255.

    It is scaled so that its longer side is `longest` px, or shorter if it would cover more than `area` px. None if the file has
    no transparent pixels.
    """
    with Image.open(io.BytesIO(content)) as opened:
        picture = opened.convert("RGBA")
    solid = np.asarray(picture)[..., 3] > 127
    if solid.mean() > 0.95 or not solid.any():
        return None
    rows, columns = np.nonzero(solid)
    picture = picture.crop((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    scale = min(np.sqrt(area / solid.sum()), longest / max(picture.size))
    width, height = (max(1, round(length * scale)) for length in picture.size)
    # Resized with premultiplied alpha, so that the colours of transparent pixels have no effect.
    small = np.asarray(picture.convert("RGBa").resize((width, height), Image.Resampling.LANCZOS).convert("RGBA"))
    canvas, alpha = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas[top : top + height, left : left + width] = small[..., :3]
    alpha[top : top + height, left : left + width] = small[..., 3]
    # The colours continue outside of the mask, since interpolation mixes the border with the pixels around it.
    nearest = distance_transform_edt(alpha <= 127, return_distances=False, return_indices=True)
    return canvas[tuple(nearest)], alpha
