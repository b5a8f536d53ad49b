"""The conventions of TensorFlow 1, in which the original was written, where they differ from PyTorch's.

Padding, resizing, batch normalisation, Glorot's rule and Adam. Each is tested against recorded numbers or by hand.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPSILON, NORM_DECAY = 1e-3, 0.999
THIN = 16  # columns below which a matrix is thin


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: output size ceil(size / stride), odd padding goes to bottom and right.

    A 4x4 kernel pads (1, 1) with stride 2 and an even size, and (1, 2) with stride 1.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `b inputs h w` to `b outputs ceil(h/stride) ceil(w/stride)`."""
        return same_conv(x, self.weight, self.bias, self.stride[0], self.dilation[0])


def same_conv(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, dilation: int = 1) -> Tensor:
    """The convolution of `SameConv` with given weights."""
    extent = (weight.shape[-1] - 1) * dilation + 1
    totals = [max((-(-size // stride) - 1) * stride + extent - size, 0) for size in x.shape[2:]]
    if stride > 1 and any(total % 2 for total in totals):
        (top, left), (bottom, right) = ([total // 2 for total in totals], [-(-total // 2) for total in totals])
        return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, stride, dilation=dilation)
    # The convolution pads all sides equally, and an odd first row or column is dropped. This saves a copy of the input.
    wide = F.conv2d(x, weight, bias, stride, [-(-total // 2) for total in totals], dilation)
    return wide[..., totals[0] % 2 :, totals[1] % 2 :] if any(total % 2 for total in totals) else wide


class BatchNorm(nn.Module):
    """Batch normalisation as in the original's ResNet: a shift but no factor, epsilon 1e-3, decay 0.999.

    In training mode it normalises by the batch's own statistics. The moving averages are updated only where gradients are
    enabled: when the network itself is trained, and not when it only serves another one (as in the original). The moving
    variance is updated with the unbiased variance.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Maps `b c h w` to the same shape."""
        follow = torch.is_grad_enabled() or not self.training
        mean, variance = (self.mean, self.variance) if follow else (None, None)
        return F.batch_norm(x, mean, variance, None, self.bias, self.training, 1 - NORM_DECAY, NORM_EPSILON)


class FrozenNormConv(SameConv):
    """SAME convolution, then batch normalisation with fixed statistics, as in the original's small segmenter.

    The normalisation is a learned factor and shift per channel, so it is folded into the convolution's weights.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, dilation)
        self.factor, self.shift = nn.Parameter(torch.ones(outputs)), nn.Parameter(torch.zeros(outputs))
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("variance", torch.ones(outputs))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution that also contains the normalisation."""
        factor = self.factor * torch.rsqrt(self.variance + NORM_EPSILON)
        bias = self.shift - self.mean * factor if self.bias is None else self.shift + (self.bias - self.mean) * factor
        return self.weight * factor[:, None, None, None], bias

    def forward(self, x: Tensor) -> Tensor:
        """Maps `b inputs h w` to `b outputs ceil(h/stride) ceil(w/stride)`."""
        return same_conv(x, *self.folded(), self.stride[0], self.dilation[0])


@cache
def bilinear(inputs: int, outputs: int) -> np.ndarray:
    """Bilinear resizing along one axis, as a matrix `outputs inputs`.

    Output pixel i is at input position i * inputs / outputs. Beyond the last input pixel the values stay constant.
    """
    place = np.arange(outputs, dtype=np.float32) * np.float32(inputs / outputs)
    lower = np.floor(place).astype(int)
    fraction = (place - lower).astype(np.float32)[:, None]
    rows = np.eye(inputs, dtype=np.float32)
    return rows[lower] * (1 - fraction) + rows[np.minimum(lower + 1, inputs - 1)] * fraction


@cache
def nearest(inputs: int, outputs: int) -> np.ndarray:
    """Resizing along one axis by repeating or dropping pixels, as a matrix `outputs inputs`: floor(i * inputs / outputs).

    At twice the size every pixel is repeated. The original's other rule, which aligns corners, does the same there.
    """
    place = np.arange(outputs, dtype=np.float32) * np.float32(inputs / outputs)
    return np.eye(inputs, dtype=np.float32)[np.minimum(place.astype(int), inputs - 1)]


Rule = Callable[[int, int], np.ndarray]


def resized(x: Tensor, height: int, width: int, rule: Rule = bilinear) -> Tensor:
    """Maps `... h w` resized to `... height width`."""
    rows, columns = (torch.from_numpy(rule(*sizes)).to(x) for sizes in ((x.shape[-2], height), (x.shape[-1], width)))
    return rows @ x @ columns.mT


def by_tap(weight: Tensor) -> nn.Parameter:
    """A kernel `o c k k` that is stored tap by tap, so that its `tap_matrix` is no copy."""
    return nn.Parameter(weight.detach().permute(3, 2, 0, 1).contiguous().permute(2, 3, 1, 0))


def tap_matrix(weight: Tensor) -> Tensor:
    """The matrix `(k k o) c` of a kernel `o c k k`, for `taps`."""
    return weight.permute(3, 2, 0, 1).flatten(0, 2)


def taps(x: Tensor, matrix: Tensor) -> Tensor:
    """The products of each tap of a kernel with every pixel of `b c h w`, for `gathered`: `b h w (k k o)`.

    This is a product of matrices at the size of `x`, even if the convolution is at a larger size. The library for convolutions
    is faster for it on many processors, except for the gradient of the matrix in bf16.
    """
    if x.dtype == torch.float32 or not matrix.requires_grad:
        return F.conv2d(x, matrix[:, :, None, None]).permute(0, 2, 3, 1)
    return F.linear(x.permute(0, 2, 3, 1), matrix)


def gathered(parts: Tensor, bias: Tensor, kernel: int, height: int, width: int, rule: Rule = bilinear) -> Tensor:
    """Resizing to `height width`, then a SAME convolution, given the products of `taps`: `b o height width`.

    Both are linear, so their order is free. The products with the kernel come first, at the smaller size; then one matrix per
    axis shifts, resizes and adds them up. If the size doubles, this needs about a quarter of the arithmetic. With few outputs,
    the many thin matrices are joined to one, which is as fast as with many outputs.
    """
    outputs, (count, h, w, _) = len(bias), parts.shape
    rows, columns = (
        torch.from_numpy(shifts(*sizes, kernel, rule)).to(parts.device, parts.dtype) for sizes in ((h, height), (w, width))
    )
    x = parts.reshape(count * h, w * kernel, kernel * outputs)
    if kernel * outputs < THIN:
        x = (x.mT.reshape(-1, w * kernel) @ columns.mT).view(count, h * kernel, outputs * width)
        x = torch.baddbmm(bias.repeat_interleave(width).to(x.dtype), rows.expand(count, -1, -1), x)
        return x.view(count, height, outputs, width).transpose(1, 2).contiguous(memory_format=torch.channels_last)
    x = torch.bmm(columns.expand(count * h, -1, -1), x)
    x = x.view(count, h, width, kernel, outputs).transpose(2, 3).reshape(count, h * kernel, width * outputs)
    x = torch.baddbmm(bias.repeat(width).to(x.dtype), rows.expand(count, -1, -1), x)
    return x.view(count, height, width, outputs).permute(0, 3, 1, 2)


@cache
def shifts(inputs: int, outputs: int, kernel: int, rule: Rule) -> np.ndarray:
    """The matrix `outputs (inputs kernel)` of one axis that resizes the products of each tap, shifts them and adds them up."""
    before = (kernel - 1) // 2
    wide = np.pad(rule(inputs, outputs), ((before, kernel - 1 - before), (0, 0)))
    return np.stack([wide[tap : tap + outputs] for tap in range(kernel)], 2).reshape(outputs, inputs * kernel)


@torch.no_grad()
def glorot(network: nn.Module) -> None:
    """Draw the weights of convolutions and dense layers by Glorot's uniform rule and set biases to 0, as the original does."""
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


class Adam(torch.optim.Adam):
    """Adam with TensorFlow's epsilon, which is added to the root of the *uncorrected* second moment.

    PyTorch adds its epsilon after the bias correction. An epsilon that changes with the steps makes both equal.
    """

    EPSILON = 1e-8

    def step(self, closure: Any = None) -> Any:
        """Take one step, as PyTorch's Adam does."""
        for group in self.param_groups:
            steps = 1 + max((int(self.state[p]["step"]) for p in group["params"] if self.state[p]), default=0)
            group["eps"] = self.EPSILON / (1 - group["betas"][1] ** steps) ** 0.5
        return super().step(closure)
