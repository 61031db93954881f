"""AnnData and MuData from outside: which modality is which, and where its counts are.

The same rules hold for files (`io`, `backed`) and for objects in memory (`checks`).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import InputError, InputNote
from ..modalities import MODALITIES, PAIR, label_of, modality_of
from ..words import count_of, name_some
from .matrices import holds_counts, is_binary, same_values

if TYPE_CHECKING:
    from anndata import AnnData

# Feature types as Cell Ranger ARC writes them.
FEATURE_TYPES = {"rna": "Gene Expression", "atac": "Peaks"}
# Columns of var that say what a feature is: Cell Ranger's and scvi-tools' names.
_TYPE_COLUMNS = ("feature_types", "modality")


def as_names(names: Any) -> np.ndarray:
    """Names as a one-dimensional array of Python strings."""
    return np.array([str(name) for name in names], dtype=object).astype(str)


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
                f"{name_some(candidates)} could each be the {label_of(modality)} modality; name "
                f"the one that is meant '{modality}'"
            )
        if candidates:
            found[modality] = candidates[0]
    return found


def columns_by_type(types: Iterable[Any], where: str) -> dict[str, np.ndarray]:
    """Positions of the genes and of the peaks; a note tells what is neither.

    Args:
        types: Type of each feature.
        where: What has them, for the words of a refusal.
    """
    types = pd.Series(list(types), dtype=object).astype(str)
    kinds = types.map(modality_of)
    counted = types.value_counts(sort=False)
    chosen = {}
    for modality, feature_type in FEATURE_TYPES.items():
        chosen[modality] = np.flatnonzero(kinds == modality)
        if len(chosen[modality]) == 0:
            found = ", ".join(f"'{name}'" for name in counted.index) or "none"
            raise InputError(
                f"{where} holds no features of type '{feature_type}' (types: {found}); paired "
                "cells need 'Gene Expression' and 'Peaks' in one matrix"
            )
    others = counted[[modality_of(name) is None for name in counted.index]]
    if len(others):
        _note(f"{where}: {_of_types(others)} left out")
    return chosen


def _of_types(counted: pd.Series) -> str:
    """So many features of each type, in words."""
    return " and ".join(f"{count_of(n, 'feature')} of type {name}" for name, n in counted.items())


def feature_types(var: pd.DataFrame) -> pd.Series | None:
    """What each feature of one AnnData with both modalities is; None where nothing says so."""
    for column in _TYPE_COLUMNS:
        if column in var and any(modality_of(kind) for kind in pd.unique(var[column])):
            return var[column]
    return None


def holds_both(var: pd.DataFrame) -> bool:
    """Whether an AnnData with this var holds genes and peaks."""
    types = feature_types(var)
    return types is not None and {*map(modality_of, pd.unique(types))} >= set(PAIR)


def columns_of_modality(var: pd.DataFrame, modality: str, where: str) -> np.ndarray | None:
    """Positions of the features that an AnnData of one modality should have; None: all of them.

    A note tells how many of another type are left out.

    Raises:
        InputError: All are of other types.
    """
    # only Cell Ranger's column: others may tell genes from pseudogenes
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
            f"{name_some(others.index)}), but stands for the {label_of(modality)}; give the "
            f"{label_of(modality)} in its place"
        )
    _note(f"{where}: {_of_types(others)} left out")
    return np.flatnonzero(right)


def split(adata: AnnData, where: str) -> dict[str, AnnData]:
    """Both modalities of one AnnData, told apart by `var['feature_types']` (or 'modality')."""
    from anndata import AnnData

    types = feature_types(adata.var)
    if types is None:
        columns = ", ".join(f"'{name}'" for name in adata.var) or "none"
        raise InputError(
            f"{where} does not say which features are genes and which are peaks; give it a column "
            f"var['feature_types'] of 'Gene Expression' and 'Peaks' (columns: {columns}), or give "
            "the two as a pair (rna, atac)"
        )
    if adata.isbacked:
        adata = adata.to_memory()
    names = pd.Index(make_unique(as_names(adata.var_names)))
    raw, raw_columns = adata.raw, {}
    if raw is not None:
        raw_names = make_unique(as_names(raw.var_names))
        if holds_both(raw.var):
            raw_columns = {
                kind: np.flatnonzero(feature_types(raw.var).map(modality_of) == kind)
                for kind in PAIR
            }
        elif list(raw_names) == list(names):
            raw_columns = {kind: np.flatnonzero(types.map(modality_of) == kind) for kind in PAIR}
    parts = {}
    for modality, at in columns_by_type(types, where).items():
        part = AnnData(
            X=None if adata.X is None else adata.X[:, at],
            obs=adata.obs.copy(),
            var=adata.var.iloc[at].set_axis(names[at], axis=0),
            layers={name: values[:, at] for name, values in adata.layers.items()},
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


# ---- where its counts are ------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A matrix of one modality: X, a layer, or raw.

    Attributes:
        name: What `rna_layer` and `atac_layer` take for it.
        values: Gives the matrix, cells x features.
        features: Gives the names of its features.
        is_layer: Whether it is one of `layers`.
    """

    name: str
    values: Callable[[], Any]
    features: Callable[[], np.ndarray]
    is_layer: bool

    @property
    def is_raw(self) -> bool:
        """Whether it is .raw, which has features of its own."""
        return self.name == "raw" and not self.is_layer

    @property
    def words(self) -> str:
        """What it is called in a sentence."""
        if self.is_layer:
            return f"the layer '{self.name}'"
        return "X" if self.name == "X" else ".raw"

    @property
    def holds_counts(self) -> bool:
        """Whether every value is a non-negative whole number."""
        return holds_counts(self.values())


