"""The command line: `intarsia train`, `evaluate`, `predict`, `report`. PyTorch is loaded only by a verb that runs."""

import contextlib
import dataclasses
import difflib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from intarsia import __version__
from intarsia.errors import InputError
from intarsia.options import Options, check_options
from intarsia.recipes import RECIPES, STAGES, Recipe, check_recipe

__all__ = ["Evaluate", "Predict", "Report", "Train", "main", "parse"]

DONE, BAD_INPUT, STOPPED = 0, 2, 130  # exit codes
DEFAULT_VARIANT = "compact"


@dataclass(frozen=True)
class Train:
    """Train a recipe's stages, or go on where they stopped."""

    recipe: Recipe
    run: Path
    options: Options
    stage: str | None = None


@dataclass(frozen=True)
class Evaluate:
    """Score a run on the test scenes: a table here, `scores.json` and `segments.png` in the run folder."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run folder, one of its stages, or a model folder."""
    scenes: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all)")] = None
    """How many test scenes, a multiple of 10, for a quick look."""
    threads: int = 0
    """Threads; 0 leaves it to PyTorch."""


@dataclass(frozen=True)
class Predict:
    """Take your own images apart: for each one an overlay, a cut-out per segment, and the masks as NPZ."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run folder, one of its stages, or a model folder."""
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE...", help_behavior_hint="")]
    """PNG or JPEG files. They are resized to the size the model takes."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: RUN/predictions)")] = None
    """Folder for the files."""
    overwrite: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="")] = False
    """Replace files of the same names."""
    threads: int = 0
    """Threads; 0 leaves it to PyTorch."""


@dataclass(frozen=True)
class Report:
    """Gather the figures of evaluated runs into one JSON file: one entry per dataset, lists by seed."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN...", help_behavior_hint="")]
    """Run folders; finished and evaluated."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("docs/results.json")
    """The file. Entries of datasets that are not among the runs stay as they are."""


Command = Train | Evaluate | Predict | Report
Form = TypeVar("Form")


@dataclass(frozen=True)
class _Settings(Recipe):
    """A recipe as options: all of it but the dataset, which is given by its place."""

    dataset: tyro.conf.Suppress[tyro.conf.Fixed[str]]


@dataclass(frozen=True)
class _TrainForm:
    settings: Annotated[_Settings, tyro.conf.FlagConversionOff, tyro.conf.arg(name="")]
    recipe: Annotated[str, tyro.conf.arg(metavar="NAME")] = DEFAULT_VARIANT
    """Which of the dataset's recipes to start from; the settings below change it."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: runs/DATASET-RECIPE-SEED)")] = (
        None
    )
    """The run folder: new, empty, or a run of the same settings, which is resumed."""
    stage: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: all that is missing)")] = None
    """Train this stage alone; those before it have to be finished."""
    options: Annotated[Options, tyro.conf.arg(name="")] = field(default_factory=Options)


def main(argv: list[str] | None = None) -> int:
    """Run a command line; the exit code is 0, 2 for input that can't be used, 130 after Ctrl-C."""
    command: Command | None = None
    try:
        command = parse(sys.argv[1:] if argv is None else argv)
        _run(command)
    except SystemExit as stop:
        return int(stop.code or DONE)
    except InputError as error:
        return _complain(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}.")
    except KeyboardInterrupt:
        print("stopped; the same command resumes" if isinstance(command, Train) else "stopped", file=sys.stderr)
        return STOPPED
    return DONE


def parse(argv: list[str]) -> Command:
    """Understand a command line without running it; exits after help, and with code 2 and one line where it can't."""
    try:
        if not argv or argv[0] in ("-h", "--help"):
            print(_overview())
            raise SystemExit(DONE)
        if argv[0] == "--version":
            print(f"intarsia {__version__}")
            raise SystemExit(DONE)
        if argv[0] not in _VERBS:
            raise InputError(f"There is no command {argv[0]!r}; choose one of {', '.join(_VERBS)}.{_similar(argv[0], _VERBS)}")
        return _VERBS[argv[0]](argv[1:])
    except InputError as error:
        raise SystemExit(_complain(str(error))) from None


def _complain(text: str) -> int:
    print("intarsia: " + " ".join(text.split()), file=sys.stderr)
    return BAD_INPUT


