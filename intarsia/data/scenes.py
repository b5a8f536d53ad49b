"""What every dataset gives: scenes as a function of indices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intarsia.errors import InputError
from intarsia.shapes import Images, Masks

__all__ = ["SPLITS", "Indices", "SceneSample", "Scenes"]

SPLITS: dict[str, int | None] = {"train": None, "val": 200, "test": 2000}  # scenes per split; None is endless
AT_ONCE = 16  # scenes drawn together: of more, the intermediate arrays leave the processor's cache

Indices = NDArray[np.int64]


class SceneSample(NamedTuple):
    """Scenes with their true segments.

    images: `b 3 h w`, float32 in [0, 1].
    masks: `b k h w`, float32 in [0, 1], summing to 1 over k: the background first, then the objects. An object that is
        absent or wholly hidden has an empty mask.
    """

    images: Images
    masks: Masks


@dataclass(frozen=True)
class Scenes:
    """One split of a dataset, called with indices: `scenes([0, 7])` gives scenes 0 and 7 as a `SceneSample`.

    A scene depends on its own index alone, not on the others drawn with it. Height and width are pixels; `segments` is
    the number of masks, background included; `size` is the number of scenes, None where they never end. A dataset's
    file provides `draw`, which may rely on indices that are one-dimensional, int64 and in range.
    """

    name: str
    size: int | None
    height: int
    width: int
    segments: int
    draw: Callable[[Indices], SceneSample]

    def __call__(self, indices: Sequence[int] | Tensor | NDArray[Any]) -> SceneSample:
        """The scenes at `b` indices from 0 to `size` - 1, in that order; anything else raises `InputError`."""
        given = np.asarray(indices)
        if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
            raise InputError(f"{self.name}: indices are a row of integers, not {given.dtype} of shape {given.shape}.")
        limit = np.iinfo(np.int64).max if self.size is None else self.size
        outside = given[(given < 0) | (given >= limit)]
        if len(outside):
            raise InputError(f"{self.name}: there is no scene {outside[0]}; indices go from 0 to {limit - 1}.")
        parts = np.split(given.astype(np.int64), range(AT_ONCE, len(given), AT_ONCE))
        images, masks = zip(*map(self.draw, parts), strict=True)
        return SceneSample(torch.cat(images), torch.cat(masks))
