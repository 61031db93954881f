"""Which features a model has, and the counts of any cells in these features."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import scipy.sparse as sp

from .arguments import positions
from .checks import FEATURE_WORD, LABEL, Paired, name_some
from .errors import InputError, InputNote
from .matrices import DiskRows, Matrix, entries_of_cells, feature_cells
from .preprocess import insertions_to_fragments


def in_fragments(paired: Paired) -> Paired:
    """The same cells with fragments in the place of counted insertions."""
    return dataclasses.replace(paired, atac=insertions_to_fragments(paired.atac))


def modelled_features(given: Paired, min_cells: int) -> Paired:
    """The same cells without features seen in fewer than `min_cells` of them."""
    parts = {}
    for modality, matrix, names in (
        ("rna", given.rna, given.genes),
        ("atac", given.atac, given.peaks),
    ):
        kept = np.flatnonzero(feature_cells(matrix) >= min_cells)
        word = FEATURE_WORD[modality]
        if not len(kept):
            raise InputError(
                f"none of the {len(names)} {word}s is seen in at least {min_cells} of the "
                f"{len(given.cells)} cells; give more cells or a smaller min_cells"
            )
        modelled = _columns(matrix, kept)
        if modelled is matrix and not isinstance(matrix, DiskRows):
            # ours: the caller may go on to normalize theirs in place, before or after the fit
            modelled = sp.csr_matrix(
                (matrix.data.copy(), matrix.indices, matrix.indptr), shape=matrix.shape
            )
        parts[modality] = (modelled, names[kept])
    (rna, genes), (atac, peaks) = parts["rna"], parts["atac"]
    return Paired(rna, atac, given.cells, genes, peaks, given.obs)


def in_features(paired: Paired, genes: np.ndarray, peaks: np.ndarray) -> Paired:
    """Counts of other cells in the columns of a model."""
    columns = {
        "rna": positions(paired.genes, genes, "model gene", "the data"),
        "atac": positions(paired.peaks, peaks, "model peak", "the data"),
    }
    rna, atac = _columns(paired.rna, columns["rna"]), _columns(paired.atac, columns["atac"])
    return Paired(rna, atac, paired.cells, genes, peaks, paired.obs)


def warn_of_empty_rows(paired: Paired, modality: str) -> None:
    """Say which cells have no count to be embedded from."""
    empty = entries_of_cells(paired.rna if modality == "rna" else paired.atac) == 0
    if empty.any():
        warnings.warn(
            f"{int(empty.sum())} cells have no {LABEL[modality]} count "
            f"({name_some(paired.cells[empty])}): their {LABEL[modality]} latent means nothing",
            InputNote,
            stacklevel=3,
        )


def empty_cells(paired: Paired) -> tuple[np.ndarray, np.ndarray]:
    """Which cells have no RNA and which no ATAC count; those with neither are refused."""
    rna, atac = (entries_of_cells(matrix) == 0 for matrix in (paired.rna, paired.atac))
    if (empty := rna & atac).any():
        raise InputError(
            f"cells without a count in any modelled feature: {name_some(paired.cells[empty])}; "
            "remove them first (scmvp.filter_paired does)"
        )
    return rna, atac


def _columns(matrix: Matrix, columns: np.ndarray) -> Matrix:
    """Columns in the order asked for; the matrix itself where that changes nothing."""
    if len(columns) == matrix.shape[1] and (columns == np.arange(len(columns))).all():
        return matrix
    if isinstance(matrix, DiskRows):
        return matrix.of_columns(columns)
    picked = matrix[:, columns]
    picked.sort_indices()
    return picked
