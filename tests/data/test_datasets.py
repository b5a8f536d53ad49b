"""The contract that every dataset keeps."""

import pickle

import numpy as np
import pytest
import torch

from intarsia.data import DATASETS, SPLITS, Scenes, SceneSample, open_dataset
from intarsia.errors import InputError

every_dataset = pytest.mark.parametrize("name", DATASETS)


def same(one: SceneSample, other: SceneSample) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@every_dataset
def test_shapes_types_and_ranges(name: str) -> None:
    scenes = open_dataset(name)
    images, masks = scenes(range(100))
    size = scenes.height, scenes.width
    assert images.shape == (100, 3, *size) and masks.shape == (100, scenes.segments, *size)
    assert images.dtype == masks.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    assert masks.min() >= 0 and masks.max() <= 1
    torch.testing.assert_close(masks.sum(1), torch.ones(100, *size), rtol=0, atol=1e-6)


@every_dataset
def test_the_background_comes_first(name: str) -> None:
    _, masks = open_dataset(name)(range(100))
    share = masks.mean((2, 3))
    assert (share[:, 0] > 0.5).all()
    assert (share[:, 1:] < 0.2).all()


@every_dataset
def test_a_scene_does_not_depend_on_its_batch(name: str) -> None:
    scenes = open_dataset(name)
    images, masks = scenes(range(70))
    order = [69, 3, 3, 41]
    assert same(scenes(order), SceneSample(images[order], masks[order]))
    for index in (0, 17, 69):
        assert same(scenes([index]), SceneSample(images[[index]], masks[[index]]))


@every_dataset
def test_indices_may_be_a_list_an_array_or_a_tensor_and_none_at_all(name: str) -> None:
    scenes = open_dataset(name)
    expected = scenes([5, 2])
    assert same(scenes(np.array([5, 2], np.uint8)), expected)
    assert same(scenes(torch.tensor([5, 2])), expected)
    assert scenes(torch.arange(0)).masks.shape == (0, scenes.segments, scenes.height, scenes.width)


@every_dataset
def test_scenes_splits_and_seeds_all_differ(name: str) -> None:
    images = [open_dataset(name, seed, split)(range(50)).images for seed in (0, 1) for split in SPLITS]
    distinct = torch.cat(images).flatten(1).unique(dim=0)
    assert len(distinct) == 50 * len(images)


@every_dataset
@pytest.mark.parametrize(("split", "size"), [("train", None), ("val", 200), ("test", 2000)])
def test_sizes(name: str, split: str, size: int | None) -> None:
    scenes = open_dataset(name, split=split)
    assert (scenes.name, scenes.size) == (name, size)
    scenes([10**15 if size is None else size - 1])


@every_dataset
@pytest.mark.parametrize("indices", [[0, 200], [-1], [0.0], [True], 3, [[1, 2]]])
def test_what_is_no_index_is_refused(name: str, indices: list[int]) -> None:
    with pytest.raises(InputError, match=r"200|-1|float64|bool|shape \(\)|shape \(1, 2\)"):
        open_dataset(name, split="val")(indices)


@every_dataset
def test_scenes_travel_to_other_processes(name: str) -> None:
    scenes = open_dataset(name)
    copy: Scenes = pickle.loads(pickle.dumps(scenes))
    assert same(copy([8]), scenes([8]))


def test_errors_say_what_was_given_and_what_is_allowed() -> None:
    with pytest.raises(InputError, match=r"'clevr'.*multi_dsprites, multi_texture"):
        open_dataset("clevr")
    with pytest.raises(InputError, match=r"'dev'.*train, val, test"):
        open_dataset("multi_texture", split="dev")
    with pytest.raises(InputError, match=r"-1.*0 to"):
        open_dataset("multi_texture", seed=-1)
    with pytest.raises(InputError, match=r"no data_root.*sprites"):
        open_dataset("multi_dsprites", data_root="sprites")


def isolated(masks: torch.Tensor) -> np.ndarray:
    """Objects `b n` that are seen whole: no other's mask comes within two pixels, nor does the border."""
    objects = (masks[:, 1:] > 0.04).float()
    near = torch.nn.functional.max_pool2d(objects, 5, stride=1, padding=2)
    alone = torch.einsum("bnhw,bmhw->bnm", objects, near).count_nonzero(2) == 1
    inside = objects[:, :, 2:-2, 2:-2].sum((2, 3)) == objects.sum((2, 3))
    return (alone & inside).numpy()


@every_dataset
def test_objects_are_where_their_factors_say(name: str) -> None:
    scenes = open_dataset(name)
    factors, masks = scenes.factors(range(200)), scenes(range(200)).masks
    objects = masks[:, 1:].double().numpy()
    whole = isolated(masks)
    assert whole.sum() > 100
    places = np.arange(64) + 0.5
    for factor, axis in ("row", 3), ("column", 2):
        mass = objects.sum(axis)[whole]
        np.testing.assert_allclose(factors[factor][whole], mass @ places / mass.sum(1), rtol=0, atol=1)
        assert np.ptp(factors[factor][whole]) > 30


@every_dataset
def test_factors_are_those_of_the_objects_that_are_there(name: str) -> None:
    scenes = open_dataset(name)
    factors, masks = scenes.factors(range(200)), scenes(range(200)).masks
    assert {"row", "column", "hue_sin", "hue_cos"} <= factors.keys()
    absent = np.isnan(factors["row"])
    assert absent.shape == (200, scenes.segments - 1) and absent.any()
    assert (masks[:, 1:].amax((2, 3)).numpy()[absent] == 0).all()
    for values in factors.values():
        assert values.dtype == np.float64 and np.array_equal(np.isnan(values), absent)
    np.testing.assert_allclose(np.hypot(factors["hue_sin"], factors["hue_cos"])[~absent], 1)
    alone = scenes.factors([17])
    assert all(np.array_equal(alone[key][0], factors[key][17], equal_nan=True) for key in factors)
    with pytest.raises(InputError, match="-1"):
        scenes.factors([-1])


def test_unknown_factors_are_an_error() -> None:
    with pytest.raises(InputError, match="folder: what determines"):
        Scenes("folder", None, 64, 64, 5, lambda indices: None).factors([0])
