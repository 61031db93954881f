"""Paired cells whose truth is known: types, markers, peak-gene links and, if wanted, an order.

Each count is negative binomial around `library size x profile`, where the profile of a cell mixes
that of its type (of two neighboring stages, when cells are ordered) with the ambient profile.
Counts are drawn event by event, so the cost follows the number of counts and nothing of the size
cells x features is ever held.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..arguments import number, positive, whole_number
from ..errors import InputError
from ..words import count_of, name_some

if TYPE_CHECKING:
    from mudata import MuData

SEPARATIONS = ("both", "rna", "atac", "together")

LINK_WINDOW = 100_000
_BIN = 1_000
_PEAK_WIDTH = 500
_GENE_SPACING = 60_000
_EVENTS_PER_CHUNK = 2_000_000
_DEPTH_CORRELATION = 0.5


def simulate(
    n_cells: int = 1000,
    n_genes: int = 2000,
    n_peaks: int = 5000,
    n_types: int = 8,
    *,
    median_umi: float = 1500.0,
    median_fragments: float = 2000.0,
    depth_spread: float = 0.45,
    ambient: float = 0.1,
    marker_fraction: float = 0.02,
    gene_fold: float = 4.5,
    peak_fold: float = 2.2,
    peaks_per_gene: float = 2.0,
    rna_theta: float = 2.0,
    atac_theta: float = 5.0,
    separated_by: str = "both",
    ordered: bool = False,
    branches: int = 1,
    atac_lead: float = 0.0,
    n_chromosomes: int = 10,
    n_batches: int = 1,
    batch_effect: float = 0.5,
    seed: int = 0,
) -> MuData:
    """Simulate paired RNA and ATAC counts of cells with known truth.

    Types come in pairs of siblings. A lineage's markers are shared by its two types, a type's
    markers are its own; every marker gene is followed by its linked peaks, all within 100 kb of its
    transcription start. The same seed and arguments give the same cells.

    Args:
        n_cells: Number of cells.
        n_genes: Number of genes.
        n_peaks: Number of peaks.
        n_types: Number of cell types (of stages, when `ordered`).
        median_umi: Median RNA library size.
        median_fragments: Median ATAC library size.
        depth_spread: Standard deviation of the log library sizes, which correlate between the
            modalities.
        ambient: Mean fraction of a cell's counts that come from the average of all cells.
        marker_fraction: Marker genes, and marker peaks without a gene, of each type and of each
            lineage, as a fraction of the features.
        gene_fold: Median ratio of a marker gene in its type over the others.
        peak_fold: Median ratio of a marker peak in its type over the others.
        peaks_per_gene: Mean number of peaks linked to a marker gene, at least one each.
        rna_theta: Inverse dispersion of the RNA counts (variance = mean + mean^2 / theta).
        atac_theta: Inverse dispersion of the ATAC counts.
        separated_by: What tells siblings apart: 'both' modalities, each by itself; only 'rna'; only
            'atac'; or only the two 'together' (RNA for every other pair, ATAC for the rest).
        ordered: Spread the cells along the path from the first type to the last instead of in
            clusters; obs['pseudotime'] in [0, 1] then holds each cell's place.
        branches: Ends of the path of ordered cells. With two or more, the first stages are a trunk,
            at whose last stage the path parts into branches of n_types // (branches + 2) stages
            each; obs['branch'] then is 'trunk', 'branch1', ...
        atac_lead: How far chromatin is ahead of expression along the path, in units of pseudotime,
            which is that of the RNA; beyond the end of the path it waits there.
        n_chromosomes: Number of chromosomes.
        n_batches: Number of batches; each has its own mix of the types.
        batch_effect: Standard deviation of the log factor by which a batch changes a feature.
        seed: Seed of the only random generator used.

    Returns:
        MuData with modalities 'rna' and 'atac', float32 CSR counts. obs: 'cell_type', 'ambient',
        'batch' if there are several, 'pseudotime' if ordered, 'branch' if the path has any, and
        'library_size' per modality (the expected total). var: 'chrom', 'start', 'end', 'marker_of',
        'ambient_profile', for genes 'tss' and 'strand'.
        varm['true_profile']: features x types, each column sums to one, without ambient.
        uns['types']: the names of its columns. uns['links']: DataFrame of peak, gene, distance.
        uns['simulation']: the arguments.

    Raises:
        InputError: An argument is out of its range, or there are too few features for the types.
    """
    arguments = {name: value for name, value in locals().items()}
    _refuse_arguments(arguments)
    rng = np.random.default_rng(seed)
    types = np.array([f"Type{number + 1:02d}" for number in range(n_types)])

    shape = _type_shape(n_types, separated_by)
    gene_marks = _draw_marks(rng, n_genes, marker_fraction, shape)
    genes = _place_genes(rng, n_genes, n_chromosomes)
    peaks, links = _place_peaks(rng, genes, gene_marks, n_peaks, peaks_per_gene)
    peak_marks = _draw_peak_marks(rng, gene_marks, links, n_peaks, marker_fraction, shape)

    path = _path(n_types, branches) if ordered else None
    weights = _draw_mixture(rng, n_cells, n_types, ambient, path)
    mixtures = {"rna": weights, "atac": _ahead(weights, path, atac_lead) if ordered else weights}
    depth = _draw_depth(rng, n_cells, depth_spread)
    batches = _draw_batches(weights, n_types, n_batches, batch_effect, seed)
    modalities = {}
    for modality, marks, features, median, theta, fold, base_spread in (
        ("rna", gene_marks, genes, median_umi, rna_theta, gene_fold, 1.2),
        ("atac", peak_marks, peaks, median_fragments, atac_theta, peak_fold, 0.7),
    ):
        profile = _profiles(rng, marks, shape, modality, fold, base_spread)
        library = median * depth[modality]
        mixture = mixtures[modality]
        mean_profile = _ambient_profile(profile, mixture)
        profiles = np.column_stack([profile, mean_profile])
        counts = _draw_counts_of(batches, rng, profiles, mixture, library, theta)
        features["marker_of"] = _marker_names(marks, shape, types, modality)
        features["ambient_profile"] = mean_profile
        modalities[modality] = (counts, features, profile, library)

    cells = pd.DataFrame(
        {
            "cell_type": pd.Categorical(types[weights.label], categories=types),
            "ambient": weights.ambient,
        },
        index=_barcodes(rng, n_cells),
    )
    if n_batches > 1:
        names = [f"batch{number + 1}" for number in range(n_batches)]
        cells["batch"] = pd.Categorical.from_codes(batches.label, names)
    if ordered:
        cells["pseudotime"] = weights.pseudotime
    if ordered and branches > 1:
        cells["branch"] = _branch_names(path, weights)
    links = pd.DataFrame(
        {
            "peak": peaks.index[links.peak].to_numpy(),
            "gene": genes.index[links.gene].to_numpy(),
            "distance": links.distance,
        }
    )
    return _assemble(modalities, cells, links, types, arguments)


@dataclass
class _TypeShape:
    """Which groups of markers exist and which types express them.

    `members` is groups x types; `rna` and `atac` say in which modality a group's markers differ.
    """

    members: np.ndarray
    rna: np.ndarray
    atac: np.ndarray


@dataclass
class _Links:
    peak: np.ndarray
    gene: np.ndarray
    distance: np.ndarray


@dataclass
class _Mixture:
    """A cell's profile: (1 - ambient) * ((1 - share) * first + share * second) + ambient * mean."""

    label: np.ndarray
    first: np.ndarray
    second: np.ndarray
    share: np.ndarray
    ambient: np.ndarray
    pseudotime: np.ndarray
    branch: np.ndarray


