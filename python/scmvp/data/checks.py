"""All input validation in one place; everything the model reads has passed `check_paired`.

The checks never change the caller's object and do not copy data that is already in the required
form: a canonical float32 CSR matrix is returned as is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..errors import InputError
from ..modalities import MODALITIES, PAIR, feature_of, label_of, listed
from ..words import count_of, name_some
from . import matrices
from .claims import check_structure
from .columns import columns_of_cells, refuse_missing_columns
from .containers import is_mudata, modality_parts, refuse_missing, type_name
from .levels import Covered, places_of_levels, stacked
from .matrices import (
    DiskRows,
    Matrix,
    chunks,
    entries_of_cells,
    matrix_of,
    rows_of,
    with_structure,
)
from .names import are_ranges, as_names, chosen_modalities, note
from .paired import Paired, PairedData
from .places import place_in_memory, places_of, refuse_layers_of_absent, remedy
from .types import Expected, columns_of_modality, gene_ids
from .values import LARGEST_COUNT, not_a_count


def check_paired(
    data: PairedData,
    rna_layer: str | None = None,
    atac_layer: str | None = None,
    mosaic: bool = False,
    absent: dict[str, np.ndarray] | None = None,
    columns: Sequence[str] = (),
    modalities: Sequence[str] | None = None,
    protein_layer: str | None = None,
) -> Paired:
    """Extract paired counts from a container, or reject them with a one-sentence error.

    Args:
        data: MuData with modalities 'rna' and 'atac', the pair (RNA AnnData, ATAC AnnData), or one
            AnnData with `var['feature_types']`. The cells of the two may be in different order:
            they are matched by name.
        rna_layer: Layer of the RNA modality that holds counts, or 'raw'; X when None.
        atac_layer: Layer of the ATAC modality that holds counts, or 'raw'; X when None.
        mosaic: Keep unimodal cells. Those of a `Paired` were kept, or not, when it was read.
        absent: Feature names of each modality, for cells of which one was not observed at all:
            then `data` may lack it (a MuData without it, or None in the pair).
        columns: Columns of `obs` to keep in the result.
        modalities: Modalities to read; RNA, ATAC and what else `data` has when None.
        protein_layer: Layer of the protein modality that holds counts, or 'raw'; X when None.

    Returns:
        Paired, with the cells of a MuData in the order of its `obs_names`, those of a pair in the
        order of the RNA modality, those of ATAC alone last.

    Raises:
        InputError: A modality or layer is missing or empty; names are duplicated; the two do not
            have the same cells; `obs_names` of the MuData are not those of its modalities; values
            are negative, not integer, NaN or infinite; a cell has no count in either modality.
    """
    if isinstance(data, Paired):
        refuse_missing_columns(columns, () if data.obs is None else data.obs)
        if modalities is None and absent is not None:
            return _with_absent(data, absent)
        if modalities is None:
            refuse_missing(data.counts, data.counts, may_choose=True)
            return data
        chosen = chosen_modalities(modalities, data.counts)
        counts = {modality: data.counts[modality] for modality in chosen}
        refuse_empty_cells(counts, data.cells)
        of_chosen = {modality: data.features[modality] for modality in chosen}
        return replace(data, counts=counts, features=of_chosen)
    values: dict[str, Any] = {}
    cells, features, advice, ids = {}, {}, {}, None
    layers = {"rna": rna_layer, "atac": atac_layer, "protein": protein_layer}
    query, known = absent is not None, absent or {}
    one_is_enough = query or modalities is not None
    expected = Expected.of(modalities, known)
    given = modality_parts(data, one_is_enough, may_choose=True, expected=expected)
    there = {name: adata for name, adata in given.items() if adata is not None}
    if not query:
        refuse_layers_of_absent(layers, there)
    if modalities is not None:
        given = {name: there[name] for name in chosen_modalities(modalities, there)}
    wanted = [*(given if absent is None else absent)]
    for modality, adata in given.items():
        if adata is None or modality not in wanted:
            continue
        places = places_of(adata)
        cells[modality] = as_names(adata.obs_names)
        if MODALITIES[modality].is_level:
            where = f"the {label_of(modality)} modality"
            values[modality] = places_of_levels(places, where)
            features[modality] = as_names(adata.var_names)
            continue
        place = place_in_memory(places, modality, layers.get(modality), query)
        values[modality], features[modality] = place.values(), place.features()
        var = adata.raw.var if place.is_raw else adata.var
        where = f"the {label_of(modality)} modality"
        columns_wanted = columns_of_modality(var, modality, where, place.is_raw)
        if columns_wanted is not None:
            numbers = _numbers(values[modality], modality)
            values[modality] = matrices.columns_of(numbers, columns_wanted)
            features[modality] = features[modality][columns_wanted]
        if modality == "rna":
            ids = gene_ids(var if columns_wanted is None else var.iloc[columns_wanted])
        advice[modality] = partial(remedy, places, modality, query)
    if not values:
        refuse_none_shared(there, wanted)
    for modality in set(wanted) - set(values):
        cells[modality] = next(iter(cells.values()))
        features[modality] = known[modality]
        empty = _empty(cells[modality], features[modality])
        values[modality] = Covered(empty, empty) if MODALITIES[modality].is_level else empty
    values, cells, features = (
        {modality: part[modality] for modality in wanted} for part in (values, cells, features)
    )
    paired = paired_of(values, cells, features, mosaic, advice, _cells_of(data, cells))
    paired = replace(paired, gene_ids=ids)
    if not columns:
        return paired
    whole: Any = data
    tables = [whole.obs] if is_mudata(data) else []
    tables += [adata.obs for adata in given.values() if adata is not None]
    return replace(paired, obs=columns_of_cells(tables, columns, paired.cells))


def _with_absent(paired: Paired, known: dict[str, np.ndarray]) -> Paired:
    """The same cells, with zero counts in the modalities of a model that they lack.

    Raises:
        InputError: They lack all of them.
    """
    lacking = {
        modality: names for modality, names in known.items() if modality not in paired.counts
    }
    if len(lacking) == len(known):
        refuse_none_shared(paired.counts, known)
    empty = {}
    for modality, names in lacking.items():
        empty[modality] = _empty(paired.cells, names)
        if MODALITIES[modality].is_level:
            empty[modality] = stacked(empty[modality], empty[modality], paired.cells, names)
    return replace(paired, counts=paired.counts | empty, features=paired.features | lacking)


def refuse_none_shared(has: Iterable[str], known: Iterable[str]) -> NoReturn:
    """Refuse cells with none of the modalities of a model."""
    raise InputError(
        f"the cells have {listed(has)}, but the model has {listed(known)}; give cells in which one "
        "of these was measured"
    )


def _empty(cells: np.ndarray, features: np.ndarray) -> sp.csr_matrix:
    return sp.csr_matrix((len(cells), len(features)), dtype=np.float32)


def paired_of(
    values: dict[str, Any],
    cells: dict[str, np.ndarray],
    features: dict[str, np.ndarray],
    mosaic: bool = False,
    advice: Mapping[str, Callable[[], str]] | None = None,
    names: np.ndarray | None = None,
) -> Paired:
    """`check_paired` of matrices and names by modality.

    Args:
        values: Matrices.
        cells: Row names of each.
        features: Column names of each.
        mosaic: Keep unimodal cells.
        advice: See `count_matrix`.
        names: The same cells in the order of the result; that of the RNA when None.
    """
    for modality in values:
        check_names(modality, cells[modality], features[modality])
    _refuse_swapped(features)
    if mosaic:
        found_names, orders = all_cells(cells)
    else:
        (first, found_names), *others = cells.items()
        orders = {first: None}
        for other, own in others:
            orders[other] = match_cells(found_names, own, True, (first, other))
    if names is None or np.array_equal(names, found_names):
        names = found_names
    else:
        orders = {modality: pd.Index(own).get_indexer(names) for modality, own in cells.items()}
    found = {}
    for modality, order in orders.items():
        names_here = cells[modality], features[modality]
        how = None if advice is None else advice.get(modality)
        if isinstance(values[modality], Covered):
            m, n = (count_matrix(part, modality, *names_here) for part in values[modality])
            counts: Matrix = stacked(m, n, *names_here)
        else:
            counts = count_matrix(values[modality], modality, *names_here, how)
        found[modality] = counts if order is None else rows_of(counts, order)
    refuse_empty_cells(found, names)
    return Paired(found, {modality: features[modality] for modality in found}, names)


def _cells_of(data: Any, cells: dict[str, np.ndarray]) -> np.ndarray | None:
    """Cells of RNA and ATAC in the order of a MuData's `obs_names`; None for a pair."""
    if not is_mudata(data):
        return None
    known = pd.Index(as_names(data.obs_names))
    ours = pd.Index(np.concatenate([*cells.values()])).unique()
    everyone = ours.append([pd.Index(as_names(part.obs_names)) for part in data.mod.values()])
    lacking = {
        "obs_names of the MuData lack": ours[~ours.isin(known)],
        "obs_names of the MuData have cells that no modality has:": known[~known.isin(everyone)],
    }
    for what, names in lacking.items():
        if len(names):
            raise InputError(
                f"{what} {name_some(names)} ({len(names):,} in all); call update() of the MuData "
                "after a modality was changed"
            )
    left_out = known[~known.isin(ours)]
    if len(left_out):
        note(
            f"{count_of(len(left_out), 'cell', 'has', 'have')} no {listed(cells, 'or')} and "
            f"{'is' if len(left_out) == 1 else 'are'} left out ({name_some(left_out)})"
        )
    return known[known.isin(ours)].to_numpy()


