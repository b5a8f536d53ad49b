"""Void pixels, 0 in all true masks, count in no metric: the oracle is the image cut to the known part."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from intarsia.evaluation.segments import score
from intarsia.metrics import known_pixels, matching, mean_squared_error, psnr, ssim, true_labels
from intarsia.metrics.locality import Change, Changed, Found, move
from intarsia.shapes import one_hot

KNOWN = 9  # rows; the others are void


def scene(seed: int, segments: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """True labels `2 12 8`, void below row 9, and two predictions `2 k 12 8` that differ only there."""
    rng = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, segments, (2, 12, 8), generator=rng)
    truth[:, KNOWN:] = -1
    first, other = torch.rand(2, 2, segments, 12, 8, generator=rng).softmax(2)
    second = first.clone()
    second[:, :, KNOWN:] = other[:, :, KNOWN:]
    return truth, first, second


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), backgrounds=st.integers(1, 3))
def test_scores_are_those_of_the_known_part(seed: int, backgrounds: int) -> None:
    truth, first, second = scene(seed)
    cut = score(one_hot(truth[:, :KNOWN], 4), first[:, :, :KNOWN], backgrounds)
    for predicted in (first, second):
        for name, values in score(one_hot(truth, 4), predicted, backgrounds).items():
            assert torch.equal(values, cut[name]), name


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_matching_is_that_of_the_known_part(seed: int) -> None:
    truth, first, second = scene(seed)
    expected = matching(truth[:, :KNOWN], first.argmax(1)[:, :KNOWN], 4)
    assert torch.equal(matching(truth, first.argmax(1), 4), expected)
    assert torch.equal(matching(truth, second.argmax(1), 4), expected)


def test_labels_by_hand() -> None:
    true = one_hot(torch.tensor([[[0, 1, 2, 3, -1]]]), 4)
    assert true.sum(1).tolist() == [[[1, 1, 1, 1, 0]]] == known_pixels(true).tolist()
    assert true_labels(true).tolist() == [[[0, 1, 2, 3, -1]]]
    assert true_labels(true, backgrounds=3).tolist() == [[[0, 0, 0, 1, -1]]]


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_rendered_images_are_compared_where_the_truth_is_known(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    images, rendered, noise = torch.rand(3, 2, 3, 12, 8, generator=rng)
    known = torch.zeros(2, 12, 8)
    known[:, :KNOWN] = 1
    for metric in (mean_squared_error, psnr):
        cut = metric(images[:, :, :KNOWN], rendered[:, :, :KNOWN])
        torch.testing.assert_close(metric(images, rendered, known), cut, rtol=1e-12, atol=0)
    for metric in (mean_squared_error, psnr, ssim):
        every = torch.ones_like(known)
        torch.testing.assert_close(metric(images, rendered, every), metric(images, rendered), rtol=1e-12, atol=1e-12)
        there = rendered.where(known[:, None] > 0, noise)
        assert torch.equal(metric(images, there, known), metric(images, rendered, known))
    assert ssim(images, images, known).tolist() == pytest.approx([1, 1])


def test_changes_in_void_pixels_are_neither_inside_nor_outside() -> None:
    """An object of 24 pixels; the change is 1 in it, 1 in 8 known pixels beside it, and 5 in void pixels."""
    truth = torch.zeros(1, 12, 8, dtype=torch.long)
    truth[:, :3], truth[:, KNOWN:] = 1, -1
    true = one_hot(truth, 2)
    images = torch.zeros(1, 3, 12, 8)
    after = images.clone()
    after[:, :, :4] += 1
    after[:, :, KNOWN:] += 5
    masks = one_hot(truth.clamp(min=0), 2)

    def find(images: Tensor) -> Found:
        return Found(masks[: len(images)], torch.zeros(len(images), 2, 1))

    change = Change(1, lambda rows: Changed(after[None, rows], None))
    assert move(images, true, lambda images: (images[None], [change]), find).locality.tolist() == [[[0.75]]]
