"""DNA methylation: likelihood, scores, levels, differences, files, refusals."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.sparse as sp
import scipy.stats
import torch
from mudata import MuData
from populations import assert_types_found, faint_types
from scipy.special import expit, logit
from sklearn.neighbors import KNeighborsClassifier
from stored import rename_tensors

import scmvp
from scmvp import cli
from scmvp.data import levels
from scmvp.data.matrices import in_memory
from scmvp.nn import distributions as dist
from scmvp.nn.levels import LevelScores
from scmvp.nn.sparse import SparseRows
from scmvp.tools import levels as level_tests
from scmvp.tools import posterior

N_REGIONS = 400


def counts_of(p: np.ndarray, coverage: float, concentration: float, seed: int):
    """Methylated and covered counts of cells with these levels, (n, F)."""
    rng = np.random.default_rng(seed)
    rate = rng.lognormal(0, 0.5, p.shape[1]) * rng.lognormal(0, 0.4, (len(p), 1))
    covered = rng.poisson(coverage * rate)
    level = rng.beta(np.maximum(concentration * p, 1e-6), concentration * (1 - p))
    return rng.binomial(covered, level).astype(np.float32), covered.astype(np.float32)


def levels_of_types(n_types: int, differing: float, seed: int = 0) -> np.ndarray:
    """Levels of each type, (types, F); some regions of each differ from the others."""
    rng = np.random.default_rng(seed)
    base = rng.normal(0.8, 1.2, N_REGIONS)
    effect = np.zeros((n_types, N_REGIONS))
    for one in effect:
        at = rng.choice(N_REGIONS, int(differing * N_REGIONS), replace=False)
        one[at] = rng.choice([-1.5, 1.5], len(at))
    return expit(base + effect)


def part_of(methylated, covered, cells) -> ad.AnnData:
    names = [f"chr1-{1000 * j}-{1000 * j + 999}" for j in range(methylated.shape[1])]
    return ad.AnnData(
        obs=pd.DataFrame(index=cells),
        var=pd.DataFrame(index=names),
        layers={"methylated": sp.csr_matrix(methylated), "covered": sp.csr_matrix(covered)},
    )


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return levels_of_types(3, 0.15)


@pytest.fixture(scope="module")
def cells(truth) -> MuData:
    """Three types that RNA and ATAC hardly tell apart, and methylation does."""
    pair, kind = faint_types()
    part = part_of(*counts_of(truth[kind], 1.5, 15, 3), pair["rna"].obs_names)
    # in another order: cells go by name
    return MuData({"rna": pair["rna"], "atac": pair["atac"], "mCG": part[::-1].copy()})


@pytest.fixture(scope="module")
def kind(cells) -> np.ndarray:
    return cells["rna"].obs["cell_type"].cat.codes.to_numpy()


@pytest.fixture(scope="module")
def model(cells) -> scmvp.SCMVP:
    return scmvp.SCMVP(cells, n_clusters=3).train(max_epochs=30, seed=0, progress=False)


# ---- the likelihood


def parameters(seed: int = 0):
    rng = np.random.default_rng(seed)
    covered = rng.poisson(6.0, (4, 5)) * (rng.random((4, 5)) > 0.3)
    methylated = rng.binomial(covered, 0.6)
    numbers = (methylated, covered, rng.normal(0, 2, (4, 5)), rng.normal(1, 1, 5))
    return [torch.from_numpy(np.asarray(part, dtype=float)) for part in numbers]


def test_the_likelihood_is_that_of_scipy():
    methylated, covered, log_odds, log_concentration = parameters()
    p, s = log_odds.sigmoid().numpy(), log_concentration.exp().numpy()
    expected = scipy.stats.betabinom.logpmf(
        methylated.numpy(), covered.numpy(), s * p, s * (1 - p)
    ).sum(1)
    found = dist.beta_binomial(methylated, covered, log_odds, log_concentration)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    # a large concentration makes it the binomial
    found = dist.beta_binomial(methylated, covered, log_odds, torch.full((5,), 25.0).double())
    expected = scipy.stats.binom.logpmf(methylated.numpy(), covered.numpy(), p).sum(1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.slow
def test_gradients_of_the_likelihood_are_finite_differences():
    methylated, covered, *learned = parameters(1)
    learned = [part.requires_grad_() for part in learned]
    assert torch.autograd.gradcheck(
        lambda *some: dist.beta_binomial(methylated, covered, *some), learned
    )


def test_levels_at_the_ends_have_finite_likelihoods_and_gradients():
    methylated = torch.tensor([[0.0, 5, 3]])
    covered = torch.tensor([[5.0, 5, 5]])
    log_odds = torch.tensor([[-200.0, 200, 200]], requires_grad=True)
    found = dist.beta_binomial(methylated, covered, log_odds, torch.zeros(3))
    found.sum().backward()
    assert torch.isfinite(found).all() and torch.isfinite(log_odds.grad).all()


# ---- the scores


@pytest.mark.parametrize("concentration", [3.0, 30.0])
def test_the_correlation_of_positions_is_found(concentration):
    p = np.repeat(expit(np.random.default_rng(0).normal(0, 1, 300))[None], 500, 0)
    m, n = map(sp.csr_matrix, counts_of(p, 3.0, concentration, 1))
    assert levels.intraclass_correlation(m, n) == pytest.approx(1 / (1 + concentration), rel=0.1)


@pytest.mark.slow
def test_scores_are_sums_of_residuals_of_effective_counts(truth, kind):
    methylated, covered = counts_of(truth[kind], 1.5, 15, 3)
    names = np.arange(300).astype(str), np.arange(N_REGIONS).astype(str)
    counts = levels.stacked(sp.csr_matrix(methylated), sp.csr_matrix(covered), *names)
    reader = LevelScores(levels.fit_levels(counts, 10, 0, shrink=False))
    found = reader(SparseRows.from_csr(counts)).numpy()
    rho, p = float(reader.correlation), expit(reader.logit.numpy().astype(float))
    for i in (0, 17):
        expected, size = np.zeros(10), 0.0
        for j in range(N_REGIONS):
            if covered[i, j] > 0:
                weight = 1 / (1 + (covered[i, j] - 1) * rho)
                residual = methylated[i, j] - covered[i, j] * p[j]
                expected += weight * residual * reader.loading[j].numpy()
                size += weight * covered[i, j]
        np.testing.assert_allclose(found[i], expected / size, rtol=1e-3, atol=1e-4)
    # of cells that do not differ, a score has about the variance 1 at the mean coverage; seen in
    # other cells than those on which the directions were fitted
    alike = np.repeat(truth[:1], 300, 0)
    fitted, others = (
        levels.stacked(*map(sp.csr_matrix, counts_of(alike, 1.5, 15, seed)), *names)
        for seed in (4, 5)
    )
    reader = LevelScores(levels.fit_levels(fitted, 10, 0, shrink=False))
    covered = np.add(*(half.toarray() for half in levels.halves(others)))
    size = (covered / (1 + np.maximum(covered - 1, 0) * float(reader.correlation))).sum(1)
    noise = reader(SparseRows.from_csr(others)).numpy() * np.sqrt(size / size.mean())[:, None]
    assert noise.std(0).mean() == pytest.approx(1, abs=0.15)


@pytest.mark.slow
def test_reconstructed_scores_are_those_of_many_counts(truth):
    names = np.arange(300).astype(str), np.arange(N_REGIONS).astype(str)
    kind = np.arange(300) % 3
    counts = levels.stacked(*map(sp.csr_matrix, counts_of(truth[kind], 1.5, 15, 3)), *names)
    found = levels.fit_levels(counts, 5, 0)
    reader = LevelScores(found._replace(correlation=np.zeros(1, np.float32)))
    covered = np.round(1e6 * found.share)
    deep = np.concatenate([np.round(covered * truth[1]), covered - np.round(covered * truth[1])])
    observed = reader(SparseRows.from_csr(sp.csr_matrix(deep[None].astype(np.float32))))
    level = torch.from_numpy(truth[1:2].astype(np.float32))
    torch.testing.assert_close(
        reader.reconstructed(level, torch.ones(1, 1)), observed, rtol=1e-2, atol=1e-3
    )


# ---- a fit


@pytest.mark.slow
def test_methylation_tells_types_apart_and_levels_are_imputed(model, kind, truth):
    assert repr(model).startswith("SCMVP(200 genes, 400 peaks, 400 regions, ")
    assert_types_found(kind, model.predict())
    imputed = model.get_methylation()
    assert imputed.min() >= 0 and imputed.max() <= 1
    deviation = imputed - imputed.mean(0)
    expected = truth[kind] - truth[kind].mean(0)
    assert np.corrcoef(deviation.ravel(), expected.ravel())[0, 1] > 0.8
    # as a regression: levels are not only in order
    assert np.polyfit(imputed.ravel(), truth[kind].ravel(), 1)[0] == pytest.approx(1, abs=0.1)
    named = model.get_methylation(regions=list(model.regions[[7, 2]]))
    np.testing.assert_allclose(named, imputed[:, [7, 2]], rtol=1e-5)
    # no library size: it changes nothing
    latent = model.get_latent_representation()
    np.testing.assert_array_equal(model.decode(latent, "methylation", library_size=3.0), imputed)


@pytest.mark.slow
def test_the_concentration_is_learned(truth):
    kind = np.repeat([0, 1, 2], 200)
    part = part_of(*counts_of(truth[kind], 20.0, 15, 3), [f"c{i}" for i in range(600)])
    model = scmvp.SCMVP(MuData({"meth": part}), n_clusters=3, modalities="methylation")
    model.train(max_epochs=25, progress=False)
    found = model._fit.module.dispersions["methylation"].detach().exp().median()
    assert float(found) == pytest.approx(15, rel=0.15)


@pytest.mark.slow
def test_a_model_of_methylation_is_saved_loaded_and_embeds_other_cells(cells, model, tmp_path):
    model.save(tmp_path / "model")
    loaded = scmvp.SCMVP.load(tmp_path / "model")
    assert [*loaded.features] == ["rna", "atac", "methylation"]
    latent = loaded.get_latent_representation(cells)
    np.testing.assert_allclose(latent, model.get_latent_representation(), atol=1e-4)
    own = model.get_latent_representation(modality="methylation")
    # regions and cells in another order, a few missing, names in another spelling
    rng = np.random.default_rng(0)
    other = cells["mCG"][rng.permutation(300)][:, rng.permutation(N_REGIONS)[:-20]].copy()
    other.var_names = [name.replace("-", ":", 1) for name in other.var_names]
    query = MuData({"methylation": other})
    with pytest.warns(scmvp.errors.InputNote, match="20 regions of the model"):
        found = loaded.get_latent_representation(query, modality="methylation")
    at = pd.Index(other.obs_names).get_indexer(model.cells)
    assert np.corrcoef(found[at].ravel(), own.ravel())[0, 1] > 0.98
    imputed = model.get_methylation(regions=list(model.regions[:2]))
    again = loaded.get_methylation(cells, regions=list(model.regions[:2]))
    np.testing.assert_allclose(again, imputed, rtol=1e-3)
    # cells in which it was not measured, in memory and on disk
    pair = MuData({"rna": cells["rna"], "atac": cells["atac"]})
    pair.write_h5mu(tmp_path / "pair.h5mu")
    on_disk = scmvp.read(tmp_path / "pair.h5mu", backed=True)
    np.testing.assert_allclose(
        loaded.get_latent_representation(on_disk), loaded.get_latent_representation(pair), atol=1e-4
    )
    rename_tensors(tmp_path / "model", lambda name: name.replace(".correlation", ".likeness"))
    earlier = scmvp.SCMVP.load(tmp_path / "model")
    np.testing.assert_array_equal(earlier.get_latent_representation(cells), latent)


@pytest.mark.slow
def test_cells_of_one_modality_are_placed_with_the_others(truth):
    rna = scmvp.simulate(n_cells=300, n_genes=500, n_peaks=40, n_types=3, seed=2)["rna"]
    kind = rna.obs["cell_type"].cat.codes.to_numpy()
    part = part_of(*counts_of(truth[kind], 3.0, 15, 3), rna.obs_names)
    lacks = np.random.default_rng(0).integers(0, 3, 300)  # 0: nothing, 1: RNA, 2: methylation
    mdata = MuData({"rna": rna[lacks != 1].copy(), "mCG": part[lacks != 2].copy()})
    model = scmvp.SCMVP(mdata, n_clusters=3, mosaic=True, modalities=("rna", "methylation"))
    model.train(max_epochs=15, seed=0, threads=1, progress=False)
    assert model.account["cells_without_rna"] == (lacks == 1).sum()
    assert model.account["cells_without_methylation"] == (lacks == 2).sum()
    at = rna.obs_names.get_indexer(model.cells)
    z, kind, lacks = model.get_latent_representation(), kind[at], lacks[at]
    imputed = model.get_methylation() - truth.mean(0)
    classifier = KNeighborsClassifier(15).fit(z[lacks == 0], kind[lacks == 0])
    for one in (1, 2):
        alone = lacks == one
        assert classifier.score(z[alone], kind[alone]) > 0.95
        expected = (truth - truth.mean(0))[kind[alone]]
        assert np.corrcoef(imputed[alone].ravel(), expected.ravel())[0, 1] > 0.6


@pytest.mark.slow
def test_batches_are_removed_from_the_levels(truth):
    """A batch adds 1 to the log odds of half of the regions: a protocol's bias."""
    rng = np.random.default_rng(0)
    kind, batch = rng.integers(0, 3, 400), rng.integers(0, 2, 400)
    shift = np.where(np.arange(N_REGIONS) % 2, 1.0, 0.0)
    p = expit(logit(truth[kind]) + batch[:, None] * shift)
    part = part_of(*counts_of(p, 10.0, 15, 3), [f"c{i}" for i in range(400)])
    part.obs["batch"] = batch.astype(str)
    mdata = MuData({"methylation": part})
    mdata.obs["batch"] = part.obs["batch"]
    found = {}
    for name in (None, "batch"):
        model = scmvp.SCMVP(mdata, n_clusters=3, modalities="methylation", batch=name)
        model.train(max_epochs=25, progress=False)
        latent = model.get_latent_representation()
        of_kind = latent - np.stack([latent[kind == k].mean(0) for k in range(3)])[kind]
        found[name] = np.abs(of_kind[batch == 1].mean(0) - of_kind[batch == 0].mean(0)).max()
    assert found["batch"] < 0.3 < 1 < found[None]
    one, other = (logit(model.get_methylation(batch=one).astype(float)) for one in ("0", "1"))
    difference = (other - one).mean(0)  # a prior shrinks it, the less the more counts there are
    assert difference[shift == 1].mean() == pytest.approx(1, abs=0.15)
    assert difference[shift == 0].mean() == pytest.approx(0, abs=0.15)


