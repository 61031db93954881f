"""DNA methylation: two counts per genomic region, and the cell scores computed from them.

In cell i and region j, n_ij positions are covered and m_ij of them methylated. The matrix of both
has two columns per region, all methylated counts before all unmethylated ones; everything that
reads, stores or draws cells treats it as any other matrix of counts.

Positions of one region in one cell are correlated: the variance of m_ij is
n p (1 - p) (1 + (n - 1) rho), not that of a binomial. Counts divided by the last factor are
effective counts, which a binomial describes. Cells have scores on the singular vectors of the
standardized residuals of the effective counts, m' - n' p_j (docs/MODEL.md, M1, M2).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.special import expit

from ..errors import InputError
from ..modalities import MODALITIES, label_of
from ..progress import Report
from . import spectral
from .covariates import distinct
from .matrices import Matrix, in_memory
from .places import Place

_FEWEST_PAIRS = 10.0  # pairs of positions in one region and cell, to estimate rho
_USUAL_CORRELATION = 0.2  # where there is none
_CORRELATIONS = (1e-4, 0.9)  # bounds of rho
_LAYERS = (("methylated", "covered"), ("mc", "cov"))  # the second: of ALLCools


class Covered(NamedTuple):
    """Both counts of a container, cells x regions, as they are there."""

    methylated: Any
    covered: Any


class LevelAnalysis(NamedTuple):
    """What is needed to compute scores of cells, in the names of the tensors in model files."""

    loading: np.ndarray  # (F, d) float32, of the residual of effective counts
    logit: np.ndarray  # (F,) float32, log odds of p
    share: np.ndarray  # (F,) float32, proportions of the effective counts
    correlation: np.ndarray  # (1,) float32, rho, of the positions of a region in a cell
    log_factor: np.ndarray  # (n_levels, F) float32, what batches add to the log odds


def places_of_levels(places: Iterable[Place], where: str) -> Covered:
    """The layers of a container with the methylated and the covered counts.

    Raises:
        InputError: They are not there.
    """
    layers = {place.name: place for place in places if place.is_layer}
    for names in _LAYERS:
        if all(name in layers for name in names):
            return Covered(*(layers[name].values() for name in names))
    has = ", ".join(map(repr, layers)) or "none"
    raise InputError(
        f"{where} has no layers 'methylated' and 'covered' (layers: {has}); put the numbers of "
        "methylated and of covered positions of each region into layers of these names"
    )


def refuse_levels(modality: str | None) -> None:
    """Reject methylation where features are compared by counts, which would be wrong for levels."""
    if modality in MODALITIES and MODALITIES[modality].is_level:
        raise InputError(
            f"features of modality '{modality}' have levels, and this test compares counts; "
            "compare groups of cells by the differential test of a fitted model"
        )


def stacked(
    methylated: Matrix, covered: Matrix, cells: np.ndarray, regions: np.ndarray
) -> sp.csr_matrix:
    """Both counts in one matrix, cells x 2 regions: methylated, then unmethylated.

    Raises:
        InputError: More positions are methylated than covered.
    """
    m, n = in_memory(methylated), in_memory(covered)
    rest = (n - m).tocsr()
    if rest.nnz and rest.data.min() < 0:
        at = int(np.argmin(rest.data))
        i, j = int(np.searchsorted(rest.indptr, at, side="right")) - 1, rest.indices[at]
        raise InputError(
            f"the {label_of('methylation')} modality has more methylated than covered positions "
            f"(cell {cells[i]}, region {regions[j]}: {m[i, j]:g} of {n[i, j]:g}); the layer "
            "'covered' has to count methylated and unmethylated positions together"
        )
    rest.eliminate_zeros()
    found = sp.hstack([m, rest], format="csr", dtype=np.float32)
    found.sort_indices()
    return found


def halves(counts: Matrix) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Methylated and unmethylated counts of `stacked`, cells x regions."""
    both = in_memory(counts)
    n = both.shape[1] // 2
    return both[:, :n], both[:, n:]


def both_columns(regions: np.ndarray, n: int) -> np.ndarray:
    """Columns of some of n regions, by number, -1 for one that is not there."""
    return np.concatenate([regions, np.where(regions < 0, -1, regions + n)])


def covered_cells(counts: Matrix) -> np.ndarray:
    """Number of cells in which each region is covered; (n_regions,) int64."""
    m, u = halves(counts)
    return np.bincount((m + u).tocsr().indices, minlength=m.shape[1])


