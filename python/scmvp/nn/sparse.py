"""A minibatch of sparse rows, in the one form that the input layer and the likelihoods share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor


class SparseRows(NamedTuple):
    """The non-zeros of a (B, features) block of counts."""

    row: Tensor  # (nnz,) int64, cell within the block
    column: Tensor  # (nnz,) int64, feature
    value: Tensor  # (nnz,) float32, > 0
    offset: Tensor  # (B + 1,) int64, where each row starts in the three above

    @classmethod
    def from_csr(cls, matrix: sp.csr_matrix) -> SparseRows:
        """All rows of a (B, features) matrix."""
        offset = matrix.indptr.astype(np.int64)
        row = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(offset))
        column = matrix.indices.astype(np.int64)
        return cls(*map(torch.from_numpy, (row, column, matrix.data, offset)))

    def to(self, device: torch.device) -> SparseRows:
        """The same on another device."""
        if device.type == "cuda":  # from pinned memory it copies while the GPU computes
            return SparseRows(*(part.pin_memory().to(device, non_blocking=True) for part in self))
        return SparseRows(*(part.to(device) for part in self))

    @property
    def n_rows(self) -> int:
        """B, the number of cells."""
        return self.offset.shape[0] - 1

    def sums(self) -> Tensor:
        """Library size of each cell, (B,)."""
        return self.row_sums(self.value)

    def row_sums(self, values: Tensor) -> Tensor:
        """Sums of numbers at the non-zeros, (nnz,), over each cell's, (B,)."""
        return torch.segment_reduce(values, "sum", offsets=self.offset, axis=0, unsafe=True)

    def select(self, cells: Tensor) -> SparseRows:
        """The rows of a mask, (B,) bool, in their order."""
        sizes = self.offset.diff()
        kept = cells.repeat_interleave(sizes)
        number = cells.cumsum(0) - 1  # of each kept row, within the result
        offset = torch.cat([self.offset.new_zeros(1), sizes[cells].cumsum(0)])
        return SparseRows(number[self.row[kept]], self.column[kept], self.value[kept], offset)

    def by_feature(self, n_features: int) -> ByFeature:
        """The same, each feature's non-zeros together; on the CPU."""
        parts = [part.numpy() for part in (self.value, self.column, self.offset)]
        found = sp.csr_matrix(tuple(parts), shape=(self.n_rows, n_features)).tocsc()
        return ByFeature(*map(torch.from_numpy, (found.indptr, found.indices, found.data)))

    def with_values(self, value: Tensor) -> SparseRows:
        """Other values at the same places."""
        return self._replace(value=value)


def rows_of_mask(part: SparseRows | Tensor, cells: Tensor) -> SparseRows | Tensor:
    """The rows of a mask, (B,) bool, of a sparse or a dense (B, features) block."""
    return part[cells] if isinstance(part, Tensor) else part.select(cells)


class ByFeature(NamedTuple):
    """The non-zeros of a (B, features) block of counts, in the order of features."""

    offset: Tensor  # (F + 1,) int32, where each feature starts in the others
    row: Tensor  # (nnz,) int32, cell within the block
    value: Tensor  # (nnz,) float32, > 0

    def column(self) -> Tensor:
        """(nnz,) int64, feature."""
        return torch.arange(len(self.offset) - 1).repeat_interleave(self.offset.diff())
