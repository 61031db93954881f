"""How strongly pairs of a gene and a peak are associated, compared with pairs across the genome."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

_PAIRS = 8_192  # of which the values are gathered at a time, in the processor's cache
_MOST_ITERATIONS = 500
_BINS_OF_PRIOR = 64
_PARTS = 1_000  # of the pairs by their contact, for the probabilities of background pairs
_START = 0.05  # proportion of linked pairs at contact 1


class Evidence(NamedTuple):
    """Evidence for a link from the correlation of each pair, (n,) each.

    Attributes:
        ratio: Density of its correlation among linked pairs over that among background pairs.
        probability: Probability that it is linked and that its correlation is due to this.
        fdr: Expected proportion of pairs without such a link among those of at least its
            probability: the number expected if all pairs had correlations of the background, over
            the number that there are.
    """

    ratio: np.ndarray
    probability: np.ndarray
    fdr: np.ndarray


def correlations(
    blocks: Iterable[tuple[np.ndarray, np.ndarray]], first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pearson correlation of pairs of columns, over blocks of cells.

    Args:
        blocks: Blocks of cells: two matrices of the same cells, (cells, genes) and (cells,
            peaks).
        first: Columns of the first matrix, (n,).
        second: Columns of the second, (n,).

    Returns:
        (n,) float64, 0 if one of the two does not vary; and the means of the columns of the
        second matrix.
    """
    products = np.zeros(len(first))
    sums: list[np.ndarray] = []
    squares: list[np.ndarray] = []
    origin: list[np.ndarray] = []
    n = 0
    for block in blocks:
        if not origin:  # near the means, so that differences of sums keep their digits
            origin = [part.mean(0, dtype=np.float64) for part in block]
            sums, squares = ([np.zeros(len(at)) for at in origin] for _ in range(2))
        # rows are features, whose values in the cells then lie side by side
        one, other = (
            np.ascontiguousarray((part - at).T, dtype=np.float32)
            for part, at in zip(block, origin, strict=True)
        )
        for k, part in enumerate((one, other)):
            sums[k] += part.sum(1, dtype=np.float64)
            squares[k] += np.einsum("fc,fc->f", part, part, dtype=np.float64)
        for start in range(0, len(first), _PAIRS):
            some = slice(start, start + _PAIRS)
            products[some] += np.einsum("pc,pc->p", one[first[some]], other[second[some]])
        n += one.shape[1]
    spread = []
    for total, square in zip(sums, squares, strict=True):
        variance = square - total**2 / n
        # what rounding in single precision leaves of a constant is no variation
        variance[variance <= 1e-10 * square] = 0
        spread.append(np.sqrt(variance))
    covariance = products - sums[0][first] * sums[1][second] / n
    scale = spread[0][first] * spread[1][second]
    found = np.divide(covariance, scale, out=np.zeros(len(first)), where=scale > 0).clip(-1, 1)
    return found, origin[1] + sums[1] / n


def evidence_of(correlation: np.ndarray, background: np.ndarray, contact: np.ndarray) -> Evidence:
    """Whether pairs are linked, from their correlations and from those of background pairs.

    Correlations of pairs near each other have a mixture density, of that of background pairs and
    that of linked pairs. The ratio of the second to the first increases with the correlation. The
    odds that a pair is linked are proportional to its contact. The ratio, which is a step
    function, and the proportionality are estimated by expectation maximization.

    Args:
        correlation: Of the pairs, (n,).
        background: Of pairs that are not linked, (m,).
        contact: Of the pairs, (n,), above 0.

    Returns:
        Evidence of each pair. The estimated density of linked pairs may include background pairs;
        `probability` does not count these as linked.
    """
    edges = _edges(background)
    at = np.searchsorted(edges, correlation, side="right")
    null = np.bincount(np.searchsorted(edges, background, side="right"), minlength=len(edges) + 1)
    null = (null + 0.5) / (null + 0.5).sum()
    log_contact = np.log(contact)
    groups = np.unique(np.quantile(log_contact, np.linspace(0, 1, _BINS_OF_PRIOR + 1)[1:-1]))
    group = np.searchsorted(groups, log_contact, side="right")
    shape = (len(groups) + 1, len(null))
    table = np.bincount(group * shape[1] + at, minlength=shape[0] * shape[1]).reshape(shape)
    n_of_group = table.sum(1)
    offset = np.bincount(group, log_contact, shape[0]) / np.maximum(n_of_group, 1)
    ratio, intercept = _maximized(table, null, offset)
    prior = expit(intercept + log_contact)
    # the lower half of the background is not evidence of links, only of what both have in common
    lower = np.cumsum(null) - null / 2 <= 0.5
    shared = min(1.0, float(np.average(ratio[lower], weights=null[lower]))) if lower.any() else 0.0
    probability = _posterior(prior, ratio[at], shared)
    # the highest prior of each part, so that none of its background pairs is counted too late
    parts = [part for part in np.array_split(np.sort(prior), _PARTS) if len(part)]
    of_null = _posterior(np.array([part[-1] for part in parts])[:, None], ratio, shared)
    expected = np.outer([len(part) for part in parts], null)
    return Evidence(ratio[at], probability, _rate(probability, of_null.ravel(), expected.ravel()))


