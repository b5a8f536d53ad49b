"""Scenes per second of each generated or composed dataset, on one thread: `python benchmarks/data.py`.

Flying Animals has pictures of noise here, of about the original's number and size. The last line is a JSON object.
"""

import json
import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy and PyTorch are imported

from statistics import median
from time import perf_counter

import numpy as np

from intarsia.data import Scenes, open_dataset
from intarsia.data.flying_animals import HEIGHT, WIDTH, composed_scenes, cut_out, reduced

BATCH, BATCHES, ROUNDS = 64, 8, 9


def scenes_per_second(scenes: Scenes, start: int) -> float:
    began = perf_counter()
    for first in range(start, start + BATCH * BATCHES, BATCH):
        scenes(range(first, first + BATCH))
    return BATCH * BATCHES / (perf_counter() - began)


def animals(factor: int) -> Scenes:
    """Scenes of discs of 80 px on 100 backgrounds, all of noise."""
    pictures = np.random.default_rng(0).integers(0, 256, (100, HEIGHT, WIDTH, 3), np.uint8)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    disc = np.uint8(255) * (np.hypot(rows - HEIGHT / 2, columns - WIDTH / 2) < 40)
    pictures, alpha = reduced(pictures, np.broadcast_to(disc, pictures.shape[:3]), factor)
    return composed_scenes("flying_animals", 0, "train", pictures, cut_out(pictures, alpha), source="noise")


def main() -> None:
    print(f"{'dataset':<20}{'scenes/s':>10}{'slowest':>10}{'fastest':>10}   median of {ROUNDS} rounds, batches of {BATCH}")
    medians = {}
    measured = {name: open_dataset(name) for name in ("multi_dsprites", "multi_texture", "multi_texture_pair")}
    measured |= {"animals 192x256": animals(1), "animals 96x128": animals(2)}
    for name, scenes in measured.items():
        scenes(range(BATCH))
        speeds = [scenes_per_second(scenes, BATCH * BATCHES * turn) for turn in range(ROUNDS)]
        medians[name] = round(median(speeds))
        print(f"{name:<20}{medians[name]:>10}{min(speeds):>10.0f}{max(speeds):>10.0f}")
    print(json.dumps(medians))


if __name__ == "__main__":
    main()
