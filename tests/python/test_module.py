"""The generative model: prior, attention, encoders, loss."""

import re

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy import integrate, stats

from scmvp.data.spectral import fit_correspondence
from scmvp.nn import distributions as dist
from scmvp.nn.batches import Cells, PairedBatch, ResidentRows, even_chunks, take
from scmvp.nn.inputs import SpectralScores
from scmvp.nn.module import Features, PairedMixtureVAE
from scmvp.nn.networks import BatchNorm, ClusterGate, Gaussian, SelfAttention
from scmvp.nn.optimizer import set_prior
from scmvp.nn.paper import InputLinear, LogCounts, TfIdf
from scmvp.nn.prior import MixturePrior
from scmvp.nn.sparse import SparseRows
from scmvp.options import ModelOptions

N, G, P, K = 24, 30, 40, 3


def poisson(n_features: int, mean: float = 0.5) -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    return sp.csr_matrix(rng.poisson(mean, (N, n_features)).astype(np.float32))


def build(**options) -> PairedMixtureVAE:
    torch.manual_seed(0)
    options = ModelOptions(n_latent=4, n_hidden=16, n_heads=4, **options)
    if options.encoder_input == "spectral":
        readers = [SpectralScores(fit_correspondence(poisson(n), 3, seed=0)) for n in (G, P)]
    else:
        readers = [LogCounts(G), TfIdf(torch.full((P,), N / 10.0))]
    totals = torch.full((G,), 20.0), torch.full((P,), 10.0)
    features = dict(zip(("rna", "atac"), map(Features, totals, readers), strict=True))
    module = PairedMixtureVAE(options, K, features)
    start = torch.randn(K, 4)
    module.prior.start(torch.tensor([0.2, 0.3, 0.5]), start, torch.ones(K, 4))
    return module


@pytest.fixture
def batch() -> PairedBatch:
    return take({"rna": poisson(G, 0.7), "atac": poisson(P, 0.4)}, slice(None))


def dense_of(rows: SparseRows, n_columns: int) -> torch.Tensor:
    dense = torch.zeros(rows.n_rows, n_columns)
    dense[rows.row, rows.column] = rows.value
    return dense


@pytest.mark.slow
def test_sparse_and_dense_input_give_the_same_hidden_layer(batch):
    layer = InputLinear(G, 5)
    torch.testing.assert_close(layer(batch.counts["rna"]), layer(dense_of(batch.counts["rna"], G)))


def test_rows_without_counts_are_rows():
    matrix = sp.csr_matrix(np.array([[0, 0], [1, 2], [0, 0]], np.float32))
    rows = SparseRows.from_csr(matrix)
    assert rows.n_rows == 3
    assert rows.sums().tolist() == [0, 3, 0]
    layer = InputLinear(2, 4)
    torch.testing.assert_close(layer(rows), layer(torch.from_numpy(matrix.toarray())))


def test_atac_input_is_tf_idf(batch):
    module = build(encoder_input="counts")
    y = dense_of(batch.counts["atac"], P)
    expected = torch.log1p(1e4 * y / y.sum(1, keepdim=True) * (N / 10.0))
    torch.testing.assert_close(dense_of(module.readers["atac"](batch.counts["atac"]), P), expected)


def test_self_attention_mixes_the_tokens_of_one_cell_only():
    """Softmax over one token is 1, a linear map: with several, tokens must reach each other."""
    torch.manual_seed(0)
    block = SelfAttention(16, 4).double()
    h = torch.randn(3, 16).double()
    jacobian = torch.autograd.functional.jacobian(block, h)  # (3, 16, 3, 16)
    assert jacobian[0, 0:4, 0, 12:16].abs().max() > 1e-4
    assert jacobian[0, :, 1, :].abs().max() == 0
    curvature = block(h) + block(-h)
    assert curvature.abs().max() > 1e-3


def test_cluster_gate_has_mean_one():
    gate = ClusterGate(K, 16)
    weights = gate(torch.ones(5, 16), torch.eye(K)[[0, 1, 2, 0, 1]])
    torch.testing.assert_close(weights.mean(1), torch.ones(5))
    assert weights.std() > 0


def test_running_statistics_come_from_measured_cells_only():
    norm = BatchNorm(4).train()
    norm(torch.randn(50, 4) + 100, observed=False)
    torch.testing.assert_close(norm.running_mean, torch.zeros(4))
    norm(torch.randn(50, 4) + 100, observed=True)
    assert (norm.running_mean > 5).all()


