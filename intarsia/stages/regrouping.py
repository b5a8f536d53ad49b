"""Regrouping: proposals of whole objects, one per channel, for a segmenter with several objects in one channel.

Gradients rarely move one of two objects to a channel of its own. A proposal does, and the separation loss decides whether it is
better (docs/notes/002-regrouping.md). No labels are used.
"""

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from intarsia.shapes import Labels, Logits

SMALLEST = 12  # pixels of a piece that gets a channel


def regroup(logits: Logits, across: bool, smallest: int = SMALLEST, several_backgrounds: bool = False) -> Labels:
    """Labels that give every connected piece of an image a channel of its own, as far as there are channels.

    The largest segment of each image becomes its background, segment 0. The rest falls into connected pieces
    (4-neighbourhood). The largest pieces are assigned one-to-one to the other channels, so that the segmenter's own mean
    log-probability is greatest (Hungarian algorithm). Pieces beyond the number of channels go to the channel they prefer.
    Pieces of fewer than `smallest` pixels join the background.

    Args:
        logits: `b k h w`, without gradient.
        across: Pieces cross the borders between segments: a patchy object is one piece, but so are objects that touch.
            Otherwise they end at the borders.
        smallest: Pixels.
        several_backgrounds: The background has several parts, such as sky and floor. The largest segment falls into pieces
            as well then, all pieces compete for all channels, and small ones stay in their segment.

    Returns:
        `b h w` in 0..k-1.
    """
    scores = logits.log_softmax(1).float().cpu().numpy()
    segments = scores.argmax(1)
    proposals, first = (segments.copy(), 0) if several_backgrounds else (np.zeros_like(segments), 1)
    for score, labels, proposal in zip(scores, segments, proposals, strict=True):
        pieces, count = _pieces(labels, across, several_backgrounds)
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


def _pieces(segments: np.ndarray, across: bool, every: bool) -> tuple[np.ndarray, int]:
    """Connected pieces `h w`, numbered from 1, of all but the largest segment or of every segment; and their number."""
    present = np.bincount(segments.ravel())
    largest = int(present.argmax())
    if across:
        return ndimage.label(segments != largest)
    pieces, count = np.zeros_like(segments), 0
    for segment in np.flatnonzero(present):
        if every or segment != largest:
            labels, found = ndimage.label(segments == segment)
            pieces += np.where(labels > 0, labels + count, 0)
            count += found
    return pieces, count
