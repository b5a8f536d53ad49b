"""Makes this folder's pictures of the datasets: `python docs/images/datasets.py [NAME:FOLDER ...]`.

Each shows the first test scenes, and below them their true segments. Flying Animals is composed of the animals that the tests
use; folders of prepared scenes are those of other datasets to be shown.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from intarsia.data import PREPARED, Scenes, open_dataset
from intarsia.data.arrays import write
from intarsia.data.flying_animals import HEIGHT, WIDTH
from intarsia.pictures import coloured, sheet, write_picture

HERE = Path(__file__).parent
DRAWN = ("multi_texture", "multi_texture_pair", "multi_dsprites")
SHOWN = 1000  # px: about as wide as a picture gets


def _picture(scenes: Scenes) -> np.ndarray:
    zoom = max(1, 96 // scenes.height)
    images, masks = scenes(range(SHOWN // (zoom * scenes.width)))
    columns = torch.stack([images, coloured(masks)], 1)  # n 2 3 h w: one column for each scene, one row for each kind
    return sheet(list(columns), zoom)


def _flying_animals(folder: Path) -> Scenes:
    """Scenes of the emoji in tests/data/animals on soft colours, prepared like the original's pictures."""
    random = np.random.default_rng(0)
    for name in ("foregrounds", "masks", "backgrounds"):
        (folder / name).mkdir()
    for number, path in enumerate(sorted((HERE.parents[1] / "tests/data/animals").glob("*.png")), 1):
        canvas = Image.new("RGBA", (WIDTH, HEIGHT))
        animal = Image.open(path)
        canvas.paste(animal, ((WIDTH - animal.width) // 2, (HEIGHT - animal.height) // 2))
        canvas.convert("RGB").save(folder / "foregrounds" / f"{number}.png")
        canvas.getchannel("A").point(lambda alpha: 255 * (alpha > 127)).save(folder / "masks" / f"{number}.png")
        colours = torch.from_numpy(random.uniform(60, 200, (1, 3, 5, 6)))
        colours = F.interpolate(colours, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 255)
        pixels = colours[0].permute(1, 2, 0).numpy().astype(np.uint8)
        Image.fromarray(pixels).save(folder / "backgrounds" / f"{number}.png")
    write(folder / "prepared", PREPARED["flying_animals"](folder))
    return open_dataset("flying_animals", split="test", data_root=folder / "prepared", size=(96, 128))


def main() -> None:
    """Make the pictures."""
    given = [name.split(":", 1) for name in sys.argv[1:]]
    scenes = [open_dataset(name, split="test") for name in DRAWN]
    scenes += [open_dataset(name, split="test", data_root=folder) for name, folder in given]
    with TemporaryDirectory() as folder:
        for each in [*scenes, _flying_animals(Path(folder))]:
            write_picture(path := HERE / f"dataset_{each.name}.png", _picture(each))
            print(path)


if __name__ == "__main__":
    main()
