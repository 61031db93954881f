"""Unimodal cells: in the loss, in a fit, and as a query."""

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import KNeighborsClassifier
from stored import on_disk, write_pair
from test_module import G, N, P, build, poisson

import scmvp
from scmvp import cli
from scmvp.data.matrices import rows_of
from scmvp.fit.build import untrained
from scmvp.fit.training import Trainer
from scmvp.nn import distributions as dist
from scmvp.nn.batches import Cells, take
from scmvp.nn.module import Noise
from scmvp.nn.sparse import SparseRows
from scmvp.options import ModelOptions, TrainingOptions


@pytest.fixture(scope="module")
def cells():
    return scmvp.simulate(n_cells=500, n_genes=400, n_peaks=900, n_types=4, seed=5)


@pytest.fixture(scope="module")
def part(cells):
    """0: both modalities, 1: RNA alone, 2: ATAC alone."""
    return np.random.default_rng(0).integers(0, 3, cells.n_obs)


@pytest.fixture(scope="module")
def mosaic(cells, part):
    return cells["rna"][part != 2].copy(), cells["atac"][part != 1].copy()


@pytest.fixture(scope="module")
def model(mosaic):
    return scmvp.SCMVP(mosaic, n_clusters=4, mosaic=True).train(seed=0, threads=1)


def without_rows(matrix: sp.csr_matrix, rows: np.ndarray) -> sp.csr_matrix:
    order = np.arange(matrix.shape[0])
    order[rows] = -1
    return rows_of(matrix, order)


def test_rows_that_are_not_there_are_empty():
    matrix = poisson(G)
    order = np.array([3, -1, 0, -1, 5])
    expected = matrix.toarray()[order] * (order >= 0)[:, None]
    stored = on_disk(matrix)
    for counts in (matrix, stored, stored.of_rows(np.arange(matrix.shape[0]))):
        np.testing.assert_array_equal(rows_of(counts, order)[:].toarray(), expected)
    again = rows_of(rows_of(stored, order), np.array([1, 2, -1]))
    np.testing.assert_array_equal(again[:].toarray(), expected[[1, 2, 1]])


def test_loss_of_a_cell_of_one_modality_is_that_of_its_encoder_and_counts():
    """By hand, term by term: no ATAC term, no consistency with observed inputs, z from q(z|x)."""
    module = build(weight_consistency_imputed=0.0, input_noise=0.0).eval()
    rna, atac = poisson(G, 0.7), without_rows(poisson(P, 0.4), np.arange(6))
    batch = take({"rna": rna[:6], "atac": atac[:6]}, slice(None))
    noise = Noise(torch.randn(6, 4), {})
    found = module.loss(batch, noise=noise)
    q = module.encoders["rna"](module.readers["rna"](batch.counts["rna"]))
    z = q.sample(noise.z)
    counts = batch.counts["rna"]
    mean = module.decode(z).proportions["rna"] * counts.sums()[:, None]
    expected = -dist.negative_binomial(counts, mean, module.dispersions["rna"]).mean()
    torch.testing.assert_close(found.reconstruction["rna"], expected)
    assert found.reconstruction["atac"] == 0
    torch.testing.assert_close(found.kl, module.prior.kl(q, z).mean())
    assert found.consistency == 0


@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_cells_without_a_modality_do_not_change_what_is_learned_of_it_before_training(
    stored, batches
):
    rng = np.random.default_rng(0)
    kind = np.arange(N) % 3
    proteins = rng.poisson(5 + 60.0 * (kind[:, None] == np.arange(9) % 3)).astype(np.float32)
    covered = rng.poisson(3, (N, 40)).astype(np.float32)
    methylated = rng.binomial(covered.astype(int), 0.3 + 0.2 * kind[:, None]).astype(np.float32)
    counts = {
        "rna": poisson(G, 1), "atac": poisson(P, 2), "protein": sp.csr_matrix(proteins),
        "methylation": sp.csr_matrix(np.hstack([methylated, covered - methylated])),
    }  # fmt: skip
    design = np.eye(2, dtype=np.float32)[rng.integers(0, 2, N)] if batches else None
    spread = np.sort(rng.choice(4 * N, N, replace=False))  # in their order, between the others
    where = np.full(4 * N, -1)
    where[spread] = np.arange(N)

    def module(counts, design):
        torch.manual_seed(0)
        return untrained(ModelOptions(), 3, counts, design, 0).state_dict()

    empty = {name: rows_of(matrix, where) for name, matrix in counts.items()}
    if stored:
        empty = {name: on_disk(matrix) for name, matrix in empty.items()}
    of_all = None
    if design is not None:
        of_all = np.eye(2, dtype=np.float32)[rng.integers(0, 2, 4 * N)]
        of_all[spread] = design
    wanted, found = module(counts, design), module(empty, of_all)
    assert wanted.keys() == found.keys()
    for name, values in wanted.items():
        torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-6)


