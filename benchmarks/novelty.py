"""How well novel images are told: `python benchmarks/novelty.py --out docs/novelty.json`, for every shipped model.

The rate of images that are novel to the model (`intarsia.novelty`), of

- its own test scenes, 2,000: false alarms;
- the first 200 test scenes of each other dataset of the same image size that a shipped model knows;
- 200 crops of the two photographs that come with scikit-learn, or of those in a folder.

Rooms are drawn by MuJoCo: `intarsia prepare objects_room_mujoco --limit 3000` writes them.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor

from intarsia.data import scenes_of
from intarsia.errors import InputError
from intarsia.evaluation.segments import TEST_SEED
from intarsia.files import replacing
from intarsia.formats.image_file import ENDINGS, read_photo
from intarsia.model import Model, load
from intarsia.novelty import AT_ONCE, errors, familiar
from intarsia.recipes.file import load_recipe
from intarsia.recipes.settings import Recipe
from intarsia.weights import RECIPE, shipped

SCENES, OTHERS = 2000, 200


def photographs(folder: Path | None, height: int, width: int, count: int = OTHERS) -> Tensor:
    """Draw `count` square crops, from a third to all of a photograph's shorter side, at the size of a model's images."""
    if folder is None:
        from sklearn.datasets import load_sample_images

        found = [Image.fromarray(each) for each in load_sample_images().images]
    else:
        found = [read_photo(path).image for path in sorted(folder.iterdir()) if path.suffix.lower() in ENDINGS]
    rng, crops = np.random.default_rng(0), []
    for number in range(count):
        photo = found[number % len(found)]
        side = int(min(photo.size) * rng.uniform(1 / 3, 1))
        left, top = (int(rng.integers(0, size - side + 1)) for size in photo.size)
        crop = photo.resize((width, height), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
        crops.append(torch.from_numpy(np.array(crop, np.float32) / 255).permute(2, 0, 1))
    return torch.stack(crops)


def rate(model: Model, images: Tensor) -> float:
    """The fraction of images that are novel to a model."""
    known = familiar(model)
    if known is None:
        raise InputError(f"Nothing is stored of the scenes of {model.source}; `intarsia evaluate` measures them.")
    novel = [known.novelty(errors(model, part)) > known.limit for part in images.split(AT_ONCE)]
    return round(float(torch.cat(novel).float().mean()), 4)


def measure(name: str, folder: Path | None, scenes: int) -> dict[str, Any]:
    """The rates of a shipped model."""
    model = load(name, device="cpu")
    height, width = model.recipe.height, model.recipe.width
    found = {"false_alarms": rate(model, _scenes(model.recipe, scenes))}
    for other in (load_recipe(folder / RECIPE) for folder in shipped().values()):
        if other.dataset not in (model.recipe.dataset, *found) and (other.height, other.width) == (height, width):
            found[other.dataset] = rate(model, _scenes(other, min(scenes, OTHERS)))
    return found | {"photographs": rate(model, photographs(folder, height, width, min(scenes, OTHERS)))}


def _scenes(recipe: Recipe, count: int) -> Tensor:
    return scenes_of(recipe, "test", TEST_SEED).first(count).images


def main(
    models: tyro.conf.Positional[tuple[str, ...]] = (),
    scenes: int = SCENES,
    photos: Path | None = None,
    threads: int = 1,
    out: Path | None = None,
) -> None:
    """Measure how well novel images are told.

    Args:
        models: Names of models that come with the package; all by default.
        scenes: Own test scenes of each; of others, at most 200.
        photos: A folder of photographs.
        threads: The number of threads.
        out: A JSON file to write the rates of these models into.
    """
    if scenes < 1 or threads < 1:
        raise InputError(f"--scenes is {scenes}, --threads {threads}; both must be at least 1.")
    torch.set_num_threads(threads)
    records: dict[str, Any] = json.loads(out.read_text()) if out and out.is_file() else {}
    for name in models or shipped():
        records[name] = measure(name, photos, scenes)
        print(f"{name}: {json.dumps(records[name])}", flush=True)
        if out:
            with replacing(out) as path:
                path.write_text(json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        sys.exit(str(error))
