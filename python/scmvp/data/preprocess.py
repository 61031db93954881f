"""Other forms of counts: fragments for insertions; inverse document frequencies."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from .matrices import DiskRows, Matrix, blocks_of, chunks, feature_totals

_FEWEST_TO_TELL = 100


def counts_insertions(counts: Matrix) -> bool:
    """Whether ATAC counts are of insertions: a fragment has two ends, so most counts are even.

    Of independent events, however many, even counts are never much more frequent than odd ones.
    """
    odd, n = _odd_counts(counts)
    return n - odd > 2 * odd


def looks_like_insertions(counts: Matrix) -> bool | None:
    """The same for few cells; None if they have too few counts to decide.

    That is where the proportion of even counts is less than four standard errors from two thirds,
    or where there are less than a hundred counts.
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
        n += np.count_nonzero(block.data)  # what was not checked may have stored zeros
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
