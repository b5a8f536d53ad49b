"""Stage 1: the inpainter learns to guess random regions from their surroundings."""

import torch
from torch import Generator, Tensor

from intarsia.engine import Run, descend
from intarsia.model import Model
from intarsia.networks.guessing import guess, is_pixels
from intarsia.networks.tensorflow import Adam
from intarsia.objectives import hidden_error
from intarsia.pictures import sheet
from intarsia.recipes.settings import Recipe
from intarsia.shapes import Masks
from intarsia.stages.clusters import cluster_regions
from intarsia.stages.game import guessing_loss
from intarsia.stages.regions import boxes, hidden_cells, one_side, random_angles, random_regions
from intarsia.stages.scenes import StepImages, TrainingScenes
from intarsia.stages.schedules import set_learning_rate

FITTED = 300  # training scenes, the first ones, from which the factors of the content are computed
AT_ONCE = 25  # of them in the backbone


def inpainting(model: Model, scenes: TrainingScenes, run: Run) -> None:
    """Fit `model.content` to the first training scenes, and train `model.inpainter` in place."""
    recipe, settings, fabric = model.recipe, model.recipe.inpainting, run.fabric
    fit_content(model, scenes)
    for fixed in (model.content, model.backbone):
        if fixed is not None:
            fixed.to(fabric.device)
    adam = Adam(model.inpainter.parameters(), betas=(0.9, settings.beta2), fused=True)
    inpainter, optimizer = fabric.setup(model.inpainter, adam)
    images_of = StepImages(scenes.train, run, settings.batch, settings.steps)

    for step in run.steps({"inpainter": inpainter, "optimizer": optimizer}, settings.steps, model.save):
        set_learning_rate(optimizer, settings.learning_rate, step, settings.steps)
        images, (_, mine) = images_of(step), run.shard(settings.batch, step=step)
        rng, contents = run.rng(step=step), model.contents(images)
        hidden = regions_to_hide(settings.batch, mine, contents, recipe, rng)
        propagate = bool(torch.rand((), generator=rng) < settings.propagation_fraction)

        loss = guessing_loss(inpainter, contents, model.edges(images), hidden, propagate, 0, fabric)
        descend(fabric, loss, optimizer)
        run.log(step, loss=loss, **(validate(model, scenes, run, step) if run.due(step) else {}))


def fit_content(model: Model, scenes: TrainingScenes) -> None:
    """Compute the factors of the content. They depend on the scenes alone, so a resumed run has the same ones.

    An inpainter that training starts from keeps those that it learned with.
    """
    if not model.content.is_fitted:
        images = scenes.train.first(FITTED).images
        parts = [model.content_maps(part.to(model.device)) for part in images.split(AT_ONCE)]
        model.content.fit(images, [torch.cat(maps) for maps in zip(*parts, strict=True)])


def regions_to_hide(batch: int, mine: slice, contents: list[Tensor], recipe: Recipe, rng: Generator) -> Masks:
    """Regions `b n h w` for this process's part of a batch: random ones or, as often as asked, clusters of the content."""
    weights = recipe.inpainting.regions
    clusters = weights.clusters / sum(vars(weights).values())
    if clusters and torch.rand((), generator=rng) < clusters:
        seeds = torch.randint(2**31, (batch,), generator=rng)[mine].tolist()
        angles, cut = random_angles(batch, 2, rng)[mine], bool(torch.rand((), generator=rng) < 0.5)
        regions = cluster_regions(contents[0], seeds)
        return regions * one_side(regions, angles) if cut else regions
    return random_regions(batch, recipe, rng)[mine].to(contents[0].device)


@torch.no_grad()
def validate(model: Model, scenes: TrainingScenes, run: Run, step: int) -> dict[str, float]:
    """The error in boxes on validation scenes: mean absolute for pixels, else relative. Saves a picture of eight of them."""
    images = scenes.val.first(100).images.to(run.fabric.device)
    contents, edges = model.contents(images), model.edges(images)
    height, width = contents[0].shape[2:]
    hidden = boxes(len(images), height, width, Generator().manual_seed(0))[:, :1].to(images.device)
    if not is_pixels(contents):
        error = float(guessing_loss(model.inpainter, contents, edges, hidden, True, 0))
        if step + 1 == model.recipe.inpainting.steps:
            run.say(expectation(error))
        return {"box_error": error}
    guesses = guess(model.inpainter, contents, edges, hidden_cells(hidden, contents, 0), True)[0]
    shown = slice(8)
    run.picture(step, sheet([images[shown], (images * (1 - hidden))[shown], guesses[shown, 0], edges[shown, 0]]))
    return {"box_error": float(hidden_error(images, hidden, guesses).sum() / hidden.sum() / 3)}


def expectation(error: float) -> str:
    """What to expect of the next stages, from the relative error in boxes."""
    return (
        f"Of the content of a hidden box, {max(0.0, 100 * (1 - error)):.0f} % is guessed from around it. For comparison: "
        "Multi-dSprites 89 %, rooms 86 %, Multi-Texture 68 %, animals on photographs 37 %. The less is guessed, the sooner an "
        "object falls into parts."
    )
