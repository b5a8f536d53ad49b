"""Scenes composed of shapes and textures in the order of depth."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from intarsia.data.scenes import SceneSample


def visible_masks(shapes: NDArray[Any]) -> NDArray[np.float32]:
    """The visible part of each object: masks `b k+1 h w` that sum to 1, the background first.

    `shapes` are the complete objects, `b k h w` in [0, 1] or bool, nearest first. As in the original, an object is visible
    where nearer objects don't cover it, soft edges included: visible = shape * (1 - covered).
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
    """Compose scenes of `shapes` (`b k h w`, nearest first) in front of a background.

    `textures` are k + 1 pictures in [0, 1] that broadcast to `b 3 h w`: first the background's, then those of the objects.
    """
    b, _, h, w = shapes.shape
    masks = visible_masks(shapes)
    images = np.zeros((b, 3, h, w), np.float32)
    layer = np.empty_like(images)  # reused, since new memory takes longer than the arithmetic
    for mask, texture in zip(masks.swapaxes(0, 1), textures, strict=True):
        images += np.multiply(mask[:, None], texture, out=layer)
    np.clip(images, 0, 1, out=images)  # the sum of soft masks can exceed 1 by a rounding error
    return SceneSample(torch.from_numpy(images), torch.from_numpy(masks))


def placed(windows: NDArray[np.float32], corner: NDArray[np.int64], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Windows `b c oh ow` at their places in pictures `b c h w`, which are 0 elsewhere; windows are cut at the border."""
    pictures = np.zeros((*windows.shape[:2], *size), np.float32)
    for picture, window, place in zip(pictures, windows, corner, strict=True):
        begin = np.clip(place, 0, size)
        end = np.clip(place + window.shape[1:], 0, size)
        (top, left), (bottom, right) = begin - place, end - place
        picture[:, begin[0] : end[0], begin[1] : end[1]] = window[:, top:bottom, left:right]
    return pictures
