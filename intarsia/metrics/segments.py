"""How well segments match the truth: a number per image.

Larger is better, and 1 is perfect. There are two kinds of input. The original's score compares *soft* masks,
which may overlap once thresholded. All others compare *hard* segments, integer labels `b h w`, one per pixel (`hard` makes
them from masks), and share one signature: truth, prediction, and whether the background counts. Label 0 of the truth is the
background; predicted labels have no meaning of their own, any renaming of them gives the same number. Values are float64,
on the input's device.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from intarsia.errors import InputError
from intarsia.shapes import Labels, Masks, PerImage, one_hot

__all__ = [
    "adjusted_rand_index", "best_overlap_iou", "hard", "hungarian_iou", "identity_switching", "matching", "mean_best_overlap",
    "shape_iou",
]  # fmt: skip

SOFT_THRESHOLD = 0.04  # a pixel belongs to every segment whose mask lies above this
FEWEST_PIXELS = 4  # a true segment counts if it has more pixels than this


def hard(masks: Masks) -> Labels:
    """The segment of each pixel: soft masks `b k h w` to labels `b h w` in 0..k-1; the lower index wins a tie."""
    return masks.argmax(1)


def best_overlap_iou(true: Masks, predicted: Tensor) -> tuple[PerImage, Tensor]:
    """The IoU of the paper: each true segment takes the predicted segment that overlaps it best.

    Masks are thresholded at 0.04 without an arg-max, so predicted segments may overlap, and two true segments may take
    the same predicted one. Both make the score higher than a one-to-one matching of hard segments would be: use it to
    compare with the paper, and `hungarian_iou` with anything else. The background counts as a segment.

    Args:
        true: `b k h w`, range [0, 1].
        predicted: `b m h w`, range [0, 1]; m may differ from k.

    Returns:
        The mean IoU `b` over the true segments of more than 4 pixels, in [0, 1) (the original adds 1e-8 to the union),
        nan if there are none; and for each true segment the index `b k` of its predicted segment, in 0..m-1, the lowest
        of equals, -1 if it has too few pixels.

    References:
        Yang, Chen and Soatto, Learning to Manipulate Individual Objects in an Image, CVPR 2020: the evaluation of
        its published code.
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
        truth: `b h w`, at least 0; label 0 is the background.
        predicted: `b h w`, at least 0.
        background: False leaves the background out of the truth: only objects are matched and averaged. Pixels of a
            predicted segment that lie on the background still count in its union.

    Returns:
        `b`, in [0, 1]: the mean over the true segments present in the image. One that is left without a match counts 0;
        predicted segments left over cost nothing by themselves. nan if no true segment is left to average.

    References:
        Kuhn, The Hungarian Method for the Assignment Problem, 1955.
    """
    present, iou = _segment_ious(truth, predicted, background)
    matched = [scores[linear_sum_assignment(scores, maximize=True)].sum() for scores in iou.cpu().numpy()]
    return torch.as_tensor(matched, dtype=iou.dtype, device=iou.device) / present.sum(1)


def mean_best_overlap(truth: Labels, predicted: Labels, background: bool = True) -> PerImage:
    """Mean best overlap (mBO): the IoU of each true segment with the predicted segment that overlaps it best, averaged.

    Arguments and corner cases are those of `hungarian_iou`, which it is never below: here one predicted segment may
    serve several true ones.

    References:
        Pont-Tuset et al., Multiscale Combinatorial Grouping for Image Segmentation, 2017.
    """
    present, iou = _segment_ious(truth, predicted, background)
    return _mean_where(present, iou.amax(2))


def adjusted_rand_index(truth: Labels, predicted: Labels, background: bool = True) -> PerImage:
    """Adjusted Rand index (ARI): do pairs of pixels that belong together stay together, more often than by chance?

    Args:
        truth: `b h w`, at least 0; label 0 is the background.
        predicted: `b h w`, at least 0.
        background: False gives the foreground ARI (FG-ARI): pixels whose *true* label is 0 are ignored altogether, so
            objects that spill over the background lose nothing.

    Returns:
        `b`, in [-0.5, 1]: 1 if both divide the pixels in the same way, 0 on average for random labels. Also 1 where
        there is nothing to get wrong, as in scikit-learn: both are one segment, or fewer than two pixels are left (an
        image without objects has an FG-ARI of 1). One segment against several is exactly 0.

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
    """The predicted segment that belongs to each true one: `b segments`, int64, in 0..segments-1.

    One-to-one, so that the pixels they share are most; labels are below `segments`.
    """
    shared = torch.einsum("bkhw,bmhw->bkm", one_hot(truth, segments), one_hot(predicted, segments)).cpu().numpy()
    found = [torch.from_numpy(linear_sum_assignment(table, maximize=True)[1]) for table in shared]
    return torch.stack(found).to(truth.device)


