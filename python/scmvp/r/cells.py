"""Cells on their way between R and a model: a MuData from R's matrices, and R's tables of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from ..data import joining
from ..data.levels import halves, places_of_levels
from ..data.matrices import entries_once
from ..data.places import places_of
from ..modalities import MODALITIES
from .rserial import Named
from .tables import plain_frame


def cells_of(mdata: Any) -> dict[str, Any]:
    """Counts and a table of features by modality, and a table of the cells."""
    parts: dict[str, Any] = {"cells": plain_frame(mdata.obs)}
    for name, adata in mdata.mod.items():
        matrices = {name: adata.X}
        if MODALITIES[name].is_level:  # two assays in R
            matrices = places_of_levels(places_of(adata), name)._asdict()
        for part, values in matrices.items():
            counts = Named(entries_once(values), list(adata.obs_names), list(adata.var_names))
            parts[part] = {"counts": counts, "features": plain_frame(adata.var)}
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
    parts = {
        modality: _of_levels(adata) if MODALITIES[modality].is_level else adata
        for modality, adata in parts.items()
    }
    cells = next(iter(parts.values())).obs_names
    return joining.join_all(parts, obs=None if obs is None else pd.DataFrame(dict(obs), cells))


def _of_levels(stacked: AnnData) -> AnnData:
    """The layers of what R sends as methylated and unmethylated columns."""
    methylated, rest = halves(stacked.X)
    regions = stacked.var_names[: methylated.shape[1]]
    layers = {"methylated": methylated, "covered": methylated + rest}
    return AnnData(obs=stacked.obs, var=pd.DataFrame(index=regions), layers=layers)


def points(latent: np.ndarray) -> np.ndarray:
    """A copy that PyTorch may write to: R's own memory is read-only."""
    return np.array(latent, dtype=np.float32)


def column(values: list[Any]) -> Any:
    """A column of the history; what was not measured is NaN."""
    if any(isinstance(value, str) for value in values):
        return values
    return np.array([np.nan if value is None else value for value in values])