def _posterior(prior: np.ndarray, ratio: np.ndarray, shared: float) -> np.ndarray:
    """Probability of a link, counting only what of the ratio exceeds the part shared by all."""
    return prior * np.maximum(ratio - shared, 0) / (1 - prior + prior * ratio)


def _rate(found: np.ndarray, of_null: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The number expected at no less than each value over the number found, never falling.

    Unlike the mean of 1 - `found`, it does not rely on the prior odds: these only order the pairs.

    Args:
        found: Values, (n,), of which the largest are called first.
        of_null: Values of the background, (m,).
        expected: Number of pairs with each of these if all are of the background, (m,).
    """
    order, null_order = np.argsort(found), np.argsort(of_null)
    at_least = np.append(np.cumsum(expected[null_order][::-1])[::-1], 0)
    rising = found[order]
    false = at_least[np.searchsorted(of_null[null_order], rising)]
    called = len(rising) - np.searchsorted(rising, rising)
    rate = np.empty(len(order))
    rate[order] = np.minimum(1, np.minimum.accumulate(false / called))
    return rate


def _edges(background: np.ndarray) -> np.ndarray:
    """Steps of the ratio: quantiles of the background, finer at its upper end."""
    finest = min(0.1, 20 / len(background))
    upper = 1 - np.geomspace(0.1, finest, 30)
    return np.unique(np.quantile(background, np.concatenate([np.linspace(0, 0.9, 31)[1:], upper])))


def _maximized(table: np.ndarray, null: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, float]:
    """Ratio of the densities by bin of the correlation, and the intercept of the log prior odds.

    Args:
        table: Number of pairs by bin of contact (rows) and bin of correlation.
        null: Probability of each bin of correlation among background pairs.
        offset: Log contact of each row.
    """
    from sklearn.isotonic import IsotonicRegression

    position = np.arange(len(null))
    ratio = np.linspace(0.2, 3.0, len(null))
    ratio /= ratio @ null
    intercept, before = float(logit(_START)), -np.inf
    n_of_group, total = table.sum(1), table.sum()
    for _ in range(_MOST_ITERATIONS):
        prior = expit(intercept + offset)[:, None]
        density = 1 - prior + prior * ratio
        linked = table * prior * ratio / density
        by_bin = linked.sum(0) + 1e-12
        rising = IsotonicRegression(increasing=True)
        ratio = rising.fit_transform(position, by_bin / by_bin.sum() / null, sample_weight=null)
        ratio /= ratio @ null
        intercept = _intercept(intercept, offset, n_of_group, linked.sum(1))
        likelihood = float((table * np.log(density)).sum())
        if likelihood - before < 1e-8 * total:
            break
        before = likelihood
    return ratio, intercept


def _intercept(
    start: float, offset: np.ndarray, n_of_group: np.ndarray, linked: np.ndarray
) -> float:
    """Newton steps to the intercept of a logistic regression with an offset."""
    value = start
    for _ in range(5):
        p = expit(value + offset)
        information = (n_of_group * p * (1 - p)).sum()
        if information <= 0:
            break
        step = (linked.sum() - (n_of_group * p).sum()) / information
        value = float(np.clip(value + np.clip(step, -2, 2), -30, 10))
    return value
