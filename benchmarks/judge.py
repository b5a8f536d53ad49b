"""The separation loss of true segments beside that of known mistakes, for a run's inpainter and content.

`python benchmarks/judge.py runs/a0 --epsilon 5 10 20 40` segments test scenes in known ways: as they are; with objects larger
or smaller; with objects merged, cut or lost. The game and the search end in the segmentation whose loss is lowest. If that is
not the truth, better content or a better inpainter comes before more steps. Each cell is a mean over all scenes; in brackets is
the fraction of the scenes that the mistake changes in which the truth has the lower loss. The last line says whether the truth
is the lowest. True segments are only judged; nothing is trained.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from scipy import ndimage
from torch import Generator, Tensor

from intarsia.data import scenes_of
from intarsia.errors import InputError
from intarsia.evaluation.batches import batches
from intarsia.evaluation.segments import TEST_SEED
from intarsia.metrics import hard
from intarsia.model import Model
from intarsia.objectives import separation_loss
from intarsia.recipes.options import Options, check_options
from intarsia.shapes import Labels, one_hot
from intarsia.stages.game import segment_errors
from intarsia.stages.regions import one_side, random_angles
from intarsia.stages.schedules import final_rules
from intarsia.weights import latest, shipped

AT_ONCE = 8  # scenes in memory
TRUTH = "truth"
BORDERS = (1, 2, 4)  # px by which objects are larger or smaller, in images of up to 96 rows; in larger ones in proportion
EPSILONS, EPSILONS_OF_PIXELS = (5.0, 10.0, 20.0, 40.0), (30.0, 100.0, 300.0)

Losses = dict[str, Tensor]  # by case: one row for each epsilon, one column for each scene


def larger(labels: Labels, pixels: int, backgrounds: int) -> Labels:
    """Labels `b h w` whose objects also take the background up to so many pixels from them."""
    return _taken(labels, labels < backgrounds, pixels)


def smaller(labels: Labels, pixels: int, backgrounds: int) -> Labels:
    """Labels `b h w` whose objects leave to the nearest background what is within so many pixels of it."""
    return _taken(labels, labels >= backgrounds, pixels)


def merged(labels: Labels, backgrounds: int) -> Labels:
    """Labels `b h w` in which the two largest objects of each scene are one segment."""
    found = labels.clone()
    for scene in found:
        first, *others = by_area(scene, backgrounds) or [0]
        if others:
            scene[scene == others[0]] = first
    return found


def cut(labels: Labels, segments: range, number: int, angles: Tensor) -> Labels:
    """Labels `b h w` in which one side of the largest of some segments of each scene has another number."""
    areas = one_hot(labels, number).sum((2, 3))[:, segments.start : segments.stop]
    segment = labels == (areas.argmax(1) + segments.start)[:, None, None]
    side = one_side(segment[:, None].float(), angles)[:, 0] > 0
    return torch.where(segment & side, number, labels)


def without_smallest(labels: Labels, backgrounds: int) -> Labels:
    """Labels `b h w` in which the smallest object of each scene belongs to the background next to it."""
    lost = torch.stack([scene == (by_area(scene, backgrounds) or [-1])[-1] for scene in labels])
    return torch.where(lost, smaller(labels, sum(labels.shape[1:]), backgrounds), labels)


def by_area(scene: Tensor, backgrounds: int) -> list[int]:
    """The objects of labels `h w`, the largest first."""
    areas = scene.flatten().bincount()
    return [n for n in areas.argsort(descending=True, stable=True).tolist() if n >= backgrounds and areas[n]]


def _taken(labels: Labels, losing: Tensor, pixels: int) -> Labels:
    """Labels `b h w` in which some pixels, `losing`, have the label of the nearest other one, up to such a distance from it."""
    found = []
    for scene, where in zip(labels.numpy(), losing.numpy(), strict=True):
        if where.all():  # nothing is there to be nearest
            found.append(scene)
            continue
        distance, nearest = ndimage.distance_transform_edt(where, return_indices=True)
        found.append(np.where(distance <= pixels, scene[tuple(nearest)], scene))
    return torch.from_numpy(np.stack(found))


def cases(labels: Labels, segments: int, backgrounds: int, rng: Generator) -> dict[str, Labels]:
    """The truth and known mistakes, by name: labels `b h w` of at most one segment more than there are."""
    scale, objects = max(1, round(labels.shape[1] / 96)), labels >= backgrounds
    angles = [random_angles(len(labels), 1, rng) for _ in range(2)]
    ground = cut(labels, range(backgrounds), segments, angles[0])
    return {
        TRUTH: labels,
        **{f"objects {scale * n} px larger": larger(labels, scale * n, backgrounds) for n in BORDERS},
        **{f"objects {scale * n} px smaller": smaller(labels, scale * n, backgrounds) for n in BORDERS},
        "two objects merged": merged(labels, backgrounds),
        "an object cut": cut(labels, range(backgrounds, segments), segments, angles[1]),
        "the background cut": ground,
        "two merged, the background cut": torch.where(objects, merged(labels, backgrounds), ground),
        "smallest object lost": without_smallest(labels, backgrounds),
        "objects as one": torch.where(objects, backgrounds, labels),
        "all one": torch.zeros_like(labels),
    }


@torch.no_grad()
def judged(model: Model, count: int, epsilons: tuple[float, ...], margin: int) -> tuple[Losses, dict[str, Tensor]]:
    """The losses of all cases in the first test scenes, and which scenes each case changes."""
    recipe = model.eval().recipe
    test = scenes_of(recipe, "test", TEST_SEED)
    if test.unlabelled:
        raise InputError(f"The true segments of {recipe.dataset} are not known: {test.unlabelled}")
    rules, rng = replace(final_rules(recipe.separation), margin=margin), Generator().manual_seed(0)
    losses: dict[str, list[Tensor]] = {}
    changed: dict[str, list[Tensor]] = {}
    for indices in batches(count, AT_ONCE, "Scenes"):
        images, masks = test(indices)
        contents, edges, truth = model.contents(images), model.edges(images), hard(masks)
        for name, labels in cases(truth, test.segments, test.backgrounds, rng).items():
            errors = segment_errors(model.inpainter, contents, edges, one_hot(labels, test.segments + 1), rules)
            losses.setdefault(name, []).append(
                torch.stack([separation_loss(*errors, epsilon, rules.empty) for epsilon in epsilons])
            )
            changed.setdefault(name, []).append((labels != truth).any((1, 2)))
    return {name: torch.cat(parts, 1) for name, parts in losses.items()}, {n: torch.cat(parts) for n, parts in changed.items()}


def table(title: str, losses: Losses, changed: dict[str, Tensor], epsilons: tuple[float, ...]) -> Table:
    rows = Table("segments", *(f"epsilon {epsilon:g}" for epsilon in epsilons), title=title, title_justify="left")
    for name, each in losses.items():
        lower = [losses[TRUTH][row, changed[name]] < each[row, changed[name]] for row in range(len(epsilons))]
        shares = ["" if not len(scenes) else f" ({100 * np.mean(scenes.numpy()):.0f} %)" for scenes in lower]
        rows.add_row(name, *(f"{loss:.3f}{share}" for loss, share in zip(each.mean(1).tolist(), shares, strict=True)))
    return rows


def verdict(losses: Losses, epsilons: tuple[float, ...]) -> str:
    """Whether the truth has the lowest mean loss at each epsilon, and if not, what has a lower one."""
    found = []
    for row, epsilon in enumerate(epsilons):
        below = [name for name, each in losses.items() if each[row].mean() < losses[TRUTH][row].mean()]
        found.append(
            f"epsilon {epsilon:g}: " + (f"lower than the truth: {', '.join(below)}" if below else "the truth is the lowest")
        )
    return "; ".join(found) + "."


def main(
    runs: tyro.conf.Positional[tuple[Path, ...]] = (),
    epsilon: tuple[float, ...] = (),
    scenes: int = 160,
    margin: int | None = None,
    threads: int = 0,
) -> None:
    """Judge true segments and known mistakes with the inpainters of runs, of their stages, or of models.

    Args:
        runs: Folders, or names of shipped models; by default all shipped models.
        epsilon: Of the separation loss; by default 5, 10, 20 and 40, over pixels 30, 100 and 300.
        scenes: The number of test scenes, from the first on.
        margin: Cells of the finest content around a segment that are hidden too; by default those of the search, over pixels 0.
        threads: The number of threads; 0 for PyTorch's default.
    """
    if scenes < 1 or min(epsilon, default=1) <= 0 or (margin or 0) < 0:
        raise InputError("--scenes must be at least 1, --epsilon above 0, and --margin at least 0.")
    check_options(Options(threads=threads))
    if threads:
        torch.set_num_threads(threads)
    for run in runs or map(Path, shipped()):
        model = Model.load(latest(run))
        over_pixels = model.recipe.content.kind == "pixels"
        cells = (0 if over_pixels else model.recipe.distillation.margin) if margin is None else margin
        epsilons = epsilon or (EPSILONS_OF_PIXELS if over_pixels else EPSILONS)
        losses, changed = judged(model, scenes, epsilons, cells)
        Console().print(table(f"{run}: separation loss, {scenes} test scenes, margin {cells}", losses, changed, epsilons))
        print(verdict(losses, epsilons))


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        sys.exit(str(error))