def _overview() -> str:
    lines = [
        "usage: intarsia COMMAND ...",
        "",
        "Finds the objects in unlabelled images. Commands, each with its own --help:",
        "",
    ]
    usages = {
        "train DATASET": Train,
        "evaluate RUN": Evaluate,
        "predict RUN IMAGE...": Predict,
        "report RUN...": Report,
    }
    lines += [f"  {usage:<21} {(verb.__doc__ or '').splitlines()[0].replace('`', '')}" for usage, verb in usages.items()]
    lines += ["", "Datasets and their recipes:", ""]
    lines += [f"  {dataset:<21} {', '.join(variants)}" for dataset, variants in RECIPES.items()]
    lines += ["", "options: -h, --help; --version"]
    return "\n".join(lines)


def _parse_train(argv: list[str]) -> Train:
    wants_help = any(word in ("-h", "--help") for word in argv)
    named = bool(argv) and not argv[0].startswith("-")
    if not named and not wants_help:
        raise InputError(f"Name a dataset right after `train`: {', '.join(RECIPES)}.")
    dataset = argv[0] if named else next(iter(RECIPES))
    if dataset not in RECIPES:
        raise InputError(f"There is no dataset {dataset!r}; choose one of {', '.join(RECIPES)}.{_similar(dataset, RECIPES)}")
    options = argv[1:] if named else argv
    variant = _variant(options, dataset)
    shipped = RECIPES[dataset][variant]
    default = _TrainForm(settings=_Settings(**_shallow(shipped)), recipe=variant)
    description = (
        f"{Train.__doc__} The numbers shown are those of {dataset}, recipe {variant}. "
        f"Datasets: {', '.join(RECIPES)}. Recipes of {dataset}: {', '.join(RECIPES[dataset])}."
    )
    form = _fill(_TrainForm, options, f"train {dataset if named else 'DATASET'}", description, default)
    recipe = Recipe(**_shallow(form.settings))
    check_recipe(recipe)
    check_options(form.options)
    if form.stage not in (None, *STAGES):
        raise InputError(f"There is no stage {form.stage!r}; choose one of {', '.join(STAGES)}.{_similar(form.stage, STAGES)}")
    return Train(recipe, form.run or Path("runs") / f"{dataset}-{variant}-{recipe.seed}", form.options, form.stage)


def _variant(options: list[str], dataset: str) -> str:
    """The recipe asked for: it decides the defaults of all other options, so it is sought before they are read."""
    variant = DEFAULT_VARIANT if DEFAULT_VARIANT in RECIPES[dataset] else next(iter(RECIPES[dataset]))
    for word, following in zip(options, [*options, None][1:], strict=True):
        if word.startswith("--recipe="):
            variant = word.partition("=")[2]
        elif word == "--recipe" and following is not None:
            variant = following
    if variant not in RECIPES[dataset]:
        raise InputError(f"There is no recipe {variant!r} for {dataset}; choose one of {', '.join(RECIPES[dataset])}.")
    return variant


def _parse_evaluate(argv: list[str]) -> Evaluate:
    return _fill(Evaluate, argv, "evaluate")


def _parse_predict(argv: list[str]) -> Predict:
    command = _fill(Predict, argv, "predict")
    if not command.images:
        raise InputError("No image is given: intarsia predict RUN IMAGE..., PNG or JPEG files.")
    return command


def _parse_report(argv: list[str]) -> Report:
    command = _fill(Report, argv, "report")
    if not command.runs:
        raise InputError("No run is given: intarsia report RUN..., folders of evaluated runs.")
    return command


_VERBS: dict[str, Callable[[list[str]], Command]] = {
    "train": _parse_train,
    "evaluate": _parse_evaluate,
    "predict": _parse_predict,
    "report": _parse_report,
}


def _fill(form: type[Form], argv: list[str], verb: str, description: str | None = None, default: Form | None = None) -> Form:
    """Fill a dataclass from options; what tyro or we refuse becomes one line."""
    given: dict[str, Any] = {} if default is None else {"default": default}
    with _one_line(verb):
        filled, unknown = tyro.cli(
            form, args=argv, prog=f"intarsia {verb}", description=description, return_unknown_args=True, **given
        )
    if unknown:
        word = next((word for word in unknown if word.startswith("-")), unknown[0]).partition("=")[0]
        raise InputError(f"`intarsia {verb}` takes no {word!r}.{_similar(word, list(_names(form)))} See --help.")
    return filled


