from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from intarsia import commands as cli
from intarsia.commands.demo import FRAMES, demo
from intarsia.data import scenes_of
from intarsia.errors import InputError
from intarsia.model import Model
from intarsia.recipes.settings import Fusion, Inpainter, Recipe, Segmenter, Vae

TINY = Recipe(
    "multi_dsprites",
    segments=4,
    inpainter=Inpainter(channels=2, patches=0),
    segmenter=Segmenter(channels=8, dimension=4),
    vae=Vae(channels=4, hidden=16, window=0),
    fusion=Fusion(channels=4),
)


class Blocks(nn.Module):
    """A segmenter: a large object at the left, a small one at the right, a segment for nothing; the rest is background."""

    def forward(self, images: Tensor) -> Tensor:
        masks = images.new_full((len(images), 4, *images.shape[2:]), -20)
        masks[:, 3] = 0
        masks[:, 0, 20:36, 4:20] = 20
        masks[:, 1, 50:58, 50:58] = 20
        return masks


class Square(nn.Module):
    """A shape decoder: a square whose place from left to right is in the first number of the code."""

    def forward(self, codes: Tensor) -> Tensor:
        down, across = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        x = codes[:, 0, None, None] * 16 + 12
        return (16 - 2 * torch.maximum((across - x).abs(), (down - 28).abs()))[:, None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = Model(TINY)
    model.segmenter = Blocks()  # type: ignore[assignment]
    model.autoencoder.shape.decoder = Square()  # type: ignore[assignment]
    Model(TINY).save(tmp_path / "run" / "vaes")
    monkeypatch.setattr(Model, "load", lambda *given: model)
    return tmp_path / "run"


def frames_of(path: Path) -> list[np.ndarray]:
    frames = []
    with Image.open(path) as file:
        for number in range(file.n_frames):
            file.seek(number)
            frames.append(np.asarray(file.convert("RGB"))[::4, ::4].astype(int))
    return frames


def test_the_largest_object_goes_and_comes_back_and_all_else_stands_still(run: Path, tmp_path: Path) -> None:
    lines, files = demo(run, 3, tmp_path / "out")
    assert [path.name for path in files] == ["scene-3.png", "scene-3-moving.gif"]
    assert lines[0] == "Scene 3 of the test scenes of multi_dsprites: 2 objects found."
    frames = frames_of(files[1])
    assert FRAMES / 2 < len(frames) < FRAMES and frames[0].shape == (64, 64, 3)  # where it turns, two are one that lasts
    for there, back in zip(frames, reversed(frames), strict=True):
        assert (there == back).all()
    changing = np.any([(frame != frames[0]).any(2) for frame in frames], 0)
    rows, columns = changing.nonzero()
    assert (
        rows.min() >= 15 and rows.max() <= 40 and columns.min() <= 10 and 34 <= columns.max() <= 46
    )  # from x = 12 to 28, or so
    with Image.open(files[0]) as file:
        shown = np.asarray(file)
    assert shown.shape == (4 * 64 + 2, 4 * (4 * 64 + 2), 3)  # image, segments, two objects
    image = (scenes_of(TINY, "test", 0)([3]).images[0].permute(1, 2, 0).numpy() * 255).round()
    assert (shown[:256:4, :256:4] == image).all()
    alone = shown[:256:4, 2 * 258 : 2 * 258 + 256 : 4]
    assert (alone[22:34, 6:18] == image[22:34, 6:18]).all() and (alone[40:] == 255).all()
    still = int(lines[2].split(": ")[2].split(" of ")[0].replace(",", ""))
    assert 64 * 64 - 25 * 40 < still < 64 * 64 - 16 * 16


def test_scenes_and_models_that_will_not_do(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="there is no scene 2000; indices go from 0 to 1999"):
        demo(run, 2000, out)
    monkeypatch.setattr(Blocks, "forward", lambda self, images: torch.eye(4)[3].view(1, 4, 1, 1).expand(1, 4, 64, 64) * 99)
    with pytest.raises(InputError, match="finds no object in scene 0 of multi_dsprites"):
        demo(run, 0, out)
    (run / "vaes").rename(run / "separation")
    with pytest.raises(InputError, match="once stage 'vaes' is trained; the newest model of"):
        demo(run, 0, out)
    assert not out.exists()


def test_demo_from_the_command_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", str(run)]) == 0
    assert capsys.readouterr().out.endswith(f"Both are in {run}/demo.\n")
    assert {path.name for path in (run / "demo").iterdir()} == {"scene-0.png", "scene-0-moving.gif"}
    assert cli.main(["demo", str(run)]) == 2
    assert "exists; give --overwrite" in capsys.readouterr().err
    assert cli.main(["demo", str(run), "--overwrite"]) == 0
