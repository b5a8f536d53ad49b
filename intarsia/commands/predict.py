"""`intarsia predict`: segments image files, and writes overlays, cut-outs, masks and labels."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from intarsia.data.folder_files import LeftOut, counted, find_photographs, named
from intarsia.errors import InputError
from intarsia.evaluation.batches import batches
from intarsia.files import make_folder, replacing
from intarsia.formats.coco import coco
from intarsia.formats.image_file import read_photo
from intarsia.manipulation.enlarging import Original, at_once, enlarged_labels
from intarsia.masks import background_last_order, open_masks
from intarsia.model import Model, load
from intarsia.novelty import notice
from intarsia.pictures import Picture, check_targets, label_png, overlay, read_picture, sheet, zoom_for
from intarsia.prediction import Prediction
from intarsia.prediction import predict as segmented


@dataclass(frozen=True)
class _Targets:
    """The files for an image."""

    overlay: Path
    arrays: Path
    labels: Path
    coco: Path
    cuts: list[Path]

    @property
    def all(self) -> list[Path]:
        return [self.overlay, self.arrays, self.labels, self.coco, *self.cuts]


def predict(run: Path, images: Sequence[Path], out: Path, overwrite: bool = False) -> tuple[list[str], list[Path]]:
    """Segment image files with the newest model of a run.

    For each image `NAME.png`, this writes, of the model's image size, `NAME-overlay.png` (the segments in colour over the
    image), one `NAME-segment-K.png` per segment (the image, transparent outside the segment), and `NAME.npz` with `image`
    (`3 h w`) and `masks` (`k h w`, summing to 1 over k), both float32 in [0, 1]. Of the file's own size are
    `NAME-labels.png` (indexed: 0 is the background, others are the objects' numbers as `intarsia manipulate --list` counts
    them) and `NAME-segments.json` (COCO, with masks as RLE).

    Args:
        run: The run, model folder or name of a shipped model.
        images: Files, and folders whose pictures are taken, those of folders below too. In `out` they keep their paths below.
        out: The folder to write to.
        overwrite: Replace files that exist.

    Returns:
        Notices of how images were resized or converted, which are unlike what the model knows, and the files written.

    Raises:
        InputError: before anything is written, if an image can't be used, two have one name, or a file exists and `overwrite`
            is false.
    """
    stems, left_out = _stems(images, out)
    model = load(run)
    recipe = model.recipe
    paths = list(stems)
    pictures = [read_picture(paths[place], recipe.height, recipe.width) for (place,) in batches(len(paths), 1, "Reading")]
    targets = [_targets(stems[path], recipe.segments) for path in paths]
    check_targets(paths, [target for each in targets for target in each.all], overwrite)
    unknown = []
    for (place,) in batches(len(pictures), 1, "Segmenting"):
        picture, found = pictures[place], segmented(model, pictures[place].pixels)
        make_folder(targets[place].overlay.parent)
        _write(found, targets[place])
        _write_labels(model, picture, found.masks, targets[place])
        unknown.append(notice(model, picture.pixels, str(picture.path)))
    said = [*([f"Left out: {counted(left_out)}."] if left_out else []), *_treatments(pictures), *_unknown(unknown)]
    return said, [target for each in targets for target in each.all]


def _stems(images: Iterable[Path], out: Path) -> tuple[dict[Path, Path], LeftOut]:
    """The files, each with what the names of its targets begin with; and what was left out of folders."""
    found: dict[Path, Path] = {}
    left_out: LeftOut = {}
    for given in images:
        inside = [given]
        if given.is_dir():
            inside, others = find_photographs(given)
            written = [path for path in inside if out.resolve() in path.resolve().parents]
            inside = sorted(set(inside) - set(written))
            if not inside:
                raise InputError(f"{given} holds no pictures.")
            if written:
                others["are in the folder for the results"] = [path.relative_to(given).as_posix() for path in written]
            for reason, names in others.items():
                left_out.setdefault(reason, []).extend(names)
        for path in inside:
            found[path] = out / (path.relative_to(given) if given.is_dir() else Path(path.name)).with_suffix("")
    if not found:
        raise InputError("No image is given; name at least one file or folder.")
    owners: dict[Path, Path] = {}
    for path, stem in found.items():
        if stem in owners:
            raise InputError(f"{owners[stem]} and {path} would be written under one name; predict them separately.")
        owners[stem] = path
    return found, left_out


def _targets(stem: Path, segments: int) -> _Targets:
    def named_after(ending: str) -> Path:
        return stem.with_name(f"{stem.name}{ending}")

    return _Targets(
        named_after("-overlay.png"),
        named_after(".npz"),
        named_after("-labels.png"),
        named_after("-segments.json"),
        [named_after(f"-segment-{k}.png") for k in range(segments)],
    )


def _write(prediction: Prediction, targets: _Targets) -> None:
    image, masks = prediction.image, prediction.masks
    with replacing(targets.overlay) as path:
        Image.fromarray(sheet([overlay(image[None], masks[None])], zoom=zoom_for(image), gap=0)).save(path, format="png")
    with replacing(targets.arrays) as path, path.open("wb") as file:
        np.savez_compressed(file, image=image.numpy(), masks=masks.numpy())
    for mask, cut in zip(masks, targets.cuts, strict=True):
        pixels = (torch.cat([image, mask[None]]).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        with replacing(cut) as path:
            Image.fromarray(pixels, "RGBA").save(path, format="png")


def _write_labels(model: Model, picture: Picture, masks: Tensor, targets: _Targets) -> None:
    """Write the labels and the COCO file of a picture, both of the file's own size."""
    recipe = model.recipe
    order = background_last_order(open_masks(masks[None]), recipe.vaes.background_per_batch, recipe.backgrounds)[0]
    objects, backgrounds = order[: recipe.objects], order[recipe.objects :]
    merged = torch.cat([masks[backgrounds].sum(0, keepdim=True), masks[objects]])
    original = Original.whole(np.asarray(read_photo(picture.path).image), (recipe.height, recipe.width))
    labels = at_once(enlarged_labels(original, picture.pixels, merged))
    called = {number: f"segment {channel}" for number, channel in enumerate(objects.tolist(), 1)}
    with replacing(targets.labels) as path:
        path.write_bytes(label_png(labels))
    with replacing(targets.coco) as path:
        path.write_text(json.dumps(coco(picture.path.name, labels, called)) + "\n", errors="backslashreplace")


def _treatments(pictures: list[Picture]) -> list[str]:
    """What was done to make pictures fit: a sentence for each kind of treatment."""
    if len(pictures) == 1:
        return pictures[0].notices
    height, width = pictures[0].pixels.shape[1:]
    taken = f"the size the model takes, {width}x{height} pixels"
    said = {
        "transparent parts, shown on white": [each for each in pictures if each.transparent],
        taken: [each for each in pictures if not each.resized],
        f"another size, resized to {taken}": [each for each in pictures if each.resized and not each.stretched],
        f"other proportions, squeezed into {taken}": [each for each in pictures if each.stretched],
    }
    return [f"{_counted(group)} {what} ({named([str(e.path) for e in group], 3)})." for what, group in said.items() if group]


def _counted(group: list[Picture]) -> str:
    return "1 picture has" if len(group) == 1 else f"{len(group):,} pictures have"


def _unknown(notices: list[str]) -> list[str]:
    """The first sentences about pictures that are unlike what the model knows, and how many more there are."""
    found = [each for each in notices if each]
    rest = [f"Also unlike those: {len(found) - 3:,} more of the {len(notices):,} pictures."]
    return found[:3] + (rest if len(found) > 3 else [])
