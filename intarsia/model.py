"""The model: all networks of one recipe, saved and loaded whole."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from intarsia.errors import InputError
from intarsia.files import make_folder, replacing
from intarsia.masks import background_last, edge_map, layered, opened
from intarsia.networks.autoencoder import SceneAutoencoder, parts
from intarsia.networks.inpainter import CompactInpainter
from intarsia.networks.reference import ReferenceInpainter
from intarsia.networks.resnet import ResNet50
from intarsia.networks.segmenter import CompactSegmenter
from intarsia.networks.segnet import SegNet
from intarsia.networks.tensorflow import glorot
from intarsia.objectives import divergence
from intarsia.scene import Parts, Scene
from intarsia.settings import STAGES, Recipe, check_recipe, load_recipe, save_recipe
from intarsia.shapes import Edges, Images, Masks

WEIGHTS, RECIPE = "weights.safetensors", "recipe.json"


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
                recipe.height,
                recipe.width,
                recipe.segments - 1,
                codes.texture_dimension,
                codes.shape_dimension,
                codes.background_dimension,
                codes.channels,
                codes.hidden,
                recipe.fusion.channels,
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
        """Soft masks `b k h w` as the scene autoencoder takes them: opened, the objects first, the background last."""
        return self.ordered(self.segment(images))

    def ordered(self, masks: Masks) -> Masks:
        """The same of the segmenter's masks."""
        return background_last(opened(masks), self.recipe.vaes.background_per_batch)

    @torch.no_grad()
    def encode(self, image: Tensor) -> Scene:
        """Take one image `3 h w` in [0, 1] apart: masks, and the posterior's mean of every code; nothing is drawn."""
        masks = self.ordered_masks(image[None])
        objects, shapes, ground = parts(image[None], masks)
        texture = self.autoencoder.texture.encoder(objects[0])
        shape = self.autoencoder.shape.encoder(shapes[0])
        background = [part[0] for part in self.autoencoder.background.encoder(ground)]
        return Scene(
            image=image,
            masks=masks[0],
            shape=shape[0],
            texture=texture[0],
            background=background[0],
            shape_kl=divergence(*shape),
            texture_kl=divergence(*texture),
            background_kl=divergence(*background),
        )

    @torch.no_grad()
    def decode(self, scene: Scene) -> Parts:
        """The shapes, textures and background that a scene's codes stand for."""
        return Parts(
            shapes=self.autoencoder.shape.decoder(scene.shape)[:, 0].sigmoid(),
            textures=self.autoencoder.texture.decoder(scene.texture).sigmoid(),
            background=self.autoencoder.background.decoder(scene.background[None])[0].sigmoid(),
        )

    @torch.no_grad()
    def fuse(self, decoded: Parts) -> Tensor:
        """Put decoded parts together: an image `3 h w` in [0, 1], every pixel of it made by the fusion networks.

        As in training, but where shapes overlap, those in front hide the others (`masks.layered`; the original adds them).

        Raises:
            InputError: if there are more objects than the model has room for.
        """
        room, (count, height, width) = self.recipe.segments - 1, decoded.shapes.shape
        if count > room:
            raise InputError(f"The scene holds {count} objects; the model has room for {room}.")
        visible = layered(decoded.shapes)
        objects = self.autoencoder.object_fusion(decoded.textures, visible[:, None]).sigmoid()
        behind = decoded.background * (1 - visible.sum(0))
        empty = behind.new_zeros(room - count, 3, height, width)
        return self.autoencoder.scene_fusion(torch.cat([objects, empty, behind[None]])[None])[0]

    def render(self, scene: Scene) -> Tensor:
        """The image `3 h w` in [0, 1] of a scene: decoded and fused."""
        return self.fuse(self.decode(scene))

    def edges(self, images: Images) -> Edges:
        """The edge maps `b 2 h w` that the inpainter sees."""
        return edge_map(images, self.recipe.edge_threshold)

    def save(self, folder: Path) -> None:
        """Write `recipe.json` and `weights.safetensors`; each appears whole or not at all."""
        make_folder(folder)
        with replacing(folder / RECIPE) as path:
            save_recipe(self.recipe, path)
        with replacing(folder / WEIGHTS) as path:
            try:
                save_file({name: value.contiguous() for name, value in self.state_dict().items()}, path)
            except SafetensorError as error:  # what safetensors makes of a full disk
                raise OSError(str(error)) from error

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
        return ResNet50(recipe.segments, sizes.enlargement, sizes.dilation)
    return CompactSegmenter(recipe.height, recipe.width, recipe.segments, sizes.channels, sizes.dimension)


def weights_sha256(folder: Path) -> str:
    """The SHA-256 of a model folder's weights, in hexadecimal."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def latest(folder: Path) -> Path:
    """The folder of the newest model in a run folder, or the folder itself where it is a model's.

    Raises:
        InputError: if there is neither.
    """
    for candidate in (folder, *(folder / stage for stage in reversed(STAGES))):
        if (candidate / RECIPE).is_file() and (candidate / WEIGHTS).is_file():
            return candidate
    raise InputError(
        f"{folder} is neither a run nor a model: it holds no {WEIGHTS}, nor does a stage in it ({', '.join(STAGES)})."
    )


def load(folder: str | Path) -> Model:
    """The newest model of a run folder, or the model of a model folder; `InputError` where there is none."""
    return Model.load(latest(Path(folder)))
