"""Proposals of whole objects, one per channel, for a segmenter whose objects share channels.

Between "two objects in one channel" and "one in each" lies a barrier that gradients rarely cross. A proposal is on the other
side of it; the separation loss, not a label, decides whether it is any better (docs/notes/001-regrouping.md).
"""

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from intarsia.shapes import Labels, Logits


def regroup(logits: Logits, background: int, smallest: int = 12) -> Labels:
    """Give every connected piece of an image a channel of its own, as far as there are channels.

    The largest segment of each image becomes its background, in the same channel for all images. The rest falls into
    connected pieces (4-neighbourhood, over segment borders); the largest of them are assigned one-to-one to the other channels,
    so that the segmenter's own mean log-probability is greatest (Hungarian algorithm).
    Pieces too many for that go to the channel they prefer; pieces of fewer than `smallest` pixels join the background.

    Args:
        logits: `b k h w`, without gradient.
        background: The channel of the background.
        smallest: Pixels.

    Returns:
        `b h w` in 0..k-1.
    """
    scores = logits.log_softmax(1).float().cpu().numpy()
    channels = [channel for channel in range(scores.shape[1]) if channel != background]
    proposals = np.full((len(scores), *scores.shape[2:]), background)
    for score, proposal in zip(scores, proposals, strict=True):
        segments = score.argmax(0)
        pieces, count = ndimage.label(segments != np.bincount(segments.ravel()).argmax())
        areas = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
        kept = [piece + 1 for piece in np.argsort(-areas, kind="stable") if areas[piece] >= smallest]
        if not kept:
            continue
        cost = -np.stack([ndimage.mean(score[channel], pieces, kept) for channel in channels], 1)
        rows, columns = linear_sum_assignment(cost[: len(channels)])
        chosen = cost.argmin(1)
        chosen[rows] = columns
        for piece, column in zip(kept, chosen, strict=True):
            proposal[pieces == piece] = channels[column]
    return torch.from_numpy(proposals).to(logits.device)
