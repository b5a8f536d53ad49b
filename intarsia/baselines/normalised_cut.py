"""Segments by a normalised cut through the graph of an image's cells, whose edges tell how alike the features are."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import SpectralClustering

from intarsia.errors import InputError
from intarsia.shapes import Labels, Maps, Masks, one_hot

THRESHOLD = 0.4  # cosine of the angle between two cells' features above which they are alike; 0.2 for TokenCut's features
UNLIKE = 1e-5  # weight of the edge between cells that are not alike, as in TokenCut: keeps the graph connected


def segment(maps: Maps, segments: int, threshold: float = THRESHOLD, seed: int = 0) -> Masks:
    """Hard masks `b segments h w` of features `b c h w`, each image cut on its own.

    Two cells have an edge of weight 1 if the cosine of their features' angle is above the threshold. TokenCut cuts once, into
    an object and the rest; here the first eigenvectors of the graph's Laplacian are clustered into k segments.

    Args:
        maps: With at least k cells.
        segments: Number of segments k, at least 2.
        threshold: Of the cosine, from -1 to 1.
        seed: Of the eigensolver's start and of the initial centres.

    References:
        Shi and Malik, Normalized cuts and image segmentation, PAMI 2000; Yu and Shi, Multiclass spectral clustering, ICCV 2003;
        Wang et al., TokenCut, CVPR 2022.
    """
    height, width = maps.shape[-2:]
    if not (2 <= segments <= height * width and -1 <= threshold <= 1):
        raise InputError(
            "segments must be from 2 to the number of cells, threshold from -1 to 1; "
            f"got {segments} for {height * width} cells, and {threshold}."
        )
    cells = F.normalize(maps.flatten(2), dim=1)
    weights = torch.where(cells.mT @ cells > threshold, 1.0, UNLIKE).double().cpu().numpy()
    cut = SpectralClustering(segments, affinity="precomputed", assign_labels="cluster_qr", random_state=seed)
    labels: Labels = torch.from_numpy(np.stack([cut.fit_predict(graph) for graph in weights])).long()
    return one_hot(labels.view(-1, height, width), segments).to(maps.device)
