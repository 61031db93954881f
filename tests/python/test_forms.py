"""The table of a differential test in the form of scanpy, against what scanpy itself makes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scmvp

TYPES = ["Type01", "Type02", "Type03"]


@pytest.fixture(scope="module")
def tested(simulated):
    pytest.importorskip("torch")
    model = scmvp.SCMVP(simulated, n_clusters=3, min_cells=5).train(max_epochs=2, threads=1)

    def test(**options):
        return model.differential_expression(simulated, groupby="cell_type", n_samples=1, **options)

    return test


@pytest.fixture
def adata(simulated):
    return simulated["rna"].copy()


def scanpys_own(adata):
    sc = pytest.importorskip("scanpy")
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    sc.tl.rank_genes_groups(adata, "cell_type", method="wilcoxon", pts=True)
    return sc.get.rank_genes_groups_df(adata, None)


@pytest.mark.slow
def test_columns_are_those_of_scanpy(tested, adata):
    ours, theirs = tested(form="scanpy"), scanpys_own(adata)
    assert list(ours) == list(theirs)
    kinds = {name: column.dtype.kind for name, column in ours.items()}
    assert kinds == {name: column.dtype.kind for name, column in theirs.items()}
    assert list(ours["group"].unique()) == list(theirs["group"].unique()) == TYPES
    by = ["group", "names"]
    both = ours.astype({"group": str}).merge(theirs.astype({"group": str}), on=by)
    assert len(both) == len(ours)
    for name in ("pct_nz_group", "pct_nz_reference"):
        np.testing.assert_allclose(both[f"{name}_x"], both[f"{name}_y"], atol=1e-6)
    for _, part in both.groupby("group"):
        clear = part["pvals_adj_y"] < 1e-4
        assert (np.sign(part["scores_x"]) == np.sign(part["scores_y"]))[clear].all()


def test_numbers_and_order_follow_from_the_table(tested):
    table, ours = tested(), tested(form="scanpy")
    rows = table.set_index(["group", "feature"]).loc[
        pd.MultiIndex.from_arrays([ours["group"].astype(str), ours["names"]])
    ]
    np.testing.assert_array_equal(ours["logfoldchanges"], rows["lfc"])
    np.testing.assert_allclose(ours["pvals"], 1 - rows["prob_de"], atol=1e-15)
    np.testing.assert_array_equal(ours["pvals_adj"], rows["q_value"])
    for name in TYPES:
        part, plain = ours[ours["group"] == name], table[table["group"] == name]
        assert part["scores"].is_monotonic_decreasing
        n_up = (plain["lfc"] > 0).sum()
        assert list(part["names"][:n_up]) == list(plain["feature"][:n_up])
        assert list(part["names"][n_up:]) == list(plain["feature"][n_up:][::-1])
    called = ours["pvals_adj"] <= 0.05
    assert called.sum() == table["is_de"].sum()


@pytest.mark.slow
def test_features_that_are_higher_in_both_forms(tested):
    table, ours = tested(only_pos=True), tested(only_pos=True, form="scanpy")
    assert list(ours["names"]) == list(table["feature"])
    assert (ours["logfoldchanges"] > 0).all()
    assert (ours["scores"] >= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["table", "scanpy"])
def test_scanpy_finds_the_table_in_uns_and_draws_it(tested, adata, form, tmp_path):
    sc = pytest.importorskip("scanpy")
    ours = tested(form="scanpy")
    scmvp.add_rank_genes_groups(adata, tested(form=form), "cell_type")
    found = sc.get.rank_genes_groups_df(adata, None)
    pd.testing.assert_frame_equal(found, ours, check_dtype=False, check_categorical=False)
    top = sc.get.rank_genes_groups_df(adata, "Type02")["names"][:3]
    assert list(top) == list(ours[ours["group"] == "Type02"]["names"][:3])
    sc.pp.log1p(adata)
    plot = sc.pl.rank_genes_groups_dotplot(
        adata, n_genes=3, values_to_plot="logfoldchanges", show=False, return_fig=True,
        dendrogram=False,
    )  # fmt: skip
    assert list(plot.var_names[3:6]) == list(top)
    adata.write_h5ad(tmp_path / "with.h5ad")
    again = sc.read_h5ad(tmp_path / "with.h5ad")
    pd.testing.assert_frame_equal(sc.get.rank_genes_groups_df(again, None), found)


def test_a_table_that_was_in_a_file_is_one(tested, adata, tmp_path):
    tested().to_csv(tmp_path / "table.csv", index=False)
    scmvp.add_rank_genes_groups(adata, pd.read_csv(tmp_path / "table.csv"), "cell_type")
    assert list(adata.uns["rank_genes_groups"]["names"].dtype.names) == TYPES


def test_one_comparison_with_a_group_says_which(tested, adata):
    table = tested(group1="Type01", group2=["Type02", "Type03"])
    scmvp.add_rank_genes_groups(adata, table, "cell_type", key="one")
    assert adata.uns["one"]["params"]["reference"] == "Type02+Type03"
    assert adata.uns["one"]["names"].dtype.names == ("Type01",)


def test_a_table_of_other_cells_is_refused(tested, adata, simulated, refused):
    def add(table, data=adata, groupby="cell_type"):
        return lambda: scmvp.add_rank_genes_groups(data, table, groupby)

    table = tested()
    adata.obs["lane"] = "L1"
    refused(
        add(table.drop(columns="prob_de")), "table is not a result of differential_expression()"
    )
    refused(add(table, simulated["atac"]), "table has features that adata lacks")
    refused(add(table, groupby="nothing"), "adata.obs has no column 'nothing'")
    refused(add(table, groupby="lane"), "column 'lane' of adata.obs has no group 'Type01'")
    numbers = adata.copy()
    numbers.obs["cell_type"] = numbers.obs["cell_type"].str[-1:].astype(int)
    refused(add(table, numbers), "column 'cell_type' of adata.obs holds numbers")
    refused(add(tested(only_pos=True)), "more features for some groups than for others")
    assert "rank_genes_groups" not in adata.uns
