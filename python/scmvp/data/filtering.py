"""Filtering of cells and features, a step that the user calls on raw data.

A fit never removes a cell.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from ..arguments import whole_number
from ..errors import InputError
from ..modalities import PAIR, feature_of, label_of
from ..words import count_of, name_some
from .checks import check_names, count_matrix, match_cells
from .containers import is_mudata, is_view_on_disk, modality_parts
from .joining import add_the_rest, join_all
from .matrices import feature_cells, in_memory
from .names import as_names, names_of_modalities, note
from .places import (
    Place,
    place_in_memory,
    places_of,
    raw_in_place,
    refuse_layers_of_absent,
    remedy,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


def filter_paired(
    mdata: MuData | tuple[AnnData, AnnData],
    min_genes: int = 200,
    min_peaks: int = 200,
    min_cells: int = 10,
    verbose: bool = True,
    *,
    rna_layer: str | None = None,
    atac_layer: str | None = None,
) -> MuData:
    """Remove cells with few detected features, then features with counts in few of these cells.

    Args:
        mdata: Paired cells, as for `SCMVP`; X, or the named layers, must contain raw counts. The
            object is not changed. Of RNA and ATAC, one may be missing, unless they are given as a
            pair; proteins and methylation keep all their features.
        min_genes: Cells with fewer detected genes are removed.
        min_peaks: Cells with fewer detected peaks are removed.
        min_cells: Genes and peaks with counts in fewer of the remaining cells are removed.
        verbose: Print the numbers of removed cells and features, with the reason.
        rna_layer: Layer with the RNA counts, or 'raw', which becomes X of the result; X when None.
        atac_layer: Layer with the ATAC counts, in the same way.

    Returns:
        A new MuData; `uns['scmvp_filter']` has the numbers of removed cells and features.

    Raises:
        InputError: The input is not paired counts, or nothing would remain.
    """
    least = {
        "rna": whole_number("min_genes", min_genes, at_least=0),
        "atac": whole_number("min_peaks", min_peaks, at_least=0),
    }
    min_cells = whole_number("min_cells", min_cells, at_least=0)
    parts = modality_parts(mdata, one_is_enough=not isinstance(mdata, Sequence))
    parts = {
        name: _in_memory(part) if is_view_on_disk(part) else part for name, part in parts.items()
    }
    there = [modality for modality, adata in parts.items() if adata is not None]
    refuse_layers_of_absent({"rna": rna_layer, "atac": atac_layer}, there)
    filtered, places = {}, {}
    for modality, layer in zip(PAIR, (rna_layer, atac_layer), strict=True):
        adata = parts.pop(modality)
        if adata is not None:
            filtered[modality], layer = raw_in_place(adata, layer)
            places[modality] = place_in_memory(places_of(filtered[modality]), modality, layer)
    whole: Any = mdata if is_mudata(mdata) else None
    if not filtered:
        raise InputError(
            f"filter_paired counts genes and peaks, but the MuData has neither RNA nor ATAC "
            f"(modalities: {', '.join(whole.mod)}); leave this step out"
        )
    counts, orders = _counted(filtered, places)
    detected = {name: np.diff(counts[name].indptr)[orders[name]] for name in counts}
    keep, account = _cells_to_keep(detected, least)
    account["min_cells"] = min_cells
    kept = {}
    for modality, matrix in counts.items():
        rows = orders[modality][keep]
        seen = _features_to_keep(matrix[rows], modality, min_cells)
        word = feature_of(modality)
        account |= {f"n_{word}s_in": len(seen), f"n_{word}s": int(seen.sum())}
        kept[modality] = _in_memory(filtered[modality][rows, seen])
    first, others = next(iter(filtered)), {}
    cells = as_names(filtered[first].obs_names)
    for modality, adata in parts.items():
        if adata is not None:  # of the same cells, as it is
            at = match_cells(cells, as_names(adata.obs_names), modalities=(first, modality))
            others[modality] = _in_memory(adata[np.flatnonzero(keep) if at is None else at[keep]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        result = join_all(kept | others, obs=None if whole is None else whole.obs)
    if whole is not None:
        add_the_rest(result, whole)
        if left := [
            name for name in whole.mod if name not in names_of_modalities(whole.mod).values()
        ]:
            note(f"modalities that are not modeled are left out: {name_some(left)}")
    result.uns["scmvp_filter"] = account
    if verbose:
        print(describe_filter(account))
    return result


def _in_memory(view: AnnData) -> AnnData:
    return view.to_memory() if view.isbacked else view.copy()


def _counted(
    filtered: dict[str, AnnData], places: dict[str, Place]
) -> tuple[dict[str, sp.csr_matrix], dict[str, np.ndarray]]:
    """Checked counts by modality, and where in each the cells of the first are."""
    cells, counts = {}, {}
    for modality, adata in filtered.items():
        cells[modality] = as_names(adata.obs_names)
        check_names(modality, cells[modality], as_names(adata.var_names))
    first, *rest = cells
    orders = {first: np.arange(len(cells[first]))}
    for modality in rest:
        at = match_cells(cells[first], cells[modality])
        orders[modality] = orders[first] if at is None else at
    for modality, place in places.items():
        advice = partial(remedy, places_of(filtered[modality]), modality)
        matrix = count_matrix(place.values(), modality, cells[modality], place.features(), advice)
        counts[modality] = in_memory(matrix)
    return counts, orders


def _cells_to_keep(
    detected: dict[str, np.ndarray], least: dict[str, int]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Which cells are kept, (n,) bool, and the summary; an error if none is.

    Args:
        detected: Number of detected features of each cell, (n,), by modality.
        least: That a cell needs, by modality.
    """
    few = {modality: number < least[modality] for modality, number in detected.items()}
    keep = ~np.logical_or.reduce([*few.values()])
    if not keep.any():
        needed = [count_of(least[name], feature_of(name)) for name in detected]
        medians = [f"{np.median(number):,.0f}" for number in detected.values()]
        options = [f"min_{feature_of(name)}s" for name in detected]
        raise InputError(
            f"no cell has at least {' and '.join(needed)} (median{'s' * (len(few) > 1)}: "
            f"{' and '.join(medians)}); lower {' or '.join(options)}"
        )
    account = {"n_cells_in": len(keep), "n_cells": int(keep.sum())}
    for modality, cells in few.items():
        word = feature_of(modality)
        account |= {f"min_{word}s": least[modality], f"cells_with_few_{word}s": int(cells.sum())}
    if len(few) > 1:
        account["cells_with_few_of_both"] = int(np.logical_and.reduce([*few.values()]).sum())
    return keep, account


