import dataclasses
import hashlib

import pytest
import torch
from safetensors.torch import load_file, save_file

from intarsia.errors import InputError
from intarsia.masks import edge_map
from intarsia.model import RECIPE, WEIGHTS, Model, latest, load, weights_sha256
from intarsia.recipes import Inpainter, Recipe, Segmenter

TINY = Recipe(
    "multi_dsprites",
    edge_threshold=1e-4,
    segments=3,
    inpainter=Inpainter(channels=4),
    segmenter=Segmenter(channels=8, dimension=4),
)


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(first: Model, second: Model) -> None:
    one, other = first.state_dict(), second.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def folder(tmp_path):
    Model(TINY).save(tmp_path / "model")
    return tmp_path / "model"


def test_same_seed_same_weights_and_no_trace_in_the_global_state():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = Model(TINY)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert_same(first, Model(TINY))
    other = Model(dataclasses.replace(TINY, seed=1))
    drawn = [name for name, value in first.named_parameters() if value.dim() == 4]
    assert not any(torch.equal(first.get_parameter(name), other.get_parameter(name)) for name in drawn)


def test_saved_and_loaded_bitwise(tmp_path):
    model = Model(TINY)
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(torch.rand_like(value) + 0.5)
    model.save(tmp_path / "a" / "model")
    loaded = Model.load(tmp_path / "a" / "model")
    assert_same(loaded, model)
    assert loaded.recipe == TINY
    assert all(value.requires_grad for value in loaded.parameters())
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(loaded.segment(images), model.segment(images))
    assert sorted(path.name for path in (tmp_path / "a" / "model").iterdir()) == [RECIPE, WEIGHTS]
    assert weights_sha256(tmp_path / "a" / "model") == hashlib.sha256((tmp_path / "a/model" / WEIGHTS).read_bytes()).hexdigest()


def test_segment_gives_masks_and_chunks_do_not_matter():
    model, images = Model(TINY), torch.rand(5, 3, 64, 64)
    masks = model.segment(images)
    assert masks.shape == (5, 3, 64, 64) and not masks.requires_grad
    assert torch.allclose(masks.sum(1), torch.ones(5, 64, 64), atol=1e-6)
    assert torch.allclose(model.segment(images, chunk=2), masks, atol=1e-6)


def test_edges_are_the_recipes():
    images = torch.rand(2, 3, 64, 64)
    for threshold in (1e-4, 0.5):
        model = Model(dataclasses.replace(TINY, edge_threshold=threshold))
        assert torch.equal(model.edges(images), edge_map(images, threshold))


@pytest.mark.parametrize("keep", [0, 5, 1000, -1])
def test_corrupt_weights(folder, keep):
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:keep])
    with pytest.raises(InputError, match=f"{WEIGHTS} is corrupt") as caught:
        Model.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_the_recipe(folder, change):
    tensors = load_file(folder / WEIGHTS)
    name = sorted(tensors)[0]
    if change == "missing":
        del tensors[name]
    elif change == "extra":
        name = "another"
        tensors[name] = torch.zeros(1)
    else:
        tensors[name] = torch.zeros(1, 2, 3)
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(InputError, match=f"does not fit its recipe: {name} is .*1 of ") as caught:
        Model.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [RECIPE, WEIGHTS])
def test_folder_without_a_model(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"holds no {name}"):
        Model.load(folder)


def test_recipe_that_is_none(folder):
    (folder / RECIPE).write_text("{}")
    with pytest.raises(InputError, match="is not a recipe"):
        Model.load(folder)


def test_latest_is_the_last_stage_with_a_model(tmp_path):
    with pytest.raises(InputError, match="neither a run nor a model"):
        latest(tmp_path)
    Model(TINY).save(tmp_path / "inpainting")
    assert latest(tmp_path) == tmp_path / "inpainting"
    later = Model(dataclasses.replace(TINY, seed=1))
    later.save(tmp_path / "separation")
    assert latest(tmp_path) == tmp_path / "separation"
    assert latest(tmp_path / "inpainting") == tmp_path / "inpainting"
    assert_same(load(str(tmp_path)), later)


def test_full_disk_keeps_the_old_model(folder):
    resource = pytest.importorskip("resource")
    model = Model(TINY)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # to the writer like a full disk
    try:
        with pytest.raises(InputError, match=f"Can't write .*{WEIGHTS}") as caught:
            model.save(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert_same(Model.load(folder), Model(TINY))
    assert sorted(path.name for path in folder.iterdir()) == [RECIPE, WEIGHTS]
