"""Differences of methylation levels between groups of cells, as evidence for module `posterior`.

The effect of a region is b, the difference of its log odds of methylation between two groups. The
positions of one region in one cell are alike, so that m of n positions in a cell have the variance
n p (1 - p) (1 + (n - 1) rho). The counts of a group, divided by the mean of the last factor
(weighted by n), are effective counts of a binomial (Rao and Scott, Biometrics 1992). rho is
estimated by moments for each region and group and shrunk (module `dispersion`). The level of the
reference is profiled out: for each b, it takes its most probable value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import scipy.sparse as sp
from scipy.special import xlogy

from ..data.levels import halves
from ..data.matrices import Matrix
from .dispersion import Moments, shrunken
from .posterior import GRID, STEP

_FEWEST_PAIRS = 1.0  # of positions in one region and cell, for an estimate of rho


@dataclass
class LevelSums:
    """Sums over the cells of each unit, (units, features), but for `n`, (units,).

    Of m methylated and c covered positions of a cell: m, m^2, m c, c to the powers 1 to 4, and the
    cells where a region is covered.
    """

    methylated: np.ndarray
    square: np.ndarray
    product: np.ndarray
    covered: np.ndarray
    covered2: np.ndarray
    covered3: np.ndarray
    covered4: np.ndarray
    seen: np.ndarray
    n: np.ndarray

    def of(self, units: list[int]) -> LevelSums:
        """The sums over several units, (features,)."""
        return LevelSums(*(getattr(self, field.name)[units].sum(0) for field in fields(self)))

    @property
    def level(self) -> np.ndarray:
        """Methylated by covered positions, (..., features); 0.5 where none is covered."""
        unknown = np.full_like(self.methylated, 0.5)
        return np.divide(self.methylated, self.covered, out=unknown, where=self.covered > 0)


def level_sums(
    counts: Matrix, unit: np.ndarray, n_units: int, batch: np.ndarray | None
) -> list[LevelSums]:
    """The sums of each batch.

    Args:
        counts: Cells x 2 regions (`data.levels.stacked`).
        unit: Number of each cell's unit, (n,), -1 for cells that are in none.
        n_units: Number of units.
        batch: Number of each cell's batch, (n,); None: one batch.
    """
    m, rest = halves(counts)
    c = (m + rest).tocsr()
    batch = np.zeros(len(unit), int) if batch is None else batch
    n, rows = int(batch.max()) + 1, np.flatnonzero(unit >= 0)
    row = unit[rows] * n + batch[rows]
    member = sp.csr_matrix((np.ones(len(rows)), (row, rows)), shape=(n_units * n, len(unit)))
    values = [m, m.multiply(m), m.multiply(c), *(c.power(k) for k in (1, 2, 3, 4)), c > 0]
    sums = [(member @ part.astype(np.float64)).toarray() for part in values]
    sums.append(np.bincount(row, minlength=n_units * n))
    return [LevelSums(*(part[b::n] for part in sums)) for b in range(n)]


def intraclass_correlations(pairs: Sequence[tuple[LevelSums, LevelSums]]) -> list[np.ndarray]:
    """The correlation rho of positions of a region in one cell, from 0 to 1.

    Args:
        pairs: Sums of both groups in each batch (see `LevelSums.of`).

    Returns:
        Of either group, (features,).
    """
    groups = [_moments(group) for group in zip(*pairs, strict=True)]
    return [rho.clip(0, 1) for rho in shrunken(groups)]


def _moments(batches: Sequence[LevelSums]) -> Moments:
    """Of one group, over its batches.

    With C = sum c, h = sum c^2 / C^2, P = sum c (c - 1), Q = sum c^2 (c - 1) and the level
    q = sum m / C of a batch,

        sum (m - c q)^2 has the mean p (1 - p) (C (1 - h) + rho (P (1 + h) - 2 Q / C)),
        q (1 - q)       has the mean p (1 - p) (1 - 1 / C - rho (h - 1 / C)).

    The first less C (1 - h) / (1 - 1 / C) times the second has the mean 0 where rho is 0, for any
    coverage of the cells.
    """
    parts, (excess, pairs, *powers) = [], np.zeros((5, len(batches[0].covered)))
    for sums in batches:
        q, total = sums.level, np.maximum(sums.covered, 2)  # one position has residuals of 0
        spread, h = q * (1 - q), sums.covered2 / total**2
        pair, triple = sums.covered2 - sums.covered, sums.covered3 - sums.covered2
        excess += sums.square - 2 * q * sums.product + q**2 * sums.covered2
        excess -= spread * total**2 * (1 - h) / (total - 1)
        unit = spread * (pair * (1 + h + (1 - h) / (total - 1)) - 2 * triple / total)
        parts.append((unit, 1 - 1 / total, h - 1 / total))
        pairs += spread * pair
        of_cells = (sums.covered2, sums.covered3, sums.covered4)
        for power, value in zip(powers, of_cells, strict=True):
            power += spread**2 * value
    second, third, fourth = powers

    def unit_of(rho: np.ndarray) -> np.ndarray:
        rho = rho.clip(0, 1)
        units = [unit / np.maximum(one - rho * shared, 1e-9) for unit, one, shared in parts]
        return np.where(pairs > _FEWEST_PAIRS, np.sum(units, axis=0), 0)

    def noise_of(rho: np.ndarray) -> np.ndarray:
        # twice the square of the variance of m - c p, summed over cells
        return 2 * ((1 - rho) ** 2 * second + 2 * rho * (1 - rho) * third + rho**2 * fourth)

    return Moments(excess, unit_of, noise_of)


@dataclass
class LevelEvidence:
    """The likelihood of the effects of all regions, each (B, 2, features).

    `methylated` and `covered` are effective counts of both groups in B batches.
    """

    methylated: np.ndarray
    covered: np.ndarray

    @property
    def informative(self) -> np.ndarray:
        """Which regions are covered in both groups of a batch, (features,) bool."""
        return (self.covered > 0).all(1).any(0)

    def likelihood(self, features: slice | np.ndarray) -> np.ndarray:
        """L on the grid, (features, grid), the largest of each region being 1."""
        log_l = np.zeros((1, 1))
        for m, n in zip(self.methylated[:, :, features], self.covered[:, :, features], strict=True):
            log_l = log_l + _profile(m, n)
        return np.exp(log_l - log_l.max(1, keepdims=True))


def _profile(m: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Log-likelihood of one batch on the grid at the best level of the reference."""
    # the group with the larger odds first: then the quadratic equation has one root in [0, 1]
    half = GRID[GRID >= 0]
    up = _one_side(m, n, half)
    down = _one_side(m[::-1], n[::-1], half)
    return np.hstack([down[:, :0:-1], up])


