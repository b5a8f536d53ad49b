"""Metrics of rendered images: one number per image, float64, on the input's device. Larger is better."""

import torch
import torch.nn.functional as F

from intarsia.shapes import Images, PerImage

SSIM_SIGMA = 1.5  # px


def psnr(images: Images, rendered: Images) -> PerImage:
    """Peak signal-to-noise ratio of rendered images: `b`, in dB, -10 log10 of the mean squared error; inf for equal images."""
    return -10 * (images.double() - rendered.double()).square().mean((1, 2, 3)).log10()


def ssim(images: Images, rendered: Images) -> PerImage:
    """Structural similarity of rendered images: `b`, at most 1; both `b 3 h w` in [0, 1], h and w at least 6 px.

    The mean over the colours and over a Gaussian window around every pixel, of 1.5 px and cut off at 11 by 11 px; borders are
    mirrored.

    References:
        Wang, Bovik, Sheikh and Simoncelli, Image Quality Assessment: From Error Visibility to Structural Similarity, 2004.
    """
    x, y = (F.pad(part.double(), (5, 5, 5, 5), mode="reflect").flatten(0, 1) for part in (images, rendered))
    window = torch.exp(-torch.arange(-5, 6, dtype=x.dtype, device=x.device).square() / (2 * SSIM_SIGMA**2))
    window /= window.sum()
    moments = torch.cat([x, y, x * x, y * y, x * y])[:, None]
    local = F.conv2d(F.conv2d(moments, window[None, None, :, None]), window[None, None, None])
    mean_x, mean_y, xx, yy, xy = local.unflatten(0, (5, len(images), 3))[:, :, :, 0]
    light, contrast = 0.01**2, 0.03**2
    similar = (2 * mean_x * mean_y + light) * (2 * (xy - mean_x * mean_y) + contrast)
    most = (mean_x.square() + mean_y.square() + light) * (xx - mean_x.square() + yy - mean_y.square() + contrast)
    return (similar / most).mean((1, 2, 3))
