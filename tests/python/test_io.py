from __future__ import annotations

import gzip
import os
import subprocess
import sys
import warnings
from functools import partial

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from conftest import TenX
from mudata import MuData

import scmvp
from scmvp.data.checks import check_paired
from scmvp.data.joining import join
from scmvp.data.names import make_unique
from scmvp.data.peaks import read_bed
from scmvp.errors import InputNote


def assert_same(read, written, obs=True):
    assert list(read.mod) == ["rna", "atac"]
    for modality in ("rna", "atac"):
        assert list(read[modality].obs_names) == list(written[modality].obs_names)
        assert list(read[modality].var_names) == list(written[modality].var_names)
        assert (sp.csr_matrix(read[modality].X) != written[modality].X).nnz == 0
    assert list(read.obs_names) == list(written.obs_names)
    if obs:
        assert list(read.obs["cell_type"]) == list(written.obs["cell_type"])


# ---- each kind of input


def test_folder_of_two_h5ad(pair_folder, simulated):
    assert_same(scmvp.read(pair_folder), simulated)
    assert_same(scmvp.read(str(pair_folder)), simulated)


def test_h5mu(simulated, tmp_path):
    simulated.write(tmp_path / "cells.h5mu")
    assert_same(scmvp.read(tmp_path / "cells.h5mu"), simulated)


def test_h5mu_with_10x_names_and_labels_beside_the_modalities(simulated, tmp_path):
    mods = {"Peaks": simulated["atac"].copy(), "Gene Expression": simulated["rna"].copy()}
    for adata in mods.values():
        adata.obs = adata.obs[[]]
    mdata = MuData(mods)
    mdata.obs["cell_type"] = simulated.obs["cell_type"].astype(str)
    mdata.write(tmp_path / "cells.h5mu")
    assert_same(scmvp.read(tmp_path / "cells.h5mu"), simulated)


def test_10x_h5(ten_x, simulated, tmp_path):
    mdata = scmvp.read(ten_x.write_h5(tmp_path / "filtered_feature_bc_matrix.h5"))
    assert_same(mdata, simulated, obs=False)
    assert list(mdata["rna"].var["gene_ids"][:2]) == ["ENSG00000000000", "ENSG00000000001"]
    assert set(mdata["atac"].var["feature_types"]) == {"Peaks"}
    assert set(mdata["rna"].var["genome"]) == {"GRCh38"}


def test_10x_gene_names_are_made_unique_as_in_seurat(ten_x, tmp_path):
    ten_x.names[:4] = ["A", "A", "A.1", "A"]
    mdata = scmvp.read(ten_x.write_h5(tmp_path / "x.h5"))
    assert list(mdata["rna"].var_names[:4]) == ["A", "A.2", "A.1", "A.3"]


def test_10x_features_in_any_order_and_of_other_types(ten_x, simulated, tmp_path):
    ten_x.names.insert(100, "CD3")
    ten_x.ids.insert(100, "CD3")
    ten_x.types.insert(100, "Multiplexing Capture")
    extra = sp.csr_matrix(np.ones((240, 1), np.int32))
    counts = ten_x.counts
    ten_x.counts = sp.hstack([counts[:, :100], extra, counts[:, 100:]], format="csr")
    with pytest.warns(InputNote, match="1 feature of type Multiplexing Capture left out"):
        mdata = scmvp.read(ten_x.write_h5(tmp_path / "x.h5"))
    assert_same(mdata, simulated, obs=False)


@pytest.mark.slow
@pytest.mark.parametrize("gzipped", [True, False])
def test_matrix_market_folder(ten_x, simulated, tmp_path, gzipped):
    mdata = scmvp.read(ten_x.write_folder(tmp_path / "matrix", gzipped))
    assert_same(mdata, simulated, obs=False)
    assert mdata["rna"].var["gene_ids"].iloc[0] == "ENSG00000000000"


def test_from_parts_takes_the_vectors_of_r_matrices(simulated):
    def parts(matrix):
        r_matrix = sp.csc_matrix(matrix.T.astype(np.float64))  # features x cells
        for vector in (r_matrix.data, r_matrix.indices, r_matrix.indptr):
            vector.flags.writeable = False
        return r_matrix.data, r_matrix.indices, r_matrix.indptr

    rna, atac = parts(simulated["rna"].X), parts(simulated["atac"].X)
    names = simulated["rna"].var_names, simulated["atac"].var_names
    mdata = scmvp.from_parts(rna, atac, simulated.obs_names, *names)
    assert_same(mdata, simulated, obs=False)
    assert np.shares_memory(mdata["rna"].X.data, rna[0])
    assert np.shares_memory(mdata["rna"].X.indices, rna[1])


