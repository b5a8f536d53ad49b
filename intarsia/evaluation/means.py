"""Means of scores as numbers for a JSON file, and numbers as text for people."""

import math

from torch import Tensor


def mean(values: Tensor) -> float | None:
    """The mean of all values that are not nan, as `rounded` gives it."""
    return rounded(values.nanmean())


def rounded(value: Tensor) -> float | None:
    """A number to six digits; None, which JSON can write, for one that is not finite."""
    return round(float(value), 6) if math.isfinite(value) else None


def number(value: float | None, digits: int = 3) -> str:
    """A number as text; a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"
