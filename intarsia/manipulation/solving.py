"""Edits in the words of a person: move, scale, recolour. The change of the code that gives them is searched for.

What each number of a code stands for was learned, never told. So the decoded shape (or colour) is taken as it is, changed as
wished, and the code is led there by the decoder's Jacobian: from the code that the encoder gives for the wished shape, or,
where that is not near, from its own in steps so small that the shape always overlaps its next goal.

References:
    Marquardt, An algorithm for least-squares estimation of nonlinear parameters, SIAM 1963.
    Broyden, A class of methods for solving nonlinear simultaneous equations, Mathematics of Computation 1965.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.errors import InputError
from intarsia.manipulation.edits import PRESENT, check_object
from intarsia.model import Model
from intarsia.scene import Scene

PLAUSIBLE = 3.0  # standard deviations of the prior: how far a number of a code may be led, unless it was farther before
STRIDE = 0.3  # of its radius, between goals on the way of a shape, at most
COLOUR_STRIDE = 0.25  # in intensity, between goals on the way of a colour
ITERATIONS = 4  # per goal
LAST_ITERATIONS = 12  # for the last goal
NEAR = 0.5  # of a shape's own square: the most by which a shape that overlaps it differs from it
TOLD_ITERATIONS = 6  # from the encoder's code, where that is near
DAMPING, LEAST_DAMPING = 1e-2, 1e-6  # of the mean of the squared Jacobian: at a goal's beginning, and ever
DIFFERENCE = 1e-3  # of a number of a code: far above rounding
CLOSE = 0.05  # share of a goal's own square: with less missing, a Jacobian is corrected, not computed anew
ENOUGH = 1e-3  # share of the error that an iteration has to remove for another to follow


class Placement(NamedTuple):
    """How large a shape is, and where its centre of mass."""

    area: float
    """Pixels."""
    x: float
    """Pixels from the left edge's pixel, to the right; not a number for an empty shape."""
    y: float
    """Pixels from the top edge's pixel, downwards."""


def placements(shapes: Tensor) -> list[Placement]:
    """Of shapes or masks `n h w` in [0, 1]."""
    areas = shapes.sum((1, 2))
    rows, columns = (torch.arange(size, device=shapes.device, dtype=shapes.dtype) for size in shapes.shape[1:])
    across, down = (shapes.sum(1) @ columns / areas).tolist(), (shapes.sum(2) @ rows / areas).tolist()
    return [Placement(*each) for each in zip(areas.tolist(), across, down, strict=True)]


def move(model: Model, scene: Scene, object: int, dx: float, dy: float) -> Scene:
    """The scene with an object moved by `dx` pixels to the right and `dy` down, as far as its shape code can follow.

    Where the model never saw such a shape there, the result is the nearest that it can draw; `placements` of the decoded
    shapes tell how far it came. The texture stays a picture of the whole size, in which the shape moves.

    Raises:
        InputError: if there is no such object, it is empty, or the distance is not a number.
    """
    if not (math.isfinite(dx) and math.isfinite(dy)):
        raise InputError(f"The distance is ({dx}, {dy}); it must be two numbers, in pixels.")
    return _reshape(model, scene, object, lambda share: (1.0, dx * share, dy * share), math.hypot(dx, dy))


def scale(model: Model, scene: Scene, object: int, factor: float) -> Scene:
    """The scene with an object `factor` times as wide and high, about its centre; otherwise like `move`.

    Raises:
        InputError: if there is no such object, it is empty, or the factor is not a positive number.
    """
    if not 0 < factor < math.inf:
        raise InputError(f"The factor is {factor}; it must be a positive number.")
    radius = max(model.recipe.height, model.recipe.width) / 2
    return _reshape(model, scene, object, lambda share: (factor**share, 0.0, 0.0), radius * abs(math.log(factor)))


def recolour(model: Model, scene: Scene, object: int, colour: Sequence[float]) -> Scene:
    """The scene with an object's texture changed, as little as possible, so that its mean colour is the one given: red,
    green and blue, in [0, 1]; otherwise like `move`.

    Raises:
        InputError: if there is no such object, it is empty, or the colour is none.
    """
    if len(colour) != 3 or not all(0 <= value <= 1 for value in colour):
        raise InputError(f"The colour is {tuple(colour)}; it must be three numbers in [0, 1].")
    shape = _decoded_shape(model, scene, object)

    def mean_colours(codes: Tensor) -> Tensor:
        return (model.picture("texture", codes) * shape).sum((2, 3)) / shape.sum()

    with torch.no_grad():
        start = mean_colours(scene.texture[object][None])[0]
    goal = start.new_tensor(colour)
    count = max(1, math.ceil(float((goal - start).abs().max()) / COLOUR_STRIDE))
    goals = [start + (goal - start) * number / count for number in range(1, count + 1)]
    return replace(scene, texture=_with_row(scene.texture, object, _led(mean_colours, scene.texture[object], goals)))


