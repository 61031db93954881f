"""The mixture in the latent: where its components start, how EM moves them, and its whitening.

All components share one covariance: K full or diagonal ones follow the noise of the small groups,
and merge or split them (docs/decisions, D12). scikit-learn, which takes long to import, is imported
by the functions that need it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy import special

from ..data.matrices import evenly
from ..options import MAX_CLUSTERS
from ..progress import Report, no_report

GRAPH_CELLS = 5_000
NEIGHBORS = 20
_STEPS = 100  # of EM, at most, for each K
_WORSE_IN_A_ROW = 8  # values of K without a better one, after which the search ends
_TOLERANCE = 1e-4
_VARIANCE_PARTS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.0)


class Mixture(NamedTuple):
    """K Gaussians with one covariance."""

    weight: np.ndarray  # (K,), sums to 1
    mean: np.ndarray  # (K, D)
    covariance: np.ndarray  # (D, D)


def start(z: np.ndarray, variance: np.ndarray, n_clusters: int, seed: int) -> Mixture:
    """Components on the spectral clusters of the graph of shared nearest neighbors.

    Args:
        z: Posterior means, (n, D); at most 5,000 cells, from all over the file, are used.
        variance: Posterior variances, (n, D).
        n_clusters: K, 1 or less than n.
        seed: Seed of the clustering.
    """
    from sklearn.cluster import SpectralClustering

    rows = evenly(len(z), GRAPH_CELLS)
    z, variance = z[rows], variance[rows]
    labels = np.zeros(len(z), dtype=int)
    if n_clusters > 1:
        clustering = SpectralClustering(n_clusters, affinity="precomputed", random_state=seed)
        with _unconnected_graph_expected():
            labels = clustering.fit_predict(_graph(z, variance))
    return m_step(z, variance, np.eye(n_clusters)[labels])


def choose_n_clusters(
    z: np.ndarray, variance: np.ndarray, seed: int, report: Report = no_report
) -> int:
    """K by the Bayesian information criterion (Fraley and Raftery, JASA 2002) of the mixture.

    For each K, EM from spectral clusters: n E_q[log p(z)] minus log(n) / 2 for each
    parameter. The mixture is fitted to posteriors, not to points: groups that these do not separate
    gain nothing, and components that EM then loses do not count.

    Args:
        z: Posterior means, (n, D); at most 5,000 cells, from all over the file, are used.
        variance: Posterior variances, (n, D).
        seed: Seed of the clustering.
        report: Called after each K with the fraction done, 0 to 1.

    Returns:
        K from 1 to 50, and at most half of n.
    """
    from sklearn.cluster import KMeans
    from sklearn.manifold import spectral_embedding

    rows = evenly(len(z), GRAPH_CELLS)
    z, variance = z[rows], variance[rows]
    n, d = z.shape
    most = min(MAX_CLUSTERS, n // 2)
    with _unconnected_graph_expected():
        embedding = spectral_embedding(
            _graph(z, variance), n_components=most, drop_first=False, random_state=seed
        )
    best, best_k, worse = -np.inf, 1, 0
    for k in range(1, most + 1):
        report(k / (most + 1))
        labels = KMeans(k, n_init=3, random_state=seed).fit_predict(embedding[:, :k])
        found = _em_until_stable(z, variance, m_step(z, variance, np.eye(k)[labels]), _STEPS)
        used = _n_used(z, found)
        score = n * expected_log_density(z, variance, found) - 0.5 * np.log(n) * used * (d + 1)
        if score > best:
            best, best_k, worse = score, used, 0
        elif (worse := worse + 1) == _WORSE_IN_A_ROW:
            break
    return best_k


@contextmanager
def _unconnected_graph_expected() -> Iterator[None]:
    """Without sklearn's warning: groups without an edge between them make good components."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Graph is not fully connected")
        yield


def _graph(z: np.ndarray, variance: np.ndarray) -> sp.csr_matrix:
    """The graph of shared neighbors that the components start on, (n, n)."""
    # the means of an uninformative dimension hardly vary, and scaling must not inflate it
    return shared_neighbors(z / np.sqrt(z.var(0) + variance.mean(0)))


