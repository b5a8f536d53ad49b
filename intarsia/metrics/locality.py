"""Locality: whether a change of one number of a code changes only one object, for any model that renders images from codes.

Each model has its own function from changed numbers to images (`Changes`). The function that finds segments and their codes
in images (`Find`) is the same for all models that are compared. It also finds the changed object, unless the model draws
objects and so knows the place.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from intarsia.metrics.segments import SOFT_THRESHOLD, hard, known_pixels, matching, true_labels
from intarsia.shapes import Images, Masks, PerImage, PerSegment, Regions, one_hot

FEWEST_PIXELS = 20  # objects with fewer visible pixels don't count


class Found(NamedTuple):
    """The segments found in `b` images: masks `b k h w` and, in the same order, codes `b k d`."""

    masks: Masks
    codes: Tensor


class Changed(NamedTuple):
    """`r` images after a change.

    images: `v r 3 h w`, in each of v versions.
    region: `r h w`, bool: where the changed object is drawn and visible; None for a model that draws no objects.
    """

    images: Tensor
    region: Tensor | None


class Change(NamedTuple):
    """A change of one dimension of a code by one unit, in every image.

    segment: The segment that the code belongs to, numbered as by `Find`; None for a model without codes of objects.
    render: A function from the indices of r images, int64, to the changed images.
    """

    segment: int | None
    render: Callable[[Tensor], Changed]


class Movement(NamedTuple):
    """The effects of `e` changes on each of `b` scenes; nan if a change doesn't count in a scene.

    locality: `v b e`, in [0, 1]: for each version of the images, the fraction of the total absolute change that is inside the
        changed object.
    others: `b e`: the mean Euclidean distance by which the other objects' codes moved; the changed number itself moves by 1.
    """

    locality: Tensor
    others: Tensor


Draw = Callable[[range], tuple[Images, Masks]]
Find = Callable[[Images], Found]
Changes = Callable[[Images], tuple[Tensor, Sequence[Change]]]
"""A function from images `b 3 h w` to the rendered images without a change, `v b 3 h w` in v versions, and e changes. Segments
are found in the first version."""


def measure(scenes: Draw, batches: Iterable[range], changes: Changes, find: Find) -> Movement:
    """The effects of each change on each of the scenes with these indices (see `move`), a batch at a time."""
    local, others = zip(*(move(*scenes(indices), changes, find) for indices in batches), strict=True)
    return Movement(torch.cat(local, 1), torch.cat(others))


@torch.no_grad()
def move(images: Images, true: Masks, changes: Changes, find: Find) -> Movement:
    """The effects of each change on the rendered images.

    A change should be inside its object, which is the union of two regions. The region before is the true mask above 0.04, as
    in the paper's IoU, because a soft border changes with its object. The region after is where the object is drawn or, for a
    model that draws no objects, where `find` finds it. True objects and segments are matched one-to-one by their common
    pixels: in the given images to know whose code is changed, and in the rendered images to know where the object is. A
    change counts in a scene if its segment is matched with an object of at least 20 visible pixels.

    A change without a segment counts in every scene with an object. Its object is the one for which its locality is largest,
    which favours models without codes of objects. The other objects are then all but that one. The background is not an object.

    Args:
        images: `b 3 h w`.
        true: `b k h w`, the background first; changes in void pixels, 0 in all masks, don't count.
        changes: Of the measured model.
        find: The same for all models that are compared. True objects without a segment don't count.

    Returns:
        float64. `locality` is nan where nothing changes, and `others` is nan where there is no other object.
    """
    before, changed = changes(images)
    found = find(before[0])
    truth, k = true_labels(true), true.shape[1]
    in_given, segments = (matching(truth, hard(masks), k)[:, 1:] for masks in (find(images).masks, found.masks))
    visible = (one_hot(truth, k).sum((2, 3))[:, 1:] >= FEWEST_PIXELS) & (segments >= 0)
    true_places, known = true[:, 1:] > SOFT_THRESHOLD, known_pixels(true)[:, None]
    local = torch.full((len(before), len(images), len(changed)), torch.nan, dtype=torch.double, device=images.device)
    others = local[0].clone()
    for number, (segment, render) in enumerate(changed):
        owned = visible if segment is None else visible & (in_given == segment)
        rows = owned.any(1).nonzero()[:, 0]
        if not len(rows):
            continue
        after, region = render(rows)
        again = find(after[0])
        drawn = hard(again.masks)[:, None] == segments[rows, :, None, None] if region is None else region[:, None]
        places, seen = true_places[rows] | drawn, before[:, rows] * known[rows]
        inside = torch.stack([_inside_each(was, now, places) for was, now in zip(seen, after * known[rows], strict=True)])
        owner = inside[0].nan_to_num(0).where(owned[rows], -1).argmax(1, keepdim=True)
        local[:, rows, number] = inside.gather(2, owner.expand(len(inside), -1, -1))[..., 0]
        steps = (again.codes - found.codes[rows]).double().norm(dim=2).gather(1, segments[rows].clamp(min=0))
        apart = visible[rows].scatter(1, owner, False)
        others[rows, number] = steps.where(apart, 0).sum(1) / apart.sum(1)
    return Movement(local, others)


def change_inside(before: Images, after: Images, region: Regions) -> PerImage:
    """The fraction of the total absolute change of an image that is inside a region.

    Args:
        before: `b 3 h w`, the images.
        after: `b 3 h w`, the changed ones.
        region: `b h w`, in [0, 1]; a soft pixel counts by its value.

    Returns:
        `b`, in [0, 1]: 1 if nothing changes outside the region; nan if nothing changes.

    It measures the claim of the paper's title, that objects are manipulated individually; the paper has no such number.
    """
    change = (after.double() - before.double()).abs().sum(1)
    return (change * region).sum((1, 2)) / change.sum((1, 2))


def _inside_each(before: Images, after: Images, places: Tensor) -> PerSegment:
    """The locality of a change for each of n objects with regions `b n h w`: `b n`."""
    return torch.stack([change_inside(before, after, place.float()) for place in places.unbind(1)], 1)
