"""Whether a model tells images that it has not learned. docs/novelty.json has the rates over all test scenes."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from intarsia.data import DATASETS, KINDS, OF_PHOTOGRAPHS, open_dataset, scenes_of
from intarsia.errors import InputError
from intarsia.model import Model, load
from intarsia.novelty import Familiar, errors, familiar, learn, model_for_photographs, notice
from intarsia.recipes import RECIPES
from intarsia.weights import NOVELTY, SHIPPED, shipped

ROOT = Path(__file__).parent.parent
COUNT = 25  # images of each kind


@pytest.fixture(scope="module")
def model() -> Model:
    return load("multi_dsprites", device="cpu")


def novel(model: Model, images: Tensor) -> float:
    """The fraction of images that are novel."""
    known = familiar(model)
    assert known is not None
    return float((known.novelty(errors(model, images)) > known.limit).float().mean())


def photographs() -> Tensor:
    from sklearn.datasets import load_sample_images

    crops = []
    for number in range(COUNT):
        photo = Image.fromarray(load_sample_images().images[number % 2])
        left, top, side = 9 * number, 4 * number, 120 + 10 * number
        crop = photo.resize((64, 64), Image.Resampling.BICUBIC, (left, top, left + side, min(top + side, photo.height)))
        crops.append(torch.from_numpy(np.array(crop, np.float32) / 255).permute(2, 0, 1))
    return torch.stack(crops)


def test_own_scenes_are_known_and_others_novel(model: Model) -> None:
    own = open_dataset("multi_dsprites", 0, "test").first(2 * COUNT).images
    assert novel(model, own) <= 0.1
    assert novel(model, photographs()) > 0.9
    assert novel(model, open_dataset("multi_texture", 0, "test").first(COUNT).images) > 0.9


def test_sentence_says_what_is_known_and_what_was_measured(model: Model) -> None:
    known, image = familiar(model), photographs()[0]
    assert known is not None
    said = notice(model, image, "a.jpg")
    assert said.startswith("This model knows only generated sprites on plain backgrounds; a.jpg is unlike those")
    assert f"99% of the model's validation scenes have up to {known.limit:.1f}" in said
    assert notice(model, open_dataset("multi_dsprites", 0, "test").first(1).images[0], "a.png") == ""


def test_a_model_of_photographs_is_named_if_it_ships(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    advice, image = " For photographs, try composed_photographs.", photographs()[0]
    monkeypatch.setattr("intarsia.novelty.shipped", dict)
    assert not notice(model, image, "a").endswith(advice)
    monkeypatch.setattr("intarsia.novelty.shipped", lambda: {"composed_photographs": Path()})
    assert notice(model, image, "a").endswith(f").{advice}")
    for dataset, found in {"flying_animals": "", "composed_photographs": "", "multi_texture": "composed_photographs"}.items():
        monkeypatch.setattr(model, "recipe", RECIPES[dataset]["compact"])
        assert model_for_photographs(model) == found


def test_record_of_other_weights_says_nothing(model: Model, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SHIPPED / "multi_dsprites", tmp_path / "model"))
    copy = Model.load(folder)
    assert familiar(copy) == familiar(model)
    record = json.loads((folder / NOVELTY).read_text())
    (folder / NOVELTY).write_text(json.dumps(record | {"weights_sha256": "0" * 64}))
    assert familiar(copy) is None and notice(copy, photographs()[0], "a") == ""
    for damage in ({"mean": [1.0]}, {"precision": [[1.0] * 3] * 2}, {"limit": float("nan")}):
        (folder / NOVELTY).write_text(json.dumps(record | damage))
        with pytest.raises(InputError, match="holds no measures of 3 errors"):
            familiar(copy)
    (folder / NOVELTY).write_text("{")
    with pytest.raises(InputError, match=r"novelty\.json can't be read"):
        familiar(copy)
    (folder / NOVELTY).unlink()
    assert familiar(copy) is None


def test_novelty_is_the_mahalanobis_distance() -> None:
    known = Familiar("", 1, mean=[1.0, 2.0], precision=[[4.0, 1.0], [1.0, 2.0]], quantile=0.99, limit=1.0)
    assert known.novelty(torch.tensor([[2.0, 5.0], [1.0, 2.0]])).tolist() == pytest.approx([28**0.5, 0.0])


@pytest.mark.parametrize("name", ["multi_texture/pixels", "multi_texture/compact"])
def test_every_kind_of_model_is_measured(name: str, tmp_path: Path) -> None:
    dataset, recipe = name.split("/")
    model = Model(RECIPES[dataset][recipe])
    val = dataclasses.replace(scenes_of(model.recipe, "val"), size=10)
    known = learn(model, val)
    assert known.scenes == 10 and len(known.mean) == (3 if model.has_codes else 2)
    values = known.novelty(errors(model, val.first(10).images))
    assert (values > known.limit).sum() == 1  # of ten, the 99th percentile is below the largest
    known.save(tmp_path)
    assert Familiar(**json.loads((tmp_path / NOVELTY).read_text())) == known


def test_every_dataset_has_words() -> None:
    assert KINDS.keys() == DATASETS.keys()


def test_shipped_models_were_measured() -> None:
    stated = json.loads((ROOT / "docs" / "novelty.json").read_text())
    assert stated.keys() == shipped().keys()
    for name, folder in shipped().items():
        model = Model.load(folder)
        assert familiar(model) is not None and stated[name]["false_alarms"] < 0.05
        assert stated[name]["photographs"] > 0.9 or model.recipe.dataset in OF_PHOTOGRAPHS