# ---- differences


@pytest.mark.slow
@pytest.mark.parametrize("n_batches", [1, 2])
def test_the_profile_likelihood_is_the_largest_one_for_each_effect(n_batches):
    rng = np.random.default_rng(0)
    n = rng.integers(1, 40, (n_batches, 2, 6)).astype(float)
    m = np.round(n * rng.random(n.shape))
    m[..., 0], m[..., 1] = 0, n[..., 1]  # all or nothing
    found = level_tests.LevelEvidence(m, n).likelihood(slice(None))
    for effect in (-3.0, -0.5, 0.0, 0.5, 3.0):
        at = np.abs(posterior.GRID - effect).argmin()
        for j in range(6):

            def loss(odds, batch, effect, j=j):
                p = expit(np.array([odds + effect, odds])).clip(1e-12, 1 - 1e-12)
                return -scipy.stats.binom.logpmf(m[batch, :, j], n[batch, :, j], p).sum()

            best = {
                b: sum(  # each batch has a level of its own
                    min(
                        scipy.optimize.minimize_scalar(
                            loss, bounds=bounds, args=(batch, b), method="bounded"
                        ).fun
                        for bounds in ((-30, 0), (0, 30), (-5, 5))
                    )
                    for batch in range(n_batches)
                )
                for b in (effect, 0.0)
            }
            expected = best[0.0] - best[effect]
            zero = np.abs(posterior.GRID).argmin()
            value = np.log(found[j, at]) - np.log(found[j, zero])
            assert value == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("coverages", [[(2, 3, 1)], [(1, 2, 20)], [(5, 9, 100, 3, 2), (1, 4, 0)]])
