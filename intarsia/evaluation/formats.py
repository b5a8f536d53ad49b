"""Gathered results as text: CSV for programs, Markdown and LaTeX for papers and pages.

CSV has a row for each run with all that was gathered. The other two have a row for each dataset: means over the runs' seeds,
with the sample standard deviation if there are several.
"""

import csv
import io
import re
from collections.abc import Callable
from statistics import mean, stdev
from typing import Any

from intarsia.recipes.settings import flatten

Entries = dict[str, dict[str, Any]]

FIGURES = {  # name: its title, and the digits after the point
    "iou": ("IoU, original's protocol", 3),
    "miou": ("mIoU, one-to-one", 3),
    "mbo": ("mBO", 3),
    "ari": ("ARI", 3),
    "fg_ari": ("FG-ARI", 3),
    "psnr": ("PSNR, dB", 1),
    "locality": ("locality", 3),
    "steps": ("steps", 0),
    "minutes": ("minutes", 1),
}


def as_csv(entries: Entries) -> str:
    """A row for each run: its dataset, its seed, and everything else under the names that the JSON file has."""
    rows = [
        flatten(
            {"dataset": dataset} | {name: value[run] if isinstance(value, list) else value for name, value in entry.items()}
        )
        for dataset, entry in entries.items()
        for run in range(len(entry["seeds"]))
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, dict.fromkeys(name for row in rows for name in row), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_markdown(entries: Entries) -> str:
    """A table with a row for each dataset."""
    titles, rows = _table(entries)
    lines = [titles, ["---"] * len(titles), *([f"`{row[0]}`", *row[1:]] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def as_latex(entries: Entries) -> str:
    """A table with a row for each dataset, for the package booktabs."""
    titles, rows = _table(entries)
    head, *body = ([_escaped(cell) for cell in line] for line in (titles, *rows))
    columns = "l" * 2 + "r" * (len(titles) - 2)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    lines += [*(" & ".join(line) + r" \\" for line in body), r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def _escaped(cell: str) -> str:
    """A text as LaTeX has it."""
    plain = re.sub(r"([_%&#])", r"\\\1", cell.replace("--", "-{}-")).replace("–", "--")
    return re.sub(r"(\S+) ± (\S+)", r"$\1 \\pm \2$", plain)


FORMATS: dict[str, Callable[[Entries], str]] = {"csv": as_csv, "markdown": as_markdown, "latex": as_latex}


def _table(entries: Entries) -> tuple[list[str], list[list[str]]]:
    """The titles and the rows of a table with the figures that any of the datasets has."""
    shown = [name for name in FIGURES if any(name in entry for entry in entries.values())]
    titles = ["dataset", "recipe", *(FIGURES[name][0] for name in shown), "seeds", "test images"]
    rows = [
        [
            dataset,
            entry["recipe"],
            *(_mean(entry.get(name, []), FIGURES[name][1]) for name in shown),
            str(len(entry["seeds"])),
            f"{entry['test_images']:,}",
        ]
        for dataset, entry in entries.items()
    ]
    return titles, rows


def _mean(values: list[float | None], digits: int) -> str:
    """The mean of the values that are there ± their standard deviation; a dash for none."""
    found = [value for value in values if value is not None]
    if not found:
        return "–"
    deviation = f" ± {stdev(found):,.{digits}f}" if len(set(found)) > 1 else ""
    return f"{mean(found):,.{digits}f}{deviation}"
