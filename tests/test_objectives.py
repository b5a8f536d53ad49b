import math

import numpy as np
import pytest
import torch
from torch import Tensor

from intarsia import objectives
from intarsia.objectives import (
    capacity_loss,
    description_loss,
    divergence,
    hidden_error,
    inpainting_loss,
    object_error,
    scene_error,
    shape_error,
)

VALUES, GRADIENTS = 1e-4, 1e-3  # of the largest value; the recording's own advice


def separation_loss(images: Tensor, masks: Tensor, guesses: Tensor, prior: Tensor, epsilon: float) -> Tensor:
    """That of pixels: from the errors of the guesses and of the unconditional one."""
    unconditional = hidden_error(images, masks, prior[:, None].expand_as(guesses))
    return objectives.separation_loss(hidden_error(images, masks, guesses), unconditional, epsilon)


def channels_first(array: np.ndarray) -> Tensor:
    """Images `b h w c` to `b c h w`, masks `b h w 1 k` to `b k h w`, guesses `b h w 3 k` to `b k 3 h w`."""
    tensor = torch.from_numpy(array)
    if tensor.dim() == 4:
        return tensor.permute(0, 3, 1, 2)
    return tensor.permute(0, 4, 3, 1, 2) if tensor.shape[3] == 3 else tensor.squeeze(3).permute(0, 3, 1, 2)


def assert_close(found: Tensor, recorded: np.ndarray, tolerance: float) -> None:
    expected = channels_first(recorded) if recorded.ndim > 3 else torch.as_tensor(recorded)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def halves(size: int) -> Tensor:
    """The left half and the right half of one image as two segments."""
    left = torch.zeros(1, 1, size, size)
    left[..., : size // 2] = 1
    return torch.cat([left, 1 - left], 1)


def test_hidden_error_by_hand():
    images = torch.full((1, 3, 2, 2), 0.5)
    guesses = torch.zeros(1, 2, 3, 2, 2)
    guesses[0, 0, 0] = 1.0  # off by 0.5 in each colour, upwards in the first
    guesses[0, 1, :, 0, 0] = 0.75  # off by 0.25 in one pixel, 0.5 in the others
    hidden = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.5], [0.0, 0.0]]]])
    # First: one pixel, 3 x 0.5. Second: one pixel 3 x 0.25, half a pixel 3 x 0.5 / 2.
    assert hidden_error(images, hidden, guesses).tolist() == [[1.5, 1.5]]


def test_inpainting_loss_by_hand():
    images = torch.zeros(2, 3, 4, 4)
    guesses = torch.full((2, 2, 3, 4, 4), 0.25)
    guesses[1] = 0.75
    # The two regions partition the image: mean absolute error 0.25 for one image, 0.75 for the other.
    assert inpainting_loss(images, halves(4).expand(2, -1, -1, -1), guesses).item() == pytest.approx(0.5)
    # One region of a quarter of the image counts a quarter: the divisor is the image, not the region.
    quarter = torch.zeros(2, 1, 4, 4)
    quarter[..., :2, :2] = 1
    assert inpainting_loss(images, quarter, guesses[:, :1]).item() == pytest.approx(0.125)


def test_separation_loss_by_hand():
    images = torch.zeros(1, 3, 2, 2)
    guesses = torch.full((1, 2, 3, 2, 2), 0.25)  # each half: 2 pixels x 3 colours x 0.25 = 1.5
    prior = torch.full((1, 3, 2, 2), 0.5)  # each half: 3
    # Each half contributes 1 - 1.5 / (epsilon + 3).
    assert separation_loss(images, halves(2), guesses, prior, 3.0).item() == pytest.approx(2 * (1 - 1.5 / 6))
    assert separation_loss(images, halves(2), guesses, prior, 0.0).item() == pytest.approx(1.0)


