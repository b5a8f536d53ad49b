"""Models in ONNX, which other runtimes read: the segmenter, and the renderer of a model with codes."""

import copy
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from intarsia.errors import InputError
from intarsia.files import make_folder, replacing
from intarsia.model import Model
from intarsia.rendering import Renderer
from intarsia.scene import Scene
from intarsia.shapes import Images, Masks

OPSET = 18
SEGMENTER, RENDERER = "segmenter.onnx", "renderer.onnx"


def export_onnx(model: Model, folder: Path, codes: bool) -> list[str]:
    """Write a model's networks as ONNX files of opset 18 for any number of images, in float32.

    `segmenter.onnx` turns `images`, `b 3 h w` in [0, 1], into `masks`, `b k h w`, which sum to 1 over k. It ends with the
    network: what a recipe does to the masks afterwards is no network, and is left out. `renderer.onnx` turns `shape`, `b n d`,
    `texture`, `b n d`, and `background`, `b d`, the codes of n objects, into `images`.

    Args:
        model: The model.
        folder: The folder for the files.
        codes: Whether to write the renderer.

    Returns:
        What the segmenter's file leaves out, a sentence each.

    Raises:
        InputError: if the extra `onnx` is not installed, or a network of another package can't be exported.
    """
    if missing := [name for name in ("onnx", "onnxscript") if not importlib.util.find_spec(name)]:
        raise InputError(f"ONNX needs {' and '.join(missing)}, not installed here: pip install 'intarsia[onnx]'.")
    model, recipe, sizes = copy.deepcopy(model).cpu().eval(), model.recipe, model.recipe.vae
    notices = []
    final = recipe.segmenter
    if final.object_weight != 1 or final.votes or final.border_radius or final.one_piece:
        left_out = "the objects' weight, votes, moved borders and separated pieces"
        notices.append(f"The masks are those of the network: {left_out} are left out.")
    if recipe.segmenter.learn_channels:
        model.segmenter.looks = None  # type: ignore[assignment]  # a buffer or nothing
        notices.append("Objects have the channels in which they are found: learned channels are left out.")
    files = {SEGMENTER: _exported(_Segmenter(model), {"images": torch.rand(2, 3, recipe.height, recipe.width)}, "masks")}
    if codes:
        given = {
            "shape": torch.zeros(2, recipe.objects, sizes.shape_dimension),
            "texture": torch.zeros(2, recipe.objects, sizes.texture_dimension),
            "background": torch.zeros(2, sizes.background_dimension),
        }
        files[RENDERER] = _exported(_Renderer(model), given, "images")
    make_folder(folder)
    for name, content in files.items():
        with replacing(folder / name) as path:
            path.write_bytes(content)
    return notices


class _Segmenter(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Images) -> Masks:
        return self.model.segmenter(images, *self.model.maps(images)).softmax(1)


class _Renderer(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, shape: Tensor, texture: Tensor, background: Tensor) -> Images:
        unused = background
        scene = Scene(unused, unused, shape, texture, background, unused, unused, unused, transform=unused, origins=())
        return Renderer(self.model).render(scene)


def _exported(network: nn.Module, given: dict[str, Tensor], output: str) -> bytes:
    """The file of a network that takes some tensors, each with the number of images as its first axis."""
    images = torch.export.Dim("images")
    try:
        with _quiet():
            graph = torch.export.export(network, tuple(given.values()), dynamic_shapes=tuple({0: images} for _ in given))
            program = torch.onnx.export(
                graph, dynamo=True, verbose=False, opset_version=OPSET, input_names=list(given), output_names=[output]
            )
    except Exception as error:  # of many kinds: all are about what the network does
        raise InputError(f"The {output} can't be exported: {' '.join(str(error).split())[:300]}") from error
    assert program is not None  # for the type checker
    return program.model_proto.SerializeToString()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks about other libraries."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
