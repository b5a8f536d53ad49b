"""Metrics of segments, of rendered images, of codes, and of the locality of changes, as functions of tensors."""

from intarsia.metrics.images import mean_squared_error, psnr, ssim
from intarsia.metrics.segments import (
    SOFT_THRESHOLD,
    adjusted_rand_index,
    best_overlap_iou,
    hard,
    hungarian_iou,
    identity_switching,
    known_pixels,
    matching,
    mean_best_overlap,
    shape_iou,
    true_labels,
)

__all__ = [
    "SOFT_THRESHOLD", "adjusted_rand_index", "best_overlap_iou", "hard", "hungarian_iou", "identity_switching", "known_pixels",
    "matching", "mean_best_overlap", "mean_squared_error", "psnr", "shape_iou", "ssim", "true_labels",
]  # fmt: skip
