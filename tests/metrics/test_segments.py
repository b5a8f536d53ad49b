from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import adjusted_rand_score
from torchmetrics.functional.image import structural_similarity_index_measure

from intarsia.errors import InputError
from intarsia.metrics import (
    adjusted_rand_index,
    best_overlap_iou,
    hard,
    hungarian_iou,
    identity_switching,
    matching,
    mean_best_overlap,
    psnr,
    shape_iou,
    ssim,
)
from intarsia.metrics.locality import change_inside

HARD_METRICS = [hungarian_iou, mean_best_overlap, adjusted_rand_index]

all_hard = pytest.mark.parametrize("metric", HARD_METRICS)
both_grounds = pytest.mark.parametrize("background", [True, False])
examples = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def label_pairs(draw) -> tuple[torch.Tensor, torch.Tensor]:
    """Two independent labellings `b h w` of the same small images; some labels may be absent."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)))
    most = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    truth, predicted = (draw(arrays(np.int64, shape, elements=st.integers(0, last))) for last in most)
    return torch.from_numpy(truth), torch.from_numpy(predicted)


def labels(*rows: list[int]) -> torch.Tensor:
    return torch.tensor([rows])


def random_labels(*shape: int, segments: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randint(segments, shape, generator=torch.Generator().manual_seed(seed))


def random_masks(*shape: int, seed: int = 0) -> torch.Tensor:
    return (4 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).softmax(1)


def one_hot(segments: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(segments).movedim(-1, 1).float()


def iou_table(truth: np.ndarray, predicted: np.ndarray, background: bool) -> np.ndarray:
    """The IoU of every true segment in the image with every predicted one, from the definition."""
    true_masks = [truth == label for label in np.unique(truth) if background or label > 0]
    predicted_masks = [predicted == label for label in np.unique(predicted)]
    table = [[(t & p).sum() / (t | p).sum() for p in predicted_masks] for t in true_masks]
    return np.array(table).reshape(len(true_masks), len(predicted_masks))


def best_assignment(table: np.ndarray) -> float:
    """The largest sum of any one-to-one matching."""
    few, many = sorted((table, table.T), key=len)
    return max(sum(few[i, j] for i, j in enumerate(order)) for order in permutations(range(len(many)), len(few)))


def test_hard_takes_the_largest_mask_and_the_lower_index_of_equals():
    masks = torch.tensor([[[[0.2, 0.5]], [[0.7, 0.5]], [[0.1, 0.0]]]])
    assert hard(masks).tolist() == [[[1, 0]]]
    assert torch.equal(hard(one_hot(random_labels(2, 5, 4))), random_labels(2, 5, 4))


# The paper's score


def test_best_overlap_iou_by_hand():
    true = one_hot(labels([0] * 4, [0] * 4, [1] * 4, [1] * 4))
    predicted = one_hot(labels([0] * 4, [0] * 4, [0] * 4, [1] * 4))
    score, index = best_overlap_iou(true, predicted)  # 8/12 with 0; 4/16 with 0, 4/8 with 1
    assert score.item() == pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-8)
    assert index.tolist() == [[0, 1]]


def test_best_overlap_iou_thresholds_without_arg_max_and_may_reuse_a_segment():
    true = one_hot(labels([0] * 4, [0] * 4, [1] * 4, [1] * 4))
    predicted = torch.stack((torch.full((4, 4), 0.96), torch.full((4, 4), 0.04)))[None]
    predicted[0, 1, 2:] = 0.041  # hard segments would leave channel 1 empty
    score, index = best_overlap_iou(true, predicted)
    assert score.item() == pytest.approx((1 / 2 + 1) / 2, abs=1e-8)
    assert index.tolist() == [[0, 1]]
    score, index = best_overlap_iou(true, predicted[:, :1])
    assert score.item() == pytest.approx(1 / 2, abs=1e-8)
    assert index.tolist() == [[0, 0]]


def test_best_overlap_iou_leaves_out_true_segments_of_four_pixels():
    true = one_hot(labels([0, 0, 1, 1], [0, 0, 1, 1], [2] * 4, [2, 0, 0, 0]))  # 7, 4 and 5 pixels
    score, index = best_overlap_iou(true, true)
    assert index.tolist() == [[0, -1, 2]]
    assert 1 - score.item() == pytest.approx((1e-8 / 7 + 1e-8 / 5) / 2, rel=1e-6)  # 1e-8 is added to each union
    missing = torch.stack((torch.ones(4, 4), torch.zeros(4, 4)))[None]
    assert best_overlap_iou(missing, true)[1].tolist() == [[0, -1]]
    nothing = best_overlap_iou(torch.zeros(1, 2, 4, 4), true)
    assert nothing[0].isnan().all() and nothing[1].tolist() == [[-1, -1]]


def test_best_overlap_iou_is_the_originals(reference):
    recorded = reference("permute_iou")
    cases = [key.removesuffix("/label") for key in recorded if key.endswith("/label")]
    assert len(cases) == 7
    for case in cases:
        true, predicted = (torch.from_numpy(recorded[f"{case}/{name}"]).permute(2, 3, 0, 1) for name in ("label", "pred"))
        score, index = best_overlap_iou(true, predicted)
        assert score.dtype == torch.float64
        assert score.item() == recorded[f"{case}/score"], case
        assert index[0].tolist() == recorded[f"{case}/argmax"].tolist(), case


def test_best_overlap_iou_follows_a_permutation_of_predicted_segments():
    true, predicted = random_masks(3, 4, 8, 8), random_masks(3, 6, 8, 8, seed=1)
    order = torch.tensor([4, 2, 5, 0, 3, 1])
    score, index = best_overlap_iou(true, predicted)
    permuted_score, permuted_index = best_overlap_iou(true, predicted[:, order])
    assert torch.equal(permuted_score, score)
    assert torch.equal(order[permuted_index], index)
    assert index.unique().numel() > 1
    assert ((score > 0) & (score < 1)).all()


def test_best_overlap_iou_takes_each_image_by_itself():
    true, predicted = random_masks(3, 4, 8, 8), random_masks(3, 6, 8, 8, seed=1)
    scores, indices = best_overlap_iou(true, predicted)
    for i in range(3):
        score, index = best_overlap_iou(true[i : i + 1], predicted[i : i + 1])
        assert torch.equal(score[0], scores[i]) and torch.equal(index[0], indices[i])


# IoU of hard segments


def test_hungarian_iou_and_mean_best_overlap_by_hand():
    truth, predicted = labels([0, 0], [1, 1]), labels([0, 0], [0, 1])  # IoU 2/3 0; 1/4 1/2
    for metric in (hungarian_iou, mean_best_overlap):
        assert metric(truth, predicted).item() == pytest.approx((2 / 3 + 1 / 2) / 2)
        assert metric(truth, predicted, background=False).item() == 1 / 2


def test_only_the_best_overlap_may_use_a_segment_twice_by_hand():
    truth, predicted = labels([0, 0], [1, 1]), labels([0, 0], [0, 0])  # IoU 1/2; 1/2
    assert mean_best_overlap(truth, predicted).item() == 1 / 2
    assert hungarian_iou(truth, predicted).item() == 1 / 4


def test_the_matching_is_the_best_in_sum_not_pair_by_pair_by_hand():
    truth = labels([0] * 5 + [1] * 3 + [2] * 2)
    predicted = labels([0] * 2 + [1] * 3 + [1] * 2 + [2] * 3)
    # IoU of truth 0: 2/5 3/7 0; 1: 0 2/6 1/5; 2: 0 0 2/3. The best pair of 0 is 1, yet 0-0 1-1 2-2 is best in sum.
    assert hungarian_iou(truth, predicted).item() == pytest.approx((2 / 5 + 2 / 6 + 2 / 3) / 3)
    assert mean_best_overlap(truth, predicted).item() == pytest.approx((3 / 7 + 2 / 6 + 2 / 3) / 3)


@pytest.mark.parametrize("metric", [hungarian_iou, mean_best_overlap])
def test_background_under_an_object_counts_in_its_union(metric):
    truth = labels([0, 0], [0, 1])
    assert metric(truth, labels([0, 0], [0, 0]), background=False).item() == 1 / 4
    assert metric(truth, labels([0, 0], [1, 1]), background=False).item() == 1 / 2


@pytest.mark.parametrize("metric", [hungarian_iou, mean_best_overlap])
def test_absent_true_segments_do_not_count(metric):
    truth, predicted = labels([0, 0], [3, 3]), labels([0, 0], [5, 1])
    assert metric(truth, predicted).item() == (1 + 1 / 2) / 2
    objectless = labels([0, 0], [0, 0])
    assert metric(objectless, predicted).item() == 1 / 2
    assert metric(objectless, predicted, background=False).isnan().all()


@both_grounds
@given(pair=label_pairs())
@examples
def test_hungarian_iou_and_mean_best_overlap_agree_with_their_definitions(pair, background):
    matched, best = (metric(*pair, background=background) for metric in (hungarian_iou, mean_best_overlap))
    for i, (truth, predicted) in enumerate(zip(*(labels.numpy() for labels in pair), strict=True)):
        table = iou_table(truth, predicted, background)
        if len(table) == 0:
            assert matched[i].isnan() and best[i].isnan()
        else:
            assert matched[i].item() == pytest.approx(best_assignment(table) / len(table))
            assert best[i].item() == pytest.approx(table.max(1).mean())
            assert 0 <= matched[i] <= best[i] + 1e-12 <= 1 + 2e-12


# Adjusted Rand index


def test_adjusted_rand_index_by_hand():
    truth = labels([0, 0], [1, 1])  # 2 of 6 pairs are together
    assert adjusted_rand_index(truth, labels([0, 0], [1, 2])).item() == pytest.approx(4 / 7)  # (1 - 2/6) / (3/2 - 2/6)
    assert adjusted_rand_index(truth, labels([0, 0], [0, 1])).item() == 0  # (1 - 2*3/6) / (5/2 - 1)
    assert adjusted_rand_index(truth, labels([0, 1], [0, 1])).item() == pytest.approx(-1 / 2)  # (0 - 4/6) / (2 - 4/6)


def test_foreground_ari_ignores_the_true_background_by_hand():
    truth, objects = [0, 0, 0, 0], [1, 1, 2, 2]
    for on_background in ([0, 0, 0, 0], [1, 2, 3, 0]):
        predicted = labels(on_background, [0, 0, 1, 2])
        score = adjusted_rand_index(labels(truth, objects), predicted, background=False)
        assert score.item() == pytest.approx(4 / 7)


def test_adjusted_rand_index_where_there_is_nothing_to_get_wrong():
    one, several, each = labels([0, 0], [0, 0]), labels([0, 1], [1, 2]), labels([0, 1], [2, 3])
    assert adjusted_rand_index(one, one).item() == 1
    assert adjusted_rand_index(each, each).item() == 1
    assert adjusted_rand_index(one, several).item() == 0
    assert adjusted_rand_index(several, one).item() == 0
    assert adjusted_rand_index(one, several, background=False).item() == 1  # no object
    assert adjusted_rand_index(labels([0, 0], [0, 1]), several, background=False).item() == 1  # one pixel of an object
    assert adjusted_rand_score([], []) == adjusted_rand_score([1], [2]) == 1


@both_grounds
@given(pair=label_pairs())
@examples
def test_adjusted_rand_index_agrees_with_scikit_learn(pair, background):
    scores = adjusted_rand_index(*pair, background=background)
    for score, truth, predicted in zip(scores.tolist(), *pair, strict=True):
        counted = (truth >= (0 if background else 1)).flatten()
        expected = adjusted_rand_score(truth.flatten()[counted], predicted.flatten()[counted])
        assert score == pytest.approx(expected, abs=1e-12)
        assert -0.5 - 1e-12 <= score <= 1


def test_adjusted_rand_index_keeps_its_precision_on_large_images():
    truth = torch.zeros(1, 192, 256, dtype=torch.int64)
    predicted = truth.clone()
    truth[0, 90:92, 100:103], predicted[0, 91:93, 100:103] = 1, 1
    expected = adjusted_rand_score(truth.flatten(), predicted.flatten())
    assert 0.4 < expected < 0.6
    assert adjusted_rand_index(truth, predicted).item() == pytest.approx(expected, abs=1e-9)


# What all metrics of hard segments share


@all_hard
@both_grounds
def test_the_truth_itself_scores_one(metric, background):
    truth = random_labels(5, 8, 8)
    assert metric(truth, truth, background=background).tolist() == [1.0] * 5
    assert (metric(truth, random_labels(5, 8, 8, seed=1), background=background) < 0.5).all()


@all_hard
@both_grounds
def test_renaming_predicted_segments_changes_nothing(metric, background):
    truth, predicted = random_labels(5, 8, 8), random_labels(5, 8, 8, segments=6, seed=1)
    renamed = torch.tensor([3, 7, 0, 4, 1, 2])[predicted]
    expected = metric(truth, predicted, background=background)
    assert expected.unique().numel() == 5
    torch.testing.assert_close(metric(truth, renamed, background=background), expected, rtol=0, atol=1e-12)


@all_hard
@both_grounds
def test_each_image_of_a_batch_is_taken_by_itself(metric, background):
    truth, predicted = random_labels(4, 8, 8), random_labels(4, 8, 8, segments=3, seed=1)
    truth[1] += 2
    predicted[2] *= 3
    alone = [metric(truth[i : i + 1], predicted[i : i + 1], background=background) for i in range(4)]
    together = metric(truth, predicted, background=background)
    assert together.dtype == torch.float64
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)


@all_hard
def test_unusable_labels_are_named(metric):
    truth = random_labels(2, 4, 4)
    with pytest.raises((InputError, TypeError), match=r"1, ?4, ?4"):  # TypeError where jaxtyping checks the shapes first
        metric(truth, truth[:1])
    with pytest.raises(InputError, match="at least 0"):
        metric(truth - 2, truth)  # -1 is void
    with pytest.raises(InputError, match="at least 0"):
        metric(truth, truth - 1)


def test_shape_iou_by_hand():
    """Of a mask of 6 pixels, 4 are decoded, and 2 others; a mask of 4 pixels does not count; one of 5 pixels is not decoded."""
    masks, shapes = torch.zeros(2, 2, 4, 4), torch.zeros(2, 2, 4, 4)
    masks[0, 0, :3, :2], shapes[0, 0, 1:, :2] = 0.9, 0.6
    masks[0, 1, :2, :2], shapes[0, 1, :2, :2] = 1.0, 1.0
    assert shape_iou(masks, shapes)[0].item() == pytest.approx(0.5)
    assert shape_iou(masks, shapes)[1].isnan()
    masks[0, 1, 3, :2] = 1.0
    assert shape_iou(masks, shapes)[0].item() == pytest.approx((0.5 + 4 / 6) / 2)


# Rendered images


def test_psnr_by_hand():
    images = torch.zeros(3, 3, 2, 2)
    rendered = images.clone()
    rendered[0] += 0.1  # mean squared error 0.01
    rendered[1, 0, 0, 0] = 1  # 1 of 12 values is wrong by 1
    assert psnr(images, rendered).tolist() == pytest.approx([20, 10 * np.log10(12), np.inf])


def test_ssim_of_flat_images_by_hand():
    """Without variance only the term of the means remains: (2 m n + c) / (m^2 + n^2 + c), c = 0.01^2."""
    light = torch.tensor([0.5, 0.5, 1.0])
    dark = torch.tensor([0.25, 0.5, 0.0])
    expected = (2 * light * dark + 1e-4) / (light**2 + dark**2 + 1e-4)
    found = ssim(*(values[:, None, None, None].expand(3, 3, 16, 16) for values in (light, dark)))
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-6)


def test_ssim_as_torchmetrics_has_it():
    images = torch.rand(3, 3, 24, 40, generator=torch.Generator().manual_seed(2))
    rendered = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    oracle = structural_similarity_index_measure(rendered.double(), images.double(), data_range=1.0, reduction="none")
    torch.testing.assert_close(ssim(images, rendered), oracle, rtol=0, atol=1e-12)


def test_ssim_falls_with_noise_and_keeps_images_apart():
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    levels = [ssim(images, images + level * noise) for level in (0, 0.02, 0.1)]
    assert levels[0].tolist() == pytest.approx([1, 1])
    assert (levels[0] > levels[1]).all() and (levels[1] > levels[2]).all()
    assert ssim(images[1:], images[1:] + 0.1 * noise[1:]).item() == pytest.approx(levels[2][1].item())


def test_matching_by_hand():
    """Segment 2 has most pixels in common with the second row, so the first is matched with 0, despite one common pixel."""
    truth = labels([0, 0, 0], [1, 1, 1], [2, 2, 2])
    predicted = labels([2, 2, 0], [2, 2, 2], [1, 1, 1])
    assert matching(truth, predicted, 3).tolist() == [[0, 2, 1]]
    assert matching(predicted, truth, 3).tolist() == [[0, 2, 1]]


def test_a_segment_without_a_common_pixel_is_no_match():
    """One predicted segment for two true ones: it goes to the larger, and a spare one to nobody."""
    truth = labels([1, 1, 1], [2, 2, 1])
    assert matching(truth, torch.full_like(truth, 7), 4).tolist() == [[-1, 7, -1, -1]]
    assert matching(truth, truth, 3).tolist() == [[-1, 1, 2]]


def test_of_equal_matchings_the_first_pixel_decides():
    truth = labels([0, 0, 0, 0])
    assert matching(truth, labels([5, 5, 3, 3]), 1).tolist() == [[5]]
    assert matching(truth, labels([3, 3, 5, 5]), 1).tolist() == [[3]]


@examples
@given(label_pairs())
def test_matches_share_the_most_pixels(pair):
    truth, predicted = pair
    for true, own, found in zip(truth, predicted, matching(truth, predicted, 4), strict=True):
        table = np.array([[((true == i) & (own == j)).sum() for j in range(4)] for i in range(4)])
        pairs = [(i, int(j)) for i, j in enumerate(found) if j >= 0]
        assert all(table[i, j] > 0 for i, j in pairs)
        assert len({j for _, j in pairs}) == len(pairs)
        assert sum(table[i, j] for i, j in pairs) == best_assignment(table)


@examples
@given(label_pairs(), st.permutations(range(7)), st.permutations(range(7)))
def test_the_numbers_of_segments_change_nothing(pair, of_true, of_predicted):
    """Any other numbers, with gaps or without; 0 stays the background where it is a metric's."""
    truth, predicted = pair
    renamed, own = torch.tensor(of_true)[truth], torch.tensor(of_predicted)[predicted]
    found, again = matching(truth, predicted, 4), matching(renamed, own, 7)
    assert again.gather(1, torch.tensor(of_true[:4]).expand(len(truth), 4)).tolist() == [
        [of_predicted[label] if label >= 0 else -1 for label in row] for row in found.tolist()
    ]
    with_ground = torch.tensor([0, *(label + 1 for label in of_true)])[truth]
    for metric in HARD_METRICS:
        for background in (True, False):
            once, twice = metric(truth, predicted, background), metric(with_ground, own, background)
            assert once.tolist() == pytest.approx(twice.tolist(), nan_ok=True)