# The stages of a path, one row for each of its ends: from the first stage to that end.
_Path = np.ndarray


def _path(n_types: int, branches: int) -> _Path:
    each = n_types // (branches + 2) if branches > 1 else 0
    trunk = n_types - branches * each
    ends = trunk + np.arange(branches * each).reshape(branches, each)
    return np.hstack([np.tile(np.arange(trunk), (branches, 1)), ends])


def _places(path: _Path, branch: np.ndarray, pseudotime: np.ndarray) -> tuple[np.ndarray, ...]:
    """Stage before and after each place, and how far it is from the one to the other."""
    place = pseudotime * (path.shape[1] - 1)
    step = np.minimum(place.astype(int), max(path.shape[1] - 2, 0))
    after = np.minimum(step + 1, path.shape[1] - 1)
    return path[branch, step], path[branch, after], place - step


def _ahead(mixture: _Mixture, path: _Path, lead: float) -> _Mixture:
    """The same cells further along the path."""
    if lead == 0:
        return mixture
    moved = np.clip(mixture.pseudotime + lead, 0, 1)
    first, second, share = _places(path, mixture.branch, moved)
    return replace(mixture, first=first, second=second, share=share)


def _branch_names(path: _Path, mixture: _Mixture) -> pd.Categorical:
    """'trunk' up to the last stage that all ends have in common, then the branch."""
    on_trunk = np.isin(mixture.second, path[:, (path == path[0]).all(axis=0)])
    names = ["trunk", *(f"branch{number + 1}" for number in range(len(path)))]
    return pd.Categorical.from_codes(np.where(on_trunk, 0, mixture.branch + 1), names)


