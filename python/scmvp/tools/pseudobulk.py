"""Sums of the counts of each sample in each group of cells, for methods that compare samples.

Sums are products of one sparse matrix, pseudobulks x cells, with blocks of the counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..arguments import whole_number
from ..data.annotated import CLUSTERS, column_of, counts_in, labels_of
from ..data.checks import all_cells, check_names
from ..data.containers import is_anndata, is_mudata, modality_in, modality_parts, tables_of
from ..data.features import cells_with_counts
from ..data.labels import level_codes
from ..data.matrices import Matrix, pieces_of, rows_of
from ..data.names import as_names, make_unique, note
from ..data.paired import PairedData
from ..data.types import feature_types
from ..errors import InputError
from ..modalities import MODALITIES
from ..words import count_of, name_some

if TYPE_CHECKING:
    from anndata import AnnData


class Labels(NamedTuple):
    """A level for every cell."""

    code: np.ndarray  # (cells,), -1 where there is none
    levels: list[str]

    @property
    def names(self) -> np.ndarray:
        """(cells,) objects."""
        return np.array([*self.levels, None], dtype=object)[self.code]

    def of(self, cells: np.ndarray) -> Labels:
        """Those of some cells, with the levels that these have."""
        found = np.unique(self.code[cells])
        return Labels(
            np.searchsorted(found, self.code[cells]), [self.levels[level] for level in found]
        )


class Counted(NamedTuple):
    """Cells with counts and a group."""

    counts: Matrix  # cells x features
    features: np.ndarray
    cells: np.ndarray  # names
    labels: dict[str, Labels]  # by argument
    data: PairedData


class Sums(NamedTuple):
    """`group` and `sample` are codes of levels."""

    counts: sp.csr_matrix  # pseudobulks x features, whole numbers
    group: np.ndarray
    sample: np.ndarray
    n_cells: np.ndarray
    names: list[str]


def pseudobulk(
    data: PairedData,
    sample: str | Sequence | np.ndarray | pd.Series,
    groupby: str | Sequence | np.ndarray | pd.Series = CLUSTERS,
    modality: str = "rna",
    *,
    layer: str | None = None,
    min_cells: int = 10,
) -> AnnData:
    """Sum the counts of the cells of each sample (donor) in each group (cluster, cell type).

    Args:
        data: MuData, pair of AnnData or AnnData with raw counts. No fit is needed.
        sample: Column of obs, or a value for each cell: the sample of the cell.
        groupby: Column of obs, or a value for each cell. Cells with a missing value and cells
            without counts are left out.
        modality: 'rna', 'atac', 'protein', or 'methylation', which needs `layer`.
        layer: Layer with raw counts; X when None. Of methylation, 'methylated' or 'covered'.
        min_cells: Samples with fewer cells in a group are left out; a warning reports their
            number.

    Returns:
        AnnData of pseudobulks x features. X: int64 sums, CSR. obs: 'group', 'sample' (categories in
        the order of those of the cells), 'n_cells', and the columns of obs that are the same in all
        cells of a sample ('.1' is added to the name of a column that is named like one of the
        first three).

    Raises:
        InputError: No such column, modality or layer; values that are not counts; cells without a
            sample; a `sample` that names cells instead of samples; no pseudobulk with
            `min_cells` cells.
    """
    from anndata import AnnData

    counted = counted_cells(data, {"groupby": groupby, "sample": sample}, modality, layer)
    sums = sums_of_samples(counted, whole_number("min_cells", min_cells))
    group, samples = counted.labels["groupby"], counted.labels["sample"]
    obs = {
        "group": pd.Categorical.from_codes(sums.group, group.levels),
        "sample": pd.Categorical.from_codes(sums.sample, samples.levels),
        "n_cells": sums.n_cells,
    }
    columns = constant_columns(data, counted.cells, samples)
    names = make_unique([*obs, *columns])[len(obs) :]
    for name, column in zip(names, columns.values(), strict=True):
        obs[name] = column.array[sums.sample]
    return AnnData(
        sums.counts,
        obs=pd.DataFrame(obs, index=sums.names),
        var=pd.DataFrame(index=counted.features),
    )


def counted_cells(data: Any, given: Mapping[str, Any], modality: str, layer: str | None) -> Counted:
    """The cells with counts and a group, and their labels.

    Args:
        data: As for `pseudobulk`.
        given: 'groupby', 'sample' and what else is a label of each cell, by argument: columns of
            obs, or values.
        modality: Name of the modality.
        layer: With raw counts; X when None.
    """
    adata, names = _modality_and_cells(data, modality)
    counts, features, own = counts_in(adata, modality, layer)
    values = {
        argument: column_of(data, by, names) if isinstance(by, str) else by
        for argument, by in given.items()
    }
    labels = {
        argument: Labels(*level_codes(by, labels_of(data, by, names, argument)))
        for argument, by in values.items()
    }
    order = pd.Index(own).get_indexer(names)
    if not np.array_equal(order, np.arange(counts.shape[0])):
        counts = rows_of(counts, order)  # a cell that the modality lacks has no counts
    group = labels["groupby"].code
    if (group < 0).all():
        raise InputError("groupby has no value for any cell; give the group of each cell")
    use = np.flatnonzero((group >= 0) & cells_with_counts(counts, modality))
    for argument in given:
        if argument != "groupby":
            refuse_missing(labels[argument].code[use] < 0, argument, names[use])
    labels = {argument: found.of(use) for argument, found in labels.items()}
    _refuse_no_samples(labels["sample"], values["sample"])
    return Counted(rows_of(counts, use), features, names[use], labels, data)


def refuse_missing(missing: np.ndarray, what: str, cells: np.ndarray) -> None:
    """Refuse cells without a value."""
    if missing.any():
        raise InputError(
            f"{what} has no value for {count_of(int(missing.sum()), 'cell')} "
            f"({name_some(cells[missing])}); give every cell a value, or leave these cells out, "
            "e.g. with a missing group (None) in groupby"
        )


def sums_of_samples(counted: Counted, min_cells: int) -> Sums:
    """Sums over the cells of a group and sample, of those with at least `min_cells`."""
    group, sample = counted.labels["groupby"], counted.labels["sample"]
    # groups one after the other, the samples of each in their order
    unit = group.code * len(sample.levels) + sample.code
    known, at, size = np.unique(unit, return_inverse=True, return_counts=True)
    enough = size >= min_cells
    if not enough.any():
        raise InputError(
            f"no sample has as many cells of a group as min_cells={min_cells} (the most are "
            f"{size.max()}); "
            "lower min_cells, or choose larger groups with groupby"
        )
    if not enough.all():
        note(
            f"{count_of(int((~enough).sum()), 'pseudobulk', 'is', 'are')} left out, because they "
            f"have fewer cells than min_cells={min_cells} "
            f"({count_of(int(size[~enough].sum()), 'cell')} of "
            f"{len(unit):,})"
        )
    place = np.where(enough, np.cumsum(enough) - 1, -1)[at.ravel()]
    used = np.flatnonzero(place >= 0)
    ones = np.ones(len(used), dtype=np.int64)
    belongs = sp.csc_matrix((ones, (place[used], used)), shape=(int(enough.sum()), len(unit)))
    total = sp.csr_matrix((belongs.shape[0], counted.counts.shape[1]), dtype=np.int64)
    start = 0
    for block in pieces_of(counted.counts):
        stop = start + block.shape[0]
        total = total + belongs[:, start:stop] @ block.astype(np.int64)
        start = stop
    of_group, of_sample = np.divmod(known[enough], len(sample.levels))
    names = [
        f"{group.levels[g]}_{sample.levels[s]}" for g, s in zip(of_group, of_sample, strict=True)
    ]
    return Sums(sp.csr_matrix(total), of_group, of_sample, size[enough], make_unique(names))


def constant_columns(data: Any, cells: np.ndarray, sample: Labels) -> dict[str, pd.Series]:
    """Columns of obs that are the same in all cells of a sample, a value per sample."""
    first = np.unique(sample.code, return_index=True)[1]
    found = {}
    for name in dict.fromkeys(name for table in tables_of(data) for name in table.obs):
        column = column_of(data, name, cells)
        if is_constant(column, sample.code, first):
            found[str(name)] = column.iloc[first]
    return found


def is_constant(column: pd.Series, code: np.ndarray, first: np.ndarray) -> bool:
    """Whether each sample has one value, which may be a missing one.

    Args:
        column: (cells,).
        code: Sample of each cell.
        first: A cell of each sample.
    """
    return not varying(column, code, first).any()


def varying(column: pd.Series, code: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Whether each cell has another value than the first cell of its sample; (cells,) bool."""
    values = pd.factorize(column)[0]
    return values != values[first][code]