def test_locality_by_hand():
    before = torch.full((4, 3, 2, 2), 0.5)
    after = before.clone()
    after[0, :, 0, 0] += 0.2  # all of it inside
    after[1, 0, 0, 0], after[1, 2, 1, 1] = 0.8, 0.4  # up by 0.3 inside, down by 0.1 outside
    after[2, :, 1] = 0  # all of it outside
    region = torch.tensor([[1.0, 0], [0, 0]]).expand(4, 2, 2)
    assert change_inside(before, after, region).tolist() == pytest.approx([1, 0.75, 0, np.nan], nan_ok=True)
    assert change_inside(after, before, region).tolist() == pytest.approx([1, 0.75, 0, np.nan], nan_ok=True)
    assert change_inside(before, after, region / 2)[:3].tolist() == pytest.approx([0.5, 0.375, 0])
    fractions = change_inside(before, after, region) + change_inside(before, after, 1 - region)
    assert fractions[:3].tolist() == pytest.approx([1, 1, 1])


def test_identity_switching_by_hand():
    """Ten scenes, the background always in 2: the first object in channel 1 in three of them; a hidden one counts -1."""
    kept, exchanged = torch.tensor([2, 0, 1]), torch.tensor([2, 1, 0])
    assert identity_switching(torch.stack([kept] * 10)) == 0
    assert identity_switching(torch.stack([exchanged] * 10)) == 0
    assert identity_switching(torch.stack([kept] * 7 + [exchanged] * 3)) == pytest.approx(0.3)
    assert identity_switching(torch.stack([kept] * 3 + [exchanged] * 7)) == pytest.approx(0.3)
    hidden = torch.tensor([2, -1, 1])
    assert identity_switching(torch.stack([kept] * 7 + [exchanged] * 2 + [hidden])) == pytest.approx(0.1)
