"""Scenes per second of each dataset, on one thread: `python benchmarks/data.py`. The last line is one JSON object."""

import json
import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy and PyTorch are imported

from statistics import median
from time import perf_counter

from intarsia.data import DATASETS, Scenes, open_dataset

BATCH, BATCHES, ROUNDS = 64, 8, 9


def scenes_per_second(scenes: Scenes, start: int) -> float:
    began = perf_counter()
    for first in range(start, start + BATCH * BATCHES, BATCH):
        scenes(range(first, first + BATCH))
    return BATCH * BATCHES / (perf_counter() - began)


def main() -> None:
    print(f"{'dataset':<16}{'scenes/s':>10}{'slowest':>10}{'fastest':>10}   median of {ROUNDS} rounds, batches of {BATCH}")
    medians = {}
    for name in DATASETS:
        scenes = open_dataset(name)
        scenes(range(BATCH))
        speeds = [scenes_per_second(scenes, BATCH * BATCHES * turn) for turn in range(ROUNDS)]
        medians[name] = round(median(speeds))
        print(f"{name:<16}{medians[name]:>10}{min(speeds):>10.0f}{max(speeds):>10.0f}")
    print(json.dumps(medians))


if __name__ == "__main__":
    main()