@contextlib.contextmanager
def _one_line(verb: str) -> Iterator[None]:
    """Turn tyro's boxed complaint into an `InputError` of its first paragraph."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            yield
    except SystemExit as stop:
        if not stop.code:
            raise
        # A title, then paragraphs between rules, in a frame; frame and rules are drawn with dashes where there is no UTF-8.
        inside = "\n".join(line.strip("│ ") for line in complaint.getvalue().splitlines()[1:])
        paragraph = " ".join(next(text for text in re.split(r"[─-]{5,}", inside) if text.strip()).split())
        paragraph = paragraph.replace("Error parsing ", "")
        paragraph = re.sub(r"Missing from .*?: (\S+) .*", rf"`intarsia {verb}` needs \1", paragraph)
        paragraph = re.sub(r"invalid literal for int\(\) with base 10: ('.*')", r"\1 is not a whole number", paragraph)
        paragraph = re.sub(r"could not convert string to float: ('.*')", r"\1 is not a number", paragraph)
        raise InputError(f"{paragraph.rstrip('.')}. See `intarsia {verb} --help`.") from None


def _names(form: Any, prefix: str = "--") -> Iterator[str]:
    """The options of a form, as they are typed."""
    for item in dataclasses.fields(form):
        inner = {"settings": _Settings, "options": Options}.get(item.name, item.type)
        if dataclasses.is_dataclass(inner):
            yield from _names(inner, prefix if item.name in ("settings", "options") else f"{prefix}{item.name}.")
        elif "Positional" not in str(inner) and item.name != "dataset":
            yield f"{prefix}{item.name.replace('_', '-')}"


def _similar(word: str, known: Any) -> str:
    """What may have been meant."""
    word = word.replace("_", "-") if word.startswith("--") else word
    lasts = {name: name.lstrip("-").split(".")[-1] for name in known}
    same = [name for name, last in lasts.items() if last == word.lstrip("-")]
    begun = [name for name, last in lasts.items() if last.startswith(word.lstrip("-"))]
    close = same or begun[:3] or difflib.get_close_matches(word, known, n=3, cutoff=0.7)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def _shallow(settings: Any) -> dict[str, Any]:
    return {item.name: getattr(settings, item.name) for item in dataclasses.fields(settings)}


def _run(command: Command) -> None:
    match command:
        case Train():
            _train(command)
        case Evaluate():
            _evaluate(command)
        case Predict():
            _predict(command)
        case Report():
            from intarsia.report import report

            entries = report(list(command.runs), command.out)
            written = ", ".join(f"{name} (seeds {entry['seeds']})" for name, entry in entries.items())
            print(f"Wrote {command.out}: {written}.")


def _train(command: Train) -> None:
    from intarsia.report import record_machine
    from intarsia.stages import train

    train(command.recipe, command.run, command.options, command.stage)
    if os.environ.get("LOCAL_RANK", "0") == os.environ.get("NODE_RANK", "0") == "0":
        import torch

        threads = command.options.threads or torch.get_num_threads()
        record_machine(command.run, threads * command.options.devices)
        print(f"Trained: {command.run}. Next: intarsia evaluate {command.run}")


def _evaluate(command: Evaluate) -> None:
    from rich.console import Console

    from intarsia.evaluate import PICTURE, SCORES, evaluate_run, table
    from intarsia.model import latest

    _set_threads(command.threads)
    source = latest(command.run)
    early = " (the segmenter is not trained yet)" if source.name == STAGES[0] else ""
    print(f"Weights: {source}{early}", flush=True)
    scores = evaluate_run(command.run, command.scenes)
    Console(highlight=False).print(table(scores))
    print(f"Wrote {command.run / SCORES}.\nLook at {command.run / PICTURE}: image, true segments, found segments.")


def _predict(command: Predict) -> None:
    from intarsia.predict import predict

    _set_threads(command.threads)
    out = command.out or command.run / "predictions"
    notices, files = predict(command.run, list(command.images), out, command.overwrite)
    for notice in notices:
        print(notice)
    print(f"Wrote {len(files)} files to {out}; look at {', '.join(f.name for f in files if f.name.endswith('-overlay.png'))}.")


def _set_threads(threads: int) -> None:
    if threads < 0:
        raise InputError(f"--threads is {threads}; it must be at least 0.")
    if threads:
        import torch

        torch.set_num_threads(threads)
