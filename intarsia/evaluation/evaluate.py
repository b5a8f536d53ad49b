"""The command `evaluate`: scores, a picture and, for tracks of scenes, an animation of a model on the test scenes."""

import dataclasses
from pathlib import Path

from intarsia.data import Scenes, scenes_of
from intarsia.errors import InputError
from intarsia.evaluation.codes import evaluate_codes
from intarsia.evaluation.segments import (
    SUBSETS,
    TEST_SEED,
    evaluate,
    examples,
    figures,
    identity_switching_rates,
    one_channel_animation,
    segments_sheet,
)
from intarsia.files import make_folder
from intarsia.model import Model
from intarsia.novelty import familiar, learn
from intarsia.pictures import write_gif, write_picture
from intarsia.recipes.settings import Recipe
from intarsia.records import PICTURE, Scores, read_json
from intarsia.weights import RECIPE, has_codes, latest, shipped

ANIMATION = "identity.gif"


def evaluate_run(
    run: Path,
    out: Path,
    scenes: int | None = None,
    data_root: str | None = None,
    dataset: str | None = None,
    void: int | None = None,
) -> Scores:
    """Score the newest model of a run, and write `scores.json` and `segments.png` into a folder, in place of older ones.

    What the model's validation scenes are like to it goes into the model's own folder (`novelty.json`), where they are at hand,
    but not into that of a shipped model.

    Args:
        run: The folder of a run, of one of its stages, or of a model; or the name of a shipped model.
        out: The folder to write to. `records` and `report` look for the scores in the run's own folder.
        scenes: The number of test scenes, from the first on, a multiple of 10; None for all.
        data_root: The folder of the scenes, if they are not those of the run's recipe.
        dataset: The dataset of the scenes, if it is not that of the run.
        void: The value of void pixels in the masks of own images, if it is not that of the run's recipe.

    Raises:
        InputError: before anything is scored, if the true segments of the scenes are not known, or the folder takes no files.
    """
    source = latest(run)
    model = Model.load(source, device="auto")
    recipe = model.recipe
    test = _test_scenes(recipe, data_root, dataset, void)
    if test.unlabelled:
        raise InputError(
            f"Evaluation needs the true segments: {test.unlabelled} `intarsia report` and `intarsia predict` need none."
        )
    count = _checked(scenes, (test.size or 0) // SUBSETS * SUBSETS)
    make_folder(out)
    if dataset in (None, recipe.dataset):
        _learn_novelty(model, source, data_root)
    per_image = evaluate(model, test, count)
    of_codes, codes = evaluate_codes(model, test, count) if has_codes(source) else ({}, None)
    switching = identity_switching_rates(model, test)
    scores = Scores(
        dataset=test.name,
        source=test.source,
        seed=recipe.seed,
        test_seed=TEST_SEED,
        test_images=count,
        weights_sha256=model.weights_sha256 or "",
        figures=dataclasses.replace(figures(per_image), **of_codes, identity_switching=switching),
        examples=examples(per_image["miou"]),
        codes=codes,
        recipe=read_json(source / RECIPE),
    )
    write_picture(out / PICTURE, segments_sheet(model, test))
    if test.tracks:
        write_gif(out / ANIMATION, one_channel_animation(model, test))
    scores.save(out)
    return scores


def _learn_novelty(model: Model, source: Path, data_root: str | None) -> None:
    """Store what the validation scenes are like, unless it is stored for these weights or there are no such scenes."""
    if source in shipped().values() or familiar(model) is not None:
        return
    try:
        val = scenes_of(dataclasses.replace(model.recipe, data_root=data_root or model.recipe.data_root), "val")
    except InputError:
        return
    learn(model, val).save(source)


def _test_scenes(recipe: Recipe, data_root: str | None, dataset: str | None, void: int | None) -> Scenes:
    """The test scenes of a recipe, or others of its size."""
    if dataset and dataset != recipe.dataset:
        recipe = dataclasses.replace(recipe, dataset=dataset, data_root=None, void=None)
    void = recipe.void if void is None else void
    return scenes_of(dataclasses.replace(recipe, data_root=data_root or recipe.data_root, void=void), "test", TEST_SEED)


def _checked(scenes: int | None, most: int) -> int:
    if scenes is None:
        return most
    if scenes % SUBSETS or not SUBSETS <= scenes <= most:
        raise InputError(f"The number of scenes is {scenes}; it must be a multiple of {SUBSETS} from {SUBSETS} to {most}.")
    return scenes
