"""Overdispersion of the counts relative to the Poisson, estimated before training."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from .matrices import Matrix
from .spectral import Batches, CorrespondenceAnalysis, without_batches

_CELLS = 1_000  # some million counts, by which the estimate is known to a few percent
# Shrinkage of a direction that differences between cells have made; it is up to two thirds for
# directions that are noise of the cells analyzed, which would take away their variance.
_SIGNAL = 0.75


def excess_variance(
    counts: Matrix, found: CorrespondenceAnalysis, seed: int, batches: Batches | None = None
) -> float:
    """The linear dispersion α that all features have in common: variance m (1 + α) at the mean m.

    The means m_ij = l_i p_j + √(l_i p_j) Σ_k a_ik v_jk use the scores a and those directions v of
    correspondence analysis that are not noise. By moments, α is Σ_ij (x_ij - m_ij)² /
    Σ_ij m_ij (1 - p_j - Σ_k v_jk²) - 1, and at least 0; the last factor is the part of the variance
    that scores of the same counts leave. As the means have few dimensions, the sums are those of
    small matrices.

    Args:
        counts: Cells x features; at most 1,000 cells are used.
        found: Their correspondence analysis.
        seed: Seed of the cells drawn.
        batches: Batches of the cells, by whose factors counts are divided.
    """
    n_cells = counts.shape[0]
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(n_cells, min(n_cells, _CELLS), replace=False))
    own = sp.csr_matrix(counts[rows], dtype=np.float64)
    x = own
    if batches is not None:
        x = without_batches(own, Batches(batches.design[rows], batches.log_factor))
    size = np.asarray(x.sum(1))
    share = found.share.astype(np.float64)[:, None]
    # a loading is v / √p times its shrinkage and the unit of scores, √ of the mean library size
    scaled = found.loading * np.sqrt(share)
    norm = np.sqrt(np.square(scaled).sum(0))
    signal = norm > _SIGNAL * np.sqrt(max(size.mean(), 1))
    direction = scaled[:, signal] / norm[signal]
    per_count = np.divide(direction, np.sqrt(share), out=np.zeros_like(direction), where=share > 0)
    of_cells = np.hstack([size, x @ per_count - size * (share.T @ per_count)])
    of_features = np.hstack([share, np.sqrt(share) * direction])
    squares = np.square(x.data).sum() - 2 * ((x @ of_features) * of_cells).sum()
    squares += ((of_cells.T @ of_cells) * (of_features.T @ of_features)).sum()
    # a few features may lie within the directions as a whole
    left = (1 - share[:, 0] - np.square(direction).sum(1)).clip(1e-3)
    # a Poisson count divided by a factor has variance mean / factor
    counted = own.data > 0
    of_poisson = np.square(x.data[counted]) / own.data[counted] * left[x.indices[counted]]
    return float(max(squares / of_poisson.sum() - 1, 0)) if counted.any() else 0.0