@pytest.mark.parametrize("rho", [0.0, 0.1, 0.5])
def test_the_correlation_of_positions_is_unbiased_for_any_coverage(coverages, rho):
    """Of beta-binomial counts, in one batch or two of different levels."""
    rng, n = np.random.default_rng(0), 60_000
    batches = []
    for p, coverage in zip((0.7, 0.4), coverages, strict=False):
        covered = np.repeat(np.array(coverage)[:, None], n, 1)
        level = rng.beta(p * (1 / rho - 1), (1 - p) * (1 / rho - 1), covered.shape) if rho else p
        counted = (sp.csr_matrix(rng.binomial(covered, level)), sp.csr_matrix(covered))
        names = np.arange(len(coverage)).astype(str), np.arange(n).astype(str)
        unit = np.zeros(len(coverage), int)
        (sums,) = level_tests.level_sums(levels.stacked(*counted, *names), unit, 1, None)
        batches.append(sums.of([0]))
    moments = level_tests._moments(batches)
    told = moments.unit_of(np.full(n, rho))
    found = moments.excess.sum() / told.sum()
    assert found == pytest.approx(rho, abs=0.01 + 0.02 * rho)


@pytest.mark.slow
@pytest.mark.parametrize("deep", [1, 50])
def test_unequal_coverage_of_a_small_group_makes_no_region_differ(deep):
    rng = np.random.default_rng(0)
    level = expit(rng.normal(0.7, 1.5, N_REGIONS))
    for n in (3, 5, 10):
        depth = 4 * rng.lognormal(0, 1.5, (100 + n, 1))
        depth[0] *= deep
        covered = rng.poisson(np.repeat(depth, N_REGIONS, 1))
        methylated = rng.binomial(covered, rng.beta(9 * level, 9 * (1 - level), covered.shape))
        names = np.arange(100 + n).astype(str), np.arange(N_REGIONS).astype(str)
        counts = levels.stacked(sp.csr_matrix(methylated), sp.csr_matrix(covered), *names)
        (sums,) = level_tests.level_sums(counts, (np.arange(100 + n) >= n).astype(int), 2, None)
        evidence = level_tests.level_evidence([(sums.of([0]), sums.of([1]))])
        found = posterior.posterior_of(evidence, 0.25)
        assert not (posterior.q_values(found.prob) <= 0.05).any()


