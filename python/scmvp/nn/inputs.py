"""What the encoders read of measured cells and of imputed profiles."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.spectral import CLIP, Spectrum
from .likelihood import Scoring
from .sparse import SparseRows


class Reader(Protocol):
    """A module that makes of counts what the encoders of a modality read."""

    n_scores: int | None  # numbers per cell; None: as many as there are features

    def layer(self, n_out: int) -> nn.Module:
        """A first layer of an encoder."""

    def __call__(self, x: SparseRows, design: Tensor | None = None) -> SparseRows | Tensor:
        """Of measured cells in batches (B, S)."""

    def imputed(self, share: Tensor, size: Tensor, design: Tensor | None = None) -> Tensor:
        """Of imputed profiles (B, F) at the library sizes (B, 1)."""


class SpectralScores(nn.Module):
    """Scores on the leading directions of correspondence analysis, fixed once fitted."""

    def __init__(self, spectrum: Spectrum):
        super().__init__()
        for name, value in spectrum._asdict().items():
            self.register_buffer(name, torch.from_numpy(value))

    def layer(self, n_out: int) -> nn.Module:
        """A first layer of an encoder."""
        return nn.Linear(self.n_scores, n_out)

    @property
    def n_scores(self) -> int:
        """How many there are, d."""
        return self.loading.shape[1]

    def forward(self, x: SparseRows, design: Tensor | None = None) -> Tensor:
        """Scores of measured cells, (B, d); zero up to the centre for a cell without counts."""
        if design is not None:
            kind, factor = self._kinds(design)
            x = x.with_values(x.value / factor[kind[x.row], x.column])
        size = x.sums()[x.row]
        value = torch.minimum(x.value, CLIP * (size * self.share[x.column]).sqrt()) / size
        return summed(x, value, self.loading) - self.centre

    def imputed(self, share: Tensor, size: Tensor, design: Tensor | None = None) -> Tensor:
        """Scores of imputed profiles, (B, d): those of infinitely many counts of these shares."""
        if design is not None:
            share = share / (design @ self.log_factor).exp()
            share = share / share.sum(1, keepdim=True)
        return share @ self.loading - self.centre

    def scoring(self, design: Tensor | None) -> Scoring:
        """How scores, but for the centre, are made of imputed shares as they are computed."""
        weight = torch.cat([self.loading, self.loading.new_ones(len(self.loading), 1)], 1)
        if design is None:
            return Scoring(weight)
        kind, factor = self._kinds(design)
        return Scoring(weight, 1 / factor, kind)

    def _kinds(self, design: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the different rows of a design each is, (B,), and their factors, (n, F)."""
        kinds, kind = design.unique(dim=0, return_inverse=True)
        return kind, (kinds @ self.log_factor).exp()


def summed(x: SparseRows, value: Tensor, weight: Tensor) -> Tensor:
    """Σ_j value_ij weight_j of sparse rows, (B, n)."""
    return F.embedding_bag(
        x.column,
        weight,
        x.offset,
        mode="sum",
        per_sample_weights=value,
        include_last_offset=True,
    )
