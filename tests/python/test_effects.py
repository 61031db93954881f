from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from populations import counts, population
from scipy import optimize, stats

from scmvp.data import matrices
from scmvp.tools import dispersion, posterior
from scmvp.tools.effects import Evidence, _around, evidence_of, typical_effect
from scmvp.tools.posterior import GRID, STEP, posterior_of, q_values
from scmvp.tools.sums import sums_of


def one_batch(first, second, spread, log_ratio=0.0):
    count = np.array([[first, second]])
    return Evidence(count, np.array([log_ratio]), np.full((1, len(first)), spread))


def pair_of(counts, unit):
    """Sums of the cells of unit 0 and of unit 1."""
    sums = sums_of(counts, unit, 2)
    return sums.of([0]), sums.of([1])


def test_sums_are_those_of_a_dense_matrix():
    rng = np.random.default_rng(0)
    matrix = sp.random(40, 7, 0.4, "csr", np.float32, rng)
    matrix.data = np.ceil(matrix.data * 5)
    unit = rng.integers(-1, 3, 40)
    sums = sums_of(matrix, unit, 3)
    dense = matrix.toarray().astype(float)
    for k in range(3):
        mine = dense[unit == k]
        size = dense.sum(1)[unit == k]
        np.testing.assert_allclose(sums.count[k], mine.sum(0))
        np.testing.assert_allclose(sums.square[k], (mine**2).sum(0))
        np.testing.assert_allclose(sums.sized[k], size @ mine)
        np.testing.assert_allclose(sums.seen[k], (mine > 0).sum(0))
        np.testing.assert_allclose(sums.size[:, k], [(size**p).sum() for p in (1, 2, 3, 4)])


def test_sums_do_not_depend_on_blocks(monkeypatch):
    matrix, group, _ = population(1, n=(20, 30), n_features=30, n_different=3)
    whole = sums_of(matrix, np.where(group, 0, 1), 2)
    monkeypatch.setattr(matrices, "BLOCK_ENTRIES", 50)
    np.testing.assert_allclose(sums_of(matrix, np.where(group, 0, 1), 2).sized, whole.sized)


def test_likelihood_is_the_binomial_without_dispersion():
    evidence = one_batch([3.0, 0.0], [5.0, 4.0], -(STEP**2), np.log(2.0))
    p = 1 / (1 + np.exp(-(GRID + np.log(2.0))))
    for row, first, total in zip(evidence.likelihood(slice(None)), (3, 0), (8, 4), strict=True):
        truth = stats.binom.pmf(first, total, p)
        np.testing.assert_allclose(row, truth / truth.max(), rtol=1e-8)


def test_likelihood_of_many_counts_is_gaussian():
    first, second, spread = 4e4, 2e4, 0.05
    evidence = one_batch([first], [second], spread)
    row = evidence.likelihood(slice(None))[0]
    row /= row.sum()
    mean = row @ GRID
    sd = np.sqrt(row @ (GRID - mean) ** 2)
    assert mean == pytest.approx(np.log(2), abs=0.02)
    assert sd == pytest.approx(np.sqrt(1 / first + 1 / second + spread + STEP**2), rel=0.03)


def test_posterior_is_prior_times_likelihood(monkeypatch):
    """Of a prior of two points, by Bayes by hand; one feature more has either."""
    shapes = np.zeros((2, len(GRID)))
    up = np.argmin(np.abs(GRID - 1))
    shapes[0, GRID == 0], shapes[1, up] = 1, 1
    monkeypatch.setattr(posterior, "components", lambda: shapes)
    monkeypatch.setattr(posterior, "fit_weights", lambda marginal, start=None: np.array([0.9, 0.1]))
    first, second = np.array([9.0, 2.0, 600.0]), np.array([3.0, 2.0, 200.0])
    evidence = one_batch(first, second, -(STEP**2))
    found = posterior_of(evidence, delta=0.25)
    one = stats.binom.pmf(first, first + second, 1 / (1 + np.exp(-1)))
    none = stats.binom.pmf(first, first + second, 0.5)
    prior = (3 * 0.1 + 0.5) / 4
    prob = prior * one / (prior * one + (1 - prior) * none)
    np.testing.assert_allclose(found.prob, prob)
    np.testing.assert_allclose(found.mean, prob / np.log(2))
    bayes_factor = np.log(one / none)
    assert bayes_factor[-1] > 80  # where 1 - prob is 0
    np.testing.assert_allclose(found.log_bayes_factor, bayes_factor)


def test_weights_of_the_prior_are_found():
    """EM on effects known but for noise finds how many there are."""
    rng = np.random.default_rng(3)
    effect = np.where(rng.random(4000) < 0.3, rng.normal(0, 1.6, 4000), 0)
    seen = effect + rng.normal(0, 0.2, 4000)
    marginal = np.exp(-0.5 * ((seen[:, None] - GRID) / 0.2) ** 2) @ posterior.components().T
    weight = posterior.fit_weights(marginal)
    assert weight.sum() == pytest.approx(1)
    beyond = weight @ posterior.components() @ (np.abs(GRID) > 0.5)
    assert beyond == pytest.approx(np.mean(np.abs(effect) > 0.5), abs=0.03)


