"""What the encoders read of measured cells and of imputed profiles."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.matrices import Matrix
from ..data.preprocess import TFIDF_SCALE, inverse_document_frequency
from ..data.spectral import CLIP, Spectrum
from .likelihood import Scoring
from .sparse import SparseRows


class InputLinear(nn.Module):
    """Linear layer over features that reads sparse rows, or a dense block of imputed data."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        bound = 1 / math.sqrt(n_in)
        self.weight = nn.Parameter(torch.empty(n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: SparseRows | Tensor) -> Tensor:
        """(B, n_out)."""
        if isinstance(x, Tensor):
            return x @ self.weight + self.bias
        return _summed(x, x.value, self.weight) + self.bias


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
        return _summed(x, value, self.loading) - self.centre

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


class LogCounts(nn.Module):
    """log(1 + x), the paper's input of the RNA encoders."""

    n_scores = None  # it is as long as there are features

    def __init__(self, n_features: int):
        super().__init__()
        self.n_features = n_features

    @classmethod
    def of(cls, counts: Matrix) -> LogCounts:
        """As the counts of the fitted cells, (n, F), make it."""
        return cls(counts.shape[1])

    def layer(self, n_out: int) -> nn.Module:
        """A first layer of an encoder."""
        return InputLinear(self.n_features, n_out)

    def forward(self, x: SparseRows, design: Tensor | None = None) -> SparseRows:
        """Of measured cells, as sparse as they are, whatever their batch."""
        return x.with_values(x.value.log1p())

    def imputed(self, share: Tensor, size: Tensor, design: Tensor | None = None) -> Tensor:
        """Of imputed profiles (B, F) at the library sizes (B, 1)."""
        return (share * size).log1p()


class TfIdf(LogCounts):
    """log(1 + 1e4 tf idf), idf of the fitted cells: the paper's input of the ATAC encoders."""

    def __init__(self, idf: Tensor):
        super().__init__(len(idf))
        self.register_buffer("idf", idf)

    @classmethod
    def of(cls, counts: Matrix) -> TfIdf:
        """As the counts of the fitted cells, (n, F), make it."""
        return cls(torch.from_numpy(inverse_document_frequency(counts)))

    def forward(self, x: SparseRows, design: Tensor | None = None) -> SparseRows:
        """Of measured cells, as sparse as they are, whatever their batch."""
        tf = x.value / x.sums()[x.row]
        return x.with_values((TFIDF_SCALE * tf * self.idf[x.column]).log1p())

    def imputed(self, share: Tensor, size: Tensor, design: Tensor | None = None) -> Tensor:
        """Of imputed profiles (B, F); they do not depend on the library size."""
        return (share * (TFIDF_SCALE * self.idf)).log1p()


OF_COUNTS = {"log": LogCounts, "tf-idf": TfIdf}  # inputs as long as there are features


def _summed(x: SparseRows, value: Tensor, weight: Tensor) -> Tensor:
    """Σ_j value_ij weight_j of sparse rows, (B, n)."""
    return F.embedding_bag(
        x.column,
        weight,
        x.offset,
        mode="sum",
        per_sample_weights=value,
        include_last_offset=True,
    )
