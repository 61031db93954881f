from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import scmvp
from scmvp.data.checks import check_paired
from scmvp.data.simulated_cells import Mixture, draw_counts


def test_shape_names_and_truth(simulated):
    rna, atac = simulated["rna"], simulated["atac"]
    assert rna.shape == (240, 300) and atac.shape == (240, 600)
    assert rna.var_names[0] == "Gene0001"
    first = atac.var.iloc[0]
    assert atac.var_names[0] == f"{first['chrom']}-{first['start']}-{first['end']}"
    assert set(rna.var["chrom"]) == {f"chr{i}" for i in range(1, 11)}
    assert list(simulated.uns["types"]) == ["Type01", "Type02", "Type03"]
    assert set(simulated.obs["cell_type"]) == set(simulated.uns["types"])
    for part in (rna, atac):
        profile = part.varm["true_profile"]
        assert profile.shape == (part.n_vars, 3)
        np.testing.assert_allclose(profile.sum(axis=0), 1)
        assert isinstance(part.X, sp.csr_matrix) and part.X.dtype == np.float32
    paired = check_paired(simulated)
    assert paired.rna is rna.X


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.2, 0.8])
def test_batches_change_features_by_their_effect_and_keep_cells_in_their_order(effect):
    given = {"median_umi": 8000, "median_fragments": 8000, "ambient": 0.0}
    given |= {"rna_theta": 50.0, "atac_theta": 50.0}
    mdata = scmvp.simulate(400, 120, 120, 2, n_batches=3, batch_effect=effect, seed=1, **given)
    batch, kind = mdata.obs["batch"].to_numpy(), mdata.obs["cell_type"].to_numpy()
    assert len(set(batch)) == 3 and len(set(zip(batch, kind, strict=True))) == 6
    for part in mdata.mod.values():
        counts = part.X.toarray()
        size = counts.sum(1)
        assert np.corrcoef(np.log(size), np.log(part.obs["library_size"]))[0, 1] > 0.95
        # log ratios of two batches within a type: of two normal factors of this deviation
        logs = {
            (one, of): np.log(counts[(batch == one) & (kind == of)].sum(0) + 0.5)
            for one in set(batch)
            for of in set(kind)
        }
        often = np.min(list(logs.values()), 0) > np.log(300)
        assert often.sum() > 50
        first, second, third = (logs[f"batch{n}", "Type01"][often] for n in (1, 2, 3))
        for ratio in (first - second, second - third):
            assert np.std(ratio) == pytest.approx(np.sqrt(2) * effect, rel=0.2)
        # a cell among those of its own type and batch
        profiles = np.array([np.exp(part) / np.exp(part).sum() for part in logs.values()])
        nearest = (counts @ np.log(profiles).T).argmax(1)
        own = [list(logs).index(one) for one in zip(batch, kind, strict=True)]
        assert np.mean(nearest == own) > 0.95


def test_peaks_are_sorted_and_do_not_overlap(simulated):
    var = simulated["atac"].var
    for _, peaks in var.groupby("chrom", observed=True):
        assert (peaks["start"].to_numpy()[1:] > peaks["end"].to_numpy()[:-1]).all()


def test_links_are_near_and_follow_their_gene(simulated):
    links = simulated.uns["links"]
    genes, peaks = simulated["rna"].var, simulated["atac"].var
    assert len(links) > 10 and links["peak"].is_unique
    gene, peak = genes.loc[links["gene"]], peaks.loc[links["peak"]]
    assert (gene["chrom"].to_numpy() == peak["chrom"].to_numpy()).all()
    middle = (peak["start"].to_numpy() + peak["end"].to_numpy()) // 2
    np.testing.assert_array_equal(links["distance"], middle - gene["tss"].to_numpy())
    assert links["distance"].abs().max() <= 100_000
    assert (gene["marker_of"].to_numpy() == peak["marker_of"].to_numpy()).all()
    assert (gene["marker_of"] != "").all()


