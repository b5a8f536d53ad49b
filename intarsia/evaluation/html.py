"""Small pieces of HTML: escaped text, tables, pictures as data."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from PIL import Image
from torch import Tensor

from intarsia.shapes import Images

__all__ = ["animation", "escape", "number", "picture", "rows", "table"]

MILLISECONDS = 80  # per frame of an animation


def number(value: float | None, digits: int = 3) -> str:
    """A figure for people; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def table(head: Sequence[str], body: Iterable[str], kind: str = "") -> str:
    """A table of ready rows (`rows`), in a box that scrolls where the page is narrow."""
    cells = "".join(f"<th>{text}</th>" for text in head)
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{cells}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def rows(entries: Iterable[Sequence[str]]) -> list[str]:
    """Table rows whose first cell names them and whose others are figures; the cells are HTML."""
    return [
        "".join([f"<tr><th>{name}</th>", *(f'<td class="number">{cell}</td>' for cell in cells), "</tr>"])
        for name, *cells in entries
    ]


def picture(image: Tensor, alt: str) -> str:
    """An image `3 h w` in [0, 1] as a PNG within the page; the page decides how large it is shown."""
    return _image(_png(image), "png", image, alt)


def animation(frames: Images, alt: str) -> str:
    """Frames `f 3 h w` in [0, 1] as an endless animation; the last frame alone for people who asked for less motion."""
    first, *others = (Image.fromarray(pixels) for pixels in map(_pixels, frames))
    buffer = io.BytesIO()
    first.save(buffer, "webp", save_all=True, append_images=others, duration=MILLISECONDS, loop=0, quality=80, method=4)
    still = f'<source media="(prefers-reduced-motion: reduce)" srcset="{_data(_png(frames[-1]), "png")}">'
    return f"<picture>{still}{_image(buffer.getvalue(), 'webp', frames[0], alt)}</picture>"


def _image(content: bytes, kind: str, image: Tensor, alt: str) -> str:
    height, width = image.shape[1:]
    return f'<img src="{_data(content, kind)}" width="{width}" height="{height}" alt="{escape(alt)}">'


def _png(image: Tensor) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(_pixels(image)).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _pixels(image: Tensor) -> np.ndarray:
    return (image.detach().cpu().clamp(0, 1).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
