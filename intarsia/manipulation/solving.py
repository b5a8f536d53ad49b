"""Edits by a search: recolour. It finds the change of a code that changes what is decoded as asked.

The meaning of each number of a code is learned and not known in advance. So the colour is changed as asked, and that is the
goal. The search follows the decoder's Jacobian from the object's own code, with several goals on the way.

References:
    Marquardt, An algorithm for least-squares estimation of nonlinear parameters, SIAM 1963.
    Broyden, A class of methods for solving nonlinear simultaneous equations, Mathematics of Computation 1965.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from intarsia.errors import InputError, is_finite
from intarsia.manipulation.edits import EMPTY, check_object
from intarsia.manipulation.layers import PRESENT
from intarsia.rendering import Renderer
from intarsia.scene import Scene

PLAUSIBLE = 3.0  # standard deviations of the prior: the limit of each number of a code, unless it was beyond before
COLOUR_STRIDE = 0.25  # most distance between two goals of a colour, in intensity
ITERATIONS = 4  # per goal
LAST_ITERATIONS = 12  # for the last goal
DAMPING, LEAST_DAMPING = 1e-2, 1e-6  # at each goal's beginning and at least, in means of the squared Jacobian
DIFFERENCE = 1e-3  # of a number of a code, for the Jacobian: far above rounding errors
CLOSE = 0.05  # squared error, as a fraction of the goal's square, below which a Jacobian is corrected and not computed anew
ENOUGH = 1e-3  # fraction of the squared error that an iteration has to remove for another one to follow


def recolour(renderer: Renderer, scene: Scene, object: int, colour: Sequence[float]) -> Scene:
    """The scene with an object's texture changed, as little as possible, to a mean colour, as far as its code allows.

    If the model never saw such a texture, the result is the nearest that it can draw.

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


def _limit(code: Tensor) -> Tensor:
    """The largest absolute value that each number of a code may get."""
    return code.abs().clamp(min=PLAUSIBLE)


def _decoded_shape(renderer: Renderer, scene: Scene, object: int) -> Tensor:
    check_object(scene, object)
    shape = renderer.picture("shape", scene.shape[object])[0]
    if shape.max() <= PRESENT:
        raise InputError(EMPTY)
    return shape


@torch.no_grad()
def _search(pictures: Callable[[Tensor], Tensor], code: Tensor, goals: Sequence[Tensor]) -> Tensor:
    """The code `d` whose picture is near the last goal, by the Levenberg-Marquardt method from each goal to the next.

    `pictures` decodes codes `b d` to `b ...`. Numbers without effect stay as they are, and all stay plausible under the prior.
    Near a goal the Jacobian is not computed anew. Broyden's method corrects it by the effect of each step, so that most steps
    decode a single picture.
    """
    limit, now, jacobian = _limit(code), pictures(code[None])[0].flatten(), None
    for goal in goals:
        damping, missing = DAMPING, goal.flatten() - now
        close = CLOSE * goal.square().sum()
        for _ in range(LAST_ITERATIONS if goal is goals[-1] else ITERATIONS):
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