def test_separation_loss_bounds():
    images, masks = draw(4, 3, 8, 8), draw(4, 5, 8, 8, seed=1).log().mul(3).softmax(1)
    prior = draw(4, 3, 8, 8, seed=2)
    perfect = images[:, None].expand(-1, 5, -1, -1, -1)
    assert separation_loss(images, masks, perfect, prior, 30.0).tolist() == [5.0] * 4  # all can be guessed: the maximum, k
    useless = prior[:, None].expand(-1, 5, -1, -1, -1)
    independent = separation_loss(images, masks, useless, prior, 1e-6)
    assert torch.allclose(independent, torch.zeros(4), atol=1e-5)  # nothing tells of anything else: 0
    with_epsilon = separation_loss(images, masks, useless, prior, 30.0)
    assert ((with_epsilon > 0) & (with_epsilon < 5)).all()
    assert (separation_loss(images, masks, useless, prior, 300.0) > with_epsilon).all()


def test_an_empty_segment_contributes_one():
    images, prior = draw(1, 3, 4, 4), draw(1, 3, 4, 4, seed=1)
    masks = torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])[None]
    guesses = draw(1, 2, 3, 4, 4, seed=2)
    whole = separation_loss(images, masks[:, :1], guesses[:, :1], prior, 30.0)
    assert torch.allclose(separation_loss(images, masks, guesses, prior, 30.0), whole + 1)


def test_an_empty_segment_can_contribute_less():
    """0.4 for a segment that hides nothing. For one with the errors 2 and 6, and epsilon 4: (0.4 * 4 + 6 - 2) / (4 + 6)."""
    found = objectives.separation_loss(torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 6.0]]), 4.0, 0.4)
    assert found.tolist() == pytest.approx([0.4 + 0.56])


def test_order_of_segments_and_company_in_the_batch_do_not_matter():
    images, masks = draw(3, 3, 8, 8), draw(3, 4, 8, 8, seed=1).softmax(1)
    guesses, prior = draw(3, 4, 3, 8, 8, seed=2), draw(3, 3, 8, 8, seed=3)
    losses = separation_loss(images, masks, guesses, prior, 30.0)
    order = [2, 0, 3, 1]
    assert torch.allclose(separation_loss(images, masks[:, order], guesses[:, order], prior, 30.0), losses)
    assert torch.allclose(inpainting_loss(images, masks[:, order], guesses[:, order]), inpainting_loss(images, masks, guesses))
    for b in range(3):
        alone = slice(b, b + 1)
        assert torch.allclose(separation_loss(images[alone], masks[alone], guesses[alone], prior[alone], 30.0), losses[alone])


def test_gradients():
    shape = {"images": (2, 3, 2, 2), "masks": (2, 2, 2, 2), "guesses": (2, 2, 3, 2, 2), "prior": (2, 3, 2, 2)}
    inputs = {name: draw(*size, seed=n, dtype=torch.float64) for n, (name, size) in enumerate(shape.items())}
    images = inputs.pop("images")
    masks, guesses, prior = (value.requires_grad_() for value in inputs.values())

    def separation(masks: Tensor, guesses: Tensor, prior: Tensor) -> Tensor:
        return separation_loss(images, masks, guesses, prior, 3.0)

    assert torch.autograd.gradcheck(separation, (masks, guesses, prior))
    assert torch.autograd.gradcheck(lambda m, g: inpainting_loss(images, m, g), (masks, guesses))
    assert torch.autograd.gradcheck(lambda m, g: hidden_error(images, m, g), (masks, guesses))


