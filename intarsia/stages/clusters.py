"""Segmentations of an image from its own content alone: candidates, among which the separation loss chooses.

Cells of similar content are clustered; the clusters, or their connected pieces, are then merged pair by pair, the two nearest
first. Each number of segments on the way gives one candidate. No network and no label has a part in it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from intarsia.clusters import cluster, connected_pieces, without_thin_parts
from intarsia.shapes import Labels, Logits, one_hot

__all__ = ["CLUSTERINGS", "Clustering", "cluster_levels", "cluster_regions", "match_channels", "piece_levels"]

MOST_PIECES = 40  # connected pieces of the clusters; of more, the clusters themselves are merged
SMALLEST_PIECE = 12  # px, of a segmenter's piece that is merged for itself
PLACE = 6.0  # of the image's width, in deviations of the content, where places count


@dataclass(frozen=True)
class Clustering:
    """One way to cluster.

    clusters: Number of k-means clusters.
    apart: Squared distance that is added between pieces that don't touch; 0 merges whole clusters.
    heaviest: Pixels up to which a piece resists a merge the more, the larger it is.
    """

    clusters: int
    apart: float
    heaviest: float


CLUSTERINGS = tuple(
    Clustering(clusters, apart, heaviest)
    for clusters, heaviest in ((8, 40.0), (10, 1000.0), (12, 40.0))
    for apart in (0.0, 0.02, 0.3, 3.0)
)

OF_PIECES = Clustering(clusters=0, apart=0.3, heaviest=1000.0)


def cluster_levels(content: Tensor, segments: int, way: Clustering, seed: int) -> Labels:
    """Segmentations of one image into 2 to `segments` segments: `segments-1 h w`, from its content `c h w`."""
    values = content.permute(1, 2, 0).double().cpu().numpy()
    height, width, channels = values.shape
    cells = values.reshape(-1, channels)
    distinct = min(way.clusters, len(np.unique(cells, axis=0)))
    labels = cluster(cells, distinct, np.random.default_rng(seed))
    regions = without_thin_parts(torch.from_numpy(labels.reshape(1, height, width)).long(), distinct)[0].numpy()
    if way.apart:
        pieces = connected_pieces(regions)
        regions = pieces if pieces.max() < MOST_PIECES else regions
    return merge_levels(regions, cells, segments, way)


def piece_levels(content: Tensor, labels: Labels, segments: int) -> Labels:
    """Segmentations of one image into 2 to `segments` segments, `segments-1 h w`: pieces of labels `h w`, merged.

    They join what a segmenter has cut, and part what shares a segment.
    """
    channels = len(content)
    cells = content.permute(1, 2, 0).reshape(-1, channels).double().cpu().numpy()
    pieces = connected_pieces(labels.cpu().numpy())
    large = np.bincount(pieces.ravel()) >= SMALLEST_PIECE
    if large.any():  # pixels of smaller pieces belong to the nearest large one
        pieces = pieces[tuple(ndimage.distance_transform_edt(~large[pieces], return_distances=False, return_indices=True))]
    return merge_levels(pieces, cells, segments, OF_PIECES)


def merge_levels(regions: np.ndarray, cells: np.ndarray, segments: int, way: Clustering) -> Labels:
    """Regions `h w`, merged pair by pair: for 2 to `segments` segments the segment of each pixel, `segments-1 h w`."""
    regions = np.unique(regions, return_inverse=True)[1].reshape(regions.shape)
    levels = _merged(regions, cells, segments, way)
    return torch.from_numpy(np.stack([level[regions] for level in levels]))


def cluster_regions(content: Tensor, seeds: list[int]) -> Tensor:
    """Two clusters of each image's content `b c h w`: regions `b 2 h w` to hide, 0 or 1. A seed for each image.

    Every other time the place counts too, which makes the clusters compact.
    """
    regions = []
    for cells, seed in zip(content, seeds, strict=True):
        rng = np.random.default_rng(seed)
        count, (height, width) = int(rng.integers(3, 9)), cells.shape[1:]
        values = cells.permute(1, 2, 0).double().cpu().numpy()
        if rng.random() < 0.5:
            places = np.moveaxis(np.indices((height, width)), 0, -1) * (PLACE / width)
            values = np.concatenate([values, places], 2)
        flat = values.reshape(height * width, -1)
        centres = flat[rng.choice(len(flat), count, replace=False)]
        labels = cluster(flat, centres).reshape(height, width)
        regions.append(np.stack([labels == label for label in rng.permutation(count)[:2]]))
    return torch.from_numpy(np.stack(regions)).to(content)


def _merged(regions: np.ndarray, cells: np.ndarray, segments: int, way: Clustering) -> list[np.ndarray]:
    """For 2 to `segments` segments the segment of each region. Where there are fewer regions, the next smaller number."""
    count = int(regions.max()) + 1
    weight = np.bincount(regions.ravel(), minlength=count).astype(float)
    mean = np.stack([np.bincount(regions.ravel(), column, count) for column in cells.T], 1) / weight[:, None]
    touch = np.zeros((count, count))
    for one, other in ((regions[1:], regions[:-1]), (regions[:, 1:], regions[:, :-1])):
        touch[one, other] = touch[other, one] = 1
    segment, levels = np.arange(count), {}
    for left in range(count, 1, -1):
        if left <= segments:
            levels[left] = np.unique(segment, return_inverse=True)[1]
        distance = np.square(mean[:, None] - mean).sum(2) + way.apart * (1 - touch)
        distance *= np.minimum(np.minimum(weight[:, None], weight), way.heaviest)
        distance[weight == 0] = distance[:, weight == 0] = np.inf
        np.fill_diagonal(distance, np.inf)
        kept, gone = divmod(int(distance.argmin()), count)
        total = weight[kept] + weight[gone]
        mean[kept] = (weight[kept] * mean[kept] + weight[gone] * mean[gone]) / total
        weight[kept], weight[gone] = total, 0
        touch[kept] = touch[:, kept] = np.maximum(touch[kept], touch[gone])
        segment[segment == gone] = kept
    last, found = np.zeros(count, int), []
    for number in range(2, segments + 1):
        last = levels.get(number, last)
        found.append(last)
    return found


def match_channels(labels: Labels, logits: Logits) -> Labels:
    """Labels `b h w` renamed one-to-one so that the mean log-probability of logits `b k h w` is greatest."""
    scores = torch.einsum("bkhw,bmhw->bkm", one_hot(labels, logits.shape[1]), logits.log_softmax(1)).cpu().numpy()
    names = torch.from_numpy(np.stack([linear_sum_assignment(each, maximize=True)[1] for each in scores])).to(labels.device)
    return names.gather(1, labels.flatten(1)).view_as(labels)
