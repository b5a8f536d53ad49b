"""`intarsia predict`: segments image files, and writes overlays, cut-outs and masks."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from intarsia.errors import InputError
from intarsia.files import make_folder, replacing
from intarsia.model import load
from intarsia.pictures import check_targets, overlay, read_picture, sheet, zoom_for
from intarsia.prediction import Prediction
from intarsia.prediction import predict as segmented


def predict(run: Path, images: list[Path], out: Path, overwrite: bool = False) -> tuple[list[str], list[Path]]:
    """Segment image files with the newest model of a run.

    For each image `NAME.png`, this writes `NAME-overlay.png` (the segments in colour over the image), one
    `NAME-segment-K.png` per segment (the image, transparent outside the segment), and `NAME.npz` with `image`
    (`3 h w`) and `masks` (`k h w`, summing to 1 over k), both float32 in [0, 1]. All have the model's image size.

    Returns:
        Notices of how images were resized or converted, and the files written.

    Raises:
        InputError: before anything is written, if an image can't be used or a file exists and `overwrite` is false.
    """
    _check_names(images)
    model = load(run)
    recipe = model.recipe
    pictures = [read_picture(path, recipe.height, recipe.width) for path in images]
    targets = {picture.path: _targets(picture.path, out, recipe.segments) for picture in pictures}
    check_targets(images, [target for row in targets.values() for target in row], overwrite)
    make_folder(out)
    for picture in pictures:
        _write(segmented(model, picture.pixels), targets[picture.path])
    return [notice for picture in pictures for notice in picture.notices], [path for row in targets.values() for path in row]


def _targets(path: Path, out: Path, segments: int) -> list[Path]:
    """The files for an image: the overlay, the NPZ, and one cut-out per segment."""
    return [
        out / f"{path.stem}-overlay.png",
        out / f"{path.stem}.npz",
        *(out / f"{path.stem}-segment-{k}.png" for k in range(segments)),
    ]


def _check_names(images: list[Path]) -> None:
    if not images:
        raise InputError("No image is given; name at least one file.")
    names: dict[str, Path] = {}
    for path in images:
        if path.stem in names:
            raise InputError(f"{names[path.stem]} and {path} would be written under one name; predict them separately.")
        names[path.stem] = path


def _write(prediction: Prediction, targets: list[Path]) -> None:
    image, masks = prediction.image, prediction.masks
    shown, numbers, *cuts = targets
    with replacing(shown) as path:
        Image.fromarray(sheet([overlay(image[None], masks[None])], zoom=zoom_for(image), gap=0)).save(path, format="png")
    with replacing(numbers) as path, path.open("wb") as file:
        np.savez_compressed(file, image=image.numpy(), masks=masks.numpy())
    for mask, cut in zip(masks, cuts, strict=True):
        pixels = (torch.cat([image, mask[None]]).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        with replacing(cut) as path:
            Image.fromarray(pixels, "RGBA").save(path, format="png")
