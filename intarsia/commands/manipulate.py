"""Changing the objects of an image file. It writes edited pictures or animations, or lists the objects and their codes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from intarsia.commands.edit_flags import EditFlags, check_flags, edits_of
from intarsia.errors import InputError
from intarsia.files import make_folder
from intarsia.formats.image_file import read_photo
from intarsia.manipulation import Part, composite, most_informative, placements, traverse
from intarsia.manipulation.edits import check_code
from intarsia.manipulation.enlarging import Original, at_once, pixels_of
from intarsia.manipulation.full_size import FullSize
from intarsia.manipulation.history import read_history
from intarsia.manipulation.replay import NO_CODES, Edited, begin, check_history, copied, replay
from intarsia.model import load
from intarsia.novelty import notice
from intarsia.pictures import check_mp4, check_targets, read_picture, sheet, write_gif, write_mp4, write_picture, zoom_for
from intarsia.rendering import Memo, Renderer
from intarsia.scene import Scene

COLUMNS = 9  # of a sheet of traversals


@dataclass(frozen=True)
class _Traversal:
    part: Part
    dimension: int
    object: int | None

    @property
    def name(self) -> str:
        owner = "background" if self.object is None else f"object{self.object + 1}-{self.part}"
        return f"{owner}-d{self.dimension}"


def manipulate(run: Path, image: Path, flags: EditFlags, out: Path, overwrite: bool = False) -> tuple[list[str], list[Path]]:
    """Change the objects of an image file, or show what can be changed, with the newest model of a run.

    Edits, given by flags or in a file, give `NAME-edited.png`, of the size of the file given, and `NAME-before-after.png`, for
    which the size that the model takes is enlarged. With `raw`, both are the model's.
    A traversal gives an animation for each number, such as `NAME-object1-shape-d0.gif` or `NAME-background-d0.gif`, and one
    sheet with a row for each: `NAME-traversals.png`, or named like the animation if there is only one. `list` writes nothing.

    Returns:
        The lines to print, and the files written.

    Raises:
        InputError: before anything is written, if it is not clear what to do, the model's codes are not trained, the image or
            the files can't be used, or there is no such object or number.
    """
    check_flags(flags)
    renderer = Renderer(load(run, with_codes=True), Memo())
    scene, lines = _encode(renderer, image)
    _check_number(scene, "--object", flags.object)
    if flags.list:
        return lines + listing(scene, flags.count if renderer.model.has_codes else 0), []
    if (flags.traverse or flags.dimension is not None or flags.raw) and not renderer.model.has_codes:
        raise InputError(NO_CODES)
    if flags.traverse or flags.dimension is not None:
        chosen = _chosen(scene, flags)
        sheet_name = chosen[0].name if len(chosen) == 1 else "traversals"
        kinds = ("gif", "mp4") if flags.mp4 else ("gif",)
        animations = {each: [out / f"{image.stem}-{each.name}.{kind}" for kind in kinds] for each in chosen}
        overview = out / f"{image.stem}-{sheet_name}.png"
        files = [overview, *(path for paths in animations.values() for path in paths)]
        check_targets([image], files, overwrite)
        if flags.mp4:
            check_mp4()
        make_folder(out)
        _write_traversals(renderer, scene, flags, animations, overview)
        return [*lines, f"Rows of {overview.name}: {', '.join(each.name for each in chosen)}."], files
    edited, said = _edited(renderer, scene, flags)
    shown = composite(renderer, scene, edited.scene, flags.raw).cpu()
    if flags.raw:
        full = pixels_of(shown)
    else:
        original = Original.whole(np.asarray(read_photo(image).image), (scene.image.shape[1], scene.image.shape[2]))
        full = at_once(FullSize(renderer, scene, edited, original).drawn())
    files = [out / f"{image.stem}-edited.png", out / f"{image.stem}-before-after.png"]
    check_targets([path for path in (image, flags.copy_from) if path], files, overwrite)
    make_folder(out)
    write_picture(files[0], full)
    write_picture(files[1], sheet([scene.image[None], shown[None]], zoom=zoom_for(shown)))
    return lines + said, files


def listing(scene: Scene, count: int) -> list[str]:
    """Return a line for each object and one for the background, each with the `count` most informative numbers of its codes.

    With a count of 0 the lines of the objects say where they are, and the background has none.
    """
    lines = []
    for number, place in enumerate(placements(scene.masks[:-1])):
        if place.area < 1:
            lines.append(f"object {number + 1}: empty")
            continue
        if not count:
            lines.append(f"object {number + 1}: at ({place.x:.1f}, {place.y:.1f}), {place.area:.0f} pixels")
            continue
        codes = "; ".join(_informative(part, getattr(scene, f"{part}_kl")[number], count) for part in ("shape", "texture"))
        lines.append(f"object {number + 1}: at ({place.x:.1f}, {place.y:.1f}), {place.area:.0f} pixels; {codes}")
    if not count:
        return lines
    return [*lines, f"background: {_informative('background', scene.background_kl, count)}", "(dN: dimension N, with its nats)"]


def _informative(part: str, kl: Tensor, count: int) -> str:
    numbers = most_informative(kl, min(count, len(kl)))
    return f"{part} {', '.join(f'd{number} {float(kl[number]):.2f}' for number in numbers)}"


def _encode(renderer: Renderer, image: Path) -> tuple[Scene, list[str]]:
    model = renderer.model
    picture = read_picture(image, model.recipe.height, model.recipe.width)
    unknown = notice(model, picture.pixels, str(image))
    return model.encode(picture.pixels.to(model.device)), [*picture.notices, *filter(None, [unknown])]


def _check_number(scene: Scene, option: str, number: int | None) -> None:
    if number is not None and not 1 <= number <= len(scene.shape):
        raise InputError(f"{option} is {number}; the objects are 1 to {len(scene.shape)}, and --list shows them.")


def _chosen(scene: Scene, flags: EditFlags) -> list[_Traversal]:
    """Return what to animate: the number that the flags name, or else the most informative numbers of every code."""
    named = None if flags.object is None else flags.object - 1
    if flags.dimension is not None:
        part: Part = flags.part or "shape"
        check_code(scene, part, flags.dimension, named)
        return [_Traversal(part, flags.dimension, named)]
    present = [number for number, place in enumerate(placements(scene.masks[:-1])) if place.area >= 1]
    found = []
    for number in present if named is None else [named]:
        for part in ("shape", "texture"):
            if flags.part in (None, part):
                kl = getattr(scene, f"{part}_kl")[number]
                found += [_Traversal(part, each, number) for each in most_informative(kl, min(flags.count, len(kl)))]
    if flags.part in (None, "background") and named is None:
        kl = scene.background_kl
        found += [_Traversal("background", each, None) for each in most_informative(kl, min(flags.count, len(kl)))]
    if not found:
        raise InputError("The image has no objects to traverse; --part background is left.")
    return found


def _write_traversals(
    renderer: Renderer, scene: Scene, flags: EditFlags, animations: dict[_Traversal, list[Path]], overview: Path
) -> None:
    offsets = torch.linspace(*flags.range, flags.steps)
    columns = torch.linspace(0, flags.steps - 1, min(COLUMNS, flags.steps)).round().long()
    rows = []
    for each, paths in animations.items():
        frames = traverse(renderer, scene, each.part, each.dimension, offsets, each.object, flags.raw).cpu()
        rows.append(frames[columns])
        for path in paths:
            (write_gif if path.suffix == ".gif" else write_mp4)(path, frames)
    write_picture(overview, sheet(list(torch.stack(rows, 1))))


def _edited(renderer: Renderer, scene: Scene, flags: EditFlags) -> tuple[Edited, list[str]]:
    """Return the scene after the edits that the flags ask for, and what to say of the image that an object is copied from."""
    start = begin(scene)
    if flags.edits:
        history = read_history(flags.edits)
        check_history(history, renderer.model, scene.image)
        return replay(renderer, start, history.edits), []
    _check_number(scene, "--swap-texture", flags.swap_texture)
    number = flags.object or start.next  # of the object that is copied, if none is named
    lines: list[str] = []
    if flags.copy_from and flags.copy_object is not None:
        source, lines = _encode(renderer, flags.copy_from)
        _check_number(source, "--copy-object", flags.copy_object)
        start = replay(renderer, start, [copied(renderer, source, flags.copy_object - 1)])
    return replay(renderer, start, edits_of(flags, number, len(start.numbers))), lines
