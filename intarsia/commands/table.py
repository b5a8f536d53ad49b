"""The commands: a dataclass of options for each, whose docstrings are the help, and `run`. PyTorch is loaded only by `run`."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, arg, subcommand

from intarsia.commands.edit_flags import EditFlags, Flag
from intarsia.commands.train import TRAIN_EACH, USABLE_RECIPES, Train
from intarsia.errors import InputError
from intarsia.files import held
from intarsia.recipes import RECIPES
from intarsia.recipes.file import check_recipe, load_recipe
from intarsia.recipes.options import Options, check_options
from intarsia.recipes.settings import STAGES, Recipe
from intarsia.weights import check_new, latest, shipped

DEFAULT_MODEL = next(iter(shipped()), "")
OVERVIEW = f"""Finds the objects in unlabelled images, and edits each of them on its own.

Recipes: {", ".join(USABLE_RECIPES)}.

Models that come with the package, to be named in place of a RUN: {", ".join(shipped())}.

Every command has its own --help; that of `intarsia train DATASET/NAME` lists the recipe's settings. `intarsia --version` prints
the version.

Completion in a shell: `intarsia --completion bash > FILE` writes a script that ~/.bashrc can source; zsh and fish
work alike."""

_NAMED = f"a model folder, or the name of a shipped model: {', '.join(shipped())}."
_CODED = f"A run folder whose stage 'vaes' is trained, that stage, {_NAMED}"
_SERVED = (
    f"Runs to offer, the first one shown first: each a run folder whose stage 'vaes' is trained, that stage, {_NAMED} "
    "The page can switch to the shipped models, too."
)

Run = Annotated[Positional[Path], arg(metavar="RUN", help=f"A run folder, one of its stages, {_NAMED}")]
RunWithCodes = Annotated[Positional[Path], arg(metavar="RUN", help=_CODED)]
RunOrDefault = Annotated[Positional[Path], arg(metavar="RUN", help=_CODED, help_behavior_hint=f"(default: {DEFAULT_MODEL})")]
Overwrite = Annotated[FlagCreatePairsOff[bool], arg(help="Replace files that exist.", help_behavior_hint="")]
Threads = Annotated[int, arg(help="CPU threads; 0 lets PyTorch choose.")]


def _out(default: str) -> object:
    """The option --out of a command that writes several files."""
    return arg(metavar="FOLDER", help="Folder for the files.", help_behavior_hint=f"(default: {default})")


def _home(run: Path) -> Path:
    """The folder for a run's files: its own, or `runs/NAME` for a shipped model."""
    return run if run.exists() else Path("runs") / run


def _set_threads(threads: int) -> None:
    check_options(Options(threads=threads))
    if threads:
        import torch

        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Prepare:
    """Write a dataset's images into arrays, for --data-root. If interrupted, the same command resumes."""

    dataset: Annotated[Positional[str], arg(metavar="DATASET")]
    """Name of the dataset."""
    source: Annotated[Path | None, arg(name="from", metavar="FILE", help_behavior_hint="")] = None
    """The published file, for a dataset that is read from one."""
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: data/DATASET)")] = None
    """Folder for the arrays."""
    limit: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all)")] = None
    """Largest number of images to write."""

    def run(self) -> None:
        """Write the arrays, and say which command uses them."""
        from intarsia.commands.prepare import prepare

        stored = prepare(self.dataset, self.source, self.out or Path("data") / self.dataset, self.limit)
        name, folder = stored.contents.name, stored.folder
        only_tests = stored.contents.splits.keys() == {"test"}
        if only_tests:
            following = f"evaluate RUN --data {shlex.quote(f'{name}:{folder}')}"
        else:
            following = f"train {name}/{next(iter(RECIPES[name]))} --data-root {shlex.quote(str(folder))}"
        print(f"{folder} holds {stored.rows:,} images. Next: intarsia {following}")


@dataclass(frozen=True)
class ImportTf1:
    """Convert a TensorFlow 1 checkpoint of the original implementation into a model."""

    prefix: Annotated[Positional[Path], arg(metavar="PREFIX")]
    """Path of the checkpoint without `.index`. Slim's resnet_v2_50.ckpt gives a segmenter to start training from."""
    recipe: Annotated[str, arg(metavar="DATASET/NAME", help_behavior_hint="(required)")]
    """Recipe with the checkpoint's networks: a name, or a recipe.json such as runs and models contain."""
    out: Annotated[Path, arg(metavar="MODEL", help_behavior_hint="(required)")]
    """Folder for the model. It must be new or empty."""
    all_that_fits: Flag = False
    """Also import the moving averages of slim's ResNet-50, which the original leaves out."""

    def run(self) -> None:
        """Convert the checkpoint, and list what was imported."""
        from intarsia.interop import import_tf1

        recipe = _named_recipe(self.recipe)
        check_new(self.out)
        model, lines = import_tf1(self.prefix, recipe, self.all_that_fits)
        with held(self.out):
            check_new(self.out)
            model.save(self.out)
        print("\n".join([*lines, f"Wrote the model to {self.out}."]))


