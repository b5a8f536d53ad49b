"""How good moves and removals are: `python benchmarks/edits.py --out docs/edits.json`.

It measures every shipped model whose scenes the package draws.
Each visible whole object that the model finds, in test scenes spread over the set, is moved by 4, 8, 12 or 16 pixels, by whole
pixels and by half a pixel more, to where it covers no other; and it is removed. The generators know what is behind it: the
truth is the scene drawn without it, with the object's own pixels in front, moved as far (half pixels by a cubic spline). PSNR
in dB, of

- `moved`, `moved_half`: the object at its new place;
- `vacated`: where it was, and 2 pixels around; beside that `vacated_decoded`, if the decoded background were shown there;
- `move`, `remove`: the whole picture.

Each is the median over all objects, with the tenth percentile. `outside` counts pixels that changed farther than 6 pixels from
both places; `milliseconds` is the median time from a move to its picture in a scene that was edited before.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from scipy import ndimage
from torch import Tensor

from intarsia.data import multi_dsprites, multi_texture, multi_texture_pair, objects_room_mujoco, rooms
from intarsia.data.compose import paste
from intarsia.data.random import scene_keys
from intarsia.data.scenes import SceneSample
from intarsia.errors import InputError
from intarsia.evaluation.segments import TEST_SEED
from intarsia.files import replacing
from intarsia.manipulation import composite, move, remove
from intarsia.model import Model, load
from intarsia.recipes.file import load_recipe
from intarsia.rendering import Memo, Renderer
from intarsia.scene import Scene
from intarsia.weights import RECIPE, shipped

TEST_SCENES = 2000  # of each set, at least
DISTANCES = 4, 8, 12, 16  # px
DIRECTIONS = (1, 0), (0, 1), (-1, 0), (0, -1)
FEWEST_PIXELS = 20  # of an object
FAINT = 0.01  # part of a pixel that does not count
FOUND = 0.5  # IoU of an object and its segment, at least
AROUND = 2  # px that belong to the place that an object leaves
BEYOND = 6  # px from both places where nothing may change

Draw = Callable[[int, list[int] | None], tuple[Tensor, Tensor]]
"""Image `3 h w` and masks of the objects `n h w` of a test scene, by its index; only of some objects, if they are given."""


def textures(module: Any, index: int, objects: list[int] | None) -> tuple[Tensor, Tensor]:
    """Draw a scene of Multi-Texture, or of its pair."""
    if module is multi_texture:
        found = multi_texture.draw_parameters(scene_keys(TEST_SEED, "test", [index]))
    else:
        found = multi_texture_pair._parameters(TEST_SEED, "test", np.array([index]))
    kept = list(range(int(found.number[0]))) if objects is None else objects
    columns = {name: getattr(found, name)[:, kept] for name in ("shape_index", "dr", "dc")}
    hue = found.hue[:, [0, *(1 + each for each in kept)]]
    return _parted(multi_texture.render(multi_texture.components(), number=np.array([len(kept)]), hue=hue, **columns))


def sprites(index: int, objects: list[int] | None) -> tuple[Tensor, Tensor]:
    """Draw a scene of Multi-dSprites."""
    found = multi_dsprites._parameters(TEST_SEED, "test", np.array([index]))
    kept = np.flatnonzero(found.present[0]) if objects is None else np.flatnonzero(found.present[0])[objects]
    shapes = np.zeros((1, len(kept), multi_dsprites.SIZE, multi_dsprites.SIZE), np.bool_)
    corners, drawn = multi_dsprites._sprites(*(values[0, kept] for values in found[1:5]))
    for shape, (row, column), sprite in zip(shapes[0], corners, drawn, strict=True):
        shape[row : row + multi_dsprites.WINDOW, column : column + multi_dsprites.WINDOW] = sprite
    colours = found.colours[:, [0, *(1 + kept)]].astype(np.float32)[..., None, None].swapaxes(0, 1)
    return _parted(paste(shapes, colours))


def solids(index: int, objects: list[int] | None) -> tuple[Tensor, Tensor]:
    """Draw a room with MuJoCo."""
    room = rooms.Rooms(*(values[0] for values in rooms.draw_rooms(scene_keys(0, "rooms", [index]), "train")))
    kept = list(range(int(room.number))) if objects is None else objects
    parts = {name: getattr(room, name)[kept] for name in ("shape", "radius", "height", "place", "angle")}
    colours = room.colours[[0, 1, 2, *(3 + each for each in kept)]]
    image, labels = objects_room_mujoco._artist().draw(room._replace(number=np.int64(len(kept)), colours=colours, **parts))
    masks = labels[None] == 3 + np.arange(len(kept))[:, None, None]
    return torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255, torch.from_numpy(masks).float()


def _parted(sample: SceneSample) -> tuple[Tensor, Tensor]:
    return sample.images[0], sample.masks[0, 1:]


DRAW: dict[str, Draw] = {
    "multi_dsprites": sprites,
    "multi_texture": partial(textures, multi_texture),
    "multi_texture_pair": partial(textures, multi_texture_pair),
    "objects_room_mujoco": solids,
}


def edits_of(model: Model, draw: Draw, index: int) -> Iterator[dict[str, float] | None]:
    """Yield the figures of each visible whole object of a scene; None for one that the model did not find."""
    image, masks = draw(index, None)
    renderer = Renderer(model, Memo())
    scene = model.encode(image)
    decoded = renderer.pictures("background", scene.background[None])[0]
    composite(renderer, scene, remove(scene, 0))  # what does not depend on the edit is kept from here on
    for number, mask in enumerate(masks):
        edge = torch.cat([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        whole = (mask - draw(index, [number])[1][0]).abs().max() < FAINT and edge.max() < FAINT
        if (mask > 0.5).sum() < FEWEST_PIXELS or not whole:
            continue
        way = _way(mask, masks[[other for other in range(len(masks)) if other != number]].sum(0), index)
        if way is None:
            continue
        both = torch.minimum(scene.masks[:-1], mask).sum((1, 2)) / torch.maximum(scene.masks[:-1], mask).sum((1, 2))
        row = int(both.argmax())
        if both[row] < FOUND:
            yield None
            continue
        behind = draw(index, [other for other in range(len(masks)) if other != number])[0]
        layer = torch.cat([torch.where(mask > FAINT, image - (1 - mask) * behind, 0), mask[None]])
        yield _figures(renderer, (scene, row), (behind, layer), way, decoded)


def _way(mask: Tensor, others: Tensor, index: int) -> tuple[int, int] | None:
    """The first distance to the right and down after which the object is inside the picture and covers no other."""
    height, width = mask.shape
    rows, columns = (torch.nonzero((mask > FAINT).any(axis))[:, 0] for axis in (1, 0))
    for distance in np.roll(DISTANCES, index):
        for x, y in np.roll(DIRECTIONS, index, 0) * distance:
            inside = rows[0] + y >= 2 and rows[-1] + y < height - 2 and columns[0] + x >= 2 and columns[-1] + x < width - 2
            if inside and not (_shifted(mask[None], x + 0.5, y + 0.5)[0] * others > FAINT).any():
                return int(x), int(y)
    return None


def _shifted(maps: Tensor, right: float, down: float) -> Tensor:
    """Maps `c h w` moved by so many pixels."""
    if right == int(right) and down == int(down):
        return maps.roll((int(down), int(right)), (1, 2))
    return torch.from_numpy(ndimage.shift(maps.numpy(), (0, down, right), order=3, mode="constant"))


def _figures(
    renderer: Renderer, edited: tuple[Scene, int], truth: tuple[Tensor, Tensor], way: tuple[int, int], decoded: Tensor
) -> dict[str, float]:
    """The figures of an object, given by its scene and row; the truth is the image without it, and its pixels and opacity."""
    (scene, row), (behind, layer) = edited, truth
    found: dict[str, float] = {}
    for name, extra in (("moved", 0.0), ("moved_half", 0.5)):
        right, down = way[0] + extra, way[1] + extra
        started = time.perf_counter()
        shown = composite(renderer, scene, move(renderer, scene, row, right, down))
        milliseconds = 1000 * (time.perf_counter() - started)
        there = _shifted(layer, right, down)
        expected = (behind * (1 - there[3]) + there[:3]).clamp(0, 1)
        found[name] = _psnr(shown, expected, there[3] > 0.5)
        if not extra:
            here = _wider(layer[3], AROUND) & (there[3] == 0)
            found |= {"vacated": _psnr(shown, behind, here), "vacated_decoded": _psnr(decoded, behind, here)}
            found |= {"move": _psnr(shown, expected, there[3] >= 0), "milliseconds": milliseconds}
            near = _wider(torch.maximum(torch.maximum(layer[3], there[3]), _both(scene.masks[row], way)), BEYOND)
            found["outside"] = float((shown != scene.image).any(0)[~near].sum())
    found["remove"] = _psnr(composite(renderer, scene, remove(scene, row)), behind, layer[3] >= 0)
    return found


def _both(mask: Tensor, way: tuple[int, int]) -> Tensor:
    return torch.maximum(mask, _shifted(mask[None], *way)[0])


def _wider(mask: Tensor, pixels: int) -> Tensor:
    return F.max_pool2d((mask[None, None] > 0.1).float(), 2 * pixels + 1, 1, pixels)[0, 0] > 0


def _psnr(first: Tensor, second: Tensor, where: Tensor) -> float:
    error = (first - second).square().mean(0)[where].double().mean()
    return float(-10 * torch.log10(error.clamp(min=1e-10)))


def measure(name: str, scenes: int) -> dict[str, Any]:
    """The figures of a shipped model over so many test scenes."""
    model = load(name, device="cpu")
    indices = np.linspace(0, TEST_SCENES, scenes, endpoint=False).astype(int).tolist()
    all_objects = [each for index in indices for each in edits_of(model, DRAW[model.recipe.dataset], index)]
    found = [each for each in all_objects if each]
    record: dict[str, Any] = {"scenes": scenes, "objects": len(all_objects), "found": len(found)}
    for figure in found[0] if found else ():
        values = [each[figure] for each in found]
        if figure == "outside":
            record[figure] = int(sum(values))
        elif figure == "milliseconds":
            record[figure] = round(float(np.median(values)), 1)
        else:
            record[figure] = [round(float(np.quantile(values, part)), 1) for part in (0.5, 0.1)]
    return record


def main(
    models: tyro.conf.Positional[tuple[str, ...]] = (), scenes: int = 200, threads: int = 1, out: Path | None = None
) -> None:
    """Measure moves and removals.

    Args:
        models: Names of models that come with the package; by default all whose scenes it draws.
        scenes: Test scenes of each.
        threads: The number of threads.
        out: A JSON file to write the figures of these models into.
    """
    if scenes < 1 or threads < 1:
        raise InputError(f"--scenes is {scenes}, --threads {threads}; both must be at least 1.")
    torch.set_num_threads(threads)
    records: dict[str, Any] = json.loads(out.read_text()) if out and out.is_file() else {}
    for name in models or [name for name, folder in shipped().items() if load_recipe(folder / RECIPE).dataset in DRAW]:
        records[name] = measure(name, scenes)
        print(f"{name}: {json.dumps(records[name])}", flush=True)
        if out:
            with replacing(out) as path:
                path.write_text(json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        sys.exit(str(error))
