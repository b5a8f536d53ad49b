"""Metrics of segments against the true ones: one number per image. Larger is better, and 1 is perfect.

There are two kinds of input. The paper's score compares *soft* masks, which may overlap after thresholding. All other metrics
compare *hard* segments, integer labels `b h w` (`hard` makes them from masks). They have the same arguments: truth,
prediction, and whether the background counts. Label 0 of the truth is the background, and its label -1 (`true_labels`) is void:
such pixels count nowhere. Predicted labels have no order: permuting them does not change a score. Results are float64, on the
input's device.
"""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from intarsia.errors import InputError
from intarsia.shapes import Labels, Masks, PerImage, Regions

SOFT_THRESHOLD = 0.04  # a pixel belongs to every segment whose mask lies above this
FEWEST_PIXELS = 4  # a true segment counts if it has more pixels than this


def hard(masks: Masks) -> Labels:
    """The label of each pixel: soft masks `b k h w` to labels `b h w` in 0..k-1; of equal masks, the first."""
    return masks.argmax(1)


def known_pixels(true: Masks) -> Regions:
    """The pixels of true masks `b k h w` whose segment is known: `b h w`, 1, or 0 where a pixel is void."""
    return (true.sum(1) > 0).float()


def true_labels(true: Masks, backgrounds: int = 1) -> Labels:
    """The label of each pixel in true masks: `b h w`, -1 if it is void, and 0 for all of the first `backgrounds` segments."""
    labels = (hard(true) - (backgrounds - 1)).clamp(min=0)
    return labels.where(known_pixels(true) > 0, -1)


def best_overlap_iou(true: Masks, predicted: Tensor) -> tuple[PerImage, Tensor]:
    """The IoU of the paper: each true segment is compared with the predicted segment that overlaps it best.

    Masks are thresholded at 0.04 without an arg-max, so predicted segments may overlap, and two true segments may have the same
    best one. Both make the score higher than that of one-to-one matched hard segments. Use it to compare with the paper, and
    `hungarian_iou` to compare with other work. The background counts as a segment.

    Args:
        true: `b k h w`, range [0, 1].
        predicted: `b m h w`, range [0, 1]; m may differ from k.

    Returns:
        The mean IoU `b` over the true segments of more than 4 pixels, in [0, 1) (the original adds 1e-8 to the union); nan
        if there are none. And for each true segment the index `b k` of its predicted segment, in 0..m-1, the lowest of
        equals; -1 if the true segment has too few pixels.

    References:
        Yang, Chen and Soatto, Learning to Manipulate Individual Objects in an Image, CVPR 2020: the evaluation in the
        published code.
    """
    true_pixels = (true > SOFT_THRESHOLD).flatten(2).double()
    predicted_pixels = (predicted > SOFT_THRESHOLD).flatten(2).double()
    shared = true_pixels @ predicted_pixels.mT
    areas, predicted_areas = true_pixels.sum(2), predicted_pixels.sum(2)
    iou, index = (shared / (1e-8 + (areas[:, :, None] + predicted_areas[:, None] - shared))).max(2)
    counted = areas > FEWEST_PIXELS
    return _mean_where(counted, iou), index.where(counted, -1)


def hungarian_iou(truth: Labels, predicted: Labels, background: bool = True) -> PerImage:
    """Mean IoU of the true segments, matched one-to-one with predicted segments so that their summed IoU is largest.

    Args:
        truth: `b h w`, at least -1; label 0 is the background, -1 void.
        predicted: `b h w`, at least 0.
        background: False leaves the background out: only objects are matched and averaged. A predicted segment's pixels on
            the background still count in its union.

    Returns:
        `b`, in [0, 1]: the mean over the true segments in the image. One without a match counts as 0; predicted segments
        without a match don't count. nan if there is no true segment.

    References:
        Kuhn, The Hungarian Method for the Assignment Problem, 1955.
    """
    present, iou = _segment_ious(truth, predicted, background)
    matched = [scores[linear_sum_assignment(scores, maximize=True)].sum() for scores in iou.cpu().numpy()]
    return torch.as_tensor(matched, dtype=iou.dtype, device=iou.device) / present.sum(1)


def mean_best_overlap(truth: Labels, predicted: Labels, background: bool = True) -> PerImage:
    """Mean best overlap (mBO): the IoU of each true segment with the predicted segment that overlaps it best, averaged.

    Arguments and corner cases are those of `hungarian_iou`. It is never lower, since several true segments may have the same
    predicted one.

    References:
        Pont-Tuset et al., Multiscale Combinatorial Grouping for Image Segmentation, 2017.
    """
    present, iou = _segment_ious(truth, predicted, background)
    return _mean_where(present, iou.amax(2))


