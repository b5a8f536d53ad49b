"""Does a change of one number of a code change one object alone? The protocol, for any model that renders images from codes.

One ruler for all models: how a model gets from a number to an image is its own affair (`Changes`). Where an object is after a
change the model says, if it draws objects; otherwise it is found, as is how the codes moved, by the same function for all
models (`Find`).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from intarsia.metrics.segments import SOFT_THRESHOLD, hard, matching
from intarsia.shapes import Images, Masks, PerImage, PerSegment, Regions, one_hot

__all__ = ["FEWEST_PIXELS", "Change", "Changed", "Changes", "Find", "Found", "Movement", "change_inside", "measure", "move"]

FEWEST_PIXELS = 20  # objects of which less is seen don't count: a change of them says nothing


class Found(NamedTuple):
    """What is found in `b` images: masks `b k h w` and, in the same order, the segments' codes `b k d`."""

    masks: Masks
    codes: Tensor


class Changed(NamedTuple):
    """What a change makes of `r` images.

    images: `v r 3 h w`, in each of v versions.
    region: `r h w`, bool: where the changed object is drawn, as far as it is in front; None where no object is drawn.
    """

    images: Tensor
    region: Tensor | None


class Change(NamedTuple):
    """A change of one dimension of a code of every image by one unit.

    segment: Whose code it is, numbered as `Find` numbers them; None where no object has a code of its own.
    render: From the numbers of r images, int64, to what they become.
    """

    segment: int | None
    render: Callable[[Tensor], Changed]


class Movement(NamedTuple):
    """What `e` changes do to each of `b` scenes; nan where a change doesn't count in a scene.

    locality: `v b e`: in each version of the images, the share of the total absolute change that falls where it belongs,
        in [0, 1].
    others: `b e`: how far the other objects' codes moved, Euclidean, on average; to be compared with the change's own size.
    """

    locality: Tensor
    others: Tensor


Draw = Callable[[range], tuple[Images, Masks]]
Find = Callable[[Images], Found]
Changes = Callable[[Images], tuple[Tensor, Sequence[Change]]]
"""Renders images `b 3 h w` unchanged, `v b 3 h w` in v versions, and says how to render each of the same e changes. What is
found, is found in the first version."""


def measure(scenes: Draw, parts: Iterable[range], changes: Changes, find: Find) -> Movement:
    """What each change does to each of the scenes with these indices (`move`), so many at a time as a part has."""
    local, others = zip(*(move(*scenes(indices), changes, find) for indices in parts), strict=True)
    return Movement(torch.cat(local, 1), torch.cat(others))


@torch.no_grad()
def move(images: Images, true: Masks, changes: Changes, find: Find) -> Movement:
    """What each change does to the rendered images.

    A change belongs inside its object: the union of the object's true region before, all pixels of which it has a share of
    more than 0.04, as in the original's IoU (a soft border changes with its object), and its region after, where it is drawn
    or, in a model that draws no objects, where `find` sees it. A true object and a segment belong together if they share
    most pixels, one-to-one: in the given images to tell whose code was changed, in the rendered ones to tell where the
    object is. A change counts in a scene if its segment belongs to an object of which at least 20 pixels are seen.

    A change of no segment in particular counts in every scene that has an object, and is credited to the object for which
    its locality is largest: the reading most favourable to a model that knows no objects. All objects but that one are
    then the others. The background is no object, neither here nor there.

    Args:
        images: `b 3 h w`.
        true: `b k h w`, the background first.
        changes: Of the model that is measured.
        find: The ruler: the same for all models that are compared. True objects for which it has no segment don't count.

    Returns:
        float64. Where nothing changes at all there is no locality; where there is no other object, no `others`.
    """
    before, changed = changes(images)
    found = find(before[0])
    truth, k, most = hard(true), true.shape[1], found.masks.shape[1]
    named, segments = (matching(truth, hard(masks), max(k, most))[:, 1:k] for masks in (find(images).masks, found.masks))
    seen = (one_hot(truth, k).sum((2, 3))[:, 1:] >= FEWEST_PIXELS) & (segments < most)
    true_places = true[:, 1:] > SOFT_THRESHOLD
    local = torch.full((len(before), len(images), len(changed)), torch.nan, dtype=torch.double, device=images.device)
    others = local[0].clone()
    for number, (segment, render) in enumerate(changed):
        owned = seen if segment is None else seen & (named == segment)
        rows = owned.any(1).nonzero()[:, 0]
        if not len(rows):
            continue
        after, region = render(rows)
        again = find(after[0])
        drawn = hard(again.masks)[:, None] == segments[rows, :, None, None] if region is None else region[:, None]
        places = true_places[rows] | drawn
        inside = torch.stack([_shares(was, now, places) for was, now in zip(before[:, rows], after, strict=True)])
        owner = inside[0].nan_to_num(0).where(owned[rows], -1).argmax(1, keepdim=True)
        local[:, rows, number] = inside.gather(2, owner.expand(len(inside), -1, -1))[..., 0]
        steps = (again.codes - found.codes[rows]).double().norm(dim=2).gather(1, segments[rows].clamp(max=most - 1))
        apart = seen[rows].scatter(1, owner, False)
        others[rows, number] = steps.where(apart, 0).sum(1) / apart.sum(1)
    return Movement(local, others)


def change_inside(before: Images, after: Images, region: Regions) -> PerImage:
    """The share of the total absolute change of all values of an image that falls inside a region.

    Args:
        before: `b 3 h w`, the images.
        after: `b 3 h w`, the changed ones.
        region: `b h w`, in [0, 1], where the change belongs; a soft pixel counts by its value.

    Returns:
        `b`, in [0, 1]: 1 if nothing changes outside; one minus it is the share outside. nan where nothing changes at all.

    It puts a number to the claim of the paper's title, that objects are changed one by one; the paper has none.
    """
    change = (after.double() - before.double()).abs().sum(1)
    return (change * region).sum((1, 2)) / change.sum((1, 2))


def _shares(before: Images, after: Images, places: Tensor) -> PerSegment:
    """The locality of the change as if it were each object's, in its place `b n h w`: `b n`."""
    return torch.stack([change_inside(before, after, place.float()) for place in places.unbind(1)], 1)
