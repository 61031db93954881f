"""Background counts of proteins, estimated before training.

Free or nonspecifically bound antibodies give every cell some counts of every protein. For each
protein, log(1 + counts) over cells is modeled as a mixture of two Gaussians (as in the
initialization of totalVI: Gayoso et al., Nature Methods 2021); counts below the point where the
upper component becomes more probable are background. The mean background in cell i is s_i b_j,
where b_j is the mean of these counts and s_i is the relative background of the cell.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..data.matrices import Matrix, blocks_of
from .sparse import SparseRows

_EM_STEPS = 50
_MOST_CELLS = 20_000
_LEAST_RATE = 0.01  # counts per cell: no background is zero, for a count must be possible
_LEAST_SD = 0.1  # of log(1 + counts)
_PRIOR_COUNTS = 20.0  # with which s of a cell is shrunken to 1
_LEAST_FOREGROUND = 1.0  # counts per cell


class Split(NamedTuple):
    """Expected background counts of cells, and their total counts above it."""

    background: Tensor  # (B, F), mean counts, s_i b_j
    size: Tensor  # (B, 1), foreground library size: counts above the background


class Found(NamedTuple):
    """Estimates from the cells to fit."""

    background: Background
    logit: Tensor  # (F,), log-odds that a cell has no foreground of a protein
    totals: Tensor  # (F,), foreground counts


class Background(nn.Module):
    """The background of each protein, and of cells by their counts."""

    rate: Tensor
    limit: Tensor

    def __init__(self, rate: Tensor, limit: Tensor):
        super().__init__()
        self.register_buffer("rate", rate)  # (F,), b, counts per cell
        self.register_buffer("limit", limit)  # (F,), the largest count that is background

    @classmethod
    def of(cls, counts: Matrix, seed: int) -> Found:
        """The background of cells x proteins; `seed` is that of a sample of many cells."""
        n_cells, n_proteins = counts.shape
        part = min(1.0, _MOST_CELLS / max(n_cells, 1))
        rng, blocks = np.random.default_rng(seed), []
        for block in blocks_of(counts):
            rows = np.flatnonzero(rng.random(block.shape[0]) < part) if part < 1 else slice(None)
            blocks.append(np.asarray(block[rows].todense(), dtype=np.float32))
        dense = np.concatenate(blocks)
        rate, limit = np.empty(n_proteins, np.float32), np.empty(n_proteins, np.float32)
        for j, of_cells in enumerate(dense.T):
            limit[j] = background_limit(of_cells)
            low = of_cells[of_cells <= limit[j]]
            rate[j] = max(low.mean() if len(low) else 0.0, _LEAST_RATE)
        found = cls(torch.from_numpy(rate), torch.from_numpy(limit))
        x = torch.from_numpy(dense)
        totals = (x - found._of_dense(x).background).clamp_min(0).sum(0) / part
        without = (x <= found.limit).sum(0) + 1.0
        return Found(found, (without / (len(x) + 2 - without)).log(), totals)

    def forward(self, counts: SparseRows) -> Split:
        """Background and foreground library sizes of cells."""
        x = self.rate.new_zeros(counts.n_rows, len(self.rate))
        x[counts.row, counts.column] = counts.value
        return self._of_dense(x)

    def sizes(self, counts: Matrix) -> np.ndarray:
        """Foreground library sizes of cells x proteins, (n,)."""
        parts = (torch.from_numpy(block.toarray()).float() for block in blocks_of(counts))
        return np.concatenate([self._of_dense(x.to(self.rate)).size[:, 0].cpu() for x in parts])

    def _of_dense(self, x: Tensor) -> Split:
        low = x <= self.limit
        known = (x * low).sum(1, keepdim=True) + _PRIOR_COUNTS
        background = known / (low * self.rate).sum(1, keepdim=True).add(_PRIOR_COUNTS)
        background = background * self.rate
        size = (x - background).clamp_min(0).sum(1, keepdim=True).clamp_min(_LEAST_FOREGROUND)
        return Split(background, size)


def background_limit(counts: np.ndarray) -> float:
    """The largest count that is more probably background than foreground.

    Args:
        counts: Of one protein in cells, (n,).
    """
    value, n = np.unique(counts, return_counts=True)
    x, n = np.log1p(value.astype(float)), n.astype(float)
    if len(x) < 3:
        return float(value[0])
    cut = _best_cut(x, n)
    upper = (x > cut).astype(float)
    for _ in range(_EM_STEPS):
        log_density = []
        for weight in (n * (1 - upper), n * upper):
            total = max(weight.sum(), 1e-9)
            mean = (weight * x).sum() / total
            sd = max(np.sqrt((weight * (x - mean) ** 2).sum() / total), _LEAST_SD)
            log_density.append(np.log(total) - np.log(sd) - 0.5 * ((x - mean) / sd) ** 2)
        lower, higher = log_density
        upper = 1 / (1 + np.exp(np.clip(lower - higher, -700, 700)))
    means = [(w * x).sum() / max(w.sum(), 1e-9) for w in (n * (1 - upper), n * upper)]
    # a wide Gaussian is the more probable one on both sides: only what is between the means counts
    low = value[(upper < 0.5) & (x <= max(means))] if means[0] <= means[1] else value[x <= cut]
    return float(low.max()) if len(low) else float(value[0])


def _best_cut(x: np.ndarray, n: np.ndarray) -> float:
    """Where two groups of least squares meet (Otsu); x is sorted."""
    n_low, sum_low = np.cumsum(n)[:-1], np.cumsum(n * x)[:-1]
    n_high, sum_high = n.sum() - n_low, (n * x).sum() - sum_low
    return float(x[np.argmax(sum_low**2 / n_low + sum_high**2 / n_high)])