@dataclass
class _Batches:
    label: np.ndarray
    effect: float
    rng: np.random.Generator  # of its own, so that one batch is what it is without this part


def _type_shape(n_types: int, separated_by: str) -> _TypeShape:
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
    return _TypeShape(
        members=np.vstack([lineage, own]),
        rna=np.concatenate([everywhere, own_in[0]]),
        atac=np.concatenate([everywhere, own_in[1]]),
    )


def _draw_marks(
    rng: np.random.Generator, n_features: int, fraction: float, shape: _TypeShape
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
    links: _Links,
    n_peaks: int,
    fraction: float,
    shape: _TypeShape,
) -> np.ndarray:
    """Linked peaks follow their gene; other peaks may mark a group without any gene."""
    marks = np.full(n_peaks, -1)
    free = np.ones(n_peaks, dtype=bool)
    free[links.peak] = False
    marks[free] = _draw_marks(rng, int(free.sum()), fraction, shape) if free.any() else -1
    marks[links.peak] = gene_marks[links.gene]
    return marks


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


def _place_peaks(
    rng: np.random.Generator,
    genes: pd.DataFrame,
    gene_marks: np.ndarray,
    n_peaks: int,
    peaks_per_gene: float,
) -> tuple[pd.DataFrame, _Links]:
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
    near = rng.integers(-reach, reach, len(linked_gene))
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
            f"{count_of(n_peaks, 'peak', 'does', 'do')} not fit beside "
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
    return peaks, _Links(linked_peak, linked_gene, distance)


def _draw_mixture(
    rng: np.random.Generator, n_cells: int, n_types: int, ambient: float, path: _Path | None
) -> _Mixture:
    branch = np.zeros(n_cells, dtype=int)
    if path is not None:
        pseudotime = rng.uniform(0, 1, n_cells)
        if len(path) > 1:
            branch = rng.integers(len(path), size=n_cells)
        first, second, share = _places(path, branch, pseudotime)
        label = np.where(np.rint(share) > 0, second, first)
    else:
        # Unequal types, none of them rare enough to vanish.
        proportion = 0.3 / n_types + 0.7 * rng.dirichlet(np.full(n_types, 4.0))
        label = rng.choice(n_types, n_cells, p=proportion)
        label[:n_types] = np.arange(n_types)
        label = rng.permutation(label)
        first = second = label
        share = pseudotime = np.zeros(n_cells)
    # Beta around the mean, with a spread of about a third of it.
    concentration = 10.0 / max(ambient, 1e-3)
    level = np.zeros(n_cells)
    if ambient > 0:
        level = rng.beta(concentration * ambient, concentration * (1 - ambient), n_cells)
    return _Mixture(label, first, second, share, level, pseudotime, branch)


def _draw_depth(rng: np.random.Generator, n_cells: int, spread: float) -> dict[str, np.ndarray]:
    rna, other = rng.standard_normal((2, n_cells))
    atac = _DEPTH_CORRELATION * rna + np.sqrt(1 - _DEPTH_CORRELATION**2) * other
    return {"rna": np.exp(spread * rna), "atac": np.exp(spread * atac)}