def test_an_effect_that_no_other_feature_has_is_found():
    """One gene has lost all its counts, where the others have not changed."""
    first, second = np.full(300, 200.0), np.full(300, 200.0)
    first[7] = 0
    found = posterior_of(one_batch(first, second, 0.0), delta=0.25)
    assert found.prob[7] > 0.999 and found.mean[7] < -3
    assert np.delete(found.prob, 7).max() < 0.1


@pytest.mark.slow
def test_weights_are_where_em_ends_from_any_start():
    rng = np.random.default_rng(3)
    x = np.where(rng.random(400) < 0.6, 0, rng.normal(1, 1, 400))
    marginal = stats.norm.pdf(x[:, None] + rng.normal(0, 0.3, (400, 1)), [0, -2, 1, 2], 0.8)
    weight = np.full(4, 0.25)
    for _ in range(20_000):
        new = weight * (marginal / (marginal @ weight)[:, None]).sum(0)
        new[0] += posterior.NULL_COUNTS
        weight = new / new.sum()
    np.testing.assert_allclose(posterior.fit_weights(marginal), weight, atol=1e-5)
    for start in (np.array([1.0, 0, 0, 0]), np.array([0, 0.5, 0, 0.5])):
        np.testing.assert_allclose(posterior.fit_weights(marginal, start), weight, atol=1e-5)
    # no feature: what is added to those seen
    np.testing.assert_allclose(posterior.fit_weights(np.ones((0, 3))), [1, 0, 0], atol=1e-5)


@pytest.mark.parametrize("phi", [0.1, 0.6])
def test_overdispersion_is_found(phi):
    matrix, group, _ = population(4, n=(200, 60), phi=phi)
    both = dispersion.overdispersions([pair_of(matrix, np.where(group, 0, 1))])
    for found, within in zip(both, (0.1, 0.2), strict=True):
        assert np.median(found) == pytest.approx(phi, rel=within)


@pytest.mark.parametrize("n", [3, 5])
def test_moments_of_few_cells_are_unbiased_given_the_sums(n):
    """Of Dirichlet-multinomial counts, for every total; the biased estimate has .72 and .82."""
    rng = np.random.default_rng(0)
    phi, size, n_features = 0.7, 6.0, 40_000
    share = rng.dirichlet(np.full(n, 1 / phi), n_features)
    total = rng.poisson(n * size, n_features)
    counts = np.array([rng.multinomial(t, p) for t, p in zip(total, share, strict=True)]).T
    # the cells' sizes are equal: what is left goes to a last feature that is not looked at
    rest = counts.sum(1).max() - counts.sum(1)
    matrix = sp.csr_matrix(np.column_stack([counts, rest]).astype(np.float32))
    moments = dispersion._of_counts([sums_of(matrix, np.zeros(n, int), 1).of([0])])
    excess, unit = moments.excess[:-1], moments.unit_of(np.full(n_features + 1, phi))[:-1]
    found = excess.sum() / unit.sum()
    assert found == pytest.approx(phi, rel=0.02)


def test_few_cells_borrow_the_dispersion_of_each_feature():
    """Random cells of one type whose features differ in dispersion: the smaller group has the
    estimates of the larger one, and nothing is called (with a common value, some genes are)."""
    rng = np.random.default_rng(1)
    theta = 1.5 * np.exp(rng.normal(0, 1, 500))
    mean = np.outer(5000 * np.exp(rng.normal(0, 0.3, 400)), rng.dirichlet(np.ones(500)))
    counts = sp.csr_matrix(rng.negative_binomial(theta, theta / (theta + mean)).astype(np.float32))
    calls = 0
    for n in (3, 4, 6, 10) * 2:
        unit = (rng.permutation(400) >= n).astype(int)
        pair = pair_of(counts, unit)
        phi = dispersion.overdispersions([pair])
        assert stats.spearmanr(phi[0], 1 / theta)[0] > 0.85
        calls += (q_values(posterior_of(evidence_of([pair])[0], 0.25).prob) <= 0.05).sum()
    assert calls <= 1


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 10, 20])
@pytest.mark.parametrize("deep", [10, 50, 100, "one gene"])
def test_one_deep_cell_of_a_small_group_makes_no_gene_differ(n, deep):
    """The moments of such a group have no solution: it has the dispersion of the reference."""
    rng = np.random.default_rng(1)
    size = 1500 * rng.lognormal(0, 0.4, 200 + n)
    size[0] *= 1 if deep == "one gene" else deep
    matrix = counts(rng, np.outer(size, rng.dirichlet(np.full(500, 0.5))), 0.5).tolil()
    if deep == "one gene":
        matrix[0, 7] += 20_000
    pair = pair_of(matrix.tocsr(), (np.arange(200 + n) >= n).astype(int))
    small, large = (np.median(phi) for phi in dispersion.overdispersions([pair]))
    assert large == pytest.approx(0.5, rel=0.2)
    assert 0.25 < small < (2 if deep == "one gene" else 1)  # its cell has less of all others
    calls = q_values(posterior_of(evidence_of([pair])[0], 0.25).prob) <= 0.05
    assert np.flatnonzero(calls).tolist() == [7] * (deep == "one gene")


