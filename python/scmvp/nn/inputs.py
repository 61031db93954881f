"""The inputs of the encoders, observed (of counts) and reconstructed (of decoded proportions)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.spectral import CLIP, CorrespondenceAnalysis
from .likelihood import Scoring
from .sparse import SparseRows


class Reader(nn.Module):
    """Computes the input of the encoders of a modality."""

    @property
    def n_scores(self) -> int | None:
        """Numbers per cell; None: as many as there are features."""
        return None

    def layer(self, n_out: int) -> nn.Module:
        """A first layer of an encoder."""
        raise NotImplementedError

    def forward(self, x: SparseRows, design: Tensor | None = None) -> SparseRows | Tensor:
        """The observed input of cells in batches (B, S)."""
        raise NotImplementedError

    def reconstructed(
        self, proportions: Tensor, size: Tensor, design: Tensor | None = None
    ) -> Tensor:
        """The input reconstructed of expected proportions (B, F) at the library sizes (B, 1)."""
        raise NotImplementedError


class SpectralScores(Reader):
    """Scores of cells on the loadings of correspondence analysis, which stay fixed."""

    loading: Tensor
    centre: Tensor
    share: Tensor
    log_factor: Tensor

    def __init__(self, analysis: CorrespondenceAnalysis):
        super().__init__()
        for name, value in analysis._asdict().items():
            self.register_buffer(name, torch.from_numpy(value))

    def layer(self, n_out: int) -> nn.Module:
        """A first layer of an encoder."""
        return nn.Linear(self.n_scores, n_out)

    @property
    def n_scores(self) -> int:
        """How many there are, d."""
        return self.loading.shape[1]

    def forward(self, x: SparseRows, design: Tensor | None = None) -> Tensor:
        """Scores of counts, (B, d); zero up to the centre for a cell without counts."""
        if design is not None:
            kind, factor = self._kinds(design)
            x = x.with_values(x.value / factor[kind[x.row], x.column])
        size = x.sums()[x.row]
        value = torch.minimum(x.value, CLIP * (size * self.share[x.column]).sqrt()) / size
        return summed(x, value, self.loading) - self.centre

    def reconstructed(
        self, proportions: Tensor, size: Tensor, design: Tensor | None = None
    ) -> Tensor:
        """Scores of expected proportions, (B, d): those of infinitely many counts of these."""
        if design is not None:
            proportions = proportions / (design @ self.log_factor).exp()
            proportions = proportions / proportions.sum(1, keepdim=True)
        return proportions @ self.loading - self.centre

    def scoring(self, design: Tensor | None) -> Scoring:
        """How scores, but for the centre, are made of expected proportions block by block."""
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
