from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from populations import population
from scipy import stats

from scmvp.data import matrices
from scmvp.tools import effects
from scmvp.tools.effects import GRID, STEP, Evidence


def one_batch(first, second, spread, log_ratio=0.0):
    count = np.array([[first, second]])
    return Evidence(count, np.array([log_ratio]), np.full((1, len(first)), spread))


def test_sums_are_those_of_a_dense_matrix():
    rng = np.random.default_rng(0)
    matrix = sp.random(40, 7, 0.4, "csr", np.float32, rng)
    matrix.data = np.ceil(matrix.data * 5)
    unit = rng.integers(-1, 3, 40)
    sums = effects.sums_of(matrix, unit, 3)
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
    whole = effects.sums_of(matrix, np.where(group, 0, 1), 2)
    monkeypatch.setattr(matrices, "BLOCK_ENTRIES", 50)
    np.testing.assert_allclose(effects.sums_of(matrix, np.where(group, 0, 1), 2).sized, whole.sized)


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
    monkeypatch.setattr(effects, "components", lambda: shapes)
    monkeypatch.setattr(effects, "fit_weights", lambda marginal, start=None: np.array([0.9, 0.1]))
    first, second = np.array([9.0, 2.0]), np.array([3.0, 2.0])
    evidence = one_batch(first, second, -(STEP**2))
    found = effects.posterior_of(evidence, delta=0.25)
    one = stats.binom.pmf(first, first + second, 1 / (1 + np.exp(-1)))
    none = stats.binom.pmf(first, first + second, 0.5)
    prior = (2 * 0.1 + 0.5) / 3
    prob = prior * one / (prior * one + (1 - prior) * none)
    np.testing.assert_allclose(found.prob, prob)
    np.testing.assert_allclose(found.mean, prob / np.log(2))
    np.testing.assert_allclose(found.log_bayes_factor, np.log(one / none))


def test_weights_of_the_prior_are_found():
    """EM on effects known but for noise finds how many there are."""
    rng = np.random.default_rng(3)
    effect = np.where(rng.random(4000) < 0.3, rng.normal(0, 1.6, 4000), 0)
    seen = effect + rng.normal(0, 0.2, 4000)
    marginal = np.exp(-0.5 * ((seen[:, None] - GRID) / 0.2) ** 2) @ effects.components().T
    weight = effects.fit_weights(marginal)
    assert weight.sum() == pytest.approx(1)
    beyond = weight @ effects.components() @ (np.abs(GRID) > 0.5)
    assert beyond == pytest.approx(np.mean(np.abs(effect) > 0.5), abs=0.03)


def test_an_effect_that_no_other_feature_has_is_found():
    """One gene has lost all its counts, where the others have not changed."""
    first, second = np.full(300, 200.0), np.full(300, 200.0)
    first[7] = 0
    found = effects.posterior_of(one_batch(first, second, 0.0), delta=0.25)
    assert found.prob[7] > 0.999 and found.mean[7] < -3
    assert np.delete(found.prob, 7).max() < 0.1


def test_weights_are_where_em_ends_from_any_start():
    rng = np.random.default_rng(3)
    x = np.where(rng.random(400) < 0.6, 0, rng.normal(1, 1, 400))
    marginal = stats.norm.pdf(x[:, None] + rng.normal(0, 0.3, (400, 1)), [0, -2, 1, 2], 0.8)
    weight = np.full(4, 0.25)
    for _ in range(20_000):
        new = weight * (marginal / (marginal @ weight)[:, None]).sum(0)
        new[0] += effects.NULL_COUNTS
        weight = new / new.sum()
    np.testing.assert_allclose(effects.fit_weights(marginal), weight, atol=1e-5)
    for start in (np.array([1.0, 0, 0, 0]), np.array([0, 0.5, 0, 0.5])):
        np.testing.assert_allclose(effects.fit_weights(marginal, start), weight, atol=1e-5)
    # no feature: what is added to those seen
    np.testing.assert_allclose(effects.fit_weights(np.ones((0, 3))), [1, 0, 0], atol=1e-5)


@pytest.mark.parametrize("phi", [0.1, 0.6])
def test_overdispersion_is_found(phi):
    matrix, group, _ = population(4, n=(200, 60), phi=phi)
    sums = effects.sums_of(matrix, np.where(group, 0, 1), 2)
    for unit, within in ((0, 0.1), (1, 0.2)):
        found = effects.overdispersion(sums.of([unit]))
        assert np.median(found) == pytest.approx(phi, rel=within)


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
