"""The segmenter: a frozen backbone, and a head that compares each pixel's features with a prototype of each segment."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia import Recipe


class Blurs(nn.Module):
    """The backbone: the image at four scales. Pretrained weights would stand here as this filter does, in a buffer."""

    channels = 12

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("filter", (line[:, None] * line).expand(3, 1, 3, 3).clone())

    def forward(self, images: Tensor) -> Tensor:
        """Images `b 3 h w` to features `b 12 h w`."""
        scales = [images]
        for step in (1, 2, 4):
            around = F.pad(scales[-1], (step,) * 4, mode="replicate")
            scales.append(F.conv2d(around, self.filter, dilation=step, groups=3))
        return torch.cat(scales, 1)


class PaletteSegmenter(nn.Module):
    """A segment for each colour of a palette that is learned: fit for objects that differ in colour, and no others."""

    def __init__(self, segments: int, channels: int = 16) -> None:
        super().__init__()
        self.backbone = Blurs()
        self.head = nn.Sequential(nn.Conv2d(Blurs.channels, 32, 1), nn.ReLU(), nn.Conv2d(32, channels, 1))
        self.palette = nn.Parameter(torch.randn(segments, channels))

    def forward(self, images: Tensor, *maps: Tensor) -> Tensor:
        """Images `b 3 h w` in [0, 1] to logits `b k h w`, float32. The maps are those of Intarsia's backbone, if asked for."""
        features = self.head(self.backbone(images) - 0.5)
        return torch.einsum("bchw,kc->bkhw", features, self.palette).float()


def palette_segmenter(recipe: Recipe) -> PaletteSegmenter:
    """The segmenter of a recipe whose `segmenter.network` is `intarsia-squares:palette`."""
    return PaletteSegmenter(recipe.segments)
