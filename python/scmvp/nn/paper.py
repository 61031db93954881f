"""Preset `paper`, the published model as far as possible: its options, and what its encoders read.

Each option can be had without the preset, and each reader stands where `inputs.SpectralScores` does
otherwise. K comes from `data.rank`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..data.matrices import Matrix
from ..data.preprocess import inverse_document_frequency
from .inputs import Reader, summed
from .sparse import SparseRows

# What it changes of ModelOptions and of TrainingOptions.
MODEL_OPTIONS: dict[str, Any] = {
    "n_latent": 10,
    "encoder_input": "counts",
    "decoder_precision": 0.0,
    "distil": False,
    "input_noise": 0.0,
    "shrink": False,
    "likelihood_atac": "zip",
}
TRAINING_OPTIONS: dict[str, Any] = {"annealing_fraction": 0.0, "mixture_update": "gradient"}
_TFIDF_SCALE = 1e4


class InputLinear(nn.Module):
    """Linear layer over features that reads sparse rows, or dense reconstructed input."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        bound = 1 / math.sqrt(n_in)
        self.weight = nn.Parameter(torch.empty(n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: SparseRows | Tensor) -> Tensor:
        """(B, n_out)."""
        if isinstance(x, Tensor):
            return x @ self.weight + self.bias
        return summed(x, x.value, self.weight) + self.bias


class LogCounts(Reader):
    """log(1 + x), the paper's input of the RNA encoders."""

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
        """The observed input, as sparse as the counts, whatever the batch."""
        return x.with_values(x.value.log1p())

    def reconstructed(
        self, proportions: Tensor, size: Tensor, design: Tensor | None = None
    ) -> Tensor:
        """The input reconstructed of expected proportions (B, F) at the library sizes (B, 1).

        A cell without the modality has none: it is given the mean of the others.
        """
        observed = size > 0
        usual = size.sum() / observed.sum().clamp(min=1)
        return (proportions * torch.where(observed, size, usual)).log1p()


class TfIdf(LogCounts):
    """log(1 + 1e4 tf idf), idf of the fitted cells: the paper's input of the ATAC encoders."""

    idf: Tensor

    def __init__(self, idf: Tensor):
        super().__init__(len(idf))
        self.register_buffer("idf", idf)

    @classmethod
    def of(cls, counts: Matrix) -> TfIdf:
        """As the counts of the fitted cells, (n, F), make it."""
        return cls(torch.from_numpy(inverse_document_frequency(counts)))

    def forward(self, x: SparseRows, design: Tensor | None = None) -> SparseRows:
        """The observed input, as sparse as the counts, whatever the batch."""
        tf = x.value / x.sums()[x.row]
        return x.with_values((_TFIDF_SCALE * tf * self.idf[x.column]).log1p())

    def reconstructed(
        self, proportions: Tensor, size: Tensor, design: Tensor | None = None
    ) -> Tensor:
        """The input reconstructed of expected proportions (B, F), whatever the library size."""
        return (proportions * (_TFIDF_SCALE * self.idf)).log1p()


# By `Modality.paper_input`, where the option encoder_input is "counts".
READERS: dict[str, type[LogCounts]] = {"log": LogCounts, "tf-idf": TfIdf}
