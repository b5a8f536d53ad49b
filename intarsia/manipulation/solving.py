"""Edits in everyday terms: move, scale, recolour. A search finds the change of the code that gives them.

The meaning of each number of a code is learned and not known in advance. So the decoded shape (or colour) is changed as asked,
and that is the goal. The search follows the decoder's Jacobian to the goal. It starts from the code that the encoder gives for
the goal. If that code's shape is not near the goal, it starts from the object's own code and takes several goals on the way, so
close together that the shape overlaps the next one (unless it is tiny and goes far).

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

from intarsia.errors import InputError, is_finite
from intarsia.manipulation.edits import PRESENT, check_object
from intarsia.rendering import Renderer
from intarsia.scene import Scene

PLAUSIBLE = 3.0  # standard deviations of the prior: the limit of each number of a code, unless it was beyond before
FARTHEST = 8  # in images' sides; a search is as long as its path
LARGEST_FACTOR = 100  # of a size; the smallest is its inverse
STRIDE = 0.3  # most distance between two goals of a shape, as a fraction of its radius
MOST_GOALS = 50  # of a shape, so that a tiny one that goes far does not take minutes
COLOUR_STRIDE = 0.25  # most distance between two goals of a colour, in intensity
ITERATIONS = 4  # per goal
LAST_ITERATIONS = 12  # for the last goal
NEAR = 0.5  # most squared difference from a goal to start at the encoder's code, as a fraction of the goal's square
ENCODED_ITERATIONS = 6  # from the encoder's code
DAMPING, LEAST_DAMPING = 1e-2, 1e-6  # at each goal's beginning and at least, in means of the squared Jacobian
DIFFERENCE = 1e-3  # of a number of a code, for the Jacobian: far above rounding errors
CLOSE = 0.05  # squared error, as a fraction of the goal's square, below which a Jacobian is corrected and not computed anew
ENOUGH = 1e-3  # fraction of the squared error that an iteration has to remove for another one to follow


class Placement(NamedTuple):
    """The area of a shape, and its centre of mass."""

    area: float
    """Pixels."""
    x: float
    """Pixels to the right of the leftmost pixel; not a number for an empty shape."""
    y: float
    """Pixels below the topmost pixel."""


def placements(shapes: Tensor) -> list[Placement]:
    """The placement of each of the shapes or masks `n h w` in [0, 1]."""
    areas = shapes.sum((1, 2))
    rows, columns = (torch.arange(size, device=shapes.device, dtype=shapes.dtype) for size in shapes.shape[1:])
    across, down = (shapes.sum(1) @ columns / areas).tolist(), (shapes.sum(2) @ rows / areas).tolist()
    return [Placement(*each) for each in zip(areas.tolist(), across, down, strict=True)]


def move(renderer: Renderer, scene: Scene, object: int, dx: float, dy: float) -> Scene:
    """The scene with an object moved by `dx` pixels to the right and `dy` down, as far as its shape code allows.

    If the model never saw such a shape there, the result is the nearest that it can draw. The `placements` of the decoded
    shapes give the distance that the object really moved. The texture does not move along: it is a picture of the image's
    size, and the shape moves over it.

    Raises:
        InputError: if there is no such object, it is empty, or the distance is beyond 8 times the image's longer side.
    """
    most = FARTHEST * max(scene.image.shape[1:])
    if not (is_finite(dx) and is_finite(dy) and max(abs(dx), abs(dy)) <= most):
        raise InputError(f"The distance is ({dx}, {dy}); it must be two numbers of pixels, from {-most} to {most}.")
    return _reshape(renderer, scene, object, lambda fraction: (1.0, dx * fraction, dy * fraction), math.hypot(dx, dy))


def scale(renderer: Renderer, scene: Scene, object: int, factor: float) -> Scene:
    """The scene with an object scaled by a factor about its centre; otherwise like `move`.

    Raises:
        InputError: if there is no such object, it is empty, or the factor is not from 0.01 to 100.
    """
    if not (is_finite(factor) and 1 / LARGEST_FACTOR <= factor <= LARGEST_FACTOR):
        raise InputError(f"The factor is {factor}; it must be from {1 / LARGEST_FACTOR:g} to {LARGEST_FACTOR}.")
    radius = max(scene.image.shape[1:]) / 2
    length = radius * abs(math.log(factor))
    return _reshape(renderer, scene, object, lambda fraction: (factor**fraction, 0.0, 0.0), length)


def recolour(renderer: Renderer, scene: Scene, object: int, colour: Sequence[float]) -> Scene:
    """The scene with an object's texture changed, as little as possible, to a mean colour; otherwise like `move`.

    Raises:
        InputError: if there is no such object, it is empty, or the colour is not red, green and blue in [0, 1].
    """
    if len(colour) != 3 or not all(is_finite(value) and 0 <= value <= 1 for value in colour):
        raise InputError(f"The colour is {tuple(colour)}; it must be three numbers in [0, 1].")
    shape = _decoded_shape(renderer, scene, object)

    def mean_colours(codes: Tensor) -> Tensor:
        return (renderer.picture("texture", codes) * shape).sum((2, 3)) / shape.sum()

    with torch.no_grad():
        start = mean_colours(scene.texture[object][None])[0]
    goal = start.new_tensor(colour)
    count = max(1, math.ceil(float((goal - start).abs().max()) / COLOUR_STRIDE))
    goals = [start + (goal - start) * number / count for number in range(1, count + 1)]
    return replace(scene, texture=_with_row(scene.texture, object, _search(mean_colours, scene.texture[object], goals)))


def _reshape(
    renderer: Renderer, scene: Scene, object: int, path: Callable[[float], tuple[float, float, float]], length: float
) -> Scene:
    """The scene with an object's shape changed along a path.

    Args:
        renderer: Of the model of the scene.
        scene: Whose object.
        object: Its number.
        path: The scale factor and the distances to the right and down at each fraction of the path.
        length: Of the path, in pixels.
    """
    _decoded_shape(renderer, scene, object)  # raises where there is nothing to change
    model, code = renderer.model, scene.shape[object]

    @torch.no_grad()
    def pictures(codes: Tensor) -> Tensor:  # with soft borders, so that they change smoothly with the code
        return model.upsample(model.autoencoder.shape.decode(codes).sigmoid())[:, 0]

    shape = pictures(code[None])[0]
    goal = _transformed(shape, *path(1.0))
    with torch.no_grad():
        mean, _ = model.autoencoder.shape.encode(model.downsample(goal[None, None]))
        encoded = torch.clamp(mean[0], -_limit(code), _limit(code))
        far, near = (goal - pictures(torch.stack([code, encoded]))).square().sum((1, 2))
    if near < min(far, NEAR * goal.square().sum()):
        code = _search(pictures, encoded, [goal], ENCODED_ITERATIONS)
    else:
        radius = math.sqrt(float(shape.sum()) / math.pi)
        count = min(max(1, math.ceil(length / (STRIDE * radius))), MOST_GOALS)
        goals = [_transformed(shape, *path(number / count)) for number in range(1, count + 1)]
        code = _search(pictures, code, goals)
    return replace(scene, shape=_with_row(scene.shape, object, code))


def _limit(code: Tensor) -> Tensor:
    """The largest absolute value that each number of a code may get."""
    return code.abs().clamp(min=PLAUSIBLE)


def _decoded_shape(renderer: Renderer, scene: Scene, object: int) -> Tensor:
    check_object(scene, object)
    shape = renderer.picture("shape", scene.shape[object])[0]
    if shape.max() <= PRESENT:
        raise InputError("The object is empty: the image has none for its place, so there is nothing to change.")
    return shape


def _transformed(shape: Tensor, factor: float, dx: float, dy: float) -> Tensor:
    """A shape `h w`, scaled about its centre of mass and then moved; outside of the image it is 0."""
    _, x, y = placements(shape[None])[0]
    height, width = shape.shape
    # The place that each pixel is sampled at, then in grid_sample's units: -1 and 1 are the outer edges of the image.
    columns = (torch.arange(width, device=shape.device) - x - dx) / factor + x
    rows = (torch.arange(height, device=shape.device) - y - dy) / factor + y
    down, across = torch.meshgrid((2 * rows + 1) / height - 1, (2 * columns + 1) / width - 1, indexing="ij")
    return F.grid_sample(shape[None, None], torch.stack([across, down], -1)[None], align_corners=False)[0, 0]


@torch.no_grad()
def _search(
    pictures: Callable[[Tensor], Tensor], code: Tensor, goals: Sequence[Tensor], last_iterations: int = LAST_ITERATIONS
) -> Tensor:
    """The code `d` whose picture is near the last goal, by the Levenberg-Marquardt method from each goal to the next.

    `pictures` decodes codes `b d` to `b ...`. Numbers without effect stay as they are, and all stay plausible under the prior.
    Near a goal the Jacobian is not computed anew. Broyden's method corrects it by the effect of each step, so that most steps
    decode a single picture.
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
    """The derivative of each value of a code's picture by each number of the code, `p d`; `now` is the picture, flattened.

    By finite differences in one batch. That is as fast as forward-mode derivatives, which need seconds to compile.
    """
    steps = DIFFERENCE * torch.eye(len(code), device=code.device)
    return (pictures(code + steps).flatten(1) - now).mT / DIFFERENCE


def _with_row(rows: Tensor, number: int, row: Tensor) -> Tensor:
    changed = rows.clone()
    changed[number] = row
    return changed
