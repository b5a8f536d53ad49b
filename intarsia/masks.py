"""Edge maps, and masks prepared for the VAEs: image processing without weights.

The inpainter sees the edges of the complete image, also inside the hidden segment. So it knows where things are, but not what
they look like. Edges are binary and carry no gradient.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.functional import pad

from intarsia.shapes import Edges, Images, Maps, Masks, one_hot

SIGNED_SCALE = 15.0  # the original's divisor of the summed gradient
FINEST = 4  # samples in a row that become one pixel of a smaller map, at most
ALMOST = 1e-6  # a scale of 1 with a rounding error makes nothing smaller
NEAR = 2  # px around a border pixel, in which the colours of both sides are taken
ALIKE = 0.05  # distance of two colours, each in [0, 1]: what is closer can't be told apart in a mixture
TINY = 1e-6  # keeps divisors from being 0
ROUNDING = 1e-5  # gradients up to this are rounding errors; one step of an 8-bit image is 4e-3


def edge_map(images: Images, threshold: float) -> Edges:
    """The edge map of images, where an edge is a strong change compared with the rest of the same image.

    The absolute Sobel response is summed over colours. An edge is where it is strictly above a fraction of its maximum over the
    image, for each direction separately. So the contrast and brightness of the image do not matter. (The original also
    subtracts the minimum. With mirrored borders that is always 0.)

    Args:
        images: `b 3 h w`, any range; at least 2 by 2 pixels.
        threshold: in [0, 1), the fraction.

    Returns:
        `b 2 h w`, float32, 0 or 1: changes from row to row (dy), then from column to column (dx). A direction without changes
        has no edges; a constant image has none.
    """
    strength = _sobel(images).abs().sum(2)
    strongest = strength.amax((2, 3), keepdim=True)
    return (strength > (threshold * strongest).clamp(min=ROUNDING)).float()


def signed_edge_map(images: Images, threshold: float = 0.04) -> Edges:
    """The edge map of images, where an edge is a change above a fixed amount: the original's rule for photographs.

    The *signed* Sobel response is summed over colours, so that opposite changes of two colours cancel each other. (This quirk
    of the original is kept because its published numbers depend on it.) The absolute sum is divided by 15 and compared with
    the threshold. So the contrast of the image matters, and its brightness does not.

    Args:
        images: `b 3 h w`, range [0, 1]; at least 2 by 2 pixels.
        threshold: in fifteenths of the summed response; the largest possible response, 12, is 0.8.

    Returns:
        `b 2 h w`, float32, 0 or 1: dy, then dx. A constant image has no edges.
    """
    return (_sobel(images).sum(2).abs() / SIGNED_SCALE > threshold).float()


def open_masks(masks: Masks) -> Masks:
    """Masks after 3x3 erosion and then 3x3 dilation of each channel, which removes what is narrower than 3 pixels.

    As in the original. The result is nowhere larger than the masks, so it no longer sums to 1. The border of the image neither
    erodes nor dilates.
    """
    return F.max_pool2d(-F.max_pool2d(-masks, 3, 1, 1), 3, 1, 1)


def mattes(masks: Masks, images: Images) -> Masks:
    """Masks `b n+1 h w`, the background last, in which objects have the soft borders of the image.

    Each pixel has the segment whose mask is largest. The core of a segment is what is not next to another one. A pixel of an
    object, outside of its core, may mix two colours: F, the mean colour of its own core within 5x5 pixels around it, and B,
    that of the core of another segment, the one with the most core there. If it has the colour c, it belongs to the object by
    the fraction (c - B)·(F - B) / |F - B|², clipped to [0, 1], and to the other segment by the rest. It stays as it is where
    either has no core nearby, or F and B are alike. Pixels of the background stay: shading and shadows would pass for mixtures.
    """
    k = masks.shape[1]
    own = one_hot(masks.argmax(1), k)
    core = -F.max_pool2d(-own, 3, 1, 1)
    window = (2 * NEAR + 1, 1, NEAR)
    amount = F.avg_pool2d(core, *window)
    colours = F.avg_pool2d((core[:, :, None] * images[:, None]).flatten(1, 2), *window).unflatten(1, (k, 3))
    other = one_hot((amount * (1 - own)).argmax(1), k)
    sides = torch.stack([own, other])
    amounts = (sides * amount).sum(2)
    front, back = (sides[:, :, :, None] * colours).sum(2) / amounts[:, :, None].clamp(min=TINY)
    distance = (front - back).square().sum(1)
    fraction = ((images - back) * (front - back)).sum(1) / distance.clamp(min=TINY)
    border = (own - core)[:, :-1].sum(1) > 0
    mixed = border & (amounts.amin(0) > TINY) & (distance > ALIKE**2)
    fraction = torch.where(mixed, fraction.clamp(0, 1), 1)[:, None]
    return fraction * own + (1 - fraction) * other


def weight_objects(masks: Masks, weight: float, backgrounds: int = 1) -> Masks:
    """Masks `b k h w` that sum to 1, in which objects count `weight` times as much against the background as before.

    The background is the `backgrounds` segments with the largest sums; the lowest ones of equals.
    """
    ranks = background_last_order(masks, backgrounds=backgrounds).argsort(1)
    is_object = ranks < masks.shape[1] - backgrounds
    weighted = masks * torch.where(is_object, weight, 1.0)[:, :, None, None]
    return weighted / weighted.sum(1, keepdim=True)


def background_last(masks: Masks, per_batch: bool = False, backgrounds: int = 1) -> Maps:
    """Masks `b k h w` as those of n = k - backgrounds objects, in the order they had, and then of the background: `b n+1 h w`.

    The background is the sum of the `backgrounds` channels with the largest sums over the pixels of their image; the lowest
    ones of equals. The original sums over all images of the batch (`per_batch`). Then all images have the same background
    channel, and the result for an image depends on the others (docs/notes/004-vaes.md). With several backgrounds it takes only
    one of the largest channels, and the last channels beside it.
    """
    ordered = reorder_channels(masks, background_last_order(masks, per_batch, backgrounds))
    return torch.cat([ordered[:, :-backgrounds], ordered[:, -backgrounds:].sum(1, keepdim=True)], 1)


def background_last_order(masks: Masks, per_batch: bool = False, backgrounds: int = 1) -> Tensor:
    """The channels in the order of `background_last`, as indices `b k`; their argsort restores the order before."""
    channels = torch.arange(masks.shape[1], device=masks.device)
    sums = masks.sum((2, 3))
    if per_batch:
        sums, backgrounds = sums.sum(0, keepdim=True).expand_as(sums), 1
    rank = sums.argsort(dim=1, descending=True, stable=True).argsort(1)
    return torch.where(rank < backgrounds, 2 * len(channels) - rank, channels).argsort(1)


def partition(masks: Masks) -> Masks:
    """Ordered masks that sum to 1: the pixels that morphological opening removed go to the background, the last mask."""
    objects = masks[:, :-1]
    return torch.cat([objects, 1 - objects.sum(1, keepdim=True)], 1)


def reorder_channels(masks: Masks, order: Tensor) -> Masks:
    """Masks with each image's channels in the order of its indices `b k`."""
    return masks.gather(1, order[:, :, None, None].expand_as(masks))


