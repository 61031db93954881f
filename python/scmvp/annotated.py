"""What analyses of a latent read out of a MuData or AnnData: the latent itself, and labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .checks import Paired, name_some
from .errors import InputError

LATENT = "X_scmvp"


def latent_of(data: Any, use_rep: str, what: str = "the latent") -> tuple[np.ndarray, np.ndarray]:
    """Latent (n, D) and names of its cells: obsm[use_rep], or an array as it is.

    Raises:
        InputError: It is not there, has another shape, or values that are not finite.
    """
    if hasattr(data, "obsm"):
        if use_rep not in data.obsm:
            known = ", ".join(map(str, data.obsm)) or "none"
            raise InputError(
                f"there is no '{use_rep}' in obsm (there: {known}); put the latent there, as in "
                f"mdata.obsm['{LATENT}'] = model.get_latent_representation(), or name it with "
                "use_rep"
            )
        latent, names = np.asarray(data.obsm[use_rep]), data.obs_names.to_numpy()
    else:
        latent = np.asarray(data)
        names = np.arange(len(latent) if latent.ndim else 0)
    if latent.ndim != 2 or latent.dtype.kind not in "fiu":
        raise InputError(f"{what} has shape {latent.shape}; give numbers, (cells, dimensions)")
    if not np.isfinite(latent).all():
        raise InputError(f"{what} has values that are not finite; leave these cells out")
    return latent, names


def labels_of(data: Any, labels: Any, n_cells: int, argument: str) -> np.ndarray:
    """One label per cell as objects, None where there is none: a column of obs, or as given."""
    if isinstance(labels, str):
        if not hasattr(data, "obs"):
            raise InputError(f"{argument} must be one label per cell where the latent is an array")
        if labels not in data.obs:
            raise InputError(
                f"there is no column '{labels}' in obs; the columns are {', '.join(data.obs)}"
            )
        labels = data.obs[labels]
    labels = np.asarray(labels, dtype=object)
    if labels.shape != (n_cells,):
        raise InputError(
            f"{argument} has shape {labels.shape}; give {n_cells} labels, one per cell"
        )
    missing = pd.isna(labels)
    return np.where(missing, None, np.where(missing, "", labels).astype(str))


def column_of(data: Any, name: str, cells: np.ndarray) -> pd.Series:
    """A column of obs, of the whole or of a modality, in the order of the model's cells."""
    if data is None or isinstance(data, Paired):
        raise InputError(
            f"groupby is '{name}', but a model keeps no metadata; pass the cells as data, or one "
            "label per cell as groupby"
        )
    parts = list(data) if isinstance(data, tuple) else [data, *getattr(data, "mod", {}).values()]
    for obs in (part.obs for part in parts):
        if name in obs and obs.index.astype(str).isin(cells).sum() == len(cells):
            return obs[name].set_axis(obs.index.astype(str)).reindex(cells)
    known = sorted({str(column) for part in parts for column in part.obs})
    raise InputError(
        f"the cells have no metadata '{name}' (they have {name_some(known) or 'none'})"
    )
