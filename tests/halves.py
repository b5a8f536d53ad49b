"""A model whose objects are known without training: a segmenter and a shape decoder made by hand, all else at random."""

import dataclasses

import torch
from torch import Tensor, nn

from intarsia.model import Model
from intarsia.recipes.settings import Fusion, Inpainter, Recipe, Segmenter, Vae

HEIGHT = WIDTH = 32
RECIPE = Recipe(
    "multi_dsprites",
    height=HEIGHT,
    width=WIDTH,
    segments=3,
    inpainter=Inpainter(channels=2, patches=0),
    segmenter=Segmenter(channels=8, dimension=4),
    vae=Vae(channels=4, hidden=16, window=0),
    fusion=Fusion(channels=4),
)


class Halves(nn.Module):
    """A segmenter: background at the top, an object at the bottom left, one at the bottom right."""

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        masks = images.new_full((len(images), 3, height, width), -20)
        top = height * 9 // 16
        masks[:, 0, :top] = 20
        masks[:, 1, top:, : width // 2] = 20
        masks[:, 2, top:, width // 2 :] = 20
        return masks


class Gap(Halves):
    """The same segmenter with two more channels: an empty one between the objects, and an empty one behind them."""

    def forward(self, images: Tensor) -> Tensor:
        halves = super().forward(images)
        empty = torch.full_like(halves[:, :1], -20)
        return torch.cat([halves[:, :2], empty, halves[:, 2:], empty], 1)


class Squares(nn.Module):
    """A shape decoder: a square whose place is in two numbers of the code, and its size in a third."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, codes: Tensor) -> Tensor:
        down, across = torch.meshgrid(torch.arange(float(self.height)), torch.arange(float(self.width)), indexing="ij")
        scale = self.width / 32
        x, y = ((codes[:, number, None, None] * 8 + 12) * scale for number in (0, 1))
        half = (5 + codes[:, 2, None, None]) * scale
        return 2 * (half - torch.maximum((across - x).abs(), (down - y).abs()))[:, None]


def by_hand(model: Model, segmenter: nn.Module | None = None) -> Model:
    """The model with segmenter and shape decoder made by hand."""
    model.segmenter = segmenter or Halves()
    model.autoencoder.shape.decoder = Squares(model.recipe.height, model.recipe.width)  # type: ignore[assignment]
    return model.eval()


def model_of_halves(seed: int = 0, size: int = HEIGHT) -> Model:
    """A small one, of two objects."""
    return by_hand(Model(dataclasses.replace(RECIPE, seed=seed, height=size, width=size)))
