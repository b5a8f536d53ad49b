"""Segments whose borders lie where the colours change: for segmentations found on a coarse grid."""

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.clusters import nearest_clusters
from intarsia.shapes import Labels, one_hot

SAMPLED = 2048  # pixels of an image, from which its colours are taken
TIMES = 2
LEAST_CORE = 12  # px: of a smaller segment all pixels are its core
UNSEEN = 0.5  # pixels that every colour has in every core beforehand


def colour_codes(images: Tensor, colours: int, seeds: list[int]) -> Tensor:
    """Which of an image's `colours` main colours is nearest to each pixel's own: `b colours h w`, 0 or 1.

    Images are `b c h w`, of any channels. The colours are k-means centres, with a seed for each image.
    """
    pixels = images.permute(0, 2, 3, 1)
    codes = [nearest_clusters(each, colours, SAMPLED, seed) for each, seed in zip(pixels, seeds, strict=True)]
    return one_hot(torch.stack(codes), colours).to(images.device)


def snap_to_colours(labels: Labels, segments: int, codes: Tensor, radius: int) -> Labels:
    """Labels `b h w` whose pixels near borders go to the segment in whose core their colours are commonest.

    A pixel can only go to a segment of which a pixel lies within the radius. The probability of a colour is its frequency in
    the segment's core, the pixels whose neighbours are all in the segment; its logarithm is averaged over 3x3 pixels.

    Args:
        labels: In 0..segments-1.
        segments: Number of segments k.
        codes: `b c h w` of `colour_codes`.
        radius: Pixels.

    References:
        Rother, Kolmogorov and Blake, "GrabCut", SIGGRAPH 2004; here with histograms in place of mixtures, and no cut.
    """
    for _ in range(TIMES):
        masks = one_hot(labels, segments)
        core = 1 - F.max_pool2d(1 - masks, 3, 1, 1)
        core = torch.where(core.sum((2, 3), keepdim=True) > LEAST_CORE, core, masks)
        counts = torch.einsum("bkhw,bchw->bkc", core, codes) + UNSEEN
        log_likelihood = torch.einsum("bkc,bchw->bkhw", (counts / counts.sum(2, keepdim=True)).log(), codes)
        log_likelihood = F.avg_pool2d(log_likelihood, 3, 1, 1, count_include_pad=False)
        near = F.max_pool2d(masks, 2 * radius + 1, 1, radius) > 0
        labels = log_likelihood.masked_fill(~near, -torch.inf).argmax(1)
    return labels
