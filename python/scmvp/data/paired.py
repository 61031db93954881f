"""Counts of the same cells in all modalities: the form that everything after the checks reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from .matrices import Matrix

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


@dataclass(frozen=True)
class Paired:
    """The counts of the same cells in all modalities, ready for the model.

    Attributes:
        counts: By modality, cells x features, float32, sorted indices, no stored zeros, no
            duplicates; in memory, or on disk. All have the same order of cells.
        features: Their names by modality, spelled as given.
        cells: Cell names, in the order of the first modality.
        obs: Columns of the cells that were asked for, or all that a file has.
        converted: Whether the ATAC counts are fragments that were insertions before.
        absent: Names of features by modality that the cells lack and that count as zero.
        files: Where counts on disk are.
        gene_ids: Ids of the genes, as `types.gene_ids` gives them.
    """

    counts: dict[str, Matrix]
    features: dict[str, np.ndarray]
    cells: np.ndarray
    obs: pd.DataFrame | None = None
    converted: bool = False
    absent: dict[str, np.ndarray] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    gene_ids: np.ndarray | None = None

    @property
    def rna(self) -> Matrix:
        """RNA counts, cells x genes."""
        return self.counts["rna"]

    @property
    def atac(self) -> Matrix:
        """ATAC counts, cells x peaks."""
        return self.counts["atac"]

    @property
    def genes(self) -> np.ndarray:
        """Gene names."""
        return self.features["rna"]

    @property
    def peaks(self) -> np.ndarray:
        """Peak names."""
        return self.features["atac"]


# What holds paired cells: a container of scverse, or what is checked already.
PairedData: TypeAlias = "MuData | tuple[AnnData, AnnData] | Paired"
