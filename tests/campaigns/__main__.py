"""The campaign: all commands that write are stopped and starved, all readers get damaged files, and violations are counted.

`python -m tests.campaigns --minutes 18 --out docs/campaign.json` prints a table and writes it as JSON. Its seed decides what is
damaged and when a command is stopped. A violation keeps its files in the folder that the last line names.
"""

import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table

from intarsia import __version__
from intarsia.files import make_folder, replacing
from tests.campaigns.fuzzing import fuzz
from tests.campaigns.readers import READERS
from tests.campaigns.verbs import VERBS, Trials, prepare_world

FUZZED = 0.4  # part of the time


def rows_of(seconds: float, seed: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the cases and the violations of each command and each reader, as soon as they are known."""
    started = time.monotonic()
    for number, name in enumerate(READERS):
        share = seconds * FUZZED / len(READERS)
        cases, violations = fuzz(name, share, seed + 10**6 * number, folder / f"reader-{number}")
        yield {"test": "damaged files", "of": name, "cases": cases, "violations": violations}
    prepare_world(folder / "world", READERS["TFRecord files"].make)
    left = len(VERBS)
    for name in VERBS:
        share = (started + seconds - time.monotonic()) / left
        left -= 1
        yield from _trials(name, share, random.Random(f"{seed} {name}"), folder)


def _trials(name: str, seconds: float, chance: random.Random, folder: Path) -> Iterator[dict[str, Any]]:
    until = time.monotonic() + seconds
    trials = Trials(name, folder / "world", folder)
    wrong = trials.start()
    rows = {kind: {"test": kind, "of": name, "cases": 0, "violations": []} for kind in ("stopped", "full disk")}
    if wrong:
        rows["stopped"] |= {"cases": 1, "violations": [{"kind": "unbroken", "said": wrong}]}
    ways: list[tuple[str, Callable[[random.Random], dict[str, Any] | None]]]
    ways = [("stopped", trials.stop), ("stopped", trials.stop), ("full disk", trials.fill)]
    for kind, way in itertools.cycle(ways if not wrong else []):
        if time.monotonic() >= until and all(row["cases"] for row in rows.values()):
            break
        rows[kind]["cases"] += 1
        if violation := way(chance):
            rows[kind]["violations"].append(violation)
    yield from rows.values()


def main(minutes: float = 18.0, seed: int = 0, out: Path = Path("docs/campaign.json")) -> None:
    """Run the campaign, print its table, and write it as JSON. Exits with 1 if there are violations.

    Args:
        minutes: About how long it takes; longer where that is not enough for a case of each.
        seed: Of all random choices.
        out: The JSON file.
    """
    torch.set_num_threads(1)
    make_folder(out.parent)
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    table, rows = Table("test", "of", "cases", "violations", title=f"Campaign, seed {seed}"), []
    for row in rows_of(60 * minutes, seed, folder):
        rows.append(row)
        table.add_row(row["test"], row["of"], str(row["cases"]), str(len(row["violations"])))
        print(f"{row['test']}, {row['of']}: {row['cases']} cases, {len(row['violations'])} violations", flush=True)
        for violation in row["violations"][:3]:
            print(f"  {json.dumps(violation)}", file=sys.stderr)
    violations = sum(len(row["violations"]) for row in rows)
    record = {
        "intarsia": __version__, "seed": seed, "minutes": minutes, "cases": sum(row["cases"] for row in rows),
        "violations": violations, "rows": rows,
    }  # fmt: skip
    with replacing(out) as path:
        path.write_text(json.dumps(record, indent=2) + "\n")
    Console().print(table)
    print(f"{record['cases']} cases, {violations} violations. Wrote {out}; files of violations are in {folder}/violations.")
    sys.exit(bool(violations))


if __name__ == "__main__":
    tyro.cli(main)
