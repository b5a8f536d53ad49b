import dataclasses
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from intarsia import commands as cli
from intarsia.data import open_dataset
from intarsia.errors import InputError
from intarsia.interop.onnx import OPSET, RENDERER, SEGMENTER, export_onnx
from intarsia.model import Model, load
from intarsia.recipes import RECIPES
from intarsia.recipes.settings import Content, Inpainter, Recipe, Segmenter

SMALL = {"inpainter": Inpainter(channels=2), "segmenter": Segmenter(channels=8, dimension=4)}


def run(path: Path, **given: Tensor) -> Tensor:
    """What onnxruntime computes."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {name: value.numpy() for name, value in given.items()})[0])


def opset(path: Path) -> int:
    import onnx

    onnx.checker.check_model(onnx.load(path))
    return {each.domain: each.version for each in onnx.load(path).opset_import}[""]


def export(model: str | Path, out: Path) -> str:
    """What the command line prints. In a process of its own: PyTorch traces slowly where types are checked at run time."""
    command = [sys.executable, "-m", "intarsia", "export", str(model), str(out), "--onnx"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return ended.stdout


@pytest.mark.slow
def test_a_shipped_model_computes_the_same_in_another_runtime(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export("multi_texture_pixels", out).startswith(f"Wrote to {out}: {RENDERER} (")
    assert opset(out / SEGMENTER) == opset(out / RENDERER) == OPSET == 18
    model = load("multi_texture_pixels", "cpu")
    for count in (1, 3):
        images = open_dataset("multi_texture", 0, "test")(range(count)).images
        torch.testing.assert_close(run(out / SEGMENTER, images=images), model.segment(images), rtol=0, atol=5e-3)
        scene = model.encode(images)
        codes = {"shape": scene.shape, "texture": scene.texture, "background": scene.background}
        torch.testing.assert_close(run(out / RENDERER, **codes), model.render(scene), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_backbone_goes_with_its_segmenter_and_votes_do_not(tmp_path: Path) -> None:
    segmenter = Segmenter(channels=8, dimension=4, backbone=True, span=8.0, smoothing=3.0, votes=2)
    photos = RECIPES["folder"]["photos"]
    model = Model(dataclasses.replace(photos, height=64, width=96, segments=3, segmenter=segmenter))
    with torch.no_grad():
        model.segmenter.embed[-1].bias.zero_()  # else all is background
    model.save(tmp_path / "model")
    printed = export(tmp_path / "model", tmp_path / "out")
    left_out = "the objects' weight, votes, moved borders and separated pieces"
    assert printed.startswith(f"The masks are those of the network: {left_out} are left out.\nWrote to")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [SEGMENTER]
    images = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.segmenter.eval()(images, *model.maps(images)).softmax(1)
    assert expected.amax((2, 3)).min() > 0.1  # every segment has a part
    torch.testing.assert_close(run(tmp_path / "out" / SEGMENTER, images=images), expected, rtol=0, atol=1e-4)


class Counting(nn.Module):
    """Builds the number of images into its graph."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), 5, 64, 64) + images[:, :1]


class Choosing(nn.Module):
    """Computes something else for dark images."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :1].expand(-1, 5, -1, -1) if images.mean() > 0.5 else torch.zeros(images.shape[0], 5, 64, 64)


@pytest.mark.parametrize("network", [Counting(), Choosing()], ids=lambda network: type(network).__name__)
def test_a_network_that_can_not_be_exported_is_refused_and_nothing_written(network: nn.Module, tmp_path: Path) -> None:
    model = Model(Recipe("multi_dsprites", content=Content(), **SMALL))
    model.segmenter = network
    with pytest.raises(InputError, match="The masks can't be exported"):
        export_onnx(model, tmp_path / "out", codes=False)
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"ONNX needs onnx and onnxscript, not installed here: pip install 'intarsia\[onnx\]'"):
        export_onnx(Model(Recipe("multi_dsprites", **SMALL)), tmp_path, codes=False)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("mine")
    assert cli.main(["export", "multi_dsprites", str(tmp_path), "--onnx"]) == 2
    assert "exists; give a new or empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
