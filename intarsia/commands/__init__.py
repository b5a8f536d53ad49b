"""The command line: understanding a command, and running it. PyTorch is loaded only by a command that runs."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from intarsia import __version__
from intarsia.commands.edit_flags import check_flags
from intarsia.commands.filling import fill, similar
from intarsia.commands.table import (
    DEFAULT_MODEL,
    Command,
    Demo,
    Evaluate,
    Export,
    ImportTf1,
    Manipulate,
    Predict,
    Prepare,
    Report,
    Results,
    Serve,
    Train,
)
from intarsia.commands.training import parse_train, split_data
from intarsia.errors import InputError
from intarsia.files import check_new
from intarsia.recipes import RECIPES
from intarsia.recipes.file import check_recipe, load_recipe
from intarsia.recipes.settings import STAGES, Recipe
from intarsia.weights import shipped

__all__ = [
    "Command",
    "Demo",
    "Evaluate",
    "Export",
    "ImportTf1",
    "Manipulate",
    "Predict",
    "Prepare",
    "Report",
    "Results",
    "Serve",
    "Train",
    "main",
    "parse",
]

DONE, BAD_INPUT, STOPPED = 0, 2, 130  # exit codes


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
        print("stopped; the same command resumes" if isinstance(command, Train | Prepare) else "stopped", file=sys.stderr)
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
            raise InputError(f"There is no command {argv[0]!r}; choose one of {', '.join(_VERBS)}.{similar(argv[0], _VERBS)}")
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
        "prepare DATASET": Prepare,
        "import-tf1 PREFIX": ImportTf1,
        "train DATASET": Train,
        "evaluate RUN": Evaluate,
        "predict RUN IMAGE...": Predict,
        "manipulate RUN IMAGE": Manipulate,
        "demo RUN": Demo,
        "serve [RUN]": Serve,
        "report RUN": Report,
        "results RUN...": Results,
        "export RUN MODEL": Export,
    }
    lines += [f"  {usage:<21} {(verb.__doc__ or '').splitlines()[0].replace('`', '')}" for usage, verb in usages.items()]
    lines += ["", "Datasets and their recipes:", ""]
    lines += [f"  {dataset:<21} {', '.join(variants)}" for dataset, variants in RECIPES.items()]
    lines += ["", "Models that come with the package, named in place of a RUN:", "", f"  {', '.join(shipped())}"]
    lines += ["", "options: -h, --help; --version"]
    return "\n".join(lines)


def _parse_predict(argv: list[str]) -> Predict:
    command = fill(Predict, argv, "predict")
    if not command.images:
        raise InputError("No image is given: intarsia predict RUN IMAGE..., PNG or JPEG files.")
    return command


def _parse_manipulate(argv: list[str]) -> Manipulate:
    command = fill(Manipulate, argv, "manipulate")
    check_flags(command.flags)
    return command


def _parse_results(argv: list[str]) -> Results:
    command = fill(Results, argv, "results")
    if not command.runs:
        raise InputError("No run is given: intarsia results RUN..., folders of evaluated runs.")
    return command


_VERBS: dict[str, Callable[[list[str]], Command]] = {
    "prepare": partial(fill, Prepare, verb="prepare"),
    "import-tf1": partial(fill, ImportTf1, verb="import-tf1"),
    "train": parse_train,
    "evaluate": partial(fill, Evaluate, verb="evaluate"),
    "predict": _parse_predict,
    "manipulate": _parse_manipulate,
    "demo": partial(fill, Demo, verb="demo"),
    "serve": partial(fill, Serve, verb="serve"),
    "report": partial(fill, Report, verb="report"),
    "results": _parse_results,
    "export": partial(fill, Export, verb="export"),
}


def _run(command: Command) -> None:
    match command:
        case ImportTf1():
            _import_tf1(command)
        case Prepare():
            _prepare(command)
        case Train():
            _train(command)
        case Evaluate():
            _evaluate(command)
        case Predict():
            _predict(command)
        case Manipulate():
            _manipulate(command)
        case Demo():
            _demo(command)
        case Serve():
            from intarsia.studio import serve

            _set_threads(command.threads)
            serve(command.run or Path(DEFAULT_MODEL), command.host, command.port, not command.no_open)
        case Report():
            from intarsia.evaluation.report import report

            _set_threads(command.threads)
            print(f"Wrote {report(command.run)}: open it in a browser.")
        case Results():
            from intarsia.evaluation.results import results

            entries = results(list(command.runs), command.out)
            written = ", ".join(f"{name} (seeds {entry['seeds']})" for name, entry in entries.items())
            print(f"Wrote {command.out}: {written}.")
        case Export():
            from intarsia.commands.export import export

            size = export(command.run, command.out, command.float32) / 1e6
            print(f"Wrote {command.out}: {size:.1f} MB. Next, for its scores: intarsia evaluate {command.out}")


def _prepare(command: Prepare) -> None:
    from intarsia.commands.prepare import prepare

    stored = prepare(command.dataset, command.source, command.out or Path("data") / command.dataset, command.limit)
    name, folder = stored.contents.name, stored.folder
    tests_alone = stored.contents.splits.keys() == {"test"}
    following = f"evaluate RUN --data {name}:{folder}" if tests_alone else f"train {name} --data-root {folder}"
    print(f"{folder} holds {stored.rows:,} images. Next: intarsia {following}")


def _import_tf1(command: ImportTf1) -> None:
    from intarsia.interop import import_tf1

    recipe = _named_recipe(command.recipe)
    check_new(command.out)
    model, lines = import_tf1(command.prefix, recipe, command.all_that_fits)
    model.save(command.out)
    print("\n".join([*lines, f"Wrote the model to {command.out}."]))


def _named_recipe(name: str) -> Recipe:
    """A recipe by its dataset and name, `DATASET/NAME`, or from a file."""
    if Path(name).is_file():
        recipe = load_recipe(Path(name))
        check_recipe(recipe)
        return recipe
    dataset, _, variant = name.partition("/")
    if variant not in RECIPES.get(dataset, {}):
        known = [f"{each}/{variant}" for each, variants in RECIPES.items() for variant in variants]
        raise InputError(f"There is no recipe {name!r}, nor a file of that name; choose one of {', '.join(known)}.")
    return RECIPES[dataset][variant]


def _train(command: Train) -> None:
    from intarsia.records import record_machine
    from intarsia.stages import train

    train(command.recipe, command.run, command.options, command.stage, command.start)
    if os.environ.get("LOCAL_RANK", "0") == os.environ.get("NODE_RANK", "0") == "0":
        import torch

        threads = command.options.threads or torch.get_num_threads()
        record_machine(command.run, threads * command.options.devices)
        print(f"Trained: {command.run}. Next: intarsia evaluate {command.run}")


def _evaluate(command: Evaluate) -> None:
    from rich.console import Console

    from intarsia.evaluation import evaluate_run, table
    from intarsia.records import PICTURE, SCORES
    from intarsia.weights import latest

    _set_threads(command.threads)
    source = latest(command.run)
    early = " (the segmenter is not trained yet)" if source.name == STAGES[0] else ""
    print(f"Weights: {source}{early}", flush=True)
    dataset, root = split_data(command.data) if command.data else (None, None)
    out = command.out or _home(command.run) / (dataset or "")
    scores = evaluate_run(command.run, out, command.scenes, root, dataset)
    Console(highlight=False).print(table(scores))
    print(f"Wrote {out / SCORES}.\nLook at {out / PICTURE}: image, true segments, found segments.")


def _predict(command: Predict) -> None:
    from intarsia.commands.predict import predict

    _set_threads(command.threads)
    out = command.out or _home(command.run) / "predictions"
    notices, files = predict(command.run, list(command.images), out, command.overwrite)
    for notice in notices:
        print(notice)
    print(f"Wrote {len(files)} files to {out}; look at {', '.join(f.name for f in files if f.name.endswith('-overlay.png'))}.")


def _manipulate(command: Manipulate) -> None:
    from intarsia.commands.manipulate import manipulate

    _set_threads(command.threads)
    out = command.out or _home(command.run) / "manipulations"
    lines, files = manipulate(command.run, command.image, command.flags, out, command.overwrite)
    print("\n".join(lines + ([f"Wrote to {out}: {', '.join(path.name for path in files)}."] if files else [])))


def _demo(command: Demo) -> None:
    from intarsia.commands.demo import demo

    _set_threads(command.threads)
    out = command.out or _home(command.run) / "demo"
    lines, _ = demo(command.run, command.scene, out, command.overwrite)
    print("\n".join([*lines, f"Both are in {out}."]))


def _home(run: Path) -> Path:
    """Where files of a run go by default: its folder; of a shipped model, which has none here, one that a run would have."""
    return run if run.exists() else Path("runs") / run


def _set_threads(threads: int) -> None:
    if threads < 0:
        raise InputError(f"--threads is {threads}; it must be at least 0.")
    if threads:
        import torch

        torch.set_num_threads(threads)
