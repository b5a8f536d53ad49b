"""The model: all networks of one recipe, saved and loaded whole."""

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from intarsia.errors import InputError
from intarsia.files import make_folder, replacing
from intarsia.masks import (
    background_last,
    downsample,
    edge_map,
    normalise_contrast,
    open_masks,
    signed_edge_map,
    upsample,
    visible_shapes,
)
from intarsia.memo import FORGETFUL, Memo
from intarsia.networks.autoencoder import SceneAutoencoder, parts
from intarsia.networks.inpainter import CompactInpainter
from intarsia.networks.reference import ReferenceInpainter
from intarsia.networks.resnet import ResNet50
from intarsia.networks.segmenter import CompactSegmenter
from intarsia.networks.segnet import SegNet
from intarsia.networks.tensorflow import glorot
from intarsia.networks.vae import VAE
from intarsia.objectives import divergence
from intarsia.recipes.file import check_recipe, load_recipe, save_recipe
from intarsia.recipes.settings import Recipe
from intarsia.scene import Parts, Scene
from intarsia.shapes import Edges, Images, Masks
from intarsia.weights import RECIPE, WEIGHTS, latest


class Model(nn.Module):
    """Inpainter, segmenter and scene autoencoder of one recipe.

    Those not yet trained have their initial values, drawn from the recipe's seed.

    Example:
        >>> from intarsia.recipes import RECIPES
        >>> model = Model(RECIPES["multi_texture"]["compact"])
        >>> masks = model.segment(torch.rand(2, 3, 64, 64))
        >>> masks.shape
        torch.Size([2, 5, 64, 64])
        >>> scene = model.encode(torch.rand(3, 64, 64))
        >>> model.render(scene).shape
        torch.Size([3, 64, 64])
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        check_recipe(recipe)
        self.recipe = recipe
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(recipe.seed)  # not torch.manual_seed, which reseeds the GPUs as well
            self.inpainter = _inpainter(recipe)
            self.segmenter = _segmenter(recipe)
            codes = recipe.vae
            self.autoencoder = SceneAutoencoder(
                recipe.height // codes.downsampling,
                recipe.width // codes.downsampling,
                recipe.objects,
                codes.texture_dimension,
                codes.shape_dimension,
                codes.background_dimension,
                codes.channels,
                codes.hidden,
                recipe.fusion.channels,
                codes.fill_with_mean,
                recipe.fusion.residual,
                codes.window,
            )
            if codes.glorot:
                glorot(self.autoencoder)
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from PyTorch's types

    @torch.no_grad()
    def segment(self, images: Images, chunk: int = 50) -> Masks:
        """Soft masks `b k h w` of images `b 3 h w` in [0, 1]; `chunk` images at a time."""
        self.eval()
        return torch.cat([self.segmenter(part).softmax(1) for part in images.split(chunk)])

    def ordered_masks(self, images: Images) -> Masks:
        """Soft masks `b n+1 h w` as the scene autoencoder takes them: opened, the objects first, the background last."""
        return self.ordered(self.segment(images))

    def ordered(self, masks: Masks) -> Masks:
        """The same of the segmenter's masks."""
        return background_last(open_masks(masks), self.recipe.vaes.background_per_batch, self.recipe.backgrounds)

    def lesson(self, images: Images, masks: Masks) -> tuple[Images, Masks]:
        """What the scene autoencoder learns of images and ordered masks: as small as it sees them, in the colours it sees."""
        return self.downsample(normalise_contrast(images) if self.recipe.vae.normalise_contrast else images), self.downsample(
            masks
        )

    def downsample(self, maps: Tensor) -> Tensor:
        """Maps `... h w` of the images' size, as small as the scene autoencoder sees them."""
        return downsample(maps, self.recipe.vae.downsampling)

    def upsample(self, maps: Tensor) -> Tensor:
        """Maps `... h w` of the scene autoencoder, as large as the images."""
        return upsample(maps, self.recipe.vae.downsampling)

    @torch.no_grad()
    def encode(self, image: Tensor) -> Scene:
        """Take an image `3 h w` in [0, 1] apart: masks, and the posterior's mean of every code; nothing is drawn.

        Its colours are not stretched here, also where the codes have learned stretched ones (a quirk of the original).

        Of `b 3 h w` the scene has an axis more in each of its tensors: to be rendered, not to be edited.
        """
        if image.dim() == 3:
            scene = self.encode(image[None])
            return Scene(**{item.name: getattr(scene, item.name)[0] for item in fields(scene)})
        masks = self.ordered_masks(image)
        objects, shapes, ground = parts(self.downsample(image), self.downsample(masks), self.recipe.vae.fill_with_mean)
        texture = self.autoencoder.texture.encode(objects.flatten(0, 1))
        shape = self.autoencoder.shape.encode(shapes.flatten(0, 1))
        background = self.autoencoder.background.encode(ground)
        each = (len(image), -1)
        return Scene(
            image=image,
            masks=masks,
            shape=shape[0].unflatten(0, each),
            texture=texture[0].unflatten(0, each),
            background=background[0],
            shape_kl=divergence(*shape).unflatten(0, each),
            texture_kl=divergence(*texture).unflatten(0, each),
            background_kl=divergence(*background),
        )

    @torch.no_grad()
    def decode(self, scene: Scene, memo: Memo = FORGETFUL) -> Parts:
        """The shapes, textures and background that a scene's codes stand for; or those of several, with an axis more.

        Of a single scene each code is decoded on its own, so that its picture is the same, bit by bit, in every company; and
        those that the memo knows are not decoded again.
        """
        return Parts(
            shapes=self.shapes(scene, memo),
            textures=self._pictures("texture", scene.texture, memo),
            background=self._pictures("background", scene.background.unsqueeze(-2), memo).squeeze(-4),
        )

    @torch.no_grad()
    def shapes(self, scene: Scene, memo: Memo = FORGETFUL) -> Tensor:
        """The shapes alone, `n h w`."""
        return self._pictures("shape", scene.shape, memo).squeeze(-3)

    def _pictures(self, part: str, codes: Tensor, memo: Memo) -> Tensor:
        if codes.dim() > 2 or not len(codes):
            return self.picture(part, codes)
        return torch.stack([memo(part, partial(self.picture, part), code) for code in codes])

    @torch.no_grad()
    def picture(self, part: str, codes: Tensor) -> Tensor:
        """What codes `... d` of a part stand for (shape, texture or background): `... c h w` in [0, 1].

        The shape VAE learns how likely a pixel belongs to an object; near the border it is in doubt over some pixels. Drawn as
        it is, that doubt would be a blur, and reach beyond the object; with a sharpness above 1 it is not drawn.
        """
        vae = cast(VAE, self.autoencoder.get_submodule(part))
        logits = vae.decode(codes.reshape(-1, codes.shape[-1])) * (self.recipe.vae.sharpness if part == "shape" else 1)
        decoded = self.upsample(logits.sigmoid())
        return decoded.view(*codes.shape[:-1], *decoded.shape[1:])

    @torch.no_grad()
    def fuse(self, decoded: Parts, memo: Memo = FORGETFUL) -> Tensor:
        """Put decoded parts together: an image `3 h w` in [0, 1], every pixel of it made by the fusion networks.

        As in training, but where shapes overlap, those in front hide the others (the original adds them).
        Parts of `b` images, with an axis more, become `b 3 h w`. Objects that the memo knows, by texture and by what is
        visible of them, are not fused again.

        Raises:
            InputError: if there are more objects than the model has room for.
        """
        shapes, textures, background = map(self.downsample, (decoded.shapes, decoded.textures, decoded.background))
        room, (*images, count, height, width) = self.recipe.objects, shapes.shape
        if count > room:
            raise InputError(f"The scene holds {count} objects; the model has room for {room}.")
        visible = visible_shapes(shapes)
        if images or not count:
            objects = self._objects(textures, visible)
        else:
            objects = torch.stack([memo("object", self._objects, *each) for each in zip(textures, visible, strict=True)])
        behind = background * (1 - visible.sum(-3, keepdim=True))
        empty = behind.new_zeros(*images, room - count, 3, height, width)
        layers = torch.cat([objects, empty, behind.unsqueeze(-4)], -4)
        return self.upsample(self.autoencoder.scene_fusion(layers.reshape(-1, *layers.shape[-4:])).view_as(behind))

    def _objects(self, textures: Tensor, visible: Tensor) -> Tensor:
        """Objects `... 3 h w` on black, of their textures `... 3 h w` and of what is visible of their shapes, `... h w`."""
        pictures, masks = textures.reshape(-1, *textures.shape[-3:]), visible.reshape(-1, 1, *visible.shape[-2:])
        return self.autoencoder.object_fusion(pictures, masks).sigmoid().view_as(textures)

    def render(self, scene: Scene, memo: Memo = FORGETFUL) -> Tensor:
        """The image `3 h w` in [0, 1] of a scene: decoded and fused; or the images of several.

        With a memo the images are the same, bit by bit.
        """
        return self.fuse(self.decode(scene, memo), memo)

    def edges(self, images: Images) -> Edges:
        """The edge maps `b 2 h w` that the inpainter sees."""
        rule = signed_edge_map if self.recipe.signed_edges else edge_map
        return rule(images, self.recipe.edge_threshold)

    def save(self, folder: Path, kind: torch.dtype = torch.float32) -> None:
        """Write `recipe.json` and `weights.safetensors`; each appears whole or not at all.

        In float16 the weights take half the room and keep three digits; a model that is loaded computes in float32 either way.
        """
        make_folder(folder)
        with replacing(folder / RECIPE) as path:
            save_recipe(self.recipe, path)
        weights = {name: value.to(kind).contiguous() for name, value in self.state_dict().items()}
        with replacing(folder / WEIGHTS) as path:
            path.write_bytes(save(weights))  # `save_file` leaves a file of another name behind when it is killed

    @classmethod
    def load(cls, folder: Path) -> "Model":
        """Read a folder that `save` wrote.

        Raises:
            InputError: if the folder holds no model, its weights are corrupt, or they don't fit its recipe.
        """
        for name in (RECIPE, WEIGHTS):
            if not (folder / name).is_file():
                raise InputError(f"{folder} is not a model folder: it holds no {name}.")
        model = cls(load_recipe(folder / RECIPE))
        try:
            weights: dict[str, Tensor] = load_file(folder / WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{folder / WEIGHTS} is corrupt: {error}") from error
        expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        found = {name: tuple(value.shape) for name, value in weights.items()}
        odd = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        if odd:
            name = odd[0]
            raise InputError(
                f"{folder / WEIGHTS} does not fit its recipe: {name} is {found.get(name, 'missing')}, "
                f"but should be {expected.get(name, 'absent')} ({len(odd)} of {len(expected)} differ)."
            )
        model.load_state_dict(weights)
        return model


def _inpainter(recipe: Recipe) -> nn.Module:
    if recipe.inpainter.network == "reference":
        return ReferenceInpainter()
    return CompactInpainter(recipe.height, recipe.width, recipe.inpainter.channels, recipe.inpainter.patches)


def _segmenter(recipe: Recipe) -> nn.Module:
    sizes = recipe.segmenter
    if sizes.network == "segnet":
        return SegNet(recipe.segments)
    if sizes.network == "resnet50":
        return ResNet50(recipe.segments, sizes.upsampling, sizes.dilation)
    return CompactSegmenter(
        recipe.height,
        recipe.width,
        recipe.segments,
        sizes.channels,
        sizes.dimension,
        sizes.span,
        sizes.smoothing,
        sizes.learn_channels,
    )


def load(folder: str | Path) -> Model:
    """The newest model of a run folder, the model of a model folder, or a shipped one by its name; else `InputError`."""
    return Model.load(latest(Path(folder)))
