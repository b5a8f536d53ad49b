"""The interface of every dataset: scenes as a function of indices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intarsia.errors import InputError
from intarsia.shapes import Images, Masks

SPLITS: dict[str, int | None] = {"train": None, "val": 200, "test": 2000}  # scenes per split; None is endless
AT_ONCE = 16  # scenes drawn together; with more, the intermediate arrays don't fit the processor's cache

Indices = NDArray[np.int64]
Factors = dict[str, NDArray[np.float64]]
"""The true factors of the objects: name to `b n`, in the order of the true masks without the background.

A factor of an absent object is nan; a hidden object has its factors and an empty mask. All datasets have `row` and `column`,
the object's centre in px from the upper left corner (the first pixel's centre is at 0.5), and `hue_sin` and `hue_cos` of its
angle on the colour circle. A kind of shape is a factor of its own name, 0 or 1.
"""


class SceneSample(NamedTuple):
    """Scenes with their true segments.

    images: `b 3 h w`, float32 in [0, 1].
    masks: `b k h w`, float32 in [0, 1], summing to 1 over k: the background first, then the objects. An object that is
        absent or hidden has an empty mask. Pixels whose segment is not known (void) are 0 in all masks.
    """

    images: Images
    masks: Masks


@dataclass(frozen=True)
class Scenes:
    """One split of a dataset, called with indices: `scenes([0, 7])` gives scenes 0 and 7 as a `SceneSample`.

    A scene depends only on its index, not on the scenes drawn with it. Height and width are in pixels. A dataset's module
    provides `draw`, and `describe` if the true factors are known; both get indices that are one-dimensional, int64 and in
    range.

    size: The number of scenes; None if they are endless.
    segments: The number of masks, background included.
    source: Where the scenes come from, for the scores: a stand-in may have the name of the published dataset.
    backgrounds: How many segments, from the first on, are background.
    unlabelled: Why the true segments are not known; empty if they are. Without them there is one segment.
    tracks: By name, the indices of scenes in which each true segment is the same object in another place. A segmenter that
        keeps identities has one channel for each object over a whole track.
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
    unlabelled: str = ""
    tracks: Mapping[str, Indices] = field(default_factory=dict)

    def __call__(self, indices: Sequence[int] | Tensor | NDArray[Any]) -> SceneSample:
        """Draw the scenes at `b` indices, in their order; `InputError` if an index is not from 0 to `size` - 1."""
        parts = np.split(self._checked(indices), range(AT_ONCE, len(indices), AT_ONCE))
        images, masks = zip(*map(self.draw, parts), strict=True)
        return SceneSample(torch.cat(images), torch.cat(masks))

    def first(self, count: int) -> SceneSample:
        """Draw the first `count` scenes, or all if there are fewer."""
        return self(range(count if self.size is None else min(count, self.size)))

    def with_one_background(self) -> "Scenes":
        """The same scenes with all background segments as one: masks `b k-backgrounds+1 h w`."""

        def draw(indices: Indices) -> SceneSample:
            images, masks = self.draw(indices)
            background = masks[:, : self.backgrounds].sum(1, keepdim=True)
            return SceneSample(images, torch.cat([background, masks[:, self.backgrounds :]], 1))

        return replace(self, draw=draw, segments=self.segments - self.backgrounds + 1, backgrounds=1)

    def factors(self, indices: Sequence[int] | Tensor | NDArray[Any]) -> Factors:
        """The true factors of the objects in some scenes, without drawing them; `InputError` if they are not known."""
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
