"""The conventions of TensorFlow 1, pinned."""

import torch

from intarsia.networks.layers import ReflectConv, SameConv, doubled, initialise


def with_ones(layer: torch.nn.Conv2d) -> torch.nn.Conv2d:
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    return layer


@torch.no_grad()
def test_same_padding_by_hand():
    """Sums over windows of ones count the pixels of each window that lie inside."""
    inside = torch.ones(1, 1, 6, 6)
    columns = with_ones(SameConv(1, 1, 4))(inside)[0, 0, 2] / 4  # (1, 2): windows -1..2, 0..3, ..., 4..7
    assert columns.tolist() == [3, 4, 4, 4, 3, 2]
    columns = with_ones(SameConv(1, 1, 4, 2))(inside)[0, 0, 1] / 4  # (1, 1): windows -1..2, 1..4, 3..6
    assert columns.tolist() == [3, 4, 3]
    columns = with_ones(SameConv(1, 1, 3, 2))(inside)[0, 0, 1] / 3  # (0, 1): windows 0..2, 2..4, 4..6
    assert columns.tolist() == [3, 3, 2]
    assert with_ones(SameConv(1, 1, 7, 2))(torch.ones(1, 1, 5, 9)).shape == (1, 1, 3, 5)


@torch.no_grad()
def test_reflected_borders_by_hand():
    """A row 0 1 2 3 4 with mirrored borders: 1 | 0 1 2 3 4 | 3 2; the sums of four."""
    x = torch.arange(5.0).expand(1, 1, 5, 5)
    sums = with_ones(ReflectConv(1, 1))(x)[0, 0, 0] / 4
    assert sums.tolist() == [4, 6, 10, 12, 12]
    assert torch.equal(with_ones(ReflectConv(1, 1))(x.mT), with_ones(ReflectConv(1, 1))(x).mT)


def test_doubling_by_hand():
    row = torch.tensor([0.0, 4.0, 6.0])
    assert doubled(row.view(1, 1, 3, 1))[0, :, :, 0].tolist() == [[0, 2, 4, 5, 6, 6]] * 2
    assert doubled(row.view(1, 3, 1, 1))[0, :, 0, 0].tolist() == [0, 2, 4, 5, 6, 6]


def test_doubling_is_the_originals(reference):
    recorded = reference("resize_hue")
    assert torch.allclose(doubled(torch.from_numpy(recorded["x"])), torch.from_numpy(recorded["bilinear_10x14"]), atol=1e-6)


def test_hes_limits():
    network = torch.nn.Sequential(SameConv(3, 32, 4, 2), torch.nn.Linear(100, 50))
    torch.manual_seed(0)
    initialise(network)
    for layer, inputs in zip(network, (16 * 3, 100), strict=True):
        limit = (6 / inputs) ** 0.5
        assert 0.95 * limit < layer.weight.abs().max() <= limit
        assert not layer.bias.any()