@pytest.mark.slow
def test_effective_counts_have_the_variance_of_the_proportion():
    """Over many draws, the variance of a group's level is p (1 - p) by its effective counts."""
    rng = np.random.default_rng(0)
    p, concentration, n_cells = 0.7, 4.0, 60
    proportion, effective = [], []
    for _ in range(40):
        m, n = counts_of(np.full((n_cells, 50), p), 6.0, concentration, rng.integers(1 << 30))
        names = np.arange(n_cells).astype(str), np.arange(50).astype(str)
        counts = levels.stacked(sp.csr_matrix(m), sp.csr_matrix(n), *names)
        (sums,) = level_tests.level_sums(counts, np.zeros(n_cells, int), 1, None)
        one = sums.of([0])
        proportion.append(one.level)
        evidence = level_tests.level_evidence([(one, one)])
        effective.append(evidence.covered[0, 0])
    expected = p * (1 - p) / np.mean(effective, axis=0)
    ratio = np.var(proportion, axis=0) / expected
    assert ratio.mean() == pytest.approx(1, abs=0.1)


def test_sums_of_levels_are_those_of_each_unit_and_batch():
    rng = np.random.default_rng(0)
    m, n = counts_of(rng.random((40, 7)), 2.0, 5, 1)
    unit, batch = rng.integers(-1, 2, 40), rng.integers(0, 3, 40)
    names = np.arange(40).astype(str), np.arange(7).astype(str)
    counts = levels.stacked(sp.csr_matrix(m), sp.csr_matrix(n), *names)
    found = level_tests.level_sums(counts, unit, 2, batch)
    assert len(found) == 3
    for number, sums in enumerate(found):
        for one in range(2):
            here = (unit == one) & (batch == number)
            a, b = m[here].astype(float), n[here].astype(float)
            values = [a, a**2, a * b, b, b**2, b**3, b**4, b > 0]
            for got, wanted in zip(vars(sums).values(), [v.sum(0) for v in values], strict=False):
                np.testing.assert_array_equal(got[one], wanted)
            assert sums.n[one] == here.sum()