def _modality_and_cells(data: Any, modality: str) -> tuple[AnnData, np.ndarray]:
    """The modality, and the names of all cells in the order of values without names."""
    if is_mudata(data):
        return modality_in(data, modality), as_names(data.obs_names)
    if modality not in MODALITIES:
        raise InputError(f"modality is {modality!r}; use {' or '.join(map(repr, MODALITIES))}")
    if is_anndata(data) and feature_types(data.var) is None:
        return data, as_names(data.obs_names)
    parts = modality_parts(data, one_is_enough=True)
    names = {key: as_names(part.obs_names) for key, part in parts.items() if part is not None}
    for key, part in parts.items():
        if part is not None:
            check_names(key, names[key], as_names(part.var_names))
    found: Any = parts.get(modality)
    if found is None:
        raise InputError(f"modality is {modality!r}; use {' or '.join(map(repr, names))}")
    return found, all_cells(names)[0]


def _refuse_no_samples(sample: Labels, values: Any) -> None:
    """A column of numbers, or of a value for nearly every cell, is another one than was meant."""
    n_cells = len(sample.code)
    values = pd.Series(np.asarray(values)).dropna()
    measured = values.dtype.kind == "f" and bool((values != values.round()).any())
    if measured or len(sample.levels) > max(1, n_cells / 2):
        what = "measured value" if measured else "value"
        raise InputError(
            f"sample has {count_of(len(sample.levels), what)} for "
            f"{count_of(n_cells, 'cell')} ('{sample.levels[0]}', ...); name the column with the "
            "sample, or donor, of each cell"
        )