def test_the_seed_decides_everything():
    arguments = {"n_cells": 60, "n_genes": 80, "n_peaks": 150, "n_types": 2}
    first, again = (scmvp.simulate(**arguments, seed=5) for _ in range(2))
    other = scmvp.simulate(**arguments, seed=6)
    for modality in ("rna", "atac"):
        assert (first[modality].X != again[modality].X).nnz == 0
        assert (first[modality].X[:, :80] != other[modality].X[:, :80]).nnz > 0
    assert list(first.obs_names) == list(again.obs_names)
    assert first.obs_names.is_unique


@pytest.mark.slow
def test_library_sizes_have_the_medians_asked_for():
    mdata = scmvp.simulate(2000, 300, 500, 2, median_umi=800, median_fragments=1200, seed=1)
    for modality, median in (("rna", 800), ("atac", 1200)):
        totals = np.asarray(mdata[modality].X.sum(axis=1)).ravel()
        assert np.median(totals) == pytest.approx(median, rel=0.05)
        assert np.std(np.log(totals)) == pytest.approx(0.45, rel=0.15)


def test_counts_are_negative_binomial():
    n_cells, theta = 20_000, 2.0
    profile = np.array([0.5, 0.3, 0.15, 0.05])
    one = np.zeros(n_cells, dtype=int)
    zero = np.zeros(n_cells)
    mixture = Mixture(one, one, one, zero, zero, zero, one)
    library = np.full(n_cells, 10.0)
    profiles = np.column_stack([profile, profile])
    rng = np.random.default_rng(0)
    counts = draw_counts(rng, profiles, mixture, library, theta).toarray()
    mean = 10 * profile
    np.testing.assert_allclose(counts.mean(axis=0), mean, rtol=0.03)
    np.testing.assert_allclose(counts.var(axis=0), mean + mean**2 / theta, rtol=0.06)
    # P(0) = (theta / (theta + mean))^theta
    np.testing.assert_allclose(
        (counts == 0).mean(axis=0), (theta / (theta + mean)) ** theta, atol=0.012
    )


@pytest.mark.slow
def test_means_rebuild_from_the_stored_truth():
    mdata = scmvp.simulate(3000, 60, 80, 2, ambient=0.3, seed=2)
    for modality in ("rna", "atac"):
        adata = mdata[modality]
        codes = adata.obs["cell_type"].cat.codes.to_numpy()
        level = adata.obs["ambient"].to_numpy()[:, None]
        share = (1 - level) * adata.varm["true_profile"].T[codes]
        share = share + level * adata.var["ambient_profile"].to_numpy()
        expected = (adata.obs["library_size"].to_numpy()[:, None] * share).sum(axis=0)
        found = np.asarray(adata.X.sum(axis=0)).ravel()
        np.testing.assert_allclose(found, expected, rtol=0.08)
    assert mdata.obs["ambient"].mean() == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize(
    ("separated_by", "rna_differs", "atac_differs"),
    [
        ("both", [True, True], [True, True]),
        ("rna", [True, True], [False, False]),
        ("atac", [False, False], [True, True]),
        ("together", [True, False], [False, True]),
    ],
)
def test_what_distinguishes_siblings(separated_by, rna_differs, atac_differs):
    mdata = scmvp.simulate(40, 200, 300, 4, separated_by=separated_by)
    for modality, differs in (("rna", rna_differs), ("atac", atac_differs)):
        profile = mdata[modality].varm["true_profile"]
        for pair in range(2):
            same = np.allclose(profile[:, 2 * pair], profile[:, 2 * pair + 1])
            assert same != differs[pair]
        assert not np.allclose(profile[:, 0], profile[:, 2])


def test_ordered_cells_move_from_stage_to_stage():
    mdata = scmvp.simulate(300, 200, 300, 4, ordered=True, ambient=0)
    pseudotime = mdata.obs["pseudotime"].to_numpy()
    stage = mdata.obs["cell_type"].cat.codes.to_numpy()
    np.testing.assert_array_equal(stage, np.rint(pseudotime * 3))
    first = (mdata["rna"].var["marker_of"] == "Type01").to_numpy()
    share = np.asarray(mdata["rna"].X[:, first].sum(axis=1) / mdata["rna"].X.sum(axis=1)).ravel()
    assert np.corrcoef(pseudotime, share)[0, 1] < -0.5


