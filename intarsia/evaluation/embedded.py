"""Images as data addresses, so that a page needs no other file."""

import base64
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from intarsia.shapes import Images

MILLISECONDS = 80  # per frame of an animation


class Embedded(NamedTuple):
    """An image for the page, which decides how large it is shown.

    src: The data address of a PNG, or of an animated WebP.
    width: In pixels.
    height: Likewise.
    alt: The text for people who don't see it.
    last: The data address of an animation's last frame, for people who asked for less motion.
    """

    src: str
    width: int
    height: int
    alt: str
    last: str | None = None


def still(image: Tensor, alt: str) -> Embedded:
    """An image `3 h w` in [0, 1] as a PNG."""
    return Embedded(_png(image), image.shape[2], image.shape[1], alt)


def animation(frames: Images, alt: str) -> Embedded:
    """Frames `f 3 h w` in [0, 1] as an endless animation."""
    first, *others = (Image.fromarray(pixels) for pixels in map(_pixels, frames))
    content = BytesIO()
    first.save(content, "webp", save_all=True, append_images=others, duration=MILLISECONDS, loop=0, quality=80, method=4)
    return Embedded(_address(content, "webp"), frames.shape[3], frames.shape[2], alt, _png(frames[-1]))


def _png(image: Tensor) -> str:
    content = BytesIO()
    Image.fromarray(_pixels(image)).save(content, "png", optimize=True)
    return _address(content, "png")


def _address(content: BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def _pixels(image: Tensor) -> np.ndarray:
    return (image.detach().cpu().clamp(0, 1).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
