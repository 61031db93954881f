"""Variation of each feature between the cells of a group, by moments, for two compared groups.

The estimate for a group of few cells is noisy, and features differ: some vary strongly between
cells, others hardly. Each estimate is therefore shrunk toward its prediction from the other group,
a linear function of the other estimate with two coefficients common to all features. For similar
groups, the line is the diagonal; if the reference is a mixture of types, it is nearly flat.

Where one deep cell dominates a group, the moments tell nothing: the excess may be larger than any
number explains, and without bounds the estimates would diverge. A prior that weighs as much as one
observation of variance 1 then decides: the line is the diagonal, and the common value of a group
is 1. What is known is known much better than that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from .sums import Sums

_FEWEST_FEATURES = 20  # for a line rather than a common value


class Moments(NamedTuple):
    """Moments for one parameter of each feature, such as its variation between cells.

    `excess` (features,) has the mean number * unit_of(number), and the variance noise_of(number);
    both functions take and give (features,). A feature tells nothing where unit_of is 0.
    """

    excess: np.ndarray
    unit_of: Callable[[np.ndarray], np.ndarray]
    noise_of: Callable[[np.ndarray], np.ndarray]


def overdispersions(pairs: Sequence[tuple[Sums, Sums]]) -> list[np.ndarray]:
    """Squared coefficient of variation of each feature's proportion between the cells of a group.

    Args:
        pairs: Sums of both groups in each batch (see `Sums.of`).

    Returns:
        The estimates of each group, (features,), not negative.
    """
    return shrunken([_of_counts(group) for group in zip(*pairs, strict=True)])


def _of_counts(batches: Sequence[Sums]) -> Moments:
    """The moments of one group, over its batches.

    For cells whose proportions have gamma distributions of squared variation phi around f, and
    given the count t of a feature in all cells of a batch, with w_i = l_i / S_1, S_k = sum_i l_i^k
    and h = S_2 / S_1^2:

        sum_i (x_i - w_i t)^2 - t (1 - h)  has the mean
        phi t (t - 1) (S_2 - 2 S_3 / S_1 + S_2 h) / S_1^2 / (1 + phi h),

    exactly so for cells of equal size (Dirichlet-multinomial). Estimates that divide by t^2 instead
    are too small by a third for three cells.
    """
    parts, excess = [], np.zeros_like(batches[0].count)
    m1, m2, m3, m4 = (np.zeros_like(excess) for _ in range(4))
    for sums in batches:
        t, (s1, s2, s3, s4) = sums.count, sums.size
        f, h = t / s1, s2 / s1**2
        excess += sums.square - 2 * f * sums.sized + f**2 * s2 - t * (1 - h)
        parts.append((t * (t - 1) * (s2 - 2 * s3 / s1 + s2 * h) / s1**2, h))
        for moment, value in ((m1, f * s1), (m2, f**2 * s2), (m3, f**3 * s3), (m4, f**4 * s4)):
            moment += value

    def unit_of(phi: np.ndarray) -> np.ndarray:
        return np.sum([unit / (1 + phi * h) for unit, h in parts], axis=0)

    def noise_of(phi: np.ndarray) -> np.ndarray:
        # the fourth central moment of NB of variance s is s^2 (3 + 6 phi) + s
        return (2 + 6 * phi) * (m2 + 2 * phi * m3 + phi**2 * m4) + m1 + phi * m2

    return Moments(excess, unit_of, noise_of)


def shrunken(groups: Sequence[Moments]) -> list[np.ndarray]:
    """Estimates of both groups, each shrunk to a line in those of the other; not negative."""
    alone = [_shrunken(moments, None) for moments in groups]
    return [_shrunken(*pair) for pair in zip(groups, reversed(alone), strict=True)]


def _shrunken(moments: Moments, other: np.ndarray | None) -> np.ndarray:
    """Shrunken estimates of one group, (features,), weighted by their variance and by the variance
    around the line. `other`: estimates of the other group; None: shrink to a common value."""
    excess, unit_of, noise_of = moments
    known = unit_of(np.zeros_like(excess)) > 0
    if not known.any():
        return np.zeros_like(excess)
    terms, prior = [np.ones_like(excess)], [1.0 if other is None else other.mean()]
    if other is not None and known.sum() >= _FEWEST_FEATURES:
        terms, prior = [*terms, other], [0.0, 1.0]
    design = np.stack(terms, 1)
    centre, between = np.full_like(excess, 0.1), 0.1
    for _ in range(50):
        unit = unit_of(centre)
        estimate = np.divide(excess, unit, out=np.zeros_like(excess), where=known)
        noise = np.divide(noise_of(centre), unit**2, out=np.full_like(excess, np.inf), where=known)
        weight = 1 / (noise + between)
        before = centre, between
        root = np.sqrt(weight)
        rows = np.vstack([design * root[:, None], np.eye(len(prior))])
        centre = design @ nnls(rows, np.append(estimate * root, prior))[0]
        ratio = weight**2 @ (estimate - centre) ** 2 / weight.sum()
        between = max(between * float(np.clip(ratio, 0.2, 5)), 1e-6)
        if np.allclose(before[0], centre, 1e-4) and np.isclose(before[1], between, 1e-4):
            break
    own = between / (noise + between)
    return np.maximum(own * estimate + (1 - own) * centre, 0)
