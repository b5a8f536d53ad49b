"""Metrics of segments, of rendered images, of codes, and of the locality of changes, as functions of tensors."""

from intarsia.metrics.images import psnr, ssim
from intarsia.metrics.segments import (
    SOFT_THRESHOLD,
    adjusted_rand_index,
    best_overlap_iou,
    hard,
    hungarian_iou,
    identity_switching,
    matching,
    mean_best_overlap,
    shape_iou,
)

__all__ = [
    "SOFT_THRESHOLD", "adjusted_rand_index", "best_overlap_iou", "hard", "hungarian_iou", "identity_switching", "matching",
    "mean_best_overlap", "psnr", "shape_iou", "ssim",
]  # fmt: skip
