"""Joins modalities in memory to one MuData of the same cells."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData

from ..arguments import Names
from ..errors import InputError
from ..modalities import feature_of, label_of
from ..words import count_of
from .annotated import in_order_of
from .checks import check_names, match_cells
from .columns import one_column, same_column
from .names import as_names

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def from_parts(
    rna: Parts,
    atac: Parts,
    cells: Names,
    genes: Names,
    peaks: Names,
    obs: Mapping[str, Sequence | np.ndarray | pd.Series] | None = None,
    protein: Parts | None = None,
    proteins: Names = (),
) -> MuData:
    """Build paired cells from the three vectors of each sparse matrix, without copying them.

    Args:
        rna: (data, indices, indptr) of the cells x genes CSR matrix; these are also the slots x, i
            and p of the genes x cells dgCMatrix.
        atac: The same of the cells x peaks matrix.
        cells: Cell names, length n_cells.
        genes: Gene names, length n_genes.
        peaks: Peak names, length n_peaks.
        obs: Columns for `mdata.obs`, n_cells values each; pandas Series with names of cells are
            matched by them.
        protein: The same of a cells x proteins matrix, where there is one.
        proteins: Protein names, length n_proteins.

    Raises:
        InputError: The vectors and the names do not match.
    """
    named = as_names(cells)
    parts = {
        "rna": modality_from_parts("rna", rna, named, genes),
        "atac": modality_from_parts("atac", atac, named, peaks),
    }
    if protein is not None:
        parts["protein"] = modality_from_parts("protein", protein, named, proteins)
    return join_all(parts, obs=None if obs is None else _columns(obs, named))


def _columns(obs: Mapping[str, Any], cells: np.ndarray) -> pd.DataFrame:
    """Columns of the cells; categories stay categories."""
    columns = {}
    for name, values in obs.items():
        values = in_order_of(cells, values, f"obs['{name}']")
        n = 1 if isinstance(values, str) or not hasattr(values, "__len__") else len(values)
        if n != len(cells):
            raise InputError(
                f"obs['{name}'] has {count_of(n, 'value')} for {count_of(len(cells), 'cell')}; "
                "give one for each cell"
            )
        columns[name] = pd.Series(getattr(values, "array", values), index=cells)
    return pd.DataFrame(columns, index=cells)


def modality_from_parts(modality: str, parts: Parts, cells: Names, features: Names) -> AnnData:
    """One modality of `from_parts`."""
    rows, columns = as_names(cells), as_names(features)
    return adata_of(csr_from_parts(parts, (len(rows), len(columns)), modality), rows, columns)


def join(
    rna: AnnData,
    atac: AnnData,
    obs: pd.DataFrame | None = None,
    mosaic: bool = False,
    may_be_mosaic: bool = False,
) -> MuData:
    """`join_all` of RNA, cells x genes, and ATAC, cells x peaks."""
    return join_all({"rna": rna, "atac": atac}, obs, mosaic, may_be_mosaic)


def join_all(
    parts: Mapping[str, AnnData],
    obs: pd.DataFrame | None = None,
    mosaic: bool = False,
    may_be_mosaic: bool = False,
) -> MuData:
    """One MuData of modalities, the cells of each put in the order of the first one.

    Args:
        parts: Cells x features, by modality.
        obs: Columns of the whole for `mdata.obs`, indexed by cell name. Columns of the modalities
            come after them; one of the same name and other values as 'rna:<name>', 'atac:<name>'.
        mosaic: Leave all as they are, also where one lacks cells of another.
        may_be_mosaic: See `match_cells`.

    Raises:
        InputError: Names are duplicated or the modalities do not hold the same cells.
    """
    cells = {modality: as_names(adata.obs_names) for modality, adata in parts.items()}
    for modality, adata in parts.items():
        check_names(modality, cells[modality], as_names(adata.var_names))
    parts, (first, *others) = dict(parts), parts
    for modality in () if mosaic else others:
        order = match_cells(cells[first], cells[modality], may_be_mosaic, (first, modality))
        if order is not None:
            parts[modality] = parts[modality][order].copy()
    with warnings.catch_warnings():
        # MuData warns about its future defaults; the columns are set explicitly below.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        mdata = MuData(parts)
    tables = {f"{modality}:": adata.obs for modality, adata in parts.items()}
    mdata.obs = columns_of_all(mdata.obs_names, ({} if obs is None else {"": obs}) | tables)
    return mdata


def add_the_rest(mdata: MuData, whole: MuData | AnnData) -> None:
    """Add obsm, obsp and uns from the original container of these cells."""
    mdata.uns.update(whole.uns)
    at = pd.Index(as_names(whole.obs_names)).get_indexer(as_names(mdata.obs_names))
    masks = getattr(whole, "mod", {})  # a MuData keeps there which cells a modality has
    for name, values in whole.obsm.items():
        if name not in masks:
            mdata.obsm[name] = values.iloc[at] if hasattr(values, "iloc") else values[at]
    for name, values in whole.obsp.items():
        if name not in masks:
            mdata.obsp[name] = values[at][:, at]


def columns_of_all(cells: pd.Index, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Columns of the whole, then of the modalities; conflicting ones get the modality prefix."""
    columns = pd.DataFrame(index=cells)
    known = {}  # cells with a value in a column
    for prefix, table in tables.items():
        for name in table:
            column = table[name]
            if name not in columns:
                columns[name], known[name] = column, table.index
                continue
            shared = known[name].intersection(column.index)
            more = column.index.difference(known[name])
            if not same_column(columns[name][shared], column[shared]):
                columns[prefix + name] = column
            elif len(more):
                before = columns[name][cells.isin(known[name])]
                columns[name] = one_column(before, column[more]).reindex(cells)
                known[name] = cells
    return columns


