"""The scores of a model, and the file `scores.json` that holds them."""

import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from intarsia.errors import InputError
from intarsia.files import replacing
from intarsia.records.reading import read_as
from intarsia.weights import latest, weights_sha256

SCORES = "scores.json"
PICTURE = "segments.png"  # of the first test scenes


@dataclass(frozen=True)
class MeanAndStd:
    """A mean, and the sample standard deviation of what it is the mean of."""

    mean: float | None
    std: float | None


@dataclass(frozen=True)
class Switching:
    """How often two objects exchanged their segments along a track of scenes, and how many scenes it has."""

    rate: float
    scenes: int


@dataclass(frozen=True)
class Figures:
    """Figures of a model, each a mean over the test scenes; None where there was nothing to score.

    The segments have the first seven. `_objects` and `fg_` leave the background out. The codes have the others, except for
    `identity_switching`: by track, for datasets that have tracks. None also where the codes are not trained.
    """

    iou: MeanAndStd
    miou: float | None
    miou_objects: float | None
    mbo: float | None
    mbo_objects: float | None
    ari: float | None
    fg_ari: float | None
    mse: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    locality: float | None = None
    locality_composited: float | None = None
    others_moved: float | None = None
    factor_r2: float | None = None
    factor_r2_single: float | None = None
    dci_disentanglement: float | None = None
    dci_completeness: float | None = None
    mig: float | None = None
    identity_switching: dict[str, Switching] | None = None

    def by_name(self) -> dict[str, Any]:
        """The figures as `scores.json` has them. A figure of the codes that is None is left out."""
        required = {field.name for field in dataclasses.fields(self) if field.default is dataclasses.MISSING}
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if value is not None or name in required}


@dataclass(frozen=True)
class Examples:
    """The indices of the scenes that are segmented best, in the middle, and worst."""

    best: list[int]
    median: list[int]
    worst: list[int]


@dataclass(frozen=True)
class NumberScore:
    """What one number of an object's codes carries and changes.

    dimension: Its place among the numbers of its part.
    nats: Its mean KL divergence from the prior; None where no object was found.
    locality: As in `Figures`, of changes of this number alone; None where it carries too little.
    """

    part: Literal["shape", "texture"]
    dimension: int
    nats: float | None
    locality: float | None
    locality_composited: float | None
    others_moved: float | None


@dataclass(frozen=True)
class FactorScore:
    """How well the codes predict one true factor.

    single: R² by each number alone.
    """

    r2: float | None
    completeness: float | None
    mig: float | None
    single: list[float | None]


@dataclass(frozen=True)
class Codes:
    """What the figures of the codes are means of.

    objects: How many objects were found.
    locality_images: How many scenes the locality was measured on.
    numbers: Of an object's codes, first those of the shape, then those of the texture.
    factors: By name; empty where the true factors are not known.
    """

    objects: int
    locality_images: int
    numbers: list[NumberScore]
    factors: dict[str, FactorScore]

    @property
    def informative(self) -> list[NumberScore]:
        """The numbers whose changes were measured."""
        return [row for row in self.numbers if row.locality is not None]


@dataclass(frozen=True)
class Scores:
    """Which weights were scored, on how many test scenes of which source, and how well they did.

    codes: None where the codes are not trained.
    recipe: The content of the model's `recipe.json`.
    """

    dataset: str
    source: str
    seed: int
    test_seed: int
    test_images: int
    weights_sha256: str
    figures: Figures
    examples: Examples
    codes: Codes | None
    recipe: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write `scores.json` into a folder, in place of an older one."""
        content = dataclasses.asdict(self) | {"figures": self.figures.by_name()}
        with replacing(folder / SCORES) as path:
            path.write_text(json.dumps(content, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Scores":
        """Read the scores of the newest model in a run folder, or of a model folder.

        Raises:
            InputError: if it has not been evaluated, or `scores.json` can't be read, is incomplete, or is of other weights.
        """
        path, command = folder / SCORES, shlex.join(["intarsia", "evaluate", str(folder)])
        remedy = f"run `{command}` again"
        if not path.is_file():
            raise InputError(f"{folder} has not been evaluated: it holds no {SCORES}. Run `{command}` first.")
        scores = read_as(cls, path, remedy)
        if scores.weights_sha256 != weights_sha256(latest(folder)):
            raise InputError(f"{path} is of other weights; {remedy}.")
        return scores