def test_prior_kl_is_the_kl_to_the_whole_mixture():
    """Monte Carlo mean of the loss term against numerical integration in one dimension."""
    torch.manual_seed(0)
    weight, mean, variance = (0.3, 0.7), (-1.5, 2.0), (0.5, 1.2)
    prior = MixturePrior(2, 1)
    prior.start(*(torch.tensor(v) for v in (weight, [[m] for m in mean], [[v] for v in variance])))
    grid = np.linspace(-15, 15, 60001)
    q = stats.norm(0.4, np.sqrt(0.3)).pdf(grid)
    p = sum(
        w * stats.norm(m, np.sqrt(v)).pdf(grid)
        for w, m, v in zip(weight, mean, variance, strict=True)
    )
    expected = integrate.trapezoid(np.where(q > 0, q * np.log((q + 1e-300) / p), 0), grid)
    posterior = Gaussian(torch.full((400_000, 1), 0.4), torch.full((400_000, 1), np.log(0.3)))
    found = prior.kl(posterior, posterior.sample()).mean()
    assert found.item() == pytest.approx(expected, abs=0.01)

    # the same mixture, written down in other coordinates
    prior.set_whitening(torch.tensor([1.0]), torch.tensor([[-2.0]]))
    moved = ([[-2 * (m - 1)] for m in mean], [[4 * v] for v in variance])
    prior.start(*(torch.tensor(v) for v in (weight, *moved)))
    found = prior.kl(posterior, posterior.sample()).mean()
    assert found.item() == pytest.approx(expected, abs=0.01)


def test_there_and_back_through_the_frame():
    torch.manual_seed(0)
    prior = MixturePrior(2, 4)
    prior.set_whitening(torch.randn(4), torch.randn(4, 4))
    z = torch.randn(7, 4)
    torch.testing.assert_close(prior.unwhiten(prior.whiten(z)), z, atol=1e-4, rtol=1e-4)


def test_prior_kl_does_not_reward_collapse():
    """The published entropy term was smallest when all cells shared one component.

    Cells in two groups: a prior with a component on each must cost less than one where a single
    component has swallowed both.
    """
    torch.manual_seed(0)
    centers = torch.tensor([[-4.0], [4.0]]).repeat(500, 1)
    posterior = Gaussian(centers, torch.full_like(centers, -1.0))
    z = posterior.sample()
    two, one = MixturePrior(2, 1), MixturePrior(2, 1)
    two.start(torch.tensor([0.5, 0.5]), torch.tensor([[-4.0], [4.0]]), torch.ones(2, 1))
    one.start(torch.tensor([1.0, 0.0]), torch.zeros(2, 1), torch.full((2, 1), 17.0))
    assert two.kl(posterior, z).mean() < one.kl(posterior, z).mean() - 0.3


def test_mixture_weights_are_normalized_after_any_step():
    prior = MixturePrior(4, 2)
    with torch.no_grad():
        prior.logit.copy_(torch.tensor([3.0, -2.0, 7.0, 0.1]))
    log_weight, _, _ = prior.parts()
    assert log_weight.exp().sum().item() == pytest.approx(1)


def test_before_the_mixture_starts_the_prior_is_standard_normal():
    module = build()
    module.prior.has_started = False
    q = Gaussian(torch.randn(6, 4), torch.randn(6, 4))
    found = module.prior.kl(q, q.sample())
    standard = torch.distributions.Normal(torch.zeros(4), torch.ones(4))
    normal = torch.distributions.Normal(q.mean, (0.5 * q.log_var).exp())
    expected = torch.distributions.kl_divergence(normal, standard).sum(1)
    torch.testing.assert_close(found, expected)
    assert module.gate_input(q.mean) is None


def reached(term: torch.Tensor, module: PairedMixtureVAE) -> set[str]:
    """The parts of the module that the gradient of a loss term reaches."""
    learned = [(name, part) for name, part in module.named_parameters() if part.requires_grad]
    names, parameters = zip(*learned, strict=True)
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return {
        re.sub(r"^((en|de)coders|dispersions)\.(\w+).*|\..*", r"\1 \3", name).strip()
        for name, gradient in zip(names, gradients, strict=True)
        if gradient is not None and gradient.abs().max() > 0
    }


def test_every_term_reaches_every_part_it_should(batch):
    """The published consistency KLs were computed and never used."""
    module = build().train()
    module.learn_dispersions()
    terms = module.loss(batch)
    rna = reached(terms.reconstruction["rna"], module)
    assert {"encoders joint", "decoders rna", "dispersions rna", "prior"} <= rna
    atac = reached(terms.reconstruction["atac"], module)
    assert {"encoders joint", "decoders atac", "dispersions atac"} <= atac
    assert reached(terms.kl, module) == {"encoders joint", "prior"}
    assert reached(terms.consistency, module) == {"encoders rna", "encoders atac"}


def test_without_distillation_consistency_moves_the_joint_encoder_too(batch):
    module = build(distil=False).train()
    parts = {"encoders joint", "encoders rna", "encoders atac"}
    assert reached(module.loss(batch).consistency, module) == parts


def test_the_prior_of_output_weights_is_weak_in_the_stages_it_is_to_be():
    early = {"KL warm-up": 0.2, "mixture": 0.5}
    groups = [{"weight_decay": 7.0}, {"weight_decay": 2.0, "prior": 2.0, "early": early}]
    for stage, factor in {"KL warm-up": 0.2, "warm-up": 1, "mixture": 0.5, "annealing": 1}.items():
        set_prior(groups, stage)
        assert groups[0]["weight_decay"] == 7.0
        assert groups[1]["weight_decay"] == pytest.approx(2.0 * factor)


