"""Cells on their way between R and a model: a MuData from R's matrices, and R's tables of one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data import joining
from ..data.matrices import entries_once
from .rserial import Named
from .tables import plain_frame


def cells_of(mdata: Any) -> dict[str, Any]:
    """Counts and a table of features by modality, and a table of the cells."""
    parts: dict[str, Any] = {"cells": plain_frame(mdata.obs)}
    for name, adata in mdata.mod.items():
        counts = Named(entries_once(adata.X), list(adata.obs_names), list(adata.var_names))
        parts[name] = {"counts": counts, "features": plain_frame(adata.var)}
    return parts


def mudata_of(
    rna: Named, atac: Named, obs: dict[str, list[str]] | None, protein: Named | None = None
) -> Any:
    """Counts of the same cells as a MuData; `obs` has the columns of their batches."""

    def parts(one: Named) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return one.matrix.data, one.matrix.indices, one.matrix.indptr

    return joining.from_parts(
        rna=parts(rna), atac=parts(atac), cells=rna.cells, genes=rna.features,
        peaks=atac.features, obs=obs, protein=None if protein is None else parts(protein),
        proteins=() if protein is None else protein.features,
    )  # fmt: skip


def points(latent: np.ndarray) -> np.ndarray:
    """A copy that PyTorch may write to: R's own memory is read-only."""
    return np.array(latent, dtype=np.float32)


def column(values: list[Any]) -> Any:
    """A column of the history; what was not measured is NaN."""
    if any(isinstance(value, str) for value in values):
        return values
    return np.array([np.nan if value is None else value for value in values])
