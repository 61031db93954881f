"""Correspondence analysis against dense linear algebra, and as the encoders read it."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from scmvp.data import spectral
from scmvp.data.spectral import CLIP, fit_correspondence
from scmvp.nn.inputs import SpectralScores
from scmvp.nn.sparse import SparseRows

N, F = 300, 40


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    """Three groups of cells of several depths; no residual is large enough to be cut off."""
    rng = np.random.default_rng(0)
    profiles = rng.dirichlet(np.full(F, 5.0), 3)
    depth = rng.integers(100, 400, N)
    return rng.poisson(depth[:, None] * profiles[rng.integers(3, size=N)]).astype(np.float32)


def dense_scores(counts: np.ndarray, fitted: np.ndarray, d: int) -> np.ndarray:
    """Row profiles less the mean one, in units of its standard deviation, on right vectors."""
    size, share = fitted.sum(1, keepdims=True), fitted.sum(0) / fitted.sum()
    assert (fitted / np.sqrt(size * share)).max() < CLIP
    residual = (fitted / size - share) * np.sqrt(size / share)
    right = np.linalg.svd(residual, full_matrices=False)[2][:d].T
    profile = counts / counts.sum(1, keepdims=True)
    return np.sqrt(size.mean()) * ((profile - share) / np.sqrt(share)) @ right


def scores(counts: np.ndarray, fitted: np.ndarray, d: int, shrink: bool = False) -> np.ndarray:
    """As the encoders read them."""
    reader = SpectralScores(fit_correspondence(sp.csr_matrix(fitted), d, seed=0, shrink=shrink))
    sparse = sp.csr_matrix(counts)
    return reader(SparseRows.from_csr(sparse)).numpy()


def assert_same_up_to_signs(found: np.ndarray, expected: np.ndarray) -> None:
    sign = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * sign, expected, atol=0.02 * expected.std())


def test_scores_are_those_of_the_dense_residuals(counts):
    # the group directions only: those of noise have nearly equal values, and no order
    assert_same_up_to_signs(scores(counts, counts, 2), dense_scores(counts, counts, 2))


def test_new_cells_are_scored_on_the_fitted_directions(counts):
    new, fitted = counts[:100], counts[100:]
    assert_same_up_to_signs(scores(new, fitted, 2), dense_scores(new, fitted, 2))


@pytest.mark.slow
def test_measured_and_imputed_scores_of_one_profile_agree(counts):
    reader = SpectralScores(fit_correspondence(sp.csr_matrix(counts), 5, seed=0))
    sparse = sp.csr_matrix(counts)
    share = torch.from_numpy(counts / counts.sum(1, keepdims=True))
    torch.testing.assert_close(
        reader.reconstructed(share, torch.from_numpy(counts.sum(1, keepdims=True))),
        reader(SparseRows.from_csr(sparse)),
        atol=1e-4,
        rtol=1e-4,
    )


def test_the_scores_of_the_mean_profile_are_zero(counts):
    reader = SpectralScores(fit_correspondence(sp.csr_matrix(counts), 5, seed=0))
    mean = torch.from_numpy(counts.sum(0, keepdims=True) / counts.sum())
    assert reader.reconstructed(mean, mean).abs().max() < 1e-3


def test_one_accident_does_not_make_a_direction(counts):
    """A feature seen in one cell only would have the largest residual of all."""
    rare = np.zeros((N, 1), np.float32)
    rare[7] = 1
    found = scores(np.hstack([counts, rare]), np.hstack([counts, rare]), 2)
    assert np.abs(found[7]).max() < 6 * found.std()


@pytest.mark.parametrize("shrink", [False, True])
@pytest.mark.parametrize("n_cells, n_features", [(2, 40), (1, 3), (300, 2), (300, 1)])
def test_what_small_data_do_not_have_is_zero(counts, n_cells, n_features, shrink):
    small = counts[:n_cells, :n_features] + 1
    found = scores(small, small, 6, shrink)
    rank = min(small.shape) - 1
    assert found.shape == (n_cells, 6)
    assert np.isfinite(found).all()
    assert (found[:, rank:] == 0).all()


@pytest.mark.parametrize("shrink", [False, True])
def test_a_cell_or_a_modality_without_counts_scores_zero(counts, shrink):
    nothing = counts.copy()
    nothing[3] = 0
    found = scores(nothing, nothing, 2, shrink)
    assert np.isfinite(found).all()
    assert (scores(0 * counts, 0 * counts, 2, shrink) == 0).all()


def test_identical_cells_have_no_directions(counts):
    same = np.tile(counts[:1], (40, 1))
    assert np.abs(scores(same, same, 3)).max() < 1e-3


@pytest.mark.slow
def test_shrunk_noise_is_no_more_in_fitted_cells_than_in_others():
    """The leading directions of noise say much of the cells they come from, nothing of others."""
    rng = np.random.default_rng(2)
    noise = rng.poisson(0.5, (600, 1200)).astype(np.float32)
    assert scores(noise, noise, 10).var(0).min() > 4
    assert scores(noise, noise, 10, shrink=True).var(0).max() < 1.6


@pytest.mark.slow
@pytest.mark.parametrize("n_cells", [160, 600])
def test_shrunk_scores_of_fitted_cells_are_as_large_as_those_of_new_ones(n_cells):
    """However many cells made the directions, and lean on them."""
    rng = np.random.default_rng(3)
    profiles = rng.dirichlet(np.full(3000, 2.0), 4)
    counts = rng.poisson(800 * profiles[np.arange(n_cells + 1000) % 4]).astype(np.float32)
    fitted, new = counts[:n_cells], counts[n_cells:]
    of_new = scores(new, fitted, 3).std(0)
    assert (scores(fitted, fitted, 3).std(0) > 1.02 * of_new).all()
    np.testing.assert_allclose(scores(fitted, fitted, 3, shrink=True).std(0), of_new, rtol=0.1)


@pytest.mark.parametrize("limit", ["_ANALYZED_CELLS", "_ANALYZED_ENTRIES"])
def test_some_of_the_cells_give_the_directions_of_all(counts, monkeypatch, limit):
    """Cells in the order of their groups, of which a third is analyzed."""
    order = np.argsort(dense_scores(counts, counts, 2)[:, 0])
    counts = counts[order]
    monkeypatch.setattr(spectral, "_PROBE_CELLS", 20)
    per_cell = (counts > 0).sum(1).mean()
    monkeypatch.setattr(spectral, limit, 100 if limit == "_ANALYZED_CELLS" else int(100 * per_cell))
    drawn, rows = spectral.sampled(sp.csr_matrix(counts), np.random.default_rng(0))
    assert 85 < len(rows) < 115 and len(set(rows)) == len(rows)
    np.testing.assert_array_equal(drawn.toarray(), counts[rows])
    found, wanted = scores(counts, counts, 2), dense_scores(counts, counts, 2)
    fitted = (
        wanted.mean(0)
        + (wanted - wanted.mean(0))
        @ np.linalg.lstsq(wanted - wanted.mean(0), found - found.mean(0), rcond=None)[0]
    )
    for d in range(2):  # up to a rotation
        assert 0.95 < np.corrcoef(fitted[:, d], found[:, d])[0, 1] < 0.99999