def test_from_parts_that_do_not_fit(simulated, refused):
    def parts(matrix):
        return matrix.data, matrix.indices, matrix.indptr

    rna, atac = parts(simulated["rna"].X), parts(simulated["atac"].X)
    cells = simulated.obs_names
    genes, peaks = simulated["rna"].var_names, simulated["atac"].var_names
    build = scmvp.from_parts
    refused(lambda: build(rna, atac, cells[1:], genes, peaks), "RNA", "240 cells", "239 cell names")
    refused(lambda: build(rna, atac, cells, genes, peaks[:-9]), "ATAC", "591 peak names")
    refused(lambda: build(rna, atac, ["x"] * 240, genes, peaks), "duplicated cell names")
    matrix = simulated["atac"].X
    refused(lambda: build(rna, matrix, cells, genes, peaks), "ATAC matrix", "three vectors")
    for odd, n in (([1], "1 value"), ([1, 2], "2 values"), ("a", "1 value")):
        obs = {"x": odd}
        refused(lambda obs=obs: build(rna, atac, cells, genes, peaks, obs), f"['x'] has {n} for")


def test_columns_of_from_parts_are_matched_by_name(simulated):
    def parts(modality):
        matrix = simulated[modality].X
        return matrix.data, matrix.indices, matrix.indptr

    kinds = simulated.obs["cell_type"]
    obs = {
        "named": kinds[::-1],
        "numbered": pd.Series(range(240)),
        "array": np.arange(240) % 2 == 0,
        "categories": pd.Categorical(["a", "b"] * 120, ["b", "a"]),
    }
    names = (simulated.obs_names, simulated["rna"].var_names, simulated["atac"].var_names)
    made = scmvp.from_parts(parts("rna"), parts("atac"), *names, obs=obs).obs
    assert list(made["named"]) == list(kinds)
    assert list(made["numbered"]) == list(range(240))
    assert list(made["array"]) == [True, False] * 120
    assert list(made["categories"].cat.categories) == ["b", "a"]


# ---- counts kept elsewhere


def test_counts_in_a_layer_or_in_raw_are_found_and_said(pair_folder, simulated):
    rna, atac = simulated["rna"].copy(), simulated["atac"].copy()
    rna.layers["counts"] = rna.X.copy()
    rna.X.data = np.log1p(rna.X.data)
    rna.write_h5ad(pair_folder / "rna.h5ad")
    atac.raw = atac.copy()
    atac = atac[:, :100].copy()
    atac.X = atac.X * 0.3
    atac.write_h5ad(pair_folder / "atac.h5ad")
    with pytest.warns(InputNote) as notes:
        mdata = scmvp.read(pair_folder)
    assert [("layer 'counts'" in str(n.message), ".raw" in str(n.message)) for n in notes] == [
        (True, False),
        (False, True),
    ]
    assert_same(mdata, simulated)


def test_counts_in_x_are_kept_without_a_word(pair_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputNote)
        scmvp.read(pair_folder)


# ---- cells


def test_cells_in_another_order_are_matched(pair_folder, simulated):
    order = np.random.default_rng(0).permutation(240)
    simulated["atac"][order].write_h5ad(pair_folder / "atac.h5ad")
    assert_same(scmvp.read(pair_folder), simulated)


def test_cells_of_one_modality_only(pair_folder, simulated, refused):
    simulated["atac"][5:].write_h5ad(pair_folder / "atac.h5ad")
    refused(lambda: scmvp.read(pair_folder), str(pair_folder), "5 only in RNA", "235 shared")


def test_join_keeps_further_columns_in_order(simulated):
    obs = simulated.obs[["ambient"]].iloc[::-1].rename(columns={"ambient": "noise"})
    mdata = join(simulated["rna"].copy(), simulated["atac"].copy(), obs=obs)
    np.testing.assert_array_equal(mdata.obs["noise"], simulated.obs["ambient"])


# ---- what cannot be read


def test_paths_that_lead_nowhere(tmp_path, refused):
    refused(lambda: scmvp.read(tmp_path / "none.h5mu"), "none.h5mu does not exist")
    (tmp_path / "empty").mkdir()
    refused(lambda: scmvp.read(tmp_path / "empty"), "neither rna.h5ad")
    (tmp_path / "cells.loom").write_text("")
    refused(lambda: scmvp.read(tmp_path / "cells.loom"), "not of a kind")


def test_h5mu_with_other_modalities(simulated, tmp_path, refused):
    MuData({"hto": simulated["rna"], "crispr": simulated["atac"]}).write(tmp_path / "cells.h5mu")
    for backed in (False, True):
        refused(
            lambda backed=backed: scmvp.read(tmp_path / "cells.h5mu", backed=backed),
            "none of the modalities RNA",
            "'crispr'",
            "rename",
        )