def identity_switching(channels: Tensor) -> float:
    """The share of scenes in which two objects have exchanged their segments: 0 if each keeps its own in all of them.

    Args:
        channels: `b 3`, int: the predicted segment, of three, that stands for the background and each of two objects which are
            the same in all scenes, the first of the objects and the background of the prediction at the end (2). So
            `best_overlap_iou` gives them for masks that `masks.background_last` has ordered; -1 for an object that is hidden.

    Returns:
        As the original computes it: the smallest of the columns' sums, divided by the scenes. In [-1, 1], and at most 1/2 for a
        background that is always found and objects that are always seen: one of the two objects then has the channels 0 and 1
        the rarer way round. A hidden object counts -1.

    References:
        Yang, Chen and Soatto, Learning to Manipulate Individual Objects in an Image, CVPR 2020: 21 of 255 scenes
        before training with cycle consistency, and none after.
    """
    return float(channels.sum(0).min()) / len(channels)


def shape_iou(masks: Masks, shapes: Masks) -> PerImage:
    """IoU of decoded shapes with the masks they come from, both thresholded at 0.5: the mean over an image's masks, in [0, 1].

    Channel by channel, without matching. Masks of up to 4 pixels do not count; nan where none counts.
    """
    there, decoded = masks > 0.5, shapes > 0.5
    union = (there | decoded).sum((2, 3)).clamp(min=1)
    return _mean_where(there.sum((2, 3)) > FEWEST_PIXELS, (there & decoded).sum((2, 3)) / union)


def _pairs(count: Tensor) -> Tensor:
    return count * (count - 1) / 2


def _segment_ious(truth: Labels, predicted: Labels, background: bool) -> tuple[Tensor, Tensor]:
    """Which true segments are present, `b k` bool, and their IoU with the predicted ones, `b k m`, 0 for the absent."""
    table = _contingency(truth, predicted).double()
    areas, predicted_areas = table.sum(2), table.sum(1)
    union = areas[:, :, None] + predicted_areas[:, None] - table
    first = 0 if background else 1
    return areas[:, first:] > 0, (table / union.clamp(min=1))[:, first:]


def _contingency(truth: Labels, predicted: Labels) -> Tensor:
    """The number of pixels `b k m` with true label k and predicted label m, int64."""
    if truth.shape != predicted.shape:
        raise InputError(f"true and predicted labels differ in shape: {list(truth.shape)}, {list(predicted.shape)}")
    if min(truth.min(), predicted.min()) < 0:
        raise InputError("labels need to be at least 0, got a negative one")
    b, k, m = len(truth), int(truth.max()) + 1, int(predicted.max()) + 1
    image = torch.arange(b, device=truth.device)[:, None, None]
    cells = (image * k + truth) * m + predicted
    return cells.flatten().bincount(minlength=b * k * m).view(b, k, m)


def _mean_where(counted: Tensor, values: Tensor) -> Tensor:
    """The mean over the last axis of the values that count; nan where none does."""
    return (values * counted).sum(-1) / counted.sum(-1)