def test_the_correlation_of_positions_is_found_within_batches():
    """Levels that differ between batches make the positions of a cell alike only across these."""
    rng = np.random.default_rng(0)
    unit, batch = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    shift = np.where(batch[:, None], 1.5, -1.5) * rng.choice([-1, 1], 300)
    m, n = counts_of(expit(shift + rng.normal(0, 0.5, 300)), 3.0, 4.0, 1)
    names = np.arange(400).astype(str), np.arange(300).astype(str)
    counts = levels.stacked(sp.csr_matrix(m), sp.csr_matrix(n), *names)

    def found(batch):
        sums = level_tests.level_sums(counts, unit, 2, batch)
        return level_tests.intraclass_correlations([(part.of([0]), part.of([1])) for part in sums])

    for within, across in zip(found(batch), found(None), strict=True):
        assert within.mean() == pytest.approx(1 / (1 + 4.0), rel=0.05)
        assert across.mean() > 0.35


@pytest.mark.slow
def test_a_batch_that_shifts_all_levels_cancels():
    """Of either type most cells are of another batch, which adds 1 to all log odds."""
    truth = levels_of_types(2, 0.1, seed=4)
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1], 150)
    batch = (rng.random(300) < np.where(kind == 0, 0.2, 0.8)).astype(int)
    part = part_of(
        *counts_of(expit(logit(truth[kind]) + batch[:, None]), 5.0, 15, 3),
        [f"c{i}" for i in range(300)],
    )
    mdata = MuData({"meth": part})
    mdata.obs["batch"] = batch.astype(str)
    effect = (logit(truth[0]) - logit(truth[1])) / np.log(2)
    differs = np.abs(effect) > 0.25
    bias, false = {}, {}
    for column in (None, "batch"):
        model = scmvp.SCMVP(mdata, n_clusters=2, modalities="methylation", batch=column)
        model.train(max_epochs=1, threads=1, progress=False)
        table = model.differential_methylation(groupby=kind.astype(str), group1="0", group2="1")
        table = table.set_index("feature").loc[list(model.regions)]
        bias[column] = (table["lfc"].to_numpy() - effect).mean()
        false[column] = table["is_de"].to_numpy()[~differs].mean()
    assert abs(bias["batch"]) < 0.1 and false["batch"] < 0.05
    assert bias[None] < -0.5 and false[None] > 0.5
    assert table["is_de"].to_numpy()[differs].mean() > 0.8
    assert np.corrcoef(table["lfc"], effect)[0, 1] > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("coverage", [0.5, 5.0])
