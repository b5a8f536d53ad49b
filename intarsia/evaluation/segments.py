"""Scores of a model's segments: the protocol of the paper, and the metrics that other work reports."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from intarsia.data import Scenes
from intarsia.errors import InputError
from intarsia.evaluation.batches import batches
from intarsia.evaluation.means import mean, rounded
from intarsia.masks import background_last
from intarsia.metrics import (
    adjusted_rand_index,
    best_overlap_iou,
    hard,
    hungarian_iou,
    identity_switching,
    known_pixels,
    matching,
    mean_best_overlap,
    true_labels,
)
from intarsia.model import Model
from intarsia.pictures import coloured, sheet
from intarsia.records.scores import Examples, Figures, MeanAndStd, Switching
from intarsia.shapes import Images, Masks, PerImage, one_hot

TEST_SEED = 0  # the test scenes are the same for every model
SUBSETS = 10  # of the paper's protocol: consecutive, of 200 scenes each
AT_ONCE = 100  # scenes in memory
SHOWN = 8  # scenes in the picture
EXAMPLES = 4  # scenes of each kind


def evaluate(model: Model, scenes: Scenes, count: int) -> dict[str, PerImage]:
    """Score a model's segments of each of the first `count` scenes; the metrics by name.

    Raises:
        InputError: if the scenes are not of the model's size.
    """
    recipe = model.recipe
    if (scenes.height, scenes.width) != (recipe.height, recipe.width):
        raise InputError(
            f"The model takes images of {recipe.width}x{recipe.height} pixels, "
            f"but the scenes of {scenes.name} have {scenes.width}x{scenes.height}."
        )
    device = model.device
    return score_scenes(lambda images: model.segment(images.to(device)), scenes, count)


def score_scenes(segment: Callable[[Images], Masks], scenes: Scenes, count: int) -> dict[str, PerImage]:
    """Score a function that segments images on each of the first `count` scenes; the metrics by name."""
    scores = []
    for indices in batches(count, AT_ONCE, "Segments"):
        images, masks = scenes(indices)
        predicted = segment(images)
        scores.append(score(masks.to(predicted.device), predicted, scenes.backgrounds))
    return {name: torch.cat([batch[name] for batch in scores]) for name in scores[0]}


def score(true: Masks, predicted: Masks, backgrounds: int = 1) -> dict[str, PerImage]:
    """Score predicted masks against the true ones; the metrics by name.

    The first `backgrounds` true segments are the background. All metrics except the paper's IoU compare hard segments. The
    foreground ARI is the ARI of the object pixels.
    """
    truth, objects, found = true_labels(true), true_labels(true, backgrounds), hard(predicted)
    return {
        "iou": best_overlap_iou(true, predicted * known_pixels(true)[:, None])[0].cpu(),
        "miou": hungarian_iou(truth, found).cpu(),
        "miou_objects": hungarian_iou(objects, found, background=False).cpu(),
        "mbo": mean_best_overlap(truth, found).cpu(),
        "mbo_objects": mean_best_overlap(objects, found, background=False).cpu(),
        "ari": adjusted_rand_index(truth, found).cpu(),
        "fg_ari": adjusted_rand_index(objects, found, background=False).cpu(),
    }


def figures(per_image: dict[str, PerImage]) -> Figures:
    """Average the scores of scenes; an image in which a metric has nothing to score (nan) does not count.

    The paper's IoU is the mean of ten consecutive subsets' means, and their sample standard deviation.
    """
    subsets = per_image["iou"].view(SUBSETS, -1).nanmean(1)
    iou = MeanAndStd(rounded(subsets.mean()), rounded(subsets.std()))
    means: dict[str, Any] = {name: mean(values) for name, values in per_image.items()}
    return Figures(**means | {"iou": iou})


def examples(scores: PerImage) -> Examples:
    """Choose the scenes with the highest, the middle and the lowest scores, each from high to low; nan counts as 0."""
    order = scores.nan_to_num(0).argsort(descending=True, stable=True).tolist()
    middle = (len(order) - EXAMPLES) // 2
    return Examples(order[:EXAMPLES], order[middle : middle + EXAMPLES], order[-EXAMPLES:])


def identity_switching_rates(model: Model, scenes: Scenes) -> dict[str, Switching] | None:
    """The paper's identity switching rate on each track of the scenes; None for a dataset without tracks.

    As in the paper's test, the segments are the model's own, without morphological opening, and the background is last.
    """
    device, rates = model.device, {}
    for name, indices in scenes.tracks.items():
        channels = []
        for batch in np.array_split(indices, range(AT_ONCE, len(indices), AT_ONCE)):
            images, masks = (part.to(device) for part in scenes(batch))
            found = background_last(model.segment(images), model.recipe.vaes.background_per_batch, model.recipe.backgrounds)
            channels.append(best_overlap_iou(masks, found)[1])
        rates[name] = Switching(round(identity_switching(torch.cat(channels)), 6), len(indices))
    return rates or None


def one_channel_animation(model: Model, scenes: Scenes) -> Images:
    """The shortest track, in which all objects move: each scene beside the model's first segment, `f 3 h 2w`.

    As in the paper: a model that keeps identities shows the same object throughout.
    """
    images, _ = scenes(min(scenes.tracks.values(), key=len))
    found = model.segment(images.to(model.device)).cpu()
    first = background_last(found, model.recipe.vaes.background_per_batch, model.recipe.backgrounds)[:, :1]
    return torch.cat([images, first.expand(-1, 3, -1, -1)], 3)


def segments_sheet(model: Model, scenes: Scenes) -> np.ndarray:
    """A picture of the first eight scenes: image, true segments, found segments in the colours of those they match."""
    images, masks = scenes.first(SHOWN)
    predicted = model.segment(images.to(model.device))
    return sheet([images, *matched_colours(masks, predicted)], zoom=2, gap=4)


def matched_colours(true: Masks, predicted: Masks) -> tuple[Images, Images]:
    """True segments in colours, black where void, and hard predicted segments, each in the colour of its true one.

    Those without a match have the colours that are left.
    """
    truth, found = true_labels(true), hard(predicted.cpu())
    k = max(true.shape[1], predicted.shape[1])
    pairs = matching(truth, found, k)
    matched = one_hot((pairs + 1)[:, None], k + 1)[:, 1:, 0].sum(2)  # of each predicted segment, whether it has a pair
    left = matched.argsort(dim=1, stable=True).gather(1, ((pairs < 0).cumsum(1) - 1).clamp(min=0))
    places = pairs.where(pairs >= 0, left)[:, :, None, None].expand(-1, -1, *true.shape[2:])
    return coloured(one_hot(truth, k)), coloured(one_hot(found, k).gather(1, places))
