"""Stage 2: segmenter against inpainter (Contextual Information Separation)."""

from intarsia.engine import Run, descend
from intarsia.model import Model
from intarsia.stages.game import frozen, inpainter_turn, segmenter_loss, start_game, start_turn, update_average, with_extra_loss
from intarsia.stages.scenes import StepImages, TrainingScenes
from intarsia.stages.schedules import is_inpainters_turn, rules_at, set_learning_rate
from intarsia.stages.validation import show_segments


def separation(model: Model, scenes: TrainingScenes, run: Run) -> None:
    """Train `model.inpainter` in place; `model.segmenter` becomes the running average of the segmenter that plays."""
    recipe, settings, fabric = model.recipe, model.recipe.separation, run.fabric
    game = start_game(model, fabric)
    images_of = StepImages(scenes.train, run, settings.batch, settings.steps)

    for step in run.steps(game.state(), settings.steps, model.save):
        set_learning_rate(game.segmenter_optimizer, settings.learning_rate, step, settings.steps)
        turn = start_turn(model, images_of(step), run, step, settings.batch, rules_at(step, settings))

        if is_inpainters_turn(step, settings.segmenter_turns):
            figures = inpainter_turn(game, turn, recipe, fabric)
        else:
            with frozen(game.inpainter):
                logits = game.segmenter(turn.images, *turn.maps)
                loss, figures = segmenter_loss(game, turn, logits, recipe, fabric)
                loss, figures = with_extra_loss(run, turn.images, logits, loss, figures)
                descend(fabric, loss, game.segmenter_optimizer)
            update_average(game.average, game.segmenter, settings.ema_decay, step)

        if run.due(step):
            figures |= show_segments(model, scenes.val, run, step)
        run.log(step, **figures)
