"""Depth-ordered pasting: what is nearer hides what is farther."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from intarsia.data.scenes import SceneSample

__all__ = ["paste", "visible_masks"]


def visible_masks(shapes: NDArray[Any]) -> NDArray[np.float32]:
    """What remains visible of each object: `b k+1 h w`, the background first, summing to 1.

    `shapes` are the whole objects, `b k h w` in [0, 1] or bool, nearest first. Each object shows through what the
    nearer ones leave free, soft edges included: visible = shape * (1 - covered), as in the original.
    """
    b, k, h, w = shapes.shape
    masks = np.empty((b, k + 1, h, w), np.float32)
    free = masks[:, 0]
    covered = np.zeros((b, h, w), np.float32)
    for shape, visible in zip(shapes.swapaxes(0, 1), masks.swapaxes(0, 1)[1:], strict=True):
        np.subtract(1, covered, out=free)
        np.multiply(shape, free, out=visible)
        covered += visible
    np.subtract(1, covered, out=free)
    return masks


def paste(shapes: NDArray[Any], textures: Iterable[NDArray[np.float32]]) -> SceneSample:
    """The scenes that show `shapes` (`b k h w`, nearest first) in front of a background.

    `textures` are k + 1 pictures in [0, 1] that broadcast to `b 3 h w`: the background's first, then each object's.
    """
    b, _, h, w = shapes.shape
    masks = visible_masks(shapes)
    images = np.zeros((b, 3, h, w), np.float32)
    layer = np.empty_like(images)  # used again and again: fresh memory costs more than the arithmetic
    for mask, texture in zip(masks.swapaxes(0, 1), textures, strict=True):
        images += np.multiply(mask[:, None], texture, out=layer)
    np.clip(images, 0, 1, out=images)  # the sum of soft masks can pass 1 by a rounding error
    return SceneSample(torch.from_numpy(images), torch.from_numpy(masks))
