"""Before the model: which cells and features are worth modeling, and how many clusters to expect.

`filter_paired` is a step the user calls on raw data; fitting itself never drops a cell.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator

from .checks import (
    FEATURE_WORD,
    LABEL,
    MODALITIES,
    as_names,
    check_names,
    count_matrix,
    layer_values,
    match_cells,
    modality_pair,
)
from .errors import InputError
from .spectral import leading, residuals, scaled_counts

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

TFIDF_SCALE = 1e4

MIN_CLUSTERS, MAX_CLUSTERS = 2, 50

_RANK_CELLS = 3_000
_RANK_ENTRIES = 6_000_000
# Eigenvalues within 5 % of the null's edge are not counted: overdispersed noise reaches there.
_RANK_MARGIN = 1.05
_RANK_STEPS = (16, MAX_CLUSTERS)


def feature_cells(counts: sp.csr_matrix) -> np.ndarray:
    """Number of cells in which each feature is seen; (n_features,) int64.

    Args:
        counts: Cells x features, canonical (no stored zeros).
    """
    return np.bincount(counts.indices, minlength=counts.shape[1])


def counts_insertions(counts: sp.csr_matrix) -> bool:
    """Whether ATAC counts are of insertions: a fragment has two ends, so most counts are even.

    Of independent events, however many, even counts are never much more frequent than odd ones.
    """
    odd = int((counts.data % 2).sum())
    return len(counts.data) - odd > 2 * odd


def insertions_to_fragments(counts: sp.csr_matrix) -> sp.csr_matrix:
    """Fragments per peak from insertions per peak, (y + 1) // 2; an odd end lies outside the peak.

    Counted by their ends, fragments are neither Poisson nor independent (Martens et al., Nature
    Methods 2024): every likelihood would see each fragment twice.
    """
    return sp.csr_matrix(
        (np.ceil(counts.data / 2), counts.indices, counts.indptr), shape=counts.shape
    )


def inverse_document_frequency(counts: sp.csr_matrix) -> np.ndarray:
    """Number of cells over the number of counts of each feature; (n_features,) float32.

    A feature without counts gets 0, so that it weighs nothing.
    """
    totals = np.asarray(counts.sum(axis=0, dtype=np.float64)).ravel()
    idf = np.zeros_like(totals)
    np.divide(counts.shape[0], totals, out=idf, where=totals > 0)
    return idf.astype(np.float32)


def tf_idf(counts: sp.csr_matrix, idf: np.ndarray | None = None) -> sp.csr_matrix:
    """Term frequency times inverse document frequency, log1p(1e4 tf idf); what the encoders read.

    Args:
        counts: Cells x peaks.
        idf: (n_peaks,) of the cells to compare with; that of these cells when None.

    Returns:
        Cells x peaks, float32, as sparse as the counts.
    """
    idf = inverse_document_frequency(counts) if idf is None else idf
    size = np.asarray(counts.sum(axis=1)).ravel()
    weighted = sp.csr_matrix(counts, dtype=np.float32, copy=True)
    tf = weighted.data / np.repeat(size, np.diff(weighted.indptr))
    weighted.data = np.log1p(TFIDF_SCALE * tf * idf[weighted.indices]).astype(np.float32)
    return weighted


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
    """Leave out poor cells, then features seen in few of the cells that stay.

    Args:
        mdata: Paired cells; X, or the layers named, holds raw counts. It is not changed.
        min_genes: Cells with fewer detected genes go.
        min_peaks: Cells with fewer detected peaks go.
        min_cells: Genes and peaks seen in fewer of the remaining cells go.
        verbose: Print what went and why.
        rna_layer: Layer with the RNA counts; X when None.
        atac_layer: Layer with the ATAC counts; X when None.

    Returns:
        A new MuData; the account is in `uns['scmvp_filter']`.

    Raises:
        InputError: The input is not paired counts, or nothing would be left.
    """
    from .io import join

    pair = modality_pair(mdata)
    layers = (rna_layer, atac_layer)
    cells = {}
    for modality, adata in zip(MODALITIES, pair, strict=True):
        cells[modality] = as_names(adata.obs_names)
        check_names(modality, cells[modality], as_names(adata.var_names))
    order = match_cells(cells["rna"], cells["atac"])
    counts = [
        count_matrix(
            layer_values(adata, modality, layer),
            modality,
            cells[modality],
            as_names(adata.var_names),
        )
        for modality, adata, layer in zip(MODALITIES, pair, layers, strict=True)
    ]
    position = np.arange(len(cells["rna"])) if order is None else order
    n_genes = np.diff(counts[0].indptr)
    n_peaks = np.diff(counts[1].indptr)[position]
    few_genes, few_peaks = n_genes < min_genes, n_peaks < min_peaks
    keep = ~(few_genes | few_peaks)
    if not keep.any():
        raise InputError(
            f"no cell has at least {min_genes} genes and {min_peaks} peaks (medians: "
            f"{np.median(n_genes):.0f} and {np.median(n_peaks):.0f}); lower min_genes or min_peaks"
        )
    account: dict[str, Any] = {
        "min_genes": min_genes,
        "min_peaks": min_peaks,
        "min_cells": min_cells,
        "n_cells_in": len(keep),
        "n_cells": int(keep.sum()),
        "cells_with_few_genes": int(few_genes.sum()),
        "cells_with_few_peaks": int(few_peaks.sum()),
        "cells_with_few_of_both": int((few_genes & few_peaks).sum()),
    }
    kept = []
    for modality, adata, matrix, rows in zip(
        MODALITIES, pair, counts, (np.flatnonzero(keep), position[keep]), strict=True
    ):
        seen = feature_cells(matrix[rows]) >= min_cells
        word = FEATURE_WORD[modality]
        if not seen.any():
            raise InputError(
                f"no {word} of the {LABEL[modality]} modality is seen in {min_cells} of the "
                f"{len(rows)} remaining cells; lower min_cells"
            )
        account[f"n_{word}s_in"] = len(seen)
        account[f"n_{word}s"] = int(seen.sum())
        kept.append(adata[rows][:, seen].copy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        result = join(*kept, obs=mdata.obs if hasattr(mdata, "mod") else None)
    if hasattr(mdata, "mod"):
        result.uns.update(mdata.uns)
    result.uns["scmvp_filter"] = account
    if verbose:
        print(describe_filter(account))
    return result


def describe_filter(account: dict[str, Any]) -> str:
    """The account of `filter_paired` in three lines."""
    return (
        f"cells: {account['n_cells']:,} of {account['n_cells_in']:,} kept "
        f"({account['cells_with_few_genes']:,} with fewer than {account['min_genes']} genes, "
        f"{account['cells_with_few_peaks']:,} with fewer than {account['min_peaks']} peaks, "
        f"{account['cells_with_few_of_both']:,} of them with both)\n"
        f"genes: {account['n_genes']:,} of {account['n_genes_in']:,} kept "
        f"(seen in at least {account['min_cells']} cells)\n"
        f"peaks: {account['n_peaks']:,} of {account['n_peaks_in']:,} kept "
        f"(seen in at least {account['min_cells']} cells)"
    )


def estimate_n_clusters(rna: sp.csr_matrix, atac: sp.csr_matrix, seed: int = 0) -> int:
    """Number of clusters from the rank of the cell-cell correlation matrix.

    K clusters span K - 1 directions among cells. A direction counts where its eigenvalue exceeds
    the largest one of the same matrix with each feature's values permuted over the cells. The
    directions of the two modalities are added, those they share counted once.

    Args:
        rna: Counts, cells x genes.
        atac: Counts of the same cells, cells x peaks.
        seed: Seed of the subsampled cells (at most 3,000), of the permutation and of the search.

    Returns:
        K between 2 and 50, and never more than the number of cells minus one (at least 1).
    """
    rng = np.random.default_rng(seed)
    n_cells = rna.shape[0]
    if n_cells > _RANK_CELLS:
        chosen = np.sort(rng.choice(n_cells, _RANK_CELLS, replace=False))
        rna, atac = rna[chosen], atac[chosen]
    directions = [_cell_directions(counts, rng) for counts in (rna, atac)]
    rank = sum(vectors.shape[1] for vectors in directions) - _n_shared(*directions)
    most = max(1, min(MAX_CLUSTERS, n_cells - 1))
    return int(np.clip(rank + 1, min(MIN_CLUSTERS, most), most))


def _cell_directions(counts: sp.csr_matrix, rng: np.random.Generator) -> np.ndarray:
    """Directions among cells beyond noise: orthonormal columns, (n_cells, rank)."""
    logs = _log_counts(counts, rng)
    most = min(logs.shape) - 2
    if most < 1:
        return np.zeros((counts.shape[0], 0))
    _, null, _ = leading(_residuals(_permuted(logs, rng)), 1, rng)
    edge = _RANK_MARGIN * null[0]
    operator = _residuals(logs)
    for step in _RANK_STEPS:
        vectors, values, _ = leading(operator, min(step, most), rng)
        rank = int((values > edge).sum())
        if rank < min(step, most):
            break
    return vectors[:, :rank]


def _n_shared(first: np.ndarray, second: np.ndarray) -> int:
    """Directions of two subspaces closer to each other than random ones would be."""
    ranks = first.shape[1], second.shape[1]
    if min(ranks) == 0:
        return 0
    cosines = np.linalg.svd(first.T @ second, compute_uv=False)
    by_chance = (np.sqrt(ranks[0]) + np.sqrt(ranks[1])) / np.sqrt(len(first))
    return int((cosines > by_chance).sum())


def _log_counts(counts: sp.csr_matrix, rng: np.random.Generator) -> sp.csr_matrix:
    """log1p, float32, of the features seen often enough to say anything about groups of cells."""
    seen = feature_cells(counts)
    # Bursts of a feature seen in a handful of cells look like directions of their own.
    common = np.flatnonzero(seen >= max(5, 0.005 * counts.shape[0]))
    # Deep data has directions to spare: a random part of its features bounds time and memory.
    part = _RANK_ENTRIES / max(1, seen[common].sum())
    if part < 1:
        common = np.sort(rng.choice(common, max(1, int(part * len(common))), replace=False))
    logs = counts[:, common].astype(np.float32)
    np.log1p(logs.data, out=logs.data)
    return logs


def _permuted(matrix: sp.csr_matrix, rng: np.random.Generator) -> sp.csr_matrix:
    """The same values of every feature on other cells, drawn independently per feature."""
    columns = matrix.tocsc()
    n_cells = matrix.shape[0]
    rows = [rng.permutation(n_cells)[:n] for n in np.diff(columns.indptr)]
    indices = np.concatenate(rows).astype(columns.indices.dtype)
    return sp.csc_matrix((columns.data, indices, columns.indptr), matrix.shape).tocsr()


def _residuals(logs: sp.csr_matrix) -> LinearOperator:
    """Deviations of log counts from what depth explains, in units of their standard deviation.

    Their left singular vectors are those of a depth-corrected cell-cell correlation. Depth explains
    the expectation, and the curvature that the logarithm leaves.
    """
    rows = np.asarray(logs.sum(axis=1, dtype=np.float64)).ravel()
    weight = np.sqrt(rows)
    depth = scipy.linalg.orth(np.column_stack([weight, weight * np.log1p(rows)]))
    return residuals(scaled_counts(logs), depth.astype(np.float32))
