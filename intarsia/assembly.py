"""Assembly: the networks that a recipe names, built by its settings or taken from other packages."""

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

from intarsia.errors import InputError
from intarsia.networks.autoencoder import SceneAutoencoder
from intarsia.networks.backbone import EfficientNetLite0, load_pretrained, output_channels
from intarsia.networks.content import Content
from intarsia.networks.content_inpainter import ContentInpainter
from intarsia.networks.inpainter import CompactInpainter
from intarsia.networks.reference import ReferenceInpainter
from intarsia.networks.resnet import ResNet50
from intarsia.networks.segmenter import CompactSegmenter
from intarsia.networks.segnet import SegNet
from intarsia.networks.tensorflow import glorot
from intarsia.recipes.installed import loaded, networks
from intarsia.recipes.networks import INPAINTERS, SEGMENTERS
from intarsia.recipes.settings import Recipe

BACKBONE_BLOCKS = 11  # strides 4, 8 and 16


def naming(recipe: Recipe, segmenter: nn.Module | None, inpainter: nn.Module | None) -> Recipe:
    """The recipe with the names of networks that are given in place of its own: `MODULE:CLASS`.

    A name that stands for a network of another package stays.
    """
    if segmenter is not None and recipe.segmenter.network in SEGMENTERS:
        recipe = dataclasses.replace(recipe, segmenter=dataclasses.replace(recipe.segmenter, network=_name_of(segmenter)))
    if inpainter is not None and recipe.inpainter.network in INPAINTERS:
        recipe = dataclasses.replace(recipe, inpainter=dataclasses.replace(recipe.inpainter, network=_name_of(inpainter)))
    return recipe


def inpainter_of(recipe: Recipe) -> nn.Module:
    """The inpainter that a recipe names; `InputError` if it is of another package, which is missing."""
    sizes = recipe.inpainter
    if sizes.network not in INPAINTERS:
        return _outside("inpainter", recipe)
    if sizes.network == "reference":
        return ReferenceInpainter()
    if recipe.content.kind != "pixels":
        content = content_of(recipe)
        return ContentInpainter(
            height=recipe.height,
            width=recipe.width,
            strides=content.strides,
            counts=content.counts,
            grid=recipe.content.grid,
            channels=sizes.channels,
            propagation=sizes.propagation,
        )
    return CompactInpainter(height=recipe.height, width=recipe.width, channels=sizes.channels, patches=sizes.patches)


def segmenter_of(recipe: Recipe) -> nn.Module:
    """The segmenter that a recipe names; `InputError` if it is of another package, which is missing."""
    sizes = recipe.segmenter
    if sizes.network not in SEGMENTERS:
        return _outside("segmenter", recipe)
    if sizes.network == "segnet":
        return SegNet(segments=recipe.segments)
    if sizes.network == "resnet50":
        return ResNet50(segments=recipe.segments, upsampling=sizes.upsampling, dilation=sizes.dilation)
    return CompactSegmenter(
        height=recipe.height,
        width=recipe.width,
        segments=recipe.segments,
        channels=sizes.channels,
        dimension=sizes.dimension,
        span=sizes.span,
        smoothing=sizes.smoothing,
        learn_channels=sizes.learn_channels,
        background_first=sizes.background_first,
        backbone=output_channels(BACKBONE_BLOCKS) if sizes.backbone else (),
    )


def content_of(recipe: Recipe) -> Content:
    """What the inpainter guesses."""
    sizes = recipe.content
    if sizes.kind == "pixels":
        return Content()
    return Content(
        kind=sizes.kind,
        strides=sizes.strides,
        counts=sizes.factors,
        channels=output_channels(BACKBONE_BLOCKS)[:2] if sizes.kind == "features" else (),
    )


def backbone_of(recipe: Recipe) -> EfficientNetLite0 | None:
    """The pretrained network whose maps segmenter or content take, if they take any."""
    needed = recipe.segmenter.backbone or recipe.content.kind == "features"
    return load_pretrained(BACKBONE_BLOCKS) if needed else None


def autoencoder_of(recipe: Recipe) -> SceneAutoencoder:
    """The networks of the codes."""
    sizes = recipe.vae
    autoencoder = SceneAutoencoder(
        height=recipe.height // sizes.downsampling,
        width=recipe.width // sizes.downsampling,
        objects=recipe.objects,
        texture_dimension=sizes.texture_dimension,
        shape_dimension=sizes.shape_dimension,
        background_dimension=sizes.background_dimension,
        channels=sizes.channels,
        hidden=sizes.hidden,
        fusion_channels=recipe.fusion.channels,
        fill_with_mean=sizes.fill_with_mean,
        residual=recipe.fusion.residual,
        window=sizes.window,
        thumbnail=sizes.thumbnail,
    )
    if sizes.glorot:
        glorot(autoencoder)
    return autoencoder


def _name_of(network: nn.Module) -> str:
    return f"{type(network).__module__}:{type(network).__qualname__}"


def _outside(part: str, recipe: Recipe) -> nn.Module:
    """The segmenter or inpainter that an installed package makes for a recipe."""
    name, known = getattr(recipe, part).network, networks()
    if name not in known:
        raise InputError(
            f"The model's {part} is {name}, which is not of Intarsia. Install the package {name.partition(':')[0]}, or give "
            f"the network yourself: load(folder, {part}=network)."
        )
    make = loaded(known[name], Callable)
    with torch.device("cpu"):  # also where the rest of the model is made without memory
        network = make(recipe)
    if not isinstance(network, nn.Module):
        raise InputError(f"The {part} {name} is no PyTorch module but a {type(network).__name__}.")
    return network
