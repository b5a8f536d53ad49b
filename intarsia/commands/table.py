"""The commands and their options, as dataclasses: the docstrings are the help."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from intarsia.commands.edit_flags import EditFlags
from intarsia.recipes.options import Options
from intarsia.recipes.settings import Recipe
from intarsia.weights import shipped

DEFAULT_VARIANT = "compact"
DEFAULT_MODEL = next(iter(shipped()), "")
NAMED = f"a model folder, or the name of a shipped model: {', '.join(shipped())}."
CODED = f"A run folder with stage 'vaes', that stage, {NAMED}"


@dataclass(frozen=True)
class Train:
    """Train a recipe's stages, or go on where they stopped."""

    recipe: Recipe
    run: Path
    options: Options
    stage: str | None = None
    start: Path | None = None


@dataclass(frozen=True)
class Evaluate:
    """Score a run on the test scenes: a table here, `scores.json` and `segments.png` in the run folder."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN", help=f"A run folder, one of its stages, {NAMED}")]
    scenes: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all)")] = None
    """How many test scenes, a multiple of 10, for a quick look."""
    data: Annotated[str | None, tyro.conf.arg(metavar="NAME:PATH", help_behavior_hint="(default: the run's)")] = None
    """Other scenes than the run's, such as a test variant or folder:PATH: their dataset and folder."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: RUN, with --data RUN/NAME)")] = (
        None
    )
    """Folder for the files; of a shipped model, those of runs/NAME are the defaults."""
    threads: int = 0
    """Threads; 0 leaves it to PyTorch."""


@dataclass(frozen=True)
class Predict:
    """Take your own images apart: for each one an overlay, a cut-out per segment, and the masks as NPZ."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN", help=f"A run folder, one of its stages, {NAMED}")]
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE...", help_behavior_hint="")]
    """PNG, JPEG or WebP files. They are resized to the size the model takes."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: RUN/predictions)")] = None
    """Folder for the files."""
    overwrite: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="")] = False
    """Replace files of the same names."""
    threads: int = 0
    """Threads; 0 leaves it to PyTorch."""


@dataclass(frozen=True)
class Report:
    """Make a page of an evaluated run, `report.html` in its folder: scores, segments, codes, curves, settings."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run folder; evaluated."""
    threads: int = 0
    """Threads; 0 leaves it to PyTorch."""


@dataclass(frozen=True)
class Results:
    """Gather the figures of evaluated runs into one JSON file: one entry per dataset, lists by seed."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN...", help_behavior_hint="")]
    """Run folders; finished and evaluated."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("docs/results.json")
    """The file. Entries of datasets that are not among the runs stay as they are."""


@dataclass(frozen=True)
class Manipulate:
    """Change the objects of an image one by one, or animate what the numbers of their codes do."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN", help=CODED)]
    image: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="IMAGE")]
    """A PNG, JPEG or WebP file. It is resized to the size the model takes."""
    flags: Annotated[EditFlags, tyro.conf.arg(name="")] = field(default_factory=EditFlags)
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: RUN/manipulations)")] = None
    """Folder for the files."""
    overwrite: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="")] = False
    """Replace files of the same names."""
    threads: int = 0
    """Threads; 0 leaves it to PyTorch."""


@dataclass(frozen=True)
class Demo:
    """Take a test scene apart and animate its largest object: a glance at what a model can do."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN", help=CODED)]
    scene: Annotated[int, tyro.conf.arg(metavar="NUMBER")] = 0
    """Which of the test scenes."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: RUN/demo)")] = None
    """Folder for the files."""
    overwrite: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="")] = False
    """Replace files of the same names."""
    threads: int = 0
    """Threads; 0 leaves it to PyTorch."""


@dataclass(frozen=True)
class Serve:
    """Change the objects of pictures in the browser: a page on this machine."""

    run: Annotated[
        tyro.conf.Positional[Path | None],
        tyro.conf.arg(metavar="RUN", help=CODED, help_behavior_hint=f"(default: {DEFAULT_MODEL})"),
    ] = None
    host: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = "127.0.0.1"
    """Where to listen; other machines can't reach the default."""
    port: int = 8017
    """Likewise; 0 takes a free one."""
    no_open: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="")] = False
    """Don't open the page in a browser."""
    threads: int = 0
    """Threads; 0 leaves it to PyTorch."""


@dataclass(frozen=True)
class Prepare:
    """Write a dataset's scenes into arrays, once, for `--data-root`; an interrupted one goes on with the same command."""

    dataset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATASET")]
    """The dataset."""
    source: Annotated[Path | None, tyro.conf.arg(name="from", metavar="FILE", help_behavior_hint="")] = None
    """The published file, where the dataset is made from one."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: data/DATASET)")] = None
    """Folder for the arrays."""
    limit: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all)")] = None
    """Most scenes."""


@dataclass(frozen=True)
class ImportTf1:
    """Make a model of a TensorFlow 1 checkpoint of the original, whole or in part."""

    prefix: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PREFIX")]
    """The checkpoint as TensorFlow names it, without `.index`. Slim's resnet_v2_50.ckpt gives a segmenter to start from."""
    recipe: Annotated[str, tyro.conf.arg(metavar="DATASET/NAME", help_behavior_hint="(required)")]
    """The recipe whose networks it holds; or the file of one, as runs and models keep it."""
    out: Annotated[Path, tyro.conf.arg(metavar="MODEL", help_behavior_hint="(required)")]
    """Folder for the model: new or empty."""
    all_that_fits: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="")] = False
    """Of slim's ResNet-50, take the moving averages too, which the original leaves out."""


@dataclass(frozen=True)
class Export:
    """Make a model folder, small and on its own, of a finished run: weights, recipe, how it was trained."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run folder, or one of its stages."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """Folder for the model: new or empty."""
    float32: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="")] = False
    """Keep every digit of the weights, in twice the room, instead of float16."""


Command = ImportTf1 | Prepare | Train | Evaluate | Predict | Manipulate | Demo | Serve | Report | Results | Export


@dataclass(frozen=True)
class Settings(Recipe):
    """A recipe as options: all of it but the dataset, which is given by its place."""

    dataset: tyro.conf.Suppress[tyro.conf.Fixed[str]]


@dataclass(frozen=True)
class TrainForm:
    """`Train` as options: a dataset's recipe with its numbers, each of them to be changed."""

    settings: Annotated[Settings, tyro.conf.FlagConversionOff, tyro.conf.arg(name="")]
    recipe: Annotated[str, tyro.conf.arg(metavar="NAME")] = DEFAULT_VARIANT
    """Which of the dataset's recipes to start from; the settings below change it."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: runs/DATASET-RECIPE-SEED)")] = (
        None
    )
    """The run folder: new, empty, or a run of the same settings, which is resumed."""
    stage: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: all that is missing)")] = None
    """Train this stage alone; those before it have to be finished."""
    start: Annotated[
        Path | None,
        tyro.conf.arg(
            metavar="MODEL", help_behavior_hint="(default: initial weights, or the shipped model that the recipe is for)"
        ),
    ] = None
    """A run, a model folder, an imported checkpoint or a shipped model: what has learned there starts as it is. Stages
    that it is past can be skipped with 0 steps. The run keeps its weights, and resumes without it."""
    options: Annotated[Options, tyro.conf.arg(name="")] = field(default_factory=Options)
