"""Arguments of a wrong kind: one sentence of `InputError` from every public function."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from mudata import MuData

import scmvp

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def mdata():
    mdata = scmvp.simulate(n_cells=60, n_genes=60, n_peaks=80, n_types=2, seed=1)
    mdata.obsm["X_scmvp"] = np.random.default_rng(0).normal(size=(60, 3))
    mdata.obs["t"], mdata.obs["missing"] = np.linspace(0, 1, 60), np.nan
    return mdata


@pytest.fixture(scope="module")
def model(mdata):
    return scmvp.SCMVP(mdata, n_clusters=2, min_cells=1).train(max_epochs=1, threads=1)


RAGGED = [[1, 2], [1]]
NULLABLE = pd.array([True] * 30 + [None] * 30, dtype="boolean")
CASES = {
    "one cell": lambda m, x: scmvp.SCMVP(m[:1].copy()),
    "no cells": lambda m, x: scmvp.SCMVP(m[:0].copy()),
    "a query without cells": lambda m, x: x.predict(m[:0].copy()),
    "None": lambda m, x: scmvp.SCMVP(None),
    "a data frame": lambda m, x: scmvp.SCMVP(pd.DataFrame(np.ones((3, 3)))),
    "a path": lambda m, x: scmvp.SCMVP("x.h5"),
    "a list": lambda m, x: scmvp.SCMVP([1, 2, 3]),
    "two absent": lambda m, x: x.predict((None, None)),
    "batch 3": lambda m, x: scmvp.SCMVP(m, batch=3),
    "batch missing": lambda m, x: scmvp.SCMVP(m, batch="missing"),
    "batch of each cell": lambda m, x: scmvp.SCMVP(m, batch="t"),
    "options list": lambda m, x: scmvp.SCMVP(m, options=[1]),
    "preset 3": lambda m, x: scmvp.SCMVP(m, preset=3),
    "preset list": lambda m, x: scmvp.SCMVP(m, preset=["default"]),
    "n_clusters text": lambda m, x: scmvp.SCMVP(m, n_clusters="3"),
    "layer 3": lambda m, x: scmvp.SCMVP(m, rna_layer=3),
    "genes text": lambda m, x: x.get_normalized_expression(genes="A"),
    "no cell wanted": lambda m, x: x.get_normalized_expression(cells=[]),
    "library size": lambda m, x: x.get_normalized_expression(library_size=-1),
    "no batches": lambda m, x: x.get_normalized_expression(batch="a"),
    "groupby unknown": lambda m, x: x.differential_expression(m, groupby="nothing"),
    "groupby missing": lambda m, x: x.differential_expression(m, groupby="missing"),
    "groupby of each cell": lambda m, x: x.differential_expression(m, groupby="t"),
    "groupby 3": lambda m, x: x.differential_expression(m, groupby=3),
    "groupby table": lambda m, x: x.differential_expression(m, groupby=m.obs[["t"]]),
    "groupby 2-d": lambda m, x: x.differential_expression(m, groupby=np.ones((60, 2))),
    "group1 object": lambda m, x: x.differential_expression(m, group1=object()),
    "group1 numbers": lambda m, x: x.differential_expression(m, group1=np.ones(60)),
    "group1 missing": lambda m, x: x.differential_expression(m, group1=NULLABLE),
    "modality": lambda m, x: x.get_latent_representation(modality=None),
    "points": lambda m, x: x.responsibilities([[1, 2]]),
    "points text": lambda m, x: x.responsibilities("a"),
    "points ragged": lambda m, x: x.responsibilities(RAGGED),
    "decode nothing": lambda m, x: x.decode(None, "rna"),
    "decode what": lambda m, x: x.decode(np.zeros((2, 20)), "x"),
    "along nothing": lambda m, x: scmvp.features_along(m, "rna", pseudotime="nothing"),
    "along missing": lambda m, x: scmvp.features_along(m, "rna", pseudotime="missing"),
    "along text": lambda m, x: scmvp.features_along(m, "rna", pseudotime="cell_type"),
    "along modality": lambda m, x: scmvp.features_along(m, pseudotime="t"),
    "along 1000": lambda m, x: scmvp.features_along(m, "rna", pseudotime="t", cells=[1000]),
    "along no names": lambda m, x: scmvp.features_along(m, "rna", pseudotime="t", cells=["a"]),
    "along AnnData": lambda m, x: scmvp.features_along(m["rna"], pseudotime=np.arange(60)),
    "transfer 1-d": lambda m, x: scmvp.transfer_labels(np.ones(5), ["a"] * 5, np.ones((2, 3))),
    "transfer missing": lambda m, x: scmvp.transfer_labels(m, "missing", m),
    "transfer unknown": lambda m, x: scmvp.transfer_labels(m, "nothing", m),
    "diffusion None": lambda m, x: scmvp.diffusion(m, root=None),
    "filter None": lambda m, x: scmvp.filter_paired(None),
    "filter text": lambda m, x: scmvp.filter_paired(m, min_genes="a"),
    "read None": lambda m, x: scmvp.read(None),
    "read 3": lambda m, x: scmvp.read(3),
    "save None": lambda m, x: x.save(None),
    "load None": lambda m, x: scmvp.SCMVP.load(None),
    "file None": lambda m, x: x.impute_to_file(None, "rna"),
    "seed of 67 bits": lambda m, x: x.train(seed=10**20),
    "seed of 5,000 digits": lambda m, x: x.train(seed=10**5000),
    "cells of 67 bits": lambda m, x: scmvp.SCMVP(m, min_cells=10**20),
    "library size of nothing": lambda m, x: x.get_normalized_expression(library_size=1e-300),
    "threshold of 400 digits": lambda m, x: x.impute_to_file("x.h5", "rna", threshold=10**400),
    "empty path": lambda m, x: scmvp.read(""),
    "empty path of a model": lambda m, x: scmvp.SCMVP.load(""),
    "target with a cell twice": lambda m, x: x.add_to(m["rna"][[0, 0, 1]].copy()),
    "layer of no protein": lambda m, x: scmvp.SCMVP(m, protein_layer="x"),
    "seed -1": lambda m, x: x.train(seed=-1),
    "device None": lambda m, x: x.train(device=None),
    "modalities 1": lambda m, x: scmvp.SCMVP(m, modalities=1),
    "mosaic text": lambda m, x: scmvp.SCMVP(m, mosaic="no"),
    "n_latent twice": lambda m, x: scmvp.SCMVP(m, n_latent=3, options={"n_latent": 4}),
    "device 3": lambda m, x: x.train(device=3),
    "callback 3": lambda m, x: x.train(callback=3, max_epochs=1),
    "threads 0": lambda m, x: x.train(threads=0),
    "number of None": lambda m, x: scmvp.estimate_n_clusters(None, None),
    "number of others": lambda m, x: scmvp.estimate_n_clusters(m["rna"].X[:9], m["atac"].X),
    "write None": lambda m, x: scmvp.write_rds(None, "x.rds"),
    "cicero None": lambda m, x: scmvp.run_cicero(None),
    "lasso None": lambda m, x: scmvp.link_peaks_lasso(None),
    "groups of None": lambda m, x: scmvp.aggregate_cells(None),
    "networks of None": lambda m, x: scmvp.find_ccans(None),
}


@pytest.mark.parametrize("case", CASES)
def test_one_sentence(case, mdata, model, refused):
    sentence = refused(lambda: CASES[case](mdata, model))
    assert 20 < len(sentence) < 400


def test_a_matrix_by_columns_is_not_taken_for_one_by_rows(mdata):
    """Sparse matrices have a pointer by row or by column: the same vectors, another matrix."""
    rna, atac = mdata["rna"].X, mdata["atac"].X
    wanted = scmvp.estimate_n_clusters(rna, atac)
    assert scmvp.estimate_n_clusters(rna.tocsc(), atac.toarray()) == wanted
    t = mdata.obs["t"].to_numpy()
    found, plain = (scmvp.features_along(x, pseudotime=t) for x in (rna.tocsc(), rna))
    pd.testing.assert_frame_equal(found, plain)


def test_cells_along_a_pseudotime_by_name(mdata):
    chosen = mdata.obs_names[:40]
    by_name, by_mask = (
        scmvp.features_along(mdata, "rna", pseudotime="t", cells=cells)
        for cells in (list(chosen[::-1]), mdata.obs_names.isin(chosen))
    )
    pd.testing.assert_frame_equal(by_name, by_mask)


def test_cells_named_twice_get_no_latent_of_each_other(mdata, model, refused):
    """Two samples with the same barcodes, which are different cells."""
    rna, other = mdata["rna"], mdata["rna"][::-1].copy()
    other.obs_names = rna.obs_names
    both = anndata.concat([rna, other])
    refused(lambda: model.add_to(both), "duplicated cell names of target")
    assert "X_scmvp" not in both.obsm


def test_a_group_named_twice_is_tested_once(mdata, model):
    def tested(*groups, against=None):
        return model.differential_expression(
            mdata, groupby="cell_type", group1=list(groups), group2=against
        )

    one, other = mdata.obs["cell_type"].unique()
    pd.testing.assert_frame_equal(tested(one, one), tested(one))
    pd.testing.assert_frame_equal(tested(one, against=[other, other]), tested(one, against=other))
    codes = (mdata.obs["cell_type"] == one).astype(int)
    twice, once = (
        model.differential_expression(mdata, groupby=codes, group1=group) for group in ([1, "1"], 1)
    )
    pd.testing.assert_frame_equal(twice, once)


@pytest.mark.slow
@pytest.mark.parametrize("backed", [False, True])
def test_a_layer_of_a_modality_that_is_not_there(mdata, tmp_path, refused, backed):
    """Of RNA and of proteins alike."""
    mdata.write_h5mu(tmp_path / "cells.h5mu")
    refused(
        lambda: scmvp.read(tmp_path / "cells.h5mu", backed, protein_layer="x"),
        "there is no protein modality: leave out protein_layer='x'",
    )
    adt = mdata["rna"][:, :9].copy()
    without = MuData({"atac": mdata["atac"], "protein": adt})
    for layer in ({"rna_layer": "counts"}, {"rna_layer": "X"}):
        refused(
            lambda layer=layer: scmvp.SCMVP(without, modalities=("atac", "protein"), **layer),
            "there is no RNA modality",
        )
