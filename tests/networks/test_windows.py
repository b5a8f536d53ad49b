"""The window through which shapes are seen: poses by hand, and what moving it must do."""

import math

import pytest
import torch
from torch import Tensor

from intarsia.networks.windows import WindowVAE, cut_out, poses, put_back
from intarsia.objectives import divergence, shape_error


def rectangle(top: int, bottom: int, left: int, right: int, height: int = 64, width: int = 64) -> Tensor:
    mask = torch.zeros(1, 1, height, width)
    mask[..., top:bottom, left:right] = 1
    return mask


def test_pose_of_a_rectangle() -> None:
    # 8 rows from 40, 16 columns from 48, in 64x96: the middle is 12 below and 8 right of the image's; the longer side is 96.
    # An axis of n pixels has a variance of n²/12, so the mean of both is (64 + 256) / 24.
    found = poses(rectangle(40, 48, 48, 64, 64, 96))[0]
    spread = math.sqrt((64 + 256) / 24)
    torch.testing.assert_close(found, torch.tensor([8 / 24, 12 / 24, math.log(spread / 8) / 0.5]))


def test_pose_of_nothing_and_of_faint_pixels() -> None:
    assert not poses(torch.zeros(1, 1, 32, 32)).any()
    assert not poses(torch.full((1, 1, 32, 32), 0.02)).any()
    mask = rectangle(4, 12, 4, 12)
    torch.testing.assert_close(poses(mask.clamp(min=0.004)), poses(mask), atol=0.2, rtol=0)  # 0.4 % everywhere


def test_objects_look_alike_in_their_windows() -> None:
    small, large = rectangle(20, 28, 8, 16), rectangle(24, 48, 36, 60)  # squares of 8 and 24 pixels
    seen = [cut_out(mask, poses(mask), 64)[0, 0] for mask in (small, large)]
    # A square of n pixels has a spread of n/sqrt(12), so it takes sqrt(12) of the window's 6 spreads.
    for picture in seen:
        assert float(picture.sum().sqrt()) == pytest.approx(64 * math.sqrt(12) / 6, rel=0.01)
    assert float((seen[0] - seen[1]).abs().mean()) < 0.03  # the larger one's border is sharper


def test_what_was_cut_out_comes_back() -> None:
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    logits = 6 - ((rows - 20.3) / 3).square() - ((columns - 70.8) / 6).square()
    mask = logits.sigmoid()[None, None]
    pose = poses(mask)
    back = put_back(cut_out(mask, pose, 64).clamp(1e-4, 1 - 1e-4).logit(), pose, 64, 96).sigmoid()
    assert float((back - mask).abs().max()) < 0.2
    assert float((back - mask).abs().sum() / mask.sum()) < 0.03


@pytest.fixture
def vae() -> WindowVAE:
    torch.manual_seed(0)
    return WindowVAE(64, 64, 32, 6, channels=4, hidden=8)


def decoded(vae: WindowVAE, *pose: float) -> Tensor:
    codes = torch.tensor([[*pose, 0.5, -1.0, 2.0]])
    return vae.decode(codes)[0, 0].detach()


def test_a_unit_of_the_pose_moves_by_a_quarter_of_the_image(vae: WindowVAE) -> None:
    still = decoded(vae, 0, 0, -1)
    torch.testing.assert_close(decoded(vae, 1, 0, -1), still.roll(16, 1), atol=1e-3, rtol=0)
    torch.testing.assert_close(decoded(vae, 0, -0.5, -1), still.roll(-8, 0), atol=1e-3, rtol=0)
    assert still.std() > 0.1  # there is something to move


def test_size_is_a_logarithm(vae: WindowVAE) -> None:
    twice = decoded(vae, 0, 0, -1 + math.log(2) / 0.5)
    areas = [float((logits + 8).sum()) for logits in (decoded(vae, 0, 0, -1), twice)]  # above what is said outside
    assert areas[1] / areas[0] == pytest.approx(4, rel=0.05)


def test_poses_far_away_stay_finite(vae: WindowVAE) -> None:
    for pose in ((100.0, 0, 0), (0, 0, 100.0), (0, 0, -100.0)):
        assert decoded(vae, *pose).isfinite().all()


def test_codes_begin_with_the_pose(vae: WindowVAE) -> None:
    mask = rectangle(30, 40, 10, 30)
    mean, log_variance = vae.encode(mask)
    added = vae.encoder(cut_out(mask, poses(mask), 32))
    torch.testing.assert_close(mean[:, :3] - added[0][:, :3], poses(mask))
    torch.testing.assert_close(mean[:, 3:], added[0][:, 3:])
    torch.testing.assert_close(log_variance, added[1] - torch.tensor([6.0, 6, 6, 0, 0, 0]))
    right = vae.encode(mask.roll(16, 3))
    torch.testing.assert_close(right[0] - mean, torch.tensor([[1.0, 0, 0, 0, 0, 0]]), atol=1e-4, rtol=0)


def test_gradients_reach_codes_and_weights(vae: WindowVAE) -> None:
    codes = torch.tensor([[0.2, -0.3, 0.1, 0.5, -1.0, 2.0]], requires_grad=True)
    vae.decode(codes).square().mean().backward()
    assert codes.grad is not None and bool((codes.grad != 0).all())
    assert all(weight.grad is not None for weight in vae.decoder.parameters())


def test_it_learns_shapes_wherever_they_lie() -> None:
    torch.manual_seed(1)
    vae = WindowVAE(64, 64, 32, 6, channels=8, hidden=32)
    optimizer = torch.optim.Adam(vae.parameters(), 3e-3)

    def rectangles(count: int) -> Tensor:
        corners = torch.randint(0, 44, (count, 2)).tolist()
        sizes = torch.randint(6, 20, (count, 2)).tolist()
        return torch.cat([rectangle(y, y + h, x, x + w) for (y, x), (h, w) in zip(corners, sizes, strict=True)])

    def overlap(masks: Tensor) -> float:
        shapes, true = vae(masks)[2] > 0, masks > 0.5
        return float(((shapes & true).sum((1, 2, 3)) / (shapes | true).sum((1, 2, 3))).mean())

    unseen = rectangles(50)
    assert overlap(unseen) < 0.5
    for _ in range(80):
        masks = rectangles(16)
        mean, log_variance, logits = vae(masks, torch.randn(16, 6))
        loss = shape_error(masks[:, 0][:, None], logits).mean() + divergence(mean, log_variance).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert overlap(unseen) > 0.65
