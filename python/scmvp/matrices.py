"""Matrices of counts: scipy's CSR in memory, or on disk with rows read as they are needed.

`DiskRows` stands where a CSR matrix in memory would: it has a shape and gives the rows asked for.
What needs all rows goes through `blocks_of`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from .claims import check_columns, check_rows

BLOCK_ENTRIES = 8_000_000  # non-zeros read at a time where all rows are gone through
_BLOCK_CELLS = 4096
_RUN_CELLS = 512  # wanted rows read at a time
_NEAR_CELLS = 4  # rows between two wanted ones that are read along rather than sought past


class Stored(Protocol):
    """A matrix in a file."""

    shape: tuple[int, int]
    n_bytes: int  # it would take in memory, as float32 and int32

    def read(self, start: int, stop: int) -> sp.csr_matrix:
        """Consecutive rows, with any kind of values."""

    def row_limit(self, start: int) -> int:
        """End of the rows from `start` on that together hold about BLOCK_ENTRIES."""


def _full_block(indptr: np.ndarray, start: int) -> int:
    """End of the rows from `start` on that together hold at most BLOCK_ENTRIES, or of one row."""
    full = np.searchsorted(indptr, int(indptr[start]) + BLOCK_ENTRIES, side="right") - 1
    return int(min(max(full, start + 1), len(indptr) - 1))


class StoredCsr:
    """The three vectors of a CSR matrix; `data` and `indices` stay on disk."""

    def __init__(self, data: Any, indices: Any, indptr: np.ndarray, shape: tuple[int, int]):
        check_rows(indptr, shape[0], indices.shape[0], data.shape[0], "the matrix on disk")
        self.data, self.indices = data, indices
        self.indptr = np.asarray(indptr, dtype=np.int64)
        self.shape = shape
        self.n_bytes = 8 * int(self.indptr[-1])

    def read(self, start: int, stop: int) -> sp.csr_matrix:
        """Consecutive rows."""
        first, last = self.indptr[start], self.indptr[stop]
        parts = self.data[first:last], self.indices[first:last], self.indptr[start : stop + 1]
        check_columns(parts[1], self.shape[1], "the matrix on disk")
        shape = stop - start, self.shape[1]
        return sp.csr_matrix((parts[0], parts[1], parts[2] - first), shape=shape)

    def row_limit(self, start: int) -> int:
        """End of a block of rows."""
        return min(_full_block(self.indptr, start), start + _BLOCK_CELLS)


class StoredDense:
    """A dense (cells, features) dataset."""

    def __init__(self, values: Any):
        self.values = values
        self.shape = tuple(values.shape)
        self.n_bytes = 8 * self.shape[0] * self.shape[1]

    def read(self, start: int, stop: int) -> sp.csr_matrix:
        """Consecutive rows."""
        return sp.csr_matrix(self.values[start:stop])

    def row_limit(self, start: int) -> int:
        """End of a block of rows."""
        rows = max(1, BLOCK_ENTRIES // max(1, self.shape[1]))
        return min(start + min(rows, _BLOCK_CELLS), self.shape[0])


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
            columns: Which of its columns, in which order; all when None.
            order: Which of its rows, in which order, -1 for one without counts; all when None.
            fragments: Give (y + 1) // 2 in the place of y (docs/MODEL.md, D6).
        """
        self.stored, self.columns, self.order, self.fragments = stored, columns, order, fragments
        n_rows = stored.shape[0] if order is None else len(order)
        n_columns = stored.shape[1] if columns is None else len(columns)
        self.shape = (n_rows, n_columns)
        self._place: np.ndarray | None = None  # new number of each stored column, -1: left out
        if columns is not None:
            self._place = np.full(stored.shape[1], -1, np.int32)
            self._place[columns] = np.arange(n_columns, dtype=np.int32)

    def of_columns(self, columns: np.ndarray) -> DiskRows:
        """Some of the columns, in the order asked for."""
        columns = columns if self.columns is None else self.columns[columns]
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
        if self.order is not None:
            rows = self.order[rows]
        if (here := rows >= 0).all():
            return self._stored_rows(rows)
        return _with_empty_rows(self._stored_rows(rows[here]), here)

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
        return found if self._place is None else self._of_columns(found)

    def blocks(self, raw: bool = False) -> Iterator[sp.csr_matrix]:
        """All rows in order, part by part."""
        start = 0
        while start < self.shape[0]:
            # as many as are as long as the rows stored at these places
            stop = min(self.stored.row_limit(min(start, self.stored.shape[0] - 1)), self.shape[0])
            rows = slice(start, max(stop, start + 1))
            yield self.raw(rows) if raw else self[rows]
            start = rows.stop

    def _of_columns(self, stored: sp.csr_matrix) -> sp.csr_matrix:
        column = self._place[stored.indices]
        chosen = column >= 0
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(chosen)])
        parts = stored.data[chosen], column[chosen], before[stored.indptr]
        return sp.csr_matrix(parts, shape=(stored.shape[0], self.shape[1]))

    def _as_counts(self, raw: sp.csr_matrix) -> sp.csr_matrix:
        data = raw.data.astype(np.float32)
        counts = sp.csr_matrix((data, raw.indices, raw.indptr), shape=raw.shape)
        counts.sum_duplicates()  # sorts the indices, too; nothing is done where all is in order
        if not counts.data.all():
            counts.eliminate_zeros()
        if self.fragments:
            np.ceil(counts.data / 2, out=counts.data)
        return counts


Matrix = sp.csr_matrix | DiskRows


def rows_of(counts: Matrix, order: np.ndarray) -> Matrix:
    """Some of the rows, in the order asked for; -1 for a row without counts."""
    if isinstance(counts, DiskRows):
        return counts.of_rows(order)
    if (here := order >= 0).all():
        return counts[order]
    return _with_empty_rows(counts[order[here]], here)


def _with_empty_rows(counts: sp.csr_matrix, here: np.ndarray) -> sp.csr_matrix:
    """The rows of `counts` where `here` (n_rows,) is true, none of them moved; empty ones else."""
    size = np.zeros(len(here), np.int64)
    size[here] = np.diff(counts.indptr)
    indptr = np.concatenate([np.zeros(1, np.int64), size.cumsum()])
    parts = (counts.data, counts.indices, indptr.astype(counts.indptr.dtype))
    return sp.csr_matrix(parts, shape=(len(here), counts.shape[1]))


def blocks_of(counts: Matrix) -> Iterator[sp.csr_matrix]:
    """All rows in order: a matrix in memory as it is, one on disk part by part."""
    if isinstance(counts, DiskRows):
        yield from counts.blocks()
    else:
        yield counts


def pieces_of(counts: Matrix) -> Iterator[sp.csr_matrix]:
    """`blocks_of` for what copies a block: one in memory comes part by part, too."""
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
    n = counts.shape[1]
    return sum(np.bincount(block.indices, minlength=n) for block in blocks_of(counts))


def feature_totals(counts: Matrix) -> np.ndarray:
    """Counts of each feature over all cells; (n_features,) float64."""
    totals = np.zeros(counts.shape[1])
    for block in blocks_of(counts):
        totals += np.asarray(block.sum(axis=0, dtype=np.float64)).ravel()
    return totals


def entries_of_cells(counts: Matrix) -> np.ndarray:
    """Number of features seen in each cell; (n_cells,) int64."""
    return np.concatenate([np.diff(block.indptr) for block in blocks_of(counts)])