def shared_neighbors(z: np.ndarray) -> sp.csr_matrix:
    """Jaccard index of the 20 nearest neighbors of each two cells, (n, n), sparse."""
    from sklearn.neighbors import kneighbors_graph

    n = min(NEIGHBORS, len(z) - 1)
    graph = kneighbors_graph(z, n, include_self=True)
    shared = sp.csr_matrix(graph @ graph.T)
    shared.data /= 2 * n - shared.data
    return shared


def em(z: np.ndarray, variance: np.ndarray, mixture: Mixture, steps: int) -> Mixture:
    """At most `steps` steps of EM that maximize E_q[log p(z)], q being N(z, diag variance).

    Where counts are few, the posteriors together look like one Gaussian whatever the groups, and a
    component is lost; then the same steps are made with a smaller part of the posterior
    variance, as deterministic annealing does (docs/decisions, D12).
    """
    n_used = _n_used(z, mixture)
    for part in _VARIANCE_PARTS:
        found = _em_until_stable(z, part * variance, mixture, steps)
        if _n_used(z, found) == n_used:
            break
    return found


def expected_log_density(z: np.ndarray, variance: np.ndarray, mixture: Mixture) -> float:
    """A lower bound of E_q[log p(z)], mean over cells, but for a constant; `em` increases it.

    It is E_q[Σ_c r_c log p(z, c)] and the entropy of the responsibilities r = p(c|z) at the means
    of q.
    """
    whitener = _whitener(mixture.covariance)
    log_joint = _log_joint(z, mixture, whitener)
    square = np.square(z @ whitener).sum(1) + variance @ np.square(whitener).sum(1)
    log_det = np.linalg.slogdet(whitener).logabsdet
    return float((special.logsumexp(log_joint, 1) - 0.5 * square).mean() + log_det)


def m_step(z: np.ndarray, variance: np.ndarray, responsibilities: np.ndarray) -> Mixture:
    """The mixture of largest E_q[log p(z, c)], given the responsibilities.

    Args:
        z: Posterior means, (n, D).
        variance: Posterior variances, (n, D).
        responsibilities: (n, K), rows that sum to 1.
    """
    n = responsibilities.sum(0) + 1e-8
    mean = (responsibilities.T @ z) / n[:, None]
    scatter = (z.T @ z - (mean.T * n) @ mean) / len(z)
    return Mixture(n / n.sum(), mean, scatter + np.diag(variance.mean(0)))


def responsibilities(z: np.ndarray, mixture: Mixture) -> np.ndarray:
    """p(c|z), (n, K)."""
    return special.softmax(_log_joint(z, mixture, _whitener(mixture.covariance)), 1)


def whitening(mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """The coordinates (z - centre) @ axes in which the covariance is the identity.

    Returns:
        centre: (D,), mean of the mixture.
        axes: (D, D); the variance between components falls from the first column to the last, and
            the largest entry of each column is positive.
    """
    centre = mixture.weight @ mixture.mean
    whitener = _whitener(mixture.covariance)
    mean = (mixture.mean - centre) @ whitener
    _, rotation = np.linalg.eigh((mean.T * mixture.weight) @ mean)
    axes = whitener @ rotation[:, ::-1]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0)
    return centre, axes * np.sign(largest)


def _log_joint(z: np.ndarray, mixture: Mixture, whitener: np.ndarray) -> np.ndarray:
    """Log p(z, c), (n, K), but for the terms that all components have in common."""
    mean = mixture.mean @ whitener
    return np.log(mixture.weight) + z @ whitener @ mean.T - 0.5 * np.square(mean).sum(1)


def _em_until_stable(z: np.ndarray, variance: np.ndarray, mixture: Mixture, steps: int) -> Mixture:
    """At most `steps` steps of EM, until no mean moves."""
    for _ in range(steps):
        last, mixture = mixture, m_step(z, variance, responsibilities(z, mixture))
        if np.abs(mixture.mean - last.mean).max() < _TOLERANCE:
            break
    return mixture


def _n_used(z: np.ndarray, mixture: Mixture) -> int:
    """Number of components that are the most likely one of some cell."""
    return len(np.unique(responsibilities(z, mixture).argmax(1)))


def _whitener(covariance: np.ndarray) -> np.ndarray:
    """A matrix W with W.T @ covariance @ W = 1."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors / np.sqrt(np.maximum(values, 1e-8))
