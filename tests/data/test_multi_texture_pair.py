from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from intarsia.data import Scenes, open_dataset

Reference = Callable[[str], Mapping[str, np.ndarray]]
RECORDED = [0, 40, 400, 3333, 6559]  # which of the original's combinations
AWAY = 32  # px from the border to the middle of the pictures, where the shapes are


@pytest.fixture(scope="module")
def test() -> Scenes:
    return open_dataset("multi_texture_pair", split="test")


def places(scenes: Scenes, indices: np.ndarray | range) -> np.ndarray:
    """Row and column of each object relative to the middle: `b 4`, in px, like `dr` and `dc`."""
    factors = scenes.factors(indices)
    found = np.stack([factors["row"][:, 0], factors["column"][:, 0], factors["row"][:, 1], factors["column"][:, 1]], 1)
    return AWAY - found


def test_test_scenes_are_the_recorded_combinations(reference: Reference, test: Scenes) -> None:
    recorded = reference("multi_texture_data_pc")
    offsets = np.stack([recorded["dr"], recorded["dc"]], 2).reshape(len(RECORDED), 4)
    middle = 0.5  # the shapes have their middle in that of a pixel
    np.testing.assert_allclose(places(test, np.array(RECORDED)) + middle, offsets, rtol=0, atol=1e-9)


def test_test_scenes_are_all_combinations_but_the_last(test: Scenes) -> None:
    assert test.size == 6560
    found = places(test, range(6560)).round(3)
    assert len(np.unique(found, axis=0)) == 6560
    assert [len(np.unique(column)) for column in found.T] == [9] * 4
    steps = np.diff(found[:10], axis=0)
    assert (steps[:8] == [6, 0, 0, 0]).all()  # the first offset changes fastest
    assert steps[8].tolist() == [-48, 6, 0, 0]


def test_the_coarse_grid_is_part_of_the_full_one(test: Scenes) -> None:
    coarse = test.tracks["coarse"]
    assert len(coarse) == len(np.unique(coarse)) == 255
    offsets = places(test, coarse) - places(test, np.array([40 * 82]))  # all four in the middle
    assert set(np.unique(offsets.round(3))) == {-18, -6, 6, 18}
    assert np.array_equal(test.tracks["all"], np.arange(6560))
    assert open_dataset("multi_texture_pair", split="val").tracks == {}


def test_objects_keep_their_identity(test: Scenes) -> None:
    for scenes in (test, open_dataset("multi_texture_pair")):
        factors = scenes.factors(range(300))
        assert (factors["square"] == [0, 1]).all()
        angles = np.arctan2(factors["hue_sin"], factors["hue_cos"])
        np.testing.assert_allclose(angles, np.tile([0, 0.4 * np.pi], (300, 1)), atol=1e-12)


def test_the_ellipse_is_in_front() -> None:
    scenes = open_dataset("multi_texture_pair", split="test")
    same = [place + 9 * place + 81 * place + 729 * place for place in range(8)]
    masks = scenes(same).masks
    whole = masks[4, 1].sum()  # in the middle
    torch.testing.assert_close(masks[1:, 1].sum((1, 2)), whole.expand(7), rtol=0, atol=0.1)
    assert (masks[:, 2].sum((1, 2)) < 0.5 * whole).all()


def test_training_draws_all_places_alike() -> None:
    found = places(open_dataset("multi_texture_pair"), range(9000))
    for column in found.T:
        _, counts = np.unique(column.round(3), return_counts=True)
        assert len(counts) == 9 and counts.min() > 1000 - 5 * np.sqrt(1000)
