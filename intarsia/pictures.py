"""Pictures: image files as input for a model, and images, sheets and animations for people to look at."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from intarsia.errors import InputError
from intarsia.files import replacing
from intarsia.formats.image_file import read_photo
from intarsia.shapes import Guesses, Images, Masks, one_hot

SHOWN_SIZE = 256  # px: small images are enlarged by an integer factor to about this size
FRAMES_PER_SECOND = 30  # of the original's animations
MOST_LABELS = 255  # of a picture of labels, beside 0

# Okabe and Ito's colours, which colour-blind people can distinguish, and a few more for many segments.
PALETTE = torch.tensor(
    [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (0, 114, 178),
     (204, 121, 167), (150, 150, 150), (120, 60, 180), (160, 220, 90), (90, 60, 30), (250, 190, 212)]
).float() / 255  # fmt: skip


def coloured(masks: Masks) -> Images:
    """Masks `b k h w` in colours, which mix where masks are soft."""
    colours = PALETTE[torch.arange(masks.shape[1]) % len(PALETTE)]
    return torch.einsum("bkhw,kc->bchw", masks.cpu(), colours)


def overlay(images: Images, masks: Masks, strength: float = 0.55) -> Images:
    """Images with their hard segments in colour over them."""
    hard = one_hot(masks.argmax(1), masks.shape[1])
    return images.cpu() * (1 - strength) + coloured(hard) * strength


def sheet(columns: list[Tensor], zoom: int = 2, gap: int = 2) -> np.ndarray:
    """A grid of uint8 pixels `h w 3` with one row per image; a column is `b 3 h w` or, in grey, `b h w`, both in [0, 1]."""
    tiles = [
        (column if column.dim() == 4 else column[:, None].expand(-1, 3, -1, -1)).float().cpu().clamp(0, 1) for column in columns
    ]
    grid = torch.stack(tiles, 1)
    grid = F.interpolate(grid.flatten(0, 1), scale_factor=zoom, mode="nearest").unflatten(0, grid.shape[:2])
    grid = F.pad(grid, (0, gap, 0, gap), value=1.0)
    rows = torch.cat(list(grid.unbind(1)), -1)
    return (torch.cat(list(rows), -2).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def game_sheet(images: Images, masks: Masks, guesses: Guesses | None = None) -> np.ndarray:
    """Image, hard segments, every soft mask and, for each segment, the image with the inpainter's guess in its place."""
    hard = one_hot(masks.argmax(1), masks.shape[1])
    columns = [images, coloured(hard), *masks.unbind(1)]
    if guesses is not None:
        columns += (images[:, None] * (1 - masks[:, :, None]) + guesses * masks[:, :, None]).unbind(1)
    return sheet(columns)


@dataclass(frozen=True)
class Gallery:
    """Images with captions, which a notebook shows side by side.

    Examples:
        >>> Gallery({"black": torch.zeros(3, 8, 8), "white": torch.ones(3, 8, 8)})
        Gallery(black, white)
    """

    images: Mapping[str, Tensor]
    """Captions and images `3 h w` in [0, 1], all of one size."""

    @classmethod
    def of_segments(cls, image: Tensor, masks: Tensor, names: list[str]) -> "Gallery":
        """An image `3 h w` with masks `k h w`: the image, its segments in colour, and each segment on white with its name."""
        image, masks = image.cpu(), masks.cpu()
        cut_outs = image * masks[:, None] + (1 - masks[:, None])
        shown = {"image": image, "segments": coloured(one_hot(masks.argmax(0)[None], len(masks)))[0]}
        return cls(shown | dict(zip(names, cut_outs, strict=True)))

    def __repr__(self) -> str:
        return f"Gallery({', '.join(self.images)})"

    def _repr_html_(self) -> str:
        figures = [
            f'<figure style="margin: 0"><img alt="{escape(name)}" width="{image.shape[-1] * max(1, zoom_for(image) // 2)}" '
            f'style="image-rendering: pixelated" src="data:image/png;base64,{b64encode(png(image)).decode()}">'
            f"<figcaption>{escape(name)}</figcaption></figure>"
            for name, image in self.images.items()
        ]
        return f'<div style="display: flex; flex-wrap: wrap; gap: 8px">{"".join(figures)}</div>'

    def _repr_png_(self) -> bytes:
        return png(torch.cat(list(self.images.values()), -1))


@dataclass(frozen=True)
class Picture:
    """An image file at the size a model takes.

    pixels: `3 h w`, float32 in [0, 1].
    size: Width and height of the file in pixels.
    transparent: Whether the file has transparent parts, which are shown on white.
    """

    path: Path
    pixels: Tensor
    size: tuple[int, int]
    transparent: bool

    @property
    def resized(self) -> bool:
        """Whether the file has another size."""
        return self.size != tuple(self.pixels.shape[:0:-1])

    @property
    def stretched(self) -> bool:
        """Whether the file has other proportions."""
        return self.size[0] * self.pixels.shape[1] != self.size[1] * self.pixels.shape[2]

    @property
    def notices(self) -> list[str]:
        """What was done to make it fit, one sentence each."""
        found = [f"{self.path}: its transparent parts are shown on white."] if self.transparent else []
        if self.resized:
            before, after = ("x".join(map(str, each)) for each in (self.size, self.pixels.shape[:0:-1]))
            notice = f"{self.path}: resized from {before} to {after} pixels, the size the model takes"
            found.append(notice + (", which changes its proportions." if self.stretched else "."))
        return found


