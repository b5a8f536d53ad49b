"""How good a model's segments are on the test scenes: the original's protocol, and the figures other work reports."""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from intarsia.data import Scenes, open_dataset
from intarsia.errors import InputError
from intarsia.files import replacing
from intarsia.masks import background_last
from intarsia.metrics import adjusted_rand_index, best_overlap_iou, hard, hungarian_iou, identity_switching, mean_best_overlap
from intarsia.model import Model, latest, weights_sha256
from intarsia.pictures import coloured, sheet, write_gif
from intarsia.settings import Recipe
from intarsia.shapes import Images, Masks, PerImage, one_hot

__all__ = ["SCORES", "Scores", "evaluate", "evaluate_run", "figures", "score", "segments_sheet", "table"]

SCORES, PICTURE, ANIMATION = "scores.json", "segments.png", "identity.gif"
FRAMES = 81  # of the animation
TEST_SEED = 0  # the test scenes are the same for every model
SUBSETS = 10  # of the original's protocol: consecutive, of 200 scenes each
AT_ONCE = 100  # scenes in memory
SHOWN = 8  # scenes in the picture


@dataclass(frozen=True)
class Scores:
    """Which weights were scored, on how many test scenes, and how they did: what `scores.json` holds.

    figures: `iou` as {"mean", "std"}, the original's; the others are means over the scenes. `_objects` and `fg_` leave the
        background out.
    """

    dataset: str
    seed: int
    test_seed: int
    test_images: int
    weights_sha256: str
    figures: dict[str, Any]
    recipe: Recipe


def evaluate_run(folder: Path, scenes: int | None = None) -> Scores:
    """Score the newest model of a run (or a model folder); `scores.json` and `segments.png` go into that folder.

    Args:
        folder: A run, one of its stages, or a model.
        scenes: How many test scenes, from the first on: a multiple of 10; None for all of them.
    """
    source = latest(folder)
    model = Model.load(source)
    recipe = model.recipe
    test = open_dataset(recipe.dataset, TEST_SEED, "test", recipe.data_root)
    count = _checked(scenes, test.size or 0)
    if torch.cuda.is_available():
        model = model.to("cuda")
    scores = Scores(
        dataset=recipe.dataset,
        seed=recipe.seed,
        test_seed=TEST_SEED,
        test_images=count,
        weights_sha256=weights_sha256(source),
        figures=figures(evaluate(model, test, count)) | identity_switching_rates(model, test),
        recipe=recipe,
    )
    with replacing(folder / PICTURE) as path:
        Image.fromarray(segments_sheet(model, test)).save(path, format="png")
    if test.tracks:
        write_gif(folder / ANIMATION, one_channel_animation(model, test))
    with replacing(folder / SCORES) as path:
        path.write_text(json.dumps(dataclasses.asdict(scores), indent=2) + "\n")
    return scores


def _checked(scenes: int | None, most: int) -> int:
    if scenes is None:
        return most
    if scenes % SUBSETS or not SUBSETS <= scenes <= most:
        raise InputError(f"The number of scenes is {scenes}; it must be a multiple of {SUBSETS} from {SUBSETS} to {most}.")
    return scenes


def evaluate(model: Model, scenes: Scenes, count: int) -> dict[str, PerImage]:
    """Every figure for each of the first `count` scenes."""
    recipe = model.recipe
    if (scenes.height, scenes.width) != (recipe.height, recipe.width):
        raise InputError(
            f"The model takes images of {recipe.width}x{recipe.height} pixels, "
            f"but the scenes of {scenes.name} have {scenes.width}x{scenes.height}."
        )
    device = next(model.parameters()).device
    parts = []
    chunks = [range(first, min(first + AT_ONCE, count)) for first in range(0, count, AT_ONCE)]
    for indices in track(chunks, "Test scenes", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()):
        images, masks = (part.to(device) for part in scenes(indices))
        parts.append(score(masks, model.segment(images)))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def identity_switching_rates(model: Model, scenes: Scenes) -> dict[str, Any]:
    """The original's identity switching rate over each of the dataset's tracks, and nothing for a dataset that has none.

    Segments as the model gives them, none opened, the background last (as in the original's test).
    """
    device, rates = next(model.parameters()).device, {}
    for name, indices in scenes.tracks.items():
        channels = []
        for part in np.array_split(indices, range(AT_ONCE, len(indices), AT_ONCE)):
            images, masks = (each.to(device) for each in scenes(part))
            found = background_last(model.segment(images), model.recipe.vaes.background_per_batch)
            channels.append(best_overlap_iou(masks, found)[1])
        rates[name] = {"rate": round(identity_switching(torch.cat(channels)), 6), "scenes": len(indices)}
    return {"identity_switching": rates} if rates else {}


