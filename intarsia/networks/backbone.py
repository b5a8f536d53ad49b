"""The first blocks of EfficientNet-Lite0: maps of an image at several strides, learned on ImageNet and frozen.

References:
    Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019. The Lite variants have
    ReLU6 in place of swish and no squeeze-and-excitation.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from intarsia.shapes import Images

__all__ = ["EfficientNetLite0", "load_pretrained", "output_channels"]

PRETRAINED = Path(__file__).with_name("efficientnet_lite0.safetensors")  # Apache-2.0: efficientnet_lite0.LICENSE
STEM = 32  # channels
# Channels, expansion, kernel and stride of each block.
BLOCKS = (
    (16, 1, 3, 1),
    (24, 6, 3, 2), (24, 6, 3, 1),
    (40, 6, 5, 2), (40, 6, 5, 1),
    (80, 6, 3, 2), (80, 6, 3, 1), (80, 6, 3, 1),
    (112, 6, 5, 1), (112, 6, 5, 1), (112, 6, 5, 1),
)  # fmt: skip
OUTPUTS = {3: 4, 5: 8, 11: 16}  # after so many blocks a map is given; its stride
MEAN, DEVIATION = 127 / 255, 128 / 255  # of the images, as the weights were trained


class EfficientNetLite0(nn.Module):
    """Maps of strides 4, 8 and 16 with 24, 40 and 112 channels. Normalisations are folded into the convolutions.

    Args:
        blocks: How many blocks: 3 for stride 4 alone, 5 for strides 4 and 8, 11 for all three.
    """

    def __init__(self, blocks: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM, 3, 2)
        inputs = (STEM, *(channels for channels, *_ in BLOCKS))
        self.blocks = nn.ModuleList(Block(i, *sizes) for i, sizes in zip(inputs, BLOCKS[:blocks], strict=False))
        self.strides = tuple(stride for count, stride in OUTPUTS.items() if count <= blocks)
        self.channels = output_channels(blocks)

    def forward(self, images: Images) -> list[Tensor]:
        """Images `b 3 h w` in [0, 1], h and w multiples of 16, to maps `b c h/stride w/stride`, finest first."""
        x = F.relu6(self.stem(_pad((images - MEAN) / DEVIATION, 3, 2).contiguous(memory_format=torch.channels_last)))
        maps = []
        for count, block in enumerate(self.blocks, 1):
            x = block(x)
            if count in OUTPUTS:
                maps.append(x)
        return maps


class Block(nn.Module):
    """Inverted residual: 1x1 convolution to more channels, depthwise convolution, 1x1 convolution to few channels."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = expansion * inputs
        self.kernel, self.stride, self.residual = kernel, stride, stride == 1 and inputs == outputs
        self.expand = nn.Conv2d(inputs, wide, 1) if expansion > 1 else None
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, groups=wide)
        self.project = nn.Conv2d(wide, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `b inputs h w` to `b outputs h/stride w/stride`."""
        wide = x if self.expand is None else F.relu6(self.expand(x))
        wide = F.relu6(self.depthwise(_pad(wide, self.kernel, self.stride)))
        return self.project(wide) + x if self.residual else self.project(wide)


def output_channels(blocks: int) -> tuple[int, ...]:
    """The channels of the maps of a network of so many blocks."""
    return tuple(BLOCKS[count - 1][0] for count in OUTPUTS if count <= blocks)


def load_pretrained(blocks: int = 5) -> EfficientNetLite0:
    """The network with its ImageNet weights, frozen."""
    network = EfficientNetLite0(blocks)
    weights, own = load_file(PRETRAINED), network.state_dict()
    network.load_state_dict({name: weights[name].float() for name in own}, assign=True)  # also where it is built without memory
    return network.requires_grad_(False)


def _pad(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros around maps of even size, as TensorFlow's SAME padding has them: the odd one at bottom and right."""
    total = kernel - stride if stride > 1 else kernel - 1
    before, after = total // 2, total - total // 2
    return F.pad(x, (before, after, before, after))
