"""Does a change of one number of a code change one object alone? The protocol, for any model that renders images from codes.

One ruler for all models: how a model gets from a number to an image is its own affair (`Changes`); where the objects are
after a change, and how their codes moved, is found by the same function for all of them (`Find`).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from intarsia.data import Scenes
from intarsia.metrics import hard, locality
from intarsia.shapes import Images, Labels, Masks, PerSegment, one_hot

__all__ = ["Changes", "Find", "Found", "Movement", "measure", "move", "segment_of"]

AT_ONCE = 100  # scenes in memory
FEWEST_PIXELS = 20  # objects of which less is seen don't count: a change of them says nothing


class Found(NamedTuple):
    """What is found in `b` images: masks `b k h w` and, in the same order, the segments' codes `b k d`."""

    masks: Masks
    codes: Tensor


class Movement(NamedTuple):
    """What `e` changes do to each of `b` scenes: `b e`, nan where a change doesn't count in a scene.

    locality: the share of the total absolute change of the image that falls where it belongs, in [0, 1].
    others: how far the other objects' codes moved, Euclidean, on average; to be compared with the change's own size.
    """

    locality: Tensor
    others: Tensor


Find = Callable[[Images], Found]
Changes = Callable[[Images], tuple[Images, Iterable[tuple[int | None, Images]]]]
"""Renders images `b 3 h w` unchanged, and after each of the same e changes, of one dimension of a code of every image by
one unit. With each comes whose code it was: a segment, numbered as `Find` numbers them, or None where no object has a code
of its own. An iterator keeps one change in memory at a time."""


def measure(scenes: Scenes, count: int, changes: Changes, find: Find) -> Movement:
    """What each change does to each of the first `count` scenes (`move`); in which order, only `changes` knows."""
    parts = []
    for first in range(0, count, AT_ONCE):
        images, masks = scenes(range(first, min(first + AT_ONCE, count)))
        parts.append(move(images, masks, changes, find))
    return Movement(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


@torch.no_grad()
def move(images: Images, true: Masks, changes: Changes, find: Find) -> Movement:
    """What each change does to the rendered images.

    A change belongs inside its object: the union of the object's true region before and its region after, where `find`
    sees it. A true object and a segment belong together if they share most pixels, one-to-one: in the given images to tell
    whose code was changed, in the rendered ones to tell where the object is. A change counts in a scene if its segment
    belongs to an object of which at least 20 pixels are seen.

    A change of no segment in particular counts in every scene that has an object, and is credited to the object for which
    its locality is largest: the reading most favourable to a model that knows no objects. All objects but that one are
    then the others. The background is no object, neither here nor there.

    Args:
        images: `b 3 h w`.
        true: `b k h w`, the background first.
        changes: Of the model that is measured.
        find: The ruler: with `k` segments too, and the same for all models that are compared.

    Returns:
        `b e`, float64. Where nothing changes at all there is no locality; where there is no other object, no `others`.
    """
    before, changed = changes(images)
    found = find(before)
    truth = hard(true)
    named, segments = (segment_of(truth, hard(masks), true.shape[1]) for masks in (find(images).masks, found.masks))
    seen = one_hot(truth, true.shape[1]).sum((2, 3))[:, 1:] >= FEWEST_PIXELS
    columns = []
    for segment, after in changed:
        again = find(after)
        inside = _shares(before, after, truth, hard(again.masks), segments)
        owned = seen if segment is None else seen & (named == segment)
        owner = inside.nan_to_num(0).where(owned, -1).argmax(1, keepdim=True)
        steps = (again.codes - found.codes).double().norm(dim=2).gather(1, segments)
        others = seen.scatter(1, owner, False)
        away = steps.where(others, 0).sum(1) / others.sum(1)
        counts = owned.any(1)
        columns.append((inside.gather(1, owner)[:, 0].where(counts, torch.nan), away.where(counts, torch.nan)))
    return Movement(*(torch.stack(column, 1) for column in zip(*columns, strict=True)))


def segment_of(truth: Labels, predicted: Labels, segments: int) -> Tensor:
    """The predicted segment that belongs to each true object: `b segments-1`, int64, in 0..segments-1.

    One-to-one, so that the pixels they share are most; the background takes part and has one of its own.
    """
    shared = torch.einsum("bkhw,bmhw->bkm", one_hot(truth, segments), one_hot(predicted, segments)).cpu().numpy()
    matched = [torch.from_numpy(linear_sum_assignment(table, maximize=True)[1]) for table in shared]
    return torch.stack(matched)[:, 1:].to(truth.device)


def _shares(before: Images, after: Images, truth: Labels, found: Labels, segments: Tensor) -> PerSegment:
    """The locality of the change as if it were each object's: `b k-1`."""
    columns: Iterator[tuple[int, Tensor]] = enumerate(segments.mT, 1)
    regions = ((truth == label) | (found == segment[:, None, None]) for label, segment in columns)
    return torch.stack([locality(before, after, region.float()) for region in regions], 1)