def _draw_batches(
    weights: _Mixture, n_types: int, n_batches: int, effect: float, seed: int
) -> _Batches:
    rng = np.random.default_rng([seed, n_batches])
    share = rng.dirichlet(np.full(n_batches, 2.0), n_types)
    place = rng.random(len(weights.label))[:, None] > share.cumsum(1)[weights.label]
    return _Batches(np.minimum(place.sum(1), n_batches - 1), effect, rng)


def _draw_counts_of(
    batches: _Batches,
    rng: np.random.Generator,
    profiles: np.ndarray,
    weights: _Mixture,
    library: np.ndarray,
    theta: float,
) -> sp.csr_matrix:
    """`_draw_counts` with each batch's own changes of the profiles."""
    labels = np.unique(batches.label)
    if len(labels) == 1:
        return _draw_counts(rng, profiles, weights, library, theta)
    order, parts = [], []
    for label in labels:
        factor = np.exp(batches.effect * batches.rng.standard_normal(len(profiles)))
        changed = profiles * factor[:, None]
        cells = np.flatnonzero(batches.label == label)
        some = _Mixture(*(getattr(weights, field.name)[cells] for field in fields(_Mixture)))
        parts.append(_draw_counts(rng, changed / changed.sum(0), some, library[cells], theta))
        order.append(cells)
    return sp.vstack(parts, format="csr")[np.argsort(np.concatenate(order))]


