"""What a stage logged, as small line drawings in SVG."""

from typing import Any

from intarsia.evaluation.html import escape

__all__ = ["curve", "curves"]

WIDTH, HEIGHT, BOTTOM = 240, 90, 14  # of a drawing; the last rows are for the steps
POINTS = 120  # of a line: what is logged in every step is averaged down to so many


def curves(log: list[dict[str, Any]]) -> str:
    """A drawing for each number that a stage logged at least twice, in the order in which they first appear."""
    series: dict[str, list[tuple[int, float]]] = {}
    for record in log:
        for name, value in record.items():
            if name not in ("step", "seconds") and isinstance(value, int | float) and not isinstance(value, bool):
                series.setdefault(name, []).append((record["step"], float(value)))
    drawings = [curve(name, points) for name, points in series.items() if len(points) > 1]
    return f'<div class="curves">{"".join(drawings)}</div>'


def curve(name: str, points: list[tuple[int, float]]) -> str:
    """One number over the steps; its smallest and largest value at the left, its last one in the title."""
    line = _averaged(points)
    steps, values = zip(*line, strict=True)
    low, high = min(values), max(values)
    spread = (high - low) or 1.0
    places = [
        f"{(step - steps[0]) / ((steps[-1] - steps[0]) or 1) * WIDTH:.1f} {(high - value) / spread * (HEIGHT - 20) + 10:.1f}"
        for step, value in line
    ]
    title = escape(name.replace("_", " "))
    return (
        f'<figure><figcaption>{title} <b>{values[-1]:.4g}</b></figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT + BOTTOM}" '
        f'role="img" aria-label="{title}, from {values[0]:.4g} to {values[-1]:.4g}">'
        f'<line x1="0" y1="{HEIGHT}" x2="{WIDTH}" y2="{HEIGHT}"/><line x1="0" y1="0" x2="{WIDTH}" y2="0"/>'
        f'<path d="M{" L".join(places)}"/><text x="0" y="9">{high:.4g}</text><text x="0" y="{HEIGHT - 3}">{low:.4g}</text>'
        f'<text x="0" y="{HEIGHT + 12}">{points[0][0]:,}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 12}" text-anchor="end">step {points[-1][0]:,}</text></svg></figure>'
    )


def _averaged(points: list[tuple[int, float]]) -> list[tuple[float, float]]:
    """The points, or the means of up to `POINTS` groups of neighbours."""
    size = -(-len(points) // POINTS)
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [(sum(step for step, _ in group) / len(group), sum(value for _, value in group) / len(group)) for group in groups]
