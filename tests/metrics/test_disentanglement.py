import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso
from sklearn.metrics import mutual_info_score
from torch import Tensor

from intarsia.errors import InputError
from intarsia.metrics.disentanglement import (
    LASSO,
    _lasso,
    _standardised,
    dci,
    dimensions_in_use,
    mutual_information_gap,
    probe_r2,
)

N = 4000


def uniform(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.rand(n, d, generator=torch.Generator().manual_seed(seed))


FACTORS = uniform(N, 3)
NOISE = uniform(N, 4, seed=1)
EACH_ITS_OWN = torch.cat([NOISE[:, :1], -5 * FACTORS + 2, NOISE[:, 1:2]], 1)  # a factor in each of dimensions 1 to 3
HALF = math.sqrt(0.5)
TURNED = FACTORS @ torch.tensor([[HALF, HALF, 0], [-HALF, HALF, 0], [0, 0, 1]])  # mixes the first two factors


def test_probe_of_a_code_that_is_the_factors() -> None:
    every, single = probe_r2(EACH_ITS_OWN, FACTORS)
    assert every.shape == (3,) and single.shape == (5, 3)
    torch.testing.assert_close(every, torch.ones(3).double(), rtol=0, atol=1e-4)
    expected = torch.zeros(5, 3).double()
    expected[[1, 2, 3], [0, 1, 2]] = 1
    torch.testing.assert_close(single, expected, rtol=0, atol=0.01)


def test_probe_of_a_mix_knows_all_from_all_and_half_from_one() -> None:
    every, single = probe_r2(TURNED, FACTORS)
    torch.testing.assert_close(every, torch.ones(3).double(), rtol=0, atol=1e-4)
    expected = torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]).double()
    torch.testing.assert_close(single, expected, rtol=0, atol=0.04)


def test_noise_is_not_informative() -> None:
    every, single = probe_r2(NOISE, FACTORS)
    assert every.abs().max() < 0.01 and single.abs().max() < 0.01
    few = probe_r2(NOISE[:20], FACTORS[:20]).every  # fitted in sample, 4 dimensions would explain 4/19 of noise
    assert few.max() < 0.1
    assert mutual_information_gap(NOISE, FACTORS).max() < 0.01
    assert dci(NOISE, FACTORS).informativeness.max() < 0.01


def test_a_curve_is_not_linear() -> None:
    centred = FACTORS[:, :1] - 0.5
    assert probe_r2(centred.square(), centred).every.item() == pytest.approx(0, abs=0.01)


def test_a_constant_dimension_is_not_informative_and_copies_do_no_harm() -> None:
    dead = torch.ones(N, 1)
    every, single = probe_r2(torch.cat([dead, FACTORS, FACTORS], 1), FACTORS)
    torch.testing.assert_close(every, torch.ones(3).double(), rtol=0, atol=1e-4)
    assert single[0].abs().max() < 0.01


