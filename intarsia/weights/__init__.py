"""Model folders: the shipped ones, the newest of a run, and what they hold."""

import hashlib
from pathlib import Path

from intarsia.errors import InputError
from intarsia.recipes.file import load_recipe
from intarsia.recipes.settings import STAGES, planned

__all__ = ["RECIPE", "START", "START_NAME", "WEIGHTS", "has_codes", "latest", "shipped", "weights_sha256"]

SHIPPED = Path(__file__).parent  # a model folder for each shipped model
WEIGHTS, RECIPE = "weights.safetensors", "recipe.json"
START = "start"  # in a run folder: the model before its first step, where another one was given for it
START_NAME = "name.txt"  # in there, where that one came with the package


def shipped() -> dict[str, Path]:
    """The folders of the models that come with the package, by name."""
    return {path.parent.name: path.parent for path in sorted(SHIPPED.glob("*/*.safetensors"))}


def weights_sha256(folder: Path) -> str:
    """The SHA-256 of a model folder's weights, in hexadecimal."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def latest(folder: Path) -> Path:
    """The folder of the newest model in a run folder, or the folder itself where it is a model's.

    Where there is no such folder, it may be the name of a model that comes with the package.

    Raises:
        InputError: if it is none of these.
    """
    if not folder.exists() and str(folder) in shipped():
        return shipped()[str(folder)]
    for candidate in (folder, *(folder / stage for stage in reversed(STAGES))):
        if (candidate / RECIPE).is_file() and (candidate / WEIGHTS).is_file():
            return candidate
    raise InputError(
        f"{folder} is neither a run nor a model: it holds no {WEIGHTS}, nor does a stage in it ({', '.join(STAGES)}). "
        f"The package comes with {', '.join(shipped()) or 'no models'}."
    )


def has_codes(source: Path) -> bool:
    """Whether the scene autoencoder of a model folder has been trained: if it is that of stage `vaes` or of a later one.

    Of a folder that is not called like a stage, its recipe tells.
    """
    later = STAGES[STAGES.index("vaes") :]
    stage = source.resolve().name
    return any(name in later for name in ([stage] if stage in STAGES else planned(load_recipe(source / RECIPE))))