def test_weight_decay_is_the_gradient_of_a_gaussian_prior():
    module = build(decoder_precision=50.0)
    *outputs, others, dispersions = module.parameter_groups(n_cells=20)
    prior = torch.distributions.Normal(0, 50.0**-0.5)
    for decoder, group in zip(module.decoders.values(), outputs, strict=True):
        weight = decoder.output.weight
        assert group["params"] == [weight]
        (gradient,) = torch.autograd.grad(-prior.log_prob(weight).sum() / 20, weight)
        torch.testing.assert_close(gradient, group["weight_decay"] * weight)
    assert "weight_decay" not in others | dispersions
    module.learn_dispersions()
    learned = [part for part in module.parameters() if part.requires_grad]
    assert sum(len(group["params"]) for group in (*outputs, others, dispersions)) == len(learned)


def test_until_dispersions_are_learned_no_gradient_reaches_them(batch):
    module = build().train()
    terms = module.loss(batch)
    total = sum(terms.reconstruction.values())
    assert not {"dispersions rna", "dispersions atac"} & reached(total, module)
    mean = module.decode(module.encode(module.inputs(batch)).mean).proportions["atac"].detach()
    found = dist.linear_negative_binomial(batch.counts["atac"], mean, module.dispersions["atac"])
    poisson = torch.distributions.Poisson(mean).log_prob(dense_of(batch.counts["atac"], P)).sum(1)
    torch.testing.assert_close(found, poisson, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("learned", [False, True])
def test_loss_in_one_pass_is_that_of_the_proportions(batch, learned):
    module = build().eval()
    if learned:
        module.learn_dispersions()
    z = torch.randn(N, 4)
    p_c = module.gate_input(z)
    for name, decoder in module.decoders.items():
        h = decoder.hidden(z, p_c)
        found = module._in_one_pass(name, h, batch)
        expected = module._of_proportions(name, h, batch)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["weight_consistency_measured", "weight_consistency_imputed"])
def test_consistency_terms_are_weighted(batch, name):
    torch.manual_seed(1)
    both = build().eval().loss(batch).consistency
    module = build(**{name: 0.0}).eval()
    less = module.loss(batch).consistency
    assert 0 < less < both


def test_loss_of_a_batch_is_the_mean_over_its_cells(batch):
    """In evaluation mode no cell sees another one."""
    module = build().eval()
    z = module.encode(module.inputs(batch)).mean
    parts = [take_row(batch, i) for i in range(N)]
    alone = torch.cat([module.encode(module.inputs(part)).mean for part in parts])
    torch.testing.assert_close(z, alone, atol=1e-5, rtol=1e-4)


def take_row(batch: PairedBatch, i: int) -> PairedBatch:
    n = {"rna": G, "atac": P}
    dense = {name: dense_of(rows, n[name]).numpy() for name, rows in batch.counts.items()}
    return take({name: sp.csr_matrix(rows) for name, rows in dense.items()}, slice(i, i + 1))


def test_decoded_shares_sum_to_one():
    decoded = build().eval().decode(torch.randn(5, 4))
    assert [*decoded.proportions] == ["rna", "atac"]
    for f in decoded.proportions.values():
        torch.testing.assert_close(f.sum(1), torch.ones(5))


def test_zero_inflation_per_entry_depends_on_the_cell():
    z = torch.randn(5, 4)
    assert build().decode(z).zero_logit["atac"] is None
    logit = build(likelihood_atac="zip").decode(z).zero_logit["atac"]
    assert logit.shape == (5, P)
    assert logit.std(0).max() > 0


def test_an_epoch_visits_every_cell_once():
    rna = sp.csr_matrix(np.arange(1, 104, dtype=np.float32)[:, None])
    cells = Cells({"rna": rna, "atac": rna}, torch.device("cpu"))
    batches = cells.shuffled(np.arange(103), 16, np.random.default_rng(0))
    parts, counts = zip(
        *((part.cells, batch.counts["rna"].value) for part, batch in batches), strict=True
    )
    seen = torch.cat(counts)
    np.testing.assert_array_equal(np.concatenate(parts) + 1, seen)
    assert sorted(seen.tolist()) == list(range(1, 104))
    assert not torch.equal(seen, seen.sort().values)


def test_rows_that_live_on_a_device_are_those_of_the_matrix():
    """What a GPU does, on the CPU."""
    matrix = poisson(G)
    rows = ResidentRows(matrix, torch.device("cpu"))
    cells = np.array([5, 0, 23, 5])
    for found, expected in zip(rows.take(cells), SparseRows.from_csr(matrix[cells]), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 129, 1000])
def test_chunks_are_even(n):
    sizes = [len(chunk) for chunk in even_chunks(np.arange(n), 16)]
    assert sum(sizes) == n
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 24
