"""Rendering: a model's decoders and fusion networks draw a scene from its codes."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor

from intarsia.errors import InputError
from intarsia.masks import resample, visible_shapes
from intarsia.model import Model
from intarsia.networks.vae import VAE
from intarsia.scene import Parts, Scene


class Memo:
    """A cache of tensors by the content of the tensors that they were computed from. Not safe for several threads.

    Args:
        most_bytes: The size that all results may have together. The least recently used are dropped first.
    """

    def __init__(self, most_bytes: int = 2**26) -> None:
        self._most_bytes = most_bytes
        self._results: OrderedDict[tuple[str, bytes], Tensor] = OrderedDict()
        self.bytes = 0
        """The size of all results now."""

    def __call__(self, name: str, make: Callable[..., Tensor], *given: Tensor) -> Tensor:
        """`make(*given)`, or the result that is kept under this name for tensors of the same content."""
        key = name, hashlib.sha256(b"".join(each.cpu().numpy().tobytes() for each in given)).digest()
        if key not in self._results:
            self._results[key] = made = make(*given)
            self.bytes += made.nbytes
            while self.bytes > self._most_bytes and len(self._results) > 1:
                self.bytes -= self._results.popitem(last=False)[1].nbytes
        self._results.move_to_end(key)
        return self._results[key]


class Renderer:
    """Draws the scenes of a model: decodes their codes and fuses the decoded parts into an image.

    Args:
        model: Whose scenes they are.
        memo: Keeps what was decoded and fused, so that only what changed is computed again. The images are the same, bit by
            bit. Without a memo nothing is kept.

    Examples:
        >>> from intarsia.recipes import RECIPES
        >>> model = Model(RECIPES["multi_texture"]["compact"])
        >>> renderer = Renderer(model, Memo())
        >>> renderer.render(model.encode(torch.rand(3, 64, 64))).shape
        torch.Size([3, 64, 64])
    """

    def __init__(self, model: Model, memo: Memo | None = None) -> None:
        self.model, self.memo = model, memo

    def render(self, scene: Scene) -> Tensor:
        """The image `3 h w` in [0, 1] of a scene; or images `b 3 h w` of `b` scenes that `Model.encode` gave together.

        Raises:
            InputError: if it is a scene of a model with other codes, or holds more objects than the model has room for.
        """
        sizes = self.model.recipe.vae
        for part in ("shape", "texture", "background"):
            found, wanted = getattr(scene, part).shape[-1], getattr(sizes, f"{part}_dimension")
            if found != wanted:
                raise InputError(f"The scene's {part} codes have {found} numbers; those of the model have {wanted}.")
        return self.fuse(self.decode(scene))

    @torch.no_grad()
    def decode(self, scene: Scene) -> Parts:
        """The decoded shapes, textures and background of a scene; or those of `b` scenes, with one more axis in front.

        The codes of a single scene are decoded one by one, so that a picture does not depend on the other codes, bit by bit.
        Shapes and textures are drawn where the objects' transforms say.
        """
        return Parts(
            shapes=self.shapes(scene),
            textures=_placed(self.pictures("texture", scene.texture), scene.transform, "border"),
            background=self.pictures("background", scene.background.unsqueeze(-2)).squeeze(-4),
        )

    @torch.no_grad()
    def shapes(self, scene: Scene) -> Tensor:
        """The decoded shapes `n h w` alone."""
        return _placed(self.pictures("shape", scene.shape), scene.transform, "zeros").squeeze(-3)

    @torch.no_grad()
    def picture(self, part: str, codes: Tensor) -> Tensor:
        """The pictures `... c h w` in [0, 1] of codes `... d` of a part: "shape", "texture" or "background".

        The shape VAE gives the probability that a pixel belongs to an object, and is unsure near its border. Drawn as it is,
        that would blur the border and reach beyond the object; the recipe's sharpness above 1 makes it steeper.
        """
        vae = cast(VAE, self.model.autoencoder.get_submodule(part))
        sharpness = self.model.recipe.vae.sharpness if part == "shape" else 1
        decoded = self.model.upsample((vae.decode(codes.reshape(-1, codes.shape[-1])) * sharpness).sigmoid())
        return decoded.view(*codes.shape[:-1], *decoded.shape[1:])

    @torch.no_grad()
    def fuse(self, decoded: Parts) -> Tensor:
        """The image `3 h w` in [0, 1] of decoded parts, every pixel made by the fusion networks; or `b 3 h w` of `b` scenes.

        As in training, but where shapes overlap, those in front hide the others (the original adds them).

        Raises:
            InputError: if there are more objects than the model has room for.
        """
        count, room = decoded.shapes.shape[-3], self.model.recipe.objects
        if count > room:
            raise InputError(f"The scene holds {count} objects; the model has room for {room}.")
        visible = visible_shapes(self.model.downsample(decoded.shapes))
        behind = self.model.downsample(decoded.background) * (1 - visible.sum(-3, keepdim=True))
        return self.join(self.on_black(decoded.textures, visible), behind)

    @torch.no_grad()
    def on_black(self, textures: Tensor, visible: Tensor) -> Tensor:
        """Objects `... n 3 h w` on black, as the object fusion network draws them; of the scene autoencoder's size.

        Args:
            textures: `... n 3 h w`, of the image's size.
            visible: `... n h w`, the visible part of the shapes, of the scene autoencoder's size.
        """
        textures = self.model.downsample(textures)
        if visible.dim() > 3 or not len(visible):
            return self._objects(textures, visible)
        return torch.stack([self.keep("object", self._objects, *each) for each in zip(textures, visible, strict=True)])

    @torch.no_grad()
    def join(self, objects: Tensor, behind: Tensor) -> Tensor:
        """The image `... 3 h w` that the scene fusion network makes of objects `... n 3 h w` on black and what is behind them.

        Objects, and the background without the objects' places, `... 3 h w`, have the scene autoencoder's size.
        """
        *images, count, colours, height, width = objects.shape
        empty = behind.new_zeros(*images, self.model.recipe.objects - count, colours, height, width)
        layers = torch.cat([objects, empty, behind.unsqueeze(-4)], -4)
        fused = self.model.autoencoder.scene_fusion(layers.reshape(-1, *layers.shape[-4:])).view_as(behind)
        return self.model.upsample(fused)

    def pictures(self, part: str, codes: Tensor) -> Tensor:
        """`picture`, code by code and kept where the codes `n d` are those of a single scene."""
        if codes.dim() > 2 or not len(codes):
            return self.picture(part, codes)
        return torch.stack([self.keep(part, partial(self.picture, part), code) for code in codes])

    def keep(self, name: str, make: Callable[..., Tensor], *given: Tensor) -> Tensor:
        """`make(*given)`, or what the memo holds of it."""
        return make(*given) if self.memo is None else self.memo(name, make, *given)

    def _objects(self, textures: Tensor, visible: Tensor) -> Tensor:
        """Objects `... 3 h w` on black, from their textures `... 3 h w` and the visible part of their shapes, `... h w`."""
        pictures, masks = textures.reshape(-1, *textures.shape[-3:]), visible.reshape(-1, 1, *visible.shape[-2:])
        return self.model.autoencoder.object_fusion(pictures, masks).sigmoid().view_as(textures)


def _placed(pictures: Tensor, transforms: Tensor, beyond: Literal["zeros", "border"]) -> Tensor:
    """Pictures `n c h w` where the transforms `n 3` say; those of several encoded scenes have one more axis, and stay."""
    if pictures.dim() > 4 or not len(pictures):
        return pictures
    return torch.stack([resample(*each, beyond) for each in zip(pictures, transforms, strict=True)])
