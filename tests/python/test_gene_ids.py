"""Genes of one symbol: their names depend on the order of the file, their ids do not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from stored import write_pair

import scmvp
from scmvp import storage
from scmvp.data.features import match_ids
from scmvp.errors import InputNote, ModelFileError

REPEATED = [3, 7, 200]  # genes of the symbol DUP


@pytest.fixture
def repeated(ten_x):
    for gene in REPEATED:
        ten_x.names[gene] = "DUP"
    return ten_x


@pytest.fixture
def fitted(repeated, tmp_path) -> Path:
    mdata = scmvp.read(repeated.write_folder(tmp_path / "fitted"))
    model = scmvp.SCMVP(mdata, n_clusters=3, min_cells=1)
    model.train(max_epochs=1, threads=1, progress=False).save(tmp_path / "model")
    assert [*model.genes[REPEATED]] == ["DUP", "DUP.1", "DUP.2"]
    return tmp_path / "model"


def with_genes(ten_x, order):
    """The same cells with these genes."""
    n_genes = ten_x.types.count("Gene Expression")
    order = [*order, *range(n_genes, len(ten_x.names))]
    for name in ("names", "ids", "types"):
        setattr(ten_x, name, [getattr(ten_x, name)[at] for at in order])
    ten_x.counts = ten_x.counts[:, order]
    return ten_x


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pair", "folder", "h5", "h5ad", "backed h5", "backed h5ad"])
def test_genes_of_one_symbol_are_matched_by_id(repeated, fitted, tmp_path, kind):
    expected = scmvp.SCMVP.load(fitted).get_latent_representation(scmvp.read(tmp_path / "fitted"))
    turned = with_genes(repeated, range(299, -1, -1))
    path = turned.write_h5(tmp_path / "query.h5")
    if kind == "folder":
        path = turned.write_folder(tmp_path / "query")
    elif "h5ad" in kind or kind == "pair":
        mdata = scmvp.read(path)
        path = write_pair(mdata, tmp_path / "pair")
    cells = scmvp.read(path, backed="backed" in kind)
    if kind == "pair":
        cells = cells["rna"], cells["atac"]
    embedded = scmvp.SCMVP.load(fitted).get_latent_representation(cells)
    np.testing.assert_allclose(embedded, expected, atol=1e-5)


@pytest.mark.slow
def test_a_gene_of_the_same_name_and_another_id_is_left_out(repeated, fitted, tmp_path):
    mdata = scmvp.read(tmp_path / "fitted")
    without = mdata["rna"].copy()
    without.X = sp.csr_matrix(without.X.toarray() * (mdata["rna"].var_names != "DUP"))
    expected = scmvp.SCMVP.load(fitted).get_latent_representation((without, mdata["atac"]))
    repeated.ids[3] = "ENSG99999999999"
    query = scmvp.read(repeated.write_folder(tmp_path / "query"))
    with (
        pytest.warns(InputNote, match="counts as zero"),
        pytest.warns(InputNote, match="1 gene has different ids .*'DUP'"),
    ):
        embedded = scmvp.SCMVP.load(fitted).get_latent_representation(query)
    np.testing.assert_allclose(embedded, expected, atol=1e-5)


def test_ids_are_compared_where_both_are_known_and_of_one_kind():
    names = np.array(["A", "B", "C", "D"])
    ids = np.array(["E1", "E2", "", "E4"], dtype=object)

    def matched(at, have):
        return match_ids(np.array(at), names, ids, np.array(have, dtype=object)).tolist()

    assert matched([0, 1, 2, 3], ["E1", "", "E3", "E4"]) == [0, 1, 2, 3]
    assert matched([0, 1, 2, -1], ["E1", "E2", "E3", "E4"]) == [0, 1, 2, 3]  # a new symbol
    assert matched([0, 1, 2, -1], ["E1", "E2", "E3", "E4", "E4"]) == [0, 1, 2, -1]
    with pytest.warns(InputNote, match="different ids"):
        assert matched([0, 1, 2, 3], ["E1", "E2", "E3", "E2"]) == [0, 1, 2, -1]
    with pytest.warns(InputNote, match="by name alone"):
        assert matched([0, 1, 2, 3], ["1", "2", "3", "4"]) == [0, 1, 2, 3]


@pytest.mark.slow
def test_models_with_and_without_ids_load(simulated, fitted, tmp_path):
    model = scmvp.SCMVP(simulated, n_clusters=3).train(max_epochs=1, threads=1, progress=False)
    model.save(tmp_path / "other")
    file = tmp_path / "other" / "model.json"
    info = json.loads(file.read_text())
    assert info.pop("gene_ids") is None
    file.write_text(json.dumps(storage.signed(info)))  # as before ids were kept
    loaded = scmvp.SCMVP.load(tmp_path / "other")
    np.testing.assert_array_equal(loaded.genes, model.genes)

    file = fitted / "model.json"
    info = json.loads(file.read_text())
    assert info["gene_ids"][3] == "ENSG00000000003"
    file.write_text(json.dumps(storage.signed(info | {"gene_ids": info["gene_ids"][1:]})))
    with pytest.raises(ModelFileError, match="its gene_ids are not those of its genes"):
        scmvp.SCMVP.load(fitted)
