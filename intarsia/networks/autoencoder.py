"""The scene autoencoder: image and masks to codes of objects and background, and back to an image."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from intarsia.networks.fusion import SceneFusion, TextureShapeFusion
from intarsia.networks.vae import VAE
from intarsia.networks.windows import WindowVAE
from intarsia.shapes import Images, Maps, Masks, Objects


class Codes(NamedTuple):
    """A number or a vector for each part of a scene: codes, their means or log variances, noise, divergences."""

    texture: Tensor
    """`b n d`."""
    shape: Tensor
    """`b n d`."""
    background: Tensor
    """`b d`."""


class Coded(NamedTuple):
    """Masks, and what the shape VAE makes of them."""

    masks: Tensor
    """`b m h w`."""
    mean: Tensor
    """`b m d`, of the posterior of each code."""
    log_variance: Tensor
    """`b m d`."""
    logits: Tensor
    """`b m h w`."""


class Reconstruction(NamedTuple):
    """What the scene autoencoder makes of images; all float32."""

    mean: Codes
    """Of the posterior of each code."""
    log_variance: Codes
    """Of the posterior of each code."""
    textures: Tensor
    """`b n 3 h w` in [0, 1]: a picture of the whole size for each object."""
    shape_logits: Tensor
    """`b n h w`; the decoded shapes are their sigmoid."""
    background: Tensor
    """`b 3 h w` in [0, 1], behind the objects as well."""
    object_logits: Tensor
    """`b n 3 h w`; the objects on black are their sigmoid."""
    images: Tensor
    """`b 3 h w` in [0, 1]."""
    practice: Coded
    """What the shape VAE learns from: the objects' masks and codes, or those of the masks given for it."""


class SceneAutoencoder(nn.Module):
    """A texture and a shape VAE shared by all objects, a background VAE, and two fusion networks, joined as in the original.

    No gradient crosses a border: each of the five learns from its own error alone. (The original has three optimizers over
    disjoint variables instead.)

    Args:
        height, width: Image size in pixels, multiples of 16.
        objects: Number of objects n, empty ones included.
        texture, shape, background: Lengths of the codes.
        channels, hidden: Sizes of the VAEs.
        fusion_channels: Size of the fusion networks.
        fill_with_mean: Whether texture and background VAE see the mean colour outside of their masks, instead of black.
        residual: Whether the fusion networks start from the plain composition.
        window: Side of the shape VAE's window in pixels; 0 if it has none.
    """

    def __init__(
        self,
        height: int,
        width: int,
        objects: int,
        texture: int = 5,
        shape: int = 10,
        background: int = 5,
        channels: int = 32,
        hidden: int = 256,
        fusion_channels: int = 32,
        fill_with_mean: bool = False,
        residual: bool = False,
        window: int = 0,
    ) -> None:
        super().__init__()
        self.fill_with_mean = fill_with_mean
        self.texture = VAE(height, width, 3, texture, channels, hidden)
        self.shape = (
            WindowVAE(height, width, window, shape, channels, hidden)
            if window
            else VAE(height, width, 1, shape, channels, hidden)
        )
        self.background = VAE(height, width, 3, background, channels, hidden)
        self.object_fusion = TextureShapeFusion(fusion_channels, residual)
        self.scene_fusion = SceneFusion(objects, fusion_channels, residual)

    def forward(self, images: Images, masks: Masks, noise: Codes | None = None, practice: Maps | None = None) -> Reconstruction:
        """Take images apart by their masks and put them together again.

        Args:
            images: `b 3 h w` in [0, 1].
            masks: `b n+1 h w` in [0, 1], the background last, as `masks.background_last` gives them.
            noise: Drawn from a standard normal, in the shapes of the codes; without it the codes are the posterior's means.
            practice: `b m h w`, other masks for the shape VAE to learn from; `noise.shape` is `b n+m d` then.
        """
        objects, shapes, ground = parts(images, masks, self.fill_with_mean)
        texture_noise, shape_noise, background_noise = noise or (None, None, None)
        own, other = (
            (None, None) if shape_noise is None else (shape_noise[:, : len(shapes[0])], shape_noise[:, len(shapes[0]) :])
        )
        texture_mean, texture_log_variance, textures = _each(self.texture, objects, texture_noise)
        shape_mean, shape_log_variance, shape_logits = _each(self.shape, shapes, own)
        coded = Coded(shapes, shape_mean, shape_log_variance, shape_logits)
        if practice is not None:
            coded = Coded(practice[:, :, None], *_each(self.shape, practice[:, :, None], other))
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
            practice=coded._replace(masks=coded.masks.squeeze(2), logits=coded.logits.squeeze(2)),
        )


def parts(images: Images, masks: Masks, fill_with_mean: bool) -> tuple[Objects, Tensor, Images]:
    """What the texture, the shape and the background VAE see: `b n 3 h w`, `b n 1 h w` and `b 3 h w`.

    In the original objects and background are on black. `fill_with_mean` puts them on their own mean colour: what a texture
    looks like then hardly depends on where the object lies, and is learned much faster (docs/notes/004-vaes.md).
    """
    shapes = masks[:, :-1, None]
    return _cut_out(images[:, None], shapes, fill_with_mean), shapes, _cut_out(images, 1 - shapes.sum(1), fill_with_mean)


def _cut_out(images: Tensor, masks: Tensor, fill_with_mean: bool) -> Tensor:
    """Images `... 3 h w` where masks `... 1 h w` are 1, and where they are 0 black or the mean colour of the rest."""
    seen = images * masks
    if not fill_with_mean:
        return seen
    mean = seen.sum((-2, -1), keepdim=True) / masks.sum((-2, -1), keepdim=True).clamp(min=1)
    return seen + mean * (1 - masks)


def _each(vae: VAE, objects: Tensor, noise: Tensor | None) -> list[Tensor]:
    """A VAE's result for every object of every image, with the first two axes `b n`."""
    found = vae(objects.flatten(0, 1), None if noise is None else noise.flatten(0, 1))
    return [part.unflatten(0, objects.shape[:2]) for part in found]