def test_both_losses_are_the_originals(reference):
    recorded = reference("losses_given_predictions")
    images, logits, guesses, prior = (
        channels_first(recorded[key]) for key in ("image", "logits", "pred_intensities", "unconditioned_mean")
    )
    for leaf in (logits, guesses, prior):
        leaf.requires_grad_()
    masks = logits.softmax(1)

    conditional, unconditional = (
        hidden_error(images, masks, guesses),
        hidden_error(images, masks, prior[:, None].expand_as(guesses)),
    )
    assert_close(conditional, recorded["generator_numerator"], VALUES)
    assert_close(conditional, recorded["inpainter_loss_branch"], VALUES)
    assert_close(30 + unconditional, recorded["generator_denominator"], VALUES)
    # A small difference of large numbers: 1e-4 of the ratio that is taken from 1.
    terms = 1 - conditional / (30 + unconditional)
    assert torch.allclose(terms, torch.from_numpy(recorded["generator_IRR"]), atol=VALUES)

    separation = separation_loss(images, masks, guesses, prior, 30.0).mean()
    assert separation.item() == pytest.approx(float(recorded["generator_loss"]), abs=VALUES)
    by_logits, by_guesses, by_prior = torch.autograd.grad(separation, (logits, guesses, prior), retain_graph=True)
    assert_close(by_logits, recorded["d_generator_loss_d_logits"], GRADIENTS)
    assert_close(by_guesses[:1], recorded["d_generator_loss_d_pred_b0"], GRADIENTS)
    assert_close(by_prior, recorded["d_generator_loss_d_uncond"], GRADIENTS)

    inpainting = inpainting_loss(images, masks, guesses)
    assert inpainting.item() == pytest.approx(float(recorded["inpainter_loss"]), rel=VALUES)
    by_logits, by_guesses = torch.autograd.grad(inpainting, (logits, guesses))
    assert_close(by_logits, recorded["d_inpainter_loss_d_logits"], GRADIENTS)
    assert_close(by_guesses, recorded["d_inpainter_loss_d_pred"], GRADIENTS)