def test_differences_are_called_at_the_rate_that_is_promised(coverage):
    truth = levels_of_types(3, 0.2, seed=4)
    kind = np.repeat([0, 1, 2], 120)
    part = part_of(*counts_of(truth[kind], coverage, 15, 3), [f"c{i}" for i in range(360)])
    model = scmvp.SCMVP(MuData({"meth": part}), n_clusters=3, modalities="methylation")
    model.train(max_epochs=2, progress=False)
    labels = kind.astype(str)
    table = model.differential_methylation(groupby=labels, group1="0", group2="1")
    table = table.set_index("feature").loc[list(model.regions)]
    effect = (logit(truth[0]) - logit(truth[1])) / np.log(2)
    called, differs = table["is_de"].to_numpy(), np.abs(effect) > 0.25
    assert called[~differs].sum() <= 0.1 * called.sum()
    assert called[differs].mean() > (0.5 if coverage < 1 else 0.9)
    found = table["lfc"].to_numpy()
    assert np.corrcoef(found, effect)[0, 1] > 0.85
    assert np.mean((table["lfc_low"] <= effect) & (effect <= table["lfc_high"])) > 0.85
    pooled = [np.asarray(part.layers[name][:120].sum(0)).ravel() for name in part.layers]
    assert list(model.regions) == list(part.var_names)
    np.testing.assert_allclose(table["mean_group"], pooled[0] / pooled[1], rtol=1e-5)
    assert table.attrs["typical_lfc"] == {"0 / 1": 0.0}
    # cells of one kind, divided at random: next to nothing is called
    half = np.where(np.arange(360) % 2, "a", "b")
    null = model.differential_methylation(groupby=half, group1="a", group2="b")
    assert null["is_de"].sum() <= 2
    higher = model.differential_methylation(groupby=labels, group1="0", only_pos=True)
    assert (higher["lfc"] > 0).all() and higher["is_de"].any()
    more = pd.Series(truth[0] > truth[1:].mean(0), model.regions)
    assert more[higher["feature"][higher["is_de"]]].mean() > 0.9