def adjusted_rand_index(truth: Labels, predicted: Labels, background: bool = True) -> PerImage:
    """Adjusted Rand index (ARI): the agreement about which pairs of pixels belong together, corrected for chance.

    Args:
        truth: `b h w`, at least -1; label 0 is the background, -1 void.
        predicted: `b h w`, at least 0.
        background: False gives the foreground ARI (FG-ARI): pixels whose *true* label is 0 are ignored, so objects that
            extend over the background cost nothing.

    Returns:
        `b`, in [-0.5, 1]: 1 if both partitions are the same, 0 on average for random labels. As in scikit-learn, it is also 1
        if both are one segment, or fewer than two pixels are left; so an image without objects has an FG-ARI of 1. One
        segment against several gives exactly 0.

    References:
        Hubert and Arabie, Comparing Partitions, Journal of Classification 2, 1985.
        Greff et al., Multi-Object Representation Learning with Iterative Variational Inference, 2019, for FG-ARI.
    """
    table = _contingency(truth, predicted)[:, 0 if background else 1 :].double()
    together, everywhere = _pairs(table).sum((1, 2)), _pairs(table.sum((1, 2)))
    in_truth, in_predicted = _pairs(table.sum(2)).sum(1), _pairs(table.sum(1)).sum(1)
    by_chance, at_most = in_truth * in_predicted / everywhere, (in_truth + in_predicted) / 2
    same = (together == in_truth) & (together == in_predicted)
    return torch.where(same, 1.0, (together - by_chance) / (at_most - by_chance))


def matching(truth: Labels, predicted: Labels, segments: int) -> Tensor:
    """Match predicted to true segments one-to-one, with the most common pixels in all.

    Only segments with a common pixel are matched. How the segments are numbered changes nothing: of several best matchings it
    is the one in which earlier pixels, row by row, decide.

    Args:
        truth: `b h w`, at least 0, or -1 for void: such pixels are not common to any two segments.
        predicted: `b h w`, at least 0.
        segments: The number of true segments to return; labels of the truth are below it.

    Returns:
        The predicted segment of each true one: `b segments`, int64; -1 for a true segment without a match.
    """
    found = torch.full((len(truth), segments), -1)
    for row, pair in enumerate(zip(truth.cpu().numpy(), predicted.cpu().numpy(), strict=True)):
        known = pair[0] >= 0
        (numbers, true), (labels, own) = (_by_first_pixel(part[known]) for part in pair)
        shared = np.zeros((len(numbers), len(labels)), int)
        np.add.at(shared, (true, own), 1)
        rows, columns = linear_sum_assignment(shared, maximize=True)
        common = shared[rows, columns] > 0
        found[row, numbers[rows[common]]] = torch.from_numpy(labels[columns[common]])
    return found.to(truth.device)


def identity_switching(channels: Tensor) -> float:
    """The fraction of scenes in which two objects have exchanged their segments: 0 if each keeps its own in all scenes.

    Args:
        channels: `b 3`, int: the predicted segments of the background and of two objects that are the same in all scenes.
            Predicted segments are 0 and 1 for objects, and 2 for the background, in the order of `masks.background_last`.
            `best_overlap_iou` returns them; -1 for a hidden object.

    Returns:
        The smallest column sum divided by the number of scenes, as in the original. It is in [-1, 1], since a hidden object
        counts as -1. It is at most 1/2 if the background is always found and no object is hidden: then the smallest sum counts
        the scenes with the rarer of the two assignments.

    References:
        Yang, Chen and Soatto, Learning to Manipulate Individual Objects in an Image, CVPR 2020: 21 of 255 scenes before
        training with cycle consistency, and none after.
    """
    return float(channels.sum(0).min()) / len(channels)


def shape_iou(masks: Masks, shapes: Masks) -> PerImage:
    """IoU of decoded shapes with their masks, both thresholded at 0.5: the mean over an image's masks, in [0, 1].

    Shape and mask of the same channel are compared. Masks of up to 4 pixels don't count; nan if none counts.
    """
    given, decoded = masks > 0.5, shapes > 0.5
    union = (given | decoded).sum((2, 3)).clamp(min=1)
    return _mean_where(given.sum((2, 3)) > FEWEST_PIXELS, (given & decoded).sum((2, 3)) / union)


def _by_first_pixel(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels in the order of their first pixels, and each pixel's place among them."""
    values, first, places = np.unique(labels, return_index=True, return_inverse=True)
    order = first.argsort()
    return values[order], order.argsort()[places.reshape(-1)]


def _pairs(count: Tensor) -> Tensor:
    return count * (count - 1) / 2


def _segment_ious(truth: Labels, predicted: Labels, background: bool) -> tuple[Tensor, Tensor]:
    """Which true segments are present, `b k` bool, and their IoU with the predicted ones, `b k m`, 0 for absent ones."""
    table = _contingency(truth, predicted).double()
    areas, predicted_areas = table.sum(2), table.sum(1)
    union = areas[:, :, None] + predicted_areas[:, None] - table
    first = 0 if background else 1
    return areas[:, first:] > 0, (table / union.clamp(min=1))[:, first:]


def _contingency(truth: Labels, predicted: Labels) -> Tensor:
    """The number of pixels `b k m` with true label k and predicted label m, int64; void pixels don't count."""
    if truth.shape != predicted.shape:
        raise InputError(f"true and predicted labels differ in shape: {list(truth.shape)}, {list(predicted.shape)}")
    if min(truth.min() + 1, predicted.min()) < 0:
        raise InputError("labels need to be at least 0, or -1 for void pixels of the truth; got a negative one")
    b, k, m = len(truth), max(0, int(truth.max())) + 1, int(predicted.max()) + 1
    image = torch.arange(b, device=truth.device)[:, None, None]
    cells = (image * k + truth) * m + predicted
    return cells[truth >= 0].bincount(minlength=b * k * m).view(b, k, m)


def _mean_where(counted: Tensor, values: Tensor) -> Tensor:
    """The mean over the last axis of the counted values; nan if there are none."""
    return (values * counted).sum(-1) / counted.sum(-1)
