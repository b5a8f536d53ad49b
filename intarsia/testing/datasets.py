"""What holds for every dataset."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from intarsia.data import SPLITS, Scenes, SceneSample
from intarsia.errors import InputError

Open = Callable[..., Scenes]


class DatasetContract:
    """Tests of a dataset. Fixture `opened`: a function that opens a split of it, as in `opened(seed=0, split="train")`."""

    def test_shapes_types_and_ranges(self, opened: Open) -> None:
        scenes = opened()
        images, masks = scenes(range(100))
        size = scenes.height, scenes.width
        assert images.shape == (100, 3, *size) and masks.shape == (100, scenes.segments, *size)
        assert images.dtype == masks.dtype == torch.float32
        assert images.min() >= 0 and images.max() <= 1
        assert masks.min() >= 0 and masks.max() <= 1
        torch.testing.assert_close(masks.sum(1), torch.ones(100, *size), rtol=0, atol=1e-6)
        assert 1 <= scenes.backgrounds <= scenes.segments
        assert all(indices.min() >= 0 and indices.max() < (scenes.size or np.inf) for indices in scenes.tracks.values())
        assert scenes.name and scenes.source and isinstance(scenes.unlabelled, str)

    def test_a_scene_does_not_depend_on_its_batch(self, opened: Open) -> None:
        scenes = opened()
        images, masks = scenes(range(70))
        order = [69, 3, 3, 41]
        assert _same(scenes(order), SceneSample(images[order], masks[order]))
        for index in (0, 17, 69):
            assert _same(scenes([index]), SceneSample(images[[index]], masks[[index]]))

    def test_indices_may_be_a_list_an_array_or_a_tensor_and_none_at_all(self, opened: Open) -> None:
        scenes = opened()
        expected = scenes([5, 2])
        assert _same(scenes(np.array([5, 2], np.uint8)), expected)
        assert _same(scenes(torch.tensor([5, 2])), expected)
        assert scenes(torch.arange(0)).masks.shape == (0, scenes.segments, scenes.height, scenes.width)

    def test_the_first_scenes_come_first(self, opened: Open) -> None:
        assert _same(opened().first(3), opened()(range(3)))
        few = opened(split="val")
        assert few.size is not None and len(few.first(few.size + 7).images) == few.size

    def test_splits_share_no_scene(self, opened: Open) -> None:
        images = [opened(split=split)(range(24)).images for split in SPLITS]
        assert len(torch.cat(images).flatten(1).unique(dim=0)) == 72

    def test_the_seed_decides_what_is_trained_on(self, opened: Open) -> None:
        assert not torch.equal(opened(seed=0)(range(10)).images, opened(seed=1)(range(10)).images)

    @pytest.mark.parametrize("split", SPLITS)
    def test_only_training_has_no_end(self, opened: Open, split: str) -> None:
        scenes = opened(split=split)
        assert (scenes.size is None) == (split == "train")
        scenes([10**15 if scenes.size is None else scenes.size - 1])
        if scenes.size is not None:
            with pytest.raises(InputError, match=f"{scenes.size}"):
                scenes([scenes.size])

    @pytest.mark.parametrize("indices", [[-1], [0.0], [True], 3, [[1, 2]]])
    def test_what_is_no_index_is_refused(self, opened: Open, indices: Any) -> None:
        with pytest.raises(InputError, match=r"-1|float64|bool|shape \(\)|shape \(1, 2\)"):
            opened(split="val")(indices)

    def test_factors_are_those_of_the_objects_or_an_error(self, opened: Open) -> None:
        scenes = opened()
        try:
            factors = scenes.factors([0, 3])
        except InputError:
            return  # they are not known
        for values in factors.values():
            assert values.shape == (2, scenes.segments - scenes.backgrounds) and values.dtype == np.float64
        assert {"row", "column", "hue_sin", "hue_cos"} <= factors.keys()

    def test_scenes_travel_to_other_processes(self, opened: Open) -> None:
        scenes = opened()
        copy: Scenes = pickle.loads(pickle.dumps(scenes))
        assert _same(copy([8]), scenes([8]))


def _same(one: SceneSample, other: SceneSample) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
