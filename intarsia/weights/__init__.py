"""Model folders: those that come with the package, the newest one of a run, and what they contain."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from intarsia.errors import InputError
from intarsia.files import is_unfinished
from intarsia.recipes.file import load_recipe
from intarsia.recipes.settings import STAGES, planned

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "NOVELTY", "PICTURES", "RECIPE", "START", "START_NAME", "TRAINING", "WEIGHTS", "check_new", "has_codes", "latest", "named",
    "read_weights",
    "shipped", "weights_sha256",
]  # fmt: skip

SHIPPED = Path(__file__).parent  # contains a model folder for each shipped model
WEIGHTS, RECIPE = "weights.safetensors", "recipe.json"
TRAINING = "training.json"  # beside an exported model: how it was trained
NOVELTY = "novelty.json"  # beside a model: how it does on its validation scenes
PICTURES = "pictures.txt"  # beside a shipped model that learned from others' pictures: their licences and holders
START = "start"  # in a run folder: the model that the run starts from, if one was given
START_NAME = "name.txt"  # in that folder: the name of a shipped model that the run starts from


def shipped() -> dict[str, Path]:
    """The folders of the models that come with the package, by name.

    Those that learned from others' pictures come last: their scenes can't be drawn without these pictures.
    """
    folders = sorted(path.parent for path in SHIPPED.glob("*/*.safetensors"))
    return {each.name: each for each in sorted(folders, key=lambda folder: (folder / PICTURES).exists())}


def weights_sha256(folder: Path) -> str:
    """The SHA-256 of a model folder's weights, in hexadecimal."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def read_weights(path: Path, shapes: dict[str, tuple[int, ...]]) -> "tuple[dict[str, Tensor], str]":
    """The tensors of a weights file by name, float32, and the file's SHA-256. It is read once: a training may replace it.

    Args:
        path: The file.
        shapes: What it has to hold.

    Raises:
        InputError: if it is corrupt, holds something else, or a number that is not finite.
    """
    import torch  # loaded only here: the command line's help does not wait for it
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = path.read_bytes()
        weights = load(content)
    except (SafetensorError, OSError, KeyError, ValueError) as error:  # the last two for types that PyTorch does not have
        raise InputError(f"{path} is corrupt: {error}") from error
    found = {name: tuple(value.shape) for name, value in weights.items()}
    odd = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
    if odd:
        name = odd[0]
        raise InputError(
            f"{path} does not fit its recipe: {name} is {found.get(name, 'missing')}, "
            f"but should be {shapes.get(name, 'absent')} ({len(odd)} of {len(shapes)} differ)."
        )
    weights = {name: value.to(torch.float32) for name, value in weights.items()}
    bad = sorted(name for name, value in weights.items() if not value.isfinite().all())
    if bad:
        raise InputError(f"{path} can't be used: {bad[0]} holds numbers that are not finite ({len(bad)} of {len(shapes)} do).")
    return weights, hashlib.sha256(content).hexdigest()


def check_new(folder: Path) -> None:
    """Raise `InputError` if the path holds anything but an empty folder, or a model without weights: its writer was killed."""
    if not folder.exists():
        return
    others = {path.name for path in folder.iterdir() if not is_unfinished(path)} if folder.is_dir() else {folder.name}
    if not others <= {RECIPE, TRAINING}:
        raise InputError(f"{folder} exists; give a new or empty folder.")


def named(run: Path) -> Path:
    """The folder itself, or that of a shipped model by its name. A folder takes precedence over a model of the same name."""
    return run if run.exists() else shipped().get(str(run), run)


def latest(folder: Path, with_codes: bool = False) -> Path:
    """The folder of the newest model: in a run folder, the given model folder itself, or that of a shipped model by its name.

    Args:
        folder: The folder or the name.
        with_codes: Refuse a model whose codes are not trained yet. A recipe without codes is no reason to refuse.

    Raises:
        InputError: if it is none of these, or its codes are not trained but have to be.
    """
    folder = named(folder)
    for candidate in (folder, *(folder / stage for stage in reversed(STAGES))):
        if (candidate / RECIPE).is_file() and (candidate / WEIGHTS).is_file():
            if with_codes and not has_codes(candidate) and "vaes" in planned(load_recipe(candidate / RECIPE)):
                stage = candidate.resolve().name
                raise InputError(
                    f"Objects can be changed once stage 'vaes' is trained; the newest model of {folder} is that of {stage!r}."
                )
            return candidate
    raise InputError(
        f"{folder} is neither a run nor a model: it holds no {WEIGHTS}, nor does a stage in it ({', '.join(STAGES)}). "
        f"The package comes with {', '.join(shipped()) or 'no models'}."
    )


def has_codes(source: Path) -> bool:
    """Whether the scene autoencoder of a model folder is trained: whether the model is that of stage `vaes` or a later one.

    If the folder does not have the name of a stage, the stages of its recipe decide.
    """
    later = STAGES[STAGES.index("vaes") :]
    stage = source.resolve().name
    return any(name in later for name in ([stage] if stage in STAGES else planned(load_recipe(source / RECIPE))))
