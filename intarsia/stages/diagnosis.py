"""Diagnosis of a segmenter without labels: its masks show the typical failures of the game."""

from dataclasses import dataclass

import torch.nn.functional as F

from intarsia.shapes import Masks, one_hot

TAKES_ALL, ALIKE, THIN, UNDECIDED = 0.985, 0.05, 0.35, 0.6


@dataclass(frozen=True)
class Diagnosis:
    """What the masks of a set of images look like.

    fractions: Fraction of all pixels that each channel holds, summing to 1.
    confidence: Mean over pixels of the largest mask value; 1/k to 1.
    variation: Fraction of images in which a pixel is not in the most frequent channel there, as a mean over pixels; 0 where
        every image is cut the same way.
    solidity: For each channel, the fraction of its hard pixels whose eight neighbours are in the channel too; small for rims.
    warning: The failure that it looks like and what to try, or nothing.
    """

    fractions: list[float]
    confidence: float
    variation: float
    solidity: list[float]
    warning: str | None


def diagnose(masks: Masks) -> Diagnosis:
    """Diagnose the masks `b k h w` of at least a few images."""
    hard = one_hot(masks.argmax(1), masks.shape[1])
    fractions = masks.mean((0, 2, 3))
    variation = float((1 - hard.mean(0).amax(0)).mean())
    inner = -F.max_pool2d(-hard, 3, 1)  # the border of the image has no neighbours outside: left out
    solidity = inner.sum((0, 2, 3)) / hard[:, :, 1:-1, 1:-1].sum((0, 2, 3)).clamp(min=1)
    confidence = float(masks.amax(1).mean())
    rims = [int(k) for k in ((solidity < THIN) & (fractions > 0.002)).nonzero().flatten()]
    return Diagnosis(
        fractions=[round(float(value), 4) for value in fractions],
        confidence=round(confidence, 4),
        variation=round(variation, 4),
        solidity=[round(float(value), 4) for value in solidity],
        warning=_warning(float(fractions.max()), confidence, variation, rims),
    )


def _warning(largest: float, confidence: float, variation: float, rims: list[int]) -> str | None:
    if confidence < UNDECIDED:
        return None  # the masks are still soft: too early to tell
    if largest > TAKES_ALL:
        return (
            f"One channel takes all (fraction {largest:.3f}). Start with a smaller separation.epsilon.start, or train "
            "the inpainter longer (inpainting.steps)."
        )
    if variation < ALIKE:
        return (
            f"The masks are the same for every image (variation {variation:.3f}): cut by position. Train the inpainter longer "
            "(inpainting.steps), or lower separation.learning-rate.highest."
        )
    if rims:
        return (
            f"Channels {rims} hold thin rims. Raise separation.epsilon.highest, or let regrouping start earlier "
            "(separation.regrouping.from-step)."
        )
    return None
