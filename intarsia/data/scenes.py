"""What every dataset gives: scenes as a function of indices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intarsia.errors import InputError
from intarsia.shapes import Images, Masks

__all__ = ["SPLITS", "Factors", "Indices", "SceneSample", "Scenes"]

SPLITS: dict[str, int | None] = {"train": None, "val": 200, "test": 2000}  # scenes per split; None is endless
AT_ONCE = 16  # scenes drawn together: of more, the intermediate arrays leave the processor's cache

Indices = NDArray[np.int64]
Factors = dict[str, NDArray[np.float64]]
"""What determines each object: name to `b n`, in the order of the true masks without the background's.

nan where an object is absent; one that is wholly hidden has its factors and an empty mask. Names that all datasets share:
`row` and `column`, the centre in px from the upper left corner (a pixel's own centre lies at a half), and `hue_sin` and
`hue_cos`, of its angle on the colour circle. Kinds of shapes are 0 or 1 under the name of each.
"""


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
    file provides `draw`, and `describe` if it knows what determines its objects; both may rely on indices that are
    one-dimensional, int64 and in range.

    source: where the scenes come from, for whoever reads scores: a stand-in and the real set may share a name.
    backgrounds: how many segments, from the first on, are no objects.
    tracks: indices of scenes through which each true segment stays the same thing, only elsewhere, under names for
        scores: over these, a segmenter that knows its objects again gives each one channel of its own.
    """

    name: str
    size: int | None
    height: int
    width: int
    segments: int
    draw: Callable[[Indices], SceneSample]
    describe: Callable[[Indices], Factors] | None = None
    source: str = "generated"
    backgrounds: int = 1
    tracks: Mapping[str, Indices] = field(default_factory=dict)

    def __call__(self, indices: Sequence[int] | Tensor | NDArray[Any]) -> SceneSample:
        """The scenes at `b` indices from 0 to `size` - 1, in that order; anything else raises `InputError`."""
        parts = np.split(self._checked(indices), range(AT_ONCE, len(indices), AT_ONCE))
        images, masks = zip(*map(self.draw, parts), strict=True)
        return SceneSample(torch.cat(images), torch.cat(masks))

    def factors(self, indices: Sequence[int] | Tensor | NDArray[Any]) -> Factors:
        """The true factors of the objects of these scenes, without drawing them; `InputError` where nobody knows them."""
        if self.describe is None:
            raise InputError(f"{self.name}: what determines its objects is not known.")
        return self.describe(self._checked(indices))

    def _checked(self, indices: Sequence[int] | Tensor | NDArray[Any]) -> Indices:
        given = np.asarray(indices)
        if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
            raise InputError(f"{self.name}: indices are a row of integers, not {given.dtype} of shape {given.shape}.")
        limit = np.iinfo(np.int64).max if self.size is None else self.size
        outside = given[(given < 0) | (given >= limit)]
        if len(outside):
            raise InputError(f"{self.name}: there is no scene {outside[0]}; indices go from 0 to {limit - 1}.")
        return given.astype(np.int64)
