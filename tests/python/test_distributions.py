"""Likelihoods, KLs and responsibilities against closed forms, scipy and finite differences."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy import integrate, special, stats

from scmvp.nn import distributions as dist
from scmvp.nn.families import FAMILIES
from scmvp.nn.prior import MixturePrior
from scmvp.nn.sparse import SparseRows

N_CELLS, N_FEATURES = 4, 7


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def counts(rng):
    dense = rng.poisson(0.8, (N_CELLS, N_FEATURES)).astype(float)
    dense[1] = 0  # a cell without any count
    dense[2, 3] = 900
    return dense


def as_rows(dense) -> SparseRows:
    return SparseRows.from_csr(sp.csr_matrix(dense))


def as_tensor(values, dtype=torch.float64):
    return torch.as_tensor(np.asarray(values), dtype=dtype)


def test_negative_binomial_is_scipys(rng, counts):
    mean = rng.gamma(1, 2, counts.shape)
    log_theta = rng.normal(0, 2, N_FEATURES)
    theta = np.exp(log_theta)
    expected = stats.nbinom.logpmf(counts, theta, theta / (theta + mean)).sum(1)
    found = dist.negative_binomial(as_rows(counts), as_tensor(mean), as_tensor(log_theta))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_negative_binomial_sums_to_one():
    k = np.arange(4000.0)[:, None]
    mean, log_theta = torch.full((4000, 1), 7.3).double(), torch.tensor([-0.4]).double()
    log_p = dist.negative_binomial(as_rows(k), mean, log_theta)
    assert log_p.exp().sum() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("log_theta", [-8.0, 0.0, 8.0, 16.0])
def test_negative_binomial_in_float32_keeps_its_digits(log_theta, counts):
    """At theta -> infinity it is the Poisson; differences of lgamma must not cancel."""
    mean = np.full(counts.shape, 0.5)
    theta = np.exp(log_theta)
    expected = stats.nbinom.logpmf(counts, theta, theta / (theta + mean)).sum(1)
    found = dist.negative_binomial(
        as_rows(counts.astype(np.float32)),
        as_tensor(mean, torch.float32),
        torch.full((N_FEATURES,), log_theta),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_linear_negative_binomial_is_scipys(rng, counts):
    mean = rng.gamma(1, 2, counts.shape)
    log_c = rng.normal(0, 2, N_FEATURES)
    c = np.exp(log_c)
    expected = stats.nbinom.logpmf(counts, mean / c, 1 / (1 + c)).sum(1)
    found = dist.linear_negative_binomial(as_rows(counts), as_tensor(mean), as_tensor(log_c))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_linear_negative_binomial_has_its_mean_and_variance():
    k = np.arange(4000.0)[:, None]
    mean, log_c = torch.full((4000, 1), 7.3).double(), torch.tensor([0.9]).double()
    p = dist.linear_negative_binomial(as_rows(k), mean, log_c).exp().numpy()
    assert p.sum() == pytest.approx(1, abs=1e-10)
    assert p @ k[:, 0] == pytest.approx(7.3)
    assert p @ (k[:, 0] - 7.3) ** 2 == pytest.approx(7.3 * (1 + np.exp(0.9)))


@pytest.mark.parametrize("per_entry", [False, True])
def test_zero_inflated_poisson_is_its_definition(rng, counts, per_entry):
    mean = rng.gamma(1, 2, counts.shape)
    logit = rng.normal(0, 3, counts.shape if per_entry else N_FEATURES)
    inflated = special.expit(logit)
    pmf = (1 - inflated) * stats.poisson.pmf(counts, mean) + inflated * (counts == 0)
    found = dist.zero_inflated_poisson(as_rows(counts), as_tensor(mean), as_tensor(logit))
    keep = pmf.min(1) > 0  # 900 counts of a small mean underflow outside log space
    np.testing.assert_allclose(found[keep], np.log(pmf[keep]).sum(1), rtol=1e-10)
    assert torch.isfinite(found).all()


def test_likelihoods_of_any_zero_inflation_are_finite():
    counts = SparseRows.from_csr(sp.csr_matrix(np.array([[0, 2, 5], [1, 0, 0]], np.float32)))
    mean = torch.full((2, 3), 0.7)
    for size in (0.0, 30.0, 87.0, 100.0, 1e6):
        for sign in (-1, 1):
            logit = torch.full((2, 3), sign * size, requires_grad=True)
            found = FAMILIES["zip"].plain(counts, mean, None, logit).sum()
            found.backward()
            assert torch.isfinite(found) and torch.isfinite(logit.grad).all()


def test_zero_inflated_poisson_without_inflation_is_poisson(rng, counts):
    mean = rng.gamma(1, 2, counts.shape)
    found = dist.zero_inflated_poisson(
        as_rows(counts), as_tensor(mean), torch.full((N_FEATURES,), -60.0).double()
    )
    np.testing.assert_allclose(found, stats.poisson.logpmf(counts, mean).sum(1), rtol=1e-9)


def test_gradients_are_finite_differences(rng, counts):
    rows = as_rows(counts)
    mean = as_tensor(rng.gamma(2, 1, counts.shape)).requires_grad_()
    log_theta = as_tensor(rng.normal(0, 1, N_FEATURES)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda m, t: dist.negative_binomial(rows, m, t), (mean, log_theta)
    )
    assert torch.autograd.gradcheck(
        lambda m, c: dist.linear_negative_binomial(rows, m, c), (mean, log_theta)
    )
    for shape in (N_FEATURES, counts.shape):
        logit = as_tensor(rng.normal(0, 2, shape)).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda m, lo: dist.zero_inflated_poisson(rows, m, lo), (mean, logit)
        )


def test_gradients_are_finite_where_float32_underflows(counts):
    """A mean of 0 at a non-zero count is the worst a softmax can hand over."""
    rows = as_rows(counts.astype(np.float32))
    mean = torch.zeros(counts.shape, requires_grad=True)
    log_theta = torch.zeros(N_FEATURES, requires_grad=True)
    logit = torch.zeros(N_FEATURES, requires_grad=True)
    total = (
        dist.negative_binomial(rows, mean, log_theta)
        + dist.linear_negative_binomial(rows, mean, log_theta)
        + dist.zero_inflated_poisson(rows, mean, logit)
    ).sum()
    total.backward()
    for value in (total, mean.grad, log_theta.grad, logit.grad):
        assert torch.isfinite(value).all()


def test_gaussian_kl_is_torchs(rng):
    mean_q, log_var_q, mean_p, log_var_p = (as_tensor(rng.normal(0, 1, (5, 3))) for _ in range(4))
    q = torch.distributions.Normal(mean_q, (0.5 * log_var_q).exp())
    p = torch.distributions.Normal(mean_p, (0.5 * log_var_p).exp())
    expected = torch.distributions.kl_divergence(q, p).sum(1)
    found = dist.gaussian_kl(mean_q, log_var_q, mean_p, log_var_p)
    torch.testing.assert_close(found, expected)


def test_gaussian_kl_reads_log_variances():
    """The published code handed variances to a KL that read log-variances."""
    one = torch.ones(1, 1).double()
    variance = torch.tensor([[4.0]]).double()
    found = dist.gaussian_kl(0 * one, variance.log(), 0 * one, 0 * one)
    assert found.item() == pytest.approx(0.5 * (4 - 1 - np.log(4)))


def mixture(rng, k, d, spread=2.0):
    weight = rng.dirichlet(np.ones(k))
    return weight, rng.normal(0, spread, (k, d)), rng.normal(0, 0.5, (k, d))


def test_responsibilities_are_bayes_rule(rng):
    weight, mean, log_var = mixture(rng, 4, 3)
    z = rng.normal(0, 2, (6, 3))
    joint = np.stack(
        [
            w * stats.multivariate_normal.pdf(z, m, np.diag(np.exp(v)))
            for w, m, v in zip(weight, mean, log_var, strict=True)
        ],
        1,
    )
    found = dist.responsibilities(*map(as_tensor, (z, np.log(weight), mean, log_var)))
    np.testing.assert_allclose(found, joint / joint.sum(1, keepdims=True), rtol=1e-9)


def test_responsibilities_of_a_prior_do_not_depend_on_how_many_points_there_are(rng, monkeypatch):
    prior = MixturePrior(3, 4)
    with torch.no_grad():
        prior.mean.copy_(as_tensor(rng.normal(size=(3, 4))))
        prior.logit.copy_(as_tensor(rng.normal(size=3)))
    points = as_tensor(rng.normal(size=(23, 4)), torch.float32)
    density = [stats.multivariate_normal.pdf(points, one) for one in prior.mean.detach()]
    joint = np.array(density).T * prior.logit.softmax(0).detach().numpy()
    monkeypatch.setattr("scmvp.nn.prior._POINTS", 7)
    found = prior.responsibilities(points).detach().numpy()
    np.testing.assert_allclose(found, joint / joint.sum(1, keepdims=True), rtol=1e-5)
    assert prior.responsibilities(points[:0]).shape == (0, 3)


def test_responsibilities_at_50_dimensions_with_far_components_are_exact(rng):
    """In density space everything underflows here; the published code then returned 1 / K."""
    d, k = 50, 6
    mean = np.arange(k)[:, None] * np.full((1, d), 40.0)
    z = mean[[0, 3, 5]] + rng.normal(0, 1, (3, d))
    parts = (np.full(k, -np.log(k)), mean, np.zeros((k, d)))
    squares = ((z[:, None] - mean) ** 2).sum(-1)
    expected = special.softmax(-0.5 * squares, axis=1)
    found = dist.responsibilities(*(as_tensor(v, torch.float32) for v in (z, *parts)))
    assert torch.isfinite(found).all()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.argmax(1).tolist() == [0, 3, 5]


def test_mixture_density_integrates_to_one(rng):
    weight, mean, log_var = mixture(rng, 3, 1)
    grid = np.linspace(-20, 20, 20001)
    parts = map(as_tensor, (grid[:, None], np.log(weight), mean, log_var))
    log_p = dist.mixture_log_joint(*parts).logsumexp(-1)
    assert integrate.trapezoid(np.exp(log_p), grid) == pytest.approx(1, abs=1e-6)
