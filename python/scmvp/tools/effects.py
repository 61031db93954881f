"""Likelihood of the effects of a group of cells on features, from sums of counts.

The effect of a feature is b = log(f_1 / f_2), f_g its proportion in the counts of group g. Its
likelihood: given the count t_1 + t_2 of both groups, t_1 is binomial with
logit(p) = b + log(l_1 / l_2), l_g the counts of all features. Cells of a group differ by more than
that: a proportion with squared coefficient of variation phi between the cells of a group
adds v = sum_g phi_g sum_i l_i^2 / (sum_i l_i)^2 to the variance of log(t_1 / t_2). It enters as an
extended quasi-likelihood (Nelder and Pregibon 1987) of dispersion D(b) = 1 + v (t_1 + t_2) p (1-p):

    log L(b) = -deviance(b) / (2 D(b)) - log(D(b)) / 2,

which is the binomial where v is 0 and a Gaussian where counts are many. Module `dispersion` has
phi, module `posterior` the prior and what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, expit, xlogy

from .dispersion import overdispersions
from .posterior import GRID, STEP, fit_weights
from .sums import Sums

CENTRE_FEATURES = 5_000  # those with most counts, from which the typical effect is learned
# of effects around the typical one; a point mass would depend on where it is between points
_WIDTHS = np.append(STEP, 0.1 * 2 ** np.arange(6.0))


@dataclass
class Evidence:
    """The likelihood of the effects of all features.

    Cells are compared within each of B batches: the factor by which a batch multiplies a feature is
    the same in both groups and cancels. `count` is (B, 2, features); `log_ratio` (B,) is log(l_1 /
    l_2) plus the log fold change of the typical feature; `spread` (B, features) is the v of the
    text of the module.
    """

    count: np.ndarray
    log_ratio: np.ndarray
    spread: np.ndarray

    @property
    def informative(self) -> np.ndarray:
        """Which features have counts, (features,) bool."""
        return self.count.sum((0, 1)) > 0

    def likelihood(self, features: slice | np.ndarray) -> np.ndarray:
        """L on the grid, (features, grid), the largest of each feature being 1."""
        parts = zip(self.count, self.log_ratio, self.spread, strict=True)
        log_l = np.zeros((1, 1))
        for count, log_ratio, spread in parts:
            log_l = log_l + _log_likelihood(count[:, features], log_ratio, spread[features])
        return np.exp(log_l - log_l.max(1, keepdims=True))


def _log_likelihood(count: np.ndarray, log_ratio: float, spread: np.ndarray) -> np.ndarray:
    """Logarithm of L of one batch on the grid, (features, grid), up to a constant of each."""
    first, second = count[:, :, None]
    total = first + second
    logit = GRID + log_ratio
    log_p, log_q = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
    most = xlogy(first, first) + xlogy(second, second) - xlogy(total, total)
    half_deviance = most - first * log_p - second * log_q
    # a step of the grid as least variance: what is narrower would fall between its points
    dispersion = (spread + STEP**2)[:, None] * total * np.exp(log_p + log_q) + 1
    return -half_deviance / dispersion - 0.5 * np.log(dispersion)


def evidence_of(
    batches: list[tuple[Sums, Sums]], above: list[tuple[Sums, Sums]] | None = None
) -> tuple[Evidence, float]:
    """Evidence of a comparison, and the log fold change of the typical feature (natural log).

    Proportions sum to one: features that gain leave less to all others. The difference of the
    typical feature is therefore subtracted from all, as size factors do in bulk data. Of a few
    features that were chosen because they differ, none is typical; where they have a background,
    that is what both groups have in common, and its difference is subtracted.

    Args:
        batches: Sums of both groups in each batch.
        above: The same of the counts above the background, where there is one.

    Returns:
        The evidence, and the log fold change of the typical feature, or of the background, a mean
        over the batches.
    """
    phi = overdispersions(batches)
    parts = [
        _of_batch(pair, phi, None if above is None else above[number])
        for number, pair in enumerate(batches)
    ]
    count, log_ratio, spread, centre = (np.stack(part) for part in zip(*parts, strict=True))
    return Evidence(count, log_ratio, spread), float(np.average(centre, weights=count.sum((1, 2))))


def _of_batch(
    pair: tuple[Sums, Sums], phi: list[np.ndarray], above: tuple[Sums, Sums] | None
) -> tuple[np.ndarray, float, np.ndarray, float]:
    """`count`, `log_ratio` and `spread` of `Evidence`, and what the typical feature differs by."""
    group, reference = pair
    count = np.stack([group.count, reference.count])
    variation = zip(pair, phi, strict=True)
    spread = sum(of_group * sums.size[1] / sums.size[0] ** 2 for sums, of_group in variation)
    log_ratio = float(np.log(group.size[0] / reference.size[0]))
    if above is None:
        centre, error = typical_effect(count, log_ratio, spread)
    else:
        centre, error = _of_background(pair, above)
        centre += float(np.log(group.n / reference.n)) - log_ratio
    return count, log_ratio + centre, spread + error**2, centre


def typical_effect(count: np.ndarray, log_ratio: float, spread: np.ndarray) -> tuple[float, float]:
    """The effect around which those of the features lie, and its standard error.

    Near the median, it maximizes the likelihood of the features under a prior that is symmetric
    around it: normals of several widths, almost a point mass the first, whose weights are learned
    alike. Ratios of counts would not do: those of rare features are skewed, and the more the fewer
    cells one of the groups has.

    Args:
        count: Of both groups, (2, features).
        log_ratio: log(l_1 / l_2).
        spread: v of the text of the module, (features,).
    """
    total = count.sum(0)
    used = np.argsort(-total, kind="stable")[:CENTRE_FEATURES]
    used = used[total[used] > 0]
    if not len(used):
        return 0.0, 0.0
    log_l = _log_likelihood(count[:, used], log_ratio, spread[used])
    likelihood = np.exp(log_l - log_l.max(1, keepdims=True))

    def quality(centres: np.ndarray) -> np.ndarray:
        priors = np.stack([weight @ _around(centre) for centre in centres], 1)
        return np.log(likelihood @ priors).sum(0)

    weight = np.append(0.5, np.full(len(_WIDTHS) - 1, 0.5 / (len(_WIDTHS) - 1)))
    centre = _median(count[:, used], log_ratio, np.ones(len(used)))
    reach, pace = 0.5, 0.1
    for _ in range(15):
        near = centre + np.arange(-reach, reach + pace / 2, pace)
        values = quality(near)
        best = int(np.clip(values.argmax(), 1, len(near) - 2))
        before, bend = centre, values[best - 1] - 2 * values[best] + values[best + 1]
        shift = (values[best - 1] - values[best + 1]) / (2 * min(bend, -1e-12))
        centre = float(near[best] + pace * np.clip(shift, -1, 1))
        if pace == STEP and abs(centre - before) < STEP / 8:
            break
        reach, pace = 6 * STEP, STEP
        weight = fit_weights(likelihood @ _around(centre).T, weight)
    return centre, pace / np.sqrt(max(-bend, 1e-12))


def _around(centre: float) -> np.ndarray:
    """Normals around a place on the grid or between its points, (widths, grid)."""
    shapes = np.exp(-0.5 * ((GRID - centre) / _WIDTHS[:, None]) ** 2)
    return shapes / shapes.sum(1, keepdims=True)


def _of_background(both: tuple[Sums, Sums], above: tuple[Sums, Sums]) -> tuple[float, float]:
    """Log fold change of the background, per cell, and its standard error: the median of features.

    A feature counts by the proportion of cells that have its background alone, in the group where
    they are fewer.
    """
    pairs = list(zip(both, above, strict=True))
    low = np.stack([all_counts.count - higher.count for all_counts, higher in pairs])
    n_cells = np.stack([all_counts.n - higher.seen for all_counts, higher in pairs])
    share = np.min([n / all_counts.n for n, all_counts in zip(n_cells, both, strict=True)], axis=0)
    used = (share > 0) & (low.sum(0) > 0)
    if not used.any():
        return 0.0, 0.0
    log_ratio = np.log(n_cells[0, used] / n_cells[1, used])
    low, weight = low[:, used], share[used]
    centre = _median(low, log_ratio, weight)
    # the sum of so many independent terms, each of the size it has there, or of a uniform variable
    terms = weight**2 @ np.maximum(_more(centre, low, log_ratio) ** 2, 1 / 12)
    error = min(np.sqrt(terms), 0.99 * weight.sum() / 2)
    low_end, high_end = (_median(low, log_ratio, weight, sum_of) for sum_of in (error, -error))
    return centre, (high_end - low_end) / 2


def _median(
    count: np.ndarray, log_ratio: float | np.ndarray, weight: np.ndarray, sum_of: float = 0.0
) -> float:
    """The median effect of features.

    For half of the features, the counts of the first group are more than this effect leads to
    expect, by their binomial tail, of which equal counts are half. So rare features, of whose
    ratios the logarithms are skewed, bias it no more than others.

    Args:
        count: Of both groups, (2, features).
        log_ratio: As in `typical_effect`, of all features or of each.
        weight: By how much each feature counts, (features,).
        sum_of: What `_more`, weighted, sums to at the effect: 0 at the median.
    """
    ends = GRID[0], GRID[-1]

    def left(effect: float) -> float:
        return weight @ _more(effect, count, log_ratio) - sum_of

    if left(ends[0]) <= 0 or left(ends[1]) >= 0:
        return float(ends[0] if left(ends[0]) <= 0 else ends[1])
    return float(brentq(left, *ends, xtol=STEP / 10))


def _more(effect: float, count: np.ndarray, log_ratio: float | np.ndarray) -> np.ndarray:
    """Probability of less in the first group than was counted, less one half; (features,)."""
    first, total = count[0], count.sum(0)
    p = expit(effect + log_ratio)
    at_least = np.where(first > 0, betainc(np.maximum(first, 1), total - first + 1, p), 1)
    above = np.where(first < total, betainc(first + 1, np.maximum(total - first, 1), p), 0)
    return 0.5 - (at_least + above) / 2
