import pytest
import torch
from torch import Generator, Tensor

from intarsia.baselines.normalised_cut import segment
from intarsia.errors import InputError
from intarsia.metrics import adjusted_rand_index, hard
from intarsia.shapes import one_hot


def draw(*shape: int) -> Tensor:
    return torch.rand(shape, generator=Generator().manual_seed(0))


def three_directions() -> tuple[Tensor, Tensor]:
    """Features of two images with two objects each, and their labels: nearly orthogonal vectors of any length."""
    labels = torch.zeros(2, 8, 10, dtype=torch.long)
    labels[0, 2:6, 3:6], labels[0, 1:3, 7:9] = 1, 2
    labels[1, 5:, :4], labels[1, 1:3, 6:8] = 1, 2
    maps = one_hot(labels, 3) + 0.05 * draw(2, 3, 8, 10)
    return maps * (0.1 + draw(2, 1, 8, 10)), labels


def test_three_directions_are_three_segments() -> None:
    maps, labels = three_directions()
    masks = segment(maps, 3)
    assert masks.shape == (2, 3, 8, 10)
    assert torch.equal(masks, one_hot(hard(masks), 3))
    assert adjusted_rand_index(labels, hard(masks)).tolist() == [1, 1]


def test_the_threshold_says_what_is_alike() -> None:
    """Four directions in a plane, 60, 30 and 60 degrees apart; 45 degrees is between."""
    angles = torch.deg2rad(torch.tensor([0.0, 60, 90, 150])).repeat_interleave(4).expand(1, 3, 16)
    maps = torch.stack([angles.cos(), angles.sin()], 1)
    found = hard(segment(maps, 3, threshold=0.7071))
    wanted = torch.tensor([0, 1, 1, 2]).repeat_interleave(4).expand(1, 3, 16)
    assert adjusted_rand_index(wanted, found) == 1


def test_a_cut_is_balanced() -> None:
    """Two groups with some edges between them, and a cell with few edges: the smallest cut would isolate this cell."""
    maps = torch.zeros(1, 5, 1, 13)
    maps[0, 0, 0, :6], maps[0, 1, 0, 6:12] = 1, 1
    maps[0, 2, 0, [0, 1, 2, 6, 7, 8]] = 1  # cosine 0.5 between the halves of the groups
    maps[0, 3, 0, 0], maps[0, 3, 0, 12] = 0.8, 1  # like the first cell alone
    found = hard(segment(maps, 2, threshold=0.4))[0, 0]
    assert len(found[:6].unique()) == len(found[6:12].unique()) == 1
    assert found[0] != found[6]


def test_segments_depend_on_the_image_alone() -> None:
    maps = draw(3, 6, 5, 5) - 0.5
    assert torch.equal(segment(maps, 3)[2:], segment(maps[2:], 3))


@pytest.mark.parametrize("settings", [{"segments": 1}, {"segments": 17}, {"segments": 2, "threshold": 1.5}])
def test_bad_numbers_are_refused(settings: dict) -> None:
    with pytest.raises(InputError, match="segments must be from 2"):
        segment(draw(1, 3, 4, 4), **settings)