def test_a_path_with_branches_parts_at_the_end_of_its_trunk(refused):
    mdata = scmvp.simulate(400, 300, 500, 8, ordered=True, branches=2, ambient=0, seed=4)
    obs = mdata.obs
    stages = obs.groupby("branch", observed=True)["cell_type"].agg(set)
    assert stages["trunk"] == {"Type01", "Type02", "Type03", "Type04"}
    assert stages["branch1"] == {"Type04", "Type05", "Type06"}
    assert stages["branch2"] == {"Type04", "Type07", "Type08"}
    assert ((obs["branch"] == "trunk") == (obs["pseudotime"] <= 0.6)).all()
    last = obs["cell_type"] == "Type08"
    assert (obs["branch"][last] == "branch2").all() and obs["pseudotime"][last].min() > 0.9
    refused(lambda: scmvp.simulate(branches=2), "ordered")
    refused(lambda: scmvp.simulate(ordered=True, branches=2, n_types=3), "4 types")
    refused(lambda: scmvp.simulate(ordered=True, branches=1.5), "branches")
    refused(lambda: scmvp.simulate(ordered=True, atac_lead=1), "atac_lead")


@pytest.mark.slow
def test_chromatin_can_be_ahead_of_expression():
    plain, ahead = (
        scmvp.simulate(400, 300, 500, 4, ordered=True, atac_lead=lead, ambient=0, seed=4)
        for lead in (0, 0.2)
    )
    assert (plain["rna"].X != ahead["rna"].X).nnz == 0
    last = (plain["atac"].var["marker_of"] == "Type04").to_numpy()
    late = plain.obs["pseudotime"].between(0.6, 0.7).to_numpy()
    share = [m["atac"].X[late][:, last].sum() / m["atac"].X[late].sum() for m in (plain, ahead)]
    assert share[1] > 1.1 * share[0]


@pytest.mark.slow
def test_default_types_can_be_separated():
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.metrics import adjusted_rand_score

    mdata = scmvp.simulate(seed=0)
    parts = []
    for modality in ("rna", "atac"):
        counts = mdata[modality].X
        size = np.asarray(counts.sum(axis=1))
        scaled = sp.csr_matrix(counts.multiply(np.median(size) / size))
        scaled.data = np.log1p(scaled.data)
        components = TruncatedSVD(15, random_state=0).fit_transform(scaled)[:, 1:]
        parts.append(components / components[:, 0].std())
    labels = KMeans(8, n_init=10, random_state=0).fit_predict(np.hstack(parts))
    assert adjusted_rand_score(mdata.obs["cell_type"], labels) > 0.8


@pytest.mark.slow
def test_written_and_read_back(tmp_path):
    mdata = scmvp.simulate(50, 60, 80, 2)
    mdata.write(tmp_path / "cells.h5mu")
    back = scmvp.read(tmp_path / "cells.h5mu")
    assert (back["atac"].X != mdata["atac"].X).nnz == 0
    assert list(back.obs["cell_type"]) == list(mdata.obs["cell_type"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_cells": 0}, "n_cells"),
        ({"n_types": 2.5}, "n_types"),
        ({"n_genes": "many"}, "n_genes is 'many'; give a number"),
        ({"n_cells": 5, "n_types": 8}, "n_types (8)"),
        ({"median_umi": -1}, "median_umi"),
        ({"seed": "one"}, "seed is 'one'; give a number"),
        ({"ambient": 1.0}, "ambient"),
        ({"separated_by": "protein"}, "'protein'"),
        ({"n_genes": 10}, "8 types need"),
        ({"n_genes": 60, "n_peaks": 100_000}, "do not fit"),
    ],
)
def test_arguments_out_of_range(arguments, words, refused):
    refused(lambda: scmvp.simulate(**arguments), words)
