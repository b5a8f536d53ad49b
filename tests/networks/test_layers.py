import torch

from intarsia.networks.layers import ReflectConv, initialise
from intarsia.networks.tensorflow import SameConv


@torch.no_grad()
def test_reflected_borders_by_hand():
    """A row 0 1 2 3 4 with mirrored borders: 1 | 0 1 2 3 4 | 3 2; the sums of four."""
    layer = ReflectConv(1, 1)
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    x = torch.arange(5.0).expand(1, 1, 5, 5)
    assert (layer(x)[0, 0, 0] / 4).tolist() == [4, 6, 10, 12, 12]
    assert torch.equal(layer(x.mT), layer(x).mT)


def test_hes_limits():
    network = torch.nn.Sequential(SameConv(3, 32, 4, 2), torch.nn.Linear(100, 50))
    torch.manual_seed(0)
    initialise(network)
    for layer, inputs in zip(network, (16 * 3, 100), strict=True):
        limit = (6 / inputs) ** 0.5
        assert 0.95 * limit < layer.weight.abs().max() <= limit
        assert not layer.bias.any()