# ---- files and other tools


@pytest.mark.slow
def test_every_kind_of_file_has_its_methylation(cells, tmp_path):
    cells.write(tmp_path / "cells.h5mu")
    (tmp_path / "folder").mkdir()
    for name in ("rna", "mCG"):  # without ATAC: scM&T-seq
        file = name.replace("mCG", "methylation")
        cells[name].write_h5ad(tmp_path / "folder" / f"{file}.h5ad")
    names = cells["rna"].obs_names
    own = cells["mCG"][names]
    m, n = (own.layers[name].toarray() for name in ("methylated", "covered"))
    for path in (tmp_path / "cells.h5mu", tmp_path / "folder"):
        found = scmvp.read(path)["methylation"][names]
        np.testing.assert_array_equal(found.layers["methylated"].toarray(), m)
        np.testing.assert_array_equal(found.layers["covered"].toarray(), n)
        paired = scmvp.read(path, backed=True)
        at = pd.Index(paired.cells).get_indexer(names)
        counts = in_memory(paired.counts["methylation"]).toarray()[at]
        np.testing.assert_array_equal(counts, np.hstack([m, n - m]))
    paths = {}
    for sample, rows in (("a", slice(0, 150)), ("b", slice(150, None))):
        part = MuData({name: cells[name][names[rows]].copy() for name in cells.mod})
        part.write(tmp_path / f"{sample}.h5mu")
        paths[sample] = tmp_path / f"{sample}.h5mu"
    joined = scmvp.read_samples(paths)["methylation"]
    same = cells["mCG"][joined.obs_names.str[2:]]
    for name in ("methylated", "covered"):
        np.testing.assert_array_equal(joined.layers[name].toarray(), same.layers[name].toarray())


def test_other_names_of_layers_are_known(cells):
    part = cells["mCG"].copy()
    part.layers["mc"], part.layers["cov"] = part.layers["methylated"], part.layers["covered"]
    del part.layers["methylated"], part.layers["covered"]
    model = scmvp.SCMVP(MuData({"rna": cells["rna"], "MC": part}), modalities=("rna", "mc"))
    assert [*model.features] == ["rna", "methylation"] and len(model.regions) == N_REGIONS


def test_a_region_that_few_cells_cover_is_left_out(cells):
    part = cells["mCG"].copy()
    covered, methylated = (part.layers[name].tolil() for name in ("covered", "methylated"))
    covered[:, 5], methylated[:, 5] = 0, 0
    covered[:9, 5] = 3  # in nine cells, nowhere methylated
    covered[:, 6], methylated[:, 6] = 2, 0  # covered in all, methylated in none
    part.layers["covered"], part.layers["methylated"] = covered.tocsr(), methylated.tocsr()
    model = scmvp.SCMVP(MuData({"meth": part}), modalities="methylation")
    assert part.var_names[5] not in model.regions and part.var_names[6] in model.regions


@pytest.mark.slow
def test_a_report_shows_levels(cells, model, tmp_path):
    model.report(tmp_path / "report.html", cells, progress=False)
    text = (tmp_path / "report.html").read_text()
    assert "log2 odds ratio" in text and "Regions" in text


@pytest.mark.slow
def test_imputed_levels_go_to_files(model, tmp_path):
    model.impute_to_file(tmp_path / "levels.h5ad", "methylation")
    found = ad.read_h5ad(tmp_path / "levels.h5ad")
    np.testing.assert_allclose(found.X, model.get_methylation(), rtol=1e-6)
    np.testing.assert_array_equal(found.var_names, model.regions)


