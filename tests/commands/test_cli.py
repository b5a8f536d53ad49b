import dataclasses
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from intarsia import __version__
from intarsia import commands as cli
from intarsia.commands.edit_flags import EditFlags
from intarsia.commands.table import Demo, Evaluate, Export, Manipulate, Predict, Report, Results
from intarsia.commands.train import USABLE_RECIPES, Train
from intarsia.data import scenes_of
from intarsia.model import Model
from intarsia.recipes import STARTS
from intarsia.recipes.file import load_recipe
from intarsia.recipes.options import Options
from intarsia.recipes.settings import Inpainter, Segmenter
from intarsia.weights import WEIGHTS, shipped

DATASET = "multi_dsprites"
NAME = f"{DATASET}/pixels"
PIXELS = USABLE_RECIPES[NAME]
TINY = dataclasses.replace(PIXELS, inpainter=Inpainter(channels=2), segmenter=Segmenter(channels=8, dimension=4))
VERBS = [
    "prepare", "import-tf1", "train", "evaluate", "predict", "manipulate", "demo", "serve", "report", "results", "export",
]  # fmt: skip

Capture = pytest.CaptureFixture[str]


def complaint(argv: list[str], capsys: Capture) -> str:
    """The one line that a bad command line gives, with exit code 2 and nothing on standard output."""
    capsys.readouterr()
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("intarsia: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err.removeprefix("intarsia: ").rstrip("\n")


def refusal(argv: list[str], capsys: Capture) -> str:
    """What tyro prints about a command line that it refuses, without frame and line breaks; with exit code 2 alone."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.parse(argv)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return " ".join(re.sub("[│─╭╮╰╯]", " ", err).split())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    Model(TINY).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(np.zeros((80, 100, 3), np.uint8)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


# Help.


def test_overview_names_what_there_is(capsys: Capture) -> None:
    for argv in ([], ["--help"], ["-h"]):
        assert cli.main(argv) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert all(name in shown for name in [*VERBS, *USABLE_RECIPES, "--version", "--completion"])
        assert f"named in place of a RUN: {', '.join(shipped())}." in shown


def test_version(capsys: Capture) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"intarsia {__version__}\n"


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("words", ["--help", "train --help", f"train {NAME} --help", "evaluate --help", "manipulate --help"])
def test_help_is_no_wider_than_the_terminal(words: str, width: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert cli.main(words.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("usage: intarsia ") and "{" not in lines[0]


def test_the_settings_used_most_come_first(capsys: Capture) -> None:
    cli.main(["train", NAME, "--help"])
    shown = capsys.readouterr().out
    options = ["--run ", "--seed ", "--threads ", "--inpainting.steps ", "--separation.steps ", "--segmenter.channels "]
    places = [shown.index(option) for option in options]
    assert places == sorted(places)


@pytest.mark.parametrize("no_color", ["", "1"])
def test_no_color_is_honoured(no_color: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli.main(["train", NAME, "--help"]) == 0
    assert ("\x1b[" in capsys.readouterr().out) == (not no_color)


def test_bash_completes_commands_recipes_and_options(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["--completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)

    def completed(*words: str) -> set[str]:
        asked = shlex.join(words)
        lines = f"source {tmp_path / 'script'}; COMP_WORDS=({asked}); COMP_CWORD={len(words) - 1}; COMP_LINE='{asked}'\n"
        lines += "COMP_POINT=${#COMP_LINE}; _tyro_intarsia intarsia; echo ${COMPREPLY[@]}"
        return set(subprocess.run(["bash", "-c", lines], capture_output=True, text=True, check=True).stdout.split())

    assert completed("intarsia", "pre") == {"predict", "prepare"}
    assert NAME in completed("intarsia", "train", NAME[:-2])
    assert completed("intarsia", "train", NAME, "--see") == {"--seed"}


def test_an_unknown_option_is_refused_in_a_few_lines(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["train", NAME, "--epsilon", "5"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: Capture) -> None:
    assert cli.main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: intarsia {verb}")
    assert all(name in shown for name in shipped()) or "shipped model" not in shown


def leaves(settings: Any, name: str = "--") -> Iterator[tuple[str, Any]]:
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{name}{item.name.replace('_', '-')}.")
        elif item.name != "dataset":
            yield f"{name}{item.name.replace('_', '-')}", value


def test_train_help_names_the_recipes(capsys: Capture) -> None:
    assert cli.main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {name} " in shown for name in USABLE_RECIPES)


@pytest.mark.parametrize("name", USABLE_RECIPES)
def test_train_help_shows_the_numbers_of_the_recipe(name: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # a wide terminal gets two columns
    assert cli.main(["train", name, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert shown.startswith(f"usage: intarsia train {name} ")
    assert "--dataset" not in shown and "--name" not in shown
    for option, value in [*leaves(USABLE_RECIPES[name]), *leaves(Options())]:
        text = shown.partition(f" {option} ")[2]
        value = " ".join(map(str, value)) if isinstance(value, tuple) else value
        assert text.partition("(default: ")[2].startswith(f"{value})"), option


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        *([verb, "--help"] for verb in VERBS),
        ["train", NAME, "--help"],
        ["train", "no-such"],
        ["train", NAME, "--odd"],
    ],
)
def test_start_up_does_not_load_pytorch(argv: list[str]) -> None:
    code = "import sys; from intarsia.commands import main; main(sys.argv[1:]); print('torch' in sys.modules, file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True)
    assert ended.stderr.splitlines()[-1] == "False"


# Understanding.


def test_recipe_is_the_default_and_settings_change_it() -> None:
    command = cli.parse(["train", NAME])
    assert command == Train(NAME, PIXELS)
    assert command.run_folder == Path(f"runs/{DATASET}-pixels-0")
    argv = [
        "--separation.epsilon.highest",
        "50",
        "--seed=2",
        "--separation.regrouping.from_step",
        "7",
        "--inpainting.learning-rate.highest=1e-4",
    ]
    command = cli.parse(["train", NAME, *argv, "--devices", "2", "--num-nodes", "3", "--precision", "bf16-mixed"])
    assert isinstance(command, Train)
    changed = dict(leaves(command.recipe))
    given = {
        "--separation.epsilon.highest": 50,
        "--seed": 2,
        "--separation.regrouping.from-step": 7,
        "--inpainting.learning-rate.highest": 1e-4,
    }
    assert changed == dict(leaves(PIXELS)) | given
    assert command.recipe.dataset == DATASET
    assert command.options == Options(precision="bf16-mixed", devices=2, num_nodes=3)
    assert command.run_folder == Path(f"runs/{DATASET}-pixels-2")


@pytest.mark.parametrize("name", USABLE_RECIPES)
def test_every_shipped_recipe_can_be_asked_for(name: str) -> None:
    dataset, variant = name.split("/")
    start = Path(STARTS[dataset, variant]) if (dataset, variant) in STARTS else None
    for argv in (["--run", "x"], ["--run=x"]):
        command = cli.parse(["train", name, *argv])
        assert command == Train(name, USABLE_RECIPES[name], Path("x"))
        assert command.run_folder == Path("x") and command.start_model == start


def test_a_recipe_without_the_first_stages_starts_from_its_shipped_model(tmp_path: Path) -> None:
    def start(*argv: str, recipe: str = "pixels") -> Path | None:
        command = cli.parse(["train", f"multi_texture_pair/{recipe}", *argv])
        assert isinstance(command, Train)
        return command.start_model

    run = str(tmp_path / "run")
    assert start("--run", run) == Path("multi_texture_pixels")
    assert start("--run", run, "--start", "other") == Path("other")
    assert start("--run", run, "--separation.steps", "5") is None
    assert start("--run", run, recipe="reference") is None
    (tmp_path / "run").mkdir()
    assert start("--run", run) == Path("multi_texture_pixels")  # empty
    (tmp_path / "run" / "recipe.json").touch()
    assert start("--run", run) is None  # it keeps what it started from


def test_other_verbs() -> None:
    assert cli.parse(["evaluate", "a", "--scenes", "20"]) == Evaluate(Path("a"), scenes=20)
    assert cli.parse(["evaluate", "a", "--out", "b"]) == Evaluate(Path("a"), out=Path("b"))
    assert cli.parse(["predict", "a", "b.png", "c.png", "--overwrite"]) == Predict(
        Path("a"), (Path("b.png"), Path("c.png")), overwrite=True
    )
    argv = "manipulate a b.png --object 2 --move 5 -3.5 --scale 2 --recolour #ff8000 --to-front --raw --out c"
    flags = EditFlags(object=2, move=(5, -3.5), scale=2, recolour="#ff8000", to_front=True, raw=True)
    assert cli.parse(argv.split()) == Manipulate(Path("a"), Path("b.png"), flags, out=Path("c"))
    argv = "manipulate a b.png --object 1 --dimension 0 --range -2 2 --part texture"
    flags = EditFlags(object=1, dimension=0, range=(-2, 2), part="texture")
    assert cli.parse(argv.split()) == Manipulate(Path("a"), Path("b.png"), flags)
    assert cli.parse(["results", "a", "b", "--out", "c"]) == Results((Path("a"), Path("b")), Path("c"))
    assert cli.parse(["report", "a", "--threads", "1"]) == Report(Path("a"), 1)
    assert cli.parse(["demo", "a", "--scene", "3"]) == Demo(Path("a"), 3)
    assert cli.parse(["demo"]).folder == Path(next(iter(shipped())))
    assert cli.parse(["serve", "a", "b"]).folders == (Path("a"), Path("b")) and cli.parse(["serve"]).folders == ()
    assert cli.parse(["export", "a", "b"]) == Export(Path("a"), Path("b"))
    assert cli.parse(["export", "a", "b", "--float32"]) == Export(Path("a"), Path("b"), float32=True)
    assert cli.parse(["results", "a"]) == Results((Path("a"),), Path("docs/results.json"))


REFUSED = {  # what tyro says: what was wrong, and what is allowed
    "evalute": ["Unrecognized options: evalute", ", ".join(VERBS)],
    "train": ["Missing subcommand", ", ".join(USABLE_RECIPES)],
    "train --seed 1": ["--seed", ", ".join(USABLE_RECIPES)],
    "train multi_dsprites/pixels --epsilon 5": ["Unrecognized options: --epsilon", "epsilon"],
    "train multi_dsprites/pixels --seperation.margin=5": ["--seperation.margin=5", "meant: --separation.margin"],
    "train multi_dsprites/pixels --dataset multi_texture": ["Unrecognized options: --dataset"],
    "train multi_dsprites/pixels multi_texture": ["Unrecognized options: multi_texture"],
    "train multi_dsprites/pixels --seed one": ["Error parsing --seed", "'one'", "--seed INT"],
    "train multi_dsprites/pixels --separation.margin big": ["--separation.margin", "'big'", "--separation.margin INT"],
    "train multi_dsprites/pixels --seed": ["Missing value for argument '--seed'"],
    "train multi_dsprites/pixels --precision 8": ["'8' for argument '--precision'", "('auto', '32-true', 'bf16-mixed')"],
    "train multi_dsprites/pixels --vaes.background-per-batch yes": ["vaes.background-per-batch", "('True', 'False')"],
    "evaluate": ["Missing from intarsia evaluate: RUN", "intarsia evaluate --help"],
    "evaluate a b": ["Unrecognized options: b"],
    "evaluate a --scene 10": ["--scene (applied to intarsia evaluate)", "meant: --scenes"],
    "predict": ["Missing from intarsia predict: RUN"],
    "export a": ["Missing from intarsia export: MODEL"],
    "manipulate": ["Missing from intarsia manipulate: RUN", "IMAGE"],
    "manipulate a": ["Missing from intarsia manipulate: IMAGE"],
    "manipulate a b --move 1": ["Error parsing --move", "['1']", "--move DX DY"],
    "manipulate a b --mov 1 2": ["Unrecognized options: --mov", "meant: --move"],
    "manipulate a b --dimension 1 --part colour": ["'colour' for argument '--part'", "'texture'"],
}


@pytest.mark.parametrize("line", REFUSED)
def test_command_line_that_tyro_refuses(line: str, capsys: Capture) -> None:
    said = refusal(line.split(), capsys)
    assert all(text in said for text in REFUSED[line]), said
    assert cli.main(line.split()) == 2


BAD = {
    "train multi_dsprites": "no recipe 'multi_dsprites'. Did you mean multi_dsprites/compact or multi_dsprites/pixels or",
    "train multi_dsprite/pixels": "Did you mean multi_dsprites/pixels or",
    "train 12345": "There is no recipe '12345'. `intarsia train --help` lists all.",
    "--completion": "--completion is ''; it must be one of bash, zsh, fish",
    "--completion sh": "--completion is 'sh'; it must be one of bash, zsh, fish",
    "train multi_dsprites/pixels --height 50": "height is 50; it must be a positive multiple of 32",
    "train multi_dsprites/pixels --separation.sampled-segments 9": "sampled_segments is 9; it must be from 1 to the 5",
    "train multi_dsprites/pixels --stage vae": "'vae' does not exist; choose one of inpainting, separation, vaes, end_to_end",
    "train multi_dsprites/pixels --inpainting.batch -4": "inpainting.batch is -4",
    "train multi_dsprites/pixels --save-every 0": "--save-every is 0; it must be at least 1",
    "train multi_dsprites/pixels --devices 0": "--devices is 0; it must be at least 1",
    "predict a": "No image is given",
    "results": "No run is given",
    "evaluate a --threads -1": "--threads is -1; it must be at least 0",
    "evaluate a --threads 3000000000": "--threads is 3000000000; it must be at most 1024",
    "train multi_dsprites/pixels --threads 3000000000": "--threads is 3000000000; it must be at most 1024",
    "manipulate a b": "Nothing to do: give --list, --traverse, --dimension, --edits or an edit such as --move",
    "manipulate a b --move 1 2": "--move needs --object NUMBER; --list shows the objects",
    "manipulate a b --dimension 1": "--dimension needs --object NUMBER",
    "manipulate a b --dimension 1 --part background --object 1": "--part background needs no --object",
    "manipulate a b --list --object 1 --move 1 2": "--list, --move can't be combined",
    "manipulate a b --object 1 --remove --scale 2": "--scale, --remove contradict each other",
    "manipulate a b --object 1 --to-front --to-back": "--to-front, --to-back contradict each other",
    "manipulate a b --edits c --remove": "--edits FILE says all that is to be done",
    "manipulate a b --edits c --list": "--list, --edits can't be combined",
    "manipulate a b --copy-from c": "--copy-from IMAGE and --copy-object NUMBER belong together",
    "manipulate a b --object 1 --copy-from c --copy-object 1": "leave --object out",
    "manipulate a b --traverse --steps 0": "--steps is 0; it must be at least 1",
    "manipulate a b --traverse --range nan 1": "--range holds nan; its numbers must be from -1000 to 1000",
    "manipulate a b --traverse --range 0 1e39": "--range holds 1e+39; its numbers must be from -1000 to 1000",
}


@pytest.mark.parametrize("line", BAD)
def test_options_that_cannot_be_used(line: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert BAD[line] in complaint(line.split(), capsys)
    assert not list(tmp_path.iterdir())


# Bad folders and files.


def test_folder_that_is_no_run(tmp_path: Path, capsys: Capture, photo: Path) -> None:
    for argv in (["evaluate", str(tmp_path)], ["predict", str(tmp_path / "no"), str(photo)], ["results", str(tmp_path)]):
        assert argv[1] in (said := complaint(argv, capsys))
        assert "run" in said
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def corrupt(model: Path) -> None:
    (model / WEIGHTS).write_bytes((model / WEIGHTS).read_bytes()[:5000])


def other_recipe(model: Path) -> None:
    recipe = json.loads((model / "recipe.json").read_text())
    (model / "recipe.json").write_text(json.dumps(recipe | {"segmenter": recipe["segmenter"] | {"channels": 16}}))


def odd_recipe(model: Path) -> None:
    (model / "recipe.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "said"), [(corrupt, "is corrupt"), (other_recipe, "does not fit its recipe"), (odd_recipe, "is not a recipe")]
)
def test_bad_model(spoil: Callable[[Path], None], said: str, model: Path, photo: Path, capsys: Capture) -> None:
    spoil(model)
    before = contents(model)
    # `evaluate` has said which weights it reads when it finds them bad.
    assert cli.main(["evaluate", str(model)]) == 2
    assert said in complaint(["predict", str(model), str(photo)], capsys)
    assert contents(model) == before


def test_bad_image(model: Path, photo: Path, capsys: Capture) -> None:
    text = photo.with_name("text.txt")
    text.write_text("not an image")
    before = contents(model.parent)
    assert f"{text} can't be read as an image" in complaint(["predict", str(model), str(photo), str(text)], capsys)
    assert contents(model.parent) == before


def test_folder_with_other_things_is_not_trained_in(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "is not a run" in complaint(["train", NAME, "--run", str(tmp_path)], capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing more to a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_space(model: Path, photo: Path, capsys: Capture) -> None:
    assert cli.main(["predict", str(model), str(photo)]) == 0
    before = contents(model)
    with files_of_at_most(100):
        code = cli.main(["predict", str(model), str(photo), "--overwrite"])
    err = capsys.readouterr().err
    assert code == 2
    assert "Can't write" in err
    assert "File too large" in err
    assert contents(model) == before


# The whole way.

SHORT = (
    "--inpainting.steps 2 --inpainting.batch 2 --separation.steps 2 --separation.batch 2 --inpainter.channels 2 --vaes.steps 2 "
    "--vaes.batch 2 --vae.channels 2 --fusion.channels 2 --vaes.background-per-batch True --end-to-end.steps 0 "
    "--segmenter.channels 8 --segmenter.dimension 4 --show-every 10 --accelerator cpu --precision 32-true"
)


def test_own_images_without_masks_are_no_dead_end(tmp_path: Path, capsys: Capture) -> None:
    photos, run = tmp_path / "photos", tmp_path / "run"
    photos.mkdir()
    for seed in range(30):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)).save(photos / f"{seed}.png")
    train = ["train", "folder/pixels", "--data-root", str(photos), "--run", str(run), *SHORT.split(), "--vaes.steps", "0"]
    assert cli.main(train) == 0
    assert capsys.readouterr().out == f"Trained: {run}. Next: intarsia report {run}, or intarsia predict {run} IMAGE\n"
    assert cli.main(["evaluate", str(run)]) == 2
    assert "`intarsia report` and `intarsia predict` need none" in capsys.readouterr().err
    assert cli.main(["report", str(run)]) == 0
    assert "There are no scores" in " ".join((run / "report.html").read_text().split())


def test_train_evaluate_predict_results(tmp_path: Path, photo: Path, capsys: Capture) -> None:
    run = tmp_path / "run"
    train = ["train", NAME, "--run", str(run), *SHORT.split()]
    assert cli.main(train) == 0
    assert capsys.readouterr().out == f"Trained: {run}. Next: intarsia evaluate {run}\n"
    weights = contents(run)
    assert cli.main(train) == 0  # there is nothing left to do
    assert contents(run) == weights
    assert "holds a run with other settings (seed is 1 here, 0 there" in complaint([*train, "--seed", "1"], capsys)
    assert contents(run) == weights

    assert cli.main(["evaluate", str(run), "--scenes", "10"]) == 0
    shown = capsys.readouterr().out
    assert all(text in shown for text in (f"{run}/vaes", "original's protocol", "FG-ARI", f"{run}/scores.json"))
    assert f"{run}/segments.png" in shown and "PSNR" in shown

    assert cli.main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"Wrote {run}/report.html: open it in a browser.\n"
    assert (run / "report.html").is_file()

    assert cli.main(["predict", str(run), str(photo)]) == 0
    shown = capsys.readouterr().out
    assert "resized from 100x80 to 64x64" in shown
    assert "photo-overlay.png" in shown
    assert len(list((run / "predictions").iterdir())) == 9

    manipulate = ["manipulate", str(run), str(photo)]
    assert cli.main([*manipulate, "--list"]) == 0
    shown = capsys.readouterr().out
    assert "resized from 100x80 to 64x64" in shown
    assert "object 4: " in shown and "background: " in shown
    assert cli.main([*manipulate, "--part", "background", "--dimension", "4", "--steps", "3"]) == 0
    assert "photo-background-d4.gif" in capsys.readouterr().out
    assert cli.main([*manipulate, "--object", "1", "--remove"]) == 0
    assert "photo-edited.png" in capsys.readouterr().out
    assert {path.name for path in (run / "manipulations").iterdir()} == {
        *("photo-background-d4.gif", "photo-background-d4.png", "photo-edited.png", "photo-before-after.png")
    }
    assert "exists; give --overwrite" in complaint([*manipulate, "--object", "2", "--remove"], capsys)
    assert "--object is 5; the objects are 1 to 4" in complaint([*manipulate, "--object", "5", "--remove"], capsys)
    (run / "vaes" / WEIGHTS).rename(run / "vaes" / "away")
    assert "once stage 'vaes' is trained; the newest model of" in complaint([*manipulate, "--list"], capsys)
    (run / "vaes" / "away").rename(run / "vaes" / WEIGHTS)

    results = tmp_path / "results.json"
    assert cli.main(["results", str(run), "--out", str(results)]) == 0
    entry = json.loads(results.read_text())[DATASET]
    assert (entry["seeds"], entry["steps"], entry["test_images"]) == ([0], [6], 10)
    assert entry["recipe"].startswith("pixels --inpainting.steps 2")
    written = cli.parse(f"train {DATASET}/{entry['recipe']}".split())  # its words are understood
    assert isinstance(written, Train) and written.recipe == load_recipe(run / "recipe.json")
    assert entry["processor"][0]


def test_a_shipped_model_by_its_name(tmp_path: Path, photo: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    Model(dataclasses.replace(TINY, vaes=dataclasses.replace(TINY.vaes, steps=0))).save(package / "tiny")
    monkeypatch.setattr("intarsia.weights.SHIPPED", package)
    monkeypatch.chdir(tmp_path)
    before = contents(package)
    assert cli.main(["evaluate", "tiny", "--scenes", "10"]) == 0
    assert "runs/tiny/scores.json" in capsys.readouterr().out
    assert json.loads(Path("runs/tiny/scores.json").read_text())["test_images"] == 10
    assert cli.main(["evaluate", "tiny", "--scenes", "10", "--out", "other"]) == 0
    assert Path("other/scores.json").read_bytes() == Path("runs/tiny/scores.json").read_bytes()
    assert cli.main(["predict", "tiny", str(photo)]) == 0
    assert Path("runs/tiny/predictions/photo-overlay.png").is_file()
    assert cli.main(["manipulate", "tiny", str(photo), "--list"]) == 0
    assert "object 1: at" in capsys.readouterr().out
    assert "trained without codes" in complaint(
        ["manipulate", "tiny", str(photo), "--object", "1", "--recolour", "red"], capsys
    )
    assert "The package comes with tiny." in complaint(["predict", "tin", str(photo)], capsys)
    assert contents(package) == before
    assert {path.name for path in Path("runs").iterdir()} == {"tiny"}


def test_one_stage_at_a_time(tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "run"
    settings = "--inpainting.steps 1 --inpainting.batch 2 --separation.steps 1 --separation.batch 2 --inpainter.channels 2"
    settings += " --vaes.steps 0 --segmenter.channels 8 --segmenter.dimension 4 --show-every 10 --accelerator cpu"
    train = ["train", NAME, "--run", str(run), *settings.split()]
    assert "Stage 'separation' builds on 'inpainting', which is not finished" in complaint(
        [*train, "--stage", "separation"], capsys
    )
    assert not run.exists()
    assert "Stage 'vaes' is skipped by this recipe (--vaes.steps 0)" in complaint([*train, "--stage", "vaes"], capsys)
    for stage in ("inpainting", "separation"):
        assert cli.main([*train, "--stage", stage]) == 0
        assert (run / stage / "weights.safetensors").is_file()
        assert (run / "separation").exists() == (stage == "separation")
    before = contents(run)
    assert cli.main(train) == 0  # what is left has no steps
    assert contents(run) == before


def test_interruption_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path) -> None:
    def interrupted(command: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Train, "run", interrupted)
    monkeypatch.setattr(Evaluate, "run", interrupted)
    assert cli.main(["train", NAME]) == 130
    assert capsys.readouterr().err == "stopped; the same command resumes\n"
    assert cli.main(["evaluate", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "stopped\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_interrupt_any_command(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.setattr(Evaluate, "run", lambda command: os.kill(os.getpid(), number))
    before = signal.signal(number, signal.SIG_DFL)
    try:
        assert cli.main(["evaluate", str(tmp_path)]) == 130
        assert capsys.readouterr().err == "stopped\n"
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


# Whatever happens, there is one sentence.


def test_a_fault_of_the_program_is_one_line_and_its_traceback_a_file(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(self: Export) -> None:
        raise KeyError("two\nlines")

    monkeypatch.setattr(Export, "run", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert cli.main(["export", "a run", "model"]) == 70
    out, err = capsys.readouterr()
    (path,) = tmp_path.iterdir()
    assert out == "" and err.count("\n") == 1 and "Traceback" not in err
    assert err.endswith(f"This is a bug, please report it with the file {path}.\n") and "KeyError" in err
    text = path.read_text()
    assert f"intarsia {__version__}" in text and "intarsia export 'a run' model" in text
    assert "Traceback" in text and "in fail" in text


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_too_little_memory_is_no_bug(error: Exception, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Export) -> None:
        raise error

    monkeypatch.setattr(Export, "run", fail)
    assert complaint(["export", "run", "model"], capsys).startswith("There is not enough memory: ")


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["evaluate", "run", "--scenes"], "scenes"),
        (["demo", "run", "--scene"], "scene"),
        (["manipulate", "run", "image.png", "--list", "--count"], "count"),
        (["train", NAME, "--seed"], "seed"),
        (["train", NAME, "--vaes.batch"], "batch"),
        (["prepare", "objects_room", "--limit"], "limit"),
    ],
)
@pytest.mark.parametrize("number", [2**63, 10**309])
def test_whole_numbers_have_at_most_63_bits(argv: list[str], name: str, number: int, capsys: Capture) -> None:
    said = complaint([*argv, str(number)], capsys)
    assert said == f"--{name} is a number of {len(str(number))} digits; it must be at most {2**63 - 1}."


def test_the_largest_seed_draws_weights_and_scenes() -> None:
    command = cli.parse(["train", NAME, "--seed", str(2**63 - 1)])
    assert isinstance(command, Train) and command.recipe.seed == 2**63 - 1
    Model(dataclasses.replace(TINY, seed=command.recipe.seed))
    assert scenes_of(command.recipe, "train")([0]).images.isfinite().all()


def test_output_that_nobody_reads_any_more_ends_without_a_word() -> None:
    """As in `intarsia --help | head -1`."""
    command = [sys.executable, "-m", "intarsia", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """Folder, photograph, and what is printed of them."""
    strange = tmp_path / os.fsdecode(b"r\xe4tsel")
    Model(TINY).save(strange)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "photo.png")
    photo = (tmp_path / "photo.png").rename(strange / os.fsdecode(b"f\xf6to.png"))
    command = [sys.executable, "-m", "intarsia", "predict", os.fspath(strange), os.fspath(photo), "--out", strange / "out"]
    done = subprocess.run(command, capture_output=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"r\\udce4tsel" in done.stdout
    assert b"f\xf6to-overlay.png" in [path.name for path in os.scandir(os.fsencode(strange / "out"))]
