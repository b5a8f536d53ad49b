"""Datasets: scenes with known segments as a pure function of (seed, split, index).

Example:
    >>> scenes = open_dataset("multi_dsprites", seed=0, split="test")
    >>> scenes.size, scenes.segments
    (2000, 5)
    >>> images, masks = scenes([0, 1, 2])
    >>> images.shape, masks.shape
    (torch.Size([3, 3, 64, 64]), torch.Size([3, 5, 64, 64]))
    >>> scenes.factors([0, 1, 2])["row"].shape
    (3, 4)
"""

from pathlib import Path

from intarsia.data import multi_dsprites, multi_texture
from intarsia.data.scenes import SPLITS, Factors, Scenes, SceneSample
from intarsia.errors import InputError

__all__ = ["DATASETS", "SPLITS", "Factors", "SceneSample", "Scenes", "open_dataset"]

DATASETS = {"multi_dsprites": multi_dsprites.open_scenes, "multi_texture": multi_texture.open_scenes}


def open_dataset(name: str, seed: int = 0, split: str = "train", data_root: str | Path | None = None) -> Scenes:
    """One split of a dataset.

    Args:
        name: one of `DATASETS`.
        seed: 0 to 2**64 - 1. Every seed gives other scenes in every split; fix it to compare models on the same ones.
        split: one of `SPLITS`; train is endless, val and test have a size. No two splits share a scene.
        data_root: folder of the dataset's files where it has any; None for what the package ships.

    Raises:
        InputError: for an unknown name or split, a seed out of range, or files that can't be used.
    """
    if name not in DATASETS:
        raise InputError(f"There is no dataset {name!r}; choose one of {', '.join(DATASETS)}.")
    if split not in SPLITS:
        raise InputError(f"There is no split {split!r}; choose one of {', '.join(SPLITS)}.")
    if not 0 <= seed < 2**64:
        raise InputError(f"The seed is {seed}; it must be from 0 to 2**64 - 1.")
    return DATASETS[name](seed, split, None if data_root is None else Path(data_root))
