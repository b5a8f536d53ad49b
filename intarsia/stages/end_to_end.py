"""Stage 4: all networks together. The game goes on, and its segments also have to be what the VAEs can tell."""

from functools import partial

import torch

from intarsia.data import scenes_of
from intarsia.engine import Run
from intarsia.masks import background_last, open_masks
from intarsia.model import Model
from intarsia.networks.autoencoder import Codes, Reconstruction
from intarsia.networks.tensorflow import Adam
from intarsia.objectives import description_loss
from intarsia.shapes import Images, Masks, PerImage
from intarsia.stages.inpainting import improve_guesses, set_learning_rate
from intarsia.stages.separation import (
    begin,
    epsilon_at,
    follow,
    frozen,
    game_loss,
    hidden_regions,
    is_inpainters_turn,
    play,
    segment_scores,
)
from intarsia.stages.vaes import draw_moves, draw_noise, errors_of, moved_shapes, vae_loss, validate


def end_to_end(model: Model, run: Run) -> None:
    """Train all of `model` in place; `model.segmenter` becomes the running average of the segmenter that plays."""
    recipe, settings, game, fabric = model.recipe, model.recipe.end_to_end, model.recipe.separation, run.fabric
    scenes = scenes_of(recipe, "train")
    state = begin(model, fabric, settings.inpainter_learning_rate, settings.segmenter_learning_rate)
    inpainter, inpainter_optimizer, segmenter, segmenter_optimizer, average = state.values()
    autoencoder, vae_optimizer = fabric.setup(model.autoencoder, Adam(model.autoencoder.parameters(), fused=True))
    state |= {"autoencoder": autoencoder, "vae_optimizer": vae_optimizer}
    played, coded = max(0, game.steps - 1), max(0, recipe.vaes.steps - 1)  # as in the last steps of stages 2 and 3

    for step in run.steps(state, settings.steps, model.save):
        rng = run.generator(step=step)
        indices, mine = run.shard(settings.batch, step=step)
        images = scenes(indices).images.to(fabric.device)
        edges, propagate = model.edges(images), played >= game.propagation_from_step
        schedule = (step, settings.steps, settings.warmup_steps)
        set_learning_rate(segmenter_optimizer, settings.segmenter_learning_rate, *schedule)
        set_learning_rate(vae_optimizer, settings.vae_learning_rate, *schedule)

        figures: dict[str, object]
        if is_inpainters_turn(step, game):
            hidden = hidden_regions(segmenter, images, recipe, settings.batch, mine, rng)
            loss = improve_guesses(fabric, inpainter, inpainter_optimizer, images, hidden, edges, propagate)
            figures = {"inpainting_loss": loss}
        else:
            judge = partial(play, inpainter, images, edges, epsilon_at(played, game), propagate)
            noise = Codes(*(part[mine].to(fabric.device) for part in draw_noise(recipe, settings.batch, rng)))
            moves = draw_moves(recipe, settings.batch, rng)[:, mine]
            with frozen(inpainter), fabric.no_backward_sync(inpainter):
                logits = segmenter(images)
                masks = background_last(logits.softmax(1), recipe.vaes.background_per_batch, recipe.backgrounds)
                # The segmenter's gradient ends here: no code learns to please it, nor it a code.
                lesson, clean = model.autoencoder_input(images, open_masks(masks.detach()))
                practice = moved_shapes(clean, moves) if recipe.vaes.max_shift else None
                found = autoencoder(lesson, clean, noise, practice)
                errors = errors_of(found, lesson, clean)
                description = description_of(found, lesson, model.downsample(masks)).mean()
                separation, figures = game_loss(fabric, logits, images, judge, average, recipe, played)
                loss = settings.separation_weight * separation + settings.description_weight * description
                segmenter_optimizer.zero_grad()
                vae_optimizer.zero_grad()
                fabric.backward(loss + vae_loss(errors, recipe.vaes, coded, run))
            segmenter_optimizer.step()
            vae_optimizer.step()
            follow(average, segmenter, game.ema_decay, step)
            figures |= {"description_loss": description, **errors}

        if run.due(step):
            figures |= segment_scores(model, run, step) | validate(model, run, step)
        run.log(step, **figures)


def description_of(found: Reconstruction, images: Images, masks: Masks) -> PerImage:
    """The segmenter's `description_loss` for what the VAEs have drawn, which stands still."""
    pictures = torch.cat([found.textures, found.background[:, None]], 1)
    return description_loss(images, masks, pictures.detach(), found.shape_logits.detach())
