"""Stage 4: all networks together. The game continues, and the segmenter also learns segments that the VAEs describe well."""

import torch

from intarsia.engine import Run, descend
from intarsia.masks import background_last, open_masks
from intarsia.model import Model
from intarsia.networks.autoencoder import Reconstruction
from intarsia.networks.tensorflow import Adam
from intarsia.objectives import description_loss
from intarsia.shapes import Images, Masks, PerImage
from intarsia.stages.codes import draw, errors_of, reconstruct, vae_loss
from intarsia.stages.game import frozen, inpainter_turn, segmenter_loss, start_game, start_turn, update_average, with_extra_loss
from intarsia.stages.scenes import StepImages, TrainingScenes
from intarsia.stages.schedules import final_rules, is_inpainters_turn, last_step, set_learning_rate
from intarsia.stages.validation import code_scores, segment_scores

SEPARATION_WEIGHT = 1.0  # of separation loss and regrouping in the segmenter's turns
DESCRIPTION_WEIGHT = 0.3  # beside them, of the nats per pixel


def end_to_end(
    model: Model,
    scenes: TrainingScenes,
    run: Run,
    separation_weight: float = SEPARATION_WEIGHT,
    description_weight: float = DESCRIPTION_WEIGHT,
) -> None:
    """Train all of `model` in place; `model.segmenter` becomes the running average of the segmenter that plays."""
    recipe, settings, fabric = model.recipe, model.recipe.end_to_end, run.fabric
    game, rules = start_game(model, fabric), final_rules(recipe.separation)
    autoencoder, vae_optimizer = fabric.setup(model.autoencoder, Adam(model.autoencoder.parameters(), fused=True))
    state = game.state() | {"autoencoder": autoencoder, "vae_optimizer": vae_optimizer}
    images_of = StepImages(scenes.train, run, settings.batch, settings.steps)

    for step in run.steps(state, settings.steps, model.save):
        for optimizer in (game.segmenter_optimizer, vae_optimizer):
            set_learning_rate(optimizer, settings.learning_rate, step, settings.steps)
        turn = start_turn(model, images_of(step), run, step, settings.batch, rules)

        if is_inpainters_turn(step, recipe.separation.segmenter_turns):
            figures = inpainter_turn(game, turn, recipe, fabric)
        else:
            draws = draw(recipe, settings.batch, turn.mine, turn.rng, fabric.device)
            with frozen(game.inpainter):
                logits = game.segmenter(turn.images, *turn.maps)
                masks = background_last(logits.softmax(1), recipe.vaes.background_per_batch, recipe.backgrounds)
                # Detached: the codes don't train the segmenter, nor the segmenter the codes.
                images, clean = model.autoencoder_images(turn.images), model.downsample(open_masks(masks.detach()))
                found = reconstruct(autoencoder, images, clean, draws, recipe)
                errors = errors_of(found, images, clean)
                description = description_of(found, images, model.downsample(masks)).mean()
                separation, figures = segmenter_loss(game, turn, logits, recipe, fabric)
                loss = separation_weight * separation + description_weight * description
                loss = loss + vae_loss(errors, recipe.vaes, last_step(recipe.vaes.steps), run)
                loss, figures = with_extra_loss(run, turn.images, logits, loss, figures)
                descend(fabric, loss, game.segmenter_optimizer, vae_optimizer)
            update_average(game.average, game.segmenter, recipe.separation.ema_decay, step)
            figures |= {"description_loss": description, **errors}

        if run.due(step):
            figures |= segment_scores(model, scenes.val, run, step) | code_scores(model, scenes.val, run, step)
        run.log(step, **figures)


def description_of(found: Reconstruction, images: Images, masks: Masks) -> PerImage:
    """The segmenter's `description_loss`; no gradient reaches the pictures and shapes that the VAEs draw."""
    pictures = torch.cat([found.textures, found.background[:, None]], 1)
    return description_loss(images, masks, pictures.detach(), found.shape_logits.detach())
