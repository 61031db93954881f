"""Minibatches of paired cells: which cells come together, and their counts as tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from .sparse import SparseRows


class PairedBatch(NamedTuple):
    """The counts of some cells in both modalities."""

    rna: SparseRows  # (B, G)
    atac: SparseRows  # (B, P)

    def to(self, device: torch.device) -> PairedBatch:
        """The same on another device."""
        return PairedBatch(self.rna.to(device), self.atac.to(device))


def take(rna: sp.csr_matrix, atac: sp.csr_matrix, cells: np.ndarray | slice) -> PairedBatch:
    """Counts of some cells, in the order asked for."""
    return PairedBatch(SparseRows.from_csr(rna[cells]), SparseRows.from_csr(atac[cells]))


def even_chunks(cells: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Split cells into chunks of nearly `batch_size` whose sizes differ by at most one.

    A short last chunk would have its own, noisy batch-norm statistics.
    """
    n_chunks = max(1, round(len(cells) / batch_size))
    return np.array_split(cells, n_chunks)


def shuffled_batches(
    rna: sp.csr_matrix,
    atac: sp.csr_matrix,
    cells: np.ndarray,
    batch_size: int,
    generator: np.random.Generator,
    device: torch.device,
) -> Iterator[PairedBatch]:
    """One epoch: every one of `cells` once, in random order."""
    for chunk in even_chunks(generator.permutation(cells), batch_size):
        yield take(rna, atac, chunk).to(device)


def ordered_batches(
    rna: sp.csr_matrix,
    atac: sp.csr_matrix,
    device: torch.device,
    batch_size: int = 512,
) -> Iterator[PairedBatch]:
    """Every cell once, in the order of the rows."""
    for start in range(0, rna.shape[0], batch_size):
        yield take(rna, atac, slice(start, start + batch_size)).to(device)
