"""Ranks of motifs, their factors' expression, and target genes."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from scipy.stats import mannwhitneyu, spearmanr

import scmvp
from scmvp.errors import InputError, InputNote


def activity_of(n=60, seed=0):
    rng = np.random.default_rng(seed)
    genes = ["SPI1", "FOS::JUN", "Gata3", "absent"]
    z = rng.normal(size=(n, 4))
    z[: n // 3, 0] += 3
    z[0, 1] = np.nan
    return AnnData(
        z,
        obs=pd.DataFrame(
            {"kind": np.repeat(["x", "y", "z"], n // 3)}, index=[f"c{i}" for i in range(n)]
        ),
        var=pd.DataFrame({"gene": genes}, index=["M1", "M2", "M3", "M4"]),
    )


def test_ranks_are_those_of_scipy():
    activity = activity_of()
    ranks = scmvp.rank_motifs(activity, "kind")
    assert ranks.iloc[0][["group", "motif", "gene"]].tolist() == ["x", "M1", "SPI1"]
    difference = ranks["mean"] - ranks["mean_rest"]
    assert (difference.groupby(ranks["group"]).diff().dropna() <= 0).all()
    one, rest = activity.X[:20, 1][1:], activity.X[20:, 1]
    row = ranks[(ranks["group"] == "x") & (ranks["motif"] == "M2")].iloc[0]
    assert row["p_value"] == mannwhitneyu(one, rest).pvalue
    assert row["auroc"] == pytest.approx((one[:, None] > rest).mean())
    assert row["mean"] == pytest.approx(one.mean())
    assert row["mean_rest"] == pytest.approx(rest.mean())
    of_x = ranks[ranks["group"] == "x"]
    expected = np.minimum.accumulate(
        (of_x["p_value"].sort_values(ascending=False) * 4 / np.arange(4, 0, -1)).to_numpy()
    )
    np.testing.assert_allclose(of_x["q_value"].sort_values(ascending=False), expected)
    labels = activity.obs["kind"].where(activity.obs["kind"] != "z")
    assert set(scmvp.rank_motifs(activity, labels)["group"]) == {"x", "y"}


def test_motifs_that_cannot_be_compared_come_last_under_their_own_names():
    activity = activity_of()
    activity.X[:, 0] = np.nan
    activity.X[2:20, 1] = np.nan  # two of 'x' are left less the one that was missing
    ranks = scmvp.rank_motifs(activity, "kind")
    assert ranks.groupby("group")["motif"].apply(sorted).tolist() == [["M1", "M2", "M3", "M4"]] * 3
    unknown = ranks[ranks["mean"].isna()]
    assert list(zip(unknown["group"], unknown["motif"], strict=True)) == [
        ("x", "M1"), ("x", "M2"), ("y", "M1"), ("z", "M1"),
    ]  # fmt: skip
    for _, part in ranks.groupby("group"):
        assert part["mean"].isna().is_monotonic_increasing
    alone = np.array(["one"] + ["rest"] * 59)
    lonely = scmvp.rank_motifs(activity, alone)
    assert lonely["motif"].tolist() == ["M1", "M2", "M3", "M4"] * 2
    assert lonely["mean"].isna().all()


def test_factors_are_found_in_any_case_and_in_dimers():
    activity = activity_of()
    rng = np.random.default_rng(1)
    expression = pd.DataFrame(
        rng.poisson(1.0, (60, 5)), activity.obs_names, ["Spi1", "Fos", "JUN", "GATA3", "other"]
    )
    expression["Spi1"] += (activity.X[:, 0] > 1) * 5
    found = scmvp.motif_expression(activity, expression.iloc[::-1])  # by name
    assert sorted(map(tuple, found[["motif", "gene"]].to_numpy())) == [
        ("M1", "Spi1"), ("M2", "Fos"), ("M2", "JUN"), ("M3", "GATA3"),
    ]  # fmt: skip
    assert found["gene"][0] == "Spi1"
    for motif, j in (("M1", 0), ("M3", 2)):
        row = found[found["motif"] == motif].iloc[0]
        expected = spearmanr(activity.X[:, j], expression[row["gene"]]).statistic
        assert row["correlation"] == pytest.approx(expected)
    known = np.isfinite(activity.X[:, 1])
    fos = found[found["gene"] == "Fos"]["correlation"].iloc[0]
    assert fos == pytest.approx(spearmanr(activity.X[known, 1], expression["Fos"][known]).statistic)
    as_anndata = AnnData(expression.astype(float))
    pd.testing.assert_frame_equal(found, scmvp.motif_expression(activity, as_anndata))


def test_regulons_are_a_join():
    links = pd.DataFrame(
        {"gene": ["T1", "T2", "T1"], "peak": ["p1", "p2", "p3"], "coefficient": [0.5, 0.2, -0.1]}
    )
    motifs = pd.DataFrame(
        [[1, 0], [1, 1], [0, 0], [1, 1]], ["p1", "p2", "p3", "p9"], ["SPI1", "FOS::JUN"]
    )
    expression = pd.DataFrame(
        np.random.default_rng(0).normal(size=(30, 3)), columns=["Spi1", "T1", "T2"]
    )
    found = scmvp.regulons(links, motifs, expression)
    assert list(found.itertuples(index=False, name=None))[:1][0][:5] == (
        "SPI1", "SPI1", "p1", "T1", 0.5,
    )  # fmt: skip
    assert found[["tf", "peak", "gene"]].to_numpy().tolist() == [
        ["SPI1", "p1", "T1"], ["FOS", "p2", "T2"], ["JUN", "p2", "T2"], ["SPI1", "p2", "T2"],
    ]  # fmt: skip
    expected = spearmanr(expression["Spi1"], expression["T1"]).statistic
    assert found["correlation"][0] == pytest.approx(expected)
    assert found["correlation"][1:3].isna().all()
    assert "correlation" not in scmvp.regulons(links, motifs)
    named = links.set_axis(pd.Index([5, 6, 7], name="index"))
    with pd.option_context("mode.copy_on_write", True):  # the default from pandas 3 on
        pd.testing.assert_frame_equal(scmvp.regulons(named, motifs, expression), found)


def test_links_of_groups_and_of_some_factors():
    links = pd.DataFrame(
        {"group": ["a", "b"], "gene": ["T1", "T1"], "peak": ["p1", "p1"], "score": [0.5, 0.2]}
    )
    motifs = pd.DataFrame([[1, 1]], ["p1"], ["SPI1", "FOS::JUN"])
    found = scmvp.regulons(links, motifs, factors=["Jun", "SPI1"])
    assert found[["group", "tf", "score"]].to_numpy().tolist() == [
        ["a", "JUN", 0.5], ["a", "SPI1", 0.5], ["b", "JUN", 0.2], ["b", "SPI1", 0.2],
    ]  # fmt: skip
    with pytest.raises(InputError, match="'GATA1' has no motif .*'SPI1'"):
        scmvp.regulons(links, motifs, factors=["SPI1", "GATA1"])


def test_correlations_of_many_pairs_are_those_of_each(monkeypatch):
    monkeypatch.setattr("scmvp.tools.regulators._GENES", 2)  # genes at a time
    rng = np.random.default_rng(3)
    genes = ["A", "B", "C", "T1", "T2", "T3", "still"]
    expression = pd.DataFrame(rng.poisson(2.0, (40, 7)).astype(float), columns=genes)
    expression["still"] = 1.0
    links = pd.DataFrame(
        [(gene, peak, 1.0) for gene in ["T1", "T2", "T3", "still", "A", "no"] for peak in "pq"],
        columns=["gene", "peak", "score"],
    )
    motifs = pd.DataFrame([[1, 0, 1, 1], [0, 1, 1, 0]], ["p", "q"], ["A", "B", "C::none", "still"])
    found = scmvp.regulons(links, motifs, expression)
    assert len(found) == 6 * (4 + 3)
    for row in found.itertuples():
        known = {row.tf, row.gene} <= set(genes) and "still" not in (row.tf, row.gene)
        wanted = np.nan
        if known:
            wanted = spearmanr(expression[row.tf], expression[row.gene]).statistic
        assert row.correlation == pytest.approx(wanted, nan_ok=True)
    sparse = AnnData(sp.csr_matrix(expression.to_numpy()), var=pd.DataFrame(index=genes))
    pd.testing.assert_frame_equal(scmvp.regulons(links, motifs, sparse), found)
    activity = AnnData(
        rng.normal(size=(40, 3)), obs=pd.DataFrame(index=expression.index.astype(str)),
        var=pd.DataFrame({"gene": ["A", "B::C", "T3"]}, index=["m1", "m2", "m3"]),
    )  # fmt: skip
    expression.index = expression.index.astype(str)
    ranked = scmvp.motif_expression(activity, expression)
    assert sorted(ranked["gene"]) == ["A", "B", "C", "T3"]
    for row in ranked.itertuples():
        z = activity[:, row.motif].X.ravel()
        assert row.correlation == pytest.approx(spearmanr(z, expression[row.gene]).statistic)


def test_sparse_activity_and_expression_on_disk_are_the_same(tmp_path):
    activity = activity_of()
    activity.X[0, 1] = 0
    rng = np.random.default_rng(4)
    names = ["Gata3", "SPI1", "JUN", "twice", "twice", "FOS"]
    expression = AnnData(rng.poisson(2.0, (60, 6)).astype(float), obs=activity.obs)
    expression.var_names = names
    sparse = activity.copy()
    sparse.X = sp.csr_matrix(activity.X)
    truth = scmvp.rank_motifs(activity, "kind")
    pd.testing.assert_frame_equal(scmvp.rank_motifs(sparse, "kind"), truth)
    found = scmvp.motif_expression(activity, expression)
    pd.testing.assert_frame_equal(scmvp.motif_expression(sparse, expression), found)
    row = found.set_index(["motif", "gene"]).loc[("M2", "FOS"), "correlation"]
    assert row == pytest.approx(spearmanr(activity.X[:, 1], expression.X[:, 5])[0])
    expression.var_names = [*names[:4], "other", "FOS"]
    expression.write_h5ad(tmp_path / "expression.h5ad")
    links = pd.DataFrame({"gene": ["JUN", "Gata3"], "peak": ["p", "p"], "score": [1.0, 2.0]})
    motifs = pd.DataFrame([[1, 1]], ["p"], ["SPI1", "FOS"])
    truth = scmvp.regulons(links, motifs, expression)
    assert truth["correlation"].notna().all()
    backed = anndata.read_h5ad(tmp_path / "expression.h5ad", backed="r")
    pd.testing.assert_frame_equal(scmvp.regulons(links, motifs, backed), truth)


def test_cells_in_which_no_gene_was_measured_are_left_out(tmp_path):
    activity = activity_of()
    rng = np.random.default_rng(6)
    names = ["SPI1", "FOS", "JUN", "GATA3", *(f"g{i}" for i in range(40))]
    values = rng.poisson(1.5, (60, 44)).astype(float)
    lost = rng.permutation(60)[:25]
    known = np.setdiff1d(np.arange(60), lost)
    values[lost] = 0
    expression = pd.DataFrame(values, activity.obs_names, names)
    adata = AnnData(sp.csr_matrix(values), obs=activity.obs, var=pd.DataFrame(index=names))
    adata.write_h5ad(tmp_path / "expression.h5ad")
    backed = anndata.read_h5ad(tmp_path / "expression.h5ad", backed="r")
    links = pd.DataFrame({"gene": ["g3", "g5"], "peak": ["p", "p"], "score": [1.0, 2.0]})
    motifs = pd.DataFrame([[1, 1]], ["p"], ["SPI1", "FOS"])
    for given in (expression, adata, backed):
        with pytest.warns(InputNote, match="25 cells have no expression of any gene and are left"):
            found = scmvp.motif_expression(activity, given)
        assert len(found) == 4
        for row in found.itertuples():
            z, gene = activity[:, row.motif].X.ravel(), expression[row.gene].to_numpy()
            use = known[np.isfinite(z[known])]
            assert row.correlation == pytest.approx(spearmanr(z[use], gene[use]).statistic)
        with pytest.warns(InputNote, match="25 cells"):
            found = scmvp.regulons(links, motifs, given)
        for row in found.itertuples():
            pair = expression[[row.tf, row.gene]].to_numpy()[known]
            assert row.correlation == pytest.approx(spearmanr(*pair.T).statistic)
    # few genes do not say whether any was measured
    some = expression[["SPI1", "GATA3"]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scmvp.motif_expression(activity, some).set_index("gene")["correlation"]
    wanted = spearmanr(activity.X[:, 0], some["SPI1"]).statistic
    assert found["SPI1"] == pytest.approx(wanted)


def test_what_cannot_be_used_is_refused():
    activity = activity_of()
    expression = pd.DataFrame(np.ones((60, 1)), activity.obs_names, ["SPI1"])
    with pytest.raises(InputError, match="no column"):
        scmvp.rank_motifs(activity, "absent")
    with pytest.raises(InputError, match="1 group"):
        scmvp.rank_motifs(activity, np.repeat("a", 60))
    with pytest.raises(InputError, match="none of the genes of the motifs"):
        scmvp.motif_expression(activity, expression.set_axis(["X"], axis=1))
    with pytest.raises(InputError, match="lacks 1 cell .*'c0'"):
        scmvp.motif_expression(activity, expression.iloc[1:])
    with pytest.raises(InputError, match="expression must be an AnnData"):
        scmvp.motif_expression(activity, expression.to_numpy())
    links = pd.DataFrame({"gene": ["T"], "peak": ["p1"], "score": [1.0]})
    with pytest.raises(InputError, match="links needs columns"):
        scmvp.regulons(links[["gene", "peak"]], pd.DataFrame([[1]], ["p1"], ["A"]))
    with pytest.raises(InputError, match="no linked peak .*'p1'"):
        scmvp.regulons(links, pd.DataFrame([[1]], ["p2"], ["A"]))
