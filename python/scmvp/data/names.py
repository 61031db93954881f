"""Names: of cells and features, of modalities, and of genomic ranges."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import InputError, InputNote
from ..modalities import MODALITIES, label_of, modality_of
from ..words import name_some

# chr1-100-200, chr1:100-200, chr1_100_200, GL000195.1_10_20: what comes before the last two
# numbers is the sequence.
RANGE = re.compile(r"(.+)[:_.-]([0-9]+)[-_.:]([0-9]+)", re.DOTALL)
MOST_RANGES = 0.9


def as_names(names: Any) -> np.ndarray:
    """Names as a one-dimensional array of Python strings."""
    return np.array([str(name) for name in names], dtype=object).astype(str)


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


def note(sentence: str) -> None:
    """Warn the user of what was decided about the input."""
    warnings.warn(sentence, InputNote, stacklevel=4)


# ---- modalities ----------------------------------------------------------------------------------


def names_of_modalities(names: Iterable[str]) -> dict[str, str]:
    """Which of the names is which modality; one that is not there is left out.

    Raises:
        InputError: Several names may be the same modality, and none has its own name.
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
        there = "known are" if has == [*MODALITIES] else "the data have"
        raise InputError(f"modalities is {wanted!r}; {there} {known}: give some of these")
    return [name for name in has if name in chosen]


# ---- genomic ranges ------------------------------------------------------------------------------


def are_ranges(names: Sequence[str] | np.ndarray) -> bool:
    """Whether names are of genomic ranges, but for a few (looked at: the first thousand)."""
    return share_of_ranges(names[:1000]) >= MOST_RANGES


def share_of_ranges(names: Sequence[str] | np.ndarray) -> float:
    """Proportion of names that are of genomic ranges; 1 where there are none."""
    return float(np.mean([RANGE.fullmatch(str(name)) is not None for name in names] or [True]))
