"""Datasets: scenes with known segments as a pure function of seed, split and index.

Examples:
    >>> scenes = open_dataset("multi_dsprites", seed=0, split="test")
    >>> scenes.size, scenes.segments
    (2000, 5)
    >>> images, masks = scenes([0, 1, 2])
    >>> images.shape, masks.shape
    (torch.Size([3, 3, 64, 64]), torch.Size([3, 5, 64, 64]))
    >>> scenes.factors([0, 1, 2])["row"].shape
    (3, 4)
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from intarsia.data import (
    composed_photographs,
    cutouts,
    debian_animals,
    folder,
    free_pictures,
    multi_dsprites,
    multi_texture,
    multi_texture_pair,
    objects_room,
    objects_room_mujoco,
    published_animals,
)
from intarsia.data.arrays import Material
from intarsia.data.scenes import SPLITS, Factors, Scenes, SceneSample
from intarsia.errors import InputError
from intarsia.recipes import installed
from intarsia.recipes.installed import Catalogue
from intarsia.recipes.settings import Recipe

__all__ = [
    "DATASETS",
    "KINDS",
    "OF_PHOTOGRAPHS",
    "PREPARED",
    "SPLITS",
    "Factors",
    "SceneSample",
    "Scenes",
    "open_dataset",
    "scenes_of",
]

Size = tuple[int, int]

Opener = Callable[[int, str, Path | None, Size | None], Scenes]

DATASETS: Catalogue[Opener] = Catalogue(installed.DATASETS, Callable, {
    "multi_dsprites": multi_dsprites.open_scenes,
    "multi_texture": multi_texture.open_scenes,
    "multi_texture_pair": multi_texture_pair.open_scenes,
    "objects_room": objects_room.open_scenes,
    "objects_room_mujoco": objects_room_mujoco.open_scenes,
    "flying_animals": partial(cutouts.open_scenes, "flying_animals"),
    "flying_animals_debian": partial(cutouts.open_scenes, "flying_animals_debian"),
    "composed_photographs": composed_photographs.open_scenes,
    "folder": folder.open_scenes,
})  # fmt: skip
"""Functions that open a split, given seed, split, the folder of the dataset's files, and height and width."""

KINDS = {
    "multi_dsprites": "generated sprites on plain backgrounds",
    "multi_texture": "generated ellipses and squares with a texture",
    "multi_texture_pair": "generated pairs of textured ellipses and squares",
    "objects_room": "generated rooms with a few solids",
    "objects_room_mujoco": "generated rooms with a few solids",
    "flying_animals": "animals on photographs of landscapes",
    "flying_animals_debian": "animals on generated landscapes",
    "composed_photographs": "photographs with things pasted on them",
    "folder": "pictures such as those of the folder that it was trained on",
}
"""What the images of each dataset show, after "This model knows only"."""

OF_PHOTOGRAPHS = ("composed_photographs", "flying_animals")
"""The datasets that show photographs. The first is also the name of the shipped model to try on others."""

PREPARED: dict[str, Callable[[Path | None], Material]] = {
    "multi_dsprites": multi_dsprites.material,
    "objects_room": objects_room.material,
    "objects_room_mujoco": partial(objects_room_mujoco.material, "train"),
    "objects_room_mujoco_empty_room": partial(objects_room_mujoco.material, "empty_room"),
    "objects_room_mujoco_six_objects": partial(objects_room_mujoco.material, "six_objects"),
    "objects_room_mujoco_identical_color": partial(objects_room_mujoco.material, "identical_color"),
    "flying_animals": published_animals.material,
    "flying_animals_debian": debian_animals.material,
    "composed_photographs": free_pictures.material,
}
"""Functions that give what `intarsia prepare` writes, from a file."""


def scenes_of(recipe: Recipe, split: str, seed: int | None = None) -> Scenes:
    """Open a split of a recipe's dataset; `seed` overrides the recipe's."""
    seed = recipe.seed if seed is None else seed
    return open_dataset(recipe.dataset, seed, split, recipe.data_root, (recipe.height, recipe.width), recipe.void)


def open_dataset(
    name: str,
    seed: int = 0,
    split: str = "train",
    data_root: str | Path | None = None,
    size: Size | None = None,
    void: int | None = None,
) -> Scenes:
    """Open a split of a dataset.

    Args:
        name: One of `DATASETS`.
        seed: 0 to 2**64 - 1. Every seed gives other scenes in every split; keep it to compare models on the same ones.
        split: One of `SPLITS`; train is endless, val and test have a size. No two splits share a scene.
        data_root: The folder of the dataset's files, if it has any; None for the files in the package.
        size: Height and width in pixels, for datasets of any size; the others have their own.
        void: The value in masks of own images of pixels whose segment is not known; None if there are none.

    Raises:
        InputError: if the name or the split is unknown, the seed is out of range, or the files can't be used.
    """
    if name not in DATASETS:
        raise InputError(f"There is no dataset {name!r}; choose one of {', '.join(DATASETS)}.")
    if split not in SPLITS:
        raise InputError(f"There is no split {split!r}; choose one of {', '.join(SPLITS)}.")
    if not 0 <= seed < 2**64:
        raise InputError(f"The seed is {seed}; it must be from 0 to 2**64 - 1.")
    root = None if data_root is None else Path(data_root)
    if void is None:
        return DATASETS[name](seed, split, root, size)
    if name != folder.NAME:
        raise InputError(f"The value of void pixels is {void}, but only masks of own images have one, not those of {name}.")
    return folder.open_scenes(seed, split, root, size, void)
