"""Cells on their way between R and a model: a MuData from R's matrices, and R's tables of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

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


def mudata_of(counts: Mapping[str, Named], obs: dict[str, list[str]] | None = None) -> Any:
    """Counts of the same cells by modality as a MuData; `obs` has the columns of their batches."""
    parts = {
        modality: joining.modality_from_parts(
            modality, (one.matrix.data, one.matrix.indices, one.matrix.indptr), one.cells,
            one.features,
        )
        for modality, one in counts.items()
    }  # fmt: skip
    cells = next(iter(parts.values())).obs_names
    return joining.join_all(parts, obs=None if obs is None else pd.DataFrame(dict(obs), cells))


def points(latent: np.ndarray) -> np.ndarray:
    """A copy that PyTorch may write to: R's own memory is read-only."""
    return np.array(latent, dtype=np.float32)


def column(values: list[Any]) -> Any:
    """A column of the history; what was not measured is NaN."""
    if any(isinstance(value, str) for value in values):
        return values
    return np.array([np.nan if value is None else value for value in values])
