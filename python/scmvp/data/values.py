"""Checks of matrix values: whether they are counts, or equal to those of another matrix.

Matrices are in memory or on disk, by rows or by columns (`matrices`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from .matrices import (
    BLOCK_CELLS,
    DiskColumns,
    DiskRows,
    chunks,
    columns_of,
    in_memory,
    matrix_of,
    on_disk,
)

# Largest integer up to which float32 holds every integer.
LARGEST_COUNT = 1 << 24


def holds_counts(values: Any) -> bool:
    """Whether every value is a non-negative whole number (read in chunks, nothing copied)."""
    return all(
        data.dtype.kind in "biuf" and not any(not_a_count(chunk).any() for _, chunk in chunks(data))
        for data in _values_of(values)
    )


def is_binary(values: Any) -> bool:
    """Whether no value is above one."""
    return all(chunk.max() <= 1 for data in _values_of(values) for _, chunk in chunks(data))


def _values_of(values: Any) -> Iterator[np.ndarray]:
    """All values of a matrix, those not stored as zeros left out or not."""
    if isinstance(values, DiskColumns):
        values = values.transposed
    if (stored := on_disk(values)) is not None:
        for block in stored.blocks(raw=True):
            yield block.data
    elif sp.issparse(values) and values.format in ("csr", "csc", "coo", "bsr", "dia"):
        yield values.data
    elif hasattr(values, "to_memory") or hasattr(values, "compute") or sp.issparse(values):
        matrix = matrix_of(values)
        yield np.array([np.nan]) if matrix is None else in_memory(matrix).data
    else:
        yield np.asarray(values)


def same_values(one: Any, other: Any, columns: np.ndarray | None = None) -> bool:
    """Whether two matrices are the same, looked at some thousand rows at a time.

    Args:
        one: Cells x features.
        other: The same.
        columns: Columns of `other`, in the order of those of `one`.
    """
    if isinstance(one, DiskColumns) or isinstance(other, DiskColumns):
        return _same_sums(one, other, columns)
    one, other = matrix_of(one), matrix_of(other)
    if one is None or other is None:
        return False
    if columns is not None:
        other = columns_of(other, columns)
    if one.shape != other.shape:
        return False
    starts = range(0, one.shape[0], BLOCK_CELLS)
    rows = (slice(start, start + BLOCK_CELLS) for start in starts)
    return not any((one[some] != other[some]).nnz for some in rows)


def _same_sums(
    one: DiskRows | DiskColumns, other: DiskRows | DiskColumns, columns: np.ndarray | None
) -> bool:
    """`same_values` where rows cannot be read: by one sum per cell, with random weights."""
    (n_cells, n_features), of_other = _shape(one), _shape(other)
    if n_cells != of_other[0] or (columns is None and n_features != of_other[1]):
        return False
    weights, moved = weights_of_features(n_features), np.zeros(of_other[1])
    moved[slice(None) if columns is None else columns] = weights
    return np.array_equal(_weighted_sums(one, weights), _weighted_sums(other, moved))


def weights_of_features(n: int) -> np.ndarray:
    """Whole numbers, the same ones each time; a cell's sum of its counts times these is exact."""
    return np.random.default_rng(0).integers(1, 1 << 20, n).astype(np.float64)


def _shape(matrix: DiskRows | DiskColumns) -> tuple[int, int]:
    if isinstance(matrix, DiskRows):
        return matrix.shape
    n_features, n_cells = matrix.transposed.shape
    return n_cells, n_features


def _weighted_sums(matrix: DiskRows | DiskColumns, weights: np.ndarray) -> np.ndarray:
    """One for each cell."""
    if isinstance(matrix, DiskRows):
        return np.concatenate([block @ weights for block in matrix.blocks()])
    sums, start = np.zeros(matrix.transposed.shape[1]), 0
    for block in matrix.transposed.blocks():
        sums += block.T @ weights[start : start + block.shape[0]]
        start += block.shape[0]
    return sums


def not_a_count(chunk: np.ndarray) -> np.ndarray:
    """Which values are negative, no whole numbers, not finite, or above `LARGEST_COUNT`."""
    if chunk.dtype.kind == "b":
        return np.zeros(chunk.shape, dtype=bool)
    if chunk.dtype.kind in "iu":
        return (chunk < 0) | (chunk > LARGEST_COUNT)
    # Written so that NaN, which compares false with everything, counts as bad.
    return ~((chunk >= 0) & (chunk <= LARGEST_COUNT) & (chunk == np.floor(chunk)))
