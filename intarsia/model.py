"""The model: all networks of one recipe, saved and loaded whole."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from intarsia.errors import InputError
from intarsia.files import make_folder, replacing
from intarsia.masks import edge_map
from intarsia.networks.inpainter import CompactInpainter
from intarsia.networks.segmenter import CompactSegmenter
from intarsia.recipes import STAGES, Recipe, check_recipe, load_recipe, save_recipe
from intarsia.shapes import Edges, Images, Masks

WEIGHTS, RECIPE = "weights.safetensors", "recipe.json"


class Model(nn.Module):
    """Inpainter and segmenter of one recipe; those not yet trained have their initial values, drawn from the recipe's seed.

    Example:
        >>> from intarsia.recipes import RECIPES
        >>> model = Model(RECIPES["multi_texture"]["compact"])
        >>> masks = model.segment(torch.rand(2, 3, 64, 64))
        >>> masks.shape
        torch.Size([2, 5, 64, 64])
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        check_recipe(recipe)
        self.recipe = recipe
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(recipe.seed)  # not torch.manual_seed, which reseeds the GPUs as well
            sizes = recipe.inpainter
            self.inpainter = CompactInpainter(recipe.height, recipe.width, sizes.channels, sizes.patches)
            grouping = recipe.segmenter
            self.segmenter = CompactSegmenter(
                recipe.height, recipe.width, recipe.segments, grouping.channels, grouping.dimension
            )
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from PyTorch's types

    @torch.no_grad()
    def segment(self, images: Images, chunk: int = 50) -> Masks:
        """Soft masks `b k h w` of images `b 3 h w` in [0, 1]; `chunk` images at a time."""
        self.eval()
        return torch.cat([self.segmenter(part).softmax(1) for part in images.split(chunk)])

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
