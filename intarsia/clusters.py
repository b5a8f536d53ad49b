"""Clusters of an image's own pixels, by k-means, and masks with the borders of these clusters. No network has a part in it."""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.cluster.vq import kmeans2
from torch import Tensor

from intarsia.shapes import Labels, Masks, one_hot

__all__ = ["cluster", "connected_pieces", "nearest_clusters", "one_piece_each", "snap_to_colours", "vote", "without_thin_parts"]

ITERATIONS = 5  # of k-means
RIM = 3  # px: whatever is narrower goes to a neighbour
SAMPLED = 2048  # pixels of an image, from which its colours are taken
TIMES = 2
LEAST_CORE = 12  # px: of a smaller segment all pixels are its core
CELL = 4  # px: the colours of so many rows and columns are counted together
LEAST_PIECE = 0.003  # of the image: a smaller piece gets no segment of its own
UNSEEN = 0.5  # pixels that every colour has in every core beforehand


def vote(masks: Masks, content: Tensor, clusters: int, votes: int, mixed_borders: bool = False) -> Masks:
    """Masks `b k h w` with the borders of the image's own colours: 0 to 1, summing to 1 over k.

    In each vote the pixels of an image are clustered by their content. Every connected piece of a cluster belongs to the
    segment with the largest sum of mask values in it. The result is the mean of the votes, whose first centres differ.

    Args:
        masks: As a segmenter gives them.
        content: `b c h w`, of each pixel.
        clusters: Number of clusters.
        votes: How often.
        mixed_borders: Parts of clusters narrower than 3 pixels join their neighbours first: they are borders whose pixels
            mix the colours of both sides.
    """
    found = torch.zeros_like(masks)
    for image, (mask, values) in enumerate(zip(masks, content, strict=True)):
        cells = values.permute(1, 2, 0).flatten(0, 1).double().cpu().numpy()
        distinct = min(clusters, len(np.unique(cells, axis=0)))
        for seed in range(votes):
            labels = cluster(cells, distinct, np.random.default_rng(seed)).reshape(mask.shape[1:])
            if mixed_borders:
                labels = without_thin_parts(torch.from_numpy(labels)[None].long(), distinct)[0].numpy()
            pieces = torch.from_numpy(connected_pieces(labels)).to(mask.device).long()
            sums = mask.new_zeros(len(mask), int(pieces.max()) + 1).index_add_(1, pieces.flatten(), mask.flatten(1))
            found[image].scatter_add_(0, sums.argmax(0)[pieces][None], torch.full_like(mask[:1], 1 / votes))
    return found


def snap_to_colours(
    labels: Labels, segments: int, images: Tensor, colours: int, radius: int, window: int, seeds: Sequence[int]
) -> Labels:
    """Labels `b h w` whose pixels near borders go to the segment in whose core their colours are commonest.

    A pixel can only go to a segment of which a pixel lies within the radius. The probability of a colour is its frequency in
    the segment's core, the pixels whose neighbours are all in the segment; its logarithm is averaged over 3x3 pixels. Only the
    part of the core within a window around the pixel counts. Otherwise a large ground of many colours loses to small objects:
    each of its colours is rare in it, though it may be all there is around a pixel.

    Args:
        labels: In 0..segments-1.
        segments: Number of segments k.
        images: `b c h w`, of any channels.
        colours: How many colours are told apart in an image: k-means centres.
        radius: Pixels.
        window: Pixels to each side, in steps of 4; 0 for the whole image.
        seeds: One for the colours of each image.

    References:
        Rother, Kolmogorov and Blake, "GrabCut", SIGGRAPH 2004; here with histograms in place of mixtures, and no cut.
    """
    codes = _colour_codes(images, colours, seeds)
    for _ in range(TIMES):
        masks = one_hot(labels, segments)
        core = 1 - F.max_pool2d(1 - masks, 3, 1, 1)
        core = torch.where(core.sum((2, 3), keepdim=True) > LEAST_CORE, core, masks)
        log_likelihood = torch.stack([_log_likelihood(*each, colours, window) for each in zip(core, codes, strict=True)])
        log_likelihood = F.avg_pool2d(log_likelihood, 3, 1, 1, count_include_pad=False)
        rows = F.max_pool2d(masks, (2 * radius + 1, 1), 1, (radius, 0))  # first the rows, then the columns: faster
        near = F.max_pool2d(rows, (1, 2 * radius + 1), 1, (0, radius)) > 0
        labels = log_likelihood.masked_fill(~near, -torch.inf).argmax(1)
    return labels


