"""Features of simulated cells: where genes and peaks are, which belong together, what they mark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import InputError
from ..words import count_of

LINK_WINDOW = 100_000
CONTACT_PLATEAU = 5_000  # base pairs; contacts within it are equally frequent
_BIN = 1_000
_PEAK_WIDTH = 500
_GENE_SPACING = 60_000


@dataclass(frozen=True)
class TypeShape:
    """Which groups of markers exist and which types express them.

    `members` is groups x types; `rna` and `atac`: whether a group's markers differ in it.
    """

    members: np.ndarray
    rna: np.ndarray
    atac: np.ndarray


@dataclass(frozen=True)
class Links:
    """Numbers of peaks and of the genes that they follow, and how far they are from these."""

    peak: np.ndarray
    gene: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True)
class SimulatedFeatures:
    """Genes and peaks: tables, and groups of markers (-1: of none), by modality."""

    tables: dict[str, pd.DataFrame]
    marks: dict[str, np.ndarray]
    links: Links

    def named_links(self) -> pd.DataFrame:
        """Links as a table of peak, gene and distance."""
        return pd.DataFrame(
            {
                "peak": self.tables["atac"].index[self.links.peak].to_numpy(),
                "gene": self.tables["rna"].index[self.links.gene].to_numpy(),
                "distance": self.links.distance,
            }
        )


def draw_features(
    rng: np.random.Generator,
    shape: TypeShape,
    n_genes: int,
    n_peaks: int,
    n_chromosomes: int,
    marker_fraction: float,
    peaks_per_gene: float,
    link_decay: float,
) -> SimulatedFeatures:
    """Draw them; the arguments are those of `simulate`.

    Raises:
        InputError: The peaks do not fit beside the genes.
    """
    gene_marks = _draw_marks(rng, n_genes, marker_fraction, shape)
    genes = _place_genes(rng, n_genes, n_chromosomes)
    peaks, links = _place_peaks(rng, genes, gene_marks, n_peaks, peaks_per_gene, link_decay)
    peak_marks = _draw_peak_marks(rng, gene_marks, links, n_peaks, marker_fraction, shape)
    return SimulatedFeatures(
        {"rna": genes, "atac": peaks}, {"rna": gene_marks, "atac": peak_marks}, links
    )


def type_shape(n_types: int, separated_by: str) -> TypeShape:
    """Groups of markers of lineages, which are pairs of types, and of each type."""
    own = np.eye(n_types, dtype=bool)
    n_lineages = (n_types + 1) // 2
    lineage = np.arange(n_types) // 2 == np.arange(n_lineages)[:, None]
    pair = np.arange(n_types) // 2
    own_in = {
        "both": (np.ones(n_types, bool), np.ones(n_types, bool)),
        "rna": (np.ones(n_types, bool), np.zeros(n_types, bool)),
        "atac": (np.zeros(n_types, bool), np.ones(n_types, bool)),
        "together": (pair % 2 == 0, pair % 2 == 1),
    }[separated_by]
    everywhere = np.ones(n_lineages, dtype=bool)
    return TypeShape(
        members=np.vstack([lineage, own]),
        rna=np.concatenate([everywhere, own_in[0]]),
        atac=np.concatenate([everywhere, own_in[1]]),
    )


def _draw_marks(
    rng: np.random.Generator, n_features: int, fraction: float, shape: TypeShape
) -> np.ndarray:
    """Group of each feature, -1 for none; every group gets the same number of features."""
    n_groups = len(shape.members)
    each = max(1, round(fraction * n_features))
    each = min(each, max(1, n_features // (2 * n_groups)))
    marks = np.full(n_features, -1)
    chosen = rng.permutation(n_features)[: each * n_groups]
    marks[chosen] = np.arange(len(chosen)) % n_groups
    return marks


def _draw_peak_marks(
    rng: np.random.Generator,
    gene_marks: np.ndarray,
    links: Links,
    n_peaks: int,
    fraction: float,
    shape: TypeShape,
) -> np.ndarray:
    """Linked peaks follow their gene; other peaks may mark a group without any gene."""
    marks = np.full(n_peaks, -1)
    free = np.ones(n_peaks, dtype=bool)
    free[links.peak] = False
    marks[free] = _draw_marks(rng, int(free.sum()), fraction, shape) if free.any() else -1
    marks[links.peak] = gene_marks[links.gene]
    return marks


def marker_names(
    marks: np.ndarray, shape: TypeShape, types: np.ndarray, modality: str
) -> np.ndarray:
    """The types a feature marks in this modality, joined by '+'; '' for none."""
    differs = shape.rna if modality == "rna" else shape.atac
    names = [
        "+".join(types[members]) if on else ""
        for members, on in zip(shape.members, differs, strict=True)
    ]
    return np.array([*names, ""], dtype=object)[marks]


def _place_genes(rng: np.random.Generator, n_genes: int, n_chromosomes: int) -> pd.DataFrame:
    chromosome = np.arange(n_genes) * n_chromosomes // n_genes
    first = np.searchsorted(chromosome, chromosome)
    place = 2 * LINK_WINDOW + (np.arange(n_genes) - first) * _GENE_SPACING
    start = place + rng.integers(0, _GENE_SPACING // 2, n_genes)
    length = rng.integers(2_000, _GENE_SPACING // 2, n_genes)
    strand = rng.choice(["+", "-"], n_genes)
    return pd.DataFrame(
        {
            "chrom": [f"chr{number + 1}" for number in chromosome],
            "start": start,
            "end": start + length,
            "strand": strand,
            "tss": np.where(strand == "+", start, start + length),
        },
        index=[f"Gene{number:04d}" for number in range(1, n_genes + 1)],
    )


def _draw_bins(rng: np.random.Generator, reach: int, decay: float, size: int) -> np.ndarray:
    """Bins from a gene's start to its peaks, less often at larger distances."""
    if decay == 0:
        return rng.integers(-reach, reach, size)
    bins = np.arange(-reach, reach)
    weight = np.maximum(np.abs(bins) * _BIN, CONTACT_PLATEAU) ** -float(decay)
    return rng.choice(bins, size, p=weight / weight.sum())


