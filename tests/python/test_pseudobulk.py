"""Sums of the counts of samples, against sums made by pandas."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from mudata import MuData

import scmvp
from scmvp.errors import InputNote


@pytest.fixture
def cells(simulated):
    mdata = simulated.copy()
    rng = np.random.default_rng(0)
    mdata.obs["donor"] = rng.permutation(np.arange(240) % 4 + 1)
    mdata.obs["condition"] = np.where(mdata.obs["donor"] > 2, "treated", "control")
    mdata.obs["type"] = mdata["rna"].obs["cell_type"].astype(str)
    return mdata


def by_pandas(mdata, modality, group, sample):
    adata = mdata[modality]
    frame = pd.DataFrame(adata.X.toarray(), index=adata.obs_names).loc[mdata.obs_names]
    return frame.groupby([np.asarray(group), np.asarray(sample)]).sum()


@pytest.mark.parametrize("modality", ["rna", "atac"])
def test_sums_are_those_of_the_cells(cells, modality):
    found = scmvp.pseudobulk(cells, "donor", "type", modality, min_cells=1)
    truth = by_pandas(cells, modality, cells.obs["type"], cells.obs["donor"])
    assert np.array_equal(found.X.toarray(), truth.to_numpy())
    assert found.X.dtype == np.int64
    assert list(found.obs_names) == [f"{group}_{donor}" for group, donor in truth.index]
    assert list(found.var_names) == list(cells[modality].var_names)
    size = cells.obs.groupby(["type", "donor"]).size()
    assert np.array_equal(found.obs["n_cells"], size)
    # what is the same in all cells of a sample comes along
    assert list(found.obs["condition"]) == [
        "treated" if int(donor) > 2 else "control" for donor in found.obs["sample"]
    ]
    assert list(found.obs["donor"]) == [int(donor) for donor in found.obs["sample"]]
    assert not {"type", "cell_type", "library_size"} & set(found.obs)


@pytest.mark.slow
def test_cells_go_by_name(cells, tmp_path):
    truth = scmvp.pseudobulk(cells, "donor", "type", "atac", min_cells=1)

    def same(found):
        assert np.array_equal(found.X.toarray(), truth.X.toarray())
        assert list(found.obs_names) == list(truth.obs_names)

    mixed = np.random.default_rng(1).permutation(240)
    other = MuData({"rna": cells["rna"], "atac": cells["atac"][mixed].copy()})
    other.obs = cells.obs.loc[other.obs_names]
    same(scmvp.pseudobulk(other, "donor", "type", "atac", min_cells=1))
    # named values in any order; values without names in that of the MuData
    donor, kind = cells.obs["donor"].iloc[mixed], cells.obs["type"].to_numpy()
    same(scmvp.pseudobulk(other, donor, kind, "atac", min_cells=1))
    pair = (cells["rna"], other["atac"])
    same(scmvp.pseudobulk(pair, donor, kind, "atac", min_cells=1))
    alone = cells["atac"].copy()
    alone.obs[["donor", "type"]] = cells.obs[["donor", "type"]]
    same(scmvp.pseudobulk(alone, "donor", "type", "atac", min_cells=1))
    both = anndata.concat([cells["rna"], cells["atac"]], axis=1)
    both.var["feature_types"] = ["Gene Expression"] * 300 + ["Peaks"] * 600
    both.obs = cells.obs.copy()
    same(scmvp.pseudobulk(both, "donor", "type", "atac", min_cells=1))
    cells.write_h5mu(tmp_path / "cells.h5mu")
    again = scmvp.read(tmp_path / "cells.h5mu")
    same(scmvp.pseudobulk(again, "donor", "type", "atac", min_cells=1))


def test_small_sums_and_cells_without_counts_are_left_out(cells):
    size = cells.obs.groupby(["type", "donor"]).size()
    limit = int(size.median())
    n_left, n_cells = (size < limit).sum(), size[size < limit].sum()
    with pytest.warns(
        InputNote, match=f"{n_left} pseudobulks are left out.*{n_cells} cells of 240"
    ):
        found = scmvp.pseudobulk(cells, "donor", "type", min_cells=limit)
    assert found.n_obs == (size >= limit).sum()
    # cells of the other modality alone are no cells of the sums
    rna = cells["rna"][cells.obs["donor"].to_numpy() != 2].copy()
    mosaic = MuData({"rna": rna, "atac": cells["atac"]})
    mosaic.obs = cells.obs.loc[mosaic.obs_names]
    found = scmvp.pseudobulk(mosaic, "donor", "type", min_cells=1)
    assert set(found.obs["sample"]) == {"1", "3", "4"}
    assert found.obs["n_cells"].sum() == rna.n_obs
    group = cells.obs["type"].where(cells.obs["type"] != "Type01")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scmvp.pseudobulk(cells, "donor", group, min_cells=1)
    assert list(found.obs["group"].cat.categories) == ["Type02", "Type03"]


def test_groups_and_samples_have_the_order_of_categories(cells):
    kind = pd.Categorical(cells.obs["type"], ["Type03", "Type01", "Type02", "none"])
    found = scmvp.pseudobulk(cells, cells.obs["donor"] * 100_000, kind, min_cells=1)
    assert list(found.obs["group"].cat.categories) == ["Type03", "Type01", "Type02"]
    assert list(found.obs["sample"].cat.categories) == ["100000", "200000", "300000", "400000"]
    cells.obs["group"] = cells.obs["condition"]
    assert "group.1" in scmvp.pseudobulk(cells, "donor", "type", min_cells=1).obs


def test_refusals(cells, refused):
    """Each is followed by what it advises."""

    def sums(sample="donor", groupby="type", modality="rna", data=cells, **changes):
        return scmvp.pseudobulk(data, sample, groupby, modality, **({"min_cells": 1} | changes))

    obs = cells.obs
    refused(lambda: sums("donour"), "there is no column 'donour' in obs")
    refused(lambda: sums(groupby="scmvp_cluster"), "there is no column 'scmvp_cluster'")
    refused(lambda: sums(obs["donor"][:9]), "sample has no value for")
    obs["lacking"] = obs["donor"].where(np.arange(240) > 1)
    refused(lambda: sums("lacking"), "sample has no value for 2 cells", "(None) in groupby")
    sums("lacking", obs["type"].where(np.arange(240) > 1))
    sums(obs["lacking"].fillna(1))
    obs["nothing"] = None
    refused(lambda: sums(groupby="nothing"), "groupby has no value for any cell")
    refused(
        lambda: sums(min_cells=500), "no sample has as many cells of a group as min_cells=500 (the"
    )
    refused(lambda: sums(min_cells=0), "min_cells is 0")
    pair = (cells["rna"], cells["atac"])
    donor, kind = obs["donor"], obs["type"]
    refused(lambda: sums(donor, kind, "peaks", pair), "modality is 'peaks'; use 'rna' or 'atac'")
    refused(lambda: sums(modality="peaks"), "modality is 'peaks'; use 'rna' or 'atac'")
    sums(donor, kind, "atac", pair)
    refused(lambda: sums(obs.index), "240 values for 240 cells", "name the column with the sample")
    size = np.asarray(cells["rna"].obs["library_size"]).round(-2) / 3
    refused(lambda: sums(size), "measured values for 240 cells")
    refused(lambda: sums(data=cells["rna"].X), "cannot read paired cells")
    scaled = cells.copy()
    scaled["rna"].X = scaled["rna"].X * 0.5
    refused(lambda: sums(data=scaled), "looks normalized")
    scaled["rna"].layers["counts"] = cells["rna"].X
    refused(lambda: sums(data=scaled), "use layer='counts'")
    found = sums(data=scaled, layer="counts")
    assert np.array_equal(found.X.toarray(), sums().X.toarray())
