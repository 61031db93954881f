"""Genes and peaks that differ between conditions, with samples (donors) as replicates.

The test is PyDESeq2's (extra `replicates`), on sums of the counts of each sample in each group.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..arguments import number, whole_number
from ..data.annotated import CLUSTERS, column_of
from ..data.labels import level_codes, level_name, level_names
from ..data.levels import refuse_levels
from ..data.names import note
from ..data.paired import PairedData
from ..errors import InputError, first_line
from ..settings import own_settings
from ..words import count_of, name_some
from .pseudobulk import Counted, Labels, counted_cells, refuse_missing, sums_of_samples, varying

FEWEST_SAMPLES = 2  # of a condition
_LIBRARY = 1e4

_FEW = "fewer than 2 samples with enough cells in one of the two conditions"
_CONFOUNDED = "covariates confounded with the condition"
_DEGREES = "as many coefficients as samples"
_COUNTS = "no feature with min_count counts"


class Samples(NamedTuple):
    """Condition and covariates of each sample; the first condition is the reference."""

    condition: Labels  # code is (samples,)
    covariates: dict[str, np.ndarray | Labels]  # numbers, or levels

    def of(self, samples: np.ndarray) -> Samples:
        """A subset of the samples, with the levels that occur in it."""
        return Samples(
            self.condition.of(samples),
            {
                name: values.of(samples) if isinstance(values, Labels) else values[samples]
                for name, values in self.covariates.items()
            },
        )


@own_settings()
def differential_conditions(
    data: PairedData,
    condition: str | Sequence | np.ndarray | pd.Series,
    sample: str | Sequence | np.ndarray | pd.Series,
    groupby: str | Sequence | np.ndarray | pd.Series = CLUSTERS,
    modality: str = "rna",
    *,
    reference: str | None = None,
    covariates: Sequence[str] | None = (),
    layer: str | None = None,
    min_cells: int = 10,
    min_count: float = 10,
) -> pd.DataFrame:
    """Compare conditions, each measured in several samples, within groups of cells.

    Cells of one donor resemble each other, so a test of cells mistakes differences between donors
    for differences between conditions. Here the counts of each sample are summed (`pseudobulk`),
    and the sums are compared by PyDESeq2, so that the error includes the variation between samples.

    With few donors that differ much, more than 5 % of its calls at a nominal rate of 5 % are false
    (16 to 29 % with four donors in each condition that vary by 40 %; docs/differential.md).

    A sample is the unit of preparation: one donor under one condition. If the same donors were
    measured under several conditions, `sample` must distinguish the conditions, and
    `covariates=['donor']` compares each donor with itself.

    Args:
        data: MuData, pair of AnnData or AnnData with raw counts. No fit is needed.
        condition: Column of obs, or a value for each cell.
        sample: Column of obs, or a value for each cell: the sample of the cell.
        groupby: Column of obs, or a value for each cell: the groups (clusters, cell types) within
            which conditions are compared. Cells with a missing value are left out.
        modality: 'rna', 'atac' or 'protein'.
        reference: The condition with which the others are compared; the first category when
            None.
        covariates: Columns of obs that are the same in all cells of a sample. Text, categories and
            whole numbers are treated as categories, other numbers as numeric.
        layer: Layer with raw counts; X when None.
        min_cells: Samples with fewer cells in a group are left out; a warning reports their
            number.
        min_count: Features are tested if they have at least this many counts in as many samples
            as the smallest condition has.

    Returns:
        One row per tested feature, group and condition, in the order of group, condition and
        p-value: 'feature', 'group', 'condition', 'reference', 'lfc' (log2 fold change against the
        reference), 'p_value', 'q_value' (DESeq2's adjusted p-value within the group; NaN for
        features that it filters out), 'mean_condition' and 'mean_reference' (counts per 10,000 of
        the sum, mean over samples), 'n_condition' and 'n_reference' (numbers of samples).

    Raises:
        InputError: PyDESeq2 is missing; no such column, modality, layer or condition; values that
            are not counts; cells without sample or condition; a sample in two conditions; fewer
            than two samples in each of two conditions, overall or in every group; covariates that
            vary within a sample or are confounded with the condition.
    """
    _pydeseq2()
    min_cells = whole_number("min_cells", min_cells)
    if number("min_count", min_count) < 0:
        raise InputError(f"min_count is {min_count!r}; give a number of at least 0")
    refuse_levels(modality)
    given = {"groupby": groupby, "sample": sample, "condition": condition}
    counted = counted_cells(data, given, modality, layer)
    samples = _samples(counted, covariates, reference)
    _refuse_design(samples, counted.labels["sample"].levels)
    sums = sums_of_samples(counted, min_cells)
    tables: list[pd.DataFrame] = []
    left_out: dict[str, str] = {}
    groups = counted.labels["groupby"].levels
    for code, group in enumerate(groups):
        own = sums.group == code
        part = samples.of(sums.sample[own])
        # the levels of all, of which a group may lack some
        part = part._replace(condition=_with_levels(samples.condition, sums.sample[own]))
        counts = np.asarray(sums.counts[own].todense())
        table, why = _of_group(group, counts, part, min_count, counted.features)
        tables += table
        left_out |= {f"{group}: {name}": reason for name, reason in why.items()}
    _tell_left_out(left_out, len(groups) * (len(samples.condition.levels) - 1), min_cells)
    found = pd.concat(tables, ignore_index=True)
    for column, levels in (
        ("group", groups),
        ("condition", samples.condition.levels),
        ("reference", samples.condition.levels),
    ):
        found[column] = pd.Categorical(found[column], levels)
    return found


# ---- samples


def _samples(counted: Counted, covariates: Sequence[str] | None, reference: Any) -> Samples:
    sample, condition = counted.labels["sample"], counted.labels["condition"]
    first = np.unique(sample.code, return_index=True)[1]
    _refuse_varying(pd.Series(condition.code), None, sample, first)
    if covariates is None:
        covariates = ()
    elif isinstance(covariates, str):
        covariates = [covariates]
    found: dict[str, np.ndarray | Labels] = {}
    for name in covariates:
        column = column_of(counted.data, name, counted.cells)
        missing = column.isna().to_numpy()
        refuse_missing(missing, f"covariate '{name}'", counted.cells)
        _refuse_varying(column, name, sample, first)
        column = column.iloc[first]
        values = None
        if column.dtype.kind in "iuf":
            values = column.to_numpy(dtype=np.float64)
        if values is None or (values == values.round()).all():
            found[name] = Labels(*level_codes(column, level_names(column)))
        else:
            found[name] = values
    return Samples(_with_reference(condition, first, reference), found)


def _refuse_varying(values: pd.Series, name: str | None, sample: Labels, first: np.ndarray) -> None:
    """Refuse a covariate, or (without a name) the condition, that differs within a sample."""
    codes = np.unique(sample.code[varying(values, sample.code, first)])
    if not len(codes):
        return
    some = name_some([sample.levels[code] for code in codes])
    if name is None:
        raise InputError(
            f"{count_of(len(codes), 'sample', 'has', 'have')} cells of several conditions ({some})"
            "; a sample is one donor under one condition, so give each of them its own name in "
            "sample, e.g. by obs['donor'] + obs['condition'], and compare each donor with itself "
            "by naming the column of donors in covariates"
        )
    raise InputError(
        f"covariate '{name}' has several values in {count_of(len(codes), 'sample')} ({some}); a "
        "covariate must be the same in all cells of a sample, so leave it out, or name it in "
        "groupby"
    )


def _with_reference(condition: Labels, first: np.ndarray, reference: Any) -> Labels:
    """The condition of each sample, the reference being the first level."""
    levels = condition.levels
    if len(levels) < 2:
        raise InputError(
            f"condition has one value ('{levels[0]}'): there is nothing to compare; name a column "
            "with two or more"
        )
    code = condition.code[first]
    if reference is None:
        return Labels(code, levels)
    if not np.isscalar(reference) or level_name(reference) not in levels:
        raise InputError(
            f"reference is {reference!r}; give one of the conditions ({name_some(levels)})"
        )
    at = levels.index(level_name(reference))
    order = [at, *(i for i in range(len(levels)) if i != at)]
    return Labels(np.argsort(order)[code], [levels[i] for i in order])


def _with_levels(condition: Labels, samples: np.ndarray) -> Labels:
    return Labels(condition.code[samples], condition.levels)


def _refuse_design(samples: Samples, names: list[str]) -> None:
    """Refuse samples in which conditions cannot be compared at all."""
    levels = samples.condition.levels
    n = np.bincount(samples.condition.code, minlength=len(levels))
    if (n == 1).all():
        raise InputError(
            f"each condition has one sample ({name_some(names)}): cells of one sample are not "
            "replicates; give the column of the donors as sample"
        )
    if n[0] < FEWEST_SAMPLES or (n >= FEWEST_SAMPLES).sum() < 2:
        each = ", ".join(f"'{level}': {size}" for level, size in zip(levels, n, strict=True))
        raise InputError(
            f"there are too few samples to estimate the variation within conditions ({each}); give "
            f"at least 2 samples of the reference ('{levels[0]}', or choose another "
            "with reference) and of another condition"
        )
    for name, values in samples.covariates.items():
        if not _varies(values):
            raise InputError(f"covariate '{name}' is the same in all samples; leave it out")
    if _rank_lacks(_design(samples)):
        raise InputError(
            f"the condition and the covariates ({', '.join(samples.covariates)}) are confounded in "
            "these samples, as one follows from the others (for example, each batch has one "
            "condition); leave such a covariate out, and interpret the result with care"
        )


def _varies(values: np.ndarray | Labels) -> bool:
    return len(np.unique(values.code if isinstance(values, Labels) else values)) > 1


def _design(samples: Samples) -> np.ndarray:
    """Samples x coefficients: intercept, covariates, the conditions against the first one."""
    columns = [np.ones((len(samples.condition.code), 1))]
    for values in [*samples.covariates.values(), samples.condition]:
        if not _varies(values):
            continue
        if isinstance(values, Labels):
            columns.append(values.code[:, None] == np.arange(1, len(values.levels)))
        else:
            columns.append((values - values.mean())[:, None])
    return np.concatenate(columns, axis=1).astype(np.float64)


def _rank_lacks(design: np.ndarray) -> bool:
    return bool(np.linalg.matrix_rank(design) < design.shape[1])


# ---- tests


def _of_group(
    group: str, counts: np.ndarray, samples: Samples, min_count: float, features: np.ndarray
) -> tuple[list[pd.DataFrame], dict[str, str]]:
    """A table per condition, and why conditions were left out."""
    levels = samples.condition.levels
    n = np.bincount(samples.condition.code, minlength=len(levels))
    enough = n >= FEWEST_SAMPLES
    if not enough[0] or enough.sum() < 2:
        return [], dict.fromkeys(levels[1:], _FEW)
    why = {level: _FEW for level, fine in zip(levels, enough, strict=True) if not fine}
    tested = [level for level in levels[1:] if level not in why]
    use = np.flatnonzero(enough[samples.condition.code])
    counts, samples = counts[use], samples.of(use)
    design = _design(samples)
    smallest = n[enough].min()
    kept = ((counts >= min_count).sum(0) >= smallest) & (counts.sum(0) > 0)
    reason = (
        _CONFOUNDED if _rank_lacks(design)
        else _DEGREES if design.shape[1] >= design.shape[0]
        else _COUNTS if not kept.any()
        else ""
    )  # fmt: skip
    if reason:
        return [], why | dict.fromkeys(tested, reason)
    share = _LIBRARY * counts[:, kept] / counts.sum(1, keepdims=True)
    mean = [share[samples.condition.code == code].mean(0) for code in range(len(tested) + 1)]
    tables = []
    for number_of, found in enumerate(_tests(group, counts[:, kept], design, len(tested)), 1):
        table = pd.DataFrame(
            {
                "feature": features[kept],
                "group": group,
                "condition": samples.condition.levels[number_of],
                "reference": levels[0],
                "lfc": found["log2FoldChange"].to_numpy(),
                "p_value": found["pvalue"].to_numpy(),
                "q_value": found["padj"].to_numpy(),
                "mean_condition": mean[number_of],
                "mean_reference": mean[0],
                "n_condition": (samples.condition.code == number_of).sum(),
                "n_reference": (samples.condition.code == 0).sum(),
            }
        )
        order = np.lexsort((-table["lfc"].abs(), table["p_value"]))
        tables.append(table.iloc[order])
    return tables, why


def _tests(group: str, counts: np.ndarray, design: np.ndarray, n_tested: int) -> list[pd.DataFrame]:
    """PyDESeq2's table for each of the last coefficients."""
    dds, ds, inference = _pydeseq2()
    names = [str(i) for i in range(len(design))]
    columns = pd.DataFrame(design, index=names, columns=[f"x{i}" for i in range(design.shape[1])])
    table = pd.DataFrame(counts, index=names, columns=[str(i) for i in range(counts.shape[1])])
    engine = inference.DefaultInference(n_cpus=1)
    n_coefficients = design.shape[1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = dds.DeseqDataSet(
                counts=table, metadata=columns, design=columns, inference=engine, quiet=True,
                size_factors_fit_type="poscounts",
            )  # fmt: skip
            fit.deseq2()
            found = []
            for at in range(n_coefficients - n_tested, n_coefficients):
                contrast = (np.arange(n_coefficients) == at).astype(np.float64)
                result = ds.DeseqStats(fit, contrast=contrast, inference=engine, quiet=True)
                result.summary()
                found.append(result.results_df)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        raise InputError(
            f"PyDESeq2 cannot fit group '{group}' ({first_line(error)}); leave this group out, or "
            "raise min_count"
        ) from error
    return found


def _pydeseq2() -> tuple[Any, Any, Any]:
    try:
        from pydeseq2 import dds, default_inference, ds
    except ImportError as error:
        raise InputError(
            f"conditions are compared by PyDESeq2 ({error}); install it with: "
            "pip install 'scmvp[replicates]'"
        ) from error
    return dds, ds, default_inference


# ---- what is said


def _tell_left_out(left_out: dict[str, str], n_all: int, min_cells: int) -> None:
    if not left_out:
        return
    parts = []
    for reason in dict.fromkeys(left_out.values()):
        names = [name for name, why in left_out.items() if why == reason]
        parts.append(f"{len(names):,} with {reason} ({name_some(names)})")
    why = ", ".join(parts)
    if len(left_out) == n_all:
        raise InputError(
            f"nothing can be compared in any group: {why}; lower min_cells={min_cells} or "
            "min_count, name fewer covariates, or choose larger groups with groupby"
        )
    verb = "is" if len(left_out) == 1 else "are"
    note(f"{len(left_out):,} of {count_of(n_all, 'comparison')} {verb} left out: {why}")
