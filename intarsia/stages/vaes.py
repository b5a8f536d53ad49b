"""Stage 3: objects and background become codes and back."""

import torch

from intarsia.engine import Run, descend
from intarsia.model import Model
from intarsia.networks.tensorflow import Adam
from intarsia.shapes import Images, Masks
from intarsia.stages.codes import draw, errors_of, reconstruct, vae_loss
from intarsia.stages.scenes import StepImages, TrainingScenes
from intarsia.stages.schedules import set_learning_rate
from intarsia.stages.validation import code_scores


def vaes(model: Model, scenes: TrainingScenes, run: Run) -> None:
    """Train `model.autoencoder` in place, on what the segmenter finds; segmenter and inpainter are not trained."""
    recipe, settings, fabric = model.recipe, model.recipe.vaes, run.fabric
    # The original's batch normalisation takes the statistics of the batch, and prototypes of appearance go on being learned.
    model.segmenter.to(fabric.device).train(
        recipe.segmenter.network in ("segnet", "resnet50") or recipe.segmenter.learn_channels
    )
    if model.backbone is not None:
        model.backbone.to(fabric.device)
    autoencoder, optimizer = fabric.setup(model.autoencoder, Adam(model.autoencoder.parameters(), fused=True))
    period = settings.scenes // settings.batch or settings.steps
    images_of = StepImages(scenes.train, run, settings.batch, settings.steps, period)
    kept: dict[int, Masks] = {}  # by the step in which their images come first

    for step in run.steps({"autoencoder": autoencoder, "optimizer": optimizer}, settings.steps, model.save):
        set_learning_rate(optimizer, settings.learning_rate, step, settings.steps)
        images, (_, mine) = images_of(step), run.shard(settings.batch, step=step)
        draws = draw(recipe, settings.batch, mine, run.rng(step=step), fabric.device)
        place = step % period
        if place not in kept:
            with fabric.autocast():
                kept[place] = segmented(model, images)
        images, masks = model.autoencoder_images(images), kept[place] if settings.scenes else kept.pop(place)

        errors = errors_of(reconstruct(autoencoder, images, masks, draws, recipe), images, masks)
        loss = vae_loss(errors, settings, step, run)
        descend(fabric, loss, optimizer)
        run.log(step, loss=loss, **errors, **(code_scores(model, scenes.val, run, step) if run.due(step) else {}))


@torch.no_grad()
def segmented(model: Model, images: Images) -> Masks:
    """The masks `b n+1 h w` from which the scene autoencoder learns, at its size: of the objects first, the background last."""
    masks = model.segmenter(images, *model.maps(images)).softmax(1)
    return model.downsample(model.ordered(model.final_masks(masks, images), images))
