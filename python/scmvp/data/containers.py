"""AnnData and MuData from outside: which modality is which.

The same rules hold for files (`io`, `backed`) and for objects in memory (`checks`).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pandas as pd

from ..errors import InputError, InputNote
from ..modalities import MODALITIES, PAIR, label_of, modality_of
from ..words import count_of, name_some

if TYPE_CHECKING:
    from anndata import AnnData

# Feature types as Cell Ranger ARC writes them.
FEATURE_TYPES = {"rna": "Gene Expression", "atac": "Peaks", "protein": "Antibody Capture"}
# Columns of var with the type of a feature: Cell Ranger's and scvi-tools' names.
_TYPE_COLUMNS = ("feature_types", "modality")


def as_names(names: Any) -> np.ndarray:
    """Names as a one-dimensional array of Python strings."""
    return np.array([str(name) for name in names], dtype=object).astype(str)


def note(sentence: str) -> None:
    """Warn the user of what was decided about the input."""
    warnings.warn(sentence, InputNote, stacklevel=4)


# ---- which modality is which ---------------------------------------------------------------------


def names_of_modalities(names: Iterable[str]) -> dict[str, str]:
    """Which of the names is which modality; one that is not there is left out.

    Raises:
        InputError: Several names may be the same modality, and none is 'rna' or 'atac' itself.
    """
    names = [str(name) for name in names]
    found = {}
    for modality in MODALITIES:
        candidates = [name for name in names if modality_of(name) == modality]
        if modality in candidates:
            candidates = [modality]
        if len(candidates) > 1:
            raise InputError(
                f"{name_some(candidates)} could each be the {label_of(modality)} modality; rename "
                f"the right one to '{modality}'"
            )
        if candidates:
            found[modality] = candidates[0]
    return found


def columns_by_type(types: Iterable[Any], where: str) -> dict[str, np.ndarray]:
    """Positions of the features of each modality, of genes and peaks at least.

    One of these may lack where there are proteins. A note has the number of other features.

    Args:
        types: Type of each feature.
        where: What has them, for the words of a refusal.
    """
    named = pd.Series(list(types), dtype=object).astype(str)
    kinds = named.map(modality_of)
    counted = named.value_counts(sort=False)
    chosen: dict[str, np.ndarray] = {}
    there = {*kinds} - {None}
    for modality, feature_type in FEATURE_TYPES.items():
        at = np.flatnonzero(kinds == modality)
        if len(at):
            chosen[modality] = at
        elif modality in PAIR and not ("protein" in there and len(there) > 1):
            found = ", ".join(f"'{name}'" for name in counted.index) or "none"
            raise InputError(
                f"{where} holds no features of type '{feature_type}' (types: {found}); paired "
                "cells need 'Gene Expression' and 'Peaks' in one matrix"
            )
    others = counted[[modality_of(name) is None for name in counted.index]]
    if len(others):
        note(f"{where}: {_of_types(others)} left out")
    return chosen


def _of_types(counted: pd.Series) -> str:
    """So many features of each type, in words."""
    return " and ".join(f"{count_of(n, 'feature')} of type {name}" for name, n in counted.items())


def feature_types(var: pd.DataFrame) -> pd.Series | None:
    """What each feature of one AnnData with both modalities is; None where that is unknown."""
    for column in _TYPE_COLUMNS:
        if column in var and any(modality_of(kind) for kind in pd.unique(var[column])):
            return var[column]
    return None


def holds_both(var: pd.DataFrame) -> bool:
    """Whether an AnnData with this var holds genes, and peaks or proteins."""
    types = feature_types(var)
    known = set() if types is None else {*map(modality_of, pd.unique(types))} - {None}
    return "rna" in known and len(known) > 1


def columns_of_modality(var: pd.DataFrame, modality: str, where: str) -> np.ndarray | None:
    """Positions of the features that an AnnData of one modality should have; None: all of them.

    A note has the number of other features, which are left out.

    Raises:
        InputError: All are of other types.
    """
    # only Cell Ranger's column: others may distinguish genes from pseudogenes
    types = var["feature_types"].astype(str) if "feature_types" in var else pd.Series(dtype=str)
    if not any(modality_of(kind) for kind in pd.unique(types)):
        return None
    right = types.map(modality_of) == modality
    if right.all():
        return None
    others = types[~right.to_numpy()].value_counts(sort=False)
    if not right.any():
        raise InputError(
            f"{where} holds no features of type '{FEATURE_TYPES[modality]}' (types: "
            f"{name_some(others.index)}), but was given as the {label_of(modality)}; give the "
            f"{label_of(modality)} in its place"
        )
    note(f"{where}: {_of_types(others)} left out")
    return np.flatnonzero(right)


def split(adata: AnnData, where: str) -> dict[str, AnnData]:
    """Both modalities of one AnnData, separated by `var['feature_types']` (or 'modality')."""
    from anndata import AnnData

    types = feature_types(adata.var)
    if types is None:
        columns = ", ".join(f"'{name}'" for name in adata.var) or "none"
        raise InputError(
            f"{where} does not state which features are genes and which are peaks; add a column "
            f"var['feature_types'] of 'Gene Expression' and 'Peaks' (columns: {columns}), or give "
            "the two as a pair (rna, atac)"
        )
    if adata.isbacked:
        adata = adata.to_memory()
    names = pd.Index(make_unique(as_names(adata.var_names)))
    raw, raw_columns = adata.raw, {}
    if raw is not None:
        raw_names = make_unique(as_names(raw.var_names))
        raw_types = feature_types(raw.var)
        if raw_types is not None and holds_both(raw.var):
            raw_columns = {
                kind: np.flatnonzero(raw_types.map(modality_of) == kind) for kind in MODALITIES
            }
        elif list(raw_names) == list(names):
            raw_columns = {
                kind: np.flatnonzero(types.map(modality_of) == kind) for kind in MODALITIES
            }
    parts = {}
    for modality, at in columns_by_type(types, where).items():
        part = AnnData(
            X=None if adata.X is None else adata.X[:, at],
            obs=adata.obs.copy(),
            var=adata.var.iloc[at].set_axis(names[at], axis=0),
            layers={name: values[:, at] for name, values in adata.layers.items()},
            varm={
                name: values.iloc[at].set_axis(names[at]) if hasattr(values, "iloc") else values[at]
                for name, values in adata.varm.items()
            },
        )
        if raw_columns:
            at = raw_columns[modality]
            var = raw.var.iloc[at].set_axis(np.array(raw_names, dtype=object)[at], axis=0)
            part.raw = AnnData(X=raw.X[:, at], obs=part.obs, var=var)
        parts[modality] = part
    return parts


# chr1-100-200, chr1:100-200, chr1_100_200, GL000195.1_10_20: what comes before the last two
# numbers is the sequence.
RANGE = re.compile(r"(.+)[:_.-]([0-9]+)[-_.:]([0-9]+)", re.DOTALL)


def are_ranges(names: Sequence[str] | np.ndarray) -> bool:
    """Whether names are of genomic ranges, but for a few (looked at: the first thousand)."""
    looked_at = names[:1000]
    return sum(RANGE.fullmatch(str(name)) is not None for name in looked_at) >= 0.9 * len(looked_at)


def make_unique(names: Iterable[str]) -> list[str]:
    """Tell repeated names apart as R's `make.unique` does: a, a.1, a.2, skipping taken ones."""
    names = list(names)
    taken = set(names)
    seen: set[str] = set()
    next_number: dict[str, int] = {}
    unique = []
    for name in names:
        if name not in seen:
            seen.add(name)
            unique.append(name)
            continue
        number = next_number.get(name, 1)
        while f"{name}.{number}" in taken:
            number += 1
        next_number[name] = number + 1
        taken.add(f"{name}.{number}")
        unique.append(f"{name}.{number}")
    return unique


