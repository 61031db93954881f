"""The likelihood with a sample of the zeros, against the exact one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from scmvp.nn import kernels, likelihood, zeros
from scmvp.nn.families import LinearNegativeBinomial, NegativeBinomial, Poisson
from scmvp.nn.likelihood import Pool, Scoring
from scmvp.nn.optimizer import Adam
from scmvp.nn.sparse import SparseRows

pytestmark = pytest.mark.skipif(kernels.compiled() is None, reason="Numba is not installed")

B, H, F = 6, 9, 400
FAMILIES = [NegativeBinomial, LinearNegativeBinomial, Poisson]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(likelihood, "BLOCK_FEATURES", 64)


class Case:
    """Counts of means that the parts make, most of them zero, and both likelihoods of them."""

    def __init__(self, family, dtype=torch.float64, learned=True, kinds=False):
        torch.manual_seed(1)
        self.family = family
        self.h = torch.randn(B, H, dtype=dtype, requires_grad=True)
        self.output = torch.nn.Linear(H, F, dtype=dtype)
        with torch.no_grad():
            self.output.bias += torch.randn(F)
        self.parameter = torch.randn(F, dtype=dtype, requires_grad=learned)
        self.scoring = Scoring(torch.cat([torch.randn(F, 3), torch.ones(F, 1)], 1).to(dtype))
        if kinds:
            factor, kind = torch.rand(2, F, dtype=dtype), torch.tensor([0, 1, 1, 0, 1, 0])
            self.scoring = self.scoring._replace(factor=factor, kind=kind)
        self.mean = 40 * self.output(self.h).softmax(-1).detach()
        dense = np.random.default_rng(0).poisson(self.mean.numpy()).astype(float)
        dense[4] = 0  # a cell without any count
        dense[2, 3] = 50  # beyond what tables hold
        self.counts = SparseRows.from_csr(sp.csr_matrix(dense))
        self.counts = self.counts.with_values(self.counts.value.to(dtype))
        self.inputs = [self.h, *self.output.parameters(), self.parameter][: 4 if learned else 3]
        self.arguments = (family, self.parameter, self.h, *self.output.parameters(), self.counts)

    def exact(self):
        return likelihood.of_counts(*self.arguments, self.scoring)

    def sampled(self, sample, start):
        return zeros.of_counts(*self.arguments, self.scoring, Pool(), sample, start)

    def gradients(self, found):
        return torch.autograd.grad(found.log_lik, self.inputs, materialize_grads=True)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kinds", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_of_all_features_it_is_the_exact_one(family, kinds, threads):
    case = Case(family, kinds=kinds)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = case.sampled(zeros.SampledZeros(torch.rand(F), 4), 0.3)
        gradients = case.gradients(found)
    finally:
        torch.set_num_threads(before)
    expected = case.exact()
    torch.testing.assert_close(found.log_lik, expected.log_lik)
    torch.testing.assert_close(found.scores, expected.scores)
    for one, other in zip(gradients, case.gradients(expected), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("shift", [-500.0, 500.0])
def test_the_level_of_the_logits_does_not_matter(shift):
    case = Case(Poisson)
    expected = case.gradients(case.exact())
    with torch.no_grad():
        case.output.bias += shift
    found = case.gradients(case.sampled(zeros.SampledZeros(torch.rand(F), 4), 0.3))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_samples_are_right_on_average(family):
    """Over all starts of the systematic sample, but for the bias of a ratio."""
    case = Case(family)
    expected = case.exact()
    sample = zeros.SampledZeros(case.mean.sum(0), B)
    case.gradients(case.sampled(sample, 0.0))  # all features: what is remembered is exact
    n = 500
    scores, gradients = 0, [0] * 4
    for start in (np.arange(n) + 0.5) / n:
        found = case.sampled(sample, float(start))
        scores = scores + found.scores / n
        gradients = [a + b / n for a, b in zip(gradients, case.gradients(found), strict=True)]
    # the exact value, to a tenth of its own spread over cells or features
    for one, other in zip(
        [scores, *gradients], [expected.scores, *case.gradients(expected)], strict=True
    ):
        assert (one - other).norm() < 0.1 * other.norm() + 1e-12


@pytest.mark.slow
def test_every_feature_is_drawn_as_often_as_it_should_be():
    totals = torch.rand(F, generator=torch.Generator().manual_seed(0))
    totals[:40] = 0.001
    sample = zeros.SampledZeros(totals, 1, precision=10)
    sample.remember(slice(None), torch.zeros(F), torch.zeros(F, 1), None)
    drawn, n = torch.zeros(F), 4000
    for start in (np.arange(n) + 0.5) / n:
        index, inverse = sample.draw(float(start))
        drawn[index] += 1 / n
        torch.testing.assert_close(inverse, 1 / sample.probability[index])
    torch.testing.assert_close(drawn, sample.probability.float(), atol=2e-3, rtol=0)
    torch.testing.assert_close(drawn[:40], torch.full((40,), 1 / 64), atol=2e-3, rtol=0)


def test_what_is_remembered_is_of_the_last_step_that_had_it():
    case = Case(Poisson)
    sample = zeros.SampledZeros(torch.full((F,), 0.1), 1)
    case.gradients(case.sampled(sample, 0.0))
    known = sample.zero.clone()
    with torch.no_grad():
        case.output.bias[::2] += 1.0
    index, _ = sample.draw(0.4)
    case.gradients(case.sampled(sample, 0.4))
    others = torch.ones(F, dtype=torch.bool)
    others[index] = False
    assert torch.equal(sample.zero[others], known[others])
    assert (sample.zero[index] != known[index]).all()


def test_rare_features_have_the_prior_instead_of_a_covariance():
    """Of features with few counts the gradient is as if their mean were the same in all cells."""
    case = Case(Poisson)
    totals = torch.full((F,), 50.0)
    totals[::2] = 3
    whole = case.gradients(case.sampled(zeros.SampledZeros(totals, 1), 0.0))
    found = case.gradients(case.sampled(zeros.SampledZeros(totals, 1, precision=1000), 0.0))
    torch.testing.assert_close(found[1][1::2], whole[1][1::2])
    torch.testing.assert_close(found[0], whole[0])
    torch.testing.assert_close(found[2], whole[2])
    size = case.counts.sums()
    mean = size[:, None] * case.output(case.h).softmax(-1)
    level = (size / size.sum()) @ case.h
    apart = mean.t() @ (case.h - level) / B
    torch.testing.assert_close(found[1][::2], (whole[1] + apart)[::2].detach())


@pytest.mark.parametrize("threads", [1, 3])
def test_steps_made_row_by_row_are_those_of_adam(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    weights = []
    try:
        for row_by_row in (False, True):
            case = Case(Poisson, dtype=torch.float32)
            weight = case.output.weight
            optimizer = Adam([weight], lr=0.01, weight_decay=0.3, fused=True)
            sample = zeros.SampledZeros(torch.rand(F), 4)
            for start in (0.3, 0.8, 0.1, 0.5):
                optimizer.zero_grad()
                sample.update = optimizer.update_of(weight) if row_by_row else None
                (-case.sampled(sample, start).log_lik).backward()
                assert (weight.grad is None) == row_by_row
                optimizer.step()
            weights.append(weight.detach())
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*weights)
    moved = weights[0] - Case(Poisson, dtype=torch.float32).output.weight
    assert moved.abs().mean() > 0.02


def test_rare_features_step_when_they_are_seen():
    """And then with all that the zeros of the other steps would have done, on average."""
    case = Case(Poisson)
    seen = torch.bincount(case.counts.column, minlength=F) > 0
    totals = torch.full((F,), 0.25)  # of B cells, one step in four has a count
    sample = zeros.SampledZeros(totals, B, precision=1000)
    weight = case.output.weight
    before = weight.detach().clone()
    whole = case.gradients(case.sampled(sample, 0.0))[1]
    sample.forget()
    sample.update = Adam([weight], lr=0.01).update_of(weight)
    found = case.sampled(sample, 0.0)
    found.log_lik.backward()
    moved = (weight.detach() != before).any(1)
    assert torch.equal(moved, seen) and not seen.all()
    # the first mean of Adam's is a tenth of the gradient
    size = case.counts.sums()
    level = (size / size.sum()) @ case.h.detach()
    share = 1 - np.exp(-0.25)
    of_zeros = (sample.zero * size.sum() / B)[:, None] * level
    expected = whole + of_zeros * (1 / share - 1)
    torch.testing.assert_close(sample.update.first[seen], 0.1 * expected[seen])


def test_where_it_pays(monkeypatch):
    pays = zeros.SampledZeros.where_it_pays
    many = torch.full((100_000,), 5)
    assert pays(many, 100) is not None
    assert pays(many, 25) is None  # few zeros
    assert pays(many[:1000], 100) is None
    monkeypatch.setattr(kernels, "compiled", lambda: None)
    assert pays(many, 100) is None