def _log_likelihood(core: Tensor, codes: Tensor, colours: int, window: int) -> Tensor:
    """The log-probability of each pixel's colour `h w` in the cores `k h w` around it: `k h w`."""
    height, width = codes.shape
    cell = CELL if window else max(height, width)
    rows, columns = (torch.arange(length, device=codes.device) // cell for length in (height, width))
    cells = (int(rows[-1]) + 1, int(columns[-1]) + 1)
    index = ((codes * cells[0] + rows[:, None]) * cells[1] + columns).flatten()
    counts = core.new_zeros(len(core), colours * cells[0] * cells[1]).index_add_(1, index, core.flatten(1))
    reach = window // cell
    counts = F.avg_pool2d(counts.view(-1, colours, *cells), 2 * reach + 1, 1, reach, divisor_override=1) + UNSEEN
    return (counts / counts.sum(1, keepdim=True)).log().flatten(1)[:, index].view_as(core)


def cluster(cells: np.ndarray, centres: int | np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """The k-means cluster of each of the cells `n c`: from the given centres, or from so many that k-means++ chooses."""
    start = "++" if isinstance(centres, int) else "matrix"
    with warnings.catch_warnings():  # that a cluster became empty, which does no harm
        warnings.simplefilter("ignore", UserWarning)
        return kmeans2(cells, centres, ITERATIONS, minit=start, seed=rng)[1]


def connected_pieces(labels: np.ndarray) -> np.ndarray:
    """The connected pieces of labels `h w`, numbered from 0."""
    found, count = np.zeros_like(labels), 0
    for label in np.unique(labels):
        pieces, number = ndimage.label(labels == label)
        found += np.where(pieces > 0, pieces + count - 1, 0)
        count += number
    return found


def one_piece_each(masks: Masks, backgrounds: int) -> Masks:
    """Masks `b k h w` in which each object is one connected piece, as far as there are empty segments.

    Objects are all but the `backgrounds` largest segments. Of an object in several pieces the largest one keeps the segment.
    The others, the largest first, move to segments that are empty, with all of the mask that is nearest to them. What has less
    than 0.3 % of the image's pixels is no piece, and leaves a segment empty.
    """
    found, least = masks.clone(), LEAST_PIECE * masks[0, 0].numel()
    for mask, labels in zip(found, masks.argmax(1).cpu().numpy(), strict=True):
        areas = np.bincount(labels.ravel(), minlength=len(mask))
        by_area = np.argsort(-areas, kind="stable")
        pieces = [piece for segment in by_area[backgrounds:] for piece in _further_pieces(labels, segment, least)]
        empty = [segment for segment in by_area if areas[segment] < least]
        for (_, segment, nearest), other in zip(sorted(pieces, key=lambda piece: -piece[0]), empty, strict=False):
            moved = mask[segment] * torch.from_numpy(nearest).to(mask.device)
            mask[segment] -= moved
            mask[other] += moved
    return found


def _further_pieces(labels: np.ndarray, segment: int, least: float) -> list[tuple[int, int, np.ndarray]]:
    """The pieces of a segment of labels `h w` but for its largest one: pixels, the segment, and what is nearest to it `h w`."""
    pieces, _ = ndimage.label(labels == segment)
    areas = np.bincount(pieces.ravel())[1:]
    further = [piece for piece in np.argsort(-areas, kind="stable")[1:] if areas[piece] >= least]
    if not further:
        return []
    nearest = pieces[tuple(ndimage.distance_transform_edt(pieces == 0, return_distances=False, return_indices=True))]
    return [(areas[piece], segment, nearest == piece + 1) for piece in further]


def without_thin_parts(labels: Labels, segments: int) -> Labels:
    """Labels `b h w` in which parts narrower than 3 pixels belong to the smallest of the segments next to them.

    Such parts are rims: pixels that mix the colours of two segments.
    """
    masks = one_hot(labels, segments)
    wide = F.pad(masks, (1, 1, 1, 1), mode="replicate")
    thick = F.max_pool2d(-F.max_pool2d(-wide, RIM, 1), RIM, 1, 1) * masks
    small_first = 2 - thick.mean((2, 3), keepdim=True)
    open_pixels = thick.amax(1) == 0
    for reach in (1, 1, 2, 3):
        near = F.max_pool2d(thick, 2 * reach + 1, 1, reach) * small_first
        taken = open_pixels & (near.amax(1) > 0)
        labels = torch.where(taken, near.argmax(1), labels)
        open_pixels &= ~taken
        thick = torch.maximum(thick, one_hot(labels, segments) * taken[:, None])
    return labels


def _colour_codes(images: Tensor, colours: int, seeds: Sequence[int]) -> Labels:
    """Which of an image's `colours` main colours is nearest to each pixel's own: `b h w`.

    Images are `b c h w`, of any channels. The colours are k-means centres, with a seed for each image.
    """
    pixels = images.permute(0, 2, 3, 1)
    codes = [nearest_clusters(each, colours, SAMPLED, seed) for each, seed in zip(pixels, seeds, strict=True)]
    return torch.stack(codes).to(images.device)


def nearest_clusters(values: Tensor, clusters: int, sampled: int, seed: int) -> Labels:
    """The nearest of some k-means centres for each pixel of `h w c`; the centres are those of a sample of the pixels."""
    rng = np.random.default_rng(seed)
    cells = values.flatten(0, 1).double().cpu().numpy()
    sample = cells[rng.choice(len(cells), min(sampled, len(cells)), replace=False)]
    distinct = min(clusters, len(np.unique(sample, axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        centres, _ = kmeans2(sample, distinct, ITERATIONS, minit="++", seed=rng)
    return torch.cdist(torch.from_numpy(cells), torch.from_numpy(centres)).argmin(1).view(values.shape[:2])
