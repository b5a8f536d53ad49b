"""Content: what the inpainter guesses of an image. The pixels themselves, or a few slow statistics on coarser grids.

A pixel of a photograph can't be guessed even from everything around it: texture is noise. Statistics of small cells can, since
the noise is averaged away. They are projected on *maximum autocorrelation factors*: the directions whose values some cells
apart agree most. These are what a thing shares with the rest of itself (docs/notes/008-content.md).

References:
    Switzer and Green, Min/max autocorrelation factors for multivariate spatial imagery, Stanford University, 1984.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.shapes import Images, Maps

__all__ = ["Content", "Kind", "factors"]

Kind = Literal["pixels", "means", "chromaticity", "statistics", "features"]
CHANNELS = {"pixels": 3, "means": 3, "chromaticity": 2, "statistics": 12}  # of what is measured, before the factors
NEIGHBOURS = 8  # px between the cells that are compared, at least
FEWEST_CELLS = 4  # between them
RIDGE = 1e-3  # of the variance of a channel: leaves out directions that hardly vary
DARK, DARK_OF_STATISTICS = 0.03, 0.15  # sums of the colours: keep the chromaticity of dark pixels steady
FAINT = 0.02  # of deviations and gradients: below it their logarithm says little


class Content(nn.Module):
    """The content of images: one map for each stride, of unit variance. It is fitted once, and then stays as it is.

    Args:
        kind: `pixels` are the image itself; `means` are mean colours; `chromaticity` is colour without brightness;
            `statistics` are colours, chromaticity, deviations and gradients; `features` are maps of a backbone.
        strides: Of each map, in pixels, the finest first. A cell is as large as its stride.
        counts: How many factors each map keeps; at most as many as are measured.
        channels: Of the backbone's maps, for `features`.
    """

    def __init__(
        self, kind: Kind = "pixels", strides: Sequence[int] = (1,), counts: Sequence[int] = (3,), channels: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.kind, self.strides = kind, tuple(strides)
        measured = channels if kind == "features" else [CHANNELS[kind]] * len(self.strides)
        self.counts = tuple(min(pair) for pair in zip(counts, measured, strict=True))
        for level, (count, width) in enumerate(zip(self.counts, measured, strict=True)):
            if kind != "pixels":
                self.register_buffer(f"mean{level}", torch.zeros(width))
                self.register_buffer(f"basis{level}", torch.eye(width)[:, :count].clone())

    def forward(self, images: Images, features: Sequence[Tensor] = ()) -> list[Tensor]:
        """Maps `b count h/stride w/stride` of images `b 3 h w` in [0, 1], and of their backbone's maps for `features`."""
        if self.kind == "pixels":
            return [images]
        return [
            ((maps.float().permute(0, 2, 3, 1) - self.get_buffer(f"mean{level}")) @ self.get_buffer(f"basis{level}"))
            .permute(0, 3, 1, 2)
            for level, maps in enumerate(self._measured(images, features))
        ]  # fmt: skip

    @property
    def is_fitted(self) -> bool:
        """Whether there are factors: always for pixels, else once they were computed or loaded."""
        return self.kind == "pixels" or bool(self.get_buffer("mean0").any())

    @torch.no_grad()
    def fit(self, images: Images, features: Sequence[Tensor] = ()) -> None:
        """Compute means and factors from some hundred images; on the CPU, so that they are the same on every device."""
        for level, maps in enumerate([] if self.kind == "pixels" else self._measured(images, features)):
            distance = max(NEIGHBOURS // self.strides[level], FEWEST_CELLS)
            mean, basis = factors(maps.cpu().double(), min(distance, min(maps.shape[2:]) // 2), self.counts[level])
            self.get_buffer(f"mean{level}").copy_(mean)
            self.get_buffer(f"basis{level}").copy_(basis)

    def _measured(self, images: Images, features: Sequence[Tensor]) -> list[Tensor]:
        if self.kind == "features":
            return list(features[: len(self.strides)])
        return [_statistics(images, stride, self.kind) for stride in self.strides]


def factors(maps: Maps, distance: int, count: int) -> tuple[Tensor, Tensor]:
    """The mean `c` and the first `count` maximum autocorrelation factors `c count` of maps `b c h w`, `distance` cells apart.

    The factors solve a generalised eigenproblem: of the covariance of cells that are so far apart, against the covariance. The
    projections have unit variance and are uncorrelated; the first ones change most slowly across an image. A factor's largest
    weight is positive.
    """
    cells = maps.permute(0, 2, 3, 1)
    mean = cells.mean((0, 1, 2))
    scale = cells.std((0, 1, 2)).clamp(min=1e-6)
    cells = (cells - mean) / scale
    together = _covariance(cells, cells)
    apart = _covariance(cells[:, :, :-distance], cells[:, :, distance:])
    apart = apart + _covariance(cells[:, :-distance], cells[:, distance:])
    values, vectors = torch.linalg.eigh(together + RIDGE * torch.eye(len(together), dtype=cells.dtype))
    white = vectors / values.sqrt()
    _, turned = torch.linalg.eigh(white.mT @ (apart + apart.mT) @ white)
    basis = (white @ turned).flip(1)[:, :count] / scale[:, None]
    largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    return mean, basis * largest.sign()


def _covariance(one: Tensor, other: Tensor) -> Tensor:
    return torch.einsum("bhwc,bhwd->cd", one, other) / one[..., 0].numel()


def _statistics(images: Images, stride: int, kind: Kind) -> Tensor:
    """What is measured in cells of `stride` x `stride` pixels: `b c h/stride w/stride`."""
    mean = _mean_of(images, stride)
    if kind == "means":
        return mean
    if kind == "chromaticity":
        return _chromaticity(images, stride, DARK)
    grey = images.mean(1, keepdim=True)
    opponent = torch.cat([grey, images[:, :1] - grey, images[:, 2:] - grey], 1)
    variance = _mean_of(opponent.square(), stride) - _mean_of(opponent, stride).square()
    deviation = variance.clamp(min=0).sqrt()
    steepness = _mean_of(_gradients(grey).abs(), stride)
    chromaticity = _chromaticity(images, stride, DARK_OF_STATISTICS)
    return torch.cat([mean, 4 * chromaticity, 0.5 * (deviation + FAINT).log(), 0.5 * (steepness + FAINT).log()], 1)


def _chromaticity(images: Images, stride: int, dark: float) -> Tensor:
    """The fractions of red and green in the sum of the colours: `b 2 h/stride w/stride`."""
    return _mean_of((images / (images.sum(1, keepdim=True) + dark))[:, :2], stride)


def _mean_of(maps: Tensor, stride: int) -> Tensor:
    return F.avg_pool2d(maps, stride) if stride > 1 else maps


def _gradients(grey: Tensor) -> Tensor:
    """Differences across each pixel in four directions: `b 4 h w`."""
    wide = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    middle, before, after = slice(1, -1), slice(None, -2), slice(2, None)
    pairs = (
        ((middle, after), (middle, before)),
        ((after, middle), (before, middle)),
        ((after, after), (before, before)),
        ((after, before), (before, after)),
    )
    return torch.cat([wide[:, :, r, c] - wide[:, :, s, d] for (r, c), (s, d) in pairs], 1)
