"""The command `evaluate`: scores, a picture and, for tracks of scenes, an animation of a model on the test scenes."""

import dataclasses
from pathlib import Path

from intarsia.data import open_dataset
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
from intarsia.pictures import write_gif, write_picture
from intarsia.records import PICTURE, Scores, read_json
from intarsia.weights import RECIPE, has_codes, latest

ANIMATION = "identity.gif"


def evaluate_run(
    run: Path, out: Path, scenes: int | None = None, data_root: str | None = None, dataset: str | None = None
) -> Scores:
    """Score the newest model of a run, and write `scores.json` and `segments.png` into a folder, in place of older ones.

    Args:
        run: The folder of a run, of one of its stages, or of a model; or the name of a shipped model.
        out: The folder to write to. `records` and `report` look for the scores in the run's own folder.
        scenes: The number of test scenes, from the first on, a multiple of 10; None for all.
        data_root: The folder of the scenes, if they are not those of the run's recipe.
        dataset: The dataset of the scenes, if it is not that of the run.

    Raises:
        InputError: before anything is scored, if the true segments of the scenes are not known, or the folder takes no files.
    """
    source = latest(run)
    model = Model.load(source, device="auto")
    recipe = model.recipe
    root = data_root or (recipe.data_root if dataset in (None, recipe.dataset) else None)
    test = open_dataset(dataset or recipe.dataset, TEST_SEED, "test", root, (recipe.height, recipe.width))
    if test.unlabelled:
        raise InputError(f"Evaluation needs the true segments: {test.unlabelled} `intarsia predict` needs none.")
    count = _checked(scenes, (test.size or 0) // SUBSETS * SUBSETS)
    make_folder(out)
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


def _checked(scenes: int | None, most: int) -> int:
    if scenes is None:
        return most
    if scenes % SUBSETS or not SUBSETS <= scenes <= most:
        raise InputError(f"The number of scenes is {scenes}; it must be a multiple of {SUBSETS} from {SUBSETS} to {most}.")
    return scenes
