from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData

import scmvp
from scmvp.data.matrices import feature_cells
from scmvp.data.preprocess import (
    counts_insertions,
    insertions_to_fragments,
    inverse_document_frequency,
    looks_like_insertions,
)
from scmvp.errors import InputNote


def test_feature_cells_and_idf():
    counts = sp.csr_matrix(np.array([[2, 0, 1], [1, 0, 0], [0, 0, 1], [4, 0, 0]], np.float32))
    np.testing.assert_array_equal(feature_cells(counts), [3, 0, 2])
    idf = inverse_document_frequency(counts)
    assert idf.dtype == np.float32
    np.testing.assert_allclose(idf, [4 / 7, 0, 2])


def test_stored_zeros_are_no_even_counts():
    counts = sp.csr_matrix(np.repeat([1.0, 2.0, 1.0], 100).reshape(20, 15))
    parts = np.pad(counts.data, (0, 900)), np.resize(counts.indices, 1200)
    stored = sp.csr_matrix((*parts, np.append(counts.indptr, [*range(360, 1201, 60)])), (35, 15))
    assert stored.nnz == 1200 and stored.sum() == counts.sum()
    assert looks_like_insertions(counts) is looks_like_insertions(stored) is False
    assert not counts_insertions(stored)


def test_filter_removes_what_the_paper_removes(simulated, capsys):
    before = simulated["rna"].X.copy()
    kept = scmvp.filter_paired(simulated, min_genes=180, min_peaks=280, min_cells=60)
    rna, atac = simulated["rna"].X.toarray() > 0, simulated["atac"].X.toarray() > 0
    cells = (rna.sum(1) >= 180) & (atac.sum(1) >= 280)
    assert 0 < cells.sum() < len(cells)
    genes, peaks = rna[cells].sum(0) >= 60, atac[cells].sum(0) >= 60
    assert list(kept["rna"].obs_names) == list(simulated.obs_names[cells])
    assert list(kept["rna"].var_names) == list(simulated["rna"].var_names[genes])
    assert list(kept["atac"].var_names) == list(simulated["atac"].var_names[peaks])
    np.testing.assert_array_equal(
        kept["atac"].X.toarray(), simulated["atac"].X.toarray()[cells][:, peaks]
    )
    account = kept.uns["scmvp_filter"]
    assert account["n_cells"] == cells.sum() and account["n_cells_in"] == 240
    assert account["cells_with_few_genes"] == (rna.sum(1) < 180).sum()
    assert account["n_peaks"] == peaks.sum() and account["n_genes_in"] == 300
    printed = capsys.readouterr().out
    few = (rna.sum(1) < 180, atac.sum(1) < 280)
    assert printed.startswith(
        f"cells: {cells.sum()} of 240 kept; removed: {few[0].sum()} with fewer than 180 genes, "
        f"{few[1].sum()} with fewer than 280 peaks ({(few[0] & few[1]).sum()} for both reasons)\n"
    )
    assert "60 cells" in printed
    assert list(kept.obs["cell_type"]) == list(simulated.obs["cell_type"][cells])
    assert (simulated["rna"].X != before).nnz == 0 and simulated.n_obs == 240


def test_filter_is_silent_when_asked_and_takes_a_shuffled_pair(simulated, capsys):
    order = np.random.default_rng(0).permutation(240)
    rna, atac = simulated["rna"], simulated["atac"][order].copy()
    kept = scmvp.filter_paired((rna, atac), 180, 280, 60, verbose=False)
    straight = scmvp.filter_paired(simulated, 180, 280, 60, verbose=False)
    assert capsys.readouterr().out == ""
    assert list(kept["atac"].obs_names) == list(straight["atac"].obs_names)
    assert (kept["atac"].X != straight["atac"].X).nnz == 0


