"""Test scenes for the report: how they were segmented, and what the numbers of their codes change."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from intarsia.data import Scenes
from intarsia.evaluation.embedded import Embedded, animation, still
from intarsia.evaluation.segments import matched_colours
from intarsia.manipulation import Part, most_informative, placements, traverse
from intarsia.model import Model
from intarsia.pictures import overlay
from intarsia.records.scores import NumberScore
from intarsia.rendering import Memo, Renderer
from intarsia.scene import Scene

FRAMES, REACH = 24, 2.0  # of an animation: there and back, in standard deviations of the prior
COLUMNS = {"shape": 4, "texture": 3}  # numbers of each part that are shown


class Example(NamedTuple):
    """A scene as a row of pictures: image, true and found segments in the same colours, the image rendered from its codes."""

    scene: int
    pictures: list[Embedded]


class Traversals(NamedTuple):
    """What the numbers of a scene's codes change.

    numbers: The numbers of an object that are shown.
    objects: For each object, its number counted from 1 and an animation for each of these.
    background: Animations of the background's numbers, each with its number and nats.
    """

    numbers: list[NumberScore]
    objects: list[tuple[int, list[Embedded]]]
    background: list[tuple[Embedded, int, float]]


def examples(model: Model, scenes: Scenes, indices: list[int], with_codes: bool) -> list[Example]:
    """Scenes with their true segments, if they are known, and the found ones; with codes, also rendered from them."""
    images, true = scenes(indices)
    device = model.device
    masks = model.segment(images.to(device))
    if scenes.unlabelled:
        columns = {"image": images, "found segments": overlay(images, masks.cpu())}
    else:
        truth, found = matched_colours(true, masks)
        columns = {"image": images, "true segments": truth, "found segments": found}
    if with_codes:
        columns["rendered from its codes"] = model.render(model.encode(images.to(device)))
    return [
        Example(index, [still(column[row], f"Scene {index}: {name}") for name, column in columns.items()])
        for row, index in enumerate(indices)
    ]


def traversals(model: Model, image: Tensor, numbers: list[NumberScore]) -> Traversals:
    """Animations of the most informative numbers of each object in an image `3 h w`, and of its background."""
    scene, renderer = model.encode(image.to(model.device)), Renderer(model, Memo())
    shown = [row for part, count in COLUMNS.items() for row in _by_nats(numbers, part)[:count]]
    objects = [
        (object + 1, [_animated(renderer, scene, row.part, row.dimension, object) for row in shown])
        for object, place in enumerate(placements(scene.masks[:-1]))
        if place.area >= 1
    ]
    kl = scene.background_kl
    background = [
        (_animated(renderer, scene, "background", number, None), number, float(kl[number]))
        for number in most_informative(kl, min(COLUMNS["shape"], len(kl)))
    ]
    return Traversals(shown, objects, background)


def _by_nats(numbers: list[NumberScore], part: str) -> list[NumberScore]:
    """The numbers of a part, the most informative first."""
    return sorted((row for row in numbers if row.part == part), key=lambda row: -(row.nats or 0))


def _animated(renderer: Renderer, scene: Scene, part: Part, dimension: int, object: int | None) -> Embedded:
    offsets = REACH * torch.sin(torch.arange(FRAMES) * (2 * math.pi / FRAMES) + math.pi / 2)
    owner = "The background" if object is None else f"Object {object + 1}"
    frames = traverse(renderer, scene, part, dimension, offsets, object)
    return animation(frames, f"{owner} while number {dimension} of its {part} code moves from {REACH:g} to {-REACH:g} and back")
