"""Proposals of whole objects, one per channel, for a segmenter whose objects share channels.

Between "two objects in one channel" and "one in each" lies a barrier that gradients rarely cross. A proposal is on the other
side of it; the separation loss, not a label, decides whether it is any better (docs/notes/002-regrouping.md).
"""

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from intarsia.shapes import Labels, Logits


def regroup(logits: Logits, whole: bool, smallest: int = 12, several: bool = False) -> Labels:
    """Give every connected piece of an image a channel of its own, as far as there are channels.

    The largest segment of each image becomes its background, segment 0. The rest falls into
    connected pieces (4-neighbourhood); the largest of them are assigned one-to-one to the other channels, so that the
    segmenter's own mean log-probability is greatest (Hungarian algorithm). Pieces too many for that go to the channel they
    prefer; pieces of fewer than `smallest` pixels join the background.

    Args:
        logits: `b k h w`, without gradient.
        whole: Pieces run on over the borders between segments, so that a patchy object is one piece, but so are objects
            that touch. Otherwise they end there.
        smallest: Pixels.
        several: The background has several parts, such as sky and floor, and none of them is singled out: the largest segment
            falls into pieces as well, all pieces compete for all channels, and small ones stay where they are.

    Returns:
        `b h w` in 0..k-1.
    """
    scores = logits.log_softmax(1).float().cpu().numpy()
    segments = scores.argmax(1)
    proposals, first = (segments.copy(), 0) if several else (np.zeros_like(segments), 1)
    for score, labels, proposal in zip(scores, segments, proposals, strict=True):
        pieces, count = _pieces(labels, whole, several)
        areas = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
        kept = [piece + 1 for piece in np.argsort(-areas, kind="stable") if areas[piece] >= smallest]
        if not kept:
            continue
        cost = -np.stack([ndimage.mean(channel, pieces, kept) for channel in score[first:]], 1)
        rows, columns = linear_sum_assignment(cost[: len(score) - first])
        chosen = cost.argmin(1)
        chosen[rows] = columns
        for piece, column in zip(kept, chosen, strict=True):
            proposal[pieces == piece] = first + column
    return torch.from_numpy(proposals).to(logits.device)


def _pieces(segments: np.ndarray, whole: bool, several: bool) -> tuple[np.ndarray, int]:
    """Number the connected pieces of all but the largest segment, or of all, from 1 on, `h w`, and count them."""
    present = np.bincount(segments.ravel())
    largest = int(present.argmax())
    if whole:
        return ndimage.label(segments != largest)
    pieces, count = np.zeros_like(segments), 0
    for segment in np.flatnonzero(present):
        if several or segment != largest:
            labels, found = ndimage.label(segments == segment)
            pieces += np.where(labels > 0, labels + count, 0)
            count += found
    return pieces, count
