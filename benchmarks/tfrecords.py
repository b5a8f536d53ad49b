"""Times of reading a compressed TFRecord file, relative to unpacking it: `python benchmarks/tfrecords.py`.

The file has the format of the published Multi-dSprites, with one string per byte, and generated scenes. Each round measures
three things in turn: unpacking the file with Python's gzip; reading its records with their checksums; and preparing it, which
writes the arrays for training to the disk in a second thread. The last line is a JSON object with the medians of the ratios
to unpacking in the same round.
"""

import gzip
import json
import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy and PyTorch are imported

from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import rmtree
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
from tfrecord.writer import TFRecordWriter

from intarsia.data import PREPARED, open_dataset
from intarsia.data.arrays import write
from intarsia.data.multi_dsprites import LAYOUTS
from intarsia.formats.tfrecord import records

SCENES, COPIES, ROUNDS, PIECE = 500, 40, 5, 1 << 17


def published_form(path: Path) -> None:
    """Write a gzip file of generated scenes, with copies of them in further members."""
    layout = LAYOUTS["colored_on_colored"]
    images, masks = open_dataset("multi_dsprites")(range(SCENES))
    assert masks.shape[1] <= len(layout.segments)
    plain = path.with_suffix(".plain")
    writer = TFRecordWriter(str(plain))
    for image, mask in zip(images.mul(255).round().byte().numpy(), masks.numpy(), strict=True):
        entities = np.zeros((len(layout.segments), *mask.shape[1:]), np.uint8)
        entities[: len(mask)] = 255 * mask
        parts = {"image": image.transpose(1, 2, 0), "mask": entities if layout.entities_first else entities.transpose(1, 2, 0)}
        writer.write({name: ([bytes([byte]) for byte in part.tobytes()], "byte") for name, part in parts.items()})
    writer.close()
    path.write_bytes(gzip.compress(plain.read_bytes(), 6) * COPIES)


def unpack(path: Path) -> None:
    with gzip.open(path) as stream:
        while stream.read(PIECE):
            pass


def read(path: Path) -> None:
    for _ in records(path):
        pass


def prepare(path: Path, out: Path) -> None:
    write(out, PREPARED["multi_dsprites"](path))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """The seconds of processor time and of wall time that a function takes."""
    wall, processor = perf_counter(), process_time()
    work()
    return process_time() - processor, perf_counter() - wall


def main() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "sprites.tfrecords"
        published_form(path)
        print(f"{SCENES * COPIES:,} scenes, {path.stat().st_size / 1e6:.0f} MB; seconds of the processor by round")
        found: dict[str, list[tuple[float, float]]] = {"unpack": [], "records": [], "prepare": []}
        for _ in range(ROUNDS):
            found["unpack"].append(timed(partial(unpack, path)))
            found["records"].append(timed(partial(read, path)))
            out = folder / "arrays"
            found["prepare"].append(timed(partial(prepare, path, out)))
            rmtree(out)
        ratios = {}
        for work, times in found.items():
            pairs = list(zip(times, found["unpack"], strict=True))
            processor, wall = (median(mine[i] / alone[i] for mine, alone in pairs) for i in (0, 1))
            ratios[work] = {"processor": round(processor, 2), "wall": round(wall, 2)}
            shown = "  ".join(f"{seconds:5.2f}" for seconds, _ in times)
            print(f"{work:<10}{shown}   {processor:.2f} x unpacking, {wall:.2f} x by the clock")
        print(json.dumps(ratios))


if __name__ == "__main__":
    main()
