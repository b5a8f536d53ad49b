"""The recorded weights and layouts of the original, in ours."""

import zlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from intarsia.networks.tensorflow import BatchNorm, FrozenNormConv

VALUES, GRADIENTS = 1e-4, 1e-3  # of the largest value; the recording's own advice


def original_layout(array: np.ndarray) -> Tensor:
    """Weights of the original in our layout: `h w in out` to `out in h w`, and `in out` to `out in`."""
    tensor = torch.from_numpy(array)
    return tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor.mT if tensor.dim() == 2 else tensor


def recipe_weight(name: str, shape: torch.Size) -> Tensor:
    """A weight of the recordings: noise that depends on its name alone (the recordings' README), given our shape."""
    theirs = [shape[i] for i in {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[len(shape)]]
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(theirs).astype(np.float32)
    if len(theirs) == 1:
        small = values * np.float32(0.05)
        leaf = name.rpartition("/")[2]
        return torch.from_numpy({"gamma": 1 + small, "moving_variance": 1 + abs(small)}.get(leaf, small))
    fans = theirs[:2] if len(theirs) == 2 else (np.prod(theirs[:3]), theirs[0] * theirs[1] * theirs[3])
    return original_layout(values * np.float32(np.sqrt(2 / sum(fans))))


def images_first(array: np.ndarray) -> Tensor:
    """`b h w c` to `b c h w`; masks `b h w 1 k` to `b k 1 h w`, guesses `b h w c k` to `b k c h w`."""
    tensor = torch.from_numpy(array)
    return tensor.permute(0, 3, 1, 2) if tensor.dim() == 4 else tensor.permute(0, 4, 3, 1, 2)


def masks_first(array: np.ndarray) -> Tensor:
    """`b h w 1 k` to `b k h w`."""
    return images_first(array).squeeze(2)


def assert_close(found: Tensor, expected: Tensor, tolerance: float = VALUES) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def inpainter_names() -> Iterator[tuple[str, str]]:
    """Our layers of the inpainter and the original's, in pairs."""
    for tower, letter in (("edge_tower", "a"), ("tower", "b")):
        for place, number in enumerate((1, 2, 3, 31, 4, 41, 5, 51, 6)):
            yield f"{tower}.convolve.{place}", f"Inpainter//{letter}conv{number}"
    for place, level in enumerate((5, 4, 3, 2, 1)):
        yield f"decoder.{place}", f"Inpainter//deconv{level}"
        yield f"intensity.{place}", f"Inpainter//intensity{level}"
        if place:
            yield f"enlarge_intensity.{place - 1}", f"Inpainter//upintensity{level}"


def segnet_names() -> Iterator[tuple[str, str, str]]:
    """Our layers of the small segmenter, the original's convolutions, and its normalisations."""
    strided, dilated, doubling = {2: "_downsample", 4: "_downsample"}, dict.fromkeys((7, 8, 9, 10), "_atrous"), (13, 15)
    norms = 0
    for number in range(1, 18):
        if number in doubling:
            scope = f"Generator//conv{number}_upsample"
            yield f"layers.{number - 1}", f"{scope}/conv{number}_upsample_conv", f"{scope}/batch_normalization"
        else:
            suffix = f"_{norms}" if norms else ""
            convolution = f"Generator//conv{number}{(strided | dilated).get(number, '')}"
            yield f"layers.{number - 1}", convolution, f"Generator//batch_normalization{suffix}"
            norms += 1


def resnet_names() -> Iterator[tuple[str, str]]:
    """Our layers of the large segmenter and the original's, in pairs."""
    yield "stem", "Generator//resnet_v2/conv1"
    place = 0
    for block, units in enumerate((3, 4, 6, 3), 1):
        for unit in range(1, units + 1):
            scope = f"Generator//resnet_v2/block{block}/unit_{unit}/bottleneck_v2"
            parts = {"norm": "preact", "narrow": "conv1", "convolve": "conv2", "widen": "conv3"}
            for ours, theirs in (parts | ({"shortcut": "shortcut"} if unit == 1 else {})).items():
                yield f"units.{place}.{ours}", f"{scope}/{theirs}"
            place += 1
    yield "norm", "Generator//resnet_v2/postnorm"
    for number in range(4):
        yield f"classify.{number}", f"Generator//aspp/conv{number + 1}"


def original_names(network: nn.Module, layers: list[tuple[str, ...]]) -> dict[str, str]:
    """Every parameter and buffer of ours, and what the original calls it."""
    names = {}
    for ours, *theirs in layers:
        layer = network.get_submodule(ours)
        if isinstance(layer, FrozenNormConv):
            convolution, norm = theirs
            kinds = {"weight": f"{convolution}/kernel", "bias": f"{convolution}/bias"}
            kinds |= {"factor": f"{norm}/gamma", "shift": f"{norm}/beta"}
            kinds |= {"mean": f"{norm}/moving_mean", "variance": f"{norm}/moving_variance"}
        elif isinstance(layer, BatchNorm):
            kinds = {"bias": "beta", "mean": "moving_mean", "variance": "moving_variance"}
            kinds = {kind: f"{theirs[0]}/{name}" for kind, name in kinds.items()}
        elif isinstance(layer, nn.Linear):
            kinds = {kind: f"{theirs[0]}/{kind}" for kind in ("weight", "bias")}
        else:
            kinds = {"weight": f"{theirs[0]}/weights", "bias": f"{theirs[0]}/biases"}
        names |= {f"{ours}.{kind}": name for kind, name in kinds.items()}
    return names


@torch.no_grad()
def fill(network: nn.Module, layers: list[tuple[str, ...]]) -> dict[str, str]:
    """Give a network the recordings' weights; returns `original_names`."""
    names, state = original_names(network, layers), network.state_dict()
    assert names.keys() == state.keys()
    network.load_state_dict({ours: recipe_weight(theirs, state[ours].shape) for ours, theirs in names.items()})
    return names