def test_a_cell_without_proteins_adds_no_term_to_the_likelihood():
    rng = np.random.default_rng(0)
    proteins = sp.csr_matrix(rng.poisson(8, (N, 9)).astype(np.float32))
    counts = {"rna": poisson(G, 1), "protein": proteins}
    torch.manual_seed(0)
    module = untrained(ModelOptions(), 3, counts, None, 0).eval()
    lacking = np.array([0, 3, 4])
    counts["protein"] = without_rows(proteins, lacking)
    z = torch.randn(N, 20)
    rest = np.setdiff1d(np.arange(N), lacking)
    with torch.no_grad():
        whole = module._likelihoods(take(counts, slice(None)), z)[0]["protein"]
        part = module._likelihoods(take(counts, rest), z[rest])[0]["protein"]
    torch.testing.assert_close(whole * N, part * len(rest), rtol=1e-5, atol=1e-4)


def test_encoders_do_not_see_cells_whose_modality_is_missing():
    """Gradients and running statistics are those of the cells that have it."""
    module = build(input_noise=0.0).train()
    rna, atac = poisson(G, 0.7), without_rows(poisson(P, 0.4), np.arange(10))
    counts = {"rna": rna, "atac": atac}
    inputs = module.inputs(take(counts, slice(None)))
    q = module.posteriors(inputs)
    norm = module.encoders["atac"].branches["atac"].batch_norm
    alone = build(input_noise=0.0).train()
    alone.encode(alone.inputs(take(counts, slice(10, None))), "atac")
    expected = alone.encoders["atac"].branches["atac"].batch_norm.running_mean
    torch.testing.assert_close(norm.running_mean, expected)
    np.testing.assert_array_equal(q.present.all(1).numpy(), np.arange(N) >= 10)
    q.joint.mean[:10].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in module.encoders["joint"].parameters())


@pytest.mark.slow
def test_cells_of_one_modality_join_the_others(cells, part, model):
    labels = cells.obs["cell_type"].loc[model.cells].to_numpy()
    part = part[cells.obs_names.get_indexer(model.cells)]
    assert list(model.cells[: (part != 2).sum()]) == list(
        cells.obs_names[cells.obs_names.isin(model.cells[part != 2])]
    )
    z, found = model.get_latent_representation(), model.predict()
    for alone in (1, 2):
        assert adjusted_rand_score(labels[part == alone], found[part == alone]) > 0.9
        classifier = KNeighborsClassifier(15).fit(z[part == 0], labels[part == 0])
        assert classifier.score(z[part == alone], labels[part == alone]) > 0.95


@pytest.mark.slow
def test_the_absent_modality_is_predicted(cells, part, model):
    """Cells of ATAC alone: imputed RNA against the truth, beside the mean profile."""
    alone = part == 2
    names = cells.obs_names[alone]
    imputed = model.get_normalized_expression(cells=list(names))
    types = list(cells.uns["types"])
    truth = cells["rna"].varm["true_profile"][cells["rna"].var_names.get_indexer(model.genes)].T
    truth = truth[[types.index(label) for label in cells.obs["cell_type"][alone]]]
    marker = (cells["rna"].var["marker_of"][model.genes] != "").to_numpy()
    r = [np.corrcoef(imputed[:, j], truth[:, j])[0, 1] for j in np.flatnonzero(marker)]
    assert np.nanmean(r) > 0.7


@pytest.mark.slow
def test_a_query_may_have_one_modality(cells, part, model):
    rna, atac = cells["rna"][:40].copy(), cells["atac"][:40].copy()
    z_rna = model.get_latent_representation((rna, None))
    np.testing.assert_allclose(
        z_rna, model.get_latent_representation((rna, atac), modality="rna"), atol=1e-5
    )
    z_atac = model.get_latent_representation((None, atac))
    np.testing.assert_allclose(
        z_atac, model.get_latent_representation((rna, atac), modality="atac"), atol=1e-5
    )
    some = part[:40] == 0
    np.testing.assert_allclose(
        model.get_latent_representation((rna[some].copy(), atac[some].copy())),
        model.get_latent_representation((rna, atac))[some],
        atol=1e-5,
    )


