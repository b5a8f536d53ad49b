"""Disentanglement metrics: scores of codes `n d` against the true factors `n f` of n objects.

Codes and factors are finite floats of any scale and unit. The order of the objects should not matter, but objects of one
image should be neighbours, since cross-validation leaves out consecutive rows. Results are float64. The scores of a constant
factor are nan, since it can't be predicted.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from intarsia.errors import InputError

FOLDS = 5
RIDGE = 1e-6  # per object, of standardised codes: makes the system solvable if dimensions are copies of each other
LASSO = 0.02  # penalty on the weights of standardised codes and factors
SWEEPS = 200  # of coordinate descent


class ProbeR2(NamedTuple):
    """Cross-validated R2 of linear probes: at most 1, and about 0, or a little below, if the code is not informative.

    every: `f`, of each factor from all dimensions.
    single: `d f`, of each factor from each dimension alone.
    """

    every: Tensor
    single: Tensor


class Dci(NamedTuple):
    """The scores of Eastwood and Williams, from 0 to 1, and the importances behind them.

    disentanglement: 1 if every dimension is important for only one factor; dimensions are weighted by their importance.
    completeness: `f`, 1 if only one dimension is important for the factor.
    informativeness: `f`, R2 of the factor from all dimensions, at least 0.
    importance: `d f`, of each dimension for each factor, at least 0.
    """

    disentanglement: float
    completeness: Tensor
    informativeness: Tensor
    importance: Tensor


def dimensions_in_use(kl: Tensor, least: float = 0.1) -> list[int]:
    """The informative dimensions: those whose mean KL divergence from the prior is at least `least` nats.

    `kl` is `n d`. The dimensions are in descending order of their mean KL.
    """
    mean = kl.double().mean(0)
    return [int(i) for i in mean.argsort(descending=True, stable=True) if mean[i] >= least]


def probe_r2(codes: Tensor, factors: Tensor) -> ProbeR2:
    """How well linear probes predict each factor from all dimensions, and from each dimension alone.

    Each fifth of the objects is predicted by a probe fitted on the other four. R2 is one minus the sum of squared errors over
    the sum of squared distances from the factor's mean.

    Raises:
        InputError: if there are fewer than 10 objects, other numbers of codes and factors, or values that are not finite.
    """
    _check(codes, factors)
    return ProbeR2(_held_out_r2(codes[None], factors)[0], _held_out_r2(codes.mT[..., None], factors))


def dci(codes: Tensor, factors: Tensor) -> Dci:
    """Disentanglement, completeness and informativeness, with the absolute weights of a lasso as importances.

    The paper measures informativeness by the probe's error; here it is the cross-validated R2, as is now usual. The lasso's
    penalty is 0.02 for standardised codes and factors. A factor that is given as two (sine and cosine of an angle) lowers
    disentanglement if one dimension predicts both. Constant factors, and dimensions without importance, are left out; if
    nothing is left, disentanglement is nan.

    Raises:
        InputError: as in `probe_r2`, and if there are fewer than 2 dimensions or 2 factors.

    References:
        Eastwood and Williams, A Framework for the Quantitative Evaluation of Disentangled Representations, ICLR 2018.
    """
    _check(codes, factors, least=2)
    importance = _lasso(_standardised(codes), _standardised(factors)).abs()
    total = importance.sum()
    disentangled = 1 - _entropy(importance, 1) / math.log(factors.shape[1])
    complete = 1 - _entropy(importance, 0) / math.log(codes.shape[1])
    return Dci(
        disentanglement=float((disentangled * importance.sum(1)).nansum() / total),
        completeness=complete,
        informativeness=probe_r2(codes, factors).every.clamp(min=0),
        importance=importance,
    )


def mutual_information_gap(codes: Tensor, factors: Tensor, bins: int = 20) -> Tensor:
    """MIG: for each factor, the gap between the largest and the second largest mutual information with a dimension.

    It is divided by the factor's entropy. Codes and factors are counted in `bins` bins of equal width between their smallest
    and largest value, as Locatello et al. do for codes. With few objects, both mutual informations are overestimated. To
    first order this does not change the gap, but a perfect code stays below 1.

    Returns:
        `f`, in [0, 1]; the score of a code is the mean.

    Raises:
        InputError: as in `probe_r2`, and if there are fewer than 2 dimensions.

    References:
        Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders, NeurIPS 2018.
        Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled Representations, 2019.
    """
    _check(codes, factors, least=2)
    n, d, f = len(codes), codes.shape[1], factors.shape[1]
    cells = _binned(codes, bins)[:, :, None] * bins + _binned(factors, bins)[:, None]
    table = torch.zeros(d * f, bins * bins, dtype=torch.double, device=codes.device)
    table.scatter_add_(1, cells.view(n, d * f).mT, torch.ones_like(cells, dtype=torch.double).view(n, d * f).mT)
    table = table.view(d, f, bins, bins) / n
    of_code, of_factor, together = (_nats(part) for part in (table.sum(3), table.sum(2), table.flatten(2)))
    best = (of_code + of_factor - together).topk(2, dim=0).values
    return ((best[0] - best[1]) / of_factor[0]).where(_varies(factors), math.nan)


def _check(codes: Tensor, factors: Tensor, least: int = 1) -> None:
    if len(codes) != len(factors) or len(codes) < 2 * FOLDS:
        raise InputError(f"{len(codes)} codes and {len(factors)} rows of factors: they must be as many, and at least 10.")
    if min(codes.shape[1], factors.shape[1]) < least:
        raise InputError(f"{codes.shape[1]} dimensions and {factors.shape[1]} factors: at least {least} of each are needed.")
    if not (codes.isfinite().all() and factors.isfinite().all()):
        raise InputError("codes and factors must be finite: leave out objects that are absent.")


def _standardised(values: Tensor) -> Tensor:
    """Columns with mean 0 and variance 1; a constant column becomes 0."""
    centred = values.double() - values.double().mean(0)
    deviation = centred.square().mean(0).sqrt()
    return centred / deviation.where(_varies(values), math.inf)


def _varies(values: Tensor) -> Tensor:
    """Whether each column is not constant."""
    return values.amax(0) > values.amin(0)


def _held_out_r2(probes: Tensor, factors: Tensor) -> Tensor:
    """R2 `p f` of each factor by each of p probes, which have the inputs `p n d`."""
    x = torch.stack([_standardised(probe) for probe in probes])
    y = _standardised(factors)
    fold = torch.arange(len(y), device=y.device) * FOLDS // len(y)
    error = torch.zeros(len(x), y.shape[1], dtype=y.dtype, device=y.device)
    for held in range(FOLDS):
        fitted, tested = fold != held, fold == held
        ones = x.new_ones(len(x), len(y), 1)
        inputs = torch.cat([x, ones], 2)
        gram = inputs[:, fitted].mT @ inputs[:, fitted]
        gram.diagonal(dim1=1, dim2=2).add_(RIDGE * len(y))
        weights = torch.linalg.solve(gram, inputs[:, fitted].mT @ y[fitted])
        error += (inputs[:, tested] @ weights - y[tested]).square().sum(1)
    return (1 - error / len(y)).where(_varies(factors), math.nan)


def _lasso(x: Tensor, y: Tensor) -> Tensor:
    """Weights `d f` that minimise |y - x w|^2 / 2n + LASSO |w|_1, by coordinate descent; x and y are standardised."""
    gram, target = x.mT @ x / len(x), x.mT @ y / len(x)
    weights = torch.zeros_like(target)
    for _ in range(SWEEPS):
        for i in range(len(weights)):
            rest = target[i] - gram[i] @ weights + gram[i, i] * weights[i]
            weights[i] = torch.nn.functional.softshrink(rest, LASSO)
    return weights


def _entropy(importance: Tensor, axis: int) -> Tensor:
    """Entropy in nats of the normalised importances along an axis; nan if they are all 0."""
    return _nats((importance / importance.sum(axis, keepdim=True)).movedim(axis, -1))


def _nats(fractions: Tensor) -> Tensor:
    return torch.special.entr(fractions).sum(-1)


def _binned(values: Tensor, bins: int) -> Tensor:
    """The bin, 0 to bins - 1, of each value within its column."""
    low, high = values.double().aminmax(dim=0)
    return ((values.double() - low) / (high - low).clamp(min=1e-300) * bins).long().clamp(max=bins - 1)
