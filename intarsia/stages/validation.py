"""Scores on the validation scenes and pictures of them, as several stages log them."""

import torch

from intarsia.data import Scenes
from intarsia.engine import Run
from intarsia.metrics import adjusted_rand_index, best_overlap_iou, hard, known_pixels, psnr, shape_iou, true_labels
from intarsia.model import Model
from intarsia.networks.guessing import guess, is_pixels
from intarsia.pictures import coloured, game_sheet, sheet
from intarsia.stages.codes import divergences
from intarsia.stages.diagnosis import diagnose


@torch.no_grad()
def segment_scores(model: Model, val: Scenes, run: Run, step: int) -> dict[str, object]:
    """Scores of the averaged segmenter, and a diagnosis of its masks."""
    images, labels = (part.to(run.fabric.device) for part in val.first(200))
    masks = model.masks(images)
    diagnosis = diagnose(masks)
    if diagnosis.warning:
        run.say(f"Step {step + 1}: {diagnosis.warning}")
    scores: dict[str, object] = {}
    if not val.unlabelled:
        truth, objects, predicted = true_labels(labels), true_labels(labels, val.backgrounds), hard(masks)
        scores = {
            "iou": float(best_overlap_iou(labels, masks * known_pixels(labels)[:, None])[0].mean()),
            "ari": float(adjusted_rand_index(truth, predicted).mean()),
            "fg_ari": float(adjusted_rand_index(objects, predicted, background=False).mean()),
        }
    return scores | {
        "confidence": diagnosis.confidence,
        "variation": diagnosis.variation,
        "fractions": diagnosis.fractions,
        "solidity": diagnosis.solidity,
        "warning": diagnosis.warning,
    }


@torch.no_grad()
def show_segments(model: Model, val: Scenes, run: Run, step: int) -> dict[str, object]:
    """`segment_scores`. Saves a picture of eight scenes with their segments and, of pixels, the inpainter's guess of each."""
    images = val.first(8).images.to(run.fabric.device)
    masks, contents = model.masks(images), model.contents(images)
    guesses = guess(model.inpainter, contents, model.edges(images), [masks], True)[0] if is_pixels(contents) else None
    run.picture(step, game_sheet(images, masks, guesses))
    return segment_scores(model, val, run, step)


@torch.no_grad()
def code_scores(model: Model, val: Scenes, run: Run, step: int) -> dict[str, object]:
    """Scores of the scene autoencoder with every code at its mean, and nats per dimension.

    Saves a picture of eight scenes. Its rows: the images, the masks, the decoded shapes, each object, the background, and the
    fused images.
    """
    images, true = (part.to(run.fabric.device) for part in val.first(100))
    with run.fabric.autocast():
        images, masks = model.autoencoder_images(images), model.downsample(model.ordered_masks(images))
        found = model.autoencoder(images, masks)
    shapes, nats, shown = found.shape_logits.sigmoid(), divergences(found), slice(8)
    objects = found.object_logits[shown].sigmoid().unbind(1)
    rows = [images, coloured(masks), coloured(shapes), *objects, found.background, found.images]
    run.picture(step, sheet([row[shown] for row in rows]))
    overlaps = shape_iou(masks[:, :-1], shapes)
    overlaps = overlaps[~overlaps.isnan()]  # an image whose masks are all faint or tiny has nothing to compare
    return {
        "psnr": float(psnr(images, found.images, model.downsample(known_pixels(true))).mean()),
        "shape_iou": float(overlaps.mean()) if len(overlaps) else None,
        "texture_kl": nats.texture.mean((0, 1)).tolist(),
        "shape_kl": nats.shape.mean((0, 1)).tolist(),
        "background_kl": nats.background.mean(0).tolist(),
    }
