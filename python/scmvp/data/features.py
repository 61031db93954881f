"""Which features a model has, and the counts of any cells in these features."""

from __future__ import annotations

import dataclasses
import re
import warnings

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..errors import InputError, InputNote
from ..modalities import MODALITIES, feature_of, label_of
from ..words import count_of, name_some
from .levels import both_columns, covered_cells
from .matrices import DiskRows, Matrix, columns_of, entries_of_cells, feature_cells
from .names import RANGE, note
from .paired import Paired
from .preprocess import insertions_to_fragments, looks_like_insertions

# Smallest proportion of a model's genes, and of its peaks, that a query must have.
MIN_SHARED = 0.8


def in_fragments(paired: Paired) -> Paired:
    """The same cells with insertions converted to fragments."""
    fragments = insertions_to_fragments(paired.atac)
    return dataclasses.replace(paired, counts=paired.counts | {"atac": fragments}, converted=True)


def modeled_features(given: Paired, min_cells: int) -> Paired:
    """The same cells without features detected in fewer than `min_cells` of them.

    In a panel, such as proteins, only features detected in no cell are removed.
    """
    counts, features, ids = {}, {}, None
    for modality, matrix in given.counts.items():
        names = given.features[modality]
        least = min(min_cells, 1) if MODALITIES[modality].is_panel else min_cells
        cells_with = covered_cells if MODALITIES[modality].is_level else feature_cells
        kept = np.flatnonzero(cells_with(matrix) >= least)
        word = feature_of(modality)
        if not len(kept):
            raise InputError(
                f"none of the {count_of(len(names), word)} is seen in at least {least:,} of "
                f"the {count_of(len(given.cells), 'cell')}; give more cells or a smaller min_cells"
            )
        modeled = _columns(matrix, kept, modality)
        if modeled is matrix and not isinstance(matrix, DiskRows):
            # a copy: the caller may normalize the original in place before or after the fit
            modeled = sp.csr_matrix(
                (matrix.data.copy(), matrix.indices, matrix.indptr), shape=matrix.shape
            )
        counts[modality], features[modality] = modeled, names[kept]
        if modality == "rna" and given.gene_ids is not None:
            ids = given.gene_ids[kept]
    return dataclasses.replace(given, counts=counts, features=features, gene_ids=ids)


def in_features(
    paired: Paired, modeled: dict[str, np.ndarray], gene_ids: np.ndarray | None = None
) -> Paired:
    """Counts of other cells in the columns of a model; zero for a feature that they lack.

    Args:
        paired: The cells.
        modeled: Names of the features of the model.
        gene_ids: Ids of its genes, where these are known.

    Raises:
        InputError: They have less than `MIN_SHARED` of the model's genes or of its peaks.
    """
    at = {
        modality: match_features(names, paired.features[modality], modality)
        for modality, names in modeled.items()
    }
    if "rna" in at and gene_ids is not None and paired.gene_ids is not None:
        at["rna"] = match_ids(at["rna"], modeled["rna"], gene_ids, paired.gene_ids)
    counts, absent = {}, {}
    for modality, names in modeled.items():
        _tell_missing(at[modality], names, paired.features[modality], modality)
        counts[modality] = _columns(paired.counts[modality], at[modality], modality)
        known = paired.absent.get(modality, names[:0])  # cells may be matched twice
        absent[modality] = np.concatenate([known, names[at[modality] < 0]])
    return dataclasses.replace(
        paired, counts=counts, features=dict(modeled), absent=absent, gene_ids=gene_ids
    )


def match_features(modeled: np.ndarray, have: np.ndarray, modality: str) -> np.ndarray:
    """Position of each model feature among others: by exact name, else by normalized name.

    If two features have the same normalized name, neither is used. `ProjectSCMVP()` in R follows
    the same rule.

    Returns:
        (n_modeled,) positions, -1 where there is none.
    """
    others = pd.Index(have)
    at = others.get_indexer(modeled)
    if (at >= 0).all():
        return at
    # regions may be intervals or genes
    meaning = gene_meaning if modality in ("rna", "protein") else range_meaning
    missing = at < 0
    sought = pd.Series([meaning(name) for name in modeled[missing]])
    found = pd.Series([meaning(name) for name in others])
    taken = found.duplicated(keep=False).to_numpy() | others.isin(modeled)
    free = np.flatnonzero(~taken)
    position = pd.Index(found.iloc[free]).get_indexer(sought)
    position[sought.duplicated(keep=False).to_numpy()] = -1
    at[missing] = np.where(position < 0, -1, free[position] if len(free) else -1)
    return at


