"""The original's name and layout of every weight of its networks."""

from collections.abc import Iterator

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intarsia.errors import InputError
from intarsia.networks.autoencoder import SceneAutoencoder
from intarsia.networks.reference import ReferenceInpainter
from intarsia.networks.resnet import BLOCKS, ResNet50
from intarsia.networks.segnet import SegNet
from intarsia.networks.tensorflow import BatchNorm

Layers = Iterator[tuple[str, str]]  # our name of a layer in its network, and the original's

# Our names of a layer's weights, and the original's.
NORM = {"bias": "beta", "mean": "moving_mean", "variance": "moving_variance"}
DENSE = {"weight": "weight", "bias": "bias"}
CONVOLUTION = {"weight": "weights", "bias": "biases"}


def original_names(network: nn.Module) -> dict[str, str]:
    """The original's name of every weight of one of its networks, by our name in the network's state.

    Raises:
        InputError: if the original has no such network.
    """
    match network:
        case ReferenceInpainter():
            return _names(network, _inpainter())
        case ResNet50():
            return _names(network, _resnet())
        case SegNet():
            return _segnet()
        case SceneAutoencoder():
            return _names(network, _autoencoder())
    raise InputError(f"The original has no {type(network).__name__}; the recipe has to be one of its own, such as 'reference'.")


def original_shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape of a weight in the original's layout: `h w in out` for `out in h w`, `in out` for `out in`."""
    return tuple(tensor.permute(2, 3, 1, 0).shape if tensor.dim() == 4 else reversed(tensor.shape))


def from_original(values: NDArray, name: str) -> Tensor:
    """The original's weight in our layout; `InputError` with its name if a number is not finite."""
    tensor = torch.tensor(values)
    if not tensor.isfinite().all():
        raise InputError(f"{name} holds numbers that are not finite.")
    return tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor.permute(tuple(reversed(range(tensor.dim()))))


def _names(network: nn.Module, layers: Layers) -> dict[str, str]:
    names: dict[str, str] = {}
    for ours, theirs in layers:
        layer = network.get_submodule(ours)
        kinds = NORM if isinstance(layer, BatchNorm) else DENSE if isinstance(layer, nn.Linear) else CONVOLUTION
        names |= {f"{ours}.{weight}": f"{theirs}/{name}" for weight, name in kinds.items()}
    return names


def _inpainter() -> Layers:
    for tower, letter in (("edge_tower", "a"), ("tower", "b")):
        for place, number in enumerate((1, 2, 3, 31, 4, 41, 5, 51, 6)):
            yield f"{tower}.convolve.{place}", f"Inpainter//{letter}conv{number}"
    for place, level in enumerate((5, 4, 3, 2, 1)):
        yield f"decoder.{place}", f"Inpainter//deconv{level}"
        yield f"intensity.{place}", f"Inpainter//intensity{level}"
        if place:
            yield f"enlarge_intensity.{place - 1}", f"Inpainter//upintensity{level}"


def _segnet() -> dict[str, str]:
    """Two layers have their own scope; the normalisations of the other layers are numbered consecutively."""
    names: dict[str, str] = {}
    counted = 0
    for number in range(1, 18):
        if number in (13, 15):
            scope = f"Generator//conv{number}_upsample"
            convolution, norm = f"{scope}/conv{number}_upsample_conv", f"{scope}/batch_normalization"
        else:
            suffix = "_downsample" if number in (2, 4) else "_atrous" if 7 <= number <= 10 else ""
            convolution = f"Generator//conv{number}{suffix}"
            norm = "Generator//batch_normalization" + (f"_{counted}" if counted else "")
            counted += 1
        of_convolution = {"weight": "kernel", "bias": "bias"}
        of_norm = {"factor": "gamma", "shift": "beta", "mean": "moving_mean", "variance": "moving_variance"}
        names |= {f"layers.{number - 1}.{ours}": f"{convolution}/{theirs}" for ours, theirs in of_convolution.items()}
        names |= {f"layers.{number - 1}.{ours}": f"{norm}/{theirs}" for ours, theirs in of_norm.items()}
    return names


def _resnet() -> Layers:
    yield "stem", "Generator//resnet_v2/conv1"
    units = [(block, unit) for block, (count, *_) in enumerate(BLOCKS, 1) for unit in range(1, count + 1)]
    for place, (block, unit) in enumerate(units):
        scope = f"Generator//resnet_v2/block{block}/unit_{unit}/bottleneck_v2"
        if unit == 1:
            yield f"units.{place}.shortcut", f"{scope}/shortcut"
        for ours, theirs in (("norm", "preact"), ("narrow", "conv1"), ("convolve", "conv2"), ("widen", "conv3")):
            yield f"units.{place}.{ours}", f"{scope}/{theirs}"
    yield "norm", "Generator//resnet_v2/postnorm"
    for place in range(4):
        yield f"classify.{place}", f"Generator//aspp/conv{place + 1}"


def _autoencoder() -> Layers:
    for part, scope in (("texture", "texVAE"), ("shape", "maskVAE"), ("background", "bgVAE")):
        encoder, decoder, theirs = f"{part}.encoder", f"{part}.decoder", f"VAE//separate/{scope}"
        for place in range(4):
            yield f"{encoder}.convolve.{place}", f"{theirs}/conv{place + 1}"
            yield f"{decoder}.convolve.{place}", f"{theirs}/deconv{4 - place}"
        for place in range(2):
            yield f"{encoder}.dense.{place}", f"{theirs}/fc{place + 1}"
            yield f"{decoder}.dense.{place}", f"{theirs}/up_fc{2 - place}"
        yield f"{encoder}.mean", f"{theirs}/fc_zmean"
        yield f"{encoder}.log_variance", f"{theirs}/fc_logsigmasq"
    for place in range(3):
        yield f"object_fusion.convolve.{place}", f"VAE//fusion/conv{place + 1}"
    for place in range(4):
        yield f"scene_fusion.convolve.{place}", f"Fusion//conv{place + 1}"
