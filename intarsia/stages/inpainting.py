"""Stage 1: the inpainter learns to guess random regions from their surroundings."""

import math

import torch
from lightning_fabric import Fabric
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from intarsia.data import scenes_of
from intarsia.engine import Run
from intarsia.model import Model
from intarsia.networks.tensorflow import Adam
from intarsia.objectives import hidden_error, inpainting_loss
from intarsia.pictures import sheet
from intarsia.recipes.settings import Recipe
from intarsia.shapes import Edges, Images, Masks
from intarsia.stages.regions import boxes, everything, fields, shared_box, slivers


def inpainting(model: Model, run: Run) -> None:
    """Train `model.inpainter` in place."""
    recipe, settings, fabric = model.recipe, model.recipe.inpainting, run.fabric
    scenes = scenes_of(recipe, "train")
    inpainter, optimizer = fabric.setup(
        model.inpainter, Adam(model.inpainter.parameters(), betas=(0.9, settings.beta2), fused=True)
    )

    for step in run.steps({"inpainter": inpainter, "optimizer": optimizer}, settings.steps, model.save):
        final = settings.final_learning_rate
        set_learning_rate(optimizer, settings.learning_rate, step, settings.steps, settings.warmup_steps, final)
        indices, mine = run.shard(settings.batch, step=step)
        images = scenes(indices).images.to(fabric.device)
        rng = run.generator(step=step)
        hidden = random_regions(settings.batch, recipe, rng)[mine].to(fabric.device)
        propagate = bool(torch.rand((), generator=rng) < settings.propagation_fraction)

        loss = improve_guesses(fabric, inpainter, optimizer, images, hidden, model.edges(images), propagate)
        run.log(step, loss=loss, **(validate(model, run, step) if run.due(step) else {}))


def improve_guesses(
    fabric: Fabric, inpainter: nn.Module, optimizer: Optimizer, images: Images, hidden: Masks, edges: Edges, propagate: bool
) -> Tensor:
    """One step of the inpainter on its guesses of what is hidden; returns its loss before the step."""
    loss = inpainting_loss(images, hidden, inpainter(images, hidden, edges, propagate))
    optimizer.zero_grad()
    fabric.backward(loss)
    optimizer.step()
    return loss


def set_learning_rate(
    optimizer: Optimizer, highest: float, step: int, steps: int, warmup_steps: int, final: float = 0.0
) -> None:
    """Linear warm-up, times a cosine from the highest learning rate to the final one over all steps."""
    warm = min(1.0, (step + 1) / max(1, warmup_steps))
    for group in optimizer.param_groups:
        group["lr"] = warm * (final + (highest - final) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def random_regions(count: int, recipe: Recipe, generator: Generator) -> Masks:
    """One kind of random region, drawn by the recipe's weights, for every image of a batch: `count n h w`."""
    size, weights = (recipe.height, recipe.width), recipe.inpainting.regions
    kinds = {
        "shared_box": lambda: shared_box(count, *size, generator),
        "boxes": lambda: boxes(count, *size, generator),
        "fields": lambda: fields(count, 2 + int(torch.randint(2, (), generator=generator)), *size, generator),
        "slivers": lambda: slivers(count, *size, generator),
        "everything": lambda: everything(count, *size),
    }
    drawn = torch.multinomial(torch.tensor([getattr(weights, kind) for kind in kinds]), 1, generator=generator)
    return list(kinds.values())[int(drawn)]()


@torch.no_grad()
def validate(model: Model, run: Run, step: int) -> dict[str, float]:
    """The mean absolute error in boxes on validation scenes, and a picture of eight of them."""
    recipe = model.recipe
    images = scenes_of(recipe, "val", seed=0).first(100).images.to(run.fabric.device)
    generator = Generator().manual_seed(0)
    hidden = boxes(len(images), recipe.height, recipe.width, generator)[:, :1].to(images.device)
    edges = model.edges(images)
    guesses = model.inpainter(images, hidden, edges)
    shown = slice(8)
    run.picture(step, sheet([images[shown], (images * (1 - hidden))[shown], guesses[shown, 0], edges[shown, 0]]))
    return {"box_error": float(hidden_error(images, hidden, guesses).sum() / hidden.sum() / 3)}
