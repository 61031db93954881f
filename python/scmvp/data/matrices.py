"""Matrices of counts: scipy's CSR in memory, or on disk with rows read as they are needed.

`DiskRows` takes the place of an in-memory CSR matrix: it has a shape and returns requested rows.
Functions that need all rows iterate over `blocks_of`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import scipy.sparse as sp

from ..errors import InputError, first_line
from ..files import stamp_of
from .claims import check_columns, check_rows

BLOCK_ENTRIES = 8_000_000  # non-zeros read at a time where all rows are gone through
BLOCK_CELLS = 4096
_RUN_CELLS = 512  # wanted rows read at a time
_NEAR_CELLS = 4  # gaps of up to this many unwanted rows are read rather than skipped

_CHUNK = 1 << 20


class Stored(Protocol):
    """A matrix in a file."""

    shape: tuple[int, int]
    n_bytes: int  # it would take in memory, as float32 and int32
    data: Any  # the dataset of its values

    def read(self, start: int, stop: int) -> sp.csr_matrix:
        """Consecutive rows, with any kind of values."""

    def row_limit(self, start: int) -> int:
        """End of the rows from `start` on that together hold about BLOCK_ENTRIES."""


def _full_block(indptr: np.ndarray, start: int) -> int:
    """End of the rows from `start` on that together hold at most BLOCK_ENTRIES, or of one row."""
    full = int(np.searchsorted(indptr, int(indptr[start]) + BLOCK_ENTRIES, side="right")) - 1
    return min(max(full, start + 1), len(indptr) - 1)


def _part(stored: Any, start: int, stop: int) -> np.ndarray:
    """A slice of an h5py or zarr dataset; damage may only be found long after it was opened."""
    try:
        return stored[start:stop]
    except Exception as error:  # many error types, depending on which byte is damaged
        file, name = place_of(stored)
        raise InputError(
            f"{file} cannot be read any more (damaged?): '{name}', {first_line(error)}; "
            "copy or write it again"
        ) from error


def place_of(dataset: Any) -> tuple[str, str]:
    """The file of a dataset, and its name there."""
    of_hdf5 = getattr(dataset, "file", None)
    file = dataset.store if of_hdf5 is None else of_hdf5.filename
    return str(getattr(file, "path", getattr(file, "root", file))), dataset.name


class _Folders:
    """Watches the folders of zarr arrays for missing chunks, which zarr would read as zeros."""

    def __init__(self, *arrays: Any):
        self.arrays = [array for array in arrays if hasattr(array, "store")]
        tops = (Path(file, name.strip("/")) for file, name in map(place_of, self.arrays))
        self._stamps = {
            Path(folder): stamp_of(Path(folder)) for top in tops for folder, _, _ in os.walk(top)
        }

    def refuse_change(self) -> None:
        """Raise an error if chunks have changed; call after reading, to cover the whole read."""
        if any(stamp_of(folder) != stamp for folder, stamp in self._stamps.items()):
            file, name = place_of(self.arrays[0])
            raise InputError(
                f"{file} is not what was opened: '{name}' has been changed, moved or deleted; read "
                "it again, and leave it in its place as long as it is used"
            )


class StoredCsr:
    """The three vectors of a CSR matrix; `data` and `indices` stay on disk."""

    def __init__(self, data: Any, indices: Any, indptr: np.ndarray, shape: tuple[int, int]):
        check_rows(indptr, shape[0], indices.shape[0], data.shape[0], "the matrix on disk")
        self.data, self.indices = data, indices
        self.indptr = np.asarray(indptr, dtype=np.int64)
        self.shape = shape
        self.n_bytes = 8 * int(self.indptr[-1])
        self._folders = _Folders(data, indices)

    def read(self, start: int, stop: int) -> sp.csr_matrix:
        """Consecutive rows."""
        first, last = self.indptr[start], self.indptr[stop]
        values, indices = (_part(stored, first, last) for stored in (self.data, self.indices))
        self._folders.refuse_change()
        parts = values, indices, self.indptr[start : stop + 1]
        check_columns(parts[1], self.shape[1], "the matrix on disk")
        shape = stop - start, self.shape[1]
        return sp.csr_matrix((plain_numbers(parts[0]), parts[1], parts[2] - first), shape=shape)

    def row_limit(self, start: int) -> int:
        """End of a block of rows."""
        return min(_full_block(self.indptr, start), start + BLOCK_CELLS)


class StoredDense:
    """A dense (cells, features) dataset."""

    def __init__(self, data: Any):
        self.data = data
        self.shape = tuple(data.shape)
        self.n_bytes = 8 * self.shape[0] * self.shape[1]
        self._folders = _Folders(data)

    def read(self, start: int, stop: int) -> sp.csr_matrix:
        """Consecutive rows."""
        values = _part(self.data, start, stop)
        self._folders.refuse_change()
        return sp.csr_matrix(plain_numbers(values))

    def row_limit(self, start: int) -> int:
        """End of a block of rows."""
        rows = max(1, BLOCK_ENTRIES // max(1, self.shape[1]))
        return min(start + min(rows, BLOCK_CELLS), self.shape[0])


class DiskRows:
    """Counts of a matrix on disk; a row is float32 CSR, sorted, without stored zeros."""

    def __init__(
        self,
        stored: Stored,
        columns: np.ndarray | None = None,
        order: np.ndarray | None = None,
        fragments: bool = False,
    ):
        """Nothing is read yet.

        Args:
            stored: The matrix.
            columns: Which of its columns, in which order, -1 for one without counts; all when None.
            order: Which of its rows, in which order, -1 for one without counts; all when None.
            fragments: Give (y + 1) // 2 in the place of y (docs/decisions, D6).
        """
        self.stored, self.columns, self.order, self.fragments = stored, columns, order, fragments
        n_rows = stored.shape[0] if order is None else len(order)
        n_columns = stored.shape[1] if columns is None else len(columns)
        self.shape = (n_rows, n_columns)
        self._place: np.ndarray | None = None  # new number of each stored column, -1: left out
        if columns is not None:
            self._place = _places(columns, stored.shape[1])

    def of_columns(self, columns: np.ndarray) -> DiskRows:
        """Some of the columns, in the order asked for; -1 for a column without counts."""
        if self.columns is not None:
            columns = np.where(columns < 0, -1, self.columns[columns])
        return DiskRows(self.stored, columns, self.order, self.fragments)

    def of_rows(self, order: np.ndarray) -> DiskRows:
        """Some of the rows, in the order asked for; -1 for a row without counts."""
        if self.order is not None:
            order = np.where(order < 0, -1, self.order[order])
        return DiskRows(self.stored, self.columns, order, self.fragments)

    def in_fragments(self) -> DiskRows:
        """Fragments of insertions."""
        return DiskRows(self.stored, self.columns, self.order, fragments=True)

    def __getitem__(self, rows: slice | np.ndarray) -> sp.csr_matrix:
        """Rows in the order asked for."""
        return self._as_counts(self.raw(rows))

    def raw(self, rows: slice | np.ndarray) -> sp.csr_matrix:
        """The same with the values as they are stored."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self.shape[0]))
        stored: np.ndarray = rows if self.order is None else self.order[rows]
        here: np.ndarray = stored >= 0
        if here.all():
            return self._stored_rows(stored)
        return _with_empty_rows(self._stored_rows(stored[here]), here)

    def _stored_rows(self, rows: np.ndarray) -> sp.csr_matrix:
        if not len(rows):
            return sp.csr_matrix((0, self.shape[1]), dtype=np.float32)
        wanted, position = np.unique(rows, return_inverse=True)
        far = np.diff(wanted) > _NEAR_CELLS
        far[_RUN_CELLS - 1 :: _RUN_CELLS] = True
        parts = []
        for run in np.split(wanted, np.flatnonzero(far) + 1):
            block = self.stored.read(int(run[0]), int(run[-1]) + 1)
            parts.append(block if len(run) == block.shape[0] else block[run - run[0]])
        found = parts[0] if len(parts) == 1 else sp.vstack(parts, format="csr")
        if (position != np.arange(len(rows))).any():
            found = found[position]
        return found if self._place is None else _moved(found, self._place, self.shape[1])

    def blocks(self, raw: bool = False) -> Iterator[sp.csr_matrix]:
        """All rows in order, part by part."""
        start = 0
        while start < self.shape[0]:
            # as many rows as a block would have if they were the rows stored at these positions
            stop = min(self.stored.row_limit(min(start, self.stored.shape[0] - 1)), self.shape[0])
            rows = slice(start, max(stop, start + 1))
            yield self.raw(rows) if raw else self[rows]
            start = rows.stop

    def _as_counts(self, raw: sp.csr_matrix) -> sp.csr_matrix:
        data = raw.data.astype(np.float32)
        counts = sp.csr_matrix((data, raw.indices, raw.indptr), shape=raw.shape)
        counts.sum_duplicates()  # sorts the indices, too; nothing is done where all is in order
        if not counts.data.all():
            counts.eliminate_zeros()
        if self.fragments:
            np.ceil(counts.data / 2, out=counts.data)
        return counts


