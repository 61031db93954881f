"""Rows of matrices on disk against the same matrix in memory."""

import numpy as np
import pytest
import scipy.sparse as sp

from scmvp.data import matrices
from scmvp.data.matrices import (
    DiskRows,
    StoredCsr,
    StoredDense,
    entries_of_cells,
    feature_cells,
    feature_totals,
)

N, F = 70, 12


@pytest.fixture(autouse=True)
def small_reads(monkeypatch):
    """Many blocks and runs."""
    monkeypatch.setattr(matrices, "BLOCK_ENTRIES", 40)
    monkeypatch.setattr(matrices, "_RUN_CELLS", 5)
    monkeypatch.setattr(matrices, "_NEAR_CELLS", 2)


@pytest.fixture(scope="module")
def counts() -> sp.csr_matrix:
    dense = np.random.default_rng(0).poisson(0.6, (N, F)).astype(np.float32)
    dense[10] = 0
    return sp.csr_matrix(dense)


def untidy(counts: sp.csr_matrix) -> StoredCsr:
    """The same counts with unsorted columns, an entry in two parts and a stored zero."""
    data, indices, indptr = [], [], [0]
    for row in counts:
        columns, values = row.indices[::-1].tolist(), row.data[::-1].tolist()
        if columns and values[0] > 1:
            columns, values = [*columns, columns[0]], [1.0, *values[1:], values[0] - 1]
        free = next(iter(set(range(F)) - set(columns)))
        data += [*values, 0.0]
        indices += [*columns, free]
        indptr.append(len(data))
    return StoredCsr(np.array(data), np.array(indices), np.array(indptr), counts.shape)


def stored(counts: sp.csr_matrix, kind: str):
    if kind == "dense":
        return StoredDense(counts.toarray().astype(np.int64))
    if kind == "untidy":
        return untidy(counts)
    return StoredCsr(counts.data, counts.indices, counts.indptr, counts.shape)


def assert_same(found: sp.csr_matrix, expected: np.ndarray) -> None:
    assert found.dtype == np.float32
    assert found.has_canonical_format and found.data.all()
    np.testing.assert_array_equal(found.toarray(), expected)


@pytest.mark.parametrize("kind", ["csr", "untidy", "dense"])
def test_rows_are_those_of_the_matrix(counts, kind):
    rows = DiskRows(stored(counts, kind))
    dense = counts.toarray()
    for wanted in (
        np.random.default_rng(1).integers(N, size=40),  # in any order, some twice
        np.arange(N),
        np.array([N - 1]),
        np.array([], dtype=int),
        slice(3, 20),
        slice(None),
    ):
        assert_same(rows[wanted], dense[wanted])


@pytest.mark.parametrize("kind", ["csr", "untidy", "dense"])
def test_columns_rows_and_fragments_are_chosen_together(counts, kind):
    columns, order = np.array([7, 0, 3]), np.random.default_rng(2).permutation(N)[:50]
    rows = DiskRows(stored(counts, kind)).of_columns(np.arange(F)[::-1]).of_columns(columns)
    rows = rows.of_rows(order[::-1]).of_rows(np.arange(50)[::-1]).in_fragments()
    expected = np.ceil(counts.toarray()[order][:, ::-1][:, columns] / 2)
    assert rows.shape == (50, 3)
    assert_same(rows[:], expected)
    np.testing.assert_array_equal(sp.vstack([*rows.blocks()]).toarray(), expected)


def test_sums_are_those_in_memory(counts):
    rows = DiskRows(stored(counts, "untidy"))
    assert len([*rows.blocks()]) > 5
    for summed in (feature_cells, feature_totals, entries_of_cells):
        np.testing.assert_array_equal(summed(rows), summed(counts))
    np.testing.assert_array_equal(feature_totals(rows), counts.toarray().sum(0))
    np.testing.assert_array_equal(entries_of_cells(rows), (counts.toarray() > 0).sum(1))