def test_divergence_by_hand():
    # Standard normal: 0. Mean 2: 2. Variance e: (e - 2) / 2.
    found = divergence(torch.tensor([0.0, 2.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    assert found.tolist() == pytest.approx([0, 2, (math.e - 2) / 2])


def test_divergence_is_that_of_the_distributions():
    mean, log_variance = 4 * draw(3, 5) - 2, 4 * draw(3, 5, seed=1) - 2
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    found = divergence(mean, log_variance)
    assert torch.allclose(found, expected, atol=1e-6) and (found >= 0).all()


def test_capacity_by_hand():
    assert capacity_loss(torch.tensor(3.0), 5.0).item() == 2
    assert capacity_loss(torch.tensor(6.5), 5.0).item() == 1.5
    for nats, slope in ((3.0, -1), (6.5, 1)):
        value = torch.tensor(nats, requires_grad=True)
        capacity_loss(value, 5.0).backward()
        assert value.grad.item() == slope


def test_capacity_shared_by_processes_is_that_of_the_batch():
    nats = torch.tensor([2.0, 6.0], requires_grad=True)  # their mean, 4, is below 5, though the second is above
    mean = float(nats.detach().mean())
    losses = torch.stack([capacity_loss(each, 5.0, mean) for each in nats])
    assert losses.mean().item() == 1
    losses.mean().backward()
    assert nats.grad.tolist() == [-0.5, -0.5]


def test_shape_error_by_hand():
    logits = torch.tensor([[[[0.0, math.log(3.0)]], [[0.0, 0.0]]]])  # probabilities 1/2, 3/4
    masks = torch.tensor([[[[1.0, 0.0]], [[0.5, 0.25]]]])
    assert shape_error(masks, logits)[0].tolist() == pytest.approx([math.log(2) + math.log(4), 2 * math.log(2)])
    sure = 40 * (torch.tensor([[[[1.0, 0.0]]]]) - 0.5)
    assert shape_error(torch.tensor([[[[1.0, 0.0]]]]), sure).item() == pytest.approx(0, abs=1e-6)


def test_object_error_by_hand():
    """A white image of two pixels; the object is the first; undecided logits cost log 2 per colour and pixel."""
    images, masks = torch.ones(1, 3, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    assert object_error(images, masks, torch.zeros(1, 1, 3, 1, 2)).item() == pytest.approx(6 * math.log(2))
    right = torch.tensor([20.0, -20.0]).expand(1, 1, 3, 1, 2)
    assert object_error(images, masks, right).item() == pytest.approx(0, abs=1e-6)
    assert object_error(0 * images, masks, right).item() == pytest.approx(60, rel=1e-5)  # the first pixel is black


def test_scene_error_by_hand():
    images, fused = torch.zeros(2, 3, 1, 2), torch.full((2, 3, 1, 2), 0.25)
    fused[1, 0, 0, 0] = -1.0
    assert scene_error(images, fused).tolist() == pytest.approx([1.5, 2.25])


def two_parts() -> tuple[Tensor, Tensor, Tensor]:
    """Two pixels: the first is grey, as the object's picture is, the second nearly black, as the background's picture."""
    images, masks = torch.zeros(1, 3, 1, 2), torch.eye(2).view(1, 2, 1, 2)
    images[..., 0], images[..., 1] = 0.5, 0.2
    pictures = torch.zeros(1, 2, 3, 1, 2)
    pictures[:, 0] = 0.5
    return images, masks, pictures


def test_description_loss_by_hand():
    images, masks, pictures = two_parts()
    logits = torch.tensor([3.0, 1 / 3]).log().view(1, 1, 1, 2)  # the object's probability: 3/4, then 1/4
    # Only the second pixel is off, by 0.2 in each colour: 0.1 on average. Each pixel has a prior of 3/4.
    expected = 3 * math.log(2 * math.e * (0.1 + 1 / 255)) + math.log(4 / 3)
    assert description_loss(images, masks, pictures, logits).item() == pytest.approx(expected, rel=1e-5)
    # However sure the shapes are, a pixel that they deny costs no more than log 1000.
    denied = description_loss(images, masks, pictures, -1e4 * logits).item()
    assert denied == pytest.approx(expected - math.log(4 / 3) + math.log(1000), rel=1e-5)


def test_description_loss_of_an_exact_picture_is_finite():
    images, masks, pictures = two_parts()
    pictures[:, 1, :, :, 1] = 0.2
    leaf = masks.clone().requires_grad_()
    loss = description_loss(images, leaf, pictures, torch.zeros(1, 1, 1, 2))
    assert loss.item() == pytest.approx(3 * math.log(2 * math.e / 255) + math.log(2), rel=1e-5)
    loss.backward()
    assert leaf.grad.isfinite().all()


def test_description_loss_gives_a_pixel_to_the_segment_that_tells_it_best():
    images, masks, pictures = two_parts()
    undecided = torch.zeros(1, 1, 1, 2)
    leaf = torch.full_like(masks, 0.5).requires_grad_()
    description_loss(images, leaf, pictures, undecided).backward()
    towards = -leaf.grad[0, :, 0]  # segments x pixels
    assert towards[0, 0] > towards[1, 0] and towards[0, 1] < towards[1, 1]  # by its colour
    leaf.grad = None
    description_loss(images, leaf, images[:, None].expand_as(pictures), undecided + torch.tensor([2.0, -2.0])).backward()
    towards = -leaf.grad[0, :, 0]
    assert towards[0, 0] > towards[1, 0] and towards[0, 1] < towards[1, 1]  # where colours say nothing, by the drawn shapes


def test_segments_that_take_nothing_tell_nothing():
    """Masks can't win by shrinking: what one segment gives up another one has to tell."""
    images, masks, pictures = two_parts()
    logits = torch.tensor([3.0, 1 / 3]).log().view(1, 1, 1, 2)
    shrunk = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).view(1, 2, 1, 2)
    assert description_loss(images, shrunk, pictures, logits) > description_loss(images, masks, pictures, logits)


def test_gradients_of_the_autoencoders():
    images, masks = draw(2, 3, 2, 2, dtype=torch.float64), draw(2, 2, 2, 2, seed=1, dtype=torch.float64)
    logits, colours = draw(2, 2, 2, 2, seed=2, dtype=torch.float64), draw(2, 2, 3, 2, 2, seed=3, dtype=torch.float64)
    leaves = [value.requires_grad_() for value in (logits, colours)]
    assert torch.autograd.gradcheck(divergence, (draw(4, dtype=torch.float64).requires_grad_(), leaves[0][0, 0, 0, :1]))
    assert torch.autograd.gradcheck(lambda x: shape_error(masks, x), leaves[:1])
    assert torch.autograd.gradcheck(lambda x: object_error(images, masks, x), leaves[1:])
    assert torch.autograd.gradcheck(lambda x: scene_error(images, x[:, 0]), leaves[1:])
    assert torch.autograd.gradcheck(lambda x: capacity_loss(x.sum(), 0.5), leaves[:1])
    pictures, logits = leaves[1].detach().sigmoid(), leaves[0].detach()[:, :-1].clone()  # not the leaf's own memory
    assert torch.autograd.gradcheck(lambda x: description_loss(images, x, pictures, logits), leaves[:1])


# Content on several grids.


def test_content_error_by_hand():
    """A fine map of 4 x 4 cells and a coarse one of 2 x 2, of 2 and 1 channels; the left half is hidden."""
    fine, coarse = torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 2, 2)
    hidden = [torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2)]
    hidden[0][..., :2], hidden[1][..., :1] = 1, 1
    guesses = [torch.full((1, 1, 2, 4, 4), 3.0), torch.full((1, 1, 1, 2, 2), 2.0)]
    # Fine: 8 cells of 2 * 9, each a quarter of a coarse cell. Coarse: 2 cells of 4, counted twice for its single channel.
    expected = 8 * 18 / 4 + 2 * 4 * 2
    assert objectives.content_error([fine, coarse], hidden, guesses).tolist() == [[expected]]
    # Relative to guesses of 0 of content of variance 1: 8 * 2 / 4 and 2 * 1 * 2, and 1.
    assert objectives.content_loss([fine, coarse], hidden, guesses).item() == pytest.approx(expected / (4 + 4 + 1))


def test_the_mean_content_loss_of_two_processes_is_that_of_the_whole_batch():
    """Though one process hides almost all and the other almost nothing."""
    rng = torch.Generator().manual_seed(0)
    contents = [torch.randn(4, 2, 8, 8, generator=rng), torch.randn(4, 3, 2, 2, generator=rng)]
    guesses = [torch.randn(4, 3, *content.shape[1:], generator=rng) for content in contents]
    hidden = [(torch.rand(4, 3, *content.shape[2:], generator=rng) < 0.5).float() for content in contents]
    for mask in hidden:
        mask[:2] *= 0.01
    parts = [[[part[share] for part in parts] for parts in (contents, hidden, guesses)] for share in (slice(2), slice(2, 4))]
    most = sum(objectives.most_content_error(*part[:2]) for part in parts) / 2
    losses = [objectives.content_loss(*part, most, 2) for part in parts]
    torch.testing.assert_close(sum(losses) / 2, objectives.content_loss(contents, hidden, guesses))


def test_content_error_has_the_right_gradient():
    contents = [draw(2, 3, 4, 4, dtype=torch.double), draw(2, 2, 2, 2, dtype=torch.double)]
    hidden = [draw(2, 2, 4, 4, dtype=torch.double).requires_grad_(), draw(2, 2, 2, 2, dtype=torch.double).requires_grad_()]
    guesses = [draw(2, 2, 3, 4, 4, dtype=torch.double), draw(2, 2, 2, 2, 2, dtype=torch.double)]
    assert torch.autograd.gradcheck(lambda *h: objectives.content_error(contents, h, guesses), hidden)
