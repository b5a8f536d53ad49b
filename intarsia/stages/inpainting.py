"""Stage 1: the inpainter learns to guess random regions from their surroundings."""

import torch
from torch import Generator

from intarsia.engine import Run, descend
from intarsia.model import Model
from intarsia.networks.tensorflow import Adam
from intarsia.objectives import hidden_error, inpainting_loss
from intarsia.pictures import sheet
from intarsia.stages.regions import boxes, random_regions
from intarsia.stages.scenes import TrainingScenes
from intarsia.stages.schedules import set_learning_rate


def inpainting(model: Model, scenes: TrainingScenes, run: Run) -> None:
    """Train `model.inpainter` in place."""
    recipe, settings, fabric = model.recipe, model.recipe.inpainting, run.fabric
    adam = Adam(model.inpainter.parameters(), betas=(0.9, settings.beta2), fused=True)
    inpainter, optimizer = fabric.setup(model.inpainter, adam)

    for step in run.steps({"inpainter": inpainter, "optimizer": optimizer}, settings.steps, model.save):
        set_learning_rate(optimizer, settings.learning_rate, step, settings.steps)
        indices, mine = run.shard(settings.batch, step=step)
        images = scenes.train(indices).images.to(fabric.device)
        rng = run.rng(step=step)
        hidden = random_regions(settings.batch, recipe, rng)[mine].to(fabric.device)
        propagate = bool(torch.rand((), generator=rng) < settings.propagation_fraction)

        loss = inpainting_loss(images, hidden, inpainter(images, hidden, model.edges(images), propagate))
        descend(fabric, loss, optimizer)
        run.log(step, loss=loss, **(validate(model, scenes, run, step) if run.due(step) else {}))


@torch.no_grad()
def validate(model: Model, scenes: TrainingScenes, run: Run, step: int) -> dict[str, float]:
    """The mean absolute error in boxes on validation scenes. Saves a picture of eight of them."""
    images = scenes.val.first(100).images.to(run.fabric.device)
    hidden = boxes(len(images), model.recipe.height, model.recipe.width, Generator().manual_seed(0))[:, :1].to(images.device)
    edges = model.edges(images)
    guesses = model.inpainter(images, hidden, edges)
    shown = slice(8)
    run.picture(step, sheet([images[shown], (images * (1 - hidden))[shown], guesses[shown, 0], edges[shown, 0]]))
    return {"box_error": float(hidden_error(images, hidden, guesses).sum() / hidden.sum() / 3)}
