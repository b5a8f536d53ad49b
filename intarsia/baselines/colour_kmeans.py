"""Segments by colour alone: k-means over the pixels of each image. It learns nothing, and no object is more than a colour."""

import warnings

import numpy as np
import torch
from scipy.cluster.vq import kmeans2

from intarsia.errors import InputError
from intarsia.shapes import Images, Labels, Masks, one_hot

__all__ = ["segment"]

ITERATIONS = 20  # of Lloyd's algorithm, which stands still before that on most images


def segment(images: Images, clusters: int, position: float = 0.0, seed: int = 0) -> Masks:
    """Hard masks `b clusters h w` of images `b 3 h w` in [0, 1]; an image of fewer colours leaves the last masks empty.

    Args:
        images: Any size; each image is clustered by itself, and always in the same way for the same seed.
        clusters: Number of segments k.
        position: Weight of a pixel's row and column, as shares of the longer side, beside its colours; 0 leaves them out.
        seed: Of the first centres.

    References:
        Lloyd, Least squares quantization in PCM, 1982; first centres by Arthur and Vassilvitskii, k-means++, 2007.
    """
    if clusters < 1 or not 0 <= position < np.inf:
        raise InputError(f"clusters must be at least 1 and position at least 0 and finite; got {clusters} and {position}.")
    height, width = images.shape[-2:]
    places = np.indices((height, width)).reshape(2, -1).T / max(height, width)
    colours = images.permute(0, 2, 3, 1).flatten(1, 2).double().cpu().numpy()
    found = [_cluster(np.hstack([pixels, position * places]), clusters, seed) for pixels in colours]
    labels: Labels = torch.from_numpy(np.stack(found)).long().view(-1, height, width)
    return one_hot(labels, clusters).to(images.device)


def _cluster(pixels: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """The cluster of each pixel, from features `pixels f`; k-means++ can't seed more clusters than there are values."""
    distinct = len(np.unique(pixels, axis=0))
    with warnings.catch_warnings():  # that a cluster ended up empty, which is no harm here
        warnings.simplefilter("ignore", UserWarning)
        return kmeans2(pixels, min(clusters, distinct), ITERATIONS, minit="++", seed=np.random.default_rng(seed))[1]