def translate(masks: Masks, right: Tensor, down: Tensor) -> Masks:
    """Masks `b k h w`, each moved by its own number of pixels, `b k`, rounded; 0 is filled in at the borders.

    The original moves the masks that its shape VAE learns from in this way, in the experiment with pairs.
    """
    for offsets, axis in ((down, 2), (right, 3)):
        size = masks.shape[axis]
        places = torch.arange(size, device=masks.device) + torch.round(-offsets).long()[:, :, None]
        inside, places = (places >= 0) & (places < size), places.clamp(0, size - 1)
        shape = (*places.shape[:2], size, 1) if axis == 2 else (*places.shape[:2], 1, size)
        masks = masks.gather(axis, places.view(shape).expand_as(masks)) * inside.view(shape)
    return masks


def resample(maps: Tensor, transform: Tensor, beyond: Literal["zeros", "border"] = "zeros") -> Tensor:
    """Maps `c h w` in [0, 1], scaled and moved by a transform `3` (`Scene.transform`); the same ones if it is none.

    Pixels are interpolated cubically, so a distance of whole pixels copies them. If the maps shrink, each pixel is the mean of
    several. `beyond` says what is outside of the maps: 0, or the nearest pixel.
    """
    scale, right, down = transform.tolist()
    if (scale, right, down) == (1, 0, 0):
        return maps
    height, width = maps.shape[1:]
    finer = min(math.ceil(1 / scale - ALMOST), FINEST)
    # The place that each pixel is sampled at, then in grid_sample's units: -1 and 1 are the outer edges of the maps.
    places = [
        (((torch.arange(size * finer, dtype=torch.double) + 0.5) / finer - 0.5 - distance) / scale * 2 + 1) / size - 1
        for size, distance in ((height, down), (width, right))
    ]
    rows, columns = torch.meshgrid(*places, indexing="ij")
    grid = torch.stack([columns, rows], -1).to(maps)[None]
    sampled = F.grid_sample(maps[None], grid, mode="bicubic", padding_mode=beyond, align_corners=False)
    return F.avg_pool2d(sampled, finer)[0].clamp(0, 1)


def visible_shapes(shapes: Tensor) -> Tensor:
    """The visible parts of shapes `... n h w` in [0, 1] that lie over one another, the first one in front.

    Each shape takes what those before it leave. So the sum over n is at most 1, and shapes whose sum is at most 1 do not
    change, bit by bit.
    """
    before = pad(shapes.cumsum(-3)[..., :-1, :, :], (0, 0, 0, 0, 1, 0))
    return torch.minimum(shapes, (1 - before).clamp(min=0))


def normalise_contrast(images: Images) -> Images:
    """Images with each colour stretched to [0, 1], separately for each image; a constant colour becomes 0.

    The original's VAEs learn such images of its photographic scenes.
    """
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low), 0)


def downsample(maps: Tensor, factor: int) -> Tensor:
    """Every `factor`-th row and column of maps `... h w`, from the first one on, as the original downsamples."""
    return maps[..., ::factor, ::factor]


def upsample(maps: Tensor, factor: int) -> Tensor:
    """Maps `... h w` with every pixel repeated `factor` times in each direction; `downsample` reverses it."""
    return maps.repeat_interleave(factor, -2).repeat_interleave(factor, -1) if factor > 1 else maps


def _sobel(images: Images) -> Tensor:
    """The Sobel response `b 2 3 h w` (dy, dx) of each colour, unscaled, with mirrored borders.

    Sums in the order of the kernel, instead of a convolution: autocast and TF32 can't make them less precise, and they round
    as the original does. In 8-bit images many pixels are exactly *on* a threshold, and rounding decides.
    """
    height, width = images.shape[2:]
    mirrored = pad(images, (1, 1, 1, 1), mode="reflect")
    nw, n, ne, w, _, e, sw, s, se = (mirrored[..., i : i + height, j : j + width] for i in range(3) for j in range(3))
    dy = -nw - 2 * n - ne + sw + 2 * s + se
    dx = -nw + ne - 2 * w + 2 * e - sw + se
    return torch.stack((dy, dx), dim=1)
