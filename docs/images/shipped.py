"""Makes the pictures of README and documentation that show shipped models: `python docs/images/shipped.py`.

`scenes.png` shows the first two test scenes of two datasets, their true segments, and those that the shipped models find.
`edit.png` shows what the README's Python gives, `game.png` and `codes.png` how the method works.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import intarsia
from intarsia.data import open_dataset
from intarsia.evaluation.segments import matched_colours
from intarsia.pictures import sheet, write_picture

HERE = Path(__file__).parent
DATASETS = ("multi_texture", "multi_dsprites")  # and models of these names
GAME = "multi_texture_pixels"  # a model that guesses pixels
SCENES, ZOOM = 2, 3
FONT_SIZE, LEFT, TOP = 18, 64, 28  # px: of the letters, and of the room for titles


def scenes_picture() -> np.ndarray:
    """Four scenes, one a column, in the rows image, true segments, and found segments."""
    kinds = [torch.cat(kind) for kind in zip(*map(_scenes, DATASETS), strict=True)]  # b 3 h w each
    grid = sheet([torch.stack(column) for column in zip(*kinds, strict=True)], ZOOM)
    return _titled(grid, ["image", "true", "found"], left=True)


def _scenes(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Images, true segments and found segments of a dataset's first test scenes; a found segment has its true one's colour."""
    images, masks = open_dataset(name, split="test")(range(SCENES))
    return images, *matched_colours(masks, intarsia.load(name, "cpu").segment(images))


def edit_picture() -> np.ndarray:
    """The image, its segments and objects, and the changed image of the README's Python, side by side."""
    names = python_of_readme()
    shown = {**names["scene"]._gallery().images, "changed": names["changed"]}
    return _titled(sheet([image[None] for image in shown.values()], ZOOM - 1), list(shown), left=False)


def _titled(grid: np.ndarray, titles: list[str], left: bool) -> np.ndarray:
    """A sheet with titles to the left of its rows, or above its columns."""
    height, width = grid.shape[:2]
    room = (LEFT, 0) if left else (0, TOP)
    canvas = Image.new("RGB", (width + room[0], height + room[1]), "white")
    canvas.paste(Image.fromarray(grid), room)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(FONT_SIZE)
    for number, title in enumerate(titles):
        at = (4, height * (number + 0.5) / len(titles)) if left else (width * number / len(titles), TOP / 2)
        draw.text(at, title, "black", font, anchor="lm")
    return np.array(canvas)


@torch.no_grad()
def game_picture() -> np.ndarray:
    """What the inpainter guesses if it does not see an object, half of it, or anything."""
    model, image, masks = _example(GAME)
    half = masks[0].clone()
    half[:, : int(masks[0].sum(0).nonzero().float().mean().round())] = 0
    hidden = torch.stack([masks[0], half, torch.ones_like(half)])
    images = image[None]
    guesses = model.inpainter(images, hidden[None], model.edges(images))[0].clamp(0, 1)
    shown = [image]
    for region, guess in zip(hidden, guesses, strict=True):
        shown += [image * (1 - region) + 0.5 * region, image * (1 - region) + guess * region]
    titles = ["image", "object hidden", "guess", "half hidden", "guess", "all hidden", "guess"]
    return _titled(sheet([each[None] for each in shown], ZOOM - 1), titles, left=False)


def codes_picture() -> np.ndarray:
    """An image, the mask of its first object, its decoded shape and texture, the decoded background, and the rendered image."""
    model, image, _ = _example(DATASETS[0])
    scene, renderer = model.encode(image), intarsia.Renderer(model)
    parts = renderer.decode(scene)
    shown = {
        "image": image,
        "mask": scene.masks[0].expand(3, -1, -1),
        "shape": parts.shapes[0].expand(3, -1, -1),
        "texture": parts.textures[0],
        "background": parts.background,
        "rendered": renderer.fuse(parts),
    }
    return _titled(sheet([each[None] for each in shown.values()], ZOOM - 1), list(shown), left=False)


def _example(name: str) -> tuple[intarsia.Model, Tensor, Tensor]:
    """A model, a test scene of Multi-Texture, and the true masks of its objects."""
    images, masks = open_dataset(DATASETS[0], split="test")([3])
    return intarsia.load(name, "cpu"), images[0], masks[0, 1:]


def python_of_readme() -> dict[str, Any]:
    """Runs the first Python block of the README and returns its variables."""
    block = re.search(r"^```python\n(.*?)^```", (HERE.parents[1] / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert block
    names: dict[str, Any] = {}
    exec(block[1], names)
    return names


PICTURES = {"scenes": scenes_picture, "edit": edit_picture, "game": game_picture, "codes": codes_picture}


def main() -> None:
    """Make the pictures."""
    for name, make in PICTURES.items():
        write_picture(path := HERE / f"{name}.png", make())
        print(path)


if __name__ == "__main__":
    main()
