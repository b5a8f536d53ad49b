"""The model: all networks of one recipe, built, saved and loaded together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from intarsia.assembly import autoencoder_of, backbone_of, content_of, inpainter_of, naming, segmenter_of
from intarsia.clusters import one_piece_each, snap_to_colours, vote
from intarsia.errors import InputError
from intarsia.files import make_folder, replacing
from intarsia.masks import (
    background_last,
    downsample,
    edge_map,
    mattes,
    normalise_contrast,
    open_masks,
    partition,
    signed_edge_map,
    upsample,
    weight_objects,
)
from intarsia.networks.autoencoder import parts
from intarsia.objectives import divergence
from intarsia.recipes.file import check_recipe, load_recipe, save_recipe
from intarsia.recipes.settings import Recipe, planned
from intarsia.scene import Scene
from intarsia.shapes import Edges, Images, Masks, checked_images, one_hot
from intarsia.weights import RECIPE, WEIGHTS, latest, read_weights


class Model(nn.Module):
    """Inpainter, segmenter and scene autoencoder of one recipe.

    Networks that are not trained yet have their initial values, drawn from the recipe's seed.

    Args:
        recipe: The settings.
        segmenter: A network of your own in place of the recipe's (docs/extending.md). `model.recipe` names it.
        inpainter: The same.

    Examples:
        >>> from intarsia.recipes import RECIPES
        >>> model = Model(RECIPES["multi_texture"]["compact"])
        >>> masks = model.segment(torch.rand(2, 3, 64, 64))
        >>> masks.shape
        torch.Size([2, 5, 64, 64])
        >>> scene = model.encode(torch.rand(3, 64, 64))
        >>> model.render(scene).shape
        torch.Size([3, 64, 64])
    """

    def __init__(self, recipe: Recipe, segmenter: nn.Module | None = None, inpainter: nn.Module | None = None) -> None:
        super().__init__()
        recipe = naming(recipe, segmenter, inpainter)
        check_recipe(recipe)
        self.recipe = recipe
        self.source: Path | None = None  # the folder that the weights were loaded from
        self.weights_sha256: str | None = None  # of their file
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(recipe.seed)  # not torch.manual_seed, which reseeds the GPUs as well
            self.inpainter = inpainter_of(recipe) if inpainter is None else inpainter
            self.segmenter = segmenter_of(recipe) if segmenter is None else segmenter
            self.content = content_of(recipe)
            self.backbone = backbone_of(recipe)
            self.autoencoder = autoencoder_of(recipe)
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from PyTorch's types

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""
        return next(self.parameters()).device

    @property
    def has_codes(self) -> bool:
        """Whether the recipe trains codes of objects and background; without them objects can be moved, but not changed."""
        return "vaes" in planned(self.recipe)

    def segment(self, images: Tensor, chunk: int = 50) -> Tensor:
        """The segments of images as soft masks that sum to 1 over the segments.

        Args:
            images: `b 3 h w`, or one image `3 h w`, of the recipe's size: floats in [0, 1] or uint8, on any device.
            chunk: How many images are computed at a time.

        Returns:
            `b k h w`, or `k h w` for one image.

        Raises:
            InputError: if the images are something else.
        """
        if chunk < 1:
            raise InputError(f"chunk is {chunk}; it must be at least 1.")
        masks = self.masks(self._checked(images), chunk)
        return masks[0] if images.dim() == 3 else masks

    @torch.no_grad()
    def masks(self, images: Images, chunk: int = 50) -> Masks:
        """`segment` for images `b 3 h w` in [0, 1] that are known to fit: in training and where the model made them."""
        with _evaluating(self.segmenter):
            masks = [self.segmenter(part, *self.maps(part)).softmax(1) for part in images.split(chunk)]
        return self.final_masks(torch.cat(masks), images)

    @torch.no_grad()
    def final_masks(self, masks: Masks, images: Images) -> Masks:
        """The segmenter's masks `b k h w`, weighted, with the images' borders, each object in one piece, as the recipe says."""
        sizes = self.recipe.segmenter
        if sizes.object_weight != 1:
            masks = weight_objects(masks, sizes.object_weight, self.recipe.backgrounds)
        if sizes.votes:
            content = self.contents(images)[0]
            values = content if content.shape[2:] == images.shape[2:] else images
            masks = vote(masks, values, sizes.clusters, sizes.votes, sizes.mixed_borders)
        if sizes.border_radius:
            labels, segments, seeds = masks.argmax(1), masks.shape[1], [0] * len(images)
            reach = sizes.border_radius, sizes.border_window
            masks = one_hot(snap_to_colours(labels, segments, images, sizes.border_colours, *reach, seeds), segments)
        return one_piece_each(masks, self.recipe.backgrounds) if sizes.one_piece else masks

    @torch.no_grad()
    def maps(self, images: Images) -> list[Tensor]:
        """The backbone's maps of images that the segmenter takes, finest first; none for a segmenter without a backbone."""
        return self.backbone(images) if self.backbone is not None and self.recipe.segmenter.backbone else []

    @torch.no_grad()
    def content_maps(self, images: Images) -> list[Tensor]:
        """The backbone's maps of images that their content is made of, finest first; none for content of other kinds."""
        return self.backbone(images) if self.backbone is not None and self.content.kind == "features" else []

    @torch.no_grad()
    def contents(self, images: Images) -> list[Tensor]:
        """What the inpainter guesses of images `b 3 h w`: maps `b c h/stride w/stride`, finest first."""
        found: list[Tensor] = self.content(images, self.content_maps(images))
        return found

    def ordered_masks(self, images: Images) -> Masks:
        """Soft masks `b n+1 h w` as the scene autoencoder takes them: opened, the objects first, the background last."""
        return self.ordered(self.masks(images), images)

    def ordered(self, masks: Masks, images: Images) -> Masks:
        """The segmenter's masks `b k h w` of images as `ordered_masks` gives them."""
        found = background_last(open_masks(masks), self.recipe.vaes.background_per_batch, self.recipe.backgrounds)
        return mattes(partition(found), images) if self.recipe.vae.mattes else found

    def autoencoder_images(self, images: Images) -> Images:
        """Images as the scene autoencoder sees them in training: downsampled, with the colours that it learns."""
        return self.downsample(normalise_contrast(images) if self.recipe.vae.normalise_contrast else images)

    def downsample(self, maps: Tensor) -> Tensor:
        """Maps `... h w` of the images' size at the scene autoencoder's size."""
        return downsample(maps, self.recipe.vae.downsampling)

    def upsample(self, maps: Tensor) -> Tensor:
        """Maps `... h w` of the scene autoencoder's size at the images' size."""
        return upsample(maps, self.recipe.vae.downsampling)

    def encode(self, image: Tensor) -> Scene:
        """The scene of an image `3 h w`: its masks, and the posterior mean of every code.

        The contrast is not normalised here, even if the codes were learned from normalised images (a quirk of the original).

        Args:
            image: As `segment` takes it. Images `b 3 h w` give one scene whose tensors have one more axis in front. It can be
                rendered, but not edited.

        Raises:
            InputError: if it is something else.
        """
        scene = self._encoded(self._checked(image))
        names = [item.name for item in fields(scene) if item.name != "origins"]
        return scene if image.dim() == 4 else Scene(**{name: getattr(scene, name)[0] for name in names})

    def _checked(self, images: Tensor) -> Images:
        return checked_images(images, self.recipe.height, self.recipe.width).to(self.device)

    @torch.no_grad()
    def _encoded(self, image: Images) -> Scene:
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

    def render(self, scene: Scene) -> Tensor:
        """The image `3 h w` in [0, 1] of a scene, as `intarsia.Renderer` draws it."""
        from intarsia.rendering import Renderer

        return Renderer(self).render(scene)

    def edges(self, images: Images) -> Edges:
        """The edge maps `b 2 h w` that the inpainter sees."""
        rule = signed_edge_map if self.recipe.signed_edges else edge_map
        return rule(images, self.recipe.edge_threshold)

    def save(self, folder: str | Path, kind: torch.dtype = torch.float32) -> None:
        """Write `recipe.json` and `weights.safetensors`. Each file appears complete or not at all.

        Weights in float16 take half the space and keep three digits. A loaded model computes in float32 either way.
        """
        folder = Path(folder)
        make_folder(folder)
        with replacing(folder / RECIPE) as path:
            save_recipe(self.recipe, path)
        with replacing(folder / WEIGHTS) as path:
            path.write_bytes(self.weights(kind))  # `save_file` leaves a file of another name behind when it is killed

    def weights(self, kind: torch.dtype = torch.float32) -> bytes:
        """The content of `weights.safetensors`."""
        return save({name: value.to(kind).contiguous() for name, value in self.state_dict().items()})

    @classmethod
    def load(
        cls, folder: str | Path, device: str = "cpu", segmenter: nn.Module | None = None, inpainter: nn.Module | None = None
    ) -> "Model":
        """Load a folder that `save` wrote.

        Args:
            folder: A model folder.
            device: Where to put the model; "auto" is the GPU if there is one, else the CPU.
            segmenter: The one that the model was made with, if no installed package has it. It gets the model's weights.
            inpainter: The same.

        Raises:
            InputError: if the folder holds no model, its weights are corrupt, not finite or don't fit its recipe, a network is
                missing, or there is no such device.
        """
        folder = Path(folder)
        for name in (RECIPE, WEIGHTS):
            if not (folder / name).is_file():
                raise InputError(f"{folder} is not a model folder: it holds no {name}.")
        with torch.device("meta"):  # without memory: a recipe can ask for far more than its weights hold
            model = cls(load_recipe(folder / RECIPE), segmenter, inpainter)
        shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        weights, digest = read_weights(folder / WEIGHTS, shapes)
        for network in model.children():  # those of other packages have memory, and may hold more than weights
            if any(value.is_meta for value in network.state_dict().values()):
                network.to_empty(device="cpu")
        model.load_state_dict(weights)
        model.source, model.weights_sha256 = folder, digest
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            return model.to(device)
        except (RuntimeError, AssertionError) as error:  # the latter if PyTorch was built without GPUs
            raise InputError(f"The model can't be put on the device {device!r}: {str(error).splitlines()[0]}") from error


def load(
    folder: str | Path,
    device: str = "auto",
    with_codes: bool = False,
    segmenter: nn.Module | None = None,
    inpainter: nn.Module | None = None,
) -> Model:
    """Load the newest model of a run folder, the model of a model folder, or a shipped model by its name.

    Args:
        folder: The run folder, the model folder or the name.
        device: As `Model.load` takes it.
        with_codes: Refuse a model whose codes are not trained yet. A recipe without codes is no reason to refuse.
        segmenter: As `Model.load` takes it.
        inpainter: As `Model.load` takes it.

    Raises:
        InputError: if there is no such model, a network of it is missing, or its codes are not trained but have to be.
    """
    return Model.load(latest(Path(folder), with_codes), device, segmenter, inpainter)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and back into its own mode afterwards."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