def _reshape(
    model: Model, scene: Scene, object: int, way: Callable[[float], tuple[float, float, float]], length: float
) -> Scene:
    """Lead an object's shape code along a way: from a share of it to the factor and distances there. `length` in pixels."""
    _decoded_shape(model, scene, object)  # there is something to change
    code = scene.shape[object]

    @torch.no_grad()
    def pictures(codes: Tensor) -> Tensor:  # in doubt about their borders, so that they change smoothly with the code
        return model.upsample(model.autoencoder.shape.decode(codes).sigmoid())[:, 0]

    shape = pictures(code[None])[0]
    goal = _transformed(shape, *way(1.0))
    with torch.no_grad():
        told = torch.clamp(
            model.autoencoder.shape.encode(model.downsample(goal[None, None]))[0][0], -_limit(code), _limit(code)
        )
        far, near = (goal - pictures(torch.stack([code, told]))).square().sum((1, 2))
    if near < min(far, NEAR * goal.square().sum()):
        code = _led(pictures, told, [goal], TOLD_ITERATIONS)
    else:
        radius = math.sqrt(float(shape.sum()) / math.pi)
        count = max(1, math.ceil(length / (STRIDE * radius)))
        goals = [_transformed(shape, *way(number / count)) for number in range(1, count + 1)]
        code = _led(pictures, code, goals)
    return replace(scene, shape=_with_row(scene.shape, object, code))


def _limit(code: Tensor) -> Tensor:
    """How far each number of a code may be led."""
    return code.abs().clamp(min=PLAUSIBLE)


def _decoded_shape(model: Model, scene: Scene, object: int) -> Tensor:
    check_object(scene, object)
    shape = model.picture("shape", scene.shape[object])[0]
    if shape.max() <= PRESENT:
        raise InputError("The object is empty: the image has none for its place, so there is nothing to change.")
    return shape


def _transformed(shape: Tensor, factor: float, dx: float, dy: float) -> Tensor:
    """A shape `h w`, scaled about its centre of mass and then moved; what comes in from outside is empty."""
    _, x, y = placements(shape[None])[0]
    height, width = shape.shape
    # Where each pixel's content comes from, then in grid_sample's units: -1 and 1 are the outer edges of the image.
    columns = (torch.arange(width, device=shape.device) - x - dx) / factor + x
    rows = (torch.arange(height, device=shape.device) - y - dy) / factor + y
    down, across = torch.meshgrid((2 * rows + 1) / height - 1, (2 * columns + 1) / width - 1, indexing="ij")
    return F.grid_sample(shape[None, None], torch.stack([across, down], -1)[None], align_corners=False)[0, 0]


@torch.no_grad()
def _led(
    pictures: Callable[[Tensor], Tensor], code: Tensor, goals: Sequence[Tensor], last_iterations: int = LAST_ITERATIONS
) -> Tensor:
    """The code `d` whose picture is near the last goal, by Levenberg's and Marquardt's method from each goal to the next.

    `pictures` makes `b ...` of codes `b d`. Numbers without effect stay as they are, and all stay where the prior finds them
    plausible. Near a goal the Jacobian is not computed anew but corrected by what each step is seen to do, as Broyden does:
    most steps cost a single picture then.
    """
    limit, now, jacobian = _limit(code), pictures(code[None])[0].flatten(), None
    for goal in goals:
        damping, missing = DAMPING, goal.flatten() - now
        close = CLOSE * goal.square().sum()
        for _ in range(last_iterations if goal is goals[-1] else ITERATIONS):
            before = missing.square().sum()
            if jacobian is None or (before > close and damping <= DAMPING):
                jacobian = _jacobian(pictures, code, now)
            gram = jacobian.mT @ jacobian
            ridge = damping * gram.diagonal().mean().clamp(min=1e-12)
            step = torch.linalg.solve(gram + ridge * torch.eye(len(code), device=code.device), jacobian.mT @ missing)
            trial = (code + step).clamp(-limit, limit)
            step, drawn = trial - code, pictures(trial[None])[0].flatten()
            if not step.any():
                break
            left = goal.flatten() - drawn
            after = left.square().sum()
            if after >= before:
                damping *= 10
                continue
            jacobian = jacobian + torch.outer((drawn - now - jacobian @ step) / step.square().sum(), step)
            code, now, missing, damping = trial, drawn, left, max(damping / 10, LEAST_DAMPING)
            if after > (1 - ENOUGH) * before:
                break
    return code


def _jacobian(pictures: Callable[[Tensor], Tensor], code: Tensor, now: Tensor) -> Tensor:
    """How each value of a code's picture changes with each of its numbers, `p d`.

    `now` is its picture. By differences, all in one batch: as fast as forward derivatives, which first compile for seconds in
    each process.
    """
    steps = DIFFERENCE * torch.eye(len(code), device=code.device)
    return (pictures(code + steps).flatten(1) - now).mT / DIFFERENCE


def _with_row(rows: Tensor, number: int, row: Tensor) -> Tensor:
    changed = rows.clone()
    changed[number] = row
    return changed