def check_names(modality: str, cells: np.ndarray, features: np.ndarray) -> None:
    """Refuse a modality without cells or features, and names that occur twice."""
    if len(cells) == 0:
        raise InputError(f"the {label_of(modality)} modality has no cells; give some")
    word = feature_of(modality)
    if len(features) == 0:
        raise InputError(f"the {label_of(modality)} modality has no {word}s; give some")
    check_unique(cells, f"cell names of the {label_of(modality)} modality", "obs_names")
    check_unique(features, word + " names", "var_names")


def _refuse_swapped(features: dict[str, np.ndarray]) -> None:
    if not {*PAIR} <= set(features):
        return
    if are_ranges(features["rna"]) and not are_ranges(features["atac"]):
        raise InputError(
            f"the features of the RNA modality are genomic ranges ({name_some(features['rna'])}), "
            f"those of the ATAC modality are not ({name_some(features['atac'])}); exchange the two"
        )


def match_cells(
    cells: np.ndarray,
    others: np.ndarray,
    may_be_mosaic: bool = False,
    modalities: tuple[str, str] = PAIR,
) -> np.ndarray | None:
    """Positions of cells among those of another modality; None when the order is the same already.

    Args:
        cells: Names.
        others: Names.
        may_be_mosaic: Whether the message may advise the argument `mosaic`.
        modalities: Whose they are.

    Raises:
        InputError: The two modalities do not hold the same cells.
    """
    if np.array_equal(cells, others):
        return None
    index = pd.Index(others)
    order = index.get_indexer(cells)
    alone = dict(zip(modalities, (cells[order < 0], others[~index.isin(cells)]), strict=True))
    labels = [label_of(modality) for modality in modalities]
    if len(alone[modalities[0]]) == len(cells):
        raise InputError(
            f"the two modalities have no cells in common ({labels[0]}: {name_some(cells)}; "
            f"{labels[1]}: {name_some(others)}); give both the same cell names"
        )
    if any(map(len, alone.values())):
        parts = [
            f"{len(names):,} only in {label} ({name_some(names)})"
            for label, names in zip(labels, alone.values(), strict=True)
            if len(names)
        ]
        or_all = ", or use all cells with mosaic=True" if may_be_mosaic else ""
        raise InputError(
            f"the two modalities do not hold the same cells: {' and '.join(parts)}; keep the "
            f"{count_of(int((order >= 0).sum()), 'shared cell')} in both{or_all}"
        )
    return order