def places_of(adata: AnnData) -> list[Place]:
    """Where an AnnData may have counts."""
    places = []
    if adata.X is not None:
        places.append(Place("X", lambda: adata.X, lambda: as_names(adata.var_names), False))
    places += [
        Place(str(name), lambda name=name: adata.layers[name], lambda: as_names(adata.var_names),
              True)
        for name in adata.layers
    ]  # fmt: skip
    if adata.raw is not None:
        raw = adata.raw
        places.append(Place("raw", lambda: raw.X, lambda: as_names(raw.var_names), False))
    return places


def named_place(places: Sequence[Place], modality: str, layer: str) -> Place:
    """The layer of this name; 'X' and 'raw' are X and .raw where no layer is called so."""
    named = sorted((p for p in places if p.name == layer), key=lambda place: not place.is_layer)
    if named:
        return named[0]
    has = ", ".join(f"'{place.name}'" for place in places if place.is_layer) or "none"
    others = [f"'{place.name}'" for place in places if not place.is_layer]
    more = f"; {' and '.join(others)} can be named, too" if others else ""
    x = ", or leave the layer out to use X" if "'X'" in others else ""
    raise InputError(
        f"the {label_of(modality)} modality has no layer '{layer}' (layers: {has}{more}); name one "
        f"of these{x}"
    )


def raw_in_place(adata: AnnData, layer: str | None) -> tuple[AnnData, str | None]:
    """The AnnData and the layer to take of it; for the layer 'raw', what .raw holds, and its X."""
    if layer == "raw" and "raw" not in adata.layers and adata.raw is not None:
        return adata.raw.to_adata(), None
    return adata, layer


def place_in_memory(
    places: Sequence[Place],
    modality: str,
    layer: str | None,
    query: bool = False,
    argument: str | None = None,
) -> Place:
    """The layer named, else X; a note says where X disagrees with what should be the counts.

    Args:
        places: Of one modality.
        modality: 'rna' or 'atac'.
        layer: As `rna_layer` and `atac_layer` have it.
        query: Whether these are cells for a fitted model, whose layers cannot be named: `layer` is
            then that of the fitted cells, taken where the query has it, too.
        argument: What the caller calls `layer`; 'rna_layer' or 'atac_layer' when None.
    """
    if query and layer is not None and layer not in [place.name for place in places]:
        layer = None
    if layer is not None:
        return named_place(places, modality, layer)
    x = next((place for place in places if place.name == "X" and not place.is_layer), None)
    if x is None:
        found = remedy(places, modality, query, argument)
        raise InputError(
            f"the {label_of(modality)} modality has no X"
            f"{found or ' and nothing else with counts; put its counts into X'}"
        )
    if (other := _disagrees(x, places)) is not None:
        how = _how_to_take(other, modality, query, argument)
        _note(
            f"X of the {label_of(modality)} modality holds {_kind(x)}, but {other.words} holds "
            f"other counts; X is taken: for {other.words} {how}"
        )
    return x


def place_in_file(
    places: Sequence[Place], modality: str, layer: str | None, where: str
) -> tuple[Place | None, bool]:
    """The layer named, else X, but the layer 'counts' or .raw where X is not the counts.

    A note says what was taken where there is a choice.

    Returns:
        The place, None where there is nothing to take; and whether something else might be taken
        for the counts, too.
    """
    if layer is not None:
        return named_place(places, modality, layer), True
    x = next((place for place in places if place.name == "X" and not place.is_layer), None)
    label = f"{where}: X of the {label_of(modality)} modality"
    if x is None or (len(places) > 1 and not x.holds_counts):
        is_not = "is missing" if x is None else "is not counts"
        for other in _usual(places):
            if other.holds_counts:
                _note(f"{label} {is_not}; {other.words} is taken instead")
                return other, False
        if found := remedy(places, modality):
            _note(f"{label} {is_not}{found}")
        return x, False
    if (other := _disagrees(x, places)) is None:
        return x, False
    taken, left = (other, x) if _is_rather_counts(other, x) else (x, other)
    _note(
        f"{label} holds {_kind(x)}, but {other.words} holds other counts; {taken.words} is taken: "
        f"for {left.words} say {modality}_layer='{left.name}'"
    )
    return taken, True


