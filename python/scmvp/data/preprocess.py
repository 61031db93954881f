"""Before the model: which cells and features are worth modeling, and how many clusters to expect.

`filter_paired` is a step the user calls on raw data; fitting itself never drops a cell.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator

from ..arguments import whole_number
from ..errors import InputError
from ..modalities import PAIR, feature_of, label_of
from ..threads import limited_threads
from ..words import count_of
from .checks import check_names, count_matrix, match_cells
from .containers import as_names, is_mudata, modality_pair
from .joining import join
from .matrices import (
    DiskRows,
    Matrix,
    blocks_of,
    chunks,
    entries_of_cells,
    feature_cells,
    feature_totals,
    in_memory,
)
from .places import place_in_memory, places_of, raw_in_place, remedy
from .products import Products
from .spectral import (
    batches_of,
    leading,
    operator,
    residuals,
    scaled_counts,
    without_batches,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

TFIDF_SCALE = 1e4

MIN_CLUSTERS, MAX_CLUSTERS = 2, 50

_FEWEST_TO_TELL = 100
_RANK_CELLS = 3_000
_RANK_ENTRIES = 6_000_000
_RANK_FEATURES = 0.5
_STRATUM_CELLS = 100
# The largest eigenvalue of a null is a draw, too.
_RANK_MARGIN = 1.02
_RANK_STEPS = (16, MAX_CLUSTERS)


def counts_insertions(counts: Matrix) -> bool:
    """Whether ATAC counts are of insertions: a fragment has two ends, so most counts are even.

    Of independent events, however many, even counts are never much more frequent than odd ones.
    """
    odd, n = _odd_counts(counts)
    return n - odd > 2 * odd


def looks_like_insertions(counts: Matrix) -> bool | None:
    """The same of few cells; None where their counts are too few to tell.

    That is where the share of even counts is less than four standard errors from the border, two
    thirds, or where there are less than a hundred counts.
    """
    odd, n = _odd_counts(counts)
    if n < _FEWEST_TO_TELL:
        return None
    away = (n - odd) / n - 2 / 3
    return None if abs(away) < 4 * np.sqrt(2 / 9 / n) else bool(away > 0)


def _odd_counts(counts: Matrix) -> tuple[int, int]:
    """How many of the non-zero counts are odd, and how many there are."""
    odd = n = 0
    for block in blocks_of(counts):
        odd += sum(int((part % 2).sum()) for _, part in chunks(block.data))
        n += block.nnz
    return odd, n


def insertions_to_fragments(counts: Matrix) -> Matrix:
    """Fragments per peak from insertions per peak, (y + 1) // 2; an odd end lies outside the peak.

    Counted by their ends, fragments are neither Poisson nor independent (Martens et al., Nature
    Methods 2024): every likelihood would see each fragment twice.
    """
    if isinstance(counts, DiskRows):
        return counts.in_fragments()
    return sp.csr_matrix(
        (np.ceil(counts.data / 2), counts.indices, counts.indptr), shape=counts.shape
    )


def inverse_document_frequency(counts: Matrix) -> np.ndarray:
    """Number of cells over the number of counts of each feature; (n_features,) float32.

    A feature without counts gets 0, so that it weighs nothing.
    """
    totals = feature_totals(counts)
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
        mdata: Paired cells, as `SCMVP` takes them; X, or the layers named, holds raw counts. They
            are not changed.
        min_genes: Cells with fewer detected genes go.
        min_peaks: Cells with fewer detected peaks go.
        min_cells: Genes and peaks seen in fewer of the remaining cells go.
        verbose: Print what went and why.
        rna_layer: Layer with the RNA counts, or 'raw', which then is X of the result; X when None.
        atac_layer: Layer with the ATAC counts, in the same way.

    Returns:
        A new MuData; the account is in `uns['scmvp_filter']`.

    Raises:
        InputError: The input is not paired counts, or nothing would be left.
    """
    min_genes, min_peaks, min_cells = (
        whole_number(name, value, at_least=0)
        for name, value in (
            ("min_genes", min_genes), ("min_peaks", min_peaks), ("min_cells", min_cells)
        )
    )  # fmt: skip
    layers = (rna_layer, atac_layer)
    pair, places = [], []
    for modality, adata, layer in zip(PAIR, modality_pair(mdata), layers, strict=True):
        given, layer = raw_in_place(adata, layer)
        pair.append(given)
        places.append(place_in_memory(places_of(given), modality, layer))
    cells = {}
    for modality, adata in zip(PAIR, pair, strict=True):
        cells[modality] = as_names(adata.obs_names)
        check_names(modality, cells[modality], as_names(adata.var_names))
    order = match_cells(cells["rna"], cells["atac"])
    counts = [
        in_memory(
            count_matrix(
                place.values(),
                modality,
                cells[modality],
                place.features(),
                partial(remedy, places_of(adata), modality),
            )
        )
        for modality, adata, place in zip(PAIR, pair, places, strict=True)
    ]
    position = np.arange(len(cells["rna"])) if order is None else order
    n_genes = np.diff(counts[0].indptr)
    n_peaks = np.diff(counts[1].indptr)[position]
    few_genes, few_peaks = n_genes < min_genes, n_peaks < min_peaks
    keep = ~(few_genes | few_peaks)
    if not keep.any():
        raise InputError(
            f"no cell has at least {count_of(min_genes, 'gene')} and "
            f"{count_of(min_peaks, 'peak')} (medians: {np.median(n_genes):,.0f} and "
            f"{np.median(n_peaks):,.0f}); lower min_genes or min_peaks"
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
        PAIR, pair, counts, (np.flatnonzero(keep), position[keep]), strict=True
    ):
        seen = feature_cells(matrix[rows]) >= min_cells
        word = feature_of(modality)
        if not seen.any():
            raise InputError(
                f"no {word} of the {label_of(modality)} modality is seen in {min_cells:,} of "
                f"the {count_of(len(rows), 'remaining cell')}; lower min_cells"
            )
        account[f"n_{word}s_in"] = len(seen)
        account[f"n_{word}s"] = int(seen.sum())
        kept.append(adata[rows][:, seen].copy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        result = join(*kept, obs=mdata.obs if is_mudata(mdata) else None)
    if is_mudata(mdata):
        result.uns.update(mdata.uns)
    result.uns["scmvp_filter"] = account
    if verbose:
        print(describe_filter(account))
    return result


def describe_filter(account: dict[str, Any]) -> str:
    """The account of `filter_paired` in three lines."""
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


@limited_threads()
def estimate_n_clusters(
    rna: Matrix, atac: Matrix, seed: int = 0, design: np.ndarray | None = None
) -> int:
    """Number of clusters from the rank of the cell-cell correlation matrix, as the paper has it.

    A fit that is not told the number finds it in its latent (`SCMVP`), nearer to the truth.

    K clusters span K - 1 directions among cells. A direction counts where its singular value
    exceeds the largest one of the same matrix with each feature's values permuted over cells of the
    same depth. This is done for both modalities side by side, which sees what either only hints at,
    and for each alone, which the noise of the other does not reach; the largest rank counts. Cells
    without counts in one modality are left out; means of batches are taken out.

    Args:
        rna: Counts, cells x genes.
        atac: Counts of the same cells, cells x peaks.
        seed: Seed of the subsampled cells (at most 3,000), of the permutation and of the search.
        design: Batches of the cells, (n_cells, n_levels) (module `covariates`).

    Returns:
        K between 2 and 50, and never more than the number of cells minus one (at least 1).
    """
    rng = np.random.default_rng(seed)
    rna, atac = (_counts_of(values, name) for name, values in (("rna", rna), ("atac", atac)))
    if rna.shape[0] != atac.shape[0]:
        raise InputError(
            f"the RNA matrix has {count_of(rna.shape[0], 'cell')} and the ATAC matrix "
            f"{atac.shape[0]:,}; give the same cells in the same order, cells x features"
        )
    has_rna, has_atac = entries_of_cells(rna) > 0, entries_of_cells(atac) > 0
    paired = has_rna & has_atac
    chosen = np.flatnonzero(paired if paired.any() else has_rna | has_atac)
    if len(chosen) > _RANK_CELLS:
        chosen = np.sort(rng.choice(chosen, _RANK_CELLS, replace=False))
    n_cells, batch = len(chosen), np.zeros(len(chosen), np.int64)
    if design is not None:
        batch = np.unique(design[chosen], axis=0, return_inverse=True)[1].ravel()
    if n_cells < rna.shape[0]:
        rna, atac = rna[chosen], atac[chosen]
    rna, atac = in_memory(rna), in_memory(atac)
    if design is not None:
        rna, atac = (
            without_batches(counts, batches_of(counts, design[chosen])) for counts in (rna, atac)
        )
    pairs = [_data_and_null(counts, batch, rng) for counts in (rna, atac)]
    pairs = [pair for pair in pairs if pair is not None]
    if len(pairs) == 2:
        pairs.append(tuple(map(_side_by_side, *pairs)))
    rank = max((_rank(data, null, rng) for data, null in pairs), default=0)
    most = max(1, min(MAX_CLUSTERS, n_cells - 1))
    return int(np.clip(rank + 1, min(MIN_CLUSTERS, most), most))


def _counts_of(values: Any, modality: str) -> Matrix:
    """`count_matrix` of cells and features that have no names."""
    shape = getattr(values, "shape", (0, 0))
    names = [np.arange(n).astype(str) for n in (shape if len(shape) == 2 else (0, 0))]
    return count_matrix(values, modality, *names)


def _data_and_null(
    counts: sp.csr_matrix, batch: np.ndarray, rng: np.random.Generator
) -> tuple[LinearOperator, LinearOperator] | None:
    """Residuals of the log counts and of permuted ones, over the largest singular value of these.

    Values stay within their `batch`, (n_cells,). None where there are too few cells or features to
    have a rank.
    """
    logs = _log_counts(counts, rng)
    if min(logs.shape) < 3:
        return None
    depth = np.asarray(logs.sum(1)).ravel()
    strata = []
    for cells in (np.flatnonzero(batch == number) for number in np.unique(batch)):
        by_depth = cells[np.argsort(depth[cells], kind="stable")]
        strata += np.array_split(by_depth, max(1, round(len(cells) / _STRATUM_CELLS)))
    stratum = np.repeat(np.arange(len(strata)), [len(cells) for cells in strata])
    # types differ in depth: what the strata have of that is no noise
    null = _residuals(_permuted(logs, strata, rng), stratum)
    largest = float(leading(null, 1, rng)[0][0])
    if largest == 0:
        return None
    return _residuals(logs, batch if batch.any() else None) / largest, null / largest


def _side_by_side(first: LinearOperator, second: LinearOperator) -> LinearOperator:
    """The columns of both."""
    n = first.shape[1]

    def forward(x: np.ndarray) -> np.ndarray:
        return first @ x[:n] + second @ x[n:]

    def backward(y: np.ndarray) -> np.ndarray:
        return np.concatenate([first.H @ y, second.H @ y])

    return operator((first.shape[0], n + second.shape[1]), forward, backward)


def _rank(data: LinearOperator, null: LinearOperator, rng: np.random.Generator) -> int:
    """Number of singular values beyond the largest one of the null."""
    edge = _RANK_MARGIN * leading(null, 1, rng)[0][0]
    most = min(data.shape) - 2
    for step in _RANK_STEPS:
        rank = int((leading(data, min(step, most), rng)[0] > edge).sum())
        if rank < min(step, most):
            break
    return rank


def _log_counts(counts: sp.csr_matrix, rng: np.random.Generator) -> sp.csr_matrix:
    """log1p, float32, of the features that can say something about groups of cells."""
    seen = feature_cells(counts)
    # Bursts of a feature seen in a handful of cells look like directions of their own.
    common = np.flatnonzero(seen >= max(5, 0.005 * counts.shape[0]))
    # Features that vary no more than depth makes them are noise. A permutation leaves each
    # feature's variance as it is, so that choosing by it favours the data no more than the null.
    scaled = scaled_counts(counts[:, common])
    excess = np.asarray(scaled.multiply(scaled).sum(0)).ravel()
    excess -= np.asarray(scaled.sum(0)).ravel() ** 2 / counts.shape[0]
    common = common[np.argsort(-excess)[: max(100, int(_RANK_FEATURES * len(common)))]]
    # Deep data has directions to spare: a random part of its features bounds time and memory.
    part = _RANK_ENTRIES / max(1, seen[common].sum())
    if part < 1:
        common = rng.choice(common, max(1, int(part * len(common))), replace=False)
    logs = counts[:, np.sort(common)].astype(np.float32)
    np.log1p(logs.data, out=logs.data)
    return logs


def _permuted(
    matrix: sp.csr_matrix, strata: list[np.ndarray], rng: np.random.Generator
) -> sp.csr_matrix:
    """The same values of every feature on other cells of the stratum, drawn for each feature.

    The rows come in the order of the strata.
    """
    parts = []
    for cells in strata:
        block = matrix[cells].tocsc()
        order = rng.random(block.shape, dtype=np.float32).argsort(axis=0)
        column = np.repeat(np.arange(block.shape[1]), np.diff(block.indptr))
        rows = order[np.arange(block.nnz) - block.indptr[column], column]
        parts.append(sp.csc_matrix((block.data, rows, block.indptr), block.shape).tocsr())
    return sp.csr_matrix(sp.vstack(parts))


def _residuals(logs: sp.csr_matrix, stratum: np.ndarray | None = None) -> LinearOperator:
    """Deviations of log counts from what depth explains, in units of their standard deviation.

    Their left singular vectors are those of a depth-corrected cell-cell correlation. Depth explains
    the expectation, and the curvature that the logarithm leaves; and the mean of each stratum
    (n_cells,), where they are given.
    """
    rows = np.asarray(logs.sum(axis=1, dtype=np.float64)).ravel()
    weight = np.sqrt(rows)
    explained = [weight, weight * np.log1p(rows)]
    if stratum is not None:
        explained += [weight * (stratum == i) for i in range(stratum.max() + 1)]
    depth = scipy.linalg.orth(np.column_stack(explained))
    return residuals(Products(scaled_counts(logs)), depth.astype(np.float32))