def one_channel_animation(model: Model, scenes: Scenes) -> Images:
    """The first scenes of a track, one after the other, each beside the model's first object's segment: `f 3 h 2w`.

    As in the paper: a model that knows its objects again shows the same one throughout.
    """
    images, _ = scenes(next(iter(scenes.tracks.values()))[:FRAMES])
    found = model.segment(images.to(next(model.parameters()).device)).cpu()
    first = background_last(found, model.recipe.vaes.background_per_batch)[:, :1]
    return torch.cat([images, first.expand(-1, 3, -1, -1)], 3)


def score(true: Masks, predicted: Masks) -> dict[str, PerImage]:
    """Every figure of predicted masks against the true ones, whose segment 0 is the background.

    All but the original's IoU compare hard segments. The foreground ARI is the ARI of the object pixels.
    """
    truth, found = hard(true), hard(predicted)
    return {
        "iou": best_overlap_iou(true, predicted)[0].cpu(),
        "miou": hungarian_iou(truth, found).cpu(),
        "miou_objects": hungarian_iou(truth, found, background=False).cpu(),
        "mbo": mean_best_overlap(truth, found).cpu(),
        "mbo_objects": mean_best_overlap(truth, found, background=False).cpu(),
        "ari": adjusted_rand_index(truth, found).cpu(),
        "fg_ari": adjusted_rand_index(truth, found, background=False).cpu(),
    }


def figures(per_image: dict[str, PerImage]) -> dict[str, Any]:
    """Means over the images; for the original's IoU, mean and sample standard deviation of ten consecutive subsets' means.

    An image in which a figure has nothing to score (nan) does not count.
    """
    subsets = per_image["iou"].view(SUBSETS, -1).nanmean(1)
    found: dict[str, Any] = {"iou": {"mean": _rounded(subsets.mean()), "std": _rounded(subsets.std())}}
    return found | {name: _rounded(values.nanmean()) for name, values in per_image.items() if name != "iou"}


def _rounded(value: Tensor) -> float:
    return round(float(value), 6)


def segments_sheet(model: Model, scenes: Scenes) -> np.ndarray:
    """A picture of the first eight scenes: image, true segments, found segments in the colours of those they match."""
    images, masks = scenes(range(SHOWN))
    predicted = model.segment(images.to(next(model.parameters()).device)).cpu()
    k = max(masks.shape[1], predicted.shape[1])
    truth, found = (one_hot(hard(part), k) for part in (masks, predicted))
    return sheet([images, coloured(truth), coloured(_matched(truth, found))], zoom=2, gap=4)


def _matched(truth: Masks, found: Masks) -> Masks:
    """The found segments of each image in the order of the true ones they share most pixels with."""
    shared = torch.einsum("bkhw,bmhw->bkm", truth, found).numpy()
    orders = [linear_sum_assignment(overlap, maximize=True)[1] for overlap in shared]
    return torch.stack([segments[order] for segments, order in zip(found, orders, strict=True)])


def table(scores: Scores) -> Table:
    """The figures as a table for the terminal."""
    values = scores.figures
    rows = Table(
        title=f"{scores.dataset}, seed {scores.seed}: {scores.test_images} test scenes, 1 is perfect", title_justify="left"
    )
    rows.add_column("")
    rows.add_column("with background", justify="right")
    rows.add_column("objects only", justify="right")
    rows.add_row("IoU, the original's protocol", f"{values['iou']['mean']:.3f} ± {values['iou']['std']:.3f}", "–")
    rows.add_row("mIoU, matched one-to-one", f"{values['miou']:.3f}", f"{values['miou_objects']:.3f}")
    rows.add_row("mBO, best overlap", f"{values['mbo']:.3f}", f"{values['mbo_objects']:.3f}")
    for name, found in values.get("identity_switching", {}).items():
        rows.add_row(f"identities switched, {name}", f"{found['rate']:.3f} of {found['scenes']}", "0 is best")
    rows.add_row("ARI, pairs of pixels", f"{values['ari']:.3f}", f"{values['fg_ari']:.3f} (FG-ARI)")
    return rows
