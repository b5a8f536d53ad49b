"""Novelty: how far an image is from those that a model has learned, judged by how badly the model does on it.

Three errors are measured: how badly the inpainter guesses boxes from the rest of the image, how badly it guesses each segment
from the rest, and, with codes, how badly the scene is rendered from its codes. Their logarithms on the validation scenes have a
mean and a covariance; the novelty is the Mahalanobis distance from them. An image is novel if it is farther than all but one in
a hundred of the validation scenes. Errors that are much too small count as well: a plain image is none that it learned.

References:
    Hendrycks and Gimpel, A baseline for detecting misclassified and out-of-distribution examples, ICLR 2017.
    Lee et al., A simple unified framework for detecting out-of-distribution samples, NeurIPS 2018.
"""

import dataclasses
import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from intarsia.data import KINDS, OF_PHOTOGRAPHS, Scenes
from intarsia.errors import InputError, is_finite
from intarsia.files import make_folder, replacing
from intarsia.model import Model
from intarsia.networks.guessing import cells_of, guess, is_pixels
from intarsia.objectives import content_error, hidden_error
from intarsia.records import read_as
from intarsia.shapes import Images, Masks
from intarsia.weights import NOVELTY, shipped

QUANTILE = 0.99  # of the validation scenes' novelty
SCENES = 1000  # validation scenes, at most
BOX = 4  # boxes along a side of the image
LEAST = 1e-5  # error per value, and variance of its logarithm; anything below is rounding
AT_ONCE = 25  # images


@dataclass(frozen=True)
class Familiar:
    """What a model's own scenes are like to it.

    scenes: How many validation scenes were measured.
    mean: Of each error's logarithm.
    precision: The inverse of their covariance.
    quantile: The fraction of these scenes that is not novel.
    limit: The novelty above which an image is.
    """

    weights_sha256: str
    scenes: int
    mean: list[float]
    precision: list[list[float]]
    quantile: float
    limit: float

    def novelty(self, values: Tensor) -> Tensor:
        """The novelty `b` of images with these logarithms of errors, `b m`."""
        away = values.double() - values.new_tensor(self.mean, dtype=torch.double)
        return torch.einsum("bm,mn,bn->b", away, away.new_tensor(self.precision), away).clamp(min=0).sqrt()

    def save(self, folder: Path) -> None:
        """Write `novelty.json` into a model folder."""
        make_folder(folder)
        with replacing(folder / NOVELTY) as path:
            path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def familiar(model: Model) -> Familiar | None:
    """What is stored beside a model that was loaded; None if nothing is, or it is of other weights.

    Raises:
        InputError: if the file can't be read, or is damaged.
    """
    if model.source is None or not (model.source / NOVELTY).is_file():
        return None
    path, remedy = model.source / NOVELTY, "delete it, and run `intarsia evaluate` again"
    found, count = read_as(Familiar, path, remedy), 3 if model.has_codes else 2
    square = [len(found.mean), len(found.precision), *map(len, found.precision)] == [count] * (count + 2)
    if not square or not all(map(is_finite, [found.limit, found.quantile, *found.mean, *chain(*found.precision)])):
        raise InputError(f"{path} holds no measures of {count} errors; {remedy}.")
    return found if found.weights_sha256 == model.weights_sha256 else None


def learn(model: Model, scenes: Scenes) -> Familiar:
    """Measure what a model's validation scenes are like to it."""
    count = SCENES if scenes.size is None else min(SCENES, scenes.size)
    values = torch.cat([errors(model, scenes(part.tolist()).images) for part in torch.arange(count).split(AT_ONCE)]).double()
    steady = LEAST * torch.eye(values.shape[1], dtype=torch.double)
    precision = torch.linalg.inv(torch.cov(values.T) + steady)
    found = Familiar(model.weights_sha256 or "", count, values.mean(0).tolist(), precision.tolist(), QUANTILE, 0.0)
    return dataclasses.replace(found, limit=float(found.novelty(values).quantile(QUANTILE)))


@torch.no_grad()
def errors(model: Model, images: Images) -> Tensor:
    """The logarithms of a model's errors on images `b 3 h w` of its size, `b m`, on the CPU."""
    images = images.to(model.device)
    found = [_guessing_error(model, images, each) for each in (_boxes(images), model.masks(images))]
    if model.has_codes:
        found.append((model.render(model.encode(images)) - images).abs().mean((1, 2, 3)))
    return torch.stack(found, 1).clamp(min=LEAST).log().cpu()


def notice(model: Model, image: Tensor, name: str) -> str:
    """What to say of an image `3 h w` of the model's size that is novel to it; empty if it is not, or nothing is recorded."""
    known = familiar(model)
    if known is None:
        return ""
    found = float(known.novelty(errors(model, image[None]))[0])
    if found <= known.limit:
        return ""
    kind = KINDS.get(model.recipe.dataset, f"pictures of {model.recipe.dataset}")
    instead = model_for_photographs(model)
    return (
        f"This model knows only {kind}; {name} is unlike those, so its segments and edits may be poor "
        f"(novelty {found:.1f}; {known.quantile:.0%} of the model's validation scenes have up to {known.limit:.1f})."
        f"{f' For photographs, try {instead}.' if instead else ''}"
    )


def model_for_photographs(model: Model) -> str:
    """The name of the shipped model to try on photographs; empty if none ships, or this one was trained on some itself."""
    name = OF_PHOTOGRAPHS[0]
    return name if name in shipped() and model.recipe.dataset not in OF_PHOTOGRAPHS else ""


def _guessing_error(model: Model, images: Images, regions: Masks) -> Tensor:
    """The mean error `b`, per value, of the inpainter's guesses of regions `b k h w` that partition the images."""
    contents = model.contents(images)
    hidden = cells_of(regions, contents)
    guesses = guess(model.inpainter, contents, model.edges(images), hidden, True)
    if is_pixels(contents):
        return hidden_error(contents[0], hidden[0], guesses[0]).sum(1) / images[0].numel()
    return content_error(contents, hidden, guesses).sum(1) / sum(each[0].numel() for each in contents)


def _boxes(images: Images) -> Masks:
    """The two colours of a chessboard as regions `b 2 h w`."""
    rows, columns = (torch.arange(size, device=images.device) * BOX // size for size in images.shape[2:])
    white = ((rows[:, None] + columns) % 2).to(images)
    return torch.stack([white, 1 - white]).expand(len(images), -1, -1, -1)
