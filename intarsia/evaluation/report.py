"""The report of one run: settings, curves, segments, scores, and what the codes keep and change. One file, needing no other."""

from pathlib import Path

from intarsia.data import Scenes, scenes_of
from intarsia.errors import InputError
from intarsia.evaluation.codes import number_scores
from intarsia.evaluation.page import page
from intarsia.evaluation.scenes import examples, traversals
from intarsia.evaluation.segments import TEST_SEED
from intarsia.files import make_folder, replacing
from intarsia.model import load
from intarsia.records import Records, read_records, read_training
from intarsia.weights import has_codes, latest, named

REPORT = "report.html"
TRAVERSED = 2  # scenes: the middle ones
FIRST_SCENES = 10  # that are shown where nothing tells the good from the bad
MIDDLE, FIRST = "Scenes in the middle", "The first test images"  # titles


def report(run: Path, out: Path) -> Path:
    """Write `report.html` about a run into a folder, and return its path.

    Where the true segments of the test images are not known, the page has no scores, and shows the first images.

    Args:
        run: The folder of a run or of a model, evaluated if the true segments are known; or the name of a shipped model.
        out: The folder to write to.

    Raises:
        InputError: if the run can't be read, or was not evaluated with its newest weights.
    """
    folder = named(run)
    training = read_training(folder)
    test = scenes_of(training.recipe, "test", TEST_SEED)
    records = None if test.unlabelled else read_records(folder)
    make_folder(out)
    model = load(run)
    if records and model.weights_sha256 != records.scores.weights_sha256:
        raise InputError(f"The weights in {run} have just changed; run `intarsia evaluate {run}` again.")
    with_codes = has_codes(latest(run))
    shown = _shown(test, records)
    segments = {title: examples(model, test, indices, with_codes) for title, indices in shown.items()}
    moves = {}
    if with_codes:
        middle = shown.get(MIDDLE, shown.get(FIRST, []))
        codes = records and records.scores.codes
        numbers = codes.numbers if codes else number_scores(model, test(middle).images)
        moves = {index: traversals(model, test([index]).images[0], numbers) for index in middle[:TRAVERSED]}
    text = page(run.resolve().name, training, records, segments, moves)
    with replacing(out / REPORT) as path:
        path.write_text(text, "utf-8", errors="backslashreplace")  # the run's name may be no UTF-8
    return out / REPORT


def _shown(test: Scenes, records: Records | None) -> dict[str, list[int]]:
    """The indices of the scenes that the page shows, by title."""
    if records is None:
        return {FIRST: list(range(min(FIRST_SCENES, test.size or 0)))}
    chosen = records.scores.examples
    return {"The best scenes": chosen.best, MIDDLE: chosen.median, "The worst scenes": chosen.worst}
