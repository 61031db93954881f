"""Links from peaks to genes: contact, accessibility and association, and the score of all three."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..arguments import number, whole_number
from ..data.genes import bare_chromosome, read_genes
from ..data.names import as_names, note
from ..data.peaks import Peaks, peaks_of
from ..errors import InputError
from ..progress import SILENT, Stages, counted
from ..words import count_of, name_some
from .activity import on_one_chromosome, overlaps
from .association import Evidence, correlations, evidence_of
from .contact import DECAY, Contacts, contact_of, contact_within

DISTANCE = 500_000
VARYING = 0.5  # proportion of links whose gene and peak vary between the cells at all
PROMOTER = 1_000  # base pairs from a start
N_CELLS = 2_000
BLOCK = 128  # cells decoded at a time
_OF_GROUP = 200  # cells decoded at least for the mean of a group, and to find background pairs
_BACKGROUND = (20_000, 200_000)  # pairs, at least and at most
_LIKE = 0.02  # how far in rank a background peak is from the peak that it stands for

Decode = Callable[[np.ndarray], Iterator[tuple[np.ndarray, np.ndarray]]]


@dataclass(frozen=True)
class Near:
    """Pairs of a gene and a peak near a start of it, by gene and then by peak.

    Attributes:
        genes: Names of all modeled genes.
        peaks: Names of all modeled peaks.
        gene: Numbers of the genes of the pairs among these, (n,).
        peak: Numbers of the peaks, (n,).
        distance: Base pairs from the nearest start to the center of the peak, negative upstream.
        tss: That start.
        kind: 'promoter', 'promoter of another gene' or 'distal'.
        rank: 1 for the nearest peak of the gene.
        center: Of each modeled peak, 1-based, NaN where the name of the peak is no range.
        seqnames: Chromosome of each modeled peak, as it is written there.
        chromosome: Code of each modeled peak, -1 where the name of the peak is no range.
        chromosome_of_gene: The same codes, (n,), of the genes of the pairs.
    """

    genes: np.ndarray
    peaks: np.ndarray
    gene: np.ndarray
    peak: np.ndarray
    distance: np.ndarray
    tss: np.ndarray
    kind: np.ndarray
    rank: np.ndarray
    center: np.ndarray
    seqnames: np.ndarray
    chromosome: np.ndarray
    chromosome_of_gene: np.ndarray


def near_pairs(
    genes: np.ndarray, peaks: np.ndarray, places: pd.DataFrame | str | os.PathLike, distance: int
) -> Near:
    """The pairs whose centers are within a distance.

    Args:
        genes: Names of the modeled genes.
        peaks: Names of the modeled peaks.
        places: Of genes, as `read_genes` takes them.
        distance: Base pairs.

    Raises:
        InputError: No modeled gene has a place, or none has a peak near it.
    """
    distance = whole_number("distance", distance)
    genes, peaks = as_names(genes).astype(object), as_names(peaks).astype(object)
    table = read_genes(places, genes)
    intervals, numbers = peaks_of(peaks, "the model")
    table["on"] = bare_chromosome(table["seqnames"])
    on = pd.Index(pd.unique(np.concatenate([bare_chromosome(intervals.chrom), table["on"]])))
    chromosome = np.full(len(peaks), -1)
    chromosome[numbers] = on.get_indexer(bare_chromosome(intervals.chrom))
    seqnames = np.full(len(peaks), "", dtype=object)
    seqnames[numbers] = intervals.chrom
    center = np.full(len(peaks), np.nan)
    center[numbers] = (intervals.start + intervals.end) / 2
    at = pd.Index(genes).get_indexer(table["gene"])
    modeled = table[at >= 0].assign(number=at[at >= 0])
    if not len(modeled):
        raise InputError(
            f"none of the {count_of(len(genes), 'gene')} of the model ({name_some(genes)}) has "
            f"coordinates ({name_some(pd.unique(table['gene']))}); give coordinates under the gene "
            "names of the model"
        )
    if lacking := len(genes) - modeled["number"].nunique():
        without = np.setdiff1d(genes, modeled["gene"])
        note(
            f"{count_of(lacking, 'gene')} of {len(genes):,} {'has' if lacking == 1 else 'have'} no "
            f"coordinates ({name_some(without)}) and {'gets' if lacking == 1 else 'get'} no links"
        )
    modeled = on_one_chromosome(modeled, intervals)
    row, peak = _within(intervals, modeled, distance)
    peak = numbers[peak]
    if not len(row):
        raise InputError(
            f"no peak is within {distance:,} base pairs of a gene (genes are on "
            f"{name_some(pd.unique(modeled['seqnames']))}; peaks are {name_some(peaks)}); give "
            "gene coordinates of the same genome, or a larger distance"
        )
    offset = center[peak] - modeled["tss"].to_numpy()[row]
    offset = np.where(modeled["strand"].to_numpy()[row] == "-", -offset, offset)
    found = pd.DataFrame(
        {
            "gene": modeled["number"].to_numpy()[row],
            "peak": peak,
            "distance": offset,
            "tss": modeled["tss"].to_numpy()[row],
        }
    )
    found["far"] = np.abs(offset)
    found = found.sort_values(["gene", "peak", "far"], kind="stable")
    found = found.drop_duplicates(["gene", "peak"], ignore_index=True)
    own = modeled.drop_duplicates("number").set_index("number")["on"]
    of_gene = on.get_indexer(own.reindex(found["gene"]).to_numpy())
    kind = _kinds(found, intervals, numbers, modeled, table)
    rank = found.groupby("gene", sort=False)["far"].rank(method="first").to_numpy(np.int64)
    return Near(
        genes, peaks, found["gene"].to_numpy(), found["peak"].to_numpy(),
        found["distance"].to_numpy(), found["tss"].to_numpy(), kind, rank, center, seqnames,
        chromosome, of_gene,
    )  # fmt: skip


def links_of(
    near: Near,
    decode: Decode,
    latent: np.ndarray,
    labels: pd.Series | None = None,
    decay: float = DECAY,
    n_cells: int = N_CELLS,
    seed: int = 0,
    stages: Stages = SILENT,
    contacts: Contacts = None,
) -> pd.DataFrame:
    """Factors and score of each pair; see `SCMVP.link_peaks`.

    Args:
        near: The pairs.
        decode: From points of the latent to blocks of decoded counts of genes and of peaks.
        latent: Latent of the cells, (n, D).
        labels: Group of each cell, missing for cells of none; None for all cells together.
        decay: Exponent of the contacts.
        n_cells: Of which correlations are computed, at most.
        seed: Seed of the choice of cells and of background pairs.
        stages: Are reported.
        contacts: A contact map, as `ContactMap` takes it; None: contacts follow from the distance.

    Returns:
        DataFrame with the columns of `SCMVP.link_peaks`; with labels, 'group' is the first.
    """
    decay = number("decay", decay)
    if decay < 0:
        raise InputError(f"decay is {decay}; give an exponent of at least 0")
    rng = np.random.default_rng(whole_number("seed", seed, at_least=0))
    n_cells = whole_number("n_cells", n_cells, at_least=3)
    if len(latent) < 3:
        raise InputError(
            f"correlations need at least 3 cells, but {count_of(len(latent), 'cell', 'is', 'are')} "
            "given; give more cells"
        )
    contact = contact_of(near.distance, decay)
    if contacts is not None:
        with stages.stage("reading the contact map"):
            contact = contact_within(
                contacts, near.seqnames[near.peak], near.tss, near.center[near.peak], decay
            )
    some = np.sort(rng.permutation(len(latent))[:n_cells])
    with stages.stage("correlating genes and peaks") as report:
        gene, peak = _background(near, _mean_accessibility(decode, latent[some[:_OF_GROUP]]), rng)
        points = latent[some]
        blocks = (
            (np.log1p(rna), atac)
            for rna, atac in counted(decode(points), -(-len(points) // BLOCK), report)
        )
        found, mean = correlations(
            blocks, np.concatenate([near.gene, gene]), np.concatenate([near.peak, peak])
        )
    correlation, background = found[: len(near.gene)], found[len(near.gene) :]
    evidence = _evidence(correlation, background, contact)
    if labels is None:
        return _table(near, contact, mean / mean.mean(), evidence, correlation)
    tables, groups = [], labels.cat.categories
    with stages.stage("accessibility in the groups") as report:
        for group in counted(groups, len(groups), report):
            own = np.flatnonzero(labels == group)
            own = np.sort(rng.permutation(own)[: max(_OF_GROUP, n_cells // len(groups))])
            mean = _mean_accessibility(decode, latent[own])
            table = _table(near, contact, mean, evidence, correlation)
            table.insert(0, "group", group)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _evidence(correlation: np.ndarray, background: np.ndarray, contact: np.ndarray) -> Evidence:
    if len(background):
        return evidence_of(correlation, background, contact)
    note(
        "all peaks are on one chromosome, so there are no background pairs: links are scored by "
        "contact and accessibility alone"
    )
    unknown = np.full(len(correlation), np.nan)
    return Evidence(np.ones(len(correlation)), unknown, unknown)


def _background(
    near: Near, accessibility: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a gene and a peak of another chromosome, which is as accessible as one near it."""
    n = int(np.clip(len(near.gene), *_BACKGROUND))
    drawn = rng.integers(len(near.gene), size=n)
    order = np.flatnonzero(near.chromosome >= 0)
    order = order[np.argsort(accessibility[order], kind="stable")]
    rank = np.empty(len(accessibility), dtype=np.int64)
    rank[order] = np.arange(len(order))
    reach = max(10, round(_LIKE * len(order)))
    moved = rank[near.peak[drawn]] + rng.integers(-reach, reach + 1, n)
    peak = order[np.clip(moved, 0, len(order) - 1)]
    elsewhere = near.chromosome[peak] != near.chromosome_of_gene[drawn]
    return near.gene[drawn][elsewhere], peak[elsewhere]


