"""Sums of counts over groups of cells: all that a comparison of groups needs of the cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..data.matrices import Matrix, pieces_of


@dataclass
class Sums:
    """Sums over the cells of each unit.

    `count`, `square`, `sized` (counts times library size) and `seen` are (units, features); `size`
    is (4, units), the sums of the first four powers of the library sizes; `n` is (units,).
    """

    count: np.ndarray
    square: np.ndarray
    sized: np.ndarray
    seen: np.ndarray
    size: np.ndarray
    n: np.ndarray

    def of(self, units: list[int]) -> Sums:
        """The sums over several units, (features,) and (4,)."""
        count, square, sized, seen = (
            part[units].sum(0) for part in (self.count, self.square, self.sized, self.seen)
        )
        return Sums(count, square, sized, seen, self.size[:, units].sum(1), self.n[units].sum())


def sums_of(counts: Matrix, unit: np.ndarray, n_units: int) -> Sums:
    """Compute the sums in one pass over blocks of cells, without a dense matrix.

    Args:
        counts: Cells x features.
        unit: Number of each cell's unit, (n,), -1 for cells that are in none.
        n_units: Number of units.
    """
    n_features = counts.shape[1]
    count, square, sized, seen = (np.zeros((n_units, n_features)) for _ in range(4))
    size, start = np.zeros((4, n_units)), 0
    for block in pieces_of(counts):
        here = unit[start : start + block.shape[0]]
        start += block.shape[0]
        rows = np.flatnonzero(here >= 0)
        member = sp.csr_matrix(
            (np.ones(len(rows)), (here[rows], rows)), shape=(n_units, block.shape[0])
        )
        library = np.asarray(block.sum(1, dtype=np.float64)).ravel()
        value = block.data.astype(np.float64)
        for total, data, weight in (
            (count, value, None), (square, value**2, None),
            (sized, value, library), (seen, np.ones_like(value), None),
        ):  # fmt: skip
            same = sp.csr_matrix((data, block.indices, block.indptr), shape=block.shape)
            part = member if weight is None else member.multiply(weight).tocsr()
            total += (part @ same).toarray()
        for power in range(4):
            size[power] += member @ library ** (power + 1)
    n = np.bincount(unit[unit >= 0], minlength=n_units)
    return Sums(count, square, sized, seen, size, n)


def sums_by_batch(
    counts: Matrix, unit: np.ndarray, n_units: int, batch: np.ndarray | None
) -> list[Sums]:
    """The sums of each batch, from one pass; `batch` (n,) numbers the batches; None: one
    batch."""
    if batch is None:
        return [sums_of(counts, unit, n_units)]
    n = int(batch.max()) + 1
    found = sums_of(counts, np.where(unit < 0, -1, unit * n + batch), n_units * n)
    return [
        Sums(
            found.count[b::n], found.square[b::n], found.sized[b::n], found.seen[b::n],
            found.size[:, b::n], found.n[b::n],
        )
        for b in range(n)
    ]  # fmt: skip


def together(batches: Sequence[Any]) -> Any:
    """Sums over all batches, of `Sums` or the like."""
    kind = type(batches[0])
    names = [field.name for field in fields(kind)]
    return kind(*(np.sum([getattr(part, name) for part in batches], axis=0) for name in names))
