"""Masks of image files: as an overlay to look at, as cut-outs, and as numbers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from intarsia.errors import InputError
from intarsia.files import replacing
from intarsia.model import load
from intarsia.pictures import overlay, sheet
from intarsia.recipes import Recipe

__all__ = ["Picture", "predict", "read_picture"]

OVERLAY_SIZE = 256  # px: small images are enlarged by whole factors to about this


@dataclass(frozen=True)
class Picture:
    """An image file at the size a model takes.

    pixels: `3 h w`, float32 in [0, 1].
    notices: What was done to it, each a sentence for the person who gave it.
    """

    path: Path
    pixels: Tensor
    notices: list[str]


def predict(run: Path, images: list[Path], out: Path, overwrite: bool = False) -> tuple[list[str], list[Path]]:
    """Segment image files with the newest model of a run.

    For each image `NAME.png` there will be `NAME-overlay.png` (the segments in colour over the image), one
    `NAME-segment-K.png` per segment (the image, transparent where the segment is not), and `NAME.npz` with `image`
    (`3 h w`) and `masks` (`k h w`, summing to 1 over k), both float32 in [0, 1]; all at the size the model takes.

    Returns:
        What was done to the images to make them fit, and the files written.

    Raises:
        InputError: before anything is written, if an image can't be used or a file would be overwritten.
    """
    model = load(run)
    recipe = model.recipe
    _check_names(images)
    pictures = [read_picture(path, recipe) for path in images]
    targets = {picture.path: _targets(picture.path, out, recipe.segments) for picture in pictures}
    _check_targets(images, [target for row in targets.values() for target in row], overwrite)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Can't make the folder {out}: {error.strerror}.") from error
    if torch.cuda.is_available():
        model = model.to("cuda")
    device = next(model.parameters()).device
    for picture in pictures:
        masks = model.segment(picture.pixels[None].to(device))[0].cpu()
        _write(picture.pixels, masks, targets[picture.path])
    return [notice for picture in pictures for notice in picture.notices], [path for row in targets.values() for path in row]


def read_picture(path: Path, recipe: Recipe) -> Picture:
    """A PNG or JPEG file of any size and colour mode, turned as its camera says, transparent parts on white."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as file:
            file.load()
            image = ImageOps.exif_transpose(file)
    except FileNotFoundError:
        raise InputError(f"There is no image {path}.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} can't be read as an image, a PNG or JPEG file: {reason}.") from error
    notices = []
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        notices.append(f"{path}: its transparent parts are shown on white.")
    elif image.mode.startswith("I"):  # 16 bits of grey: convert() would clip them, not scale them
        image = Image.fromarray((np.asarray(image, np.float32) / 257).round().clip(0, 255).astype(np.uint8))
    image = image.convert("RGB")
    size = (recipe.width, recipe.height)
    if image.size != size:
        notices.append(_resized(path, image.size, size))
        image = image.resize(size, Image.Resampling.BICUBIC)
    return Picture(path, torch.from_numpy(np.array(image, np.float32) / 255).permute(2, 0, 1).contiguous(), notices)


def _resized(path: Path, before: tuple[int, int], after: tuple[int, int]) -> str:
    notice = f"{path}: resized from {before[0]}x{before[1]} to {after[0]}x{after[1]} pixels, the size the model takes"
    if before[0] * after[1] != before[1] * after[0]:
        notice += ", which changes its proportions"
    return notice + "."


def _targets(path: Path, out: Path, segments: int) -> list[Path]:
    """The files of an image: overlay, numbers, and one per segment."""
    return [
        out / f"{path.stem}-overlay.png",
        out / f"{path.stem}.npz",
        *(out / f"{path.stem}-segment-{k}.png" for k in range(segments)),
    ]


def _check_names(images: list[Path]) -> None:
    if not images:
        raise InputError("No image is given; name at least one PNG or JPEG file.")
    names: dict[str, Path] = {}
    for path in images:
        if path.stem in names:
            raise InputError(f"{names[path.stem]} and {path} would be written under one name; predict them separately.")
        names[path.stem] = path


def _check_targets(images: list[Path], targets: list[Path], overwrite: bool) -> None:
    given = {path.resolve() for path in images}
    for target in targets:
        if target.resolve() in given:
            raise InputError(f"{target} is one of the images given; name another folder with --out.")
        if target.exists() and not (overwrite and target.is_file()):
            raise InputError(f"{target} exists; give --overwrite to replace such files, or another folder with --out.")


def _write(image: Tensor, masks: Tensor, targets: list[Path]) -> None:
    shown, numbers, *cuts = targets
    zoom = max(1, OVERLAY_SIZE // max(image.shape[1:]))
    with replacing(shown) as path:
        Image.fromarray(sheet([overlay(image[None], masks[None])], zoom=zoom, gap=0)).save(path, format="png")
    with replacing(numbers) as path, path.open("wb") as file:
        np.savez_compressed(file, image=image.numpy(), masks=masks.numpy())
    for mask, cut in zip(masks, cuts, strict=True):
        pixels = (torch.cat([image, mask[None]]).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        with replacing(cut) as path:
            Image.fromarray(pixels, "RGBA").save(path, format="png")
