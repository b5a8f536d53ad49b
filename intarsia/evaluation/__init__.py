"""How good a model is on the test scenes: its segments by the original's protocol and the figures other work reports, and
its codes, once they are trained (`evaluate.codes`).
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Group
from rich.table import Table

from intarsia.data import Scenes, open_dataset
from intarsia.errors import InputError
from intarsia.evaluation.codes import evaluate_codes, rounded
from intarsia.evaluation.parts import in_parts
from intarsia.files import make_folder, replacing
from intarsia.masks import background_last
from intarsia.metrics import (
    adjusted_rand_index,
    best_overlap_iou,
    hard,
    hungarian_iou,
    identity_switching,
    matching,
    mean_best_overlap,
)
from intarsia.model import Model, load
from intarsia.pictures import coloured, sheet, write_gif
from intarsia.recipes.settings import Recipe
from intarsia.records import PICTURE, SCORES
from intarsia.shapes import Images, Masks, PerImage, one_hot
from intarsia.weights import has_codes, latest, weights_sha256

__all__ = ["Scores", "evaluate", "evaluate_run", "examples", "figures", "score", "segments_sheet", "table"]

ANIMATION = "identity.gif"
TEST_SEED = 0  # the test scenes are the same for every model
SUBSETS = 10  # of the original's protocol: consecutive, of 200 scenes each
AT_ONCE = 100  # scenes in memory
SHOWN = 8  # scenes in the picture
EXAMPLES = 4  # scenes of each kind


@dataclass(frozen=True)
class Scores:
    """Which weights were scored, on how many test scenes of which source, and how they did: what `scores.json` holds.

    figures: `iou` as {"mean", "std"}, the original's; the others are means over the scenes. `_objects` and `fg_` leave the
        background out. Then those of the codes (`evaluate_codes`), where they are trained.
    examples: Which scenes are segmented best, in the middle and worst by mIoU: four indices each.
    codes: What the figures of the codes are the means of, by number and by factor; None where they are not trained.
    """

    dataset: str
    source: str
    seed: int
    test_seed: int
    test_images: int
    weights_sha256: str
    figures: dict[str, Any]
    examples: dict[str, list[int]]
    codes: dict[str, Any] | None
    recipe: Recipe


def evaluate_run(
    run: Path, out: Path, scenes: int | None = None, data_root: str | None = None, dataset: str | None = None
) -> Scores:
    """Score the newest model of a run; `scores.json` and `segments.png` go into the folder `out`, in place of older ones.

    Args:
        run: A run, one of its stages, or a model: its folder, or the name of a shipped one.
        out: Of the run itself, `records` and `report` find them there.
        scenes: How many test scenes, from the first on: a multiple of 10; None for all of them.
        data_root: Folder of other scenes than those the run was trained on.
        dataset: What they are, where it is another dataset than the run's.

    Raises:
        InputError: if the true segments of the scenes are not known.
    """
    source = latest(run)
    model = load(source)
    recipe = model.recipe
    root = data_root or (recipe.data_root if dataset in (None, recipe.dataset) else None)
    test = open_dataset(dataset or recipe.dataset, TEST_SEED, "test", root, (recipe.height, recipe.width))
    if test.unlabelled:
        raise InputError(f"Evaluation needs the true segments: {test.unlabelled} `intarsia predict` needs none.")
    count = _checked(scenes, (test.size or 0) // SUBSETS * SUBSETS)
    per_image = evaluate(model, test, count)
    of_codes, codes = evaluate_codes(model, test, count) if has_codes(source) else ({}, None)
    scores = Scores(
        dataset=test.name,
        source=test.source,
        seed=recipe.seed,
        test_seed=TEST_SEED,
        test_images=count,
        weights_sha256=weights_sha256(source),
        figures=figures(per_image) | of_codes | identity_switching_rates(model, test),
        examples=examples(per_image["miou"]),
        codes=codes,
        recipe=recipe,
    )
    make_folder(out)
    with replacing(out / PICTURE) as path:
        Image.fromarray(segments_sheet(model, test)).save(path, format="png")
    if test.tracks:
        write_gif(out / ANIMATION, one_channel_animation(model, test))
    with replacing(out / SCORES) as path:
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
    device = model.device
    parts = []
    for indices in in_parts(count, AT_ONCE, "Segments"):
        images, masks = (part.to(device) for part in scenes(indices))
        parts.append(score(masks, model.segment(images), scenes.backgrounds))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def identity_switching_rates(model: Model, scenes: Scenes) -> dict[str, Any]:
    """The original's identity switching rate over each of the dataset's tracks, and nothing for a dataset that has none.

    Segments as the model gives them, none opened, the background last (as in the original's test).
    """
    device, rates = model.device, {}
    for name, indices in scenes.tracks.items():
        channels = []
        for part in np.array_split(indices, range(AT_ONCE, len(indices), AT_ONCE)):
            images, masks = (each.to(device) for each in scenes(part))
            found = background_last(model.segment(images), model.recipe.vaes.background_per_batch, model.recipe.backgrounds)
            channels.append(best_overlap_iou(masks, found)[1])
        rates[name] = {"rate": round(identity_switching(torch.cat(channels)), 6), "scenes": len(indices)}
    return {"identity_switching": rates} if rates else {}


def one_channel_animation(model: Model, scenes: Scenes) -> Images:
    """The scenes of the shortest track, in which all objects move, each beside the model's first object's segment: `f 3 h 2w`.

    As in the paper: a model that knows its objects again shows the same one throughout.
    """
    images, _ = scenes(min(scenes.tracks.values(), key=len))
    found = model.segment(images.to(model.device)).cpu()
    first = background_last(found, model.recipe.vaes.background_per_batch, model.recipe.backgrounds)[:, :1]
    return torch.cat([images, first.expand(-1, 3, -1, -1)], 3)


def score(true: Masks, predicted: Masks, backgrounds: int = 1) -> dict[str, PerImage]:
    """Every figure of predicted masks against the true ones, whose first segments are the background, or parts of it.

    All but the original's IoU compare hard segments. The foreground ARI is the ARI of the object pixels.
    """
    truth, found = hard(true), hard(predicted)
    objects = (truth - (backgrounds - 1)).clamp(min=0)  # all backgrounds are 0
    return {
        "iou": best_overlap_iou(true, predicted)[0].cpu(),
        "miou": hungarian_iou(truth, found).cpu(),
        "miou_objects": hungarian_iou(objects, found, background=False).cpu(),
        "mbo": mean_best_overlap(truth, found).cpu(),
        "mbo_objects": mean_best_overlap(objects, found, background=False).cpu(),
        "ari": adjusted_rand_index(truth, found).cpu(),
        "fg_ari": adjusted_rand_index(objects, found, background=False).cpu(),
    }


def figures(per_image: dict[str, PerImage]) -> dict[str, Any]:
    """Means over the images; for the original's IoU, mean and sample standard deviation of ten consecutive subsets' means.

    An image in which a figure has nothing to score (nan) does not count.
    """
    subsets = per_image["iou"].view(SUBSETS, -1).nanmean(1)
    found: dict[str, Any] = {"iou": {"mean": rounded(subsets.mean()), "std": rounded(subsets.std())}}
    return found | {name: rounded(values.nanmean()) for name, values in per_image.items() if name != "iou"}


def examples(scores: PerImage) -> dict[str, list[int]]:
    """The scenes with the highest scores, the middle ones, and those with the lowest, each from high to low; nan is 0."""
    order = scores.nan_to_num(0).argsort(descending=True, stable=True).tolist()
    middle = (len(order) - EXAMPLES) // 2
    return {"best": order[:EXAMPLES], "median": order[middle : middle + EXAMPLES], "worst": order[-EXAMPLES:]}


def segments_sheet(model: Model, scenes: Scenes) -> np.ndarray:
    """A picture of the first eight scenes: image, true segments, found segments in the colours of those they match."""
    images, masks = scenes.first(SHOWN)
    predicted = model.segment(images.to(model.device)).cpu()
    k = max(masks.shape[1], predicted.shape[1])
    truth, found = hard(masks), hard(predicted)
    order = matching(truth, found, k)
    places = order[:, :, None, None].expand(-1, -1, *images.shape[2:])
    return sheet([images, coloured(one_hot(truth, k)), coloured(one_hot(found, k).gather(1, places))], zoom=2, gap=4)


def table(scores: Scores) -> Group:
    """The figures as tables for the terminal: of the segments, and of the codes where they are trained."""
    title = f"{scores.dataset} ({scores.source}), seed {scores.seed}"
    return Group(_segments_table(title, scores), *([_codes_table(title, scores, scores.codes)] if scores.codes else []))


def _segments_table(title: str, scores: Scores) -> Table:
    values = scores.figures
    shown = {name: _number(value) for name, value in values.items() if not isinstance(value, dict)}
    rows = Table(title=f"{title}: segments of {scores.test_images} test scenes, 1 is perfect", title_justify="left")
    rows.add_column("")
    rows.add_column("with background", justify="right")
    rows.add_column("objects only", justify="right")
    rows.add_row("IoU, the original's protocol", f"{values['iou']['mean']:.3f} ± {values['iou']['std']:.3f}", "–")
    rows.add_row("mIoU, matched one-to-one", shown["miou"], shown["miou_objects"])
    rows.add_row("mBO, best overlap", shown["mbo"], shown["mbo_objects"])
    for name, found in values.get("identity_switching", {}).items():
        rows.add_row(f"identities switched, {name}", f"{found['rate']:.3f} of {found['scenes']}", "0 is best")
    rows.add_row("ARI, pairs of pixels", shown["ari"], f"{shown['fg_ari']} (FG-ARI)")
    return rows


def _number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there was nothing to score."""
    return "–" if value is None else f"{value:.{digits}f}"


def _codes_table(title: str, scores: Scores, codes: dict[str, Any]) -> Table:
    images, informative = codes["locality_images"], sum(row["locality"] is not None for row in codes["numbers"])

    def shown(name: str, digits: int = 3) -> str:
        return _number(scores.figures.get(name), digits)

    rows = Table(title=f"{title}: codes of {codes['objects']} objects", title_justify="left")
    rows.add_column("")
    rows.add_column("", justify="right")
    rows.add_column("perfect", justify="right")
    rows.add_row("PSNR of the rendered images, dB", shown("psnr", 2), "∞")
    rows.add_row("SSIM", shown("ssim"), "1")
    rows.add_row("mean squared error", shown("mse", 4), "0")
    rows.add_section()
    rows.add_row(f"{informative} informative numbers, each + 1 in {images} scenes:", "", "")
    rows.add_row("  locality, bare fusion output", shown("locality"), "1")
    rows.add_row("  locality, composited", shown("locality_composited"), "1")
    rows.add_row("  other objects' codes move by", shown("others_moved"), "0")
    if codes["factors"]:
        rows.add_section()
        rows.add_row(f"{len(codes['factors'])} true factors told by all numbers, R²", shown("factor_r2"), "1")
        rows.add_row("  by the best number alone, R²", shown("factor_r2_single"), "1")
        rows.add_row("  DCI disentanglement", shown("dci_disentanglement"), "1")
        rows.add_row("  DCI completeness", shown("dci_completeness"), "1")
        rows.add_row("  MIG", shown("mig"), "1")
    return rows