def match_ids(at: np.ndarray, names: np.ndarray, ids: np.ndarray, have: np.ndarray) -> np.ndarray:
    """Match genes by name, or by ID if the known IDs contradict the names.

    Args:
        at: (n_modeled,) positions found by name, -1 where there is none.
        names: Names of the genes of the model.
        ids: Their ids; '' where unknown.
        have: Ids of the others.

    Returns:
        (n_modeled,) positions, -1 where there is none.
    """
    other = (at >= 0) & (ids != "") & (have[at] != "") & (ids != have[at])
    if 2 * other.sum() > (at >= 0).sum():
        note(
            f"gene_ids of the query are not those of the model ({name_some(have)}; the model has "
            f"{name_some(ids)}): genes are matched by name alone"
        )
        return at
    sought = np.flatnonzero((other | (at < 0)) & (ids != ""))
    once = np.flatnonzero(~pd.Series(have).duplicated(keep=False))
    position = pd.Index(have[once]).get_indexer(ids[sought])
    position = np.where(position < 0, -1, once[position] if len(once) else -1)
    at = np.where(other, -1, at)
    position[np.isin(position, at) | pd.Series(ids[sought]).duplicated(keep=False)] = -1
    at[sought] = position
    if (lost := other & (at < 0)).any():
        n = int(lost.sum())
        note(
            f"{count_of(n, 'gene', 'has', 'have')} different ids in the query and in the model "
            f"({name_some(names[lost])}) and {'is' if n == 1 else 'are'} left out"
        )
    return at


def range_meaning(name: str) -> str:
    """The interval of a peak name in any format; any other name unchanged."""
    parts = RANGE.fullmatch(name)
    if parts is None or int(parts[3]) < int(parts[2]):
        return name
    # Seurat turns '_' within names of sequences into '-'
    return f"{parts[1].replace('_', '-')}-{int(parts[2])}-{int(parts[3])}"


def gene_meaning(name: str) -> str:
    """A gene name as Seurat changes it: '_' and '|' become '-'."""
    return re.sub("[_|]", "-", name)


def _tell_missing(at: np.ndarray, modeled: np.ndarray, have: np.ndarray, modality: str) -> None:
    """Warn about model features that are missing and count as zero; reject if too many are."""
    missing = at < 0
    if not missing.any():
        return
    n, word = int(missing.sum()), feature_of(modality)
    if 1 - n / len(at) < MIN_SHARED:
        how = f"give it the {word}s of the model, with names of the same kind"
        if modality == "atac":
            how = "count its fragments in the peaks of the model"
        raise InputError(
            f"the query has only {len(at) - n:,} of the model's {count_of(len(at), word)} (the "
            f"model has {name_some(modeled[missing])}; the query {name_some(have)}): {how}"
        )
    warnings.warn(
        f"{count_of(n, word)} of the model ({100 * n / len(at):.1f} %) not in the query "
        f"{'counts' if n == 1 else 'count'} as zero ({name_some(modeled[missing])})",
        InputNote,
        stacklevel=4,
    )


def counted_as_fitted(paired: Paired, insertions: bool) -> Paired:
    """The query with insertions converted to fragments, if its counts are insertions.

    Args:
        paired: Cells to be embedded.
        insertions: Whether the counts of the fitted cells were insertions; assumed for queries that
            are too small to decide.
    """
    if "atac" not in paired.counts or paired.converted:
        return paired
    seen = looks_like_insertions(paired.atac)
    if seen is not None and seen != insertions:
        query, fitted = ("insertions", "fragments") if seen else ("fragments", "insertions")
        done = "the query is read as fragments, (y + 1) // 2" if seen else "the query is not halved"
        warnings.warn(
            f"the query's ATAC counts look like {query} ({'most' if seen else 'few'} are even), "
            f"those of the fitted cells like {fitted}: {done}",
            InputNote,
            stacklevel=5,
        )
    return in_fragments(paired) if (insertions if seen is None else seen) else paired


def warn_of_empty_rows(paired: Paired, modality: str) -> None:
    """Warn of cells without any count in the modality from which they are embedded.

    Raises:
        InputError: No cell has one.
    """
    empty = ~cells_with_counts(paired.counts[modality], modality)
    if empty.any():
        warnings.warn(
            f"{count_of(int(empty.sum()), 'cell', 'has', 'have')} no {label_of(modality)} count "
            f"({name_some(paired.cells[empty])}): the {label_of(modality)} latent of such cells "
            "has no meaning",
            InputNote,
            stacklevel=3,
        )


def cells_with_counts(counts: Matrix, modality: str) -> np.ndarray:
    """Which cells have counts in a modality, (n,) bool; an error if none has."""
    counted = entries_of_cells(counts) > 0
    if not counted.any():
        label = label_of(modality)
        raise InputError(
            f"none of {count_of(len(counted), 'cell')} has {label} counts; give cells in which "
            f"{label} was measured"
        )
    return counted


def empty_cells(paired: Paired) -> dict[str, np.ndarray]:
    """Cells without counts, by modality, (n,) bool; an error if a cell has no counts at all."""
    empty = {modality: entries_of_cells(part) == 0 for modality, part in paired.counts.items()}
    if (none := np.logical_and.reduce([*empty.values()])).any():
        n = int(none.sum())
        raise InputError(
            f"{count_of(n, 'cell', 'has', 'have')} no count in any modeled feature "
            f"({name_some(paired.cells[none])}); leave {'it' if n == 1 else 'them'} out"
        )
    return empty


def _columns(matrix: Matrix, features: np.ndarray, modality: str) -> Matrix:
    """Features in the order asked for; the matrix itself where that changes nothing."""
    columns = features
    if MODALITIES[modality].is_level:
        columns = both_columns(features, matrix.shape[1] // 2)
    if len(columns) == matrix.shape[1] and (columns == np.arange(len(columns))).all():
        return matrix
    return columns_of(matrix, columns)