@pytest.mark.parametrize(("name", "word"), [("rna", "gene"), ("atac", "peak")])
def test_filter_of_one_modality_beside_another(simulated, refused, capsys, name, word):
    adata = simulated[name]
    proteins = AnnData(
        sp.csr_matrix(np.arange(720.0).reshape(240, 3)),
        obs=pd.DataFrame(index=adata.obs_names[::-1]),
        var=pd.DataFrame(index=["CD3", "CD4", "CD8"]),
    )
    mdata = MuData({name: adata, "protein": proteins})
    detected = adata.X.toarray() > 0
    least = int(np.median(detected.sum(1)))
    kept = scmvp.filter_paired(mdata, min_genes=least, min_peaks=least, min_cells=60)
    cells = detected.sum(1) >= least
    assert 0 < cells.sum() < 240 and set(kept.mod) == {name, "protein"}
    assert list(kept[name].obs_names) == list(adata.obs_names[cells])
    assert list(kept[name].var_names) == list(adata.var_names[detected[cells].sum(0) >= 60])
    wanted = proteins[kept["protein"].obs_names].X.toarray()
    np.testing.assert_array_equal(kept["protein"].X.toarray(), wanted)
    assert set(kept["protein"].obs_names) == set(kept[name].obs_names)
    printed = capsys.readouterr().out
    assert f"240 kept; removed: {240 - cells.sum()} with fewer than {least} {word}s" in printed
    assert f"{word}s: " in printed and printed.count("\n") == 2
    assert kept.uns["scmvp_filter"][f"n_{word}s"] == kept[name].n_vars
    refused(
        lambda: scmvp.filter_paired(mdata, 10_000, 10_000, verbose=False),
        f"no cell has at least 10,000 {word}s (median: ", f"lower min_{word}s",
    )  # fmt: skip
    refused(
        lambda: scmvp.filter_paired(MuData({"protein": proteins})), "neither RNA nor ATAC",
        "(modalities: protein)", "leave this step out",
    )  # fmt: skip


@pytest.mark.slow
def test_filter_keeps_what_it_does_not_filter(simulated, refused, tmp_path):
    order = np.random.default_rng(0).permutation(240)
    receptors = AnnData(np.ones((240, 2)), obs=pd.DataFrame(index=simulated.obs_names))
    mdata = MuData({"rna": simulated["rna"][order].copy(), "tcr": receptors})
    mdata.obsm["X_umap"] = np.column_stack([np.arange(240)] * 2)
    place = dict(zip(mdata.obs_names, range(240), strict=True))
    with pytest.warns(InputNote, match="left out: 'tcr'"):
        kept = scmvp.filter_paired(mdata, min_genes=180, verbose=False)
    assert set(kept.mod) == {"rna"} and 0 < kept.n_obs < 240
    assert list(kept.obsm["X_umap"][:, 0]) == [place[name] for name in kept.obs_names]
    refused(
        lambda: scmvp.filter_paired(mdata, atac_layer="counts"), "there is no ATAC modality",
        "leave out atac_layer='counts'",
    )  # fmt: skip
    simulated.write(tmp_path / "cells.h5mu")
    backed = mudata.read_h5mu(tmp_path / "cells.h5mu", backed=True)
    found, wanted = (
        scmvp.filter_paired(cells, 180, 280, 60, verbose=False) for cells in (backed, simulated)
    )
    for name in ("rna", "atac"):
        assert list(found[name].var_names) == list(wanted[name].var_names)
        assert (found[name].X != wanted[name].X).nnz == 0


def test_filter_that_would_leave_nothing(simulated, refused):
    refused(lambda: scmvp.filter_paired(simulated, min_genes=10_000), "no cell has at least 10,000")
    refused(lambda: scmvp.filter_paired(simulated, 1, 1, min_cells=1000), "no gene", "1,000")


def test_filter_refuses_what_is_not_counts(simulated, refused):
    rna = simulated["rna"].copy()
    rna.layers["counts"] = rna.X.copy()
    rna.X = rna.X * 0.5
    pair = (rna, simulated["atac"])
    refused(lambda: scmvp.filter_paired(pair, 1, 1, 1), "looks normalized")
    scmvp.filter_paired(pair, 1, 1, 1, verbose=False, rna_layer="counts")