@pytest.mark.slow
def test_10x_without_known_features(simulated, tmp_path, refused):
    ten_x = TenX(simulated, ("Multiplexing Capture", "CRISPR Guide Capture"))
    ten_x.write_h5(tmp_path / "x.h5")
    ten_x.write_folder(tmp_path / "folder")
    for path in (tmp_path / "x.h5", tmp_path / "folder"):
        refused(lambda path=path: scmvp.read(path), "no features of type 'Gene Expr", "CRISPR")


def test_h5_that_is_not_10x(simulated, tmp_path, refused):
    simulated["rna"].write_h5ad(tmp_path / "x.h5")
    refused(lambda: scmvp.read(tmp_path / "x.h5"), "not a 10x")


@pytest.mark.slow
def test_truncated_files(simulated, ten_x, pair_folder, tmp_path, refused):
    """In other places: test_damaged.py."""
    simulated.write(tmp_path / "cells.h5mu")
    ten_x.write_h5(tmp_path / "x.h5")
    folder = ten_x.write_folder(tmp_path / "folder")
    for damaged, given in (
        (tmp_path / "cells.h5mu", tmp_path / "cells.h5mu"),
        (tmp_path / "x.h5", tmp_path / "x.h5"),
        (pair_folder / "atac.h5ad", pair_folder),
        (folder / "matrix.mtx.gz", folder),
    ):
        content = damaged.read_bytes()
        damaged.write_bytes(content[: int(0.99 * len(content))])
        refused(lambda given=given: scmvp.read(given), str(damaged), "truncated")


def test_a_bit_flipped_in_compressed_counts(ten_x, tmp_path, refused):
    path = ten_x.write_h5(tmp_path / "x.h5")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(bytes(content))
    refused(lambda: scmvp.read(path), str(path), "damaged")


def test_matrix_market_parts_that_do_not_fit(ten_x, tmp_path, refused):
    folder = ten_x.write_folder(tmp_path / "folder", gzipped=False)
    lines = (folder / "barcodes.tsv").read_text().splitlines()
    (folder / "barcodes.tsv").write_text("\n".join(lines[:-2]))
    refused(lambda: scmvp.read(folder), "900 x 240", "238 cells")
    (folder / "features.tsv").write_text("ENSG1\tA\n")
    refused(lambda: scmvp.read(folder), "features.tsv", "1 feature")
    (folder / "features.tsv").unlink()
    refused(lambda: scmvp.read(folder), "no features.tsv")


@pytest.mark.slow
def test_truncated_names(ten_x, tmp_path, refused):
    folder = ten_x.write_folder(tmp_path / "folder")
    content = (folder / "barcodes.tsv.gz").read_bytes()
    (folder / "barcodes.tsv.gz").write_bytes(content[:-20])
    with pytest.raises(EOFError), gzip.open(folder / "barcodes.tsv.gz") as file:
        file.read()
    refused(lambda: scmvp.read(folder), "barcodes.tsv.gz", "truncated")


@pytest.mark.slow
def test_values_that_are_not_counts_are_left_to_the_checks(pair_folder, simulated):
    rna = simulated["rna"].copy()
    rna.X.data = rna.X.data * 0.5
    rna.write_h5ad(pair_folder / "rna.h5ad")
    assert isinstance(scmvp.read(pair_folder)["rna"], AnnData)


# ---- names


@pytest.mark.parametrize(
    ("names", "unique"),
    [
        # what make.unique of R 4.2 answers
        (["a", "a", "a"], ["a", "a.1", "a.2"]),
        (["a", "a", "a.2", "a"], ["a", "a.1", "a.2", "a.3"]),
        (["a", "a.1", "a", "a.1"], ["a", "a.1", "a.2", "a.1.1"]),
        (["b", "a"], ["b", "a"]),
        ([], []),
    ],
)
def test_make_unique(names, unique):
    assert make_unique(names) == unique


@pytest.mark.parametrize(
    ("indices", "indptr", "sentence"),
    [
        ([0, 1], [0, 2, 1], "rows do not add up"),
        ([0, 1], [0, 1, 1], "rows do not add up"),
        ([0.7, 1.0], [0, 1, 2], "not whole numbers"),
    ],
)
def test_damaged_index_vectors_are_refused(indices, indptr, sentence):
    good = (np.ones(2, np.float32), np.array([0, 1]), np.array([0, 1, 2]))
    bad = (good[0], np.array(indices), np.array(indptr))
    with pytest.raises(scmvp.InputError, match=sentence):
        scmvp.from_parts(bad, good, ["a", "b"], ["g", "h"], ["p", "q"])


