"""Stage 3: objects and background become codes and back."""

import torch

from intarsia.engine import Run, descend
from intarsia.model import Model
from intarsia.networks.tensorflow import Adam
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
    images_of = StepImages(scenes.train, run, settings.batch, settings.steps)

    for step in run.steps({"autoencoder": autoencoder, "optimizer": optimizer}, settings.steps, model.save):
        set_learning_rate(optimizer, settings.learning_rate, step, settings.steps)
        images, (_, mine) = images_of(step), run.shard(settings.batch, step=step)
        draws = draw(recipe, settings.batch, mine, run.rng(step=step), fabric.device)
        with fabric.autocast(), torch.no_grad():
            images, masks = model.autoencoder_input(
                images, model.ordered(model.with_borders(model.segmenter(images, *model.maps(images)).softmax(1), images))
            )

        errors = errors_of(reconstruct(autoencoder, images, masks, draws, recipe), images, masks)
        loss = vae_loss(errors, settings, step, run)
        descend(fabric, loss, optimizer)
        run.log(step, loss=loss, **errors, **(code_scores(model, scenes.val, run, step) if run.due(step) else {}))
