"""Metrics of rendered images: one number per image, float64, on the input's device.

Only `known` pixels count, `b h w`, 1 or 0; all of them if it is None.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.shapes import Images, PerImage, Regions

SSIM_SIGMA = 1.5  # px


def mean_squared_error(images: Images, rendered: Images, known: Regions | None = None) -> PerImage:
    """Mean squared error of rendered images: `b`, at least 0, smaller is better."""
    return _mean((images.double() - rendered.double()).square(), known)


def psnr(images: Images, rendered: Images, known: Regions | None = None) -> PerImage:
    """Peak signal-to-noise ratio of rendered images: `b`, in dB, -10 log10 of the mean squared error; inf for equal images."""
    return -10 * mean_squared_error(images, rendered, known).log10()


def ssim(images: Images, rendered: Images, known: Regions | None = None) -> PerImage:
    """Structural similarity of rendered images: `b`, at most 1; both `b 3 h w` in [0, 1], h and w at least 6 px.

    The mean over the colours and over a Gaussian window around every pixel, of 1.5 px and cut off at 11 by 11 px; borders are
    mirrored. Within a window, too, only known pixels count.

    References:
        Wang, Bovik, Sheikh and Simoncelli, Image Quality Assessment: From Error Visibility to Structural Similarity, 2004.
    """
    weights = torch.ones_like(images[:, :1]) if known is None else known[:, None]
    weights = weights.expand_as(images)
    w, x, y = (F.pad(part.double(), (5, 5, 5, 5), mode="reflect").flatten(0, 1) for part in (weights, images, rendered))
    window = torch.exp(-torch.arange(-5, 6, dtype=x.dtype, device=x.device).square() / (2 * SSIM_SIGMA**2))
    window /= window.sum()
    moments = torch.cat([w, w * x, w * y, w * x * x, w * y * y, w * x * y])[:, None]
    local = F.conv2d(F.conv2d(moments, window[None, None, :, None]), window[None, None, None])
    weight, *sums = local.unflatten(0, (6, len(images), 3))[:, :, :, 0]
    mean_x, mean_y, xx, yy, xy = (each / weight.where(weight > 0, 1) for each in sums)
    light, contrast = 0.01**2, 0.03**2
    similar = (2 * mean_x * mean_y + light) * (2 * (xy - mean_x * mean_y) + contrast)
    most = (mean_x.square() + mean_y.square() + light) * (xx - mean_x.square() + yy - mean_y.square() + contrast)
    return _mean(similar / most, known)


def _mean(values: Tensor, known: Regions | None) -> PerImage:
    """The mean of values `b c h w` over the colours and the known pixels."""
    if known is None:
        return values.mean((1, 2, 3))
    return (values * known[:, None]).sum((1, 2, 3)) / (values.shape[1] * known.double().sum((1, 2)))