def all_cells(
    cells: dict[str, np.ndarray],
) -> tuple[np.ndarray, dict[str, np.ndarray | None]]:
    """Union of the cells, first modality first, and its positions in each modality (-1: absent).

    None instead of positions: all modalities have the same cells in the same order.
    """
    names, *others = cells.values()
    if all(np.array_equal(names, other) for other in others):
        return names, dict.fromkeys(cells)
    for other in others:
        names = np.concatenate([names, other[~pd.Index(other).isin(names)]])
    return names, {modality: pd.Index(own).get_indexer(names) for modality, own in cells.items()}


def count_matrix(
    values: Any,
    modality: str,
    cells: np.ndarray,
    features: np.ndarray,
    advice: Callable[[], str] | None = None,
) -> Matrix:
    """Counts as a canonical float32 CSR matrix, cells x features; on disk where they are.

    Args:
        values: Sparse matrix or array of any format, dense array, or an on-disk AnnData matrix.
        modality: Only for the words of a refusal.
        cells: Row names.
        features: Column names.
        advice: Says where counts are instead, when these are none.

    Raises:
        InputError: Wrong shape or type, or a value that is negative, not an integer or not finite.
    """
    matrix = _numbers(values, modality)
    if matrix.shape != (len(cells), len(features)):
        raise InputError(
            f"the {label_of(modality)} matrix is {matrix.shape[0]} x {matrix.shape[1]}, but there "
            f"are {count_of(len(cells), 'cell name')} and "
            f"{count_of(len(features), f'{feature_of(modality)} name')}; give cells x features"
        )
    if isinstance(matrix, DiskRows):
        start = 0
        for block in matrix.blocks(raw=True):
            _refuse_values(block, modality, cells[start:], features, advice)
            start += block.shape[0]
        return matrix
    _refuse_values(matrix, modality, cells, features, advice)
    if matrix.data.dtype != np.float32:
        matrix = with_structure(matrix.data.astype(np.float32), matrix)
    if matrix.has_canonical_format and np.count_nonzero(matrix.data) == matrix.nnz:
        return matrix
    matrix = matrix.copy()
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def refuse_empty_cells(counts: dict[str, Matrix], cells: np.ndarray) -> None:
    """Refuse cells with no count in any modality; the matrices hold no stored zeros."""
    empty = np.sum([entries_of_cells(part) for part in counts.values()], axis=0) == 0
    if empty.any():
        n = int(empty.sum())
        on_disk = any(isinstance(part, DiskRows) for part in counts.values())
        how = " from the file" if on_disk else ", e.g. with scmvp.filter_paired"
        raise InputError(
            f"{count_of(n, 'cell', 'has', 'have')} no count in {_any_of(counts)} modality "
            f"({name_some(cells[empty])}); remove {'it' if n == 1 else 'them'}{how}"
        )


