"""Groups of cells to be compared: by labels, masks or names."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..arguments import Names
from ..data.annotated import column_of, in_order_of
from ..data.labels import level_codes, level_name, level_names
from ..data.paired import PairedData
from ..errors import InputError, InputNote, first_line
from ..words import count_of, name_some

FEWEST_CELLS = 3  # of a group


class Comparison(NamedTuple):
    """A group of cells and what it is compared with, as units of `Groups`."""

    group: str
    reference: str
    units: tuple[list[int], list[int]]


@dataclass
class Groups:
    """Disjoint units of cells, and what is compared.

    `unit` is (n,), the unit of each cell, -1 for cells that are in none.
    """

    unit: np.ndarray
    n_units: int
    comparisons: list[Comparison]

    def without(self, left_out: np.ndarray) -> Groups:
        """The same without some cells, (n,) bool, as those in which nothing was counted."""
        found = Groups(np.where(left_out, -1, self.unit), self.n_units, self.comparisons)
        _refuse_small(found)
        return found


def groups_in(
    data: PairedData | None,
    cells: np.ndarray,
    groupby: str | Sequence | None,
    group1: Any,
    group2: Any,
    clusters: Callable[[], np.ndarray],
) -> Groups:
    """`groups_of` by a column of `data.obs`, by labels, or, without these, by `clusters`."""
    named = groupby if isinstance(groupby, str) else "groupby"
    labels = column_of(data, groupby, cells) if isinstance(groupby, str) else groupby
    if groupby is None and (group1 is None or np.ndim(group1) == 0):
        labels, named = clusters(), "the clusters of the model"
    return groups_of(cells, labels, group1, group2, named)


def groups_of(
    cells: Names,
    labels: Sequence | np.ndarray | pd.Series | None,
    group1: object,
    group2: object,
    labels_name: str = "groupby",
) -> Groups:
    """What the arguments of `SCMVP.differential_expression` mean.

    Raises:
        InputError: A group is unknown, empty, too small, or shares cells with the other.
    """
    if labels is not None:
        return _labeled(cells, labels, group1, group2, labels_name)
    if group1 is None:
        raise InputError("group1 is not given; give groupby, or group1 as a mask or cell names")
    first = _mask(cells, group1, "group1")
    second = ~first if group2 is None else _mask(cells, group2, "group2")
    if (both := first & second).any():
        shared = name_some(np.asarray(cells)[both])
        raise InputError(
            f"group1 and group2 share {count_of(both.sum(), 'cell')} ({shared}); take them apart"
        )
    unit = np.where(first, 0, np.where(second, 1, -1))
    names = ("group1", "rest" if group2 is None else "group2")
    groups = Groups(unit, 2, [Comparison(*names, ([0], [1]))])
    _refuse_small(groups)
    return groups


def _labeled(cells, labels, group1, group2, name: str) -> Groups:
    if np.ndim(labels) != 1:
        raise InputError(f"{name} must be one label per cell, not {type(labels).__name__}")
    labels = in_order_of(np.asarray(cells), labels, name)
    if len(labels) != len(cells):
        raise InputError(
            f"{name} has {count_of(len(labels), 'label')} for {count_of(len(cells), 'cell')}; give "
            "one for each cell"
        )
    code, known = level_codes(labels, level_names(labels))
    if len(known) < 2:
        raise InputError(
            f"{name} has the same label for all cells; give cells of at least two labels"
        )
    firsts = known if group1 is None else _labels_in(group1, known, "group1", name)
    if group1 is None and group2 is not None:
        raise InputError("group2 is given without group1; give group1, too")
    second = None if group2 is None else _labels_in(group2, known, "group2", name)
    found = []
    # several labels in group1 are compared one after the other, those in group2 taken together
    for label in firsts:
        own = known.index(label)
        other = range(len(known)) if second is None else map(known.index, second)
        rest = [unit for unit in other if unit != own]
        if second is not None and len(rest) < len(second):
            raise InputError(f"'{label}' is both in group1 and in group2; take it out of one")
        reference = "rest" if second is None else "+".join(second)
        found.append(Comparison(label, reference, ([own], rest)))
    groups = Groups(code, len(known), found)
    _refuse_small(groups)
    return groups


def labels_in(path: str, cells: Names) -> pd.Series:
    """Labels of cells from a CSV with a header, its first columns cell and label.

    Cells that the file lacks get none.
    """
    try:
        table = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as CSV with a header: {first_line(error)}"
        ) from error
    if table.shape[1] < 2:
        raise InputError(f"{path} has one column; give two, cell and label, with a header")
    label = table.iloc[:, 1].set_axis(table.iloc[:, 0])
    if twice := name_some(label.index[label.index.duplicated()]):
        raise InputError(f"{path} has cells twice: {twice}; give each one label")
    found = label.reindex(pd.Index(cells))
    if found.isna().all():
        raise InputError(
            f"{path} has none of the cells (it has {name_some(label.index)}, the data "
            f"{name_some(cells)}); give the same names"
        )
    if n := int(found.isna().sum()):
        lacking = name_some(found.index[found.isna()])
        warnings.warn(
            f"{path} has no label for {n:,} of the {count_of(len(cells), 'cell')} ({lacking}), "
            f"which {'is' if n == 1 else 'are'} left out",
            InputNote,
            stacklevel=2,
        )
    return found


def _labels_in(wanted: object, known: list[str], argument: str, name: str) -> list[str]:
    wanted = [wanted] if isinstance(wanted, str) or not np.iterable(wanted) else list(wanted)
    wanted = [level_name(label) for label in wanted]
    if missing := [label for label in wanted if label not in known]:
        raise InputError(
            f"{argument} is {name_some(missing)}, and {name} has no such label; "
            f"it has {name_some(known)}"
        )
    if not wanted:
        raise InputError(f"{argument} names no label; give one, or leave it out")
    return wanted


def _mask(cells: Names, given: object, argument: str) -> np.ndarray:
    if getattr(given, "dtype", None) in ("bool", "boolean"):
        given = in_order_of(np.asarray(cells), given, argument)
    values = np.asarray(given)
    if values.ndim != 1 or not len(values):
        raise InputError(
            f"{argument} must be a mask or a list of cell names, not {given!r} (labels need "
            "groupby)"
        )
    if values.dtype == bool:
        if len(values) != len(cells):
            raise InputError(
                f"{argument} is a mask of {count_of(len(values), 'value')} for "
                f"{count_of(len(cells), 'cell')}; give one value for each cell"
            )
        return values
    if pd.isna(values).any():
        raise InputError(f"{argument} has missing values; give True or False for each cell")
    mask = pd.Index(cells).isin(values.astype(str))
    if missing := sorted(set(values.astype(str)) - set(cells)):
        raise InputError(f"{argument} has cells that are not in the data: {name_some(missing)}")
    return mask


def _refuse_small(groups: Groups) -> None:
    size = np.bincount(groups.unit[groups.unit >= 0], minlength=groups.n_units)
    for comparison in groups.comparisons:
        named = zip(comparison[:2], comparison.units, strict=True)
        for name, units in named:
            if (n := size[units].sum()) < FEWEST_CELLS:
                raise InputError(
                    f"group '{name}' has {count_of(n, 'cell')}; a comparison needs at least "
                    f"{FEWEST_CELLS} in each group"
                )
