"""Every command that README.md shows is one that exists. None of them is run."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parent.parent


def commands(markdown: str) -> Iterator[list[str]]:
    """Yields the words of each `intarsia` and `make` command in the code blocks of a page.

    Where a block shows prompts (`$ make demo`), its other lines are output.
    """
    for block in re.findall(r"^ *```[^\n]*\n(.*?)^ *```", markdown, flags=re.DOTALL | re.MULTILINE):
        lines = [line.strip() for line in block.replace("\\\n", " ").splitlines()]
        if any(line.startswith("$ ") for line in lines):
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        for line in lines:
            for command in re.split(r"&&|;|\|", line):
                if re.match(r"(\w+=\S+ )*(\.venv/bin/)?(intarsia|make|python -m intarsia)( |$)", command.strip()):
                    yield words(command)


def words(command: str) -> list[str]:
    """Splits a command; leaves out comments, variables set in front, the folder and `python -m`."""
    found = shlex.split(command, comments=True)
    while re.match(r"\w+=", found[0]):
        found.pop(0)
    found[0] = Path(found[0]).name
    return found[2:] if found[:2] == ["python", "-m"] else found


def make_demo() -> list[list[str]]:
    """What `make demo` would run."""
    # A make around the tests would have this one print more.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    printed = subprocess.run(
        ["make", "--dry-run", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    return [words(line) for line in printed.splitlines() if line.startswith(".venv/bin/intarsia ")]


README = list(commands((ROOT / "README.md").read_text()))


def test_readme_shows_commands() -> None:
    assert {command[0] for command in README} == {"intarsia", "make"}


@pytest.mark.parametrize("command", [c for c in README if c[0] == "make"], ids=" ".join)
def test_make_target_exists(command: list[str]) -> None:
    targets = set(re.findall(r"^([a-z]+):(?!=)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    wanted = [word for word in command[1:] if "=" not in word and not word.startswith("-")]
    assert set(wanted) <= targets


@pytest.mark.parametrize("command", [c for c in README if c[0] == "intarsia"], ids=" ".join)
def test_command_line_accepts(command: list[str]) -> None:
    from intarsia import commands as cli

    cli.parse(command[1:])


def test_command_line_accepts_the_demo() -> None:
    from intarsia import commands as cli

    demo = make_demo()
    assert demo
    for command in demo:
        cli.parse(command[1:])


def test_command_line_refuses_what_it_does_not_know() -> None:
    from intarsia import commands as cli

    with pytest.raises(SystemExit):
        cli.parse(["no-such-verb"])


def test_commands_are_found() -> None:
    page = """
        ```bash
        make test ARGS='-k masks'  # some
        A=1 intarsia train multi_texture/compact \\
            --run RUN && .venv/bin/intarsia evaluate RUN
        pip install intarsia
        ```
        `intarsia inline`
        ```
        $ python -m intarsia --help
        intarsia prints this
        ```
    """
    assert list(commands(page)) == [
        ["make", "test", "ARGS=-k masks"],
        ["intarsia", "train", "multi_texture/compact", "--run", "RUN"],
        ["intarsia", "evaluate", "RUN"],
        ["intarsia", "--help"],
    ]


RESULTS = json.loads((ROOT / "docs" / "results.json").read_text())


@pytest.mark.parametrize("dataset", RESULTS)
def test_the_table_shows_the_recorded_figures(dataset: str) -> None:
    entry = RESULTS[dataset]
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(f"| `{dataset}` |")]
    row = next(row for row in rows if str(entry["test_images"]) in row.replace(",", ""))
    for name in ("iou", "miou", "ari", "fg_ari"):
        assert f" {median(entry[name]):.3f} " in row, name
    assert f" {median(entry['minutes']):.1f} " in row


BASELINES = json.loads((ROOT / "docs" / "baselines.json").read_text())


@pytest.mark.parametrize("dataset", BASELINES)
def test_the_table_shows_the_other_methods_on_the_same_scenes(dataset: str) -> None:
    section = (ROOT / "README.md").read_text().split("### Beside other methods")[1]
    rows = dict(re.findall(rf"^\| `{dataset}` \| ([^|]+) \| (.*) \|$", section, re.MULTILINE))
    assert rows.pop("Intarsia")
    record, wanted = BASELINES[dataset], {}
    assert record["test_seed"] == 0
    for method, found in record["methods"].items():
        figures = found["figures"]
        shown = [f"{value:.3f}" for value in (figures["iou"]["mean"], figures["miou"], figures["ari"], figures["fg_ari"])]
        minutes = f"{found['train_minutes']:.1f}" if "train_minutes" in found else "none"
        wanted[method] = " | ".join([*shown, minutes, f"{found['test_images']:,}"])
    assert rows == wanted


WEIGHTS = ROOT / "intarsia" / "weights"
SHIPPED = sorted(path.parent.name for path in WEIGHTS.glob("*/scores.json"))


def shipped_row(name: str) -> str:
    """What the table says of a model that comes with the package."""
    figures = json.loads((WEIGHTS / name / "scores.json").read_text())["figures"]
    minutes = json.loads((WEIGHTS / name / "training.json").read_text())["minutes"]
    size = (WEIGHTS / name / "weights.safetensors").stat().st_size / 1e6
    shown = [f"{size:.1f} MB", f"{figures['iou']['mean']:.3f}", f"{figures['fg_ari']:.3f}"]
    shown += [f"{figures['psnr']:.1f}", f"{figures['locality']:.3f}", f"{minutes:.0f} min"]
    return f"| `{name}` | {' | '.join(shown)} |"


def test_the_table_shows_the_models_that_come_with_it() -> None:
    rows = re.search(r"^## Models that come with it\n\n.*\n\|-.*\n((\|.*\n)*)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert rows and rows[1].splitlines() == [shipped_row(name) for name in SHIPPED]
