"""The variance of counts beyond the Poisson, against counts drawn with a known one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scmvp.data.overdispersion import excess_variance
from scmvp.data.spectral import batches_of, fit_correspondence
from scmvp.fit.build import untrained
from scmvp.options import ModelOptions


def drawn(alpha: float, rng: np.random.Generator, factor: np.ndarray | None = None):
    """Counts of three types of cells, variance m (1 + alpha); `factor` (cells, features)."""
    n, n_features = 1500, 800
    level = rng.gamma(2, 0.15, n_features) * np.exp(rng.normal(0, 0.7, (3, n_features)))
    mean = level[rng.integers(3, size=n)] * rng.gamma(5, 0.2, (n, 1))
    mean = mean if factor is None else mean * factor
    rate = rng.gamma(mean / alpha, alpha) if alpha else mean
    return sp.csr_matrix(rng.poisson(rate).astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.5])
def test_excess_variance_is_the_one_counts_are_drawn_with(alpha):
    counts = drawn(alpha, np.random.default_rng(1))
    found = excess_variance(counts, fit_correspondence(counts, 30, 0), 0)
    assert found == pytest.approx(alpha, rel=0.1, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_effects_of_batches_are_no_excess_variance(alpha):
    rng = np.random.default_rng(2)
    design = np.eye(2, dtype=np.float32)[np.arange(1500) % 2]
    factor = np.exp(design @ rng.normal(0, 0.8, (2, 800)))
    counts = drawn(alpha, rng, factor)
    batches = batches_of(counts, design)
    known = excess_variance(counts, fit_correspondence(counts, 30, 0, batches), 0, batches)
    # a direction of the analysis has most of the effect of batches that it is not told of
    assert known == pytest.approx(alpha, rel=0.1, abs=0.05)


def test_cells_and_features_without_counts():
    counts = drawn(0.3, np.random.default_rng(3)).tolil()
    counts[:5], counts[:, :5] = 0, 0
    counts = counts.tocsr()
    found = excess_variance(counts, fit_correspondence(counts, 30, 0), 0)
    assert found == pytest.approx(0.3, rel=0.1)
    few = counts[:40, 5:8]
    assert np.isfinite(excess_variance(few, fit_correspondence(few, 3, 0), 0))
    nothing = sp.csr_matrix((4, 6), dtype=np.float32)
    assert excess_variance(nothing, fit_correspondence(nothing, 3, 0), 0) == 0


@pytest.mark.slow
def test_dispersed_peaks_keep_the_prior_of_their_weights():
    rng = np.random.default_rng(4)
    plain, dispersed = drawn(0.0, rng), drawn(1.5, rng)
    early = untrained(ModelOptions(), 3, {"rna": dispersed, "atac": plain}, None, 0).early_prior
    assert early["rna"] == {"KL warm-up": 0.2}  # the likelihood of genes allows for dispersion
    assert early["atac"]["KL warm-up"] == pytest.approx(0.2, abs=0.05)
    early = untrained(ModelOptions(), 3, {"rna": plain, "atac": dispersed}, None, 0).early_prior
    assert early["atac"] == {"KL warm-up": 1.0}
