import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.stages.diagnosis import diagnose


def one_hot(labels: Tensor) -> Tensor:
    return F.one_hot(labels, 3).permute(0, 3, 1, 2).float()


def boxes(images: int = 8) -> Tensor:
    """Labels: on background 0, a 6x6 box of channel 1 and one of channel 2, elsewhere in each image."""
    labels = torch.zeros(images, 16, 16, dtype=torch.long)
    for i in range(images):
        labels[i, i : i + 6, i : i + 6] = 1
        labels[i, 10 - i : 16 - i, i : i + 6] = 2
    return labels


def test_good_masks_give_no_warning() -> None:
    found = diagnose(one_hot(boxes()))
    assert found.warning is None
    assert found.confidence == 1
    assert abs(sum(found.fractions) - 1) < 1e-3


def test_figures_by_hand() -> None:
    labels = torch.zeros(2, 4, 4, dtype=torch.long)
    labels[0, :, 2:] = 1  # halves in one image, all of the other: 8 of 32 pixels
    found = diagnose(one_hot(labels))
    assert found.fractions == [0.75, 0.25, 0.0]
    assert found.variation == 0.25  # half of the pixels have one of two images against them
    # Of the inner 2x2 pixels, one column has a neighbour of the other channel; channel 0 has the whole other image.
    assert found.solidity == [round(4 / 6, 4), 0.0, 0.0]


def test_one_channel_takes_all() -> None:
    warning = diagnose(one_hot(torch.zeros(4, 8, 8, dtype=torch.long))).warning
    assert warning is not None
    assert "takes all" in warning
    assert "epsilon" in warning


def test_cut_by_position() -> None:
    labels = torch.zeros(4, 8, 8, dtype=torch.long)
    labels[:, 4:] = 1
    warning = diagnose(one_hot(labels)).warning
    assert warning is not None
    assert "cut by position" in warning


def test_thin_rims() -> None:
    labels = boxes()
    inner = F.max_pool2d(-(labels == 1).float()[:, None], 3, 1, 1)[:, 0] == -1
    labels = torch.where(inner & (labels == 1), 0, labels)  # channel 1 keeps its outline alone
    warning = diagnose(one_hot(labels)).warning
    assert warning is not None
    assert "Channels [1] hold thin rims" in warning


def test_soft_masks_are_too_early_to_judge() -> None:
    found = diagnose(torch.full((4, 3, 8, 8), 1 / 3))
    assert found.confidence == 0.3333
    assert found.warning is None
