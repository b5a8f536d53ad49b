"""Filling: what a picture does not show, taken from a guess that is fitted to what it does show.

The guess gives the texture: the differences of neighbouring pixels, as far as those of the known pixels bear them out. The
known pixels beside the hole give the colours, so that there is no seam. What has to be added to the texture is the picture of
the least total variation that goes on from them: it is flat where its surroundings are, and their borders go straight through.
So this is gradient-domain blending with the absolute instead of the squared difference. The guess counts nothing on a flat
background, and the hole becomes exactly the colour around it.

References:
    Perez, Gangnet, Blake, Poisson image editing, SIGGRAPH 2003.
    Chan and Shen, Mathematical models for local nontexture inpaintings, SIAM Journal on Applied Mathematics 2002.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

HOLD = 1e-6  # of a pixel to the guess: where no known pixel is in reach, the guess is taken as it is
ITERATIONS = 15  # of least squares, each with the differences weighted by the inverse of what they were
PARTS = tuple(np.linspace(0, 1, 11))  # of the guess's differences that may count
SMALLEST = 0.005  # difference of two colours that is large, at least
NOISE = 3.0  # the same, in medians of the known differences beside the guess's


def fill(picture: Tensor, hole: Tensor, guess: Tensor) -> Tensor:
    """The picture `3 h w` in [0, 1] with its hole, `h w` and bool, filled by a guess `3 h w`. Other pixels stay, bit by bit."""
    inside = hole.flatten().cpu().numpy()
    if not inside.any():
        return picture
    height, width = hole.shape
    # The difference of each pixel from the next one to the right, and from the one below; in the last ones it is 0.
    steps = sparse.vstack(
        [sparse.kron(sparse.eye_array(height), _steps(width)), sparse.kron(_steps(height), sparse.eye_array(width))]
    ).tocsc()
    shown, guessed = (each.flatten(1).double().cpu().numpy().T for each in (picture, guess))
    texture, usual = _texture(steps, shown, guessed, inside)
    added = np.where(inside[:, None], 0, shown - texture)
    touched = np.flatnonzero(abs(steps) @ inside.astype(float))
    steps = steps.tocsr()[touched]
    inner, outer = steps[:, inside], steps[:, ~inside] @ added[~inside]
    hold, weight = HOLD * sparse.eye_array(inside.sum()), np.ones(len(touched))
    pixels = touched % len(inside)
    for _ in range(ITERATIONS):
        weighted = inner.T * weight
        added[inside] = splu((weighted @ inner + hold).tocsc()).solve(HOLD * (guessed - texture)[inside] - weighted @ outer)
        squares = np.bincount(pixels, np.square(inner @ added[inside] + outer).sum(1), len(inside))
        weight = 1 / np.sqrt(squares + usual**2)[pixels]
    filled = picture.clone()
    filled[:, hole] = torch.from_numpy((texture + added)[inside].T).to(picture).clamp(0, 1)
    return filled


def _steps(size: int) -> sparse.dia_array:
    """The matrix of the differences of neighbours along an axis; the last row is 0."""
    ones = np.ones(size)
    ones[-1] = 0
    return sparse.diags_array([-ones, ones[:-1]], offsets=[0, 1], shape=(size, size))


def _texture(
    steps: sparse.csc_array, shown: NDArray[np.float64], guessed: NDArray[np.float64], hole: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    """The guess, times the part of its differences that the known pixels show, in [0, 1]; and what is usual beside that part.

    The part is that of the least absolute differences.
    """
    known = abs(steps) @ ~hole == 2  # both pixels are
    real, expected = ((steps @ each)[known] for each in (shown, guessed))
    if not len(real):
        return guessed, SMALLEST
    left = [np.linalg.norm(real - part * expected, axis=1) for part in PARTS]
    best = int(np.argmin([each.sum() for each in left]))
    return PARTS[best] * guessed, max(NOISE * float(np.median(left[best])), SMALLEST)