def _named_recipe(name: str) -> Recipe:
    """The recipe of a file, or the shipped one of that name, `DATASET/NAME`."""
    if Path(name).is_file():
        recipe = load_recipe(Path(name), to_train=True)
        check_recipe(recipe)
        return recipe
    if name not in USABLE_RECIPES:
        raise InputError(f"There is no recipe and no file {name!r}; choose one of {', '.join(USABLE_RECIPES)}.")
    return USABLE_RECIPES[name]


@dataclass(frozen=True)
class Evaluate:
    """Score a run on the test scenes: prints a table, writes scores.json and segments.png."""

    folder: Run
    scenes: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all)")] = None
    """Score only the first test scenes, this many, for a quick look. A multiple of 10."""
    data: Annotated[str | None, arg(metavar="NAME:PATH", help_behavior_hint="(default: the run's)")] = None
    """Score on other test scenes: those of dataset NAME in folder PATH."""
    void: Annotated[int | None, arg(metavar="VALUE", help_behavior_hint="(default: the run's)")] = None
    """Value that marks pixels of unknown segment in your own masks. They count in no score."""
    out: Annotated[Path | None, _out("RUN, with --data RUN/NAME, for a shipped model runs/RUN")] = None
    threads: Threads = 0

    def run(self) -> None:
        """Compute the scores, and print them."""
        from rich.console import Console

        from intarsia.evaluation import evaluate_run, table
        from intarsia.records import PICTURE, SCORES

        _set_threads(self.threads)
        dataset, root = _split_data(self.data) if self.data is not None else (None, None)
        source = latest(self.folder)
        early = " (the segmenter is not trained yet)" if source.name == STAGES[0] else ""
        print(f"Weights: {source}{early}", flush=True)
        out = self.out or _home(self.folder) / (dataset or "")
        scores = evaluate_run(self.folder, out, self.scenes, root, dataset, self.void)
        Console(highlight=False).print(table(scores))
        print(f"Wrote {out / SCORES}.\nLook at {out / PICTURE}: image, true segments, found segments.")


def _split_data(given: str) -> tuple[str, str]:
    """Dataset and folder of NAME:PATH."""
    name, _, root = given.partition(":")
    if not name or not root:
        raise InputError(f"--data is {given!r}; it must be NAME:PATH, such as folder:photos.")
    return name, root


@dataclass(frozen=True)
class Predict:
    """Segment your own images: for each one an overlay, cut-outs, and the masks as NPZ, indexed PNG and COCO's RLE."""

    folder: Run
    images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE...", help_behavior_hint="(required)")]
    """PNG, JPEG, WebP, BMP, TIFF or AVIF files, or folders of them. The model sees them resized; indexed PNG and RLE have the
    file's own size."""
    out: Annotated[Path | None, _out("RUN/predictions")] = None
    overwrite: Overwrite = False
    threads: Threads = 0

    def run(self) -> None:
        """Segment the images, and list what to look at."""
        from intarsia.commands.predict import predict
        from intarsia.data.folder_files import named

        _set_threads(self.threads)
        out = self.out or _home(self.folder) / "predictions"
        notices, files = predict(self.folder, list(self.images), out, self.overwrite)
        overlays = [path.relative_to(out).as_posix() for path in files if path.name.endswith("-overlay.png")]
        print("\n".join([*notices, f"Wrote {len(files)} files to {out}; look at {named(overlays)}."]))


@dataclass(frozen=True)
class Manipulate:
    """Edit the objects of an image one by one, or animate single dimensions of their codes."""

    folder: RunWithCodes
    image: Annotated[Positional[Path], arg(metavar="IMAGE")]
    """A PNG, JPEG, WebP, BMP, TIFF or AVIF file. The model sees it resized; an edited picture has the file's own size."""
    flags: Annotated[EditFlags, arg(name="")] = field(default_factory=EditFlags)
    out: Annotated[Path | None, _out("RUN/manipulations")] = None
    overwrite: Overwrite = False
    threads: Threads = 0

    def run(self) -> None:
        """Make the edits or animations, or list the objects."""
        from intarsia.commands.manipulate import manipulate

        _set_threads(self.threads)
        out = self.out or _home(self.folder) / "manipulations"
        lines, files = manipulate(self.folder, self.image, self.flags, out, self.overwrite)
        print("\n".join(lines + ([f"Wrote to {out}: {', '.join(path.name for path in files)}."] if files else [])))


