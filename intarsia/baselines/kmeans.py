"""Segments by k-means over the colours or the content of each image, without training."""

import warnings

import numpy as np
import torch
from scipy.cluster.vq import kmeans2

from intarsia.errors import InputError
from intarsia.shapes import Labels, Maps, Masks, one_hot

ITERATIONS = 20  # of Lloyd's algorithm, which converges earlier on most images


def segment(maps: Maps, clusters: int, position: float = 0.0, seed: int = 0) -> Masks:
    """Hard masks `b clusters h w` of maps `b c h w`; if there are fewer distinct values, the last masks are empty.

    Args:
        maps: Images, or maps of their content. Each image is clustered on its own, and in the same way for the same seed.
        clusters: Number of segments k.
        position: Weight of a cell's row and column, as fractions of the longer side, relative to its values; 0 ignores them.
        seed: Of the initial centres.

    References:
        Lloyd, Least squares quantization in PCM, 1982; initial centres by Arthur and Vassilvitskii, k-means++, 2007.
    """
    if clusters < 1 or not 0 <= position < np.inf:
        raise InputError(f"clusters must be at least 1 and position at least 0 and finite; got {clusters} and {position}.")
    height, width = maps.shape[-2:]
    places = np.indices((height, width)).reshape(2, -1).T / max(height, width)
    values = maps.permute(0, 2, 3, 1).flatten(1, 2).double().cpu().numpy()
    found = [_cluster(np.hstack([cells, position * places]), clusters, seed) for cells in values]
    labels: Labels = torch.from_numpy(np.stack(found)).long().view(-1, height, width)
    return one_hot(labels, clusters).to(maps.device)


def _cluster(cells: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """The cluster of each cell, from values `cells f`; k-means++ needs as many distinct values as clusters."""
    distinct = len(np.unique(cells, axis=0))
    with warnings.catch_warnings():  # about empty clusters, which do no harm here
        warnings.simplefilter("ignore", UserWarning)
        return kmeans2(cells, min(clusters, distinct), ITERATIONS, minit="++", seed=np.random.default_rng(seed))[1]
