"""Activity of motifs in cells: chromVAR's bias-corrected deviations (Schep et al. 2017).

The reads of a cell in the peaks with a motif are compared with the number expected for a cell of
its depth, and this deviation with those of background sets of peaks of the same accessibility and
GC content. All computations are products of blocks of cells with sparse matrices, peaks x motifs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..arguments import whole_number
from ..data.annotated import counts_in
from ..data.containers import peaks_in
from ..data.motifs import Motifs, motifs_of
from ..data.names import as_names, note
from ..errors import InputError
from ..settings import own_settings
from ..words import count_of, name_some
from .profiles import Profiles, counted

if TYPE_CHECKING:
    from anndata import AnnData

N_BACKGROUND = 50
P_VALUE = 5e-5
_BINS = 50  # along each of the two sides of the plane of accessibility and GC content
_WIDTH = 0.1  # standard deviation of the kernel in it
_FEWEST = 1.0  # reads to be expected in the peaks with a motif
_CHUNK = 128  # motifs at a time
_CELLS = 512  # cells at a time


@own_settings()
def motif_activity(
    data: Any, motifs: Any, *, gc: pd.Series | str | None = None,
    fasta: str | os.PathLike | None = None, layer: str | None = None,
    n_background: int = N_BACKGROUND, p_value: float = P_VALUE, seed: int = 0,
) -> AnnData:  # fmt: skip
    """Activity of motifs in cells from measured counts, as computed by chromVAR.

    The deviation of a motif in a cell is (x - e) / e, where x is the number of reads in the peaks
    with the motif, and e is the number of reads of the cell times the proportion of all reads that
    lie in these peaks. In background sets, every peak is replaced by one of about the same
    accessibility and GC content. The mean deviation of these sets is subtracted; the z-score is the
    result divided by their standard deviation. `SCMVP.motif_activity` does the same with imputed
    accessibility.

    Args:
        data: MuData with peaks, or the AnnData of the peaks, with raw counts.
        motifs: The motifs of the peaks: a DataFrame or AnnData (peaks x motifs; a non-zero value
            means that the peak has the motif), (matrix, names of peaks, names of motifs), or the
            name of such a table in the `varm` of the peaks. Peaks are matched by name. Or the path
            of a file of motifs in MEME or JASPAR format, for which the sequences of the peaks are
            searched (extra `motifs`).
        gc: GC content of the peaks, a Series indexed by their names or a column of their `var`;
            from `fasta` when None. Without both, background sets are matched by accessibility
            only.
        fasta: FASTA file of the genome, gzipped or not.
        layer: Layer with raw counts; X when None.
        n_background: Number of background sets.
        p_value: Largest p-value of a match of a motif (probability in random sequence with the
            bases of the peaks).
        seed: Seed of the background sets.

    Returns:
        AnnData of cells x motifs. X: z-scores, float64; layers['deviations']: bias-corrected
        deviations. NaN if fewer than one read is expected in the peaks with the motif, and for
        motifs that are in no peak or whose background sets do not vary. var: 'gene' (of the
        factor), 'n_peaks'.

    Raises:
        InputError: The table has other peaks or values that are not finite, a file cannot be read,
            or there are no counts.
    """
    adata, _ = peaks_in(data)
    counts, peaks, cells = counts_in(adata, "atac", layer)
    found = motifs_of(
        motifs, peaks, gc=gc, fasta=fasta, p_value=p_value,
        tables=dict(adata.varm), var=adata.var,
    )  # fmt: skip
    return activity_in(counted(counts), found, cells, peaks, n_background, seed)


def activity_in(
    profiles: Profiles,
    motifs: Motifs,
    cells: np.ndarray,
    peaks: np.ndarray,
    n_background: int,
    seed: int,
) -> AnnData:
    """Activity of motifs in cells; what it is and the other arguments: `motif_activity`."""
    from anndata import AnnData

    n_background = whole_number("n_background", n_background, at_least=2)
    seed = whole_number("seed", seed, at_least=0, at_most=2**32 - 1)
    seen = np.flatnonzero(profiles.of_peaks > 0)
    if len(seen) < 2:
        raise InputError("fewer than two peaks have counts; give cells with counts of peaks")
    matches = sp.csr_matrix(motifs.matches)[seen]
    gc = None if motifs.gc is None else motifs.gc[seen]
    rng = np.random.default_rng(seed)
    names = np.asarray(peaks)[seen]
    background = background_by_name(names, profiles.of_peaks[seen], gc, n_background, rng)
    here = profiles if len(seen) == len(profiles.of_peaks) else profiles.only(seen)
    z, deviations = deviations_of(here, matches, background)
    n_peaks = np.asarray(matches.sum(0), np.int64).ravel()
    _tell_missing(z, n_peaks, motifs.names)
    found = AnnData(
        z,
        obs=pd.DataFrame(index=as_names(cells)),
        var=pd.DataFrame(
            {"gene": motifs.genes.astype(str), "n_peaks": n_peaks}, index=as_names(motifs.names)
        ),
        layers={"deviations": deviations},
    )
    return found


def background_by_name(
    peaks: np.ndarray,
    totals: np.ndarray,
    gc: np.ndarray | None,
    n_background: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """As `background_peaks`, the same for a seed whatever the order of the peaks is."""
    order = np.argsort(peaks)
    drawn = background_peaks(totals[order], None if gc is None else gc[order], n_background, rng)
    found = np.empty_like(drawn)
    found[order] = order[drawn]
    return found


def background_peaks(
    totals: np.ndarray, gc: np.ndarray | None, n_background: int, rng: np.random.Generator
) -> np.ndarray:
    """For each peak, peaks of about the same accessibility and GC content, (peaks, n_background).

    Log accessibility and GC content are whitened and cut into bins. A bin is drawn with the density
    of a Gaussian at its distance from the bin of the peak, then any peak in it (which may be the
    peak itself).

    Args:
        totals: Reads in each peak, above 0.
        gc: Of each peak; None to match accessibility only.
        n_background: Peaks to draw for each.
        rng: Of the draws.
    """
    sides = [np.log10(totals)]
    if gc is not None and np.ptp(gc) > 0:
        sides.append(np.asarray(gc, np.float64))
    if np.ptp(sides[0]) == 0:
        del sides[0]
    if not sides:  # all peaks are alike
        return rng.integers(0, len(totals), (len(totals), n_background))
    table = np.column_stack(sides)
    covariance = np.atleast_2d(np.cov(table.T))
    # both sides may say the same, as they do of two peaks
    factor = np.linalg.cholesky(covariance + 1e-9 * np.diag(np.diag(covariance)))
    place = np.linalg.solve(factor, table.T).T
    low, step = place.min(0), np.ptp(place, axis=0) / (_BINS - 1)
    cell = np.rint((place - low) / step).astype(np.int64)
    bins, bin_of = np.unique(cell, axis=0, return_inverse=True)
    bin_of = bin_of.ravel()
    order = np.argsort(bin_of, kind="stable")
    size = np.bincount(bin_of)
    first = np.cumsum(size) - size
    found = np.empty((len(totals), n_background), np.int64)
    for i, center in enumerate(bins):
        members = order[first[i] : first[i] + size[i]]
        square = (((bins - center) * step) ** 2).sum(1)
        weight = np.exp(-square / (2 * _WIDTH**2))
        drawn = rng.choice(len(bins), (size[i], n_background), p=weight / weight.sum())
        found[members] = order[first[drawn] + rng.integers(0, size[drawn])]
    return found


def deviations_of(
    profiles: Profiles, matches: sp.csr_matrix, background: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """z-scores and bias-corrected deviations, each (cells, motifs).

    Args:
        profiles: Of peaks that all have reads.
        matches: (peaks, motifs), zeros and ones.
        background: (peaks, sets), the peak that replaces each peak in each set.
    """
    n_cells, n_motifs = len(profiles.of_cells), matches.shape[1]
    z, deviations = np.empty((n_cells, n_motifs)), np.empty((n_cells, n_motifs))
    share = profiles.of_peaks / profiles.of_peaks.sum()
    fewest = _FEWEST if profiles.measured else float(np.finfo(float).tiny)
    start = 0
    for block in _small(profiles):
        rows = slice(start, start + block.shape[0])
        start += block.shape[0]
        depth = profiles.of_cells[rows, None]
        for first in range(0, n_motifs, _CHUNK):
            part = slice(first, first + _CHUNK)
            z[rows, part], deviations[rows, part] = _of_block(
                block, depth, share, matches[:, part], background, fewest
            )
    return z, deviations


def _of_block(
    block: Any, depth: np.ndarray, share: np.ndarray, matches: sp.csr_matrix,
    background: np.ndarray, fewest: float,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = block @ matches.toarray() / (depth * (share @ matches)) - 1
        mean, square = np.zeros_like(observed), np.zeros_like(observed)
        for i, instead in enumerate(background.T):
            ones = np.ones(len(instead))
            swap = sp.csr_matrix((ones, (instead, np.arange(len(instead)))))
            swap.resize((len(instead), len(instead)))
            sampled = swap @ matches
            off = block @ sampled.toarray() / (depth * (share @ sampled)) - 1 - mean
            mean += off / (i + 1)
            square += off**2 * (i / (i + 1))
        corrected = observed - mean
        z = corrected / np.sqrt(square / (background.shape[1] - 1))
        few = ~(depth * (share @ matches) >= fewest)
    corrected[few] = np.nan
    z[few | ~np.isfinite(z)] = np.nan
    return z, corrected


def _small(profiles: Profiles) -> Iterator[Any]:
    """Blocks of few cells, by columns where they are sparse: sums then stay in the cache."""
    for block in profiles.blocks():
        for first in range(0, block.shape[0], _CELLS):
            part = block[first : first + _CELLS]
            yield part.tocsc() if sp.issparse(part) else part.astype(np.float64)


def _tell_missing(z: np.ndarray, n_peaks: np.ndarray, names: np.ndarray) -> None:
    without = n_peaks == 0
    if without.all():
        raise InputError("no motif is in any peak with counts; give motifs of these peaks")
    if without.any():
        note(
            f"{count_of(int(without.sum()), 'motif', 'is', 'are')} in no peak with counts and "
            f"{'has' if without.sum() == 1 else 'have'} no activity ({name_some(names[without])})"
        )
    unknown = np.isnan(z[:, ~without])
    if unknown.any():
        note(
            f"{count_of(int(unknown.sum()), 'value')} of {count_of(unknown.size, 'value')} "
            f"{'is' if unknown.sum() == 1 else 'are'} missing (NaN): in cells with too few reads "
            "for a motif, or for motifs whose background sets do not vary"
        )