@dataclass(frozen=True)
class Demo:
    """Show what a model does: a test scene with its segments, and its largest object moving."""

    folder: RunOrDefault = Path(DEFAULT_MODEL)
    scene: Annotated[int, arg(metavar="NUMBER")] = 0
    """Which of the test scenes."""
    out: Annotated[Path | None, _out("RUN/demo")] = None
    overwrite: Overwrite = False
    threads: Threads = 0

    def run(self) -> None:
        """Write the picture and the animation, and say what they show."""
        from intarsia.commands.demo import demo

        _set_threads(self.threads)
        out = self.out or _home(self.folder) / "demo"
        lines, _ = demo(self.folder, self.scene, out, self.overwrite)
        print("\n".join([*lines, f"Both are in {out}."]))


@dataclass(frozen=True)
class Serve:
    """Open Intarsia Studio: edit the objects of images in the browser."""

    folders: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...", help=_SERVED, help_behavior_hint="")] = ()
    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1"
    """Address to listen on. Other machines can't reach the default one."""
    port: int = 8017
    """Port to listen on; 0 takes a free one."""
    no_open: Flag = False
    """Don't open the page in a browser."""
    threads: Threads = 0

    def run(self) -> None:
        """Serve the page until Ctrl-C."""
        from intarsia.studio import serve

        _set_threads(self.threads)
        serve(self.folders, self.host, self.port, not self.no_open)


@dataclass(frozen=True)
class Report:
    """Write a page about a run, report.html: scores, segments, codes, curves, settings."""

    folder: Annotated[
        Positional[Path], arg(metavar="RUN", help=f"A run folder, evaluated if there are true segments, {_NAMED}")
    ]
    threads: Threads = 0

    def run(self) -> None:
        """Write the page."""
        from intarsia.evaluation.report import report

        _set_threads(self.threads)
        print(f"Wrote {report(self.folder, _home(self.folder))}: open it in a browser.")


@dataclass(frozen=True)
class Results:
    """Gather the scores of evaluated runs in one JSON file, or print them as CSV, Markdown or LaTeX."""

    folders: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...", help_behavior_hint="(required)")]
    """Run folders, finished and evaluated, or names of models that come with the package."""
    out: Annotated[Path, arg(metavar="FILE")] = Path("docs/results.json")
    """The JSON file: one entry for each dataset, with lists by seed. Its entries for other datasets are kept."""
    format: Literal["json", "csv", "markdown", "latex"] = "json"
    """Print in another format instead of writing the file: CSV has a row for each run, Markdown and LaTeX one for each dataset,
    with means over the seeds and their standard deviations."""

    def run(self) -> None:
        """Gather the scores."""
        from intarsia.evaluation.formats import FORMATS
        from intarsia.evaluation.results import gathered, results

        runs = list(self.folders)
        if self.format in FORMATS:
            print(FORMATS[self.format](gathered(runs)), end="")
            return
        entries = results(runs, self.out)
        written = ", ".join(f"{name} (seeds {entry['seeds']})" for name, entry in entries.items())
        print(f"Wrote {self.out}: {written}.")


@dataclass(frozen=True)
class Export:
    """Export the model of a finished run: its weights, its recipe, and how it was trained."""

    folder: Annotated[Positional[Path], arg(metavar="RUN", help="A run folder, or one of its stages.")]
    out: Annotated[Positional[Path], arg(metavar="MODEL", help="Folder for the model. It must be new or empty.")]
    float32: Flag = False
    """Keep the weights as float32, which takes twice the space, instead of float16."""
    onnx: Flag = False
    """Write segmenter.onnx and, if the model has codes, renderer.onnx instead. Any model will do, also a shipped one."""

    def run(self) -> None:
        """Write the model folder."""
        from intarsia.commands.export import export, export_networks

        if self.onnx:
            notices = export_networks(self.folder, self.out)
            written = ", ".join(f"{path.name} ({path.stat().st_size / 1e6:.1f} MB)" for path in sorted(self.out.glob("*.onnx")))
            print("\n".join([*notices, f"Wrote to {self.out}: {written}."]))
            return
        size = export(self.folder, self.out, self.float32) / 1e6
        print(f"Wrote {self.out}: {size:.1f} MB. Next, for its scores: {shlex.join(['intarsia', 'evaluate', str(self.out)])}")


# Without `DisallowNone`, an option that may be left out would take the word None, and say so in its error message.
Command = (
    Annotated[Prepare, DisallowNone, subcommand("prepare")]
    | Annotated[ImportTf1, subcommand("import-tf1")]
    | Annotated[Train, subcommand("train", constructor=TRAIN_EACH, description=Train.__doc__)]
    | Annotated[Evaluate, DisallowNone, subcommand("evaluate")]
    | Annotated[Predict, DisallowNone, subcommand("predict")]
    | Annotated[Manipulate, DisallowNone, subcommand("manipulate")]
    | Annotated[Demo, DisallowNone, subcommand("demo")]
    | Annotated[Serve, subcommand("serve")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Results, subcommand("results")]
    | Annotated[Export, subcommand("export")]
)