def remedy(
    places: Sequence[Place], modality: str, query: bool = False, argument: str | None = None
) -> str:
    """What else of a modality holds counts, and how to take it; empty where nothing does."""
    found = []
    for place in places:
        # one that cannot be read, as it is by columns, is no remedy
        with suppress(InputError):
            if place.name != "X" and place.holds_counts:
                found.append(place)
    if not found:
        return ""
    verb = "holds" if len(found) == 1 else "hold"
    return (
        f"; {' and '.join(place.words for place in found)} {verb} whole numbers: "
        f"{' or '.join(_how_to_take(place, modality, query, argument) for place in found)}"
    )


def _how_to_take(place: Place, modality: str, query: bool, argument: str | None) -> str:
    if not query:
        return f"say {argument or f'{modality}_layer'}='{place.name}'"
    if place.is_layer:
        return f"put it into X (adata.X = adata.layers['{place.name}'])"
    return "give adata.raw.to_adata() in the place of this AnnData"


def _usual(places: Sequence[Place]) -> list[Place]:
    """Where counts are when X has something else, by the conventions of the scverse."""
    layer = [place for place in places if place.is_layer and place.name == "counts"]
    return layer + [place for place in places if place.is_raw]


def _disagrees(x: Place, places: Sequence[Place]) -> Place | None:
    """What should be the counts, holds counts, and others than an X of whole numbers."""
    for other in _usual(places):
        here, there = x.values(), other.values()
        if here is there:
            return None
        if not holds_counts(there):
            continue
        if not holds_counts(here):  # not to be mistaken for counts: the checks refuse it
            return None
        at = None
        if not np.array_equal(x.features(), other.features()):
            at = pd.Index(other.features()).get_indexer(x.features())
            if (at < 0).any():
                continue
        return None if same_values(here, there, at) else other
    return None


def _is_rather_counts(other: Place, x: Place) -> bool:
    """False where it is the other one that was made of zeros and ones."""
    return is_binary(x.values()) or not is_binary(other.values())


def _kind(place: Place) -> str:
    return "only zeros and ones" if is_binary(place.values()) else "whole numbers"


def _note(sentence: str) -> None:
    warnings.warn(sentence, InputNote, stacklevel=4)


# ---- parts of a container ------------------------------------------------------------------------


def is_mudata(data: Any) -> bool:
    """Whether it has modalities, as a MuData has; a data frame has a method of that name."""
    return hasattr(data, "mod") and hasattr(data, "obs_names")


def modality_pair(data: Any, one_is_enough: bool = False) -> tuple[AnnData | None, AnnData | None]:
    """The RNA and the ATAC AnnData of what holds both; InputError when one is missing.

    Args:
        data: MuData whose modalities are called 'rna' and 'atac' or the like ('GEX', 'peaks');
            one AnnData with `var['feature_types']`; or a pair of AnnData.
        one_is_enough: Refuse only when both are missing; None in the place of a missing one.
    """
    parts = modality_parts(data, one_is_enough)
    return parts["rna"], parts["atac"]


def modality_parts(data: Any, one_is_enough: bool = False) -> dict[str, AnnData | None]:
    """The AnnData of each modality: `modality_pair`, and what other known ones a MuData has."""
    if is_mudata(data):
        return _of_mudata(data.mod, one_is_enough)
    if hasattr(data, "obs_names") and hasattr(data, "X"):
        if one_is_enough and not holds_both(data.var):
            raise InputError(
                "the query is one AnnData that does not hold both modalities; give (rna, None), "
                "(None, atac) or (rna, atac)"
            )
        return split(data, "the AnnData")
    if isinstance(data, Sequence) and len(data) == 2:
        given = [part for part in data if not (one_is_enough and part is None)]
        if given and all(hasattr(part, "obs_names") and hasattr(part, "X") for part in given):
            return dict(zip(PAIR, data, strict=True))
    raise InputError(
        f"cannot read paired cells from {type_name(data)}; give a MuData with modalities 'rna' "
        "and 'atac', a pair (rna, atac) of AnnData objects, or one AnnData with "
        "var['feature_types']"
    )


def _of_mudata(mod: Mapping[str, AnnData], one_is_enough: bool) -> dict[str, AnnData | None]:
    names = names_of_modalities(mod)
    missing = [modality for modality in PAIR if modality not in names]
    if missing and not (one_is_enough and names):
        has = ", ".join(repr(name) for name in mod) or "none"
        raise InputError(
            f"the {label_of(missing[0])} modality is missing: the MuData needs modalities "
            f"'rna' and 'atac' and has {has}; rename or add them, or give the two as a pair "
            "(rna, atac) of AnnData objects"
        )
    return dict.fromkeys(PAIR) | {modality: mod[name] for modality, name in names.items()}


def type_name(value: Any) -> str:
    """The class of a value, for a message."""
    kind = type(value)
    return f"a {kind.__module__}.{kind.__qualname__}".replace("a builtins.", "a ")
