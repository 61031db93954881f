"""Activity of genes: the accessibility of the peaks of each gene, as a sparse matrix product."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..arguments import whole_number
from ..data.annotated import counts_in
from ..data.containers import peaks_in
from ..data.genes import bare_chromosome, read_genes
from ..data.names import as_names, note
from ..data.peaks import Peaks, peaks_of
from ..errors import InputError
from ..words import count_of, name_some
from .profiles import Profiles, counted

if TYPE_CHECKING:
    from anndata import AnnData

UPSTREAM = 2_000
DECAY = 5_000
DISTANCE = 100_000
METHODS = ("body", "decay")


def gene_activity(
    data: Any, genes: pd.DataFrame | str | os.PathLike, *, method: str = "body",
    upstream: int = UPSTREAM, decay: int = DECAY, distance: int = DISTANCE,
    layer: str | None = None,
) -> AnnData:  # fmt: skip
    """Sum the counts of the peaks of each gene.

    `SCMVP.gene_activity` does the same with imputed accessibility.

    Args:
        data: MuData with peaks, or the AnnData of the peaks, with raw counts; the names of peaks
            are ranges ('chr1:100-200').
        genes: Gene coordinates: a table (gene; seqnames, start, end, strand, 1-based and
            inclusive, or tss), a GTF or a BED file. Chromosomes match with or without 'chr'.
        method: 'body': peaks that overlap the gene or the `upstream` base pairs before it, each
            with weight 1 (the rule of Signac's GeneActivity, for peaks). 'decay': peaks at most
            `distance` from the start, with weight exp(-d / decay); d is the number of base pairs
            from the start to the nearest base of the peak, 0 within it.
        upstream: Base pairs before the start, for 'body'.
        decay: Base pairs over which the weight falls by a factor of e, for 'decay'.
        distance: Largest distance of a peak from the start in base pairs, for 'decay'.
        layer: Layer with raw counts; X when None.

    Returns:
        AnnData of cells x genes with at least one peak, in the order of `genes`. X: float64, CSR.
        var: 'n_peaks'. A peak may count for several genes. If a gene has several rows, its peaks
        are those of all rows; each counts once, with its highest weight. Cells without counts of
        any peak are assumed not to have been measured; they are 0 in X, which stays sparse, and a
        warning reports their number.

    Raises:
        InputError: No gene has a peak; `genes` or the names of the peaks cannot be read.
    """
    adata, rna = peaks_in(data)
    counts, peaks, cells = counts_in(adata, "atac", layer)
    known = None if rna is None else as_names(rna.var_names)
    weights = weights_of(peaks, genes, known, method, upstream, decay, distance)
    return activity_in(counted(counts), weights, cells)


def activity_in(profiles: Profiles, weights: pd.DataFrame, cells: np.ndarray) -> AnnData:
    """Sums of the values of cells over the peaks of each gene.

    Args:
        profiles: Of the peaks.
        weights: `weights_of` these.
        cells: Names.
    """
    from anndata import AnnData

    names = pd.unique(weights["gene"])
    at = pd.Index(names).get_indexer(weights["gene"])
    shape = (len(profiles.of_peaks), len(names))
    matrix = sp.csr_matrix((weights["weight"], (weights["peak"], at)), shape=shape)
    sums = [profiles.sums(block, matrix) for block in profiles.blocks()]
    sparse = sp.issparse(sums[0])
    if profiles.measured and (unknown := profiles.of_cells == 0).any():
        # NaN would make the matrix dense
        note(
            f"{count_of(int(unknown.sum()), 'cell', 'has', 'have')} no counts of peaks: gene "
            "activity is 0 there because nothing was measured; leave these cells out of comparisons"
        )
    return AnnData(
        sp.vstack(sums, format="csr") if sparse else np.concatenate(sums),
        obs=pd.DataFrame(index=as_names(cells)),
        var=pd.DataFrame({"n_peaks": np.bincount(at)}, index=as_names(names)),
    )


def weights_of(
    peaks: np.ndarray, genes: Any, known: np.ndarray | None, method: str, upstream: int,
    decay: int, distance: int,
) -> pd.DataFrame:  # fmt: skip
    """Peaks of genes: 'gene', 'peak' (its number) and 'weight', each pair once, in order of genes.

    Args:
        peaks: Names.
        genes: Places, as for `gene_activity`.
        known: Names of genes in the data, by which a column of names is chosen.
        method: As there.
        upstream: As there.
        decay: As there.
        distance: As there.
    """
    if method not in METHODS:
        raise InputError(f"method is {method!r}; use {' or '.join(map(repr, METHODS))}")
    upstream = whole_number("upstream", upstream, at_least=0)
    decay, distance = whole_number("decay", decay), whole_number("distance", distance, at_least=0)
    intervals, at = peaks_of(peaks, "the data")
    given = read_genes(genes, known)
    places = on_one_chromosome(given, intervals)
    forward = places["strand"] != "-"
    # 0-based, ends exclusive, as the peaks
    start, end = places["start"].to_numpy() - 1, places["end"].to_numpy()
    first = places["tss"].to_numpy() - 1
    if method == "body":
        if (end - start).max() == 1:
            note(
                "the coordinates have only the starts of the genes: only peaks at the start and "
                f"{upstream:,} base pairs before it are counted; give gene bodies, or "
                "method='decay'"
            )
        start = np.where(forward, start - upstream, start)
        end = np.where(forward, end, end + upstream)
    else:
        start, end = first - distance, first + 1 + distance
    row, peak = overlaps(intervals, places["seqnames"], start, end)
    weight = np.ones(len(row))
    if method == "decay":
        gap = np.maximum(intervals.start[peak] - first[row], first[row] - intervals.end[peak] + 1)
        weight = np.exp(-np.maximum(gap, 0) / decay)
    found = pd.DataFrame(
        {"gene": places["gene"].to_numpy()[row], "peak": at[peak], "weight": weight}
    )
    if not len(found):
        raise InputError(
            f"no gene has a peak (genes are on {name_some(pd.unique(places['seqnames']))}; peaks "
            f"are {name_some(peaks)}); give genes of the same genome"
        )
    found = found.groupby(["gene", "peak"], sort=False, as_index=False)["weight"].max()
    # a gene's first row may have no peak, or be on another chromosome
    order = pd.Index(pd.unique(given["gene"])).get_indexer(found["gene"])
    return found.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def on_one_chromosome(places: pd.DataFrame, peaks: Peaks) -> pd.DataFrame:
    """Genes of one name on several chromosomes at that with the most peaks, which a note says.

    Of two with as many it is that of the shorter name, 'chr6' and not 'chr6_GL000250v2_alt', and
    then the first by name: the order of the rows says nothing.
    """
    on = pd.Series(bare_chromosome(places["seqnames"]), index=places.index)
    n_peaks = on.map(pd.Series(bare_chromosome(peaks.chrom)).value_counts()).fillna(0)
    ranks = pd.DataFrame({"fewer": -n_peaks, "length": on.str.len(), "on": on})
    best = ranks.sort_values(list(ranks))["on"].groupby(places["gene"], sort=False).first()
    elsewhere = on != places["gene"].map(best)
    if elsewhere.any():
        names = pd.unique(places["gene"][elsewhere])
        note(
            f"{count_of(len(names), 'gene', 'is', 'are')} on several chromosomes "
            f"({name_some(names)}): the chromosome with the most peaks is taken"
        )
    return places[~elsewhere].reset_index(drop=True)


def overlaps(
    peaks: Peaks, chromosomes: pd.Series, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a window and a peak that overlap by at least one base pair: their positions."""
    on, of_peak = bare_chromosome(chromosomes), bare_chromosome(peaks.chrom)
    rows, found = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for chromosome in pd.unique(on):
        window, here = np.flatnonzero(on == chromosome), np.flatnonzero(of_peak == chromosome)
        if not len(here):
            continue
        here = here[np.argsort(peaks.start[here], kind="stable")]
        starts, ends = peaks.start[here], peaks.end[here]
        # a peak that begins before this cannot reach into the window
        low = np.searchsorted(starts, start[window] - (ends - starts).max(), side="right")
        high = np.searchsorted(starts, end[window], side="left")
        n = np.maximum(high - low, 0)
        which = np.repeat(np.arange(len(window)), n)
        place = np.repeat(low - (np.cumsum(n) - n), n) + np.arange(len(which))
        reached = ends[place] > start[window[which]]
        rows.append(window[which[reached]])
        found.append(here[place[reached]])
    row, peak = np.concatenate(rows), np.concatenate(found)
    order = np.lexsort((peak, row))
    return row[order], peak[order]
