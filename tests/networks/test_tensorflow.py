"""The conventions of TensorFlow 1, pinned."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.networks.tensorflow import (
    Adam,
    BatchNorm,
    FrozenNormConv,
    SameConv,
    bilinear,
    gathered,
    glorot,
    nearest,
    resized,
    tap_matrix,
    taps,
)
from tests.recorded import assert_close, images_first


def with_ones(layer: torch.nn.Conv2d) -> torch.nn.Conv2d:
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    return layer


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


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
    columns = with_ones(SameConv(1, 1, 3, dilation=2))(inside)[0, 0, 2] / 3  # -2, 0, 2; -1, 1, 3; ...
    assert columns.tolist() == [2, 2, 3, 3, 2, 2]
    assert with_ones(SameConv(1, 1, 7, 2))(torch.ones(1, 1, 5, 9)).shape == (1, 1, 3, 5)


def test_resizing_by_hand():
    assert (bilinear(2, 3) @ np.float32([0, 3])).tolist() == pytest.approx([0, 2, 3])  # at 0, 2/3 and 4/3, where it is flat
    assert (bilinear(3, 6) @ np.float32([0, 4, 6])).tolist() == [0, 2, 4, 5, 6, 6]
    assert (bilinear(3, 2) @ np.float32([0, 4, 6])).tolist() == [0, 5]  # at 0 and 3/2
    assert (nearest(3, 2) @ np.float32([0, 4, 6])).tolist() == [0, 4]
    assert (nearest(2, 4) @ np.float32([1, 2])).tolist() == [1, 1, 2, 2]


def test_resizing_is_the_originals(reference):
    recorded = reference("resize_hue")
    x, compared = images_first(recorded["x"]), 0
    for key, expected in recorded.items():
        kind, _, size = key.rpartition("_")
        if kind in {"bilinear", "nearest", "nearest_align"} and size[0].isdigit():
            height, width = map(int, size.split("x"))
            rule = bilinear if kind == "bilinear" else nearest
            assert torch.allclose(resized(x, height, width, rule), images_first(expected), atol=1e-6)
            compared += 1
    assert compared == 7
    for size in (16, 32):
        assert nearest(size, 2 * size).argmax(1).tolist() == recorded[f"nearest_align_index_{size}to{2 * size}"].tolist()


@pytest.mark.parametrize("rule", [bilinear, nearest])
@pytest.mark.parametrize("kernel", [3, 4, 5])
@pytest.mark.parametrize("size", [(6, 10), (5, 8), (3, 5), (2, 1)])
def test_products_first_is_resizing_first(rule, kernel, size):
    x, layer = draw(2, 3, 3, 5), SameConv(3, 4, kernel)
    torch.nn.init.normal_(layer.bias)
    found = gathered(taps(x, tap_matrix(layer.weight)), layer.bias, kernel, *size, rule)
    assert torch.allclose(found, layer(resized(x, *size, rule)), atol=1e-5)


def test_batch_normalisation_is_the_originals(reference):
    recorded = reference("batch_norm")
    x, norm = images_first(recorded["x"]), BatchNorm(4)
    start = {"bias": "beta", "mean": "moving_mean", "variance": "moving_variance"}
    norm.load_state_dict({ours: torch.from_numpy(recorded[f"before_{theirs}"]) for ours, theirs in start.items()})
    assert_close(F.relu(norm.eval()(x)), images_first(recorded["relu_out_eval"]))
    with torch.no_grad():  # serves another network: the averages stand still
        assert_close(F.relu(norm.train()(x)), images_first(recorded["relu_out_train"]))
    assert_close(norm.mean, torch.from_numpy(recorded["before_moving_mean"]), 0)
    assert_close(F.relu(norm(x)), images_first(recorded["relu_out_train"]))
    assert_close(norm.mean, torch.from_numpy(recorded["after_moving_mean"]), 1e-5)
    assert_close(norm.variance, torch.from_numpy(recorded["after_moving_variance"]), 1e-5)


def test_normalisation_that_never_moves_by_hand():
    layer = FrozenNormConv(1, 2, 1)
    state = {"weight": [2, 0], "bias": [1, 3], "factor": [3, 1], "shift": [5, 0], "mean": [-1, 3], "variance": [4 - 1e-3, 1]}
    layer.load_state_dict({key: torch.tensor(value, dtype=torch.float32) for key, value in state.items()} | {
        "weight": torch.tensor([2.0, 0.0])[:, None, None, None]
    })  # fmt: skip
    expected = [3 * (2 * 10 + 1 + 1) / 2 + 5, 0]
    for training in (True, False):
        assert layer.train(training)(torch.full((1, 1, 1, 1), 10.0)).flatten().tolist() == pytest.approx(expected)
    assert layer.mean.tolist() == [-1, 3]


def test_adam_is_the_originals(reference):
    """Gradients from 1e-10 to 1e2: for the small ones epsilon decides."""
    recorded = reference("adam")
    parameter = torch.nn.Parameter(torch.from_numpy(recorded["w0"]))
    optimizer = Adam([parameter], float(recorded["lr"]))
    before = parameter.detach().clone()
    for gradient, expected in zip(recorded["grads"], torch.from_numpy(recorded["w"]), strict=True):
        parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
        assert torch.allclose(parameter.detach() - before, expected - before, rtol=1e-4, atol=1e-7)


def test_adam_goes_on_where_it_stopped():
    def run(stops: bool) -> list[float]:
        parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        optimizer = Adam([parameter], 0.1)
        for gradient in ([1e-8, 1.0], [1e-9, -1.0], [1e-7, 0.5]):
            if stops:
                state = optimizer.state_dict()
                optimizer = Adam([parameter], 0.1)
                optimizer.load_state_dict(state)
            parameter.grad = torch.tensor(gradient)
            optimizer.step()
        return parameter.tolist()

    assert run(True) == run(False)


def test_glorots_limits():
    network = torch.nn.Sequential(SameConv(3, 32, 4, 2), torch.nn.Linear(100, 50))
    torch.manual_seed(0)
    glorot(network)
    for layer, fans in zip(network, (16 * 35, 150), strict=True):
        limit = (6 / fans) ** 0.5
        assert 0.95 * limit < layer.weight.abs().max() <= limit
        assert not layer.bias.any()