@dataclass(frozen=True)
class DiskColumns:
    """A matrix stored on disk by columns: it can be iterated over, but not read by rows.

    Attributes:
        transposed: The same, features x cells.
    """

    transposed: DiskRows


Matrix: TypeAlias = sp.csr_matrix | DiskRows


def columns_of(counts: Matrix, columns: np.ndarray) -> Matrix:
    """Some of the columns, in the order asked for; -1 for a column without counts."""
    if isinstance(counts, DiskRows):
        return counts.of_columns(columns)
    found = _moved(counts, _places(columns, counts.shape[1]), len(columns))
    found.sort_indices()
    return found


def _places(columns: np.ndarray, n: int) -> np.ndarray:
    """New number of each of n columns, -1 for one that is left out."""
    place = np.full(n, -1, np.int32)
    here = columns >= 0
    place[columns[here]] = np.flatnonzero(here)
    return place


def _moved(counts: sp.csr_matrix, place: np.ndarray, n: int) -> sp.csr_matrix:
    """The same rows with each column at its new place among n."""
    column = place[counts.indices]
    chosen = column >= 0
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(chosen)])
    parts = counts.data[chosen], column[chosen], before[counts.indptr]
    return sp.csr_matrix(parts, shape=(counts.shape[0], n))


def rows_of(counts: Matrix, order: np.ndarray) -> Matrix:
    """Some of the rows, in the order asked for; -1 for a row without counts."""
    if isinstance(counts, DiskRows):
        return counts.of_rows(order)
    if (here := order >= 0).all():
        return counts[order]
    return _with_empty_rows(counts[order[here]], here)