@pytest.mark.slow
def test_the_command_line_knows_methylation(cells, tmp_path, capsys):
    cells.write(tmp_path / "cells.h5mu")

    def run(*arguments) -> None:
        assert cli.main([*map(str, arguments), "--quiet"]) == 0, capsys.readouterr().err

    given, out = tmp_path / "cells.h5mu", tmp_path / "fit"
    modalities = ("rna", "methylation")
    fit = ("--n-clusters", 3, "--max-epochs", 2, "--threads", 1, "--modalities", *modalities)
    run("fit", given, "--out", out, *fit)
    model = scmvp.SCMVP(cells, n_clusters=3, modalities=modalities)
    model.train(max_epochs=2, threads=1, progress=False)
    latent = pd.read_csv(out / "latent.csv", index_col=0).loc[model.cells]
    np.testing.assert_allclose(latent, model.get_latent_representation(), rtol=1e-4, atol=1e-5)
    run("embed", out / "model", given, "--out", tmp_path / "latent.csv")
    again = pd.read_csv(tmp_path / "latent.csv", index_col=0).loc[model.cells]
    np.testing.assert_allclose(again, latent, atol=1e-4)
    of_levels = ("--modality", "methylation", "--out")
    run("impute", out / "model", given, *of_levels, tmp_path / "levels.h5")
    imputed = ad.read_h5ad(tmp_path / "levels.h5")[model.cells].to_df()
    np.testing.assert_allclose(imputed[list(model.regions)], model.get_methylation(), rtol=1e-3)
    labels = cells["rna"].obs["cell_type"].rename("label")
    labels.to_csv(tmp_path / "labels.csv", index_label="cell")
    by = ("--labels", tmp_path / "labels.csv")
    run("differential", out / "model", given, *of_levels, tmp_path / "table.csv", *by)
    table = pd.read_csv(tmp_path / "table.csv")
    wanted = model.differential_methylation(cells, groupby=labels)
    assert list(table["feature"]) == list(wanted["feature"]) and table["is_de"].any()
    for column in ("lfc", "lfc_sd", "mean_group"):
        np.testing.assert_allclose(table[column], wanted[column], rtol=1e-3, atol=1e-4)


# ---- refusals


@pytest.mark.slow
def test_levels_are_not_compared_as_counts(cells, model, refused):
    half = np.repeat(["a", "b"], 150)
    where = {"modality": "methylation", "layer": "methylated"}
    sample, condition = np.tile(["x", "y", "z", "w"], 75), np.tile(["p", "p", "q", "q"], 75)
    named = MuData({"methylation": cells["mCG"]})
    for call in (
        lambda: scmvp.differential_conditions(named, condition, sample, half, **where),
        lambda: scmvp.features_along(named, pseudotime=np.linspace(0, 1, 300), **where),
    ):
        refused(call, "this test compares counts", "differential test of a fitted model")
    assert len(model.differential_methylation(groupby=half)) == 2 * N_REGIONS
    sums = scmvp.pseudobulk(named, sample, half, **where)  # of one layer, which is counts
    assert sums.X.sum() == cells["mCG"].layers["methylated"].sum()


def test_what_cannot_be_modeled_is_refused(cells, refused):
    def with_layers(**layers) -> MuData:
        part = cells["mCG"].copy()
        for name, value in layers.items():
            part.layers[name] = value
        return MuData({"methylation": part})

    def fit(mdata, **options):
        return lambda: scmvp.SCMVP(mdata, modalities="methylation", **options)

    covered = cells["mCG"].layers["covered"].copy()
    cell, region = cells["mCG"].obs_names[3], cells["mCG"].var_names[8]
    more = covered.tolil()
    more[3, 8] = covered[3, 8] + 2
    refused(
        fit(with_layers(methylated=more.tocsr())),
        "more methylated than covered positions",
        cell,
        region,
    )
    lacking = cells["mCG"].copy()
    del lacking.layers["covered"]
    refused(fit(MuData({"mCG": lacking})), "no layers 'methylated' and 'covered'", "'methylated'")
    wrong = covered.copy()
    wrong.data[2] = 0.5
    refused(fit(with_layers(methylated=wrong)), "is not an integer")
    wrong.data[2] = np.nan
    refused(fit(with_layers(covered=wrong)), "holds nan")
    refused(fit(with_layers(), preset="paper"), "preset 'paper' needs RNA and ATAC")
    refused(fit(with_layers(), options={"encoder_input": "counts"}), "cannot read methylation")
    assert fit(with_layers())().options.encoder_input == "spectral"
    refused(
        lambda: scmvp.SCMVP(MuData({"methylation": cells["mCG"]})), "modalities=('methylation',)"
    )