def test_a_byte_order_mark_is_no_part_of_a_name(ten_x, tmp_path):
    """Some editors and Excel put one in front of a text."""
    folder = ten_x.write_folder(tmp_path / "folder", gzipped=False)
    for name in ("barcodes.tsv", "features.tsv"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text, encoding="utf-8-sig")
    mdata = scmvp.read(folder)
    assert list(mdata.obs_names) == ten_x.cells
    assert mdata["rna"].var["gene_ids"].iloc[0] == ten_x.ids[0]
    (tmp_path / "peaks.bed").write_text("chr1\t1\t9\n", encoding="utf-8-sig")
    assert list(read_bed(tmp_path / "peaks.bed").chrom) == ["chr1"]


@pytest.mark.slow
def test_a_misnamed_file_is_read_for_what_it_is(simulated, ten_x, tmp_path, refused):
    simulated.write_h5mu(tmp_path / "cells.h5ad")
    simulated["rna"].write_h5ad(tmp_path / "rna.h5mu")
    for backed in (False, True):
        whole = scmvp.read(tmp_path / "cells.h5ad", backed=backed)
        rna = scmvp.read(tmp_path / "rna.h5mu", backed=backed, modalities="rna")
        if not backed:
            assert [*whole.mod] == ["rna", "atac"] and [*rna.mod] == ["rna"]
            whole, rna = check_paired(whole), check_paired(rna, modalities=["rna"])
        for read in (whole, rna):
            assert read.counts["rna"].shape == simulated["rna"].shape
            assert np.array_equal(read.genes, simulated["rna"].var_names)
    path = ten_x.write_h5(tmp_path / "cells.h5").rename(tmp_path / "tenx.h5ad")
    for backed in (False, True):
        refused(partial(scmvp.read, path, backed), f"{path} holds a 10x matrix", "ends in .h5")
    scmvp.read(path.rename(tmp_path / "again.h5"))


def _as_type(path, simulated, vectors, kind):
    """The simulated RNA in h5ad, with vectors of all its matrices as numbers of a kind."""
    rna = simulated["rna"][:30, :40].copy()
    rna.layers["counts"] = sp.csc_matrix(rna.X)
    rna.raw = rna
    rna.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        for matrix in ("X", "layers/counts", "raw/X"):
            for name in vectors:
                values = file[matrix][name][:].astype(kind)
                del file[matrix][name]
                file[matrix][name] = values
    return rna.X


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layer", ["X", "counts", "raw"])
@pytest.mark.parametrize("vectors", [["indices"], ["indptr"], ["data", "indices", "indptr"]])
def test_unsigned_indices_are_read(simulated, tmp_path, vectors, layer):
    """BPCells wrote them."""
    path = tmp_path / "rna.h5ad"
    counts = _as_type(path, simulated, vectors, "uint64")
    read = scmvp.read(path, modalities="rna", rna_layer=layer)
    assert (sp.csr_matrix(read["rna"].X) != counts).nnz == 0
    as_it_is = MuData({"rna": anndata.read_h5ad(path)})
    paired = check_paired(as_it_is, rna_layer=layer, modalities=["rna"])
    assert (paired.rna != counts).nnz == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [">i4", "float16"])
def test_numbers_that_scipy_lacks_stay_on_disk(simulated, tmp_path, refused, kind):
    path = tmp_path / "rna.h5ad"
    counts = _as_type(path, simulated, ["data"], kind)
    said = refused(lambda: scmvp.read(path), f"does not support dtype {kind})", "with backed=True")
    assert "damaged" not in said
    assert (scmvp.read(path, backed=True).rna[:] != counts).nnz == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_zarr_may_have_a_name_in_capitals(simulated, tmp_path):
    simulated.write_zarr(tmp_path / "CELLS.ZARR")
    simulated["rna"].write_zarr(tmp_path / "RNA.ZARR")
    for backed in (False, True):
        whole = check_paired(scmvp.read(tmp_path / "CELLS.ZARR", backed=backed))
        rna = scmvp.read(tmp_path / "RNA.ZARR", backed=backed, modalities="rna", rna_layer="X")
        rna = check_paired(rna, modalities=["rna"])
        assert whole.atac.shape == simulated["atac"].shape
        assert rna.rna.shape == simulated["rna"].shape


@pytest.mark.skipif(os.name == "nt", reason="HDF5 locks files as a whole there")
def test_a_locked_file_is_not_called_damaged(simulated, tmp_path, refused):
    path = tmp_path / "cells.h5mu"
    simulated.write_h5mu(path)
    holding = f"import h5py, sys; f = h5py.File({str(path)!r}, 'r+'); print(flush=True); input()"
    command = [sys.executable, "-c", holding]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        for backed in (False, True):
            refused(partial(scmvp.read, path, backed), f"{path} is open for writing in another")
        other.communicate(b"\n")
    assert scmvp.read(path).n_obs == simulated.n_obs
