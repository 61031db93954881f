"""Paired cells whose truth is known: types, markers, peak-gene links and, if wanted, an order.

Each count is negative binomial around `library size x profile`, where the profile of a cell mixes
that of its type (of two neighboring stages, when cells are ordered) with the ambient profile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..arguments import number, positive, whole_number
from ..errors import InputError
from ..words import count_of, name_some
from .joining import join
from .simulated_cells import (
    Mixture,
    Path,
    ahead,
    ambient_profile,
    branch_names,
    draw_batches,
    draw_counts_of,
    draw_depth,
    draw_mixture,
    path_of,
)
from .simulated_features import draw_features, draw_profiles, marker_names, type_shape

if TYPE_CHECKING:
    from mudata import MuData

SEPARATIONS = ("both", "rna", "atac", "together")


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
    link_decay: float = 0.0,
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
    """Simulate paired RNA and ATAC counts of cells with a known truth.

    Types come in pairs of siblings (lineages). Markers of a lineage are shared by its two types;
    markers of a type are specific to it. Every marker gene has linked peaks within 100 kb of its
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
        marker_fraction: Number of marker genes, and of marker peaks that are not linked to a gene,
            of each type and of each lineage, as a fraction of the features. At least one each, and
            together at most half of the features.
        gene_fold: Median ratio of the expression of a marker gene in its type to that in the
            others.
        peak_fold: Median ratio of the accessibility of a marker peak in its type to that in the
            others.
        peaks_per_gene: Mean number of peaks linked to a marker gene; each has at least one.
        link_decay: Exponent with which linked peaks become rarer with their distance from the start
            of the gene (equally frequent within 5 kb); 0 for the same frequency at all distances.
        rna_theta: Inverse dispersion of the RNA counts (variance = mean + mean^2 / theta).
        atac_theta: Inverse dispersion of the ATAC counts.
        separated_by: Modalities in which sibling types differ: 'both', each of which is sufficient;
            only 'rna'; only 'atac'; or 'together', where half of the pairs differ in RNA and the
            others in ATAC.
        ordered: Spread the cells along the path from the first type to the last instead of in
            clusters; obs['pseudotime'] in [0, 1] then contains the position of each cell.
        branches: Number of ends of the path of ordered cells. With two or more, the first stages
            form a trunk, at whose last stage the path forks into branches of n_types // (branches +
            2) stages each; obs['branch'] then is 'trunk', 'branch1', ...
        atac_lead: How far chromatin is ahead of expression along the path, in units of pseudotime,
            which is that of the RNA. It stops at the end of the path.
        n_chromosomes: Number of chromosomes.
        n_batches: Number of batches, each with its own proportions of the types.
        batch_effect: Standard deviation of the log factor by which a batch changes a feature; one
            batch has no effect.
        seed: Seed of all random numbers.

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
    arguments = dict(locals())
    _refuse_arguments(arguments)
    rng = np.random.default_rng(seed)
    types = np.array([f"Type{number + 1:02d}" for number in range(n_types)])
    shape = type_shape(n_types, separated_by)
    features = draw_features(
        rng, shape, n_genes, n_peaks, n_chromosomes, marker_fraction, peaks_per_gene, link_decay
    )
    path = path_of(n_types, branches) if ordered else None
    mixture = draw_mixture(rng, n_cells, n_types, ambient, path)
    moved = mixture if path is None else ahead(mixture, path, atac_lead)
    depth = draw_depth(rng, n_cells, depth_spread)
    batches = draw_batches(mixture, n_types, n_batches, batch_effect, seed)
    modalities = {}
    for modality, mixed, median, theta, fold, base_spread in (
        ("rna", mixture, median_umi, rna_theta, gene_fold, 1.2),
        ("atac", moved, median_fragments, atac_theta, peak_fold, 0.7),
    ):
        marks, table = features.marks[modality], features.tables[modality]
        profile = draw_profiles(rng, marks, shape, modality, fold, base_spread)
        library, mean_profile = median * depth[modality], ambient_profile(profile, mixed)
        profiles = np.column_stack([profile, mean_profile])
        counts = draw_counts_of(batches, rng, profiles, mixed, library, theta)
        table["marker_of"] = marker_names(marks, shape, types, modality)
        table["ambient_profile"] = mean_profile
        modalities[modality] = (counts, table, profile, library)
    cells = _table_of_cells(_barcodes(rng, n_cells), types, mixture, path)
    if n_batches > 1:
        names = [f"batch{number + 1}" for number in range(n_batches)]
        cells.insert(2, "batch", pd.Categorical.from_codes(batches.label, names))
    return _assemble(modalities, cells, features.named_links(), types, arguments)


def _table_of_cells(
    names: list[str], types: np.ndarray, mixture: Mixture, path: Path | None
) -> pd.DataFrame:
    """What is true of each cell."""
    label = pd.Categorical(types[mixture.label], categories=types)
    cells = pd.DataFrame({"cell_type": label, "ambient": mixture.ambient}, index=names)
    if path is not None:
        cells["pseudotime"] = mixture.pseudotime
        if len(path) > 1:
            cells["branch"] = branch_names(path, mixture)
    return cells


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


def _refuse_path(arguments: dict[str, Any]) -> None:
    branches, lead = arguments["branches"], arguments["atac_lead"]
    whole_number("branches", branches)
    if not 0 <= number("atac_lead", lead) < 1:
        raise InputError(f"atac_lead must be at least 0 and below 1, not {lead}")
    if (branches > 1 or lead > 0) and not arguments["ordered"]:
        raise InputError(
            "branches and atac_lead apply only to cells along a path; add ordered=True"
        )
    if branches > 1 and arguments["n_types"] < branches + 2:
        raise InputError(
            f"{count_of(branches, 'branch', 'needs', 'need')} at least "
            f"{count_of(branches + 2, 'type')} (n_types), not {arguments['n_types']}"
        )


def _refuse_arguments(arguments: dict[str, Any]) -> None:
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
    for name in ("batch_effect", "link_decay"):
        if not number(name, arguments[name]) >= 0:
            raise InputError(f"{name} must be at least 0, not {arguments[name]}")
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