def evenly(n: int, at_most: int) -> np.ndarray:
    """Positions of at most so many of n rows, at even distances: files are often sorted."""
    return np.linspace(0, n - 1, min(n, at_most)).astype(int)


def _with_empty_rows(counts: sp.csr_matrix, here: np.ndarray) -> sp.csr_matrix:
    """Rows of `counts` where `here` (n_rows,) is true, at their places; other rows are empty."""
    size = np.zeros(len(here), np.int64)
    size[here] = np.diff(counts.indptr)
    indptr = np.concatenate([np.zeros(1, np.int64), size.cumsum()])
    parts = (counts.data, counts.indices, indptr.astype(counts.indptr.dtype))
    return sp.csr_matrix(parts, shape=(len(here), counts.shape[1]))


def blocks_of(counts: Matrix) -> Iterator[sp.csr_matrix]:
    """All rows in order: a matrix in memory unchanged, a matrix on disk in blocks."""
    if isinstance(counts, DiskRows):
        yield from counts.blocks()
    else:
        yield counts


def pieces_of(counts: Matrix) -> Iterator[sp.csr_matrix]:
    """`blocks_of` for callers that copy each block: in-memory matrices are split, too."""
    if isinstance(counts, DiskRows):
        yield from counts.blocks()
        return
    start = 0
    while start < counts.shape[0]:
        stop = _full_block(counts.indptr, start)
        yield counts[start:stop]
        start = stop


def in_memory(counts: Matrix) -> sp.csr_matrix:
    """The whole matrix as scipy's, itself where it is that already."""
    return counts[:] if isinstance(counts, DiskRows) else counts


def feature_cells(counts: Matrix) -> np.ndarray:
    """Number of cells in which each feature is seen; (n_features,) int64.

    Args:
        counts: Cells x features, canonical (no stored zeros).
    """
    seen = np.zeros(counts.shape[1], np.int64)
    for block in blocks_of(counts):
        for _, indices in chunks(block.indices):
            seen += np.bincount(indices, minlength=len(seen))
    return seen


