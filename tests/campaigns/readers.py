"""The readers of the package, each with files that it reads, to be damaged."""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tfrecord.writer import TFRecordWriter
from torch import Tensor, nn
from torch.optim import Adam

from intarsia.checkpoints import read_checkpoint, restore
from intarsia.data import PREPARED, open_dataset
from intarsia.data.arrays import Contents, Material, open_arrays, write
from intarsia.evaluation.results import results_of
from intarsia.formats.tfrecord import features, records
from intarsia.interop.checkpoint import read_checkpoint as read_tf1
from intarsia.manipulation.history import read_history
from intarsia.model import Model
from intarsia.novelty import Familiar, familiar
from intarsia.pictures import read_picture
from intarsia.recipes import RECIPES
from intarsia.recipes.file import check_recipe, load_recipe, save_recipe
from intarsia.recipes.settings import Fusion, Inpainter, Segmenter, Vae, planned
from intarsia.weights import NOVELTY, weights_sha256
from tests.trained import write_progress

TF1 = Path(__file__).parents[1] / "interop" / "checkpoints"
TINY = dataclasses.replace(
    RECIPES["multi_dsprites"]["pixels"],
    inpainter=Inpainter(channels=2),
    segmenter=Segmenter(channels=8, dimension=4),
    vae=Vae(channels=2, hidden=8),
    fusion=Fusion(channels=2),
)


