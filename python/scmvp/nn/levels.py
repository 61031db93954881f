"""Methylation inside the network: counts of a minibatch, and the inputs of its encoders.

Two counts per region come in one sparse block, (B, 2F): methylated, then unmethylated (module
`data.levels`, where the scores are explained; docs/MODEL.md, M1 to M3).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .inputs import Scores
from .sparse import SparseRows

# Factors of the prior precision of the output weights before the annealing: one cell has little
# information on each region, so weights start to grow only under a weak prior
# (docs/decisions, D31).
EARLY_PRIOR = {"KL warm-up": 0.01, "warm-up": 0.01, "mixture": 0.1}


class Levels(NamedTuple):
    """Counts of cells by region."""

    methylated: Tensor  # (B, F)
    covered: Tensor  # (B, F)

    @classmethod
    def of(cls, counts: SparseRows, n_regions: int) -> Levels:
        """Those of a minibatch."""
        both = counts.value.new_zeros(counts.n_rows, 2 * n_regions)
        both[counts.row, counts.column] = counts.value
        methylated, rest = both.split(n_regions, 1)
        return cls(methylated, methylated + rest)


class LevelScores(Scores):
    """Scores of cells: residuals of their effective counts, on loadings of regions."""

    logit: Tensor
    share: Tensor
    correlation: Tensor
    log_factor: Tensor

    def forward(self, x: SparseRows, design: Tensor | None = None) -> Tensor:
        """Scores of counts, (B, d); zero for a cell in which nothing is covered."""
        methylated, covered = Levels.of(x, len(self.logit))
        weight = 1 / (1 + (covered - 1).clamp_min(0) * self.correlation)
        residual = weight * (methylated - covered * self._mean(design))
        size = (weight * covered).sum(1, keepdim=True).clamp_min(1e-6)
        return (residual @ self.loading) / size

    def reconstructed(
        self, proportions: Tensor, size: Tensor, design: Tensor | None = None
    ) -> Tensor:
        """Scores of expected levels, (B, d), at the mean coverage of all cells."""
        return ((proportions - self._mean(design)) * self.share) @ self.loading

    def _mean(self, design: Tensor | None) -> Tensor:
        """Levels of the mean cell of each batch."""
        if design is None:
            return self.logit.sigmoid()
        return (self.logit + design @ self.log_factor).sigmoid()
