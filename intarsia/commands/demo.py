"""`intarsia demo`: a test scene with its segments, and an animation of its largest object moving."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from intarsia.data import scenes_of
from intarsia.errors import InputError
from intarsia.files import make_folder
from intarsia.manipulation import composite, move, placements
from intarsia.model import load
from intarsia.pictures import check_targets, overlay, sheet, write_gif, write_picture, zoom_for
from intarsia.rendering import Memo, Renderer
from intarsia.scene import Scene

FRAMES = 48  # of the animation, which moves the object there and back
DISTANCE = 0.25  # as a fraction of the image's width


def demo(run: Path, number: int, out: Path, overwrite: bool = False) -> tuple[list[str], list[Path]]:
    """Segment a test scene with the newest model of a run, and animate its largest object. Everything else stays still.

    This writes `scene-N.png` (the image, its segments in colour, and each object alone) and `scene-N-moving.gif`. There,
    the object moves by a quarter of the image's width, towards the side that is further away, and back.

    Returns:
        Lines to print, and the files written.

    Raises:
        InputError: before anything is written, if the model has no codes yet, there is no such scene, the model finds no
            object in it, or a file exists and `overwrite` is false.
    """
    model = load(run, with_codes=True)
    test = scenes_of(model.recipe, "test", seed=0)  # the scenes that `evaluate` scores
    scene = model.encode(test([number]).images[0].to(model.device))
    places = placements(scene.masks[:-1])
    present = [object for object, place in enumerate(places) if place.area >= 1]
    if not present:
        raise InputError(f"The model finds no object in scene {number} of {test.name}; try another one.")
    largest = max(present, key=lambda object: places[object].area)
    distance = DISTANCE * test.width * (1 if places[largest].x < test.width / 2 else -1)
    files = [out / f"scene-{number}.png", out / f"scene-{number}-moving.gif"]
    check_targets([], files, overwrite)
    make_folder(out)
    frames = _moving(Renderer(model, Memo()), scene, largest, distance)
    write_picture(files[0], _taken_apart(scene, present))
    write_gif(files[1], frames)
    still = int((frames == scene.image).all(1).all(0).sum())
    return [
        f"Scene {number} of the test scenes of {test.name}: {len(present)} object{'' if len(present) == 1 else 's'} found.",
        f"{files[0].name}: the image, its segments, and each object alone.",
        f"{files[1].name}: the largest object moves, all else stands still: {still:,} of {test.height * test.width:,} pixels "
        "never change.",
    ], files


def _moving(renderer: Renderer, scene: Scene, object: int, distance: float) -> Tensor:
    """Frames `f 3 h w` of an object that moves to the right by `distance` pixels and back."""
    phases = (torch.arange(FRAMES) + 0.5) * (2 * math.pi / FRAMES)  # where it turns, two frames are one that lasts
    gone = (distance * (1 - phases.cos()) / 2).tolist()
    return torch.stack([composite(renderer, scene, move(renderer, scene, object, each, 0)) for each in gone])


def _taken_apart(scene: Scene, objects: list[int]) -> np.ndarray:
    """The image, its segments in colour, and each of these objects on white, side by side."""
    alone = [scene.image * scene.masks[each] + 1 - scene.masks[each] for each in objects]
    pictures = [scene.image[None], overlay(scene.image[None], scene.masks[None]), *(each[None] for each in alone)]
    return sheet(pictures, zoom_for(scene.image))
