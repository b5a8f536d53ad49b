"""A shape VAE that looks through a square window, which follows the object: every shape is told and drawn where it is.

The first three numbers of a code are the window's *pose*: how far to the right of the image's middle and below it the object
lies, in quarters of the image's longer side, and the logarithm of its size. They are read off the mask, from its centre and
spread. The other numbers tell what is seen in the window, in which all objects are in the middle and of one size. Departs from
the original, whose shape VAE sees and draws the whole image (docs/notes/004-vaes.md).

References:
    Eslami et al., Attend, Infer, Repeat: Fast Scene Understanding with Generative Models, NeurIPS 2016: codes of where an
    object is beside codes of what it is.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.networks.vae import VAE
from intarsia.shapes import Maps, Vectors

POSE = 3  # numbers
QUARTER = 1 / 4  # of the image's longer side: the unit of places
USUAL, GROWTH = 1 / 12, 0.5  # the spread, in longer sides, that is 0, and by how much a number of 1 changes its logarithm
REACH = 3.0  # from a window's middle to its sides, in spreads: an ellipse of any proportions fits
CERTAIN = 6.0  # what log variances of a pose start lower by: places are known to a twentieth of their unit
OUTSIDE = -8.0  # logits beyond the window


class WindowVAE(VAE):
    """A VAE of masks with a window of its own.

    Args:
        height, width: Of the masks, in pixels.
        side: Of the window's picture, in pixels: a multiple of 16.
        dimension: Length of a code, the pose included.
        channels, hidden: As in `VAE`.
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
        """Codes `b d` to logits `b 1 h w`, in float32; what the window shows does not depend on the pose."""
        shown = self.decoder(F.pad(codes[:, POSE:], (POSE, 0)))
        return put_back(shown, codes[:, :POSE], self.height, self.width)


def poses(masks: Maps) -> Vectors:
    """Where the objects of masks `b 1 h w` lie, and how large they are: `b 3`; 0 where there is less than a pixel of one.

    A place is the centre of mass, the spread the standard deviation of places along an axis, by the mean of both variances.
    Masks count squared, which leaves faint pixels out.
    """
    height, width = masks.shape[2:]
    mass = masks[:, 0].float().square()
    total = mass.sum((1, 2))
    across, down = (torch.arange(size, device=mass.device) + 0.5 - size / 2 for size in (width, height))
    columns, rows = mass.sum(1) / total.clamp(min=1)[:, None], mass.sum(2) / total.clamp(min=1)[:, None]
    x, y = (columns * across).sum(1), (rows * down).sum(1)
    variance = ((columns * across.square()).sum(1) - x.square() + (rows * down.square()).sum(1) - y.square()) / 2
    spread = (variance.clamp(min=0) + 1 / 12).sqrt()  # a pixel alone is a square
    side = max(height, width)
    found = torch.stack([x / (QUARTER * side), y / (QUARTER * side), (spread / (USUAL * side)).log() / GROWTH], 1)
    return found * (total >= 1)[:, None]


def cut_out(masks: Maps, poses: Vectors, side: int) -> Tensor:
    """What windows with these poses, `b 3`, show of masks `b 1 h w`: `b 1 side side`; what lies outside the image is empty."""
    height, width = masks.shape[2:]
    x, y, reach = _window(poses, height, width)
    columns = (x + reach * _places(side, masks.device)) / (width / 2)
    rows = (y + reach * _places(side, masks.device)) / (height / 2)
    return _sampled(masks.float(), columns, rows)


def put_back(logits: Maps, poses: Vectors, height: int, width: int) -> Tensor:
    """Logits `b 1 side side` of what such windows show, in the whole image: `b 1 h w`."""
    x, y, reach = _window(poses, height, width)
    columns = (_places(width, logits.device) * (width / 2) - x) / reach
    rows = (_places(height, logits.device) * (height / 2) - y) / reach
    return _sampled(logits - OUTSIDE, columns, rows) + OUTSIDE


def _window(poses: Vectors, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where windows have their middle, from the image's, and how far they reach from there: `b 1` each, in pixels."""
    side = max(height, width)
    x, y, size = poses.float().split(1, 1)
    return QUARTER * side * x, QUARTER * side * y, (REACH * USUAL * side * (GROWTH * size).exp()).clamp(1, side)


def _places(size: int, device: torch.device) -> Tensor:
    """Where the pixels along an axis have their centres; its ends are -1 and 1."""
    return (2 * torch.arange(size, device=device) + 1) / size - 1


def _sampled(maps: Maps, columns: Tensor, rows: Tensor) -> Tensor:
    """Maps at each of these columns `b w'` and rows `b h'`, whose ends are -1 and 1: `b c h' w'`; between pixels bilinearly."""
    shape = (len(maps), rows.shape[1], columns.shape[1])
    grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], 3)
    return F.grid_sample(maps, grid, align_corners=False)
