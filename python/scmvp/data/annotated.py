"""Reads the latent and cell labels from a MuData or AnnData for downstream analyses."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import InputError
from ..words import count_of, name_some
from .checks import check_names, count_matrix
from .columns import columns_of_cells
from .containers import refuse_on_disk, tables_of
from .labels import level_names
from .matrices import Matrix
from .names import as_names
from .paired import Paired
from .places import place_in_memory, places_of, remedy

if TYPE_CHECKING:
    from anndata import AnnData

LATENT, CLUSTERS = "X_scmvp", "scmvp_cluster"  # under which `add_to` puts them


def latent_of(data: Any, use_rep: str, what: str = "the latent") -> tuple[np.ndarray, np.ndarray]:
    """Latent (n, D) and names of its cells: obsm[use_rep], or an array or data frame as it is.

    Cells of an array, or of a data frame with numbered rows, are identified by number instead of
    name.

    Raises:
        InputError: It is not there, has another shape, or values that are not finite.
    """
    refuse_on_disk(data)
    if hasattr(data, "obsm"):
        if use_rep not in data.obsm:
            known = ", ".join(map(str, data.obsm)) or "none"
            raise InputError(
                f"there is no '{use_rep}' in obsm (there: {known}); put the latent there, as in "
                f"mdata.obsm['{LATENT}'] = model.get_latent_representation(), or name it with "
                "use_rep"
            )
        latent, names = np.asarray(data.obsm[use_rep]), as_names(data.obs_names)
    else:
        latent = np.asarray(data)
        names = np.arange(len(latent) if latent.ndim else 0)
        if isinstance(data, pd.DataFrame) and data.index.dtype.kind not in "iu":
            names = as_names(data.index)
    if latent.ndim != 2 or latent.dtype.kind not in "fiu":
        raise InputError(f"{what} has shape {latent.shape}; give numbers, (cells, dimensions)")
    if not np.isfinite(latent).all():
        raise InputError(f"{what} has values that are not finite; leave these cells out")
    return latent, names


def counts_in(
    adata: AnnData, modality: str, layer: str | None
) -> tuple[Matrix, np.ndarray, np.ndarray]:
    """Counts of one modality, cells x features, names of its features and of its cells.

    Args:
        adata: The modality.
        modality: Name of the modality.
        layer: With raw counts; X when None.

    Raises:
        InputError: There are no cells or features, names are duplicated, or values are not counts.
    """
    places, cells = places_of(adata), as_names(adata.obs_names)
    place = place_in_memory(places, modality, layer, argument="layer")
    features = place.features()
    check_names(modality, cells, features)
    advice = partial(remedy, places, modality, argument="layer")
    return count_matrix(place.values(), modality, cells, features, advice), features, cells


def labels_of(data: Any, labels: Any, names: np.ndarray, argument: str) -> np.ndarray:
    """One label per cell as objects, None where there is none: a column of obs, or as given.

    Args:
        data: With `obs`, or an array.
        labels: Name of a column, or a value for each cell.
        names: Names of the cells, in their order.
        argument: Name of `labels` in the call.
    """
    if isinstance(labels, str):
        if not hasattr(data, "obs"):
            raise InputError(f"{argument} must be one label per cell where the latent is an array")
        if labels not in data.obs:
            raise InputError(
                f"there is no column '{labels}' in obs; the columns are {', '.join(data.obs)}"
            )
        labels = data.obs[labels]
    labels = np.asarray(in_order_of(names, labels, argument), dtype=object)
    if labels.shape != names.shape:
        raise InputError(
            f"{argument} has shape {labels.shape}; give {count_of(len(names), 'label')}, one per "
            "cell"
        )
    return level_names(labels)


def column_of(data: Any, name: str, cells: np.ndarray) -> pd.Series:
    """A column of obs, of the whole or of the modalities, in the order of the model's cells."""
    if isinstance(data, Paired) and data.obs is not None:
        return columns_of_cells([data.obs], [name], cells)[name]
    if data is None or isinstance(data, Paired):
        raise InputError(
            f"groupby is '{name}', but a model keeps no metadata; pass the cells as data, or one "
            "label per cell as groupby"
        )
    return columns_of_cells([table.obs for table in tables_of(data)], [name], cells)[name]


def in_order_of(names: np.ndarray, values: Any, argument: str) -> Any:
    """Values per cell; those of pandas objects with cell names are put in the order of `names`.

    If the cells are numbered instead of named, values are assumed to be in the order of the cells.

    Raises:
        InputError: Some of the cells are not in the index.
    """
    index = getattr(values, "index", None)
    positional = names.dtype.kind in "iu" or isinstance(index, pd.RangeIndex)
    if positional or not isinstance(index, pd.Index):
        return values
    numbered = index.dtype.kind in "iu"
    index = pd.Index(as_names(index))
    if numbered and not index.isin(names).any():  # rows of a table, not cells
        return values
    at = index.get_indexer(names) if index.is_unique else np.full(len(names), -1)
    if (at >= 0).all():
        return values.iloc[at]
    raise InputError(
        f"{argument} has no value for {name_some(names[at < 0])} "
        f"({count_of(int((at < 0).sum()), 'cell')}), or names a cell twice; give one value for "
        "each cell"
    )
