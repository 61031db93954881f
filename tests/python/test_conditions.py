"""Conditions with several samples, against PyDESeq2 called by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scmvp
from scmvp.errors import InputNote

pytest.importorskip("pydeseq2", reason="PyDESeq2 is not installed (extra 'replicates')")


def donor_cells(n_genes=60, n_donors=8, n_each=30, n_changed=6, paired=False, seed=0):
    """Cells of donors under two conditions, each donor with a factor of its own for every gene."""
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(n_donors), n_each)
    treated = np.arange(len(donor)) % 2 == 0 if paired else donor % 2 == 1
    mean = 2 * rng.gamma(6, 1 / 6, (n_donors, n_genes))[donor]
    mean[np.ix_(treated, np.arange(n_changed))] *= 4
    counts = rng.negative_binomial(2, 2 / (2 + mean)).astype(np.float32)
    obs = pd.DataFrame(
        {
            "donor": donor,
            "condition": np.where(treated, "treated", "control"),
            "type": np.where(rng.random(len(donor)) < 0.4, "B", "T"),
        },
        index=[f"cell{i}" for i in range(len(donor))],
    )
    obs["sample"] = obs["donor"].astype(str) + obs["condition"]
    var = pd.DataFrame(index=[f"Gene{i}" for i in range(n_genes)])
    return AnnData(counts, obs=obs, var=var)


def compare(cells, condition="condition", sample="sample", groupby="type", **changes):
    changes = {"min_cells": 1} | changes
    return scmvp.differential_conditions(cells, condition, sample, groupby, **changes)


def by_hand(cells, kind, design, tested, reference):
    """PyDESeq2's own table for a formula, of sums made by pandas."""
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.ds import DeseqStats

    own = cells[(cells.obs["type"] == kind).to_numpy()]
    counts = pd.DataFrame(own.X, index=own.obs_names, columns=own.var_names).astype(int)
    sums = counts.groupby(own.obs["sample"].to_numpy()).sum()
    table = own.obs.drop_duplicates("sample").set_index("sample").loc[sums.index]
    table = table.astype({"donor": str})
    smallest = table["condition"].value_counts().min()
    kept = (sums >= 10).sum() >= smallest
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = DeseqDataSet(
            counts=sums.loc[:, kept], metadata=table, design=design, quiet=True, n_cpus=1,
            size_factors_fit_type="poscounts",
        )  # fmt: skip
        fit.deseq2()
        result = DeseqStats(fit, contrast=["condition", tested, reference], quiet=True, n_cpus=1)
        result.summary()
    return result.results_df


@pytest.mark.slow
@pytest.mark.parametrize("paired", [False, True])
def test_the_table_is_that_of_pydeseq2_on_sums_made_by_hand(paired):
    cells = donor_cells(paired=paired)
    found = compare(cells, covariates=["donor"] if paired else ())
    for kind in ("B", "T"):
        design = "~donor + condition" if paired else "~condition"
        truth = by_hand(cells, kind, design, "treated", "control")
        mine = found[found["group"] == kind].set_index("feature")
        assert set(mine.index) == set(truth.index)
        truth = truth.loc[mine.index]
        for column, theirs in (
            ("lfc", "log2FoldChange"),
            ("p_value", "pvalue"),
            ("q_value", "padj"),
        ):
            np.testing.assert_allclose(mine[column], truth[theirs], rtol=1e-4, atol=1e-8)
        assert mine["p_value"].is_monotonic_increasing
        assert len(set(mine.index[:7]) & {f"Gene{i}" for i in range(6)}) >= 5
        assert (mine[["n_condition", "n_reference"]] == (8 if paired else 4)).to_numpy().all()


