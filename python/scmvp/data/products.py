"""Products of one large sparse matrix with a few columns, many times over.

SciPy's products wait for memory: a row reads vectors from all over an array that no cache holds.
Here the matrix is cut into blocks of features whose part of the array stays in the cache, and its
transpose is kept beside it; the products are PyTorch's, which has MKL's on most processors.
"""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp

_BLOCK_FEATURES = 4096  # 16 columns of them are 256 kB


class Products:
    """A float32 matrix, cells x features, by its products. It takes twice the matrix's memory."""

    def __init__(self, matrix: sp.csr_matrix):
        columns = matrix.tocsc()
        self.shape = matrix.shape
        starts = range(0, matrix.shape[1], _BLOCK_FEATURES)
        self._blocks = [
            (start, _as_tensor(columns[:, start : start + _BLOCK_FEATURES].tocsr()))
            for start in starts
        ]
        self._transposed = _as_tensor(columns.T)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The matrix times x, (cells, k), of x (features, k)."""
        import torch

        columns = torch.from_numpy(np.ascontiguousarray(x.reshape(len(x), -1), np.float32))
        out = columns.new_zeros(self.shape[0], columns.shape[1])
        for start, block in self._blocks:
            out.addmm_(block, columns[start : start + _BLOCK_FEATURES])
        return out.numpy()

    def backward(self, y: np.ndarray) -> np.ndarray:
        """Its transpose times y, (features, k), of y (cells, k)."""
        import torch

        columns = torch.from_numpy(np.ascontiguousarray(y.reshape(len(y), -1), np.float32))
        return (self._transposed @ columns).numpy()


def _as_tensor(matrix: sp.csr_matrix):
    import torch

    parts = (matrix.indptr, matrix.indices, matrix.data)
    # MKL takes 32-bit places; of these there are fewer than 2^31 in any matrix that fits
    kinds = (np.int32, np.int32, np.float32)
    start, column, value = (
        torch.from_numpy(np.ascontiguousarray(part, kind))
        for part, kind in zip(parts, kinds, strict=True)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        return torch.sparse_csr_tensor(
            start, column, value, size=matrix.shape, check_invariants=False
        )
