"""Test scenes in the report: how they were segmented, and what the numbers of their codes do."""

import math
from typing import Any

import torch
from torch import Tensor

from intarsia.data import Scenes
from intarsia.evaluation.html import animation, picture
from intarsia.manipulation import Part, most_informative, placements, traverse
from intarsia.metrics import hard, matching
from intarsia.model import Model
from intarsia.pictures import coloured
from intarsia.rendering import Memo, Renderer
from intarsia.scene import Scene
from intarsia.shapes import one_hot

__all__ = ["examples", "traversals"]

FRAMES, REACH = 24, 2.0  # of an animation: there and back, in standard deviations of the prior
COLUMNS = {"shape": 4, "texture": 3}  # numbers of each part that are shown


def examples(model: Model, scenes: Scenes, indices: list[int], with_codes: bool) -> str:
    """Scenes, each as image, true segments, found segments in the same colours, and rendered from its codes."""
    images, true = scenes(indices)
    predicted = model.segment(images.to(model.device)).cpu()
    k = max(true.shape[1], predicted.shape[1])
    truth, found = hard(true), hard(predicted)
    places = matching(truth, found, k)[:, :, None, None].expand(-1, -1, *images.shape[2:])
    columns = {
        "image": images,
        "true segments": coloured(one_hot(truth, k)),
        "found segments": coloured(one_hot(found, k).gather(1, places)),
    }
    if with_codes:
        columns["rendered from its codes"] = model.render(model.encode(images.to(model.device)))
    return "".join(
        '<figure><div class="row">'
        + "".join(picture(column[row], f"Scene {index}: {name}") for name, column in columns.items())
        + f"</div><figcaption>Scene {index}</figcaption></figure>"
        for row, index in enumerate(indices)
    )


def traversals(model: Model, image: Tensor, numbers: list[dict[str, Any]]) -> str:
    """A row of animations for each object of an image `3 h w`, and one for the background.

    Args:
        model: With trained codes.
        image: In [0, 1].
        numbers: Of an object's codes, as `scores.json` has them: those with the most nats are shown.
    """
    scene = model.encode(image.to(model.device))
    renderer = Renderer(model, Memo())
    shown = [row for part, count in COLUMNS.items() for row in _most_telling(numbers, part)[:count]]
    head = "".join(f"<th>{row['part']} {row['dimension']}<br>{row['nats']:.2f} nats</th>" for row in shown)
    body = [f"<tr><th></th>{head}</tr>"]
    present = [number for number, place in enumerate(placements(scene.masks[:-1])) if place.area >= 1]
    for object in present:
        cells = (_animated(renderer, scene, row["part"], row["dimension"], object) for row in shown)
        body.append(f"<tr><th>object {object + 1}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    ground = most_informative(scene.background_kl, min(COLUMNS["shape"], len(scene.background_kl)))
    cells = (
        f"{_animated(renderer, scene, 'background', number, None)}{number}, {float(scene.background_kl[number]):.2f} nats"
        for number in ground
    )
    body.append(f"<tr><th>background</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f'<div class="wide"><table class="moves"><tbody>{"".join(body)}</tbody></table></div>'


def _most_telling(numbers: list[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    return sorted((row for row in numbers if row["part"] == part), key=lambda row: -(row["nats"] or 0))


def _animated(renderer: Renderer, scene: Scene, part: Part, dimension: int, object: int | None) -> str:
    offsets = REACH * torch.sin(torch.arange(FRAMES) * (2 * math.pi / FRAMES) + math.pi / 2)
    owner = "The background" if object is None else f"Object {object + 1}"
    frames = traverse(renderer, scene, part, dimension, offsets, object)
    return animation(frames, f"{owner} while number {dimension} of its {part} code moves from {REACH:g} to {-REACH:g} and back")
