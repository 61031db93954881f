"""Files of 10x Genomics: one matrix of genes and peaks, in HDF5 or as a MatrixMarket folder."""

from __future__ import annotations

import gzip
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
from .formats import ACCEPTED, MATRIX_FILES, damage_reported, in_file, plain_or_gzipped
from .joining import adata_of, csr_from_parts, join_all
from .names import as_names, make_unique
from .types import FEATURE_TYPES, Expected, columns_by_type


def read_10x_h5(path: Path, report: Report, expected: Expected) -> MuData:
    """A 10x .h5 of any modalities."""
    with damage_reported(path, "10x .h5 file"), WatchedFile(path, report) as source:
        with open_hdf5(path, source) as file:
            group, cells, var = names_of_10x(file, path)
            vectors = tuple(group[name][:] for name in ("data", "indices", "indptr"))
    with in_file(path):
        matrix = csr_from_parts(vectors, (len(cells), len(var)), None)
    del vectors
    return _split_by_type(matrix, cells, var, path, expected)


def columns_of_10x(var: pd.DataFrame, path: Path, expected: Expected) -> dict[str, np.ndarray]:
    """Positions of the features of each modality to read."""
    if "feature_types" not in var:
        only = expected.of_names(as_names(var.index), str(path))
        return {only: np.arange(len(var))}
    columns = columns_by_type(var["feature_types"], str(path))
    with in_file(path):
        return {modality: columns[modality] for modality in expected.chosen(columns)}


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


def read_matrix_market(path: Path, report: Report, expected: Expected) -> MuData:
    """A folder with matrix.mtx and the names of its rows and columns.

    Raises:
        InputError: A file is missing, or they do not fit each other.
    """
    found = {names[0]: plain_or_gzipped(path, *names) for names in MATRIX_FILES}
    lacking = [name for name, file in found.items() if file is None]
    if lacking:
        raise InputError(
            f"{path} holds matrix.mtx but no {' and no '.join(lacking)}; put the three files "
            "of one run into the folder"
        )
    matrix, features, barcodes = (file for file in found.values() if file is not None)
    cells = [row[0] for row in _read_table(barcodes)]
    var = _table_of_features(features)

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
            stored = scipy.io.mmread(_UntilClosed(file))
    if stored.shape != (len(var), len(cells)):
        raise other_size(stored.shape)
    return _split_by_type(sp.csr_matrix(stored.T), cells, var, path, expected)


def _table_of_features(path: Path) -> pd.DataFrame:
    """Features by name, with 'feature_types' where these are known, and the places of peaks."""
    rows = _read_table(path)
    if path.name.startswith("peaks.bed"):
        if any(len(row) < 3 or not (row[1] + row[2]).isdigit() for row in rows):
            raise InputError(f"{path} needs the columns chromosome, start and end in every line")
        var = pd.DataFrame(
            {"feature_types": FEATURE_TYPES["atac"]},
            index=[f"{row[0]}:{row[1]}-{row[2]}" for row in rows],
        )
        return _with_places(var, [row[:3] for row in rows])
    n_columns = min(map(len, rows), default=0)
    names = [row[min(n_columns, 2) - 1] for row in rows]
    var = pd.DataFrame({"gene_ids": [row[0] for row in rows]}, index=names)
    if n_columns >= 3:
        var["feature_types"] = [row[2] for row in rows]
    if all(len(row) >= 6 and row[4].isdigit() and row[5].isdigit() for row in rows):
        return _with_places(var, [row[3:6] for row in rows])
    return var


def _with_places(var: pd.DataFrame, places: list[list[str]]) -> pd.DataFrame:
    var["chrom"] = [place[0] for place in places]
    var["start"] = [int(place[1]) for place in places]
    var["end"] = [int(place[2]) for place in places]
    return var


class _UntilClosed:
    """A file that scipy may go on using when an interrupt has closed it.

    Its reader goes back in the file when it ends; an error there would end the process.
    """

    def __init__(self, file: io.BufferedReader | gzip.GzipFile):
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return b"" if self._file.closed else self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return 0 if self._file.closed else self._file.seek(offset, whence)

    def tell(self) -> int:
        return 0 if self._file.closed else self._file.tell()


def _read_table(path: Path) -> list[list[str]]:
    with damage_reported(path, "table"), open_text(path) as content:
        with io.TextIOWrapper(content, encoding="utf-8-sig") as file:
            return [line.rstrip("\r\n").split("\t") for line in file if line.strip()]


def _strings(dataset: h5py.Dataset) -> np.ndarray:
    return np.array(dataset.asstr()[:], dtype=object)


def _split_by_type(
    matrix: sp.csr_matrix, cells: Names, var: pd.DataFrame, path: Path, expected: Expected
) -> MuData:
    """Split a matrix of all features into the modalities; the index of `var` may repeat."""
    # Seurat makes names unique over all features before it splits them.
    names = np.array(make_unique(var.index), dtype=object)
    parts = {}
    for modality, chosen in columns_of_10x(var, path, expected).items():
        columns = var.iloc[chosen]
        if modality != "rna":
            columns = columns.drop(columns="gene_ids", errors="ignore")
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
