"""The frozen backbone's features of images on one grid: what the baselines that need features work on."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.networks.backbone import EfficientNetLite0
from intarsia.shapes import Images, Maps, Masks

AT_ONCE = 25  # images in the backbone
FAINT = 1e-6  # deviation of a channel that is always the same


class Features(nn.Module):
    """All maps of a backbone, brought to one grid and joined. Every channel has mean 0 and variance 1 over some images.

    Args:
        backbone: Of several strides; from `intarsia.networks.backbone.load_pretrained`.
        stride: Pixels from cell to cell of the grid. Finer maps are averaged, coarser ones interpolated.
        images: `b 3 h w` in [0, 1]: some training images, from which means and deviations are computed.
    """

    def __init__(self, backbone: EfficientNetLite0, stride: int, images: Images) -> None:
        super().__init__()
        self.backbone, self.stride, self.channels = backbone, stride, sum(backbone.channels)
        found = torch.cat([self._joined(part) for part in images.split(AT_ONCE)])
        self.register_buffer("mean", found.mean((0, 2, 3), keepdim=True))
        self.register_buffer("deviation", found.std((0, 2, 3), keepdim=True).clamp(min=FAINT))

    def forward(self, images: Images) -> Maps:
        """Features `b c h/stride w/stride` of images `b 3 h w` in [0, 1]."""
        return (self._joined(images) - self.get_buffer("mean")) / self.get_buffer("deviation")

    @torch.no_grad()
    def _joined(self, images: Images) -> Tensor:
        size = images.shape[2] // self.stride, images.shape[3] // self.stride
        return torch.cat([_resized(maps.float(), size) for maps in self.backbone(images)], 1)


def enlarged(masks: Masks, height: int, width: int) -> Masks:
    """Masks of cells at an image's size, interpolated: `b k height width`."""
    return F.interpolate(masks, size=(height, width), mode="bilinear")


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if maps.shape[2] > size[0]:
        return F.adaptive_avg_pool2d(maps, size)
    return F.interpolate(maps, size=size, mode="bilinear")
