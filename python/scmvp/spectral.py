"""Correspondence analysis of sparse counts: the directions among cells that are not noise.

The residuals are (x_ij / l_i - p_j) sqrt(l_i / p_j), with l_i the library size of cell i and p_j
the share of feature j in all counts: deviations from independence in units of their Poisson
standard deviation (Greenacre, Correspondence Analysis in Practice). They are never formed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, svds

# A feature of expected 1e-4 counts that is seen once has a residual of 100: such accidents, not
# groups of cells, would make the leading directions. Scaled entries are cut off here.
CLIP = 10.0

_SPECTRUM_CELLS = 20_000
_TOLERANCE = 1e-2


class Spectrum(NamedTuple):
    """How to score cells on the leading directions of the cells it was fitted to.

    A cell's scores are Σ_j min(x_j, CLIP sqrt(l p_j)) / l · loading_j - centre, (d,), in units of
    the noise of a cell of mean library size.
    """

    loading: np.ndarray  # (F, d) float32
    centre: np.ndarray  # (d,) float32, scores of the mean profile
    share: np.ndarray  # (F,) float32, p


def fit_spectrum(counts: sp.csr_matrix, n_components: int, seed: int) -> Spectrum:
    """The leading directions of at most 20,000 cells.

    Args:
        counts: Cells x features.
        n_components: d; those beyond the smaller side of the matrix are all zero.
        seed: Of the cells drawn and of the search.
    """
    rng = np.random.default_rng(seed)
    if counts.shape[0] > _SPECTRUM_CELLS:
        counts = counts[np.sort(rng.choice(counts.shape[0], _SPECTRUM_CELLS, replace=False))]
    size = np.asarray(counts.sum(1), dtype=np.float64).ravel()
    share = np.asarray(counts.sum(0), dtype=np.float64).ravel() / max(size.sum(), 1)
    scaled = scaled_counts(counts)
    np.minimum(scaled.data, CLIP, out=scaled.data)
    depth = np.sqrt(size / max(size.sum(), 1))[:, None].astype(np.float32)
    right = np.zeros((len(share), n_components), np.float32)
    n = min(n_components, min(counts.shape) - 1)
    if n > 0 and counts.nnz:
        right[:, :n] = leading(residuals(scaled, depth), n, rng)[1]
    unit = np.sqrt(size.mean())
    inverse = np.divide(unit, np.sqrt(share), out=np.zeros_like(share), where=share > 0)
    centre = unit * ((scaled.T @ depth)[:, 0] @ right) / np.sqrt(max(size.sum(), 1))
    parts = (right * inverse[:, None], centre, share)
    return Spectrum(*(part.astype(np.float32) for part in parts))


def scaled_counts(counts: sp.csr_matrix) -> sp.csr_matrix:
    """x_ij / sqrt(l_i Σ_i x_ij / Σ l), float32; a row or column without counts stays empty."""
    rows = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    columns = np.asarray(counts.sum(axis=0, dtype=np.float64)).ravel() / max(rows.sum(), 1)
    scaled = sp.diags(_inverse_root(rows)) @ counts @ sp.diags(_inverse_root(columns))
    return scaled.tocsr().astype(np.float32)


def residuals(scaled: sp.csr_matrix, depth: np.ndarray) -> LinearOperator:
    """Scaled counts without what depth explains; never formed.

    Args:
        scaled: `scaled_counts`, cells x features.
        depth: Orthonormal columns, (n_cells, q); sqrt(l) / sqrt(Σ l) alone makes the residuals
            those of correspondence analysis.
    """

    def forward(x: np.ndarray) -> np.ndarray:
        product = scaled @ x
        return product - depth @ (depth.T @ product)

    def backward(y: np.ndarray) -> np.ndarray:
        return scaled.T @ (y - depth @ (depth.T @ y))

    return operator(scaled.shape, forward, backward)


def operator(shape: tuple[int, int], forward: Callable, backward: Callable) -> LinearOperator:
    """A matrix, float32, by its products with one or several columns."""
    return LinearOperator(
        shape, matvec=forward, rmatvec=backward, matmat=forward, rmatmat=backward, dtype=np.float32
    )


def leading(
    matrix: LinearOperator, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Singular values (n,), descending, and right vectors (n_columns, n)."""
    start = rng.standard_normal(min(matrix.shape)).astype(np.float32)
    try:
        _, values, right = svds(matrix, n, v0=start, tol=_TOLERANCE)
    except ArpackNoConvergence:
        raise
    except ArpackError:  # a matrix of zeros, as the residuals of identical cells are
        return np.zeros(n), np.zeros((matrix.shape[1], n))
    order = np.argsort(-values)
    return values[order], right[order].T


def _inverse_root(totals: np.ndarray) -> np.ndarray:
    root = np.zeros_like(totals)
    np.divide(1.0, np.sqrt(totals), out=root, where=totals > 0)
    return root
