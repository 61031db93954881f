"""Several samples as one MuData: cells by sample and barcode, genes by name, peaks by their union.

What was not measured in a sample is not zero there. Genes that a sample lacks are left out, peaks
are counted anew from fragments, or a note says how many count as zero where no peak was called.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..errors import InputError
from ..modalities import ATAC, MODALITIES, PAIR, feature_of, label_of, listed
from ..progress import Stages
from ..words import count_of, name_some
from .columns import same_column
from .fragments import counts_of_fragments
from .joining import adata_of, join_all
from .levels import Covered, places_of_levels
from .names import as_names, note
from .peaks import Peaks, Union, peaks_of, refuse_other_genome, union_of
from .places import places_of
from .preprocess import insertions_to_fragments, looks_like_insertions
from .types import gene_ids

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

COLUMN = "sample"
_KEPT_ASIDE = "sample_before"
# Of the genes of the sample that has fewest, this proportion must be in all of them.
_FEWEST_SHARED = 0.5
_LONGEST = 10_000  # base pairs; longer peaks that are made of others are told
# Counts per cell from fragments are those of the matrix and more.
_LEAST_OF_KNOWN = 0.5
_LEAST_CORRELATION = 0.3


def join_samples(
    samples: Mapping[str, MuData],
    peaks: str | Peaks = "union",
    fragments: Mapping[str, Path] | None = None,
    mosaic: bool = False,
    stages: Stages | None = None,
) -> MuData:
    """One MuData of the cells of all samples; the arguments are those of `read_samples`.

    Args:
        samples: By name, as they were read; only counts, obs and var are used.
        peaks: 'union', 'shared', or peaks to count in.
        fragments: Files from which the peaks are counted.
        mosaic: Cells, and whole samples, may lack modalities.
        stages: Stages of the counting.
    """
    measured = _by_modality(samples, mosaic)
    joined = {}
    for modality, parts in measured.items():
        if not MODALITIES[modality].is_level:  # whose counts are in layers
            _refuse_same_cells(parts)
        if modality == ATAC.name:
            joined[modality] = _join_peaks(parts, peaks, fragments, stages)
        else:
            joined[modality] = _join_shared(parts, modality)
    aside = _name_aside(samples)
    for modality, adata in joined.items():
        tables = {name: part.obs for name, part in measured[modality].items()}
        adata.obs_names = _cell_names({name: table.index for name, table in tables.items()})
        adata.obs = _columns_of_samples(tables, aside)
    whole = _columns_of_samples({name: mdata.obs for name, mdata in samples.items()}, aside)
    if aside in whole:
        note(f"a column '{COLUMN}' of the cells was renamed to '{aside}'")
    return join_all(joined, obs=whole, mosaic=mosaic, may_be_mosaic=True)


def _by_modality(samples: Mapping[str, MuData], mosaic: bool) -> dict[str, dict[str, AnnData]]:
    """The modalities to join, each of the samples in which it was measured.

    Raises:
        InputError: RNA or ATAC is lacking in some, and cells may not be unimodal.
    """
    measured = {}
    for modality in MODALITIES:
        having = {name: mdata[modality] for name, mdata in samples.items() if modality in mdata.mod}
        lacking = [name for name in samples if name not in having]
        if not having:
            continue
        if mosaic or not lacking:
            measured[modality] = having
        elif modality in PAIR:
            raise InputError(
                f"{label_of(modality)} is missing in {name_some(lacking)} but present in "
                f"{name_some([*having])}; leave samples out, or use all with mosaic=True"
            )
        else:
            note(
                f"{MODALITIES[modality].features} are left out, as not all samples have them (only "
                f"{name_some([*having])})"
            )
    _tell_same_barcodes(samples)
    return measured


def _tell_same_barcodes(samples: Mapping[str, MuData]) -> None:
    """Say where two samples may be two modalities of the same cells."""
    for (one, first), (other, second) in itertools.combinations(samples.items(), 2):
        n = len(first.obs_names.intersection(second.obs_names))
        if {*first.mod}.isdisjoint(second.mod) and n >= min(first.n_obs, second.n_obs) / 2:
            note(
                f"{one} has {listed(first.mod)} and {other} has {listed(second.mod)} of "
                f"{count_of(n, 'cell')} of the same names, which are read as different cells; if "
                "they are the same, put the two into one folder, such as rna.h5ad and atac.h5ad, "
                "and give this as one sample"
            )


# ---- cells ---------------------------------------------------------------------------------------


def _cell_names(cells: Mapping[str, pd.Index]) -> pd.Index:
    names = [f"{sample}_{cell}" for sample, own in cells.items() for cell in own]
    if len(set(names)) < len(names):
        repeated = pd.Index(names)[pd.Index(names).duplicated()]
        raise InputError(
            f"names of samples and cells combine to the same name twice ({name_some(repeated)}); "
            "give the samples other names"
        )
    return pd.Index(names)


def _name_aside(samples: Mapping[str, MuData]) -> str:
    """A free name for columns called 'sample': 'sample_before', 'sample_before_2', ..."""
    tables = [part for mdata in samples.values() for part in (mdata, *mdata.mod.values())]
    taken = {str(name) for table in tables for name in table.obs}
    taken |= {name.partition(":")[2] for name in taken}
    others = (f"{_KEPT_ASIDE}_{number}" for number in itertools.count(2))
    return next(name for name in itertools.chain([_KEPT_ASIDE], others) if name not in taken)


def _columns_of_samples(tables: Mapping[str, pd.DataFrame], aside: str) -> pd.DataFrame:
    """Their rows under each other; categories stay categories, 'sample' is called `aside`."""
    renamed = [table.rename(columns={COLUMN: aside}) for table in tables.values()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of columns without a value
        columns = pd.concat(renamed, sort=False)
    for name in columns:
        parts = [table[name] for table in renamed if name in table]
        if all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
            levels = dict.fromkeys(level for part in parts for level in part.cat.categories)
            columns[name] = columns[name].astype(pd.CategoricalDtype(list(levels)))
        elif all(part.dtype == bool for part in parts) and columns[name].isna().any():
            columns[name] = columns[name].astype("boolean")
    sizes = [len(table) for table in tables.values()]
    columns[COLUMN] = pd.Categorical.from_codes(np.repeat(np.arange(len(sizes)), sizes), [*tables])
    columns.index = _cell_names({name: table.index for name, table in tables.items()})
    return columns


def _refuse_same_cells(samples: Mapping[str, AnnData]) -> None:
    """Reject samples with the same cells: half of the barcodes shared, all with equal counts."""
    totals = {
        name: pd.Series(np.asarray(adata.X.sum(axis=1)).ravel(), index=adata.obs_names)
        for name, adata in samples.items()
    }
    for (one, first), (other, second) in itertools.combinations(totals.items(), 2):
        shared = first.index.intersection(second.index)
        if len(shared) < min(len(first), len(second)) / 2:
            continue
        counts = first[shared].to_numpy()  # an index of strings and one of objects do not compare
        if (counts == second[shared].to_numpy()).all() and len(np.unique(counts)) > 1:
            raise InputError(
                f"{one} and {other} hold the same cells with the same counts "
                f"({name_some(shared)}); give each sample once"
            )


# ---- genes ---------------------------------------------------------------------------------------


def _join_shared(samples: Mapping[str, AnnData], modality: str) -> AnnData:
    """The features that all samples have, in the order of the first one."""
    word = feature_of(modality)
    names = {sample: as_names(adata.var_names) for sample, adata in samples.items()}
    first = next(iter(samples))
    shared = pd.Index(names[first])
    for own in names.values():
        shared = shared[shared.isin(own)]
    fewest = min(names, key=lambda sample: len(names[sample]))
    if len(shared) < _FEWEST_SHARED * len(names[fewest]):
        shown = "; ".join(f"{sample}: {name_some(own)}" for sample, own in names.items())
        raise InputError(
            f"all samples have only {len(shared):,} of the {count_of(len(names[fewest]), word)} "
            f"of {fewest} ({shown}); give them names of {word}s of the same kind and genome"
        )
    shared, ids = _without_other_ids(samples, shared)
    more = [
        f"{len(own) - len(shared):,} of {sample}"
        for sample, own in names.items()
        if len(own) > len(shared)
    ]
    if more:
        note(
            f"{count_of(len(shared), word, 'is kept', 'are kept')}, which all samples have; left "
            f"out, as other samples did not measure them: {', '.join(more)}"
        )
    parts = {sample: adata[:, shared] for sample, adata in samples.items()}
    if MODALITIES[modality].is_level:
        joined = _of_both_layers(parts, shared, label_of(modality))
    else:
        counts = sp.vstack([sp.csr_matrix(part.X) for part in parts.values()], format="csr")
        joined = adata_of(counts, np.arange(counts.shape[0]).astype(str), shared.to_numpy())
    joined.var = _columns_that_agree([part.var for part in parts.values()])
    if ids is not None and "gene_ids" not in joined.var:
        joined.var["gene_ids"] = ids
    return joined


def _of_both_layers(parts: Mapping[str, AnnData], shared: pd.Index, label: str) -> AnnData:
    """Methylated and covered counts of all samples, as layers."""
    from anndata import AnnData

    both = [
        places_of_levels(places_of(adata), f"the {label} modality of {sample}")
        for sample, adata in parts.items()
    ]
    layers = {
        name: sp.vstack([sp.csr_matrix(getattr(one, name)) for one in both], format="csr")
        for name in Covered._fields
    }
    cells = pd.RangeIndex(layers["covered"].shape[0]).astype(str)
    return AnnData(obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=shared), layers=layers)


def _without_other_ids(
    samples: Mapping[str, AnnData], shared: pd.Index
) -> tuple[pd.Index, np.ndarray | None]:
    """Genes except those whose ids differ between samples: same name, but another gene.

    Ids are compared between the samples that have them, without the version of the annotation.

    Returns:
        The genes, and the id of each, '' where unknown; None where no sample has ids.
    """
    found = [gene_ids(adata.var.loc[shared]) for adata in samples.values()]
    of_samples = [ids for ids in found if ids is not None]
    if not of_samples:
        return shared, None
    known = np.full(len(shared), "", dtype=object)
    compared, differ = np.zeros((2, len(shared)), bool)
    for ids in of_samples:
        in_both = (ids != "") & (known != "")
        compared |= in_both
        differ |= in_both & (ids != known)
        known = np.where(known == "", ids, known)
    if differ.sum() > len(shared) / 2 and (differ == compared).all():
        raise InputError(
            f"no gene has the same id in all samples ({name_some(of_samples[0])}; "
            f"{name_some(of_samples[-1])}); give samples of the same genome"
        )
    if differ.any():
        note(
            f"{count_of(int(differ.sum()), 'gene')} left out, because their ids differ between "
            f"samples ({name_some(shared[differ])})"
        )
    return shared[~differ], known[~differ]


def _columns_that_agree(tables: list[pd.DataFrame]) -> pd.DataFrame:
    first = tables[0]
    agree = [
        name
        for name in first
        if all(name in other and same_column(first[name], other[name]) for other in tables[1:])
    ]
    return first[agree].copy()


# ---- peaks ---------------------------------------------------------------------------------------


def _join_peaks(
    samples: Mapping[str, AnnData],
    peaks: str | Peaks,
    fragments: Mapping[str, Path] | None,
    stages: Stages | None,
) -> AnnData:
    own, readable = {}, {}
    for name, adata in samples.items():
        own[name], readable[name] = peaks_of(as_names(adata.var_names), name)
    refuse_other_genome(own)
    union = union_of([*own.values()], unchanged=True if len(own) == 1 else None)
    covered = union.covered()
    chosen = np.flatnonzero(covered.all(0) if peaks == "shared" else np.ones(len(union.peaks)))
    if peaks == "shared" and not len(chosen):
        raise InputError("no peak is in all samples; leave out peaks='shared'")
    target = peaks if isinstance(peaks, Peaks) else union.peaks[chosen]
    if fragments is None:
        _tell_union(own, union, chosen, peaks == "shared")
        parts = _added(samples, readable, union, chosen)
    else:
        parts = _counted_anew(samples, target, fragments, stages or Stages())
        for (name, adata), within, counts in zip(samples.items(), union.within, parts, strict=True):
            in_target = np.isin(within, chosen)
            known = adata.X[:, readable[name][in_target]]
            least = 0.0 if isinstance(peaks, Peaks) else _LEAST_OF_KNOWN
            _refuse_other_cells(name, fragments[name], known, counts, least)
    joined = adata_of(
        sp.vstack(parts, format="csr"),
        np.arange(sum(part.shape[0] for part in parts)).astype(str),
        target.names,
    )
    joined.var["chrom"], joined.var["start"] = target.chrom.astype(str), target.start
    joined.var["end"] = target.end
    if not isinstance(peaks, Peaks):
        joined.var["n_samples"] = covered[:, chosen].sum(0)
    return joined


def _added(
    samples: Mapping[str, AnnData],
    readable: Mapping[str, np.ndarray],
    union: Union,
    chosen: np.ndarray,
) -> list[sp.csr_matrix]:
    """Counts in chosen peaks of the union: the sums of those in the peaks of each sample."""
    counts = {name: sp.csr_matrix(adata.X)[:, readable[name]] for name, adata in samples.items()}
    counts = _of_one_kind(counts)
    summed = []
    for matrix, within in zip(counts.values(), union.within, strict=True):
        shape = (matrix.shape[0], len(union.peaks))
        small = matrix.dtype.kind in "iub" and matrix.dtype.itemsize < 4  # sums would overflow
        values = matrix.data.astype(np.int32) if small else matrix.data.copy()
        joined = sp.csr_matrix((values, within[matrix.indices], matrix.indptr), shape=shape)
        joined.sum_duplicates()
        summed.append(joined if len(chosen) == shape[1] else joined[:, chosen])
    return summed


def _of_one_kind(counts: dict[str, sp.csr_matrix]) -> dict[str, sp.csr_matrix]:
    """All in fragments, where some samples have insertions and others fragments."""
    seen = {name: looks_like_insertions(matrix) for name, matrix in counts.items()}
    insertions = [name for name, kind in seen.items() if kind is True]
    others = [name for name, kind in seen.items() if kind is False]
    if not insertions or not others:
        return counts
    note(
        f"the ATAC counts of {name_some(insertions)} look like insertions (most are even), those "
        f"of {name_some(others)} like fragments: the former are read as fragments, (y + 1) // 2"
    )
    return {
        name: insertions_to_fragments(matrix) if name in insertions else matrix
        for name, matrix in counts.items()
    }


def _counted_anew(
    samples: Mapping[str, AnnData], target: Peaks, fragments: Mapping[str, Path], stages: Stages
) -> list[sp.csr_matrix]:
    parts = []
    for name, adata in samples.items():
        with stages.stage(f"counting fragments of {name}") as report:
            counts = counts_of_fragments(
                fragments[name], target, as_names(adata.obs_names), report=report
            )
        parts.append(counts)
    return parts


def _refuse_other_cells(
    name: str, path: Path, known: Any, counts: sp.csr_matrix, least: float
) -> None:
    """Refuse fragments of other cells: nearly all barcodes of a kit are in every file.

    Args:
        name: Name of the sample.
        path: Path of the fragments.
        known: Counts of the same cells in the sample's own peaks.
        counts: Those from the fragments.
        least: Of the known counts of a typical cell, what must be found again.
    """
    before, after = (np.asarray(matrix.sum(axis=1)).ravel() for matrix in (known, counts))
    typical, found = np.median(before), np.median(after)
    ranks = pd.Series(before).rank(), pd.Series(after).rank()
    telling = len(before) >= 20 and found >= 20 and min(rank.std() for rank in ranks) > 0
    correlation = ranks[0].corr(ranks[1]) if telling else 1.0
    if found < least * typical or correlation < _LEAST_CORRELATION:
        raise InputError(
            f"{path} does not belong to the cells of {name}: a typical cell has {found:,.0f} "
            f"counts in it and {typical:,.0f} in the matrix, with a rank correlation of "
            f"{correlation:.2f}; give the fragments of this sample"
        )


def _tell_union(own: Mapping[str, Peaks], union: Union, chosen: np.ndarray, shared: bool) -> None:
    """How many peaks there were and are, and where there are none."""
    sizes = ", ".join(f"{name} {len(peaks):,}" for name, peaks in own.items())
    said = f"peaks: {sizes}; {len(union.peaks):,} in their union"
    longer = [
        f"{n:,} of {name}"
        for i, (name, peaks) in enumerate(own.items())
        if (n := union.n_longer(i, peaks))
    ]
    if longer:
        said += f", where {' and '.join(longer)} are part of a longer one and counts are added"
    if twice := _overlapping_each_other(own, union):
        said += f"; {' and '.join(twice)}, so that a count may be in the sum twice"
    lacking = [
        f"{n:,} in {name}"
        for name, n in zip(own, (~union.covered()).sum(1).tolist(), strict=True)
        if n
    ]
    if shared:
        said += f"; the {len(chosen):,} that all samples have are kept"
    elif lacking:
        said += (
            f"; no peak was called at {' and '.join(lacking)}, which count as zero there: "
            "fragments=True counts them, peaks='shared' leaves them out"
        )
    if (long := _long_peaks(own, union)).any():
        said += (
            f"; longer than {_LONGEST:,} base pairs: {count_of(int(long.sum()), 'peak')} of the "
            f"union ({name_some(union.peaks[long].names)})"
        )
    if len(own) > 1 or longer:
        note(said)


def _overlapping_each_other(own: Mapping[str, Peaks], union: Union) -> list[str]:
    """Of which samples peaks that become one had overlapped each other before."""
    found = []
    for (name, peaks), within in zip(own.items(), union.within, strict=True):
        joined = len(peaks) - len(np.unique(within))
        n = min(joined, len(peaks) - len(union_of([peaks]).peaks))
        if n:
            found.append(f"{n:,} of {name} {'overlaps' if n == 1 else 'overlap'} another one")
    return found


def _long_peaks(own: Mapping[str, Peaks], union: Union) -> np.ndarray:
    """Which peaks of the union are longer than any peak should be, and than any was."""
    before = [int((peaks.end - peaks.start).max(initial=0)) for peaks in own.values()]
    return union.peaks.end - union.peaks.start > max(_LONGEST, *before)