def _any_of(counts: Mapping[str, Any]) -> str:
    return {1: "the only", 2: "either"}.get(len(counts), "any")


def _numbers(values: Any, modality: str) -> Matrix:
    check_structure(values, f"the {label_of(modality)} matrix")
    matrix = matrix_of(values)
    if matrix is None:
        kind = f" of {values.dtype}" if hasattr(values, "dtype") else ""
        masked = " with masked values" if np.ma.isMaskedArray(values) else ""
        raise InputError(
            f"the {label_of(modality)} matrix is {type_name(values)}{kind}{masked}, not a "
            "matrix of numbers; give a sparse matrix or a two-dimensional array of counts, "
            "cells x features"
        )
    return matrix


def _refuse_values(
    csr: sp.csr_matrix,
    modality: str,
    cells: np.ndarray,
    features: np.ndarray,
    advice: Callable[[], str] | None,
) -> None:
    if csr.data.dtype.kind not in "biuf":
        raise InputError(
            f"the {label_of(modality)} matrix holds values of type {csr.data.dtype}; counts must "
            "be numbers"
        )
    for start, chunk in chunks(csr.data):
        bad = not_a_count(chunk)
        if not bad.any():
            continue
        at = start + int(bad.argmax())
        cell = cells[np.searchsorted(csr.indptr, at, side="right") - 1]
        feature = features[csr.indices[at]]
        where = f"cell '{cell}', {feature_of(modality)} '{feature}'"
        found = "" if advice is None else advice()
        raise InputError(_describe_bad(float(csr.data[at]), label_of(modality), where, found))


def _describe_bad(value: float, label: str, where: str, advice: str) -> str:
    remedy = advice or "; give raw counts"
    if not np.isfinite(value):
        return f"the {label} matrix holds {value} ({where}); replace or remove such values"
    if value < 0:
        return f"the {label} matrix holds a negative value, {value:g} ({where}){remedy}"
    if value != int(value):
        return f"the {label} matrix looks normalized: {value:g} ({where}) is not an integer{remedy}"
    return (
        f"the {label} matrix holds {value:,.10g} ({where}), too large for a count; give counts of "
        f"at most {LARGEST_COUNT:,}"
    )


def check_unique(names: np.ndarray, what: str, attribute: str) -> None:
    """Refuse names that occur twice; `attribute` of an AnnData has them."""
    index = pd.Index(names)
    if index.is_unique:
        return
    repeated = index[index.duplicated()].unique()
    raise InputError(
        f"duplicated {what}: {name_some(repeated)} ({len(repeated):,} in all); make them unique, "
        f"e.g. with adata.{attribute}_make_unique()"
    )