def read_picture(path: Path, height: int, width: int, content: bytes | None = None) -> Picture:
    """Read an image file of any size and kind (`formats.image_file`), put it on white, and resize it.

    Args:
        path: The file; only its name for messages if the content is given.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        content: The file's bytes, if they are not read from the disk.

    Raises:
        InputError: if it can't be read, or has too many pixels.
    """
    photo = read_photo(path, content, max(height, width))
    image, size = photo.image, (width, height)
    if photo.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(image, np.float32) / 255).permute(2, 0, 1).contiguous()
    return Picture(path, pixels, photo.size, photo.transparent)


def check_targets(images: list[Path], targets: list[Path], overwrite: bool) -> None:
    """Raise `InputError` if one of the targets is one of the images, or exists and may not be overwritten."""
    given = {path.resolve() for path in images}
    for target in targets:
        if target.resolve() in given:
            raise InputError(f"{target} is one of the images given; name another folder with --out.")
        if target.exists() and not (overwrite and target.is_file()):
            raise InputError(f"{target} exists; give --overwrite to replace such files, or another folder with --out.")


def zoom_for(image: Tensor) -> int:
    """The integer factor by which an image `3 h w` is enlarged for people."""
    return max(1, SHOWN_SIZE // max(image.shape[1:]))


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 pixels `h w 3` as PNG."""
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="png")


def png(image: Tensor) -> bytes:
    """The content of a PNG file of an image `3 h w` in [0, 1], with fast compression."""
    return png_of(sheet([image[None]], zoom=1, gap=0))


def png_of(pixels: np.ndarray) -> bytes:
    """The content of a PNG file of uint8 pixels `h w 3`, or `h w 4` with opacity, with fast compression."""
    content = BytesIO()
    Image.fromarray(pixels).save(content, format="png", compress_level=1)
    return content.getvalue()


def label_png(labels: np.ndarray) -> bytes:
    """The content of a PNG file whose pixels hold labels, uint8 `h w`, and show them in colours; 0 is the background, black."""
    image, content = Image.fromarray(labels), BytesIO()
    colours = (PALETTE * 255).round().to(torch.uint8).tolist()
    image.putpalette([0, 0, 0, *(value for number in range(MOST_LABELS) for value in colours[number % len(colours)])])
    image.save(content, format="png")
    return content.getvalue()


def cutout_png(cutout: Tensor) -> bytes:
    """The content of a PNG file of colours and opacity, `4 h w` in [0, 1]. Where it is clear all around, it is black."""
    near = F.max_pool2d((cutout[None, 3:] > 0).float(), 5, 1, 2)[0]
    content = BytesIO()
    pixels = (torch.cat([cutout[:3] * near, cutout[3:]]) * 255).round().to(torch.uint8)
    Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()).save(content, format="png")
    return content.getvalue()


def read_cutout(content: bytes, height: int, width: int) -> Tensor:
    """The colours and opacity `4 h w` in [0, 1] of a PNG file; `InputError` if it has another size or no opacity."""
    wanted = f"{width}x{height} in RGBA"
    try:
        with Image.open(BytesIO(content), formats=("PNG",)) as file:
            found = f"{file.width}x{file.height} in {file.mode}"
            pixels = np.array(file) if found == wanted else None  # a file of another size is not decompressed
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError("The cut-out is no PNG file.") from error
    if pixels is None:
        raise InputError(f"The cut-out is {found}; it must be {wanted}.")
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def write_gif(path: Path, frames: Images) -> None:
    """Write frames `f 3 h w` in [0, 1], enlarged, as a GIF animation that loops.

    All frames share one palette of 256 colours without dithering, so that still parts do not flicker. GIF counts time in
    hundredths of a second, so the animation is a little faster than `FRAMES_PER_SECOND`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(gif(frames, 100 // FRAMES_PER_SECOND * 10))


def gif(frames: Images, milliseconds: int) -> bytes:
    """The content of the file that `write_gif` writes, with the given time per frame."""
    pictures = [sheet([frame[None]], zoom_for(frame), gap=0) for frame in frames]
    palette = Image.fromarray(np.concatenate(pictures)).quantize(256)
    first, *others = (Image.fromarray(each).quantize(palette=palette, dither=Image.Dither.NONE) for each in pictures)
    content = BytesIO()
    first.save(content, format="gif", save_all=True, append_images=others, duration=milliseconds, loop=0)
    return content.getvalue()


def check_mp4() -> None:
    """Raise `InputError` if the package for videos is not installed."""
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        raise InputError("MP4 needs a package that is not installed: pip install 'intarsia[video]'.") from None


def write_mp4(path: Path, frames: Images) -> None:
    """Write frames `f 3 h w` in [0, 1], enlarged, as H.264 video.

    Raises:
        InputError: if the package for videos is not installed.
    """
    check_mp4()
    import imageio_ffmpeg

    pictures = [sheet([frame[None]], zoom_for(frame), gap=0) for frame in frames]
    size = pictures[0].shape[1::-1]
    with replacing(path) as temporary:
        settings = {"fps": FRAMES_PER_SECOND, "ffmpeg_log_level": "error", "output_params": ["-f", "mp4"]}
        writer = imageio_ffmpeg.write_frames(str(temporary), size, **settings)
        writer.send(None)
        for picture in pictures:
            writer.send(picture.tobytes())
        writer.close()
