"""Small recipes and scenes on which stages run in seconds."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from intarsia.data.scenes import Scenes, SceneSample
from intarsia.engine import LOG, Run, start_fabric
from intarsia.model import Model
from intarsia.recipes.options import Options
from intarsia.recipes.settings import (
    Consistency,
    Content,
    Distillation,
    EndToEnd,
    Epsilon,
    Fusion,
    Inpainter,
    Inpainting,
    Recipe,
    Regions,
    Regrouping,
    Schedule,
    Segmenter,
    Separation,
    Vae,
    Vaes,
)
from intarsia.shapes import one_hot
from intarsia.stages.scenes import TrainingScenes, training_scenes

ONE_THREAD = Options(precision="32-true", accelerator="cpu", threads=1, save_every=7, show_every=1000)

# Regrouping takes part from the first step: whatever has a state has to survive.
TINY = Recipe(
    "multi_dsprites",
    edge_threshold=1e-4,
    inpainter=Inpainter(channels=4),
    segmenter=Segmenter(channels=8, dimension=4),
    vae=Vae(texture_dimension=2, shape_dimension=3, background_dimension=2, channels=4, hidden=8, window=0),
    fusion=Fusion(channels=3),
    inpainting=Inpainting(steps=100, batch=4, learning_rate=Schedule(1e-3, warmup_steps=10), propagation_fraction=0.5),
    separation=Separation(
        steps=100,
        batch=4,
        sampled_segments=2,
        epsilon=Epsilon(hold_steps=20, ramp_steps=50),
        hard_from_step=6,
        propagation_from_step=9,
        regrouping=Regrouping(from_step=0),
    ),
    vaes=Vaes(
        steps=20,
        batch=4,
        learning_rate=Schedule(1e-3, warmup_steps=10),
        beta_ramp_steps=50,
        capacity_ramp_steps=50,
        max_shift=10.0,
    ),
    end_to_end=EndToEnd(steps=20, batch=4, learning_rate=Schedule(3e-4, warmup_steps=10)),
    consistency=Consistency(steps=20, batch=4, variations=2, canonical=True),
)

# Large enough to learn in seconds, small enough to fail if gradients, signs or turns are wrong.
LEARNS = Recipe(
    "multi_texture",
    inpainter=Inpainter(channels=8),
    segmenter=Segmenter(channels=16, dimension=8),
    inpainting=Inpainting(steps=100, batch=6, learning_rate=Schedule(2e-3, warmup_steps=10)),
    separation=Separation(
        steps=90,
        batch=6,
        learning_rate=Schedule(2e-3, warmup_steps=5),
        epsilon=Epsilon(highest=30.0),
        ema_decay=0.9,
    ),
)

TOY = dataclasses.replace(
    TINY,
    height=32,
    width=32,
    segments=2,
    vae=Vae(texture_dimension=2, shape_dimension=3, background_dimension=2, channels=16, hidden=128, window=0),
    fusion=Fusion(channels=8),
    separation=dataclasses.replace(TINY.separation, regrouping=Regrouping(weight=0.0)),
    vaes=Vaes(
        steps=220,
        batch=8,
        learning_rate=Schedule(1.5e-3, final=1e-3, warmup_steps=10),
        texture_beta=1.0,
        background_beta=1.0,
        beta_ramp_steps=110,
        shape_gamma=50.0,
        capacity=6.0,
        capacity_ramp_steps=110,
    ),
    end_to_end=EndToEnd(steps=60, batch=8, learning_rate=Schedule(2e-3, warmup_steps=0)),
)

# Over content, with the segmentations that a search finds.
CONTENT = dataclasses.replace(
    TOY,
    segments=3,
    edge_threshold=0.2,
    content=Content("means", (1, 4), (3, 3)),
    inpainter=Inpainter(channels=8, propagation=4),
    segmenter=Segmenter(channels=8, dimension=4, span=8.0),
    inpainting=Inpainting(steps=60, batch=8, learning_rate=Schedule(2e-3, warmup_steps=5), regions=Regions(clusters=0.6)),
    separation=dataclasses.replace(TINY.separation, steps=0),
    distillation=Distillation(steps=16, batch=4, scenes=16, rounds=2, epsilon=2.0),
)


def toy_scenes(indices) -> SceneSample:
    """A grey square, bright or dark, in one of four places, on a reddish or bluish ground; neighbours differ in all of it."""
    kinds = torch.as_tensor(indices) * 7 % 16
    masks = torch.zeros(len(kinds), 1, 32, 32)
    for mask, place in zip(masks, (kinds % 4).tolist(), strict=True):
        top, left = 4 + 14 * (place // 2), 4 + 14 * (place % 2)
        mask[:, top : top + 10, left : left + 10] = 1
    grounds = torch.tensor([[0.8, 0.3, 0.3], [0.3, 0.3, 0.8]])[kinds // 4 % 2]
    squares = torch.tensor([0.05, 0.95])[kinds // 8]
    images = grounds[:, :, None, None] * (1 - masks) + squares[:, None, None, None] * masks
    return SceneSample(images, torch.cat([1 - masks, masks], 1))


TOYS = Scenes("toys", None, 32, 32, 2, toy_scenes)


def disc_scenes(indices) -> SceneSample:
    """A disc at the left and one at the right, each flat and of a random colour, or the left one alone, on flat ground."""
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    images, masks = [], []
    for index in torch.as_tensor(indices).tolist():
        rng = torch.Generator().manual_seed(index)
        labels = torch.zeros(32, 32, dtype=torch.int64)
        for number in range(1, 3 - index % 3 // 2):
            y, x, radius = (
                torch.rand(3, generator=rng) * torch.tensor([16, 3, 3]) + torch.tensor([8, 16 * number - 9, 4])
            ).tolist()
            labels[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = number
        colours = torch.rand(1, 3, generator=rng) / 3 + torch.eye(3)[torch.randperm(3, generator=rng)] * 2 / 3
        images.append(colours[labels].permute(2, 0, 1))
        masks.append(one_hot(labels[None], 3)[0])
    return SceneSample(torch.stack(images), torch.stack(masks))


DISCS = Scenes("discs", None, 32, 32, 3, disc_scenes)


class GreySegmenter(nn.Module):
    """Knows the true segments of toy scenes: what is grey is the square."""

    def forward(self, images: Tensor) -> Tensor:
        grey = (images.amax(1, keepdim=True) - images.amin(1, keepdim=True) < 0.01).float()
        return torch.cat([1 - grey, grey], 1).log()


def run_stage(
    stage: Callable[..., None], model: Model, folder: Path, scenes: TrainingScenes | None = None, **settings: Any
) -> Path:
    """Run a stage alone, by default on its recipe's scenes with few of them to be validated on; the stage's folder."""
    if scenes is None:
        train, val = training_scenes(model.recipe)
        scenes = TrainingScenes(train, dataclasses.replace(val, size=8))
    run = Run(folder / stage.__name__, start_fabric(ONE_THREAD), ONE_THREAD, model.recipe.seed)
    stage(model, scenes, run, **settings)
    return run.folder


def log_of(stage_folder: Path) -> list[dict]:
    """The records of a stage's log."""
    return [json.loads(line) for line in (stage_folder / LOG).read_text().splitlines()]


def changed(first: Model, second: Model) -> set[str]:
    """The networks in which two models differ."""
    one, other = first.state_dict(), second.state_dict()
    return {name.split(".")[0] for name in one if not torch.equal(one[name], other[name])}


def teach(model: Model, images: Tensor, labels: Tensor, steps: int) -> None:
    """Teach a segmenter some segments."""
    optimizer = torch.optim.Adam(model.segmenter.parameters(), 5e-3)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model.segmenter(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
