"""The report of one run: settings, curves, segments, scores, and what the codes keep and change. One file, needing no other."""

from pathlib import Path

from intarsia.data import scenes_of
from intarsia.errors import InputError
from intarsia.evaluation.page import page
from intarsia.evaluation.scenes import examples, traversals
from intarsia.files import make_folder, replacing
from intarsia.model import load
from intarsia.records import read_records

REPORT = "report.html"
TRAVERSED = 2  # scenes: the middle ones


def report(run: Path) -> Path:
    """Write `report.html` into the folder of an evaluated run, and return its path.

    Raises:
        InputError: if the run can't be read, or was not evaluated with its newest weights.
    """
    records = read_records(run)
    scores, codes = records.scores, records.scores.codes
    make_folder(run)
    model = load(run)
    if model.weights_sha256 != scores.weights_sha256:
        raise InputError(f"The weights in {run} have just changed; run `intarsia evaluate {run}` again.")
    test = scenes_of(records.recipe, "test", scores.test_seed)
    segments = {kind: examples(model, test, indices, codes is not None) for kind, indices in vars(scores.examples).items()}
    middle = scores.examples.median[:TRAVERSED]
    moves = {index: traversals(model, test([index]).images[0], codes.numbers) for index in middle} if codes else {}
    text = page(run.resolve().name, records, segments, moves)
    with replacing(run / REPORT) as path:
        path.write_text(text, "utf-8", errors="backslashreplace")  # the run's name may be no UTF-8
    return run / REPORT
