"""A report from a fit to its file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..arguments import positions, whole_number
from ..data.annotated import in_order_of
from ..data.columns import columns_of_cells
from ..data.containers import is_mudata, tables_of
from ..data.paired import Paired, PairedData
from ..errors import InputError
from ..files import whole_file
from ..progress import SILENT, Stages
from ..words import count_of, name_some
from .contents import Cells, columns_to_show, contents_of
from .page import page_of

if TYPE_CHECKING:
    from ..model import SCMVP


def obs_of(data: PairedData | None, paired: Paired) -> pd.DataFrame | None:
    """Metadata of cells: of the container that has them, or what was read of them."""
    if data is None or isinstance(data, Paired):
        return paired.obs if data is None else data.obs
    tables = [table.obs for table in tables_of(data)]
    if is_mudata(data):  # whose own columns are those of all
        tables = tables[:1]
    columns = dict.fromkeys(name for table in tables for name in table)
    return columns_of_cells(tables, [*columns], paired.cells)


def write_report(
    path: Path,
    model: SCMVP,
    names: np.ndarray,
    latent: np.ndarray,
    paired: Paired | None = None,
    obs: pd.DataFrame | None = None,
    *,
    columns: Sequence[str] | None = None,
    groupby: str | None = None,
    coordinates: np.ndarray | None = None,
    n_clusters: int | None = None,
    resolution: float | None = None,
    markers: int = 5,
    title: str = "scMVP report",
    seed: int = 0,
    stages: Stages = SILENT,
    cells_as: str = "",
) -> None:
    """Write the page.

    Args:
        path: File to make or replace, which `files.writable` has checked.
        model: The fit.
        names: Names of the cells, (n,).
        latent: Theirs, (n, D).
        paired: Their counts, in the same order; None without.
        obs: Their metadata, a row per name.
        columns: Columns of `obs` to show; None: numbers, and columns of at most 60 levels.
        groupby: Column of `obs` with the groups whose markers are listed; None: the clusters.
        coordinates: Places on a map, (n, 2).
        n_clusters: Level of the clusters.
        resolution: The same.
        markers: Features to list of each group.
        title: Title of the page.
        seed: Seed of the map, of the tests for markers and of the simulated doublets.
        stages: For what takes long.
        cells_as: As what the caller can give the cells, where `obs` has no more than a fit keeps.

    Raises:
        InputError: An argument is wrong; nothing is written.
    """
    markers = whole_number("markers", markers)
    seed = whole_number("seed", seed, at_least=0, at_most=2**32 - 1)
    obs = pd.DataFrame(index=names) if obs is None else obs.loc[names]
    if columns is not None and len(columns):
        _check_columns(obs, columns, cells_as)
    if coordinates is not None:
        coordinates = np.asarray(in_order_of(names, coordinates, "coordinates"), float)
        if coordinates.shape != (len(names), 2) or not np.isfinite(coordinates).all():
            raise InputError(
                f"coordinates has shape {coordinates.shape}, or values that are not finite; give "
                f"two numbers for each of {count_of(len(names), 'cell')}"
            )
    if groupby is not None:
        _check_columns(obs, [groupby], cells_as)
    chosen = columns_to_show(obs, columns)
    batches = [name for name in model.batch_levels if name in obs]
    kept = list(dict.fromkeys([*([groupby] if groupby else []), *batches, *chosen]))
    probabilities = model.responsibilities(latent, n_clusters=n_clusters, resolution=resolution)
    cells = Cells(np.asarray(names), latent, probabilities, obs[kept], batches, groupby)
    found = contents_of(model, cells, paired, coordinates, markers, seed, stages)
    found.tree, found.cluster_of = model.tree, model.cluster_of_component(n_clusters, resolution)
    with stages.stage("writing the report"), whole_file(path) as partial:
        partial.write_text(page_of(found, title), encoding="utf-8")


def _check_columns(obs: pd.DataFrame, names: Sequence[str], cells_as: str) -> None:
    if cells_as and not isinstance(names, str):
        missing = [str(name) for name in names if name not in obs]
        if missing:
            raise InputError(
                f"a fit keeps no metadata such as {name_some(missing)}; give the cells with these "
                f"as {cells_as}"
            )
    positions(list(obs.columns), names, "column", "the metadata")
