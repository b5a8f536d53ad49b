"""Cutouts: an object's own pixels and how much each of them is the object's, without what shines through at its border.

A mask is right about where an object is, and less so about its border, by a pixel or two. There the colours decide. A pixel
between surely inside and surely outside is a mixture of a colour of the object and a colour of its surroundings; the *opacity*
is the object's part of it. Of all colours inside, and of two outside, those that explain the pixel best are taken. Where both
are too much alike, the mask decides. The colour of a border pixel becomes the object's part of the mixture. So an object takes
nothing of its old surroundings along.

References:
    Porter and Duff, Compositing digital images, SIGGRAPH 1984.
    Wang and Cohen, Optimized color sampling for robust matting, CVPR 2007.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

INSIDE = 0.5  # a mask above this is the object's
FAINT = 0.1  # a mask below this is not
BAND = 3  # px outside of the mask that may still be the object's
SAMPLES = 256  # colours inside that are tried, at most
WINDOW = 9  # px, side of the surroundings of a pixel in which colours outside are sought
SPREAD = 1.5  # px, standard deviation of the neighbourhood that a mean colour is taken of
FAR = 12.0  # px, the same where there is nothing nearer
RARE = 0.005  # cost, as a fraction of the contrast, of a single pixel's colour outside against the mean there
VARIED = 4.0  # weight of the variance of the colours outside against the squared difference: a varied place may look like any
DISTINCT = 0.01  # squared difference of two colours that is worth as much as the mask


def cut_out(image: Tensor, mask: Tensor, others: Tensor) -> Tensor:
    """The cut-out `4 h w` of an object: its colours, extended beyond it, and its opacity, all in [0, 1].

    Args:
        image: `3 h w` in [0, 1].
        mask: `h w` in [0, 1].
        others: `h w` in [0, 1], the sum of the other objects' masks. What is theirs is outside.
    """
    inside = -F.max_pool2d(-(mask > INSIDE).float()[None], 3, 1, 1)[0]  # the border of the image does not erode
    if not inside.any():
        inside = (mask > INSIDE).float()
    outside = torch.maximum(1 - widened(mask, BAND), (others > INSIDE).float())
    band = (inside == 0) & (outside == 0)
    colours, opacity = _near(image, inside)[0], inside.clone()
    if inside.any() and band.any():
        own = image[:, inside > 0].T
        opacity[band], colours[:, band] = _unmixed(image, mask, band, outside, own[:: len(own) // SAMPLES + 1])
    return torch.cat([torch.where(inside > 0, image, colours), opacity[None]])


def widened(mask: Tensor, pixels: int) -> Tensor:
    """Where a mask `... h w` is more than faint, and `pixels` around: 0 or 1."""
    return F.max_pool2d((mask.reshape(-1, 1, *mask.shape[-2:]) > FAINT).float(), 2 * pixels + 1, 1, pixels).view_as(mask)


def _unmixed(image: Tensor, mask: Tensor, band: Tensor, outside: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """The opacity `p` and the object's colour `3 p` of the pixels of a band; `own` are colours of the object, `s 3`."""
    pixels = image[:, band].T
    mean, variance = (each[..., band] for each in _near(image, outside))
    tried = [_mixture(pixels, own, other) for other in (mean.T, _likest(image, outside, band))]
    cost, part, contrast, other = (torch.stack(each) for each in zip(*tried, strict=True))
    best = (cost + cost.new_tensor([[0.0], [RARE]])).argmin(0, keepdim=True)
    part, contrast = (each.gather(0, best)[0] for each in (part, contrast))
    other = other.gather(0, best[..., None].expand(-1, -1, 3))[0]
    opacity = torch.lerp(mask[band], part, contrast / (contrast + DISTINCT + VARIED * variance))
    shown = opacity[:, None]
    colours = torch.where(shown > FAINT, (pixels - (1 - shown) * other) / shown.clamp(min=FAINT), own.mean(0))
    return opacity, colours.T.clamp(0, 1)


def _mixture(pixels: Tensor, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best explanation of pixels `p 3` by one of the own colours `s 3` and their own other colour `p 3`.

    Its cost, the part of the own colour, the squared difference of both colours, `p` each; and the other colours.
    """
    line, away = own - other[:, None], pixels - other
    squares = line.square().sum(-1)
    part = ((line * away[:, None]).sum(-1) / squares.clamp(min=1e-6)).clamp(0, 1)
    cost = (away[:, None] - part[..., None] * line).square().sum(-1) / (squares + DISTINCT)
    cost, best = cost.min(1, keepdim=True)
    return cost[:, 0], part.gather(1, best)[:, 0], squares.gather(1, best)[:, 0], other


def _likest(image: Tensor, weight: Tensor, band: Tensor) -> Tensor:
    """Of the weighted pixels around each pixel of a band, the colour `p 3` that is most like it; grey if there are none."""
    padded = F.pad(torch.cat([image, weight[None]]), [WINDOW // 2] * 4)
    around = F.unfold(padded[None], WINDOW)[0].view(4, WINDOW**2, -1)[:, :, band.flatten()]
    distance = (around[:3] - image[:, None, band]).square().sum(0) + 10 * (1 - around[3])
    return around[:3].gather(1, distance.argmin(0).expand(3, 1, -1))[:, 0].T


def _near(image: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The mean colour `3 h w` and the summed variance `h w` of the weighted pixels near each pixel; of all if none is near."""
    given = torch.cat([image * weight, image.square().sum(0, keepdim=True) * weight, weight[None]])
    sums = _blurred(given, SPREAD) + 1e-4 * _blurred(given, FAR) + 1e-9 * given.mean((1, 2), keepdim=True)
    means = sums[:4] / sums[4].clamp(min=1e-20)
    return means[:3].clamp(0, 1), (means[3] - means[:3].square().sum(0)).clamp(min=0)


def _blurred(maps: Tensor, spread: float) -> Tensor:
    """Maps `c h w` blurred by a Gaussian; 0 beyond the border."""
    reach = round(3 * spread)
    places = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-places.square() / (2 * spread**2))
    kernel = kernel / kernel.sum()
    down = F.conv2d(maps[:, None], kernel[None, None, :, None], padding=(reach, 0))
    return F.conv2d(down, kernel[None, None, None, :], padding=(0, reach))[:, 0]
