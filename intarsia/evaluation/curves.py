"""The numbers that a stage logged, as curves for small line drawings."""

from typing import Any, NamedTuple

WIDTH, HEIGHT = 240, 90  # of a drawing
POINTS = 120  # of a line; longer logs are averaged


class Curve(NamedTuple):
    """One number over the steps.

    path: The line in a drawing of WIDTH by HEIGHT, as SVG has it.
    first: The value at the line's start; `last`, `low` and `high` likewise.
    steps: The first and the last step.
    """

    name: str
    path: str
    first: float
    last: float
    low: float
    high: float
    steps: tuple[int, int]


def curves(log: list[dict[str, Any]]) -> list[Curve]:
    """A curve for each number that a stage logged at least twice, in the order in which they first appear."""
    series: dict[str, list[tuple[int, float]]] = {}
    for record in log:
        for name, value in record.items():
            if name not in ("step", "seconds") and isinstance(value, int | float) and not isinstance(value, bool):
                series.setdefault(name, []).append((record["step"], float(value)))
    return [curve(name, points) for name, points in series.items() if len(points) > 1]


def curve(name: str, points: list[tuple[int, float]]) -> Curve:
    """The curve through some values at rising steps."""
    line = _averaged(points)
    steps, values = zip(*line, strict=True)
    low, high = min(values), max(values)
    length, extent = (steps[-1] - steps[0]) or 1, (high - low) or 1.0
    places = [
        f"{(step - steps[0]) / length * WIDTH:.1f} {(high - value) / extent * (HEIGHT - 20) + 10:.1f}" for step, value in line
    ]
    ends = points[0][0], points[-1][0]
    return Curve(name.replace("_", " "), f"M{' L'.join(places)}", values[0], values[-1], low, high, ends)


def _averaged(points: list[tuple[int, float]]) -> list[tuple[float, float]]:
    """The points, or the means of up to `POINTS` groups of neighbours."""
    size = -(-len(points) // POINTS)
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [(sum(step for step, _ in group) / len(group), sum(value for _, value in group) / len(group)) for group in groups]
