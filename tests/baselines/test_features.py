import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from intarsia.baselines.features import Features, enlarged
from intarsia.networks.backbone import load_pretrained


def draw(*shape: int) -> Tensor:
    return torch.rand(shape, generator=Generator().manual_seed(0))


IMAGES = draw(6, 3, 32, 48)


@pytest.mark.parametrize("stride", [4, 8])
def test_every_channel_has_mean_0_and_variance_1(stride: int) -> None:
    features = Features(load_pretrained(), stride, IMAGES)
    found = features(IMAGES)
    assert found.shape == (6, features.channels, 32 // stride, 48 // stride)
    assert features.channels == 24 + 40
    assert torch.allclose(found.mean((0, 2, 3)), torch.zeros(64), atol=1e-4)
    assert torch.allclose(found.var((0, 2, 3)), torch.ones(64), atol=1e-3)
    assert not found.requires_grad


def test_finer_maps_are_averaged_and_others_stay() -> None:
    backbone = load_pretrained()
    features = Features(backbone, 8, IMAGES)
    fine, coarse = backbone(IMAGES)
    wanted = torch.cat([F.avg_pool2d(fine, 2), coarse], 1)
    plain = features(IMAGES) * features.get_buffer("deviation") + features.get_buffer("mean")
    assert torch.allclose(plain, wanted, atol=1e-4)


def test_masks_of_cells_by_hand() -> None:
    masks = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    assert enlarged(masks, 2, 4)[0, 0].tolist() == [[1, 0.75, 0.25, 0]] * 2
    assert enlarged(masks, 2, 4).sum(1).eq(1).all()
