"""How `benchmarks/quality.py` reads minutes from logs, with values worked out by hand."""

import pytest

from benchmarks.quality import progress, reached
from intarsia.recipes import RECIPES
from intarsia.records import Machine, Training

INPAINTING = [{"step": 1, "seconds": 30.0}, {"step": 2, "seconds": 60.0}]
SEPARATION = [{"step": step, "seconds": 60.0 * step, "fg_ari": figure} for step, figure in enumerate((0.6, 0.4, 0.85, 0.8), 1)]


def test_minutes_go_on_from_stage_to_stage():
    logs = {"inpainting": INPAINTING, "separation": SEPARATION, "distillation": [{"step": 1, "seconds": 60.0, "fg_ari": 0.95}]}
    training = Training(RECIPES["multi_texture"]["compact"], logs, Machine("a processor", 1), None, None)
    assert progress(training) == [(2.0, 0.6), (3.0, 0.4), (4.0, 0.85), (5.0, 0.8), (6.0, 0.95)]


@pytest.mark.parametrize(("level", "minutes"), [(0.3, 2.0), (0.5, 4.0), (0.8, 4.0), (0.82, 6.0), (0.96, None)])
def test_a_level_is_reached_when_no_later_validation_is_below_it(level, minutes):
    points = [(2.0, 0.6), (3.0, 0.4), (4.0, 0.85), (5.0, 0.8), (6.0, 0.95)]
    assert reached(points, level) == minutes
