"""Changing the objects of an image file: edited pictures, animations of what single numbers do, and a list of what there is."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import ImageColor
from torch import Tensor

from intarsia import manipulation
from intarsia.errors import InputError
from intarsia.files import make_folder
from intarsia.manipulation import Part, composite, most_informative, placements, traverse
from intarsia.manipulation.edits import check_code
from intarsia.manipulation.history import read_history
from intarsia.manipulation.replay import begin, check_history, replay
from intarsia.model import load
from intarsia.pictures import check_targets, read_picture, sheet, write_gif, write_mp4, write_picture, zoom_for
from intarsia.recipes.options import Change, check_change
from intarsia.rendering import Memo, Renderer
from intarsia.scene import Scene

__all__ = ["listing", "manipulate"]

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


def manipulate(run: Path, image: Path, change: Change, out: Path, overwrite: bool = False) -> tuple[list[str], list[Path]]:
    """Change the objects of an image file, or show what can be changed, with the newest model of a run.

    An edit, or a file of them, gives `NAME-edited.png`, at the size the model takes, and `NAME-before-after.png`. A traversal
    gives an animation for each number, `NAME-object1-shape-d0.gif` or `NAME-background-d0.gif`, and a sheet of them all, a row
    for each, `NAME-traversals.png` (or named like its only animation). Asked for a list, nothing is written.

    Returns:
        Lines for the person who asked, and the files written.

    Raises:
        InputError: before anything is written, if it is not clear what to do, the model is not ready for it, the image or the
            files can't be used, or there is no such object or number.
    """
    check_change(change)
    renderer = Renderer(load(run, with_codes=True), Memo())
    scene, lines = _encode(renderer, image)
    _check_number(scene, "--object", change.object)
    if change.list:
        return lines + listing(scene, change.count), []
    if change.traverse or change.dimension is not None:
        chosen = _chosen(scene, change)
        sheet_name = chosen[0].name if len(chosen) == 1 else "traversals"
        kinds = ("gif", "mp4") if change.mp4 else ("gif",)
        animations = {each: [out / f"{image.stem}-{each.name}.{kind}" for kind in kinds] for each in chosen}
        overview = out / f"{image.stem}-{sheet_name}.png"
        files = [overview, *(path for paths in animations.values() for path in paths)]
        check_targets([image], files, overwrite)
        make_folder(out)
        _write_traversals(renderer, scene, change, animations, overview)
        return [*lines, f"Rows of {overview.name}: {', '.join(each.name for each in chosen)}."], files
    edited, said = _edit(renderer, scene, change)
    shown = composite(renderer, scene, edited, change.raw).cpu()
    files = [out / f"{image.stem}-edited.png", out / f"{image.stem}-before-after.png"]
    check_targets([path for path in (image, change.copy_from) if path], files, overwrite)
    make_folder(out)
    write_picture(files[0], sheet([shown[None]], zoom=1, gap=0))
    write_picture(files[1], sheet([scene.image[None], shown[None]], zoom=zoom_for(shown)))
    return lines + said, files


def listing(scene: Scene, count: int) -> list[str]:
    """What there is to change, a line for each object and one for the background; with the `count` most informative numbers."""
    lines = []
    for number, place in enumerate(placements(scene.masks[:-1])):
        if place.area < 1:
            lines.append(f"object {number + 1}: empty")
            continue
        codes = f"{_told('shape', scene.shape_kl[number], count)}; {_told('texture', scene.texture_kl[number], count)}"
        lines.append(f"object {number + 1}: at ({place.x:.1f}, {place.y:.1f}), {place.area:.0f} pixels; {codes}")
    return [*lines, f"background: {_told('background', scene.background_kl, count)}", "(dN: dimension N, with its nats)"]


def _told(part: str, kl: Tensor, count: int) -> str:
    numbers = most_informative(kl, min(count, len(kl)))
    return f"{part} {', '.join(f'd{number} {float(kl[number]):.2f}' for number in numbers)}"


def _encode(renderer: Renderer, image: Path) -> tuple[Scene, list[str]]:
    model = renderer.model
    picture = read_picture(image, model.recipe.height, model.recipe.width)
    return model.encode(picture.pixels.to(model.device)), list(picture.notices)


def _check_number(scene: Scene, option: str, number: int | None) -> None:
    if number is not None and not 1 <= number <= len(scene.shape):
        raise InputError(f"{option} is {number}; the objects are 1 to {len(scene.shape)}, and --list shows them.")


def _chosen(scene: Scene, change: Change) -> list[_Traversal]:
    """What to animate: the one number that is named, or the most informative ones of all codes of all objects there are."""
    named = None if change.object is None else change.object - 1
    if change.dimension is not None:
        part: Part = change.part or "shape"
        check_code(scene, part, change.dimension, named)
        return [_Traversal(part, change.dimension, named)]
    present = [number for number, place in enumerate(placements(scene.masks[:-1])) if place.area >= 1]
    found = []
    for number in present if named is None else [named]:
        for part in ("shape", "texture"):
            if change.part in (None, part):
                kl = getattr(scene, f"{part}_kl")[number]
                found += [_Traversal(part, each, number) for each in most_informative(kl, min(change.count, len(kl)))]
    if change.part in (None, "background") and named is None:
        kl = scene.background_kl
        found += [_Traversal("background", each, None) for each in most_informative(kl, min(change.count, len(kl)))]
    if not found:
        raise InputError("The image has no objects to traverse; --part background is left.")
    return found


def _write_traversals(
    renderer: Renderer, scene: Scene, change: Change, animations: dict[_Traversal, list[Path]], overview: Path
) -> None:
    offsets = torch.linspace(*change.range, change.steps)
    columns = torch.linspace(0, change.steps - 1, min(COLUMNS, change.steps)).round().long()
    rows = []
    for each, paths in animations.items():
        frames = traverse(renderer, scene, each.part, each.dimension, offsets, each.object, change.raw).cpu()
        rows.append(frames[columns])
        for path in paths:
            (write_gif if path.suffix == ".gif" else write_mp4)(path, frames)
    write_picture(overview, sheet(list(torch.stack(rows, 1))))


def _edit(renderer: Renderer, scene: Scene, change: Change) -> tuple[Scene, list[str]]:
    """The scene with the edits made, and how far the object came."""
    if change.edits:
        history = read_history(change.edits)
        check_history(history, renderer.model, scene.image)
        return replay(renderer, begin(scene), history.edits).scene, []
    if change.copy_from and change.copy_object:
        source, notices = _encode(renderer, change.copy_from)
        _check_number(source, "--copy-object", change.copy_object)
        edited, number = manipulation.copy(renderer, scene, source, change.copy_object - 1), 0
    else:
        notices, edited, number = [], scene, (change.object or 1) - 1
    if change.remove:
        return manipulation.remove(edited, number), notices
    start = edited
    if change.swap_texture is not None:
        _check_number(edited, "--swap-texture", change.swap_texture)
        edited = manipulation.swap_texture(edited, number, change.swap_texture - 1)
    if change.move:
        edited = manipulation.move(renderer, edited, number, *change.move)
    if change.scale is not None:
        edited = manipulation.scale(renderer, edited, number, change.scale)
    if change.recolour:
        edited = manipulation.recolour(renderer, edited, number, _colour(change.recolour))
    if change.move or change.scale is not None:
        before, after = (placements(renderer.shapes(each))[number] for each in (start, edited))
        width = (after.area / before.area) ** 0.5
        notices.append(f"Moved by ({after.x - before.x:.1f}, {after.y - before.y:.1f}) pixels, {width:.2f} times as wide.")
    if change.to_front:
        edited = manipulation.to_front(edited, number)
    if change.to_back:
        edited = manipulation.to_back(edited, number)
    return edited, notices


def _colour(text: str) -> list[float]:
    try:
        return [value / 255 for value in ImageColor.getrgb(text)[:3]]
    except ValueError:
        raise InputError(f"--recolour is {text!r}; give '#rrggbb' or the name of a colour, such as red.") from None
