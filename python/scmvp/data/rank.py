"""Number of clusters from the rank of the cell-cell correlation matrix, as in the paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator

from ..arguments import whole_number
from ..errors import InputError
from ..options import MAX_CLUSTERS
from ..settings import own_settings
from ..words import count_of
from .checks import count_matrix
from .containers import type_name
from .matrices import Matrix, entries_of_cells, feature_cells, in_memory
from .products import Products
from .spectral import (
    batches_of,
    leading,
    operator,
    residuals,
    scaled_counts,
    without_batches,
)

_MIN_CLUSTERS = 2
_RANK_CELLS = 3_000
_RANK_ENTRIES = 6_000_000
_RANK_FEATURES = 0.5
_STRATUM_CELLS = 100
# The largest eigenvalue of a null is a draw, too.
_RANK_MARGIN = 1.02
_RANK_STEPS = (16, MAX_CLUSTERS)


@own_settings()
def estimate_n_clusters(
    rna: Matrix, atac: Matrix, seed: int = 0, design: np.ndarray | None = None
) -> int:
    """Estimate the number of clusters from the rank of the cell-cell correlation matrix.

    This is the method of the paper. `SCMVP` without `n_clusters` estimates K from its latent,
    which is more accurate.

    K clusters span K - 1 directions among cells. A direction counts if its singular value exceeds
    the largest one of the same matrix after each feature's values are permuted over cells of the
    same depth. The rank is computed for both modalities together, which combines weak signals, and
    for each modality alone, without the noise of the other; the largest rank is used. Cells without
    counts in one modality are left out; the means of the batches are subtracted.

    Args:
        rna: Counts, cells x genes.
        atac: Counts of the same cells, cells x peaks.
        seed: Seed of the sampled cells (at most 3,000), of the permutation and of the search.
        design: Batches of the cells, (n_cells, n_levels) (module `covariates`).

    Returns:
        K between 2 and 50, and never more than the number of cells minus one (at least 1).
    """
    rng = np.random.default_rng(whole_number("seed", seed, at_least=0))
    rna, atac = (_counts_of(values, name) for name, values in (("rna", rna), ("atac", atac)))
    if rna.shape[0] != atac.shape[0]:
        raise InputError(
            f"the RNA matrix has {count_of(rna.shape[0], 'cell')} and the ATAC matrix "
            f"{atac.shape[0]:,}; give the same cells in the same order, cells x features"
        )
    if design is not None and len(design) != rna.shape[0]:
        raise InputError(
            f"design has {count_of(len(design), 'row')} for {count_of(rna.shape[0], 'cell')}; give "
            "one for each cell"
        )
    has_rna, has_atac = entries_of_cells(rna) > 0, entries_of_cells(atac) > 0
    paired = has_rna & has_atac
    chosen = np.flatnonzero(paired if paired.any() else has_rna | has_atac)
    if len(chosen) > _RANK_CELLS:
        chosen = np.sort(rng.choice(chosen, _RANK_CELLS, replace=False))
    n_cells, batch = len(chosen), np.zeros(len(chosen), np.int64)
    if design is not None:
        batch = np.unique(design[chosen], axis=0, return_inverse=True)[1].ravel()
    if n_cells < rna.shape[0]:
        rna, atac = rna[chosen], atac[chosen]
    rna, atac = in_memory(rna), in_memory(atac)
    if design is not None:
        rna, atac = (
            without_batches(counts, batches_of(counts, design[chosen])) for counts in (rna, atac)
        )
    found = [_data_and_null(counts, batch, rng) for counts in (rna, atac)]
    pairs = [pair for pair in found if pair is not None]
    if len(pairs) == 2:
        data, null = (_side_by_side(*both) for both in zip(*pairs, strict=True))
        pairs.append((data, null))
    rank = max((_rank(data, null, rng) for data, null in pairs), default=0)
    most = max(1, min(MAX_CLUSTERS, n_cells - 1))
    return int(np.clip(rank + 1, min(_MIN_CLUSTERS, most), most))


def _counts_of(values: Any, modality: str) -> Matrix:
    """`count_matrix` of cells and features that have no names."""
    if hasattr(values, "obs_names"):
        raise InputError(f"{modality} is {type_name(values)}; give its matrix, adata.X")
    shape = getattr(values, "shape", (0, 0))
    cells, features = (np.arange(n).astype(str) for n in (shape if len(shape) == 2 else (0, 0)))
    return count_matrix(values, modality, cells, features)


def _data_and_null(
    counts: sp.csr_matrix, batch: np.ndarray, rng: np.random.Generator
) -> tuple[LinearOperator, LinearOperator] | None:
    """Residuals of log counts and of permuted ones, divided by the largest permuted singular value.

    Values are permuted within each `batch`, (n_cells,). None if there are too few cells or features
    to estimate a rank.
    """
    logs = _log_counts(counts, rng)
    if min(logs.shape) < 3:
        return None
    depth = np.asarray(logs.sum(1)).ravel()
    strata = []
    for cells in (np.flatnonzero(batch == number) for number in np.unique(batch)):
        by_depth = cells[np.argsort(depth[cells], kind="stable")]
        strata += np.array_split(by_depth, max(1, round(len(cells) / _STRATUM_CELLS)))
    stratum = np.repeat(np.arange(len(strata)), [len(cells) for cells in strata])
    # cell types differ in depth, so depth differences between strata are not noise
    null = _residuals(_permuted(logs, strata, rng), stratum)
    largest = float(leading(null, 1, rng)[0][0])
    if largest == 0:
        return None
    return _residuals(logs, batch if batch.any() else None) / largest, null / largest


def _side_by_side(first: LinearOperator, second: LinearOperator) -> LinearOperator:
    """The columns of both."""
    n = first.shape[1]

    def forward(x: np.ndarray) -> np.ndarray:
        return first @ x[:n] + second @ x[n:]

    def backward(y: np.ndarray) -> np.ndarray:
        return np.concatenate([first.H @ y, second.H @ y])

    return operator((first.shape[0], n + second.shape[1]), forward, backward)


def _rank(data: LinearOperator, null: LinearOperator, rng: np.random.Generator) -> int:
    """Number of singular values beyond the largest one of the null."""
    edge = _RANK_MARGIN * leading(null, 1, rng)[0][0]
    most = min(data.shape) - 2
    for step in _RANK_STEPS:
        rank = int((leading(data, min(step, most), rng)[0] > edge).sum())
        if rank < min(step, most):
            break
    return rank


def _log_counts(counts: sp.csr_matrix, rng: np.random.Generator) -> sp.csr_matrix:
    """log1p, float32, of the features that are informative about groups of cells."""
    seen = feature_cells(counts)
    # Bursts of a feature seen in a handful of cells look like directions of their own.
    common = np.flatnonzero(seen >= max(5, 0.005 * counts.shape[0]))
    # Features that vary no more than depth makes them are noise. A permutation leaves each
    # feature's variance as it is, so that choosing by it favors the data no more than the null.
    scaled = scaled_counts(counts[:, common])
    excess = np.asarray(scaled.multiply(scaled).sum(0)).ravel()
    excess -= np.asarray(scaled.sum(0)).ravel() ** 2 / counts.shape[0]
    common = common[np.argsort(-excess)[: max(100, int(_RANK_FEATURES * len(common)))]]
    # Deep cells have more than enough counts: a part of the features bounds time and memory.
    part = _RANK_ENTRIES / max(1, seen[common].sum())
    if part < 1:
        common = rng.choice(common, max(1, int(part * len(common))), replace=False)
    logs = counts[:, np.sort(common)].astype(np.float32)
    np.log1p(logs.data, out=logs.data)
    return logs


def _permuted(
    matrix: sp.csr_matrix, strata: list[np.ndarray], rng: np.random.Generator
) -> sp.csr_matrix:
    """The same values of every feature on other cells of the stratum, drawn for each feature.

    The rows come in the order of the strata.
    """
    parts = []
    for cells in strata:
        block = matrix[cells].tocsc()
        order = rng.random(block.shape, dtype=np.float32).argsort(axis=0)
        column = np.repeat(np.arange(block.shape[1]), np.diff(block.indptr))
        rows = order[np.arange(block.nnz) - block.indptr[column], column]
        parts.append(sp.csc_matrix((block.data, rows, block.indptr), block.shape).tocsr())
    return sp.csr_matrix(sp.vstack(parts))


def _residuals(logs: sp.csr_matrix, stratum: np.ndarray | None = None) -> LinearOperator:
    """Deviations of log counts from what depth explains, in units of their standard deviation.

    Their left singular vectors are those of a depth-corrected cell-cell correlation. Depth explains
    the expectation, and the curvature that the logarithm leaves; and the mean of each stratum
    (n_cells,), where they are given.
    """
    rows = np.asarray(logs.sum(axis=1, dtype=np.float64)).ravel()
    weight = np.sqrt(rows)
    explained = [weight, weight * np.log1p(rows)]
    if stratum is not None:
        explained += [weight * (stratum == i) for i in range(stratum.max() + 1)]
    depth = scipy.linalg.orth(np.column_stack(explained))
    return residuals(Products(scaled_counts(logs)), depth.astype(np.float32))
