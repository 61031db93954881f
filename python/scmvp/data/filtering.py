"""Filtering of cells and features, a step that the user calls on raw data.

A fit never removes a cell.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from ..arguments import whole_number
from ..errors import InputError
from ..modalities import PAIR, feature_of, label_of
from ..words import count_of
from .checks import check_names, count_matrix, match_cells
from .containers import as_names, is_mudata, modality_pair, modality_parts
from .joining import join_all
from .matrices import feature_cells, in_memory
from .places import Place, place_in_memory, places_of, raw_in_place, remedy

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
            object is not changed.
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
    min_genes, min_peaks, min_cells = (
        whole_number(name, value, at_least=0)
        for name, value in (
            ("min_genes", min_genes), ("min_peaks", min_peaks), ("min_cells", min_cells)
        )
    )  # fmt: skip
    pair, places = {}, {}
    layers = (rna_layer, atac_layer)
    for modality, adata, layer in zip(PAIR, modality_pair(mdata), layers, strict=True):
        pair[modality], layer = raw_in_place(adata, layer)
        places[modality] = place_in_memory(places_of(pair[modality]), modality, layer)
    counts, order = _counted(pair, places)
    keep, account = _cells_to_keep(counts, order, min_genes, min_peaks, min_cells)
    rows = {"rna": np.flatnonzero(keep), "atac": order[keep]}
    kept = {}
    for modality, matrix in counts.items():
        seen = _features_to_keep(matrix[rows[modality]], modality, min_cells)
        word = feature_of(modality)
        account |= {f"n_{word}s_in": len(seen), f"n_{word}s": int(seen.sum())}
        kept[modality] = pair[modality][rows[modality]][:, seen].copy()
    others, cells = {}, as_names(pair["rna"].obs_names)
    for modality, adata in modality_parts(mdata).items():
        if modality not in PAIR and adata is not None:  # of the same cells, as it is
            at = match_cells(cells, as_names(adata.obs_names), modalities=("rna", modality))
            others[modality] = adata[rows["rna"] if at is None else at[rows["rna"]]].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        whole: Any = mdata if is_mudata(mdata) else None
        result = join_all(kept | others, obs=None if whole is None else whole.obs)
    if whole is not None:
        result.uns.update(whole.uns)
    result.uns["scmvp_filter"] = account
    if verbose:
        print(describe_filter(account))
    return result


def _counted(
    pair: dict[str, AnnData], places: dict[str, Place]
) -> tuple[dict[str, sp.csr_matrix], np.ndarray]:
    """Checked counts by modality, and where each cell of the RNA is among those of the ATAC."""
    cells = {}
    for modality, adata in pair.items():
        cells[modality] = as_names(adata.obs_names)
        check_names(modality, cells[modality], as_names(adata.var_names))
    order = match_cells(cells["rna"], cells["atac"])
    counts = {}
    for modality, place in places.items():
        advice = partial(remedy, places_of(pair[modality]), modality)
        matrix = count_matrix(place.values(), modality, cells[modality], place.features(), advice)
        counts[modality] = in_memory(matrix)
    return counts, np.arange(len(cells["rna"])) if order is None else order


def _cells_to_keep(
    counts: dict[str, sp.csr_matrix],
    order: np.ndarray,
    min_genes: int,
    min_peaks: int,
    min_cells: int,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Which cells of the RNA stay, (n,) bool, and the account of it; some do, or a refusal."""
    n_genes, n_peaks = np.diff(counts["rna"].indptr), np.diff(counts["atac"].indptr)[order]
    few_genes, few_peaks = n_genes < min_genes, n_peaks < min_peaks
    keep = ~(few_genes | few_peaks)
    if not keep.any():
        raise InputError(
            f"no cell has at least {count_of(min_genes, 'gene')} and "
            f"{count_of(min_peaks, 'peak')} (medians: {np.median(n_genes):,.0f} and "
            f"{np.median(n_peaks):,.0f}); lower min_genes or min_peaks"
        )
    return keep, {
        "min_genes": min_genes,
        "min_peaks": min_peaks,
        "min_cells": min_cells,
        "n_cells_in": len(keep),
        "n_cells": int(keep.sum()),
        "cells_with_few_genes": int(few_genes.sum()),
        "cells_with_few_peaks": int(few_peaks.sum()),
        "cells_with_few_of_both": int((few_genes & few_peaks).sum()),
    }


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
    """The numbers of `filter_paired` in three lines."""
    return (
        f"cells: {account['n_cells']:,} of {account['n_cells_in']:,} kept "
        f"({account['cells_with_few_genes']:,} with fewer than "
        f"{count_of(account['min_genes'], 'gene')}, {account['cells_with_few_peaks']:,} with fewer "
        f"than {count_of(account['min_peaks'], 'peak')}, "
        f"{account['cells_with_few_of_both']:,} of them with both)\n"
        f"genes: {account['n_genes']:,} of {account['n_genes_in']:,} kept "
        f"(seen in at least {count_of(account['min_cells'], 'cell')})\n"
        f"peaks: {account['n_peaks']:,} of {account['n_peaks_in']:,} kept "
        f"(seen in at least {count_of(account['min_cells'], 'cell')})"
    )
