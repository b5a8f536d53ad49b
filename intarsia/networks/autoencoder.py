"""The scene autoencoder: encodes an image and its masks as codes of objects and background, and decodes them again."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from intarsia.networks.fusion import SceneFusion, TextureShapeFusion
from intarsia.networks.vae import VAE
from intarsia.networks.windows import WindowVAE
from intarsia.shapes import Images, Maps, Masks, Objects


class Codes(NamedTuple):
    """A number or a vector for each part of a scene: codes, their means or log variances, noise, or divergences."""

    texture: Tensor
    """`b n d`."""
    shape: Tensor
    """`b n d`."""
    background: Tensor
    """`b d`."""


class ShapeExamples(NamedTuple):
    """The masks that the shape VAE is trained on, their posteriors and their reconstructions."""

    masks: Tensor
    """`b m h w`."""
    mean: Tensor
    """`b m d`, of the posterior of each code."""
    log_variance: Tensor
    """`b m d`, of the posterior of each code."""
    logits: Tensor
    """`b m h w`; the reconstructed masks are their sigmoid."""


class Reconstruction(NamedTuple):
    """The scene autoencoder's output for images; all float32."""

    mean: Codes
    """Of the posterior of each code."""
    log_variance: Codes
    """Of the posterior of each code."""
    textures: Tensor
    """`b n 3 h w` in [0, 1]: a picture of the image's size for each object."""
    shape_logits: Tensor
    """`b n h w`; the decoded shapes are their sigmoid."""
    background: Tensor
    """`b 3 h w` in [0, 1], also behind the objects."""
    object_logits: Tensor
    """`b n 3 h w`; the objects on black are their sigmoid."""
    images: Tensor
    """`b 3 h w` in [0, 1]."""
    shape_examples: ShapeExamples
    """What the shape VAE learns from: the objects' masks, or the masks given for it instead."""


class SceneAutoencoder(nn.Module):
    """A texture and a shape VAE shared by all objects, a background VAE, and two fusion networks, joined as in the original.

    No gradient flows from one network into another: each of the five learns from its own error alone. (The original has three
    optimizers over disjoint variables instead.)

    Args:
        height: Image height in pixels, a multiple of 16.
        width: Image width in pixels, a multiple of 16.
        objects: Number of objects n, empty ones included.
        texture_dimension: Length of a texture code.
        shape_dimension: Length of a shape code.
        background_dimension: Length of the background's code.
        channels: As in `VAE`.
        hidden: As in `VAE`.
        fusion_channels: Size of the fusion networks.
        fill_with_mean: Whether texture and background VAE see the mean colour outside of their masks, instead of black.
        residual: Whether the fusion networks add their output to the plain composition.
        window: Side of the shape VAE's window in pixels; 0 for none.
        thumbnail: Of the texture and the background VAE, as in `VAE`.
    """

    def __init__(
        self,
        height: int,
        width: int,
        objects: int,
        texture_dimension: int = 5,
        shape_dimension: int = 10,
        background_dimension: int = 5,
        channels: int = 32,
        hidden: int = 256,
        fusion_channels: int = 32,
        fill_with_mean: bool = False,
        residual: bool = False,
        window: int = 0,
        thumbnail: int = 0,
    ) -> None:
        super().__init__()
        self.fill_with_mean = fill_with_mean
        self.texture = VAE(height, width, 3, texture_dimension, channels, hidden, thumbnail)
        if window:
            self.shape: VAE = WindowVAE(height, width, window, shape_dimension, channels, hidden)
        else:
            self.shape = VAE(height, width, 1, shape_dimension, channels, hidden)
        self.background = VAE(height, width, 3, background_dimension, channels, hidden, thumbnail)
        self.object_fusion = TextureShapeFusion(fusion_channels, residual)
        self.scene_fusion = SceneFusion(objects, fusion_channels, residual)

    def forward(
        self, images: Images, masks: Masks, noise: Codes | None = None, example_masks: Maps | None = None
    ) -> Reconstruction:
        """Encode images by their masks, and decode and fuse the codes again.

        Args:
            images: `b 3 h w` in [0, 1].
            masks: `b n+1 h w` in [0, 1], the background last, as `masks.background_last` gives them.
            noise: Drawn from a standard normal, in the shapes of the codes. Without it the codes are the posterior means.
            example_masks: `b m h w`, masks for the shape VAE to learn from instead of the objects'; `noise.shape` is
                `b n+m d` then.
        """
        objects, shapes, ground = parts(images, masks, self.fill_with_mean)
        texture_noise, shape_noise, background_noise = noise or (None, None, None)
        object_noise = example_noise = None
        if shape_noise is not None:
            object_noise, example_noise = shape_noise[:, : shapes.shape[1]], shape_noise[:, shapes.shape[1] :]
        texture_mean, texture_log_variance, textures = _each(self.texture, objects, texture_noise)
        shape_mean, shape_log_variance, shape_logits = _each(self.shape, shapes, object_noise)
        examples = ShapeExamples(shapes, shape_mean, shape_log_variance, shape_logits)
        if example_masks is not None:
            example_masks = example_masks[:, :, None]
            examples = ShapeExamples(example_masks, *_each(self.shape, example_masks, example_noise))
        background_mean, background_log_variance, background = self.background(ground, background_noise)
        textures, background = textures.sigmoid(), background.sigmoid()

        decoded = shape_logits.detach().sigmoid()
        object_logits = self.object_fusion(textures.detach().flatten(0, 1), decoded.flatten(0, 1)).view_as(textures)
        behind = background.detach() * (1 - decoded.sum(1))
        layers = torch.cat([object_logits.detach().sigmoid(), behind[:, None]], 1)
        return Reconstruction(
            mean=Codes(texture_mean, shape_mean, background_mean),
            log_variance=Codes(texture_log_variance, shape_log_variance, background_log_variance),
            textures=textures,
            shape_logits=shape_logits.squeeze(2),
            background=background,
            object_logits=object_logits,
            images=self.scene_fusion(layers),
            shape_examples=examples._replace(masks=examples.masks.squeeze(2), logits=examples.logits.squeeze(2)),
        )


def parts(images: Images, masks: Masks, fill_with_mean: bool) -> tuple[Objects, Tensor, Images]:
    """The inputs of the texture, the shape and the background VAE: `b n 3 h w`, `b n 1 h w` and `b 3 h w`.

    In the original, objects and background are on black. `fill_with_mean` puts them on their own mean colour: a texture then
    hardly depends on where the object lies, and is learned much faster (docs/notes/004-vaes.md).
    """
    shapes = masks[:, :-1, None]
    return _cut_out(images[:, None], shapes, fill_with_mean), shapes, _cut_out(images, 1 - shapes.sum(1), fill_with_mean)


def _cut_out(images: Tensor, masks: Tensor, fill_with_mean: bool) -> Tensor:
    """Images `... 3 h w` under masks `... 1 h w`, elsewhere black or the mean colour under the mask."""
    seen = images * masks
    if not fill_with_mean:
        return seen
    mean = seen.sum((-2, -1), keepdim=True) / masks.sum((-2, -1), keepdim=True).clamp(min=1)
    return seen + mean * (1 - masks)


def _each(vae: VAE, objects: Tensor, noise: Tensor | None) -> list[Tensor]:
    """A VAE's output for every object of every image, with the first two axes `b n`."""
    found = vae(objects.flatten(0, 1), None if noise is None else noise.flatten(0, 1))
    return [part.unflatten(0, objects.shape[:2]) for part in found]