def feature_totals(counts: Matrix) -> np.ndarray:
    """Counts of each feature over all cells; (n_features,) float64."""
    totals = np.zeros(counts.shape[1])
    for block in blocks_of(counts):
        totals += np.asarray(block.sum(axis=0, dtype=np.float64)).ravel()
    return totals


def cell_totals(counts: Matrix) -> np.ndarray:
    """Counts of each cell over all features; (n_cells,), of the type of the counts."""
    return np.concatenate([np.asarray(block.sum(1)).ravel() for block in blocks_of(counts)])


def entries_of_cells(counts: Matrix) -> np.ndarray:
    """Number of features seen in each cell; (n_cells,) int64."""
    return np.concatenate([np.diff(block.indptr) for block in blocks_of(counts)])


# ---- any matrix ----------------------------------------------------------------------------------


def matrix_of(values: Any) -> Matrix | None:
    """Cells x features of any matrix type as CSR, left on disk if stored there; None: not numbers.

    Args:
        values: Sparse matrix or array of any format, dense array, on-disk matrix of AnnData,
            dataset of h5py or zarr.
    """
    if (stored := on_disk(values)) is not None:
        return stored
    for method in ("to_memory", "compute"):  # AnnData's matrices on disk; dask
        if hasattr(values, method):
            values = getattr(values, method)()
    if np.ma.isMaskedArray(values) and np.ma.getmaskarray(values).any():
        return None  # what is behind a mask is not a count
    if not sp.issparse(values):
        values = np.asarray(values)
        if values.ndim != 2:
            return None
    if values.dtype.kind not in "biuf":
        return None
    values = plain_indices(plain_numbers(values))
    if isinstance(values, sp.csr_matrix):
        return values
    if sp.issparse(values) and values.format == "csr":  # an array: the same vectors as a matrix
        return with_structure(values.data, values)
    if sp.issparse(values) and values.dtype.itemsize < 4:
        values = values.astype(np.float32)  # entries given twice are summed: not in 8 bits
    return sp.csr_matrix(values)


def with_structure(data: np.ndarray, like: Any) -> sp.csr_matrix:
    """A CSR matrix of other values where `like` has its own, sharing its index vectors."""
    view = sp.csr_matrix((data, like.indices, like.indptr), shape=like.shape)
    view.has_canonical_format = like.has_canonical_format
    return view


def entries_once(values: Any) -> sp.csr_matrix:
    """Any matrix in memory as float64 CSR with each entry once, in order, as R keeps its own.

    Raises:
        InputError: It does not hold numbers.
    """
    matrix = matrix_of(values)
    if matrix is None:
        raise InputError("a matrix of counts does not hold numbers; write the file again")
    matrix = in_memory(matrix).astype(np.float64)  # entries given twice are summed: not in 8 bits
    matrix.sum_duplicates()
    return matrix


def plain_numbers(values: Any) -> Any:
    """Numbers as they are, unless of a kind or byte order that scipy cannot work with."""
    if values.dtype == np.float16:
        return values.astype(np.float32)
    if values.dtype == np.longdouble:
        return values.astype(np.float64)
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def plain_indices(values: Any) -> Any:
    """The same with index vectors that scipy can compute with, where a file had unsigned ones."""
    if not sp.issparse(values) or values.format not in ("csr", "csc"):
        return values
    if all(of.dtype in (np.int32, np.int64) for of in (values.indices, values.indptr)):
        return values
    return type(values)((values.data, values.indices, values.indptr), shape=values.shape)


def on_disk(values: Any) -> DiskRows | None:
    """Rows of what stays on disk; None for a matrix in memory, or by columns."""
    if isinstance(values, DiskRows):
        return values
    if hasattr(values, "group") and getattr(values, "format", None) == "csr":
        group = values.group
        return DiskRows(
            StoredCsr(group["data"], group["indices"], group["indptr"][:], values.shape)
        )
    # datasets of h5py and zarr, by what they have in common and arrays in memory lack
    if hasattr(values, "chunks") and hasattr(values, "attrs") and len(values.shape) == 2:
        return DiskRows(StoredDense(values))
    return None


def chunks(data: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Parts of a vector, or of an array as one, and where each starts."""
    flat = data.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        yield start, flat[start : start + _CHUNK]
