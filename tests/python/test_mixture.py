"""The mixture of one covariance against another package, brute force and its own definition."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from scmvp.fit import mixture

K, D = 4, 3


@pytest.fixture(scope="module")
def cells():
    """Points of four overlapping groups, their types."""
    rng = np.random.default_rng(0)
    types = rng.choice(K, 800, p=[0.4, 0.3, 0.2, 0.1])
    mixing = rng.normal(size=(D, D))
    return 3 * rng.normal(size=(K, D))[types] + rng.normal(size=(800, D)) @ mixing, types


def of_types(z: np.ndarray, types: np.ndarray) -> mixture.Mixture:
    means = np.stack([z[types == c].mean(0) for c in range(K)])
    return mixture.Mixture(np.bincount(types) / len(z), means, np.cov((z - means[types]).T))


def test_em_is_that_of_a_tied_gaussian_mixture(cells):
    z, types = cells
    first = of_types(z, types)
    peer = GaussianMixture(
        K,
        covariance_type="tied",
        weights_init=first.weight,
        means_init=first.mean,
        precisions_init=np.linalg.inv(first.covariance),
        tol=1e-9,
        max_iter=500,
        reg_covar=0,
    ).fit(z)
    found = mixture.em(z, np.zeros_like(z), first, 500)
    np.testing.assert_allclose(found.weight, peer.weights_, atol=1e-3)
    np.testing.assert_allclose(found.mean, peer.means_, atol=5e-3)
    np.testing.assert_allclose(found.covariance, peer.covariances_, atol=5e-3)
    np.testing.assert_allclose(mixture.responsibilities(z, found), peer.predict_proba(z), atol=5e-3)


def test_responsibilities_are_bayes_rule(cells):
    z, types = cells
    found = of_types(z, types)
    joint = np.stack(
        [
            w * stats.multivariate_normal(m, found.covariance).pdf(z)
            for w, m in zip(found.weight, found.mean, strict=True)
        ],
        axis=1,
    )
    np.testing.assert_allclose(
        mixture.responsibilities(z, found), joint / joint.sum(1, keepdims=True), atol=1e-10
    )


def test_posterior_variance_is_part_of_the_covariance(cells):
    """E_q[log p(z)] is largest at the covariance of draws from the posteriors, not of the means."""
    z, types = cells
    rng = np.random.default_rng(1)
    variance = rng.uniform(0.1, 2, z.shape)
    found = mixture.em(z, variance, of_types(z, types), 1)
    without = mixture.em(z, np.zeros_like(z), of_types(z, types), 1)
    np.testing.assert_allclose(
        found.covariance - without.covariance, np.diag(variance.mean(0)), atol=1e-9
    )


@pytest.mark.parametrize("k", [1, 3, 9])
@pytest.mark.slow
def test_the_number_of_groups_is_found_as_by_the_bic_of_a_tied_mixture(k):
    rng = np.random.default_rng(k)
    z = 6 * rng.normal(size=(k, 4))[rng.integers(k, size=900)] + rng.normal(size=(900, 4))
    bic = [GaussianMixture(n, covariance_type="tied", n_init=5).fit(z).bic(z) for n in range(1, 13)]
    assert 1 + int(np.argmin(bic)) == k
    assert mixture.choose_n_clusters(z, np.full_like(z, 1e-3), seed=0) == k
    assert mixture.choose_n_clusters(z, np.full_like(z, 1e-3), seed=1) == k


@pytest.mark.slow
def test_groups_that_the_posteriors_do_not_tell_apart_are_not_counted():
    """Ten points, of which the data say no more than which half they are in."""
    rng = np.random.default_rng(0)
    point = rng.integers(10, size=1000)
    z = np.stack([8.0 * (point >= 5), 0.2 * point], 1) + 0.01 * rng.normal(size=(1000, 2))
    assert mixture.choose_n_clusters(z, np.full_like(z, 1.0), seed=0) == 2
    assert mixture.choose_n_clusters(z, np.full_like(z, 1e-5), seed=0) == 10


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_few_cells_have_few_groups(n):
    z = np.random.default_rng(n).normal(size=(n, 4))
    assert 1 <= mixture.choose_n_clusters(z, np.full_like(z, 0.1), seed=0) <= max(n // 2, 1)


def test_the_order_of_many_cells_does_not_matter(monkeypatch):
    """Sorted by group, the first cells alone would show but one."""
    monkeypatch.setattr(mixture, "GRAPH_CELLS", 200)
    types = np.repeat(np.arange(K), 150)
    z = 6.0 * np.eye(K)[types] + np.random.default_rng(0).normal(size=(len(types), K))
    variance = np.full_like(z, 1e-3)
    assert mixture.choose_n_clusters(z, variance, seed=0) == K
    found = mixture.start(z, variance, K, seed=0)
    assert adjusted_rand_score(types, mixture.responsibilities(z, found).argmax(1)) > 0.95


def test_em_never_lowers_the_expected_log_density(cells):
    z, types = cells
    variance = np.random.default_rng(2).uniform(0, 0.5, z.shape)
    found = mixture.Mixture(np.full(K, 1 / K), z[:K], 9 * np.eye(D))

    def expected(m: mixture.Mixture) -> float:
        """Free energy at the responsibilities of the means: what a step maximizes."""
        responsibilities = mixture.responsibilities(z, m)
        precision = np.linalg.inv(m.covariance)
        away = z[:, None] - m.mean
        square = np.einsum("ncd,de,nce->nc", away, precision, away)
        square += (variance @ np.diag(precision))[:, None]
        log_joint = np.log(m.weight) - 0.5 * (square + np.linalg.slogdet(m.covariance)[1])
        return (responsibilities * (log_joint - np.log(responsibilities + 1e-300))).sum()

    values = []
    for _ in range(20):
        values.append(expected(found))
        found = mixture.em(z, variance, found, 1)
    assert np.diff(values).min() > -1e-6
    assert values[-1] > values[0]


def test_whitened_the_covariance_is_one_and_the_axes_are_ordered(cells):
    z, types = cells
    found = of_types(z, types)
    centre, axes = mixture.whitening(found)
    np.testing.assert_allclose(axes.T @ found.covariance @ axes, np.eye(D), atol=1e-9)
    mean = (found.mean - centre) @ axes
    np.testing.assert_allclose(found.weight @ mean, 0, atol=1e-9)
    between = (mean.T * found.weight) @ mean
    np.testing.assert_allclose(between, np.diag(np.diag(between)), atol=1e-9)
    assert (np.diff(np.diag(between)) <= 1e-12).all()
    assert (np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0) > 0).all()


def test_shared_neighbors_are_the_jaccard_index(cells):
    z = cells[0][:60]
    distance = np.linalg.norm(z[:, None] - z, axis=2)
    nearest = [set(row) for row in distance.argsort(1)[:, : mixture.NEIGHBORS]]
    expected = [[len(a & b) / len(a | b) for b in nearest] for a in nearest]
    np.testing.assert_allclose(mixture.shared_neighbors(z).toarray(), expected)


def test_the_start_finds_groups_and_leaves_empty_dimensions_alone():
    rng = np.random.default_rng(3)
    types = rng.choice(K, 800, p=[0.5, 0.3, 0.12, 0.08])
    z = np.zeros((800, 8))
    z[:, :3] = 8 * np.eye(K)[types][:, :3] + rng.normal(size=(800, 3))
    z[:, 3:] = 1e-3 * rng.normal(size=(800, 5))  # collapsed: their posterior is the prior
    variance = np.r_[np.full(3, 0.01), np.ones(5)] * np.ones_like(z)
    found = mixture.start(z, variance, K, seed=0)
    labels = mixture.responsibilities(z, found).argmax(1)
    assert adjusted_rand_score(types, labels) > 0.95


@pytest.mark.parametrize("n, k", [(1, 1), (3, 2), (25, 8), (300, 1)])
def test_few_cells_or_one_cluster(cells, n, k):
    z = cells[0][:n]
    found = mixture.start(z, np.ones_like(z), k, seed=0)
    found = mixture.em(z, np.ones_like(z), found, 10)
    responsibilities = mixture.responsibilities(z, found)
    assert responsibilities.shape == (n, k)
    np.testing.assert_allclose(responsibilities.sum(1), 1)


def test_groups_that_wide_posteriors_hide_are_kept():
    """The maximum of E_q[log p(z)] is one Gaussian here: all that was collapses into a point."""
    rng = np.random.default_rng(4)
    types = rng.integers(3, size=300)
    z = 0.8 * np.eye(3)[types] + 0.3 * rng.normal(size=(300, 3))
    variance = np.full_like(z, 0.8)
    first = mixture.start(z, variance, 3, seed=0)
    found = mixture.em(z, variance, first, 100)
    labels = mixture.responsibilities(z, found).argmax(1)
    assert len(np.unique(labels)) == 3
    assert adjusted_rand_score(types, labels) > 0.5


def test_a_component_that_lost_its_cells_breaks_nothing(cells):
    z, types = cells
    found = of_types(z, types)
    means = np.vstack([found.mean, [[1e3] * D]])
    far = mixture.Mixture(np.append(0.99 * found.weight, 0.01), means, found.covariance)
    found = mixture.em(z, np.zeros_like(z), far, 20)
    assert all(np.isfinite(part).all() for part in found)
    assert found.weight[-1] < 1e-6


def test_expected_log_density_is_that_of_scipy():
    """Of points, the log-density of the mixture; of posteriors, less what their variance costs."""
    rng = np.random.default_rng(4)
    z, variance = rng.normal(0, 2, (40, 3)), rng.gamma(1, 1, (40, 3))
    root = rng.normal(0, 1, (3, 3))
    one = mixture.Mixture(rng.dirichlet(np.ones(4)), rng.normal(0, 2, (4, 3)), root @ root.T)
    parts = zip(one.weight, one.mean, strict=True)
    density = sum(w * stats.multivariate_normal.pdf(z, mu, one.covariance) for w, mu in parts)
    expected = np.log(density).mean() + 1.5 * np.log(2 * np.pi)
    found = mixture.expected_log_density(z, np.zeros_like(z), one)
    assert found == pytest.approx(expected)
    lost = 0.5 * (variance @ np.diag(np.linalg.inv(one.covariance))).mean()
    assert mixture.expected_log_density(z, variance, one) == pytest.approx(expected - lost)


def test_em_em_until_stables_the_expected_log_density():
    rng = np.random.default_rng(5)
    z = np.concatenate([rng.normal(centre, 1, (60, 2)) for centre in (-3, 0, 3)])
    variance = np.full_like(z, 0.2)
    found = mixture.start(z, variance, 3, 0)
    levels = []
    for _ in range(5):
        levels.append(mixture.expected_log_density(z, variance, found))
        found = mixture.m_step(z, variance, mixture.responsibilities(z, found))
    assert np.diff(levels).min() > -1e-9
