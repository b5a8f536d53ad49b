"""README and documentation tell the truth: commands exist, figures are those recorded, pictures are what code makes.

No command is run.
"""

import json
import os
import re
import runpy
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from PIL import Image

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


README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = [command for page in PAGES for command in commands(page.read_text())]


def test_readme_shows_commands() -> None:
    assert {command[0] for command in commands(README)} == {"intarsia", "make"}


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "make"], ids=" ".join)
def test_make_target_exists(command: list[str]) -> None:
    targets = set(re.findall(r"^([a-z]+):(?!=)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    wanted = [word for word in command[1:] if "=" not in word and not word.startswith("-")]
    assert set(wanted) <= targets


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "intarsia"], ids=" ".join)
def test_command_line_accepts(command: list[str]) -> None:
    from intarsia import commands as cli

    if "--help" in command:
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.parse(command[1:])
    else:
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


def section(page: Path, title: str) -> str:
    """The text below a heading of a page, up to the next heading of its rank."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^\1 |\Z)", page.read_text(), re.DOTALL | re.MULTILINE)
    assert found, title
    return found[2]


def rows(text: str) -> dict[str, list[str]]:
    """The cells of the table rows that begin with a name in code type, by that name."""
    found = re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in found}


RESULTS = json.loads((ROOT / "docs" / "results.json").read_text())
RESULTS_PAGE = ROOT / "docs" / "results.md"
PIXELS, COMPACT = "Segments and codes: the `pixels` recipes", "Segments in minutes: the `compact` recipes"


@pytest.mark.parametrize("dataset", RESULTS)
def test_the_table_shows_the_recorded_figures(dataset: str) -> None:
    entry, row = RESULTS[dataset], rows(section(RESULTS_PAGE, PIXELS).split("These are medians")[0])[dataset]
    figures = [f"{median(entry[name]):.3f}" for name in ("iou", "miou", "mbo", "ari", "fg_ari")]
    assert [row[0].split(" ")[0], *row[1:5]] == figures
    assert row[6:] == [f"{median(entry['minutes']):.1f}", f"{entry['test_images']:,}"]


def test_readme_shows_figures_of_the_results_page() -> None:
    compact = rows(section(RESULTS_PAGE, COMPACT).split("\n### ")[0])
    readme = rows(section(ROOT / "README.md", "Results"))
    for name, row in readme.items():
        assert row[:3] == [compact[name][0], compact[name][4], compact[name][6]]
        if name in RESULTS:
            entry = RESULTS[name]
            assert row[3:5] == [f"{median(entry[figure]):.3f}" for figure in ("iou", "fg_ari")]
            assert row[5] == f"{median(entry['minutes']):.1f}"
        else:  # one run of the `pixels` recipe, in sentences
            page = section(RESULTS_PAGE, "Rooms" if "room" in name else "Flying Animals")
            assert all(figure in page for figure in row[3:])
    assert readme.keys() == compact.keys()


BASELINES = json.loads((ROOT / "docs" / "baselines.json").read_text())


@pytest.mark.parametrize("dataset", BASELINES)
def test_the_table_shows_the_other_methods_on_the_same_scenes(dataset: str) -> None:
    page = section(RESULTS_PAGE, "Beside other methods")
    shown_rows = dict(re.findall(rf"^\| `{dataset}` \| ([^|]+) \| (.*) \|$", page, re.MULTILINE))
    assert shown_rows.pop("Intarsia")
    record, wanted = BASELINES[dataset], {}
    assert record["test_seed"] == 0
    for method, found in record["methods"].items():
        figures = found["figures"]
        shown = [f"{value:.3f}" for value in (figures["iou"]["mean"], figures["miou"], figures["ari"], figures["fg_ari"])]
        minutes = f"{found['train_minutes']:.1f}" if "train_minutes" in found else "none"
        wanted[method] = " | ".join([*shown, minutes, f"{found['test_images']:,}"])
    assert shown_rows == wanted


WEIGHTS = ROOT / "intarsia" / "weights"
SHIPPED = sorted(path.parent.name for path in WEIGHTS.glob("*/scores.json"))


def shipped_row(name: str) -> str:
    """What the table says of a model that comes with the package."""
    figures = json.loads((WEIGHTS / name / "scores.json").read_text())["figures"]
    minutes = json.loads((WEIGHTS / name / "training.json").read_text())["minutes"]
    size = (WEIGHTS / name / "weights.safetensors").stat().st_size / 1e6
    shown = [f"{size:.1f} MB", f"{figures['iou']['mean']:.3f}", f"{figures['fg_ari']:.3f}"]
    shown += [f"{figures['psnr']:.1f}", f"{figures['locality']:.3f}"] if "psnr" in figures else ["–", "–"]
    shown += [f"{minutes:.0f} min"]
    return f"| `{name}` | {' | '.join(shown)} |"


def test_the_table_shows_the_models_that_come_with_it() -> None:
    shown = [line for line in section(RESULTS_PAGE, "Shipped models").splitlines() if line.startswith("| `")]
    assert shown == [shipped_row(name) for name in SHIPPED]


SHIPPED_PICTURES = runpy.run_path(str(ROOT / "docs" / "images" / "shipped.py"))["PICTURES"]


@pytest.mark.parametrize("name", SHIPPED_PICTURES)
def test_pictures_are_what_the_shipped_models_give(name: str) -> None:
    """`python docs/images/shipped.py` makes them; another processor may round a few pixels otherwise."""
    committed, made = np.array(Image.open(ROOT / "docs" / "images" / f"{name}.png")), SHIPPED_PICTURES[name]()
    assert committed.shape == made.shape
    assert (np.abs(committed.astype(int) - made) > 16).any(-1).mean() < 0.01


SITE = "https://example.org/intarsia"  # a placeholder, until the project has a public address


def test_links_of_the_readme_are_absolute_and_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert all(link.startswith("https://") for link in links)
    own = [link.removeprefix(SITE + "/") for link in links if link.startswith(SITE)]
    assert own
    for link in own:
        path = link.removeprefix("blob/main/")
        assert (ROOT / re.sub(r"\.html$", ".md", path)).is_file(), link


def test_the_readme_stays_short() -> None:
    assert len(README.split()) <= 1000
