"""Accessibility of cells, measured or decoded, block by block, and its sums over sets of peaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ..data.matrices import Matrix, cell_totals, feature_totals, pieces_of


class Profiles(NamedTuple):
    """Values of peaks in cells; can be iterated over block by block any number of times."""

    blocks: Callable[[], Iterator[Any]]  # each (cells, peaks), sparse or dense
    of_cells: np.ndarray  # (n,) sums
    of_peaks: np.ndarray  # (p,) sums
    measured: bool

    def only(self, peaks: np.ndarray) -> Profiles:
        """The same in some of the peaks, which have all the counts."""
        return self._replace(
            blocks=lambda: (block[:, peaks] for block in self.blocks()),
            of_peaks=self.of_peaks[peaks],
        )

    @staticmethod
    def sums(block: Any, weights: sp.csr_matrix) -> Any:
        """Sums over weighted peaks, (cells, columns) float64, sparse where the block is."""
        if sp.issparse(block):
            return block.astype(np.float64) @ weights
        return (weights.T.tocsr() @ block.T.astype(np.float64)).T


def counted(counts: Matrix) -> Profiles:
    """Measured reads."""
    of_cells = cell_totals(counts).astype(np.float64)
    return Profiles(lambda: pieces_of(counts), of_cells, feature_totals(counts), True)


def decoded(blocks: Callable[[], Iterator[np.ndarray]]) -> Profiles:
    """Decoded values, which `blocks` makes anew each time."""
    of_cells, of_peaks = [], 0.0
    for block in blocks():
        of_cells.append(block.sum(1, dtype=np.float64))
        of_peaks = of_peaks + block.sum(0, dtype=np.float64)
    return Profiles(blocks, np.concatenate(of_cells), np.asarray(of_peaks), False)