def _one_side(m: np.ndarray, n: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """Of effects that are not negative, (features, len(effect)).

    The derivative by the level p of the second group is zero where the expected counts of both
    groups, together, are those seen: a quadratic equation in p.
    """
    (m_1, m_2), (n_1, n_2) = m[:, :, None], n[:, :, None]
    ratio, total = np.exp(effect), m_1 + m_2
    a = n_2 * (ratio - 1)
    b = n_1 * ratio + n_2 - total * (ratio - 1)
    root = np.sqrt(b**2 + 4 * a * total)
    with np.errstate(divide="ignore", invalid="ignore"):
        p_2 = np.where(b > 0, 2 * total / (b + root), (root - b) / (2 * a))
    p_2 = np.nan_to_num(p_2, nan=0.5).clip(0, 1)
    p_1 = ratio * p_2 / (1 - p_2 + ratio * p_2)
    return xlogy(m_1, p_1) + xlogy(n_1 - m_1, 1 - p_1) + xlogy(m_2, p_2) + xlogy(n_2 - m_2, 1 - p_2)


def level_evidence(batches: list[tuple[LevelSums, LevelSums]]) -> LevelEvidence:
    """Evidence of a comparison, from the sums of both groups in each batch."""
    rho = intraclass_correlations(batches)
    methylated, covered = [], []
    for pair in batches:
        factors = [_effective(*side) for side in zip(pair, rho, strict=True)]
        methylated.append([sums.methylated * f for sums, f in zip(pair, factors, strict=True)])
        covered.append([sums.covered * f for sums, f in zip(pair, factors, strict=True)])
    return LevelEvidence(np.array(methylated), np.array(covered))


def _effective(sums: LevelSums, rho: np.ndarray) -> np.ndarray:
    """By what the counts of a group are multiplied to be those of a binomial, (features,)."""
    covered = np.maximum(sums.covered, 1e-9)
    factor = 1 / (1 + rho * (sums.covered2 / covered - 1).clip(0))
    # a step of the grid as least standard error: what is narrower would fall between its points
    spread = sums.level * (1 - sums.level)
    return factor / (1 + covered * factor * spread * STEP**2)
