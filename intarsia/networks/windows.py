"""A shape VAE with a square window that follows the object, so that a shape's outline and its place have separate numbers.

The first three numbers of a code are the window's *pose*: the object's distance from the image's centre to the right and down,
in quarters of the image's longer side, and the logarithm of its size. They are measured on the mask. The other numbers describe
the content of the window, where all objects are centred and have one size. The original's shape VAE has no window
(docs/notes/004-vaes.md).

References:
    Eslami et al., Attend, Infer, Repeat: Fast Scene Understanding with Generative Models, NeurIPS 2016: codes of where an
    object is beside codes of what it is.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.networks.vae import VAE
from intarsia.shapes import Maps, Vectors

POSE = 3  # numbers of a pose
QUARTER = 1 / 4  # unit of places, in longer sides of the image
USUAL = 1 / 12  # spread of an object whose size has the number 0, in longer sides of the image
GROWTH = 0.5  # change of the logarithm of the spread when the number of the size grows by 1
REACH = 3.0  # from a window's centre to its sides, in spreads: an ellipse of any proportions fits
CERTAIN = 6.0  # is subtracted from the log variances of a pose: at first, places are known to a twentieth of their unit
OUTSIDE = -8.0  # logits outside of the window


class WindowVAE(VAE):
    """A VAE of masks, each seen and drawn through its own window.

    Args:
        height: Height of the masks in pixels.
        width: Width of the masks in pixels.
        side: Of the window's picture in pixels, a multiple of 16.
        dimension: Length of a code, including the pose.
        channels: As in `VAE`.
        hidden: As in `VAE`.
    """

    def __init__(self, height: int, width: int, side: int, dimension: int, channels: int = 32, hidden: int = 256) -> None:
        super().__init__(side, side, 1, dimension, channels, hidden)
        self.height, self.width, self.side = height, width, side

    def encode(self, x: Maps) -> tuple[Vectors, Vectors]:
        """Masks `b 1 h w` to mean and log variance of the codes, `b d` each, in float32."""
        read = poses(x)
        mean, log_variance = self.encoder(cut_out(x, read, self.side))
        rest = (0, mean.shape[1] - POSE)
        return mean + F.pad(read, rest), log_variance - F.pad(torch.full_like(read, CERTAIN), rest)

    def decode(self, codes: Vectors) -> Maps:
        """Codes `b d` to logits `b 1 h w`, in float32; the content of the window does not depend on the pose."""
        shown = self.decoder(F.pad(codes[:, POSE:], (POSE, 0)))
        return put_back(shown, codes[:, :POSE], self.height, self.width)


def poses(masks: Maps) -> Vectors:
    """The poses `b 3` of the objects of masks `b 1 h w`; 0 for a mask of less than one pixel.

    An object's place is its centre of mass. Its size is its spread: the standard deviation of its pixels' places along an axis,
    from the mean of both axes' variances. Masks are squared first, so that faint pixels count little.
    """
    height, width = masks.shape[2:]
    mass = masks[:, 0].float().square()
    total = mass.sum((1, 2))
    across, down = (torch.arange(size, device=mass.device) + 0.5 - size / 2 for size in (width, height))
    columns, rows = mass.sum(1) / total.clamp(min=1)[:, None], mass.sum(2) / total.clamp(min=1)[:, None]
    x, y = (columns * across).sum(1), (rows * down).sum(1)
    variance = ((columns * across.square()).sum(1) - x.square() + (rows * down.square()).sum(1) - y.square()) / 2
    spread = (variance.clamp(min=0) + 1 / 12).sqrt()  # the variance of a single pixel, which is a square
    side = max(height, width)
    found = torch.stack([x / (QUARTER * side), y / (QUARTER * side), (spread / (USUAL * side)).log() / GROWTH], 1)
    return found * (total >= 1)[:, None]


def cut_out(masks: Maps, poses: Vectors, side: int) -> Tensor:
    """The content `b 1 side side` of windows with poses `b 3` on masks `b 1 h w`; 0 outside of the image."""
    height, width = masks.shape[2:]
    x, y, reach = _window(poses, height, width)
    columns = (x + reach * _places(side, masks.device)) / (width / 2)
    rows = (y + reach * _places(side, masks.device)) / (height / 2)
    return _sampled(masks.float(), columns, rows)


def put_back(logits: Maps, poses: Vectors, height: int, width: int) -> Tensor:
    """Logits `b 1 h w` of the image, given the logits `b 1 side side` of windows with poses `b 3`."""
    x, y, reach = _window(poses, height, width)
    columns = (_places(width, logits.device) * (width / 2) - x) / reach
    rows = (_places(height, logits.device) * (height / 2) - y) / reach
    return _sampled(logits - OUTSIDE, columns, rows) + OUTSIDE


def _window(poses: Vectors, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The windows' distances from the image's centre, to the right and down, and half their sides: `b 1` each, in pixels."""
    side = max(height, width)
    x, y, size = poses.float().split(1, 1)
    return QUARTER * side * x, QUARTER * side * y, (REACH * USUAL * side * (GROWTH * size).exp()).clamp(1, side)


def _places(size: int, device: torch.device) -> Tensor:
    """The centres of the pixels along an axis whose ends are -1 and 1."""
    return (2 * torch.arange(size, device=device) + 1) / size - 1


def _sampled(maps: Maps, columns: Tensor, rows: Tensor) -> Tensor:
    """Maps `b c h' w'`, sampled bilinearly at columns `b w'` and rows `b h'` of maps whose ends are -1 and 1."""
    shape = (maps.shape[0], rows.shape[1], columns.shape[1])
    grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], 3)
    return F.grid_sample(maps, grid, align_corners=False)
