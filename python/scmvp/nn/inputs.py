"""The inputs of the encoders, observed (of counts) and reconstructed (of decoded proportions)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.levels import LevelAnalysis
from ..data.spectral import CLIP, CorrespondenceAnalysis
from .likelihood import Scoring
from .sparse import SparseRows


class Inputs(NamedTuple):
    """Inputs of the encoders, observed or reconstructed."""

    parts: Mapping[str, SparseRows | Tensor]  # by modality: (B, F) sparse, or (B, d)
    # (B, modalities) bool, observed modalities of each cell; None: all cells have all
    present: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """With `change` applied to every part."""
        parts = {name: change(part) for name, part in self.tensors().items()}
        return Inputs(parts, None if self.present is None else change(self.present))

    def rows(self, cells: Tensor) -> Inputs:
        """The inputs of some of the cells, by their numbers."""
        return self.each(lambda part: part.index_select(0, cells))

    def tensors(self) -> dict[str, Tensor]:
        """The parts, where these are scores and not counts."""
        parts = {name: part for name, part in self.parts.items() if isinstance(part, Tensor)}
        assert len(parts) == len(self.parts), "sparse inputs are not changed"
        return parts

    @classmethod
    def joined(cls, some: list[Inputs]) -> Inputs:
        """The inputs of several groups of cells, one after the other."""
        tensors = [inputs.tensors() for inputs in some]
        parts = {name: torch.cat([part[name] for part in tensors]) for name in some[0].parts}
        present = [inputs.present for inputs in some if inputs.present is not None]
        return cls(parts, torch.cat(present) if present else None)


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


class Scores(Reader):
    """Scores of cells on loadings, which stay fixed."""

    loading: Tensor

    def __init__(self, analysis: CorrespondenceAnalysis | LevelAnalysis):
        """Keep the arrays of an analysis under their names."""
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


class SpectralScores(Scores):
    """Scores of cells on the loadings of correspondence analysis."""

    centre: Tensor
    share: Tensor
    log_factor: Tensor

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