@pytest.mark.slow
@pytest.mark.parametrize(("mean", "n"), [(0.02, 10), (0.1, 5), (1.0, 20)])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_typical_effect_of_rare_features_is_unbiased(mean, n, shift):
    """Groups of very different size, in which nothing differs but a few features that take a part
    of all counts. Logarithms of ratios with half a count added have 2.0 at the first."""
    rng = np.random.default_rng(2)
    rate = rng.gamma(1, 1, 3000) * mean
    group = np.arange(500 + n) >= 500
    values = np.tile(rate, (len(group), 1))
    changed = rng.permutation(3000)[:150]
    scale = np.exp(shift)
    values[np.ix_(group, changed)] += (scale - 1) * rate.sum() / 150
    values[group] /= scale
    counts = sp.csr_matrix(rng.poisson(values).astype(np.float32))
    evidence, centre = evidence_of([pair_of(counts, np.where(group, 0, 1))])
    error = 1.5 / np.sqrt(evidence.count[0, 0].sum() / scale)
    assert centre == pytest.approx(-shift, abs=max(3 * error, 0.03))
    if shift == 0:
        assert not (q_values(posterior_of(evidence, 0.25).prob) <= 0.05).any()


def test_a_third_of_the_features_higher_and_a_third_lower_have_no_typical_effect():
    """Of three equal modes, the one of most counts has the largest likelihood, but not the middle
    one."""
    rng = np.random.default_rng(0)
    effect = np.repeat([-1.5, 0, 1.5], 20)
    rate = np.where(effect == 0, 30, 100)
    count = np.stack([rng.poisson(rate * np.exp(sign * effect / 2)) for sign in (1, -1)])
    found, _ = typical_effect(count.astype(float), 0.0, np.full(60, 0.01))
    assert abs(found) < 0.1


def test_the_typical_effect_is_where_the_likelihood_is_largest():
    """As a general minimizer finds it, in turn with the weights of the prior."""
    rng = np.random.default_rng(5)
    rate = rng.gamma(1, 1, 500)
    effect = 0.4 + rng.normal(0, 1, 500) * (rng.random(500) < 0.3)
    count = np.stack([rng.poisson(20 * rate * np.exp(effect)), rng.poisson(300 * rate)])
    log_ratio, spread = np.log(20 / 300), np.full(500, 0.01)
    evidence = Evidence(count[None].astype(float), np.array([log_ratio]), spread[None])
    likelihood, best = evidence.likelihood(slice(None)), 0.0
    for _ in range(20):
        weight = posterior.fit_weights(likelihood @ _around(best).T)
        best = optimize.minimize_scalar(
            lambda centre, weight=weight: -np.log(likelihood @ (weight @ _around(centre))).sum(),
            bounds=(best - 1, best + 1), method="bounded", options={"xatol": 1e-5},
        ).x  # fmt: skip
    found, _ = typical_effect(count.astype(float), log_ratio, spread)
    assert found == pytest.approx(best, abs=1e-3)


@pytest.mark.slow
def test_the_error_of_the_typical_effect_is_that_of_repetitions():
    rng = np.random.default_rng(3)
    rate, found = rng.gamma(1, 1, 400), []
    for _ in range(60):
        count = np.stack([rng.poisson(0.3 * rate), rng.poisson(20 * rate)]).astype(float)
        found.append(typical_effect(count, np.log(0.3 / 20), np.zeros(400)))
    centre, error = np.array(found).T
    assert error.mean() == pytest.approx(centre.std(), rel=0.25)
    assert abs(centre.mean()) < 3 * centre.std() / np.sqrt(60)


def test_evidence_of_batches_is_their_product():
    """Each with its own ratio of library sizes and its own spread."""
    first = one_batch([3.0, 7.0], [5.0, 0.0], 0.1, 0.4)
    second = one_batch([2.0, 9.0], [1.0, 4.0], 0.0, -1.0)
    names = ("count", "log_ratio", "spread")
    both = Evidence(
        *(np.concatenate([getattr(first, name), getattr(second, name)]) for name in names)
    )
    product = first.likelihood(slice(None)) * second.likelihood(slice(None))
    product /= product.max(1, keepdims=True)
    np.testing.assert_allclose(both.likelihood(slice(None)), product, rtol=1e-10)