def _place_peaks(
    rng: np.random.Generator,
    genes: pd.DataFrame,
    gene_marks: np.ndarray,
    n_peaks: int,
    peaks_per_gene: float,
    link_decay: float,
) -> tuple[pd.DataFrame, Links]:
    """Linked peaks near their gene's start, the others anywhere, none overlapping another."""
    code = genes["chrom"].str[3:].astype(int).to_numpy()
    tss = genes["tss"].to_numpy()
    markers = np.flatnonzero(gene_marks >= 0)
    per_gene = 1 + rng.poisson(max(0.0, peaks_per_gene - 1), len(markers))
    linked_gene = rng.permutation(np.repeat(markers, per_gene))[: n_peaks // 2]

    # One bin of 1 kb holds at most one peak; a peak stays inside its bin.
    last = tss.max() // _BIN + LINK_WINDOW // _BIN
    bins_per_chromosome = last + 2
    reach = LINK_WINDOW // _BIN - 1
    near = _draw_bins(rng, reach, link_decay, len(linked_gene))
    bins = code[linked_gene] * bins_per_chromosome + tss[linked_gene] // _BIN + near
    # A bin already taken costs the later gene this link.
    bins, kept = np.unique(bins, return_index=True)
    linked_gene = linked_gene[kept]

    free = np.setdiff1d(
        (np.unique(code)[:, None] * bins_per_chromosome + np.arange(last)).ravel(), bins
    )
    n_free = n_peaks - len(bins)
    if n_free > len(free):
        raise InputError(
            f"{count_of(n_peaks, 'peak', 'does', 'do')} not fit around "
            f"{count_of(len(genes), 'gene')}; simulate more genes or fewer peaks"
        )
    all_bins = np.concatenate([bins, rng.choice(free, n_free, replace=False)])
    order = np.argsort(all_bins)
    rank = np.empty(n_peaks, dtype=int)
    rank[order] = np.arange(n_peaks)
    all_bins = all_bins[order]

    chromosome = all_bins // bins_per_chromosome
    start = (all_bins % bins_per_chromosome) * _BIN
    start = start + rng.integers(1, _BIN - _PEAK_WIDTH, n_peaks)
    end = start + _PEAK_WIDTH
    names = [f"chr{c}-{a}-{b}" for c, a, b in zip(chromosome, start, end, strict=True)]
    peaks = pd.DataFrame(
        {"chrom": [f"chr{c}" for c in chromosome], "start": start, "end": end}, index=names
    )
    linked_peak = rank[: len(bins)]
    distance = (start[linked_peak] + end[linked_peak]) // 2 - tss[linked_gene]
    return peaks, Links(linked_peak, linked_gene, distance)


def draw_profiles(
    rng: np.random.Generator,
    marks: np.ndarray,
    shape: TypeShape,
    modality: str,
    fold: float,
    base_spread: float,
) -> np.ndarray:
    """Features x types; each column sums to one."""
    n_features, n_types = len(marks), shape.members.shape[1]
    base = rng.lognormal(0.0, base_spread, n_features)
    log_fold = rng.normal(np.log(fold), 0.3 * np.log(fold), n_features)
    differs = shape.rna if modality == "rna" else shape.atac
    profile = np.repeat(base[:, None], n_types, axis=1)
    for group, members in enumerate(shape.members):
        if differs[group]:
            marked = marks == group
            profile[np.ix_(marked, members)] *= np.exp(log_fold[marked])[:, None]
    return profile / profile.sum(axis=0)
