"""Predictions, and how scenes and predictions show themselves in a notebook."""

import base64
import dataclasses
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import intarsia
from intarsia import InputError, Model, Prediction, Scene
from intarsia.pictures import Gallery
from intarsia.recipes import RECIPES

RECIPE = RECIPES["multi_texture"]["pixels"]
TINY = dataclasses.replace(
    RECIPE,
    segmenter=dataclasses.replace(RECIPE.segmenter, channels=8),
    inpainter=dataclasses.replace(RECIPE.inpainter, channels=8),
    vae=dataclasses.replace(RECIPE.vae, channels=4, hidden=8),
    fusion=dataclasses.replace(RECIPE.fusion, channels=4),
)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(TINY)


def shown(html: str) -> dict[str, np.ndarray]:
    """Captions and pixels of the pictures of a gallery."""
    found = re.findall(r'base64,([^"]+)"><figcaption>([^<]+)<', html)
    return {name: np.array(Image.open(BytesIO(base64.b64decode(content)))) for content, name in found}


def halves() -> tuple[Tensor, Tensor]:
    """A red image 4x4, and masks of its left half, nothing, and its right half."""
    image = torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 4, 4)
    left = torch.zeros(4, 4)
    left[:, :2] = 1
    return image, torch.stack([left, 0 * left, 1 - left])


def scene() -> Scene:
    image, masks = halves()
    codes = {"shape": (2, 7), "texture": (2, 4), "background": (3,)}
    return Scene(image, masks, **{f"{name}{kl}": torch.zeros(size) for name, size in codes.items() for kl in ("", "_kl")})


def test_a_prediction_shows_its_image_its_segments_and_each_of_them() -> None:
    image, masks = halves()
    pictures = shown(Prediction(image, masks)._repr_html_())
    assert list(pictures) == ["image", "segments", "segment 0", "segment 1", "segment 2"]
    red, white = [255, 0, 0], [255, 255, 255]
    assert (pictures["image"] == red).all() and (pictures["segment 1"] == white).all()
    assert (pictures["segment 0"][:, :2] == red).all() and (pictures["segment 0"][:, 2:] == white).all()
    assert len(np.unique(pictures["segments"].reshape(-1, 3), axis=0)) == 2


def test_a_scene_names_its_objects_as_its_codes_are_numbered() -> None:
    assert list(shown(scene()._repr_html_() or "")) == ["image", "segments", "object 0", "object 1", "background"]


@pytest.mark.parametrize("make", [scene, lambda: Prediction(*halves())], ids=["scene", "prediction"])
def test_as_png_the_same_pictures_lie_side_by_side(make: Callable[[], Scene | Prediction]) -> None:
    one = make()
    png = np.array(Image.open(BytesIO(one._repr_png_() or b"")))
    assert (png == np.concatenate(list(shown(one._repr_html_() or "").values()), 1)).all()


def test_reprs_have_one_line() -> None:
    image, masks = halves()
    assert repr(Prediction(image, masks)) == "Prediction(4x4 pixels, 2 of 3 segments have pixels)"
    assert repr(scene()) == "Scene(2 objects in 4x4 pixels; shape, texture, background: 7 + 4 + 3 numbers)"
    assert repr(Gallery({"before": image, "after": image})) == "Gallery(before, after)"


def test_captions_are_text() -> None:
    assert "<figcaption>a &lt;b&gt;<" in Gallery({"a <b>": torch.zeros(3, 2, 2)})._repr_html_()


def test_many_scenes_at_once_have_a_repr_and_no_picture(model: Model) -> None:
    scenes = model.encode(torch.rand(2, 3, 64, 64))
    assert repr(scenes).startswith("Scene(2 images of 4 objects in 64x64 pixels; ")
    assert scenes._repr_html_() is None and scenes._repr_png_() is None


def test_predict_gives_the_masks_of_segment(model: Model) -> None:
    images = torch.rand(2, 3, 64, 64)
    for given in (images[0], images[:1]):
        found = intarsia.predict(model, given)
        assert torch.equal(found.image, images[0]) and torch.equal(found.masks, model.segment(images[0]))
        assert torch.equal(found.labels, found.masks.argmax(0)) and not found.notices
    with pytest.raises(InputError, match="2 images are given; predict takes one"):
        intarsia.predict(model, images)


@pytest.mark.parametrize("kind", [Path, str])
def test_predict_reads_a_file_and_says_how_it_was_resized(kind: type, model: Model, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(32, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = intarsia.predict(model, kind(tmp_path / "a.png"))
    assert found.image.shape == (3, 64, 64) and "resized from 48x32 to 64x64" in found.notices[0]
    with pytest.raises(InputError, match=r"b\.png"):
        intarsia.predict(model, kind(tmp_path / "b.png"))


def test_dir_lists_the_public_names_and_each_can_be_had() -> None:
    assert {name for name in dir(intarsia) if not name.startswith("_")} == set(intarsia.__all__)
    assert all(getattr(intarsia, name) is not None for name in dir(intarsia))
