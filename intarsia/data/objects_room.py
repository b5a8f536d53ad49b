"""Objects Room (Kabra et al., multi_object_datasets, 2019): one to three solids in a coloured room, 64x64, 6 segments.

The scenes come from the published file, which `intarsia prepare` converts to arrays. As in the original, the two parts of the
walls are one segment, so the segments are sky, floor, walls and three objects. In training, the sky of each scene is darkened
by a factor from 0.2 to 1. Sky, floor and walls are background. The published test variants have only test scenes.
"""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import torch

from intarsia.data.arrays import Material, stored_scenes
from intarsia.data.multi_objects import SPLITS_OF_THE_ORIGINAL, Layout
from intarsia.data.multi_objects import material as tfrecord_material
from intarsia.data.random import scene_keys, uniform
from intarsia.data.scenes import Indices, Scenes, SceneSample
from intarsia.errors import InputError

NAME = "objects_room"
DARKEST = 0.2  # smallest factor of the sky
SKY = 0  # its segment
ONLY_TEST: dict[str, int | None] = {"test": None}
LAYOUTS = {  # entities: sky, floor, walls in two parts, objects
    "train": Layout(3, (0, 1, 2, 2, 3, 4, 5), SPLITS_OF_THE_ORIGINAL, entities_first=True, backgrounds=3),
    "empty_room": Layout(3, (0, 1, 2, 2), ONLY_TEST, entities_first=True, backgrounds=3),
    "six_objects and identical_color": Layout(3, (0, 1, 2, 2, 3, 4, 5, 6, 7, 8), ONLY_TEST, entities_first=True, backgrounds=3),
}


def material(file: Path | None) -> Material:
    """The arrays to write for a TFRecord file of the training set, or of a test variant."""
    return tfrecord_material(NAME, LAYOUTS, file)


def open_scenes(seed: int, split: str, data_root: Path | None, size: tuple[int, int] | None = None) -> Scenes:
    """The scenes of a split, from a prepared folder."""
    if data_root is None:
        raise InputError(f"{NAME} is read from files: `intarsia prepare {NAME} --from FILE`, then --data-root FOLDER.")
    scenes = stored_scenes(data_root, NAME, seed, split)
    return dataclasses.replace(scenes, draw=partial(_darkened, scenes, seed)) if split == "train" else scenes


def _darkened(scenes: Scenes, seed: int, indices: Indices) -> SceneSample:
    """Scenes by their indices, in which the sky is darkened by a factor that depends on seed and index."""
    images, masks = scenes.draw(indices)
    factor = DARKEST + (1 - DARKEST) * uniform(scene_keys(seed, "sky", indices), np.arange(1))
    sky = masks[:, SKY, None]
    return SceneSample(images * (1 + sky * torch.from_numpy(factor - 1).float()[..., None, None]), masks)
