"""The one-pass likelihood against `distributions` and finite differences."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from scmvp.nn import distributions as dist
from scmvp.nn import families, likelihood
from scmvp.nn.families import LinearNegativeBinomial, NegativeBinomial, Poisson
from scmvp.nn.likelihood import Pool, Scoring, of_counts
from scmvp.nn.sparse import SparseRows

B, H, F = 6, 4, 13


def by_torch(family, counts: SparseRows, mean: torch.Tensor) -> torch.Tensor:
    dense = torch.zeros_like(mean).index_put((counts.row, counts.column), counts.value)
    return family(mean.clamp_min(1e-300)).log_prob(dense).sum(1)


FAMILIES = {
    NegativeBinomial: dist.negative_binomial,
    LinearNegativeBinomial: dist.linear_negative_binomial,
    Poisson: lambda counts, mean, _: by_torch(torch.distributions.Poisson, counts, mean),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks, the last of which is short."""
    monkeypatch.setattr(likelihood, "BLOCK_FEATURES", 4)


@pytest.fixture
def counts() -> SparseRows:
    dense = np.random.default_rng(0).poisson(1.0, (B, F)).astype(float)
    dense[2, 3] = 50  # beyond what tables hold
    dense[4] = 0  # a cell without any count
    return SparseRows.from_csr(sp.csr_matrix(dense))


def parts(dtype: torch.dtype = torch.float64):
    torch.manual_seed(0)
    h = torch.randn(B, H, dtype=dtype, requires_grad=True)
    output = torch.nn.Linear(H, F, dtype=dtype)
    parameter = torch.randn(F, dtype=dtype, requires_grad=True)
    weight = torch.cat([torch.randn(F, 3), torch.ones(F, 1)], 1)
    return h, output, parameter, Scoring(weight.to(dtype))


def by_shares(family, parameter, h, output, counts) -> torch.Tensor:
    mean = output(h).softmax(-1) * counts.sums()[:, None]
    return FAMILIES[family](counts, mean, parameter).mean()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pool", [None, Pool()])
def test_value_and_gradients_are_those_of_the_shares(family, pool, counts):
    h, output, parameter, scoring = parts()
    inputs = (h, output.weight, output.bias, parameter)
    for _ in range(2):  # the second time in memory that has been used
        found = of_counts(family, parameter, h, *output.parameters(), counts, scoring, pool)
        expected = by_shares(family, parameter, h, output, counts)
        torch.testing.assert_close(found.log_lik, expected)
        torch.testing.assert_close(found.scores, output(h).softmax(-1) @ scoring.weight[:, :-1])
        assert not found.scores.requires_grad
        gradients = (
            torch.autograd.grad(3 * value, inputs, materialize_grads=True)
            for value in (found.log_lik, expected)
        )
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_finite_differences(family, counts):
    h, output, parameter, scoring = parts()

    def value(h, weight, bias, parameter):
        return of_counts(family, parameter, h, weight, bias, counts, scoring).log_lik

    inputs = (h, output.weight.detach(), output.bias.detach(), parameter)
    assert torch.autograd.gradcheck(value, [i.detach().requires_grad_() for i in inputs])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shift", [-500.0, 0.0, 500.0])
def test_the_level_of_the_logits_does_not_matter(family, counts, shift):
    h, output, parameter, scoring = parts()
    with torch.no_grad():
        expected = of_counts(family, parameter, h, *output.parameters(), counts, scoring)
        output.bias += shift
        moved = of_counts(family, parameter, h, *output.parameters(), counts, scoring)
    torch.testing.assert_close(moved.log_lik, expected.log_lik)


@pytest.mark.parametrize("family", FAMILIES)
def test_where_a_share_underflows_all_is_finite(family, counts):
    """A mean of 0 at a count, the worst a softmax can hand over."""
    h, output, parameter, scoring = parts(torch.float32)
    with torch.no_grad():
        output.bias[3] = -200.0
    h = h.detach().requires_grad_()
    rows = counts.with_values(counts.value.float())
    found = of_counts(family, parameter, h, *output.parameters(), rows, scoring).log_lik
    assert torch.isfinite(found)
    for gradient in torch.autograd.grad(found, [h, output.weight, output.bias]):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_dispersions_of_any_size_keep_their_digits(family, counts):
    """At theta to infinity, or c to 0, it is the Poisson; differences of lgamma must not cancel."""
    h, output, _, scoring = parts()
    for level in (-20.0, -12.0, 12.0, 18.0):
        parameter = torch.full((F,), level).double()
        exact = of_counts(family, parameter, h, *output.parameters(), counts, scoring).log_lik
        single = of_counts(
            family,
            parameter.float(),
            h.float(),
            *_single(output).parameters(),
            counts.with_values(counts.value.float()),
            Scoring(scoring.weight.float()),
        ).log_lik
        torch.testing.assert_close(single.double(), exact, rtol=2e-5, atol=1e-4)


def _single(layer: torch.nn.Linear) -> torch.nn.Linear:
    copy = torch.nn.Linear(layer.in_features, layer.out_features)
    copy.load_state_dict(layer.state_dict())
    return copy


def test_memory_of_a_pool_serves_one_backward_pass(counts):
    h, output, parameter, scoring = parts()
    found = of_counts(NegativeBinomial, parameter, h, *output.parameters(), counts, scoring, Pool())
    found.log_lik.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass"):
        found.log_lik.backward()


def test_a_pool_does_not_grow():
    """Memory longer than was asked for comes back whole, as a gradient, too."""
    pool, weight = Pool(), torch.nn.Parameter(torch.zeros(3, 4))
    first = pool.take(20, weight)
    pool.give_back(first)
    weight.grad = pool.take(12, weight).view(3, 4).detach()
    assert weight.grad.data_ptr() == first.data_ptr()
    pool.take_gradients(weight)
    assert weight.grad is None
    again = pool.take(20, weight)
    assert again.data_ptr() == first.data_ptr() and again.shape == (20,)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_looking_at_the_counts_it_is_the_same(family, counts, monkeypatch):
    """On a GPU nothing may depend on how many counts are large."""
    h, output, parameter, scoring = parts()
    expected = of_counts(family, parameter, h, *output.parameters(), counts, scoring).log_lik
    known = families.Counts.of
    monkeypatch.setattr(
        families.Counts, "of", classmethod(lambda cls, *rows: known(*rows)._replace(repeated=None))
    )
    found = of_counts(family, parameter, h, *output.parameters(), counts, scoring).log_lik
    torch.testing.assert_close(found, expected)


def test_scores_of_cells_of_several_kinds(counts):
    """Each kind's own weights, over their own sums."""
    h, output, parameter, _ = parts()
    scoring = parts()[3]._replace(
        factor=torch.rand(2, F).double(), kind=torch.tensor([0, 1, 1, 0, 1, 0])
    )
    found = of_counts(NegativeBinomial, parameter, h, *output.parameters(), counts, scoring)
    share = output(h).softmax(-1) * scoring.factor[scoring.kind]
    expected = (share / share.sum(1, keepdim=True)) @ scoring.weight[:, :-1]
    torch.testing.assert_close(found.scores, expected)
    torch.testing.assert_close(
        found.log_lik, by_shares(NegativeBinomial, parameter, h, output, counts)
    )
