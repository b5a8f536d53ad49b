"""One run as a page: settings, curves, segments, scores, what the codes keep and change. A single file that needs no other."""

from pathlib import Path

from intarsia.data import scenes_of
from intarsia.errors import InputError
from intarsia.evaluation.page import page
from intarsia.evaluation.scenes import examples, traversals
from intarsia.files import replacing
from intarsia.model import load
from intarsia.records import SCORES, read_records

__all__ = ["report"]

REPORT = "report.html"
MOVED = 2  # scenes whose codes are traversed: the middle ones


def report(run: Path) -> Path:
    """Write `report.html` into the folder of an evaluated run, and return its path.

    Raises:
        InputError: if the run can't be read or was not evaluated as it is now.
    """
    records = read_records(run)
    recipe, scores = records.recipe, records.scores
    model = load(run)
    try:
        test = scenes_of(recipe, "test", scores["test_seed"])
        codes, chosen = scores["codes"], scores["examples"]
        segments = {kind: examples(model, test, chosen[kind], codes is not None) for kind in ("best", "median", "worst")}
        moved = chosen["median"][:MOVED] if codes else []
        moves = {index: traversals(model, test([index]).images[0], codes["numbers"]) for index in moved}
        text = page(run.resolve().name, records, segments, moves)
    except (KeyError, TypeError) as error:
        raise InputError(f"{run / SCORES} is incomplete ({error}); run `intarsia evaluate {run}` again.") from error
    with replacing(run / REPORT) as path:
        path.write_text(text)
    return run / REPORT