def test_dci_of_a_code_that_is_the_factors() -> None:
    found = dci(EACH_ITS_OWN, FACTORS)
    assert found.disentanglement == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(found.completeness, torch.ones(3).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(found.informativeness, torch.ones(3).double(), rtol=0, atol=1e-3)
    assert found.importance.argmax(0).tolist() == [1, 2, 3]


def test_dci_of_a_mix_by_hand() -> None:
    """Two dimensions are equally important for two of three factors: 1 - log 2 / log 3 for each, and 1 for the third."""
    found = dci(TURNED, FACTORS)
    mixed = 1 - math.log(2) / math.log(3)
    torch.testing.assert_close(found.completeness, torch.tensor([mixed, mixed, 1]).double(), rtol=0, atol=0.01)
    weight = HALF - LASSO  # of a mixed dimension for each of its two factors
    assert found.importance[:2, :2].flatten().tolist() == pytest.approx([weight] * 4, abs=0.03)
    fraction = 4 * weight / (4 * weight + 1 - LASSO)
    assert found.disentanglement == pytest.approx(fraction * mixed + 1 - fraction, abs=0.01)
    torch.testing.assert_close(found.informativeness, torch.ones(3).double(), rtol=0, atol=1e-3)


def test_one_dimension_for_two_factors_is_complete_but_not_disentangled() -> None:
    codes = torch.cat([FACTORS[:, :1] + FACTORS[:, 1:2], NOISE[:, :1]], 1)
    found = dci(codes, FACTORS[:, :2])
    assert found.disentanglement == pytest.approx(0, abs=0.01)
    torch.testing.assert_close(found.completeness, torch.ones(2).double(), rtol=0, atol=0.05)


def test_lasso_is_scikit_learns() -> None:
    x, y = (_standardised(part) for part in (torch.cat([TURNED, NOISE, FACTORS + NOISE[:, :3]], 1), FACTORS))
    expected = np.stack([Lasso(alpha=LASSO, fit_intercept=False, tol=1e-10).fit(x, y[:, i]).coef_ for i in range(3)], 1)
    np.testing.assert_allclose(_lasso(x, y), expected, rtol=0, atol=1e-4)


def test_gap_of_a_code_that_is_the_factors_and_of_a_mix() -> None:
    # Noise in a table of 20 by 20 seems to tell (20 - 1)^2 / 2n = 0.045 nats of a factor's log 20.
    bias = 19**2 / (2 * N) / math.log(20)
    assert mutual_information_gap(EACH_ITS_OWN, FACTORS).tolist() == pytest.approx([1 - bias] * 3, abs=0.01)
    gap = mutual_information_gap(TURNED, FACTORS)
    assert gap[:2].max() < 0.02 and gap[2] > 0.95


def test_gap_is_that_of_scikit_learns_information() -> None:
    codes, factors = TURNED.double().numpy(), (3 * FACTORS).floor().double().numpy()

    def bins(values: np.ndarray) -> np.ndarray:
        return np.digitize(values, np.linspace(values.min(), values.max(), 11)[1:-1])

    for i in range(3):
        nats = sorted(mutual_info_score(bins(codes[:, j]), factors[:, i]) for j in range(3))
        expected = (nats[2] - nats[1]) / mutual_info_score(factors[:, i], factors[:, i])
        found = mutual_information_gap(torch.from_numpy(codes), torch.from_numpy(factors), bins=10)[i]
        assert found.item() == pytest.approx(expected, abs=1e-9)


def test_scores_ignore_scale_sign_and_order_of_the_dimensions() -> None:
    other = (EACH_ITS_OWN * torch.tensor([1, -3, 0.1, 7, 2]) + 5)[:, [3, 0, 4, 1, 2]]
    assert dci(other, FACTORS).disentanglement == pytest.approx(dci(EACH_ITS_OWN, FACTORS).disentanglement, abs=1e-5)
    torch.testing.assert_close(probe_r2(other, FACTORS).every, probe_r2(EACH_ITS_OWN, FACTORS).every)


def test_a_factor_that_never_changes_has_no_score() -> None:
    factors = torch.cat([FACTORS, torch.ones(N, 1)], 1)
    assert probe_r2(EACH_ITS_OWN, factors).every.isnan().tolist() == [False] * 3 + [True]
    assert mutual_information_gap(EACH_ITS_OWN, factors).isnan().tolist() == [False] * 3 + [True]
    found = dci(EACH_ITS_OWN, factors)
    assert found.completeness.isnan().tolist() == found.informativeness.isnan().tolist() == [False] * 3 + [True]
    assert found.disentanglement == pytest.approx(1, abs=1e-3)


def test_informative_dimensions_are_those_in_use_and_the_most_used_first() -> None:
    assert dimensions_in_use(torch.tensor([[0.0, 3, 0.1, 1], [0.1, 5, 0.2, 9]])) == [3, 1, 2]
    assert dimensions_in_use(torch.tensor([[0.0, 3, 0.1, 1], [0.1, 5, 0.2, 9]]), least=4.5) == [3]


@pytest.mark.parametrize(
    ("codes", "factors", "says"),
    [
        (FACTORS[:9], FACTORS[:9], "at least 10"),
        (FACTORS, FACTORS[1:], "as many"),
        (FACTORS * math.nan, FACTORS, "finite"),
        (FACTORS[:, :1], FACTORS, "at least 2 of each"),
        (FACTORS, FACTORS[:, :1], "at least 2 of each"),
    ],
)
def test_what_can_not_be_scored_is_refused(codes: Tensor, factors: Tensor, says: str) -> None:
    with pytest.raises(InputError, match=says):
        dci(codes, factors)