def test_a_mosaic_is_asked_for_in_words(mosaic, cells):
    with pytest.raises(scmvp.InputError, match="mosaic=True"):
        scmvp.SCMVP(mosaic)
    apart = cells["rna"][:200].copy(), cells["atac"][190:].copy()
    with pytest.raises(scmvp.InputError, match="10 cells have counts in both modalities"):
        scmvp.SCMVP(apart, mosaic=True)


@pytest.mark.slow
def test_from_the_command_line_in_memory_and_from_disk(cells, part, tmp_path):
    donor, parts = np.random.default_rng(1).choice(["a", "b"], cells.n_obs), {}
    for modality, lacking in (("rna", 2), ("atac", 1)):
        adata = cells[modality].copy()
        adata.obs["donor"] = donor
        parts[modality] = adata[part != lacking].copy()
    folder = write_pair(parts, tmp_path / "cells")
    fit = ["--n-clusters", "4", "--max-epochs", "4", "--threads", "1", "--quiet", "--mosaic"]
    latents = []
    for backed in ("no", "yes"):
        out = tmp_path / backed
        arguments = ["fit", folder, "--out", out, "--batch", "donor", "--backed", backed, *fit]
        assert cli.main(list(map(str, arguments))) == 0
        latents.append(np.loadtxt(out / "latent.csv", delimiter=",", skiprows=1, usecols=[1, 2]))
        assert len(latents[-1]) == cells.n_obs
    again = ["embed", tmp_path / "no" / "model", folder, "--out", tmp_path / "latent.csv"]
    assert cli.main([*map(str, again), "--mosaic", "--quiet"]) == 0
    found = np.loadtxt(tmp_path / "latent.csv", delimiter=",", skiprows=1, usecols=[1, 2])
    np.testing.assert_allclose(found, latents[0], atol=1e-4)
    imputed = []
    for batch in ("a", "donor=b"):
        path = tmp_path / f"{batch}.h5"
        given = ["impute", tmp_path / "no" / "model", folder, "--modality", "rna", "--out", path]
        assert cli.main([*map(str, given), "--mosaic", "--quiet", "--batch", batch]) == 0
        imputed.append(ad.read_h5ad(path).X)
    assert imputed[0].shape[0] == cells.n_obs
    assert not np.allclose(*imputed)
    assert cli.main([*map(str, given), "--mosaic", "--batch", "a", "b"]) == 2


@pytest.mark.parametrize(("part_paired", "expected"), [(1.0, 32), (0.5, 64), (0.01, 256)])
def test_a_minibatch_has_paired_cells_enough_for_a_batch_norm(part_paired, expected):
    module = build()
    counts = {"rna": poisson(G), "atac": poisson(P)}
    cells = Cells(counts, torch.device("cpu"), part_paired=part_paired)
    assert Trainer(module, cells, TrainingOptions()).batch_size == expected


@pytest.mark.slow
def test_preset_paper_reads_no_modality_that_a_cell_lacks(simulated):
    model = scmvp.SCMVP(simulated, preset="paper", n_clusters=3).train(
        max_epochs=2, seed=0, threads=1, progress=False
    )
    without = simulated.copy()
    without["atac"].X = sp.csr_matrix(without["atac"].shape)
    np.testing.assert_allclose(
        model.get_latent_representation(without),
        model.get_latent_representation(simulated, "rna"),
        atol=1e-5,
    )
    # and in a fit: loss and gradients do not depend on what the joint encoder makes of no counts
    half = simulated.copy()
    hidden = np.arange(half.n_obs) % 2 == 0
    counts = half["atac"].X.tolil()
    counts[hidden] = 0
    half["atac"].X = counts.tocsr()
    fitted = scmvp.SCMVP(half, preset="paper", n_clusters=3).train(
        max_epochs=2, seed=0, threads=1, progress=False
    )
    joint, single = (fitted.get_latent_representation(half, m) for m in ("joint", "rna"))
    np.testing.assert_allclose(joint[hidden], single[hidden], atol=1e-5)
    assert np.abs(joint[~hidden] - single[~hidden]).max() > 0.01


def test_rows_of_a_sparse_minibatch_are_selected():
    matrix = sp.random(7, 5, 0.4, format="csr", dtype=np.float32, random_state=0)
    cells = torch.tensor([True, False, True, True, False, False, True])
    got = SparseRows.from_csr(matrix).select(cells)
    wanted = SparseRows.from_csr(matrix[cells.numpy()])
    for one, other in zip(got, wanted, strict=True):
        assert torch.equal(one, other)