@dataclass(frozen=True)
class Reader:
    """A reader and what it reads.

    make: Writes whole files into a folder, and returns those to damage.
    read: Reads that folder as the commands do. What it returns is the same for the same content.
    sums: Whether all bytes have checksums: what is damaged is refused, or read as if whole.
    """

    make: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]
    sums: bool = False


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, with all tensors and arrays in them."""
    if isinstance(one, Tensor | np.ndarray):
        return bool(np.array_equal(np.asarray(one), np.asarray(other), equal_nan=np.asarray(one).dtype.kind == "f"))
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _pictures(folder: Path) -> list[Path]:
    chance = np.random.default_rng(0)
    grey, alpha = (chance.integers(0, 256, (24, 32), np.uint8) for _ in range(2))
    rgb = Image.fromarray(chance.integers(0, 256, (24, 32, 3), np.uint8))
    exif = rgb.getexif()
    exif[0x0112], exif[0x0131], exif[0x0100] = 6, "software", 32
    rgb.save(folder / "a.jpg", exif=exif)
    rgb.save(folder / "b.png", exif=exif)
    rgb.save(folder / "c.webp")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "d.png")
    Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]).save(folder / "e.png")
    rgb.quantize(8).save(folder / "f.png", transparency=3)
    rgb.convert("CMYK").save(folder / "g.jpg")
    Image.fromarray(grey > 128).save(folder / "h.png")
    return sorted(folder.iterdir())


def _read_pictures(folder: Path) -> Any:
    found = [path for path in sorted(folder.iterdir()) if path.name.endswith(("jpg", "png", "webp"))]
    return [read_picture(path, 32, 32).pixels for path in found]


def _recipe(folder: Path) -> list[Path]:
    save_recipe(TINY, folder / "recipe.json")
    return [folder / "recipe.json"]


def _read_recipe(folder: Path) -> Any:
    recipe = load_recipe(folder / "recipe.json", to_train=True)
    check_recipe(recipe)
    return recipe


def _model(folder: Path) -> list[Path]:
    Model(TINY).save(folder)
    return [folder / "recipe.json", folder / "weights.safetensors"]


def _layer() -> dict[str, Any]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 3)
    return {"layer": layer, "optimizer": Adam(layer.parameters()), "average": torch.zeros(3), "step": 0, "seconds": 0.0}


def _checkpoint(folder: Path) -> list[Path]:
    state = _layer()
    state["layer"](torch.ones(1, 3)).sum().backward()
    state["optimizer"].step()
    state |= {"step": 4, "seconds": 2.5}
    saved = {name: value.state_dict() if hasattr(value, "state_dict") else value for name, value in state.items()}
    torch.save(saved, folder / "checkpoint.pt")
    return [folder / "checkpoint.pt"]


def _read_checkpoint(folder: Path) -> Any:
    state = _layer()
    restore(folder / "checkpoint.pt", state, torch.device("cpu"))
    state["layer"](torch.ones(1, 3)).sum().backward()
    state["optimizer"].step()
    return read_checkpoint(folder / "checkpoint.pt")


def _arrays(folder: Path) -> list[Path]:
    contents = Contents("multi_dsprites", "file", 64, 64, 3, {"test": 2, "val": 2, "train": None})
    chance = np.random.default_rng(0)
    rows = {"images": chance.integers(0, 256, (6, 64, 64, 3), np.uint8), "masks": chance.integers(0, 3, (6, 64, 64), np.uint8)}
    write(folder, Material(contents, lambda first: iter([{name: part[first:] for name, part in rows.items()}]), 6))
    return [folder / "dataset.json", folder / "dataset.json", folder / "images.npy", folder / "masks.npy"]


def _read_arrays(folder: Path) -> Any:
    open_arrays(folder, "multi_dsprites")
    return [tuple(open_dataset("multi_dsprites", 0, split, folder)([0, 1])) for split in ("test", "train")]


def _tfrecord(folder: Path) -> list[Path]:
    writer = TFRecordWriter(str(folder / "scenes.tfrecords"))
    values = np.random.default_rng(0).integers(0, 256, 64 * 64 * 3, np.uint8).tobytes()
    for _ in range(2):
        image = ([bytes([byte]) for byte in values], "byte")
        writer.write({"image": image, "mask": ([bytes([byte]) for byte in values + bytes(64 * 64 * 2)], "byte")})
    writer.close()
    return [folder / "scenes.tfrecords"]


def _read_tfrecord(folder: Path) -> Any:
    path = folder / "scenes.tfrecords"
    found = [record.data for record in records(path)]
    rows = [{name: np.array(part) for name, part in piece.items()} for piece in PREPARED["multi_dsprites"](path).rows_from(0)]
    return found, [sorted(features(data)) for data in found], rows


def _tf1(names: list[str]) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        for name in names:
            (folder / name).write_bytes((TF1 / name).read_bytes())
        return [folder / name for name in names]

    return make


def _read_tf1(prefix: str) -> Callable[[Path], Any]:
    return lambda folder: {name: variable.read() for name, variable in read_tf1(folder / prefix).items()}


def _run(folder: Path) -> list[Path]:
    """A finished and evaluated run, with any bytes as weights."""
    for stage in planned(TINY):
        steps = getattr(TINY, stage).steps
        log = [{"step": 1, "seconds": 0.5, "loss": 2.0}, {"step": steps, "seconds": 60.0, "loss": 1.0}]
        write_progress(folder / stage, log)
        (folder / stage / "weights.safetensors").write_bytes(stage.encode())
        save_recipe(TINY, folder / stage / "recipe.json")
    save_recipe(TINY, folder / "recipe.json")
    digest = weights_sha256(folder / planned(TINY)[-1])
    names = ("miou", "miou_objects", "mbo", "mbo_objects", "ari", "fg_ari")
    figures = {"iou": {"mean": 0.9, "std": 0.01}, **dict.fromkeys(names, 0.5)}
    number = {"part": "shape", "dimension": 0, "nats": 1.0, "locality": 0.9, "locality_composited": 0.9, "others_moved": None}
    factor = {"r2": 0.5, "completeness": 0.1, "mig": 0.1, "single": [0.1, None]}
    scores = {
        "dataset": TINY.dataset, "source": "generated", "seed": 0, "test_seed": 0, "test_images": 10, "weights_sha256": digest,
        "figures": figures, "examples": {"best": [0], "median": [1], "worst": [2]}, "recipe": {},
        "codes": {"objects": 3, "locality_images": 10, "numbers": [number], "factors": {"row": factor}},
    }  # fmt: skip
    baseline = {"weights_sha256": digest, "figures": {"locality": 0.3}, "code_length": 25, "steps": 100, "test_images": 10}
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "whole_image_vae.json").write_text(json.dumps(baseline))
    (folder / "machine.json").write_text(json.dumps({"processor": "Abacus", "threads": 2}))
    logs = [folder / stage / "log.jsonl" for stage in planned(TINY)]
    return [folder / "scores.json", folder / "whole_image_vae.json", folder / "machine.json", *logs]


def _history(folder: Path) -> list[Path]:
    edits = [
        {"edit": "move", "object": 1, "dx": 8, "dy": -3.5},
        {"edit": "scale", "object": 1, "factor": 2},
        {"edit": "recolour", "object": 2, "colour": "#ff8000"},
        {"edit": "swap_texture", "object": 1, "other": 2},
        {"edit": "order", "object": 1, "place": 0},
        {"edit": "set_code", "object": None, "part": "background", "dimension": 0, "value": 1.5},
        {"edit": "paste", "shape": [0.5], "texture": [0.5], "shape_kl": [1], "texture_kl": [1]},
        {"edit": "remove", "object": 2},
    ]
    history = {"version": 1, "picture_sha256": "a", "model_sha256": "b", "edits": edits}
    (folder / "edits.json").write_text(json.dumps(history))
    return [folder / "edits.json"]


def _photographs(folder: Path) -> list[Path]:
    chance = np.random.default_rng(1)
    (folder / "masks").mkdir()
    for number in range(30):
        Image.fromarray(chance.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / f"{number:03d}.png")
        Image.fromarray(chance.integers(0, 4, (64, 64), np.uint8)).save(folder / "masks" / f"{number:03d}.png")
    return sorted([*folder.glob("*.png"), *(folder / "masks").iterdir()])


def _read_photographs(folder: Path) -> Any:
    with tempfile.TemporaryDirectory() as new:  # what was read of a folder may be kept
        shutil.copytree(folder, new, dirs_exist_ok=True)
        scenes = open_dataset("folder", 0, "test", new, (64, 64))
        return tuple(scenes(range(scenes.size or 1)))


def _novelty(folder: Path) -> list[Path]:
    Familiar("weights", 200, [-4.0, -1.5, -4.2], np.eye(3).tolist(), 0.99, 3.7).save(folder)
    return [folder / NOVELTY]


def _read_novelty(folder: Path) -> Any:
    model = Model(TINY)
    model.source, model.weights_sha256 = folder, "weights"
    found = familiar(model)
    return found and (found.limit, found.novelty(torch.zeros(1, 3)))


READERS: dict[str, Reader] = {
    "pictures": Reader(_pictures, _read_pictures),
    "photographs and masks": Reader(_photographs, _read_photographs),
    "recipes": Reader(_recipe, _read_recipe),
    "models": Reader(_model, Model.load),
    "checkpoints": Reader(_checkpoint, _read_checkpoint, sums=True),
    "arrays and dataset.json": Reader(_arrays, _read_arrays),
    "TFRecord files": Reader(_tfrecord, _read_tfrecord, sums=True),
    "TF1 checkpoints, newer": Reader(_tf1(["one.index", "one.data-00000-of-00001"]), _read_tf1("one"), sums=True),
    "TF1 checkpoints, older": Reader(_tf1(["single-file"]), _read_tf1("single-file"), sums=True),
    "scores, logs and machines": Reader(_run, results_of),
    "novelty.json": Reader(_novelty, _read_novelty),
    "histories of edits": Reader(_history, lambda folder: read_history(folder / "edits.json")),
}