# ---- parts of a container ------------------------------------------------------------------------


def is_mudata(data: Any) -> bool:
    """Whether it has modalities, as a MuData has; a data frame has a method of that name."""
    return hasattr(data, "mod") and hasattr(data, "obs_names")


def is_anndata(data: Any) -> bool:
    """Whether it has cells and counts, as an AnnData has; so has a MuData."""
    return hasattr(data, "obs_names") and hasattr(data, "X")


def alone(data: Any, modality: str) -> Any:
    """A MuData of the one modality, where that is what an AnnData has; anything else as it is."""
    if is_mudata(data) or not is_anndata(data) or holds_both(data.var):
        return data
    from mudata import MuData

    return MuData({modality: data})


@overload
def modality_pair(data: Any) -> tuple[AnnData, AnnData]: ...


@overload
def modality_pair(data: Any, one_is_enough: bool) -> tuple[AnnData | None, AnnData | None]: ...


def modality_pair(data: Any, one_is_enough: bool = False) -> Any:
    """The RNA and the ATAC AnnData of what holds both; InputError when one is missing.

    Args:
        data: MuData whose modalities are called 'rna' and 'atac' or the like ('GEX', 'peaks');
            one AnnData with `var['feature_types']`; or a pair of AnnData.
        one_is_enough: Refuse only when both are missing; None in the place of a missing one.
    """
    parts = modality_parts(data, one_is_enough)
    missing = [modality for modality in PAIR if parts.get(modality) is None]
    if missing and not one_is_enough:
        _refuse_missing(missing[0], parts)
    return parts.get("rna"), parts.get("atac")