def csr_from_parts(parts: Parts, shape: tuple[int, int], modality: str | None) -> sp.csr_matrix:
    """A matrix of the three vectors; `modality` is None where it has the features of all.

    Raises:
        InputError: These are not three vectors, or they do not fit each other or the shape.
    """
    what = "the matrix" if modality is None else f"the {label_of(modality)} matrix"
    if not isinstance(parts, list | tuple) or len(parts) != 3:
        raise InputError(
            f"{what} is not given by its three vectors; give (x.data, x.indices, x.indptr) of a "
            "CSR matrix x"
        )
    data, indices, indptr = (np.asarray(part).reshape(-1) for part in parts)
    word = "feature" if modality is None else feature_of(modality)
    if len(indptr) != shape[0] + 1:
        raise InputError(
            f"{what} has {count_of(len(indptr) - 1, 'cell')}, but "
            f"{count_of(shape[0], 'cell name', 'is', 'are')} given"
        )
    if any(part.dtype.kind not in "iu" for part in (indices, indptr)):
        raise InputError(
            f"{what} is damaged: its index vectors are not whole numbers; make the file again"
        )
    if indptr[0] != 0 or (np.diff(indptr.astype(np.int64)) < 0).any() or indptr[-1] != len(data):
        raise InputError(f"{what} is damaged: its rows do not add up; make the file again")
    if len(indices) and (indices.max() >= shape[1] or indices.min() < 0):
        raise InputError(
            f"{what} has entries for {word} {int(indices.max()) + 1}, but "
            f"{count_of(shape[1], f'{word} name', 'is', 'are')} given"
        )
    try:
        return sp.csr_matrix((data, indices, indptr), shape=shape, copy=False)
    except ValueError as error:
        raise InputError(f"{what} is not a valid sparse matrix: {error}") from error


def adata_of(matrix: sp.csr_matrix, cells: np.ndarray, features: np.ndarray) -> AnnData:
    """Counts and names, nothing else; names may repeat."""
    with warnings.catch_warnings():
        # Repeated names are an error, with the names, when the modalities are joined.
        warnings.simplefilter("ignore", UserWarning)
        return AnnData(X=matrix, obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=features))