def _mean_accessibility(decode: Decode, latent: np.ndarray) -> np.ndarray:
    """Mean of each peak over cells, in units of that of all peaks."""
    mean = sum(atac.sum(0, dtype=np.float64) for _, atac in decode(latent)) / len(latent)
    return mean / mean.mean()


def _table(
    near: Near, contact: np.ndarray, accessibility: np.ndarray, evidence: Evidence,
    correlation: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    activity = contact * accessibility[near.peak]
    of_gene = np.bincount(near.gene, activity)[near.gene]
    return pd.DataFrame(
        {
            "gene": near.genes[near.gene],
            "peak": near.peaks[near.peak],
            "distance": near.distance,
            # association cannot be detected if the gene or the peak hardly varies between cells
            "score": activity * (1 - VARYING + VARYING * evidence.ratio),
            "probability": evidence.probability,
            "fdr": evidence.fdr,
            "contact": contact,
            "accessibility": accessibility[near.peak],
            "correlation": correlation,
            "support": evidence.ratio,
            "abc": activity / of_gene,
            "kind": near.kind,
            "rank": near.rank,
            "tss": near.tss,
            "seqnames": near.seqnames[near.peak],
            "center": near.center[near.peak],
        }
    )


def _within(intervals: Peaks, places: pd.DataFrame, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of places, and peaks whose centers are within a distance of their starts."""
    twice = intervals.start + intervals.end  # of the center, a whole number
    tss = places["tss"].to_numpy()
    return overlaps(
        Peaks(intervals.chrom, twice, twice + 1), places["seqnames"], 2 * (tss - distance),
        2 * (tss + distance) + 1,
    )  # fmt: skip


def _kinds(
    found: pd.DataFrame, intervals: Peaks, numbers: np.ndarray, modeled: pd.DataFrame,
    table: pd.DataFrame,
) -> np.ndarray:  # fmt: skip
    """Whether each peak is at a start of its gene, of another gene of the table, or of none."""
    size = int(numbers.max()) + 1
    first, last = np.zeros(size), np.full(size, -1.0)
    first[numbers], last[numbers] = intervals.start + 1 - PROMOTER, intervals.end + PROMOTER
    on = bare_chromosome(intervals.chrom)
    at_start = np.zeros(size, dtype=bool)
    for chromosome, tss in table.groupby("on", sort=False)["tss"]:
        here, sorted_tss = numbers[on == chromosome], np.sort(tss.to_numpy())
        at_start[here] = np.searchsorted(sorted_tss, last[here], side="right") > np.searchsorted(
            sorted_tss, first[here], side="left"
        )
    own = np.zeros(len(found), dtype=bool)
    pairs = found[["gene", "peak"]].reset_index()
    starts = modeled[["number", "tss"]].rename(columns={"number": "gene"})
    near = pairs[at_start[pairs["peak"]]].merge(starts, on="gene")
    inside = (near["tss"] >= first[near["peak"]]) & (near["tss"] <= last[near["peak"]])
    own[near.loc[inside, "index"]] = True
    other = at_start[found["peak"].to_numpy()] & ~own
    return np.select([own, other], ["promoter", "promoter of another gene"], "distal")