def modality_parts(
    data: Any, one_is_enough: bool = False, may_choose: bool = False
) -> dict[str, AnnData | None]:
    """The AnnData of each known modality that there is; None in the place of a missing RNA or ATAC.

    Args:
        data: As for `modality_pair`; of a triple, the last is the protein AnnData.
        one_is_enough: As there.
        may_choose: Whether the message may advise the argument `modalities`.
    """
    if is_mudata(data):
        return _of_mudata(data.mod, one_is_enough, may_choose)
    if is_anndata(data):
        if one_is_enough and not holds_both(data.var):
            raise InputError(
                "the query is one AnnData that does not hold both modalities; give (rna, atac) or "
                "(rna, atac, protein), with None for each that was not measured"
            )
        return split(data, "the AnnData")
    if isinstance(data, Sequence) and 2 <= len(data) <= len(FEATURE_TYPES):
        given = [part for part in data if not (one_is_enough and part is None)]
        if given and all(map(is_anndata, given)):
            return dict(zip(FEATURE_TYPES, data, strict=False))
    raise InputError(
        f"cannot read paired cells from {type_name(data)}; give a MuData with modalities 'rna' "
        "and 'atac', a pair (rna, atac) of AnnData objects, or one AnnData with "
        "var['feature_types']"
    )


def chosen_modalities(wanted: Any, has: Iterable[str]) -> list[str]:
    """The modalities that are asked for, in the order of the table.

    Raises:
        InputError: A name is unknown, or one is not there.
    """
    has = list(has)
    names = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else [*wanted]
    chosen = {modality_of(name) for name in names}
    if not names or None in chosen or not chosen <= set(has):
        known = " or ".join(map(repr, has)) or "none"
        raise InputError(f"modalities is {wanted!r}; the data have {known}: give some of these")
    return [name for name in has if name in chosen]


def modality_in(mdata: Any, modality: str | None) -> AnnData:
    """One modality of a MuData, under whatever name it has there."""
    named = names_of_modalities(mdata.mod)
    if modality in named:
        return mdata.mod[named[modality]]
    if not named:
        has = ", ".join(map(repr, mdata.mod)) or "none"
        raise InputError(
            f"the MuData has neither RNA nor ATAC (modalities: {has}); rename one to 'rna' or "
            "'atac'"
        )
    raise InputError(f"modality is {modality!r}; use {' or '.join(map(repr, named))}")


def peaks_in(data: Any) -> tuple[AnnData, AnnData | None]:
    """The peaks of a MuData or of one AnnData, which may be the peaks itself; RNA beside them."""
    if not is_mudata(data):
        if not is_anndata(data):
            kind = type(data).__name__
            raise InputError(f"give a MuData or the AnnData of the peaks, not {kind}")
        if not holds_both(data.var):
            return data, None
    rna, atac = modality_pair(data, one_is_enough=True)
    if atac is None:
        has = f" (modalities: {', '.join(data.mod)})" if is_mudata(data) else ""
        raise InputError(f"there is no modality 'atac'{has}; rename the one with the peaks")
    return atac, rna


def _of_mudata(
    mod: Mapping[str, AnnData], one_is_enough: bool, may_choose: bool
) -> dict[str, AnnData | None]:
    names = names_of_modalities(mod)
    missing = [modality for modality in PAIR if modality not in names]
    if missing and not (one_is_enough and names):
        _refuse_missing(missing[0], mod, known=tuple(names) if may_choose else ())
    return dict.fromkeys(PAIR) | {modality: mod[name] for modality, name in names.items()}


def _refuse_missing(modality: str, has: Iterable[str], known: tuple[str, ...] = ()) -> None:
    names = ", ".join(map(repr, has)) or "none"
    or_these = f", or say modalities={known!r} for these alone" if known else ""
    raise InputError(
        f"the {label_of(modality)} modality is missing: the MuData needs modalities "
        f"'rna' and 'atac' and has {names}; rename or add them, or give the two as a pair "
        f"(rna, atac) of AnnData objects{or_these}"
    )


def type_name(value: Any) -> str:
    """The class of a value, for a message."""
    kind = type(value)
    return f"a {kind.__module__}.{kind.__qualname__}".replace("a builtins.", "a ")