def log_odds(counts: Matrix) -> np.ndarray:
    """Log odds of methylation of each region over all cells, with 0.5 added to both counts."""
    total = np.asarray(in_memory(counts).sum(0, dtype=np.float64)).ravel() + 0.5
    m, u = np.split(total, 2)
    return np.log(m / u)


def intraclass_correlation(m: sp.csr_matrix, n: sp.csr_matrix) -> float:
    """The correlation rho of positions of one region in one cell, the median of regions.

    By moments: Σ_i (m_i - n_i p)^2 - n_i p (1 - p) has the mean rho p (1 - p) Σ_i n_i (n_i - 1).

    Args:
        m: Methylated counts, cells x regions.
        n: Covered counts.
    """
    covered = _sums(n)
    p = np.divide(_sums(m), covered, out=np.full(len(covered), 0.5), where=covered > 0)
    squares = _sums(m.multiply(m)) - 2 * p * _sums(m.multiply(n)) + p**2 * _sums(n.multiply(n))
    pairs = p * (1 - p) * (_sums(n.multiply(n)) - covered)
    known = pairs > _FEWEST_PAIRS
    if not known.any():
        return _USUAL_CORRELATION
    excess = squares[known] - (p * (1 - p) * covered)[known]
    return float(np.clip(np.median(excess / pairs[known]), *_CORRELATIONS))


def fit_levels(
    counts: Matrix,
    n_components: int,
    seed: int,
    design: np.ndarray | None = None,
    shrink: bool = True,
    report: Report | None = None,
) -> LevelAnalysis:
    """Loadings of regions, from at most 20,000 cells.

    Args:
        counts: Cells x 2 regions (`stacked`).
        n_components: d.
        seed: Seed of the cells drawn and of the search.
        design: Batches of the cells, (n_cells, n_levels).
        shrink: As in `spectral.fit_correspondence`.
        report: As there.
    """
    rng = np.random.default_rng(seed)
    n_regions = counts.shape[1] // 2
    log_factor = np.zeros((0, n_regions))
    if design is not None:
        of_both = spectral.batches_of(counts, design).log_factor
        log_factor = of_both[:, :n_regions] - of_both[:, n_regions:]
    sample, rows = spectral.sampled(counts, rng)
    m, u = halves(sample)
    rho, logit = intraclass_correlation(m, (m + u).tocsr()), log_odds(counts)
    shift = None if design is None else (design[rows], log_factor)
    residual, covered = _residuals(m, u, rho, logit, shift)
    size = _sums(covered.T)
    total = max(size.sum(), 1.0)
    share = _sums(covered) / total
    # in a rarely covered region, single positions would have large residuals
    variance = share * expit(logit) * expit(-logit)
    scale = np.sqrt(np.maximum(variance, 1 / (spectral.CLIP**2 * max(size.mean(), 1.0))))
    by_cell, by_region = sp.diags(1 / np.sqrt(np.maximum(size, 1e-9))), sp.diags(1 / scale)
    scaled = (by_cell @ residual @ by_region).tocsr().astype(np.float32)
    right = spectral.shrunken_directions(
        spectral.without_depth(scaled), n_components, rng, shrink, report
    )
    loading = np.sqrt(size.mean()) * right / scale[:, None]
    parts = (loading, logit, share, np.array([rho]), log_factor)
    return LevelAnalysis(*(part.astype(np.float32) for part in parts))


def _residuals(
    m: sp.csr_matrix,
    u: sp.csr_matrix,
    rho: float,
    logit: np.ndarray,
    shift: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Residuals of the effective counts, and the effective counts of covered positions."""
    covered = (m + u).tocsr()
    row = np.repeat(np.arange(covered.shape[0]), np.diff(covered.indptr))
    column = covered.indices
    expected = expit(logit[column])
    if shift is not None:
        design, log_factor = shift
        kinds, kind = distinct(design)
        expected = expit(logit[column] + (kinds @ log_factor)[kind[row], column])
    effective = 1 / (1 + (covered.data - 1) * rho)

    def like(data: np.ndarray) -> sp.csr_matrix:
        return sp.csr_matrix((data, column, covered.indptr), shape=covered.shape)

    residual = m.multiply(like(effective)) - like(effective * covered.data * expected)
    return residual.tocsr(), like(effective * covered.data)


def _sums(matrix: sp.spmatrix) -> np.ndarray:
    """Of the columns, float64."""
    return np.asarray(matrix.sum(0, dtype=np.float64)).ravel()