def _features_to_keep(counts: sp.csr_matrix, modality: str, min_cells: int) -> np.ndarray:
    """Which features are seen in enough of these cells, (n_features,) bool; not none."""
    seen = feature_cells(counts) >= min_cells
    if not seen.any():
        raise InputError(
            f"no {feature_of(modality)} of the {label_of(modality)} modality is seen in "
            f"{min_cells:,} of the {count_of(counts.shape[0], 'remaining cell')}; lower min_cells"
        )
    return seen


def describe_filter(account: dict[str, Any]) -> str:
    """The numbers of `filter_paired` in a line for the cells and one for each modality."""
    words = [word for word in map(feature_of, PAIR) if f"n_{word}s" in account]
    few = [
        f"{account[f'cells_with_few_{word}s']:,} with fewer than "
        f"{count_of(account[f'min_{word}s'], word)}"
        for word in words
    ]
    if "cells_with_few_of_both" in account:
        few[-1] += f" ({account['cells_with_few_of_both']:,} for both reasons)"
    lines = [
        f"cells: {account['n_cells']:,} of {account['n_cells_in']:,} kept; "
        f"removed: {', '.join(few)}"
    ]
    lines += [
        f"{word}s: {account[f'n_{word}s']:,} of {account[f'n_{word}s_in']:,} kept "
        f"(seen in at least {count_of(account['min_cells'], 'cell')})"
        for word in words
    ]
    return "\n".join(lines)