@pytest.mark.slow
def test_the_other_reference_and_means_of_counts():
    cells = donor_cells()
    table = compare(cells).set_index(["group", "feature"])
    turned = compare(cells, reference="treated").set_index(["group", "feature"]).loc[table.index]
    np.testing.assert_allclose(table["lfc"], -turned["lfc"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(table["mean_condition"], turned["mean_reference"])
    assert set(turned["condition"]) == {"control"}
    own = cells[((cells.obs["type"] == "T") & (cells.obs["condition"] == "treated")).to_numpy()]
    sums = pd.DataFrame(own.X, columns=own.var_names).groupby(own.obs["sample"].to_numpy()).sum()
    share = 1e4 * sums.div(sums.sum(1), axis=0)
    mine = table.loc["T"]["mean_condition"]
    np.testing.assert_allclose(mine, share.mean().loc[mine.index], rtol=1e-6)


@pytest.mark.slow
def test_groups_without_replicates_are_left_out():
    cells = donor_cells()
    lacks = (cells.obs["type"] == "B") & cells.obs["donor"].isin([1, 3, 5])
    cells.obs.loc[lacks, "type"] = "T"
    with pytest.warns(
        InputNote, match="1 of 2 comparisons is left out: 1 with fewer.*'B: treated'"
    ):
        table = compare(cells)
    assert list(table["group"].unique()) == ["T"]
    cells = donor_cells()
    cells.obs["batch"] = cells.obs["donor"] > 3
    gone = (cells.obs["type"] == "B") & cells.obs["donor"].isin([1, 3, 4, 6])
    cells.obs.loc[gone, "type"] = None
    with pytest.warns(InputNote, match="1 with covariates confounded"):
        table = compare(cells, covariates=["batch"])
    assert list(table["group"].unique()) == ["T"]


@pytest.mark.slow
@pytest.mark.parametrize("n_genes", [1, 2, 3])
def test_few_features_are_compared_as_well(n_genes):
    table = compare(donor_cells(n_genes, n_changed=0))
    assert len(table) == 2 * n_genes
    assert np.isfinite(table["p_value"]).all()


@pytest.mark.slow
def test_refusals(refused):
    """Each is followed by what it advises."""
    cells = donor_cells(20, 6, paired=True)
    obs = cells.obs

    def fails(*words, **changes):
        return refused(lambda: compare(cells, **changes), *words)

    fails("6 samples have cells of several conditions ('0', '1', '2', ...)", sample="donor")
    obs["both"] = obs["donor"].astype(str) + obs["condition"]
    compare(cells, sample="both", covariates=["donor"])
    fails("each condition has one sample ('control', 'treated')", sample="condition")
    obs["one"] = "one"
    fails("condition has one value ('one')", condition="one")
    fails("reference is 'Control'; give one of the conditions ('control',", reference="Control")
    obs["few"] = np.where(obs["donor"] > 0, "treated", obs["condition"])
    obs["few"] = obs["few"].where(obs["donor"] < 4, "other")
    obs["of_few"] = obs["donor"].astype(str) + obs["few"]
    obs["few"] = pd.Categorical(obs["few"], ["control", "treated", "other"])
    fails("conditions ('control': 1, 'treated': 4, 'other': 2)", condition="few", sample="of_few")
    with pytest.warns(InputNote, match="2 of 4 comparisons are left out"):
        table = compare(cells, condition="few", sample="of_few", reference="treated")
    assert set(table["condition"]) == {"other"}

    fails("covariate 'one' is the same in all samples", covariates=["one"])
    fails(
        "covariate 'type' has several values in 12 samples", "name it in groupby", covariates="type"
    )
    fails("(condition) are confounded", covariates=["condition"])
    fails("there is no column 'batch'", covariates=["batch"])
    obs["sex"] = obs["donor"].map({0: None}).fillna("f").where(obs["donor"] > 0)
    fails("covariate 'sex' has no value for 30 cells", covariates=["sex"])
    # whole numbers are levels, of which each sample has its own; other numbers are numbers
    obs["age"] = obs["sample"].astype("category").cat.codes
    fails("are confounded", covariates=["age"])
    obs["age"] = obs["age"] ** 2 / 7
    compare(cells, covariates=["age"])

    obs["lacking"] = obs["condition"].where(np.arange(180) > 1)
    fails("condition has no value for 2 cells", condition="lacking")
    compare(cells, condition="lacking", groupby=obs["type"].where(np.arange(180) > 1))
    fails("nothing can be compared in any group: 2 with no feature", min_count=1e6)
    fails("min_count is -1", min_count=-1)
    few = obs["type"].where(obs["donor"] > 4)
    treated = few.where(obs["condition"] == "treated")
    fails("condition has one value ('treated')", "nothing to compare", groupby=treated)
