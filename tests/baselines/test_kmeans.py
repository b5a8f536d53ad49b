import warnings

import pytest
import torch
from torch import Generator

from intarsia.baselines.kmeans import segment
from intarsia.errors import InputError
from intarsia.metrics import adjusted_rand_index, hard
from intarsia.shapes import one_hot

COLOURS = torch.tensor([[0.2, 0.2, 0.2], [0.9, 0.1, 0.1], [0.1, 0.3, 0.8]])


def three_coloured() -> tuple[torch.Tensor, torch.Tensor]:
    """Two images with two objects each, and their labels."""
    labels = torch.zeros(2, 12, 16, dtype=torch.long)
    labels[0, 2:6, 3:9], labels[0, 7:11, 10:15] = 1, 2
    labels[1, 5:, :4], labels[1, 1:3, 6:8] = 1, 2
    return COLOURS[labels].permute(0, 3, 1, 2), labels


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=Generator().manual_seed(0))


@pytest.mark.parametrize("noisiness", [0, 0.1])
def test_three_colours_are_three_segments(noisiness: float) -> None:
    images, labels = three_coloured()
    masks = segment((images + noisiness * (noise(*images.shape) - 0.5)).clamp(0, 1), 3)
    assert masks.shape == (2, 3, 12, 16)
    assert torch.equal(masks, one_hot(hard(masks), 3))
    assert adjusted_rand_index(labels, hard(masks)).tolist() == [1, 1]


def test_fewer_colours_than_clusters_leave_masks_empty() -> None:
    images, labels = three_coloured()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masks = segment(images, 5)
    assert masks.shape == (2, 5, 12, 16)
    assert adjusted_rand_index(labels, hard(masks)).tolist() == [1, 1]


def test_position_separates_what_colour_cannot() -> None:
    images = torch.full((1, 3, 2, 12), 0.5)
    assert len(hard(segment(images, 2)).unique()) == 1
    found = hard(segment(images, 2, position=1))
    halves = torch.arange(12).expand(1, 2, 12) // 6
    assert adjusted_rand_index(halves, found) == 1


def test_segments_depend_on_image_and_seed_alone() -> None:
    images = noise(3, 3, 8, 8)
    together = segment(images, 4, seed=1)
    assert torch.equal(together, segment(images, 4, seed=1))
    assert torch.equal(together[2:], segment(images[2:], 4, seed=1))
    assert not torch.equal(together, segment(images, 4, seed=2))


def test_maps_have_any_number_of_channels() -> None:
    _, labels = three_coloured()
    maps = one_hot(labels, 3)[:, [0, 1, 2, 1, 0]]
    assert adjusted_rand_index(labels, hard(segment(maps, 3))).tolist() == [1, 1]


@pytest.mark.parametrize(
    "settings", [{"clusters": 0}, {"clusters": 3, "position": -1}, {"clusters": 3, "position": float("nan")}]
)
def test_bad_numbers_are_refused(settings: dict) -> None:
    with pytest.raises(InputError, match="clusters must be at least 1"):
        segment(noise(1, 3, 4, 4), **settings)
