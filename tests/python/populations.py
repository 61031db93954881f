"""Cells whose differences are known."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

import scmvp


def counts(rng, mean, phi):
    """NB counts around `mean`, (cells, features), of inverse dispersion 1 / phi."""
    return sp.csr_matrix(rng.poisson(mean * rng.gamma(1 / phi, phi, mean.shape)).astype(np.float32))


def population(
    seed, n=(120, 150), n_features=1500, n_different=120, fold=2.5, phi=0.4, null=False, first=None
):
    """Two groups of cells, whose first features differ by a fold in either direction.

    `first` has the effects (natural logarithm) of the first features instead.
    """
    rng = np.random.default_rng(seed)
    share = rng.lognormal(0, 1, n_features)
    share /= share.sum()
    effect = np.zeros(n_features)
    effect[:n_different] = 0 if null else np.log(fold) * rng.choice([-1, 1], n_different)
    if first is not None:
        effect[: len(first)] = first
    size = 2000 * rng.lognormal(0, 0.4, sum(n))
    group = np.arange(sum(n)) < n[0]
    mean = size[:, None] * share * np.where(group[:, None], np.exp(effect), 1)
    return counts(rng, mean, phi), group, effect


def faint_types():
    """Three types that RNA and ATAC hardly tell apart, and the number of each cell's type."""
    mdata = scmvp.simulate(
        n_cells=300, n_genes=200, n_peaks=400, n_types=3, gene_fold=1.2, peak_fold=1.1, seed=2
    )
    return mdata, mdata["rna"].obs["cell_type"].cat.codes.to_numpy()


def assert_types_found(kind, cluster) -> None:
    """Each of three types is nearly a cluster of its own."""
    table = np.zeros((3, 3))
    np.add.at(table, (kind, cluster), 1)
    assert table.max(1).sum() > 0.95 * len(kind) and len({*table.argmax(1)}) == 3