def _profiles(
    rng: np.random.Generator,
    marks: np.ndarray,
    shape: _TypeShape,
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


def _ambient_profile(profile: np.ndarray, weights: _Mixture) -> np.ndarray:
    n_types = profile.shape[1]
    of_type = np.bincount(weights.first, 1 - weights.share, n_types)
    of_type += np.bincount(weights.second, weights.share, n_types)
    return profile @ (of_type / of_type.sum())


def _draw_counts(
    rng: np.random.Generator,
    profiles: np.ndarray,
    weights: _Mixture,
    library: np.ndarray,
    theta: float,
) -> sp.csr_matrix:
    """Negative binomial counts, cells x features, as a compound Poisson sum.

    NB(mean m, inverse dispersion t) is the sum of Poisson(t log(1 + m/t)) logarithmic variables
    with p = m / (m + t). Events are drawn at the larger rate m, then thinned to that rate.
    """
    n_features, n_profiles = profiles.shape
    cumulative = np.cumsum(profiles, axis=0)
    cumulative /= cumulative[-1]
    # Profile k occupies (k, k + 1]: one search finds a feature in the right profile.
    ladder = (cumulative + np.arange(n_profiles)).T.ravel()
    ambient_profile = n_profiles - 1

    n_events = rng.poisson(library)
    chunk_of_cell = np.cumsum(n_events) // _EVENTS_PER_CHUNK
    blocks = []
    for chunk in np.unique(chunk_of_cell):
        cells = np.flatnonzero(chunk_of_cell == chunk)
        cell = np.repeat(cells, n_events[cells])
        second = rng.random(len(cell)) < weights.share[cell]
        source = np.where(second, weights.second[cell], weights.first[cell])
        source[rng.random(len(cell)) < weights.ambient[cell]] = ambient_profile
        feature = np.searchsorted(ladder, source + rng.random(len(cell)), side="right")
        feature = np.minimum(feature - source * n_features, n_features - 1)

        share, level = weights.share[cell], weights.ambient[cell]
        of_type = (1 - share) * profiles[feature, weights.first[cell]]
        of_type += share * profiles[feature, weights.second[cell]]
        mean = (1 - level) * of_type + level * profiles[feature, ambient_profile]
        ratio = mean * library[cell] / theta
        kept = rng.random(len(cell)) * ratio < np.log1p(ratio)
        size = rng.logseries(ratio[kept] / (1 + ratio[kept]))
        block = sp.csr_matrix(
            (size.astype(np.float32), (cell[kept] - cells[0], feature[kept])),
            shape=(len(cells), n_features),
        )
        blocks.append(block)
    counts = sp.vstack(blocks, format="csr", dtype=np.float32)
    counts.sum_duplicates()
    return counts


def _marker_names(
    marks: np.ndarray, shape: _TypeShape, types: np.ndarray, modality: str
) -> np.ndarray:
    """The types a feature marks in this modality, joined by '+'; '' for none."""
    differs = shape.rna if modality == "rna" else shape.atac
    names = [
        "+".join(types[members]) if on else ""
        for members, on in zip(shape.members, differs, strict=True)
    ]
    return np.array([*names, ""], dtype=object)[marks]


def _barcodes(rng: np.random.Generator, n_cells: int) -> list[str]:
    """Distinct 16-base barcodes: the number of the cell, scrambled by a bijection of 32 bits."""
    start = np.uint64(rng.integers(1 << 32))  # NumPy 2 makes uint64 + int64 a float
    scrambled = (np.arange(n_cells, dtype=np.uint64) * np.uint64(2_654_435_761) + start) % (
        np.uint64(1 << 32)
    )
    bases = np.array(list("ACGT"))
    digits = (scrambled[:, None] >> np.arange(0, 32, 2, dtype=np.uint64)) & np.uint64(3)
    return ["".join(row) + "-1" for row in bases[digits.astype(int)]]


def _assemble(
    modalities: dict[str, tuple[sp.csr_matrix, pd.DataFrame, np.ndarray, np.ndarray]],
    cells: pd.DataFrame,
    links: pd.DataFrame,
    types: np.ndarray,
    arguments: dict[str, object],
) -> MuData:
    from anndata import AnnData

    from .io import join

    parts = {}
    for modality, (counts, features, profile, library) in modalities.items():
        parts[modality] = AnnData(
            X=counts,
            obs=cells.assign(library_size=library),
            var=features,
            varm={"true_profile": profile},
        )
    mdata = join(parts["rna"], parts["atac"])
    mdata.uns["types"] = types
    mdata.uns["links"] = links
    mdata.uns["simulation"] = arguments
    return mdata


def _refuse_path(arguments: dict[str, object]) -> None:
    branches, lead = arguments["branches"], arguments["atac_lead"]
    whole_number("branches", branches)
    if not 0 <= number("atac_lead", lead) < 1:
        raise InputError(f"atac_lead must be at least 0 and below 1, not {lead}")
    if (branches > 1 or lead > 0) and not arguments["ordered"]:
        raise InputError("branches and atac_lead are of cells along a path; say ordered=True, too")
    if branches > 1 and arguments["n_types"] < branches + 2:
        raise InputError(
            f"{count_of(branches, 'branch', 'needs', 'need')} at least "
            f"{count_of(branches + 2, 'type')} (n_types), not {arguments['n_types']}"
        )


def _refuse_arguments(arguments: dict[str, object]) -> None:
    for name in ("n_cells", "n_genes", "n_peaks", "n_types", "n_chromosomes", "n_batches"):
        whole_number(name, arguments[name])
    whole_number("seed", arguments["seed"], at_least=0)
    for name in (
        "median_umi",
        "median_fragments",
        "rna_theta",
        "atac_theta",
        "gene_fold",
        "peak_fold",
    ):
        positive(name, arguments[name])
    if not number("batch_effect", arguments["batch_effect"]) >= 0:
        raise InputError(f"batch_effect must be at least 0, not {arguments['batch_effect']}")
    if not 0 <= number("ambient", arguments["ambient"]) < 1:
        raise InputError(f"ambient must be at least 0 and below 1, not {arguments['ambient']}")
    _refuse_path(arguments)
    if arguments["n_types"] > arguments["n_cells"]:
        raise InputError(
            f"n_types ({arguments['n_types']}) is larger than n_cells ({arguments['n_cells']}); "
            "simulate more cells or fewer types"
        )
    if arguments["separated_by"] not in SEPARATIONS:
        raise InputError(
            f"separated_by must be one of {name_some(SEPARATIONS[:3])} or 'together', not "
            f"'{arguments['separated_by']}'"
        )
    n_groups = arguments["n_types"] + (arguments["n_types"] + 1) // 2
    if min(arguments["n_genes"], arguments["n_peaks"]) < 2 * n_groups:
        raise InputError(
            f"{count_of(arguments['n_types'], 'type', 'needs', 'need')} at least "
            f"{count_of(2 * n_groups, 'gene')} and as many peaks; simulate more features or fewer "
            "types"
        )
