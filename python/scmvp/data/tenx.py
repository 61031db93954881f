"""Files of 10x Genomics: one matrix of genes and peaks, in HDF5 or as a MatrixMarket folder."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp
from mudata import MuData

from ..arguments import Names
from ..errors import InputError
from ..files import WatchedFile
from ..progress import Report
from ..words import count_of
from .claims import check_matrix_market, open_hdf5, open_text
from .containers import as_names, columns_by_type, make_unique
from .formats import ACCEPTED, MATRIX_FILES, damage_reported, in_file, plain_or_gzipped
from .joining import adata_of, csr_from_parts, join_all


def read_10x_h5(path: Path, report: Report) -> MuData:
    """A 10x .h5 with genes, and peaks or proteins."""
    with damage_reported(path, "10x .h5 file"), WatchedFile(path, report) as source:
        with open_hdf5(path, source) as file:
            group, cells, var = names_of_10x(file, path)
            vectors = tuple(group[name][:] for name in ("data", "indices", "indptr"))
    with in_file(path):
        matrix = csr_from_parts(vectors, (len(cells), len(var)), None)
    del vectors
    return _split_by_type(matrix, cells, var, path)


def names_of_10x(file: h5py.File, path: Path) -> tuple[h5py.Group, np.ndarray, pd.DataFrame]:
    """Matrix group of a 10x file, names of its cells, and its features, indexed by gene or peak."""
    if "matrix" not in file or "features" not in file["matrix"]:
        raise InputError(
            f"{path} is not a 10x feature-barcode matrix with feature types (Cell Ranger 3 or "
            f"later); {ACCEPTED}"
        )
    group = file["matrix"]
    n_features, n_cells = (int(size) for size in group["shape"][:])
    cells = _strings(group["barcodes"])
    features = {
        name: _strings(group["features"][name])
        for name in ("id", "name", "feature_type", "genome")
        if name in group["features"]
    }
    if "feature_type" not in features or "name" not in features:
        raise InputError(
            f"{path} does not state which features are genes and which are peaks; {ACCEPTED}"
        )
    sizes = {len(names) for names in features.values()}
    if sizes != {n_features} or len(cells) != n_cells:
        raise InputError(
            f"{path} is damaged: it has {count_of(n_features, 'feature')} x "
            f"{count_of(n_cells, 'cell')}, but names for {min(sizes):,} and {len(cells):,}; make "
            "the file again"
        )
    var = pd.DataFrame(
        {
            "gene_ids": features.get("id", features["name"]),
            "feature_types": features["feature_type"],
        },
        index=features["name"],
    )
    if "genome" in features:
        var["genome"] = features["genome"]
    return group, cells, var


def read_matrix_market(path: Path, report: Report) -> MuData:
    """A folder with matrix.mtx and the names of its rows and columns.

    Raises:
        InputError: A file is missing, or they do not fit each other.
    """
    found = {name: plain_or_gzipped(path, name) for name in MATRIX_FILES}
    if found["features.tsv"] is None and plain_or_gzipped(path, "genes.tsv") is not None:
        raise InputError(
            f"{path} holds genes.tsv as Cell Ranger 2 wrote it, which does not state which "
            "features are peaks; write the two as rna.h5ad and atac.h5ad into one folder, or "
            "as features.tsv with the columns id, name and type ('Gene Expression' or 'Peaks')"
        )
    lacking = [name for name, file in found.items() if file is None]
    if lacking:
        raise InputError(
            f"{path} holds matrix.mtx but no {' and no '.join(lacking)}; put the three files "
            "of one run into the folder"
        )
    matrix, features, barcodes = (file for file in found.values() if file is not None)
    return _read_three_files(path, matrix, features, barcodes, report)


def _read_three_files(
    folder: Path, matrix: Path, features: Path, barcodes: Path, report: Report
) -> MuData:
    cells = [row[0] for row in _read_table(barcodes)]
    rows = _read_table(features)
    if any(len(row) < 3 for row in rows):
        raise InputError(
            f"{features} needs three columns (id, name, feature type) to tell genes from peaks"
        )
    var = pd.DataFrame(
        {"gene_ids": [row[0] for row in rows], "feature_types": [row[2] for row in rows]},
        index=[row[1] for row in rows],
    )
    if all(len(row) >= 6 and row[4].isdigit() and row[5].isdigit() for row in rows):
        var["chrom"] = [row[3] for row in rows]
        var["start"] = [int(row[4]) for row in rows]
        var["end"] = [int(row[5]) for row in rows]

    def other_size(size: tuple[int, int]) -> InputError:
        return InputError(
            f"{matrix} is {size[0]} x {size[1]}, but {features.name} names "
            f"{count_of(len(var), 'feature')} and {barcodes.name} names "
            f"{count_of(len(cells), 'cell')}; give the three files of one run"
        )

    with damage_reported(matrix, "MatrixMarket file"):
        claimed = check_matrix_market(matrix, (len(var), len(cells)))
        if claimed != (len(var), len(cells)):
            raise other_size(claimed)
        with open_text(matrix, report) as file:
            stored = scipy.io.mmread(file)
    if stored.shape != (len(var), len(cells)):
        raise other_size(stored.shape)
    return _split_by_type(sp.csr_matrix(stored.T), cells, var, folder)


def _read_table(path: Path) -> list[list[str]]:
    with damage_reported(path, "table"), open_text(path) as content:
        with io.TextIOWrapper(content, encoding="utf-8-sig") as file:
            return [line.rstrip("\r\n").split("\t") for line in file if line.strip()]


def _strings(dataset: h5py.Dataset) -> np.ndarray:
    return np.array(dataset.asstr()[:], dtype=object)


def _split_by_type(matrix: sp.csr_matrix, cells: Names, var: pd.DataFrame, path: Path) -> MuData:
    """Split a matrix of all features into the modalities; the index of `var` may repeat."""
    # Seurat makes names unique over all features before it splits them.
    names = np.array(make_unique(var.index), dtype=object)
    parts = {}
    for modality, chosen in columns_by_type(var["feature_types"], str(path)).items():
        columns = var.iloc[chosen]
        if modality != "rna":
            columns = columns.drop(columns="gene_ids")
        adata = adata_of(_columns(matrix, chosen), as_names(cells), as_names(names[chosen]))
        adata.var = columns.set_axis(adata.var_names, axis=0)
        parts[modality] = adata
    with in_file(path):
        return join_all(parts)


def _columns(matrix: sp.csr_matrix, chosen: np.ndarray) -> sp.csr_matrix:
    """Columns of a CSR matrix; `chosen` is sorted."""
    if chosen[-1] - chosen[0] + 1 == len(chosen):
        return matrix[:, chosen[0] : chosen[-1] + 1]
    return matrix[:, chosen]