@pytest.mark.slow
@pytest.mark.parametrize("n_types, n_cells", [(3, 1000), (8, 1000), (14, 1000), (25, 3000)])
def test_number_of_clusters_of_simulated_types(n_types, n_cells):
    mdata = scmvp.simulate(n_types=n_types, n_cells=n_cells, seed=1)
    found = scmvp.estimate_n_clusters(mdata["rna"].X, mdata["atac"].X)
    assert abs(found - n_types) <= 0.2 * n_types


@pytest.mark.slow
def test_number_of_clusters_that_only_both_modalities_show():
    mdata = scmvp.simulate(n_types=8, separated_by="together", seed=0)
    found = scmvp.estimate_n_clusters(mdata["rna"].X, mdata["atac"].X)
    assert 7 <= found <= 9


def test_number_of_clusters_does_not_follow_depth():
    """Two types, whatever the depths: their spread alone must not look like structure."""
    rng = np.random.default_rng(0)
    depth = np.exp(rng.normal(6, 1, 600))
    types = rng.integers(2, size=600)
    counts = []
    for n_features in (400, 600):
        profiles = rng.dirichlet(np.ones(n_features), 2)
        counts.append(sp.csr_matrix(rng.poisson(depth[:, None] * profiles[types]), dtype="f4"))
    assert scmvp.estimate_n_clusters(*counts) == 2


@pytest.mark.slow
def test_number_of_clusters_is_reproducible_and_within_bounds():
    one = scmvp.simulate(n_cells=300, n_types=1, n_genes=300, n_peaks=500)
    counts = one["rna"].X, one["atac"].X
    assert scmvp.estimate_n_clusters(*counts) == 2
    unsure = scmvp.simulate(150, 300, 500, 5, median_umi=300, median_fragments=300)
    found, again = (
        [scmvp.estimate_n_clusters(unsure["rna"].X, unsure["atac"].X, seed) for seed in range(6)]
        for _ in range(2)
    )
    assert found == again and len(set(found)) > 1
    for n_cells in (1, 2, 3, 6):
        few = counts[0][:n_cells], counts[1][:n_cells]
        assert 1 <= scmvp.estimate_n_clusters(*few) <= max(1, n_cells - 1)


@pytest.mark.slow
@pytest.mark.parametrize("n_batches", [1, 2])
def test_number_of_clusters_of_some_of_the_cells(monkeypatch, n_batches):
    """Of cells in the order of their types and batches, 400 of 1,200 are taken."""
    monkeypatch.setattr("scmvp.data.rank._RANK_CELLS", 400)
    mdata = scmvp.simulate(1200, 300, 600, 4, n_batches=n_batches, seed=0)
    obs = mdata.obs.sort_values(
        [column for column in ("cell_type", "batch") if column in mdata.obs]
    )
    counts = [mdata[name][obs.index].X for name in ("rna", "atac")]
    if n_batches == 1:
        assert scmvp.estimate_n_clusters(*counts) == 4
        return
    design = pd.get_dummies(obs["batch"]).to_numpy(np.float32)
    assert scmvp.estimate_n_clusters(*counts, design=design) == 4
    assert scmvp.estimate_n_clusters(*counts) > 4


def test_number_of_clusters_with_one_modality_empty():
    mdata = scmvp.simulate(n_cells=400, n_types=4, n_genes=500, n_peaks=800)
    nothing = sp.csr_matrix(mdata["atac"].shape, dtype=np.float32)
    found = scmvp.estimate_n_clusters(mdata["rna"].X, nothing)
    assert 3 <= found <= 5


@pytest.mark.parametrize("mean", [0.05, 1.0, 3.0, 30.0])
def test_insertions_are_distinguished_from_fragments_at_any_depth(mean):
    counts = sp.csr_matrix(np.random.default_rng(0).poisson(mean, (100, 100)).astype(np.float32))
    assert not counts_insertions(counts)
    assert counts_insertions(2 * counts)
    np.testing.assert_array_equal(insertions_to_fragments(2 * counts).toarray(), counts.toarray())
