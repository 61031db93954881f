"""Groups of cells to be compared: by labels, masks or names."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..arguments import Names, once
from ..data.annotated import column_of, in_order_of
from ..data.labels import level_codes, level_name, level_names
from ..data.paired import PairedData
from ..errors import InputError, InputNote, LeftOut, first_line
from ..words import count_of, name_some

FEWEST_CELLS = 3  # of a group
OF_MODEL = "the clustering of the model"  # what names the groups without groupby
_NAMED = 10  # groups that a message names


class NothingToTest(InputError):
    """Every group is left out; `left_out` has them, each with the reason."""

    def __init__(self, sentence: str, left_out: dict[str, str]) -> None:
        super().__init__(sentence)
        self.left_out = left_out


class Comparison(NamedTuple):
    """A group of cells and what it is compared with, as units of `Groups`."""

    group: str
    reference: str
    units: tuple[list[int], list[int]]


@dataclass
class Groups:
    """Disjoint units of cells, and what is compared.

    `unit` is (n,), the unit of each cell, -1 for cells that are in none; `each`, whether all groups
    are tested, and none was named; `left_out`, which are not after all, and why.
    """

    unit: np.ndarray
    n_units: int
    comparisons: list[Comparison]
    each: bool = False
    left_out: dict[str, str] = field(default_factory=dict)

    def testable(self, counted: np.ndarray, batch: np.ndarray | None = None) -> Groups:
        """The cells with counts, and the comparisons of which they are enough.

        Where all groups are tested, those of too few cells are left out, with one warning.

        Args:
            counted: Which cells have counts, (n,).
            batch: Number of each cell's batch, (n,); all are one when None.

        Raises:
            InputError: A group that was named is too small or shares no batch with what it is
                compared with, or all groups are.
        """
        unit = np.where(counted, self.unit, -1)
        inside = unit >= 0
        batch = np.zeros(len(unit), int) if batch is None else batch
        n: np.ndarray = np.zeros((batch.max(initial=0) + 1, self.n_units), int)
        np.add.at(n, (batch[inside], unit[inside]), 1)
        found: list[Comparison] = []
        left_out: dict[str, str] = {}
        for comparison in self.comparisons:
            obstacle = _obstacle(comparison, n)
            if obstacle is None:
                found.append(comparison)
            elif not self.each:
                raise InputError(obstacle.sentence)
            else:
                left_out[comparison.group] = obstacle.reason
        some = list(left_out.items())[:_NAMED]
        names = ", ".join(f"'{name}' ({why})" for name, why in some)
        names += ", ..." if len(left_out) > _NAMED else ""
        said = f"{names}; a comparison needs {count_of(FEWEST_CELLS, 'cell')} on each side"
        if not found:
            raise NothingToTest(
                f"no group can be tested: {said}, so choose larger groups with groupby", left_out
            )
        if left_out:
            number = f"{len(left_out):,} of {count_of(len(self.comparisons), 'group')}"
            verb = "is" if len(left_out) == 1 else "are"
            warnings.warn(f"{number} {verb} not tested: {said}", LeftOut, stacklevel=5)
        return Groups(unit, self.n_units, found, self.each, left_out)


def groups_in(
    data: PairedData | None,
    cells: np.ndarray,
    groupby: str | Sequence | None,
    group1: Any,
    group2: Any,
    clusters: Callable[[], np.ndarray],
) -> Groups:
    """`groups_of` by a column of `data.obs`, by labels, or, without these, by `clusters`."""
    named = groupby if isinstance(groupby, str) else getattr(groupby, "name", None) or "groupby"
    labels = column_of(data, groupby, cells) if isinstance(groupby, str) else groupby
    if groupby is None and (group1 is None or np.ndim(group1) == 0):
        labels, named = clusters(), OF_MODEL
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
        InputError: A group is unknown, or shares cells with the other.
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
            f"group1 and group2 share {count_of(both.sum(), 'cell')} ({shared}); put each cell in "
            "one group"
        )
    unit = np.where(first, 0, np.where(second, 1, -1))
    names = ("group1", "rest" if group2 is None else "group2")
    return Groups(unit, 2, [Comparison(*names, ([0], [1]))])


def codes_of(cells: Names, labels: Any, name: str) -> tuple[np.ndarray, list[str]]:
    """Label of each cell as a code, (n,), -1 for none; and what the codes are called.

    Args:
        cells: Names; labels that are a Series are matched by them.
        labels: One for each cell.
        name: What they are called in sentences.
    """
    if np.ndim(labels) != 1:
        raise InputError(f"{name} must be one label per cell, not {type(labels).__name__}")
    labels = in_order_of(np.asarray(cells), labels, name)
    if len(labels) != len(cells):
        raise InputError(
            f"{name} has {count_of(len(labels), 'label')} for {count_of(len(cells), 'cell')}; give "
            "one for each cell"
        )
    return level_codes(labels, level_names(labels))


def _labeled(cells, labels, group1, group2, name: str) -> Groups:
    code, known = codes_of(cells, labels, name)
    if len(known) < 2:
        raise InputError(
            f"all cells have the same label in {name}; give cells of at least two labels"
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
            raise InputError(
                f"'{label}' is both in group1 and in group2; remove it from one of them"
            )
        reference = "rest" if second is None else "+".join(second)
        found.append(Comparison(label, reference, ([own], rest)))
    return Groups(code, len(known), found, each=group1 is None)


def labels_in(path: str, cells: Names) -> pd.Series:
    """Labels of cells from a CSV with a header, its first columns cell and label.

    Cells that the file lacks get none, nor do those whose label is empty or NA, as R writes it.
    """
    try:
        table = pd.read_csv(path, dtype=str, na_filter=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as CSV with a header: {first_line(error)}"
        ) from error
    if table.shape[1] < 2:
        raise InputError(f"{path} has one column; give two, cell and label, with a header")
    # 'None' and 'null' may be the names of groups, and 'NA' that of a cell
    label = table.iloc[:, 1].replace(["", "NA"], np.nan).set_axis(table.iloc[:, 0])
    if twice := name_some(label.index[label.index.duplicated()]):
        raise InputError(f"{path} has cells twice: {twice}; give each one label")
    found = label.reindex(pd.Index(cells)).rename(path)
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


def _labels_in(wanted: Any, known: list[str], argument: str, name: str) -> list[str]:
    single = isinstance(wanted, str) or not np.iterable(wanted)
    labels = once(level_name(label) for label in ([wanted] if single else wanted))
    if missing := [label for label in labels if label not in known]:
        raise InputError(
            f"{argument} is {name_some(missing)}, and {name} has no such label; "
            f"it has {name_some(known)}"
        )
    if not labels:
        raise InputError(f"{argument} is empty; give at least one label, or leave it out")
    return labels


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


class _Obstacle(NamedTuple):
    """Why a comparison cannot be made, in a sentence, and beside the name of its group."""

    sentence: str
    reason: str


def _obstacle(comparison: Comparison, n: np.ndarray) -> _Obstacle | None:
    """What stands in the way with n cells of each batch and unit, (batches, units)."""
    sides = [n[:, units].sum(1) for units in comparison.units]
    for name, side in zip(comparison[:2], sides, strict=True):
        if (size := side.sum()) < FEWEST_CELLS:
            number = count_of(size, "cell")
            return _Obstacle(
                f"group '{name}' has {number}; a comparison needs at least {FEWEST_CELLS} in each "
                "group",
                number if name == comparison.group else f"{name}: {number}",
            )
    if not (np.minimum(*sides) >= FEWEST_CELLS).any():
        return _Obstacle(
            f"no batch has {count_of(FEWEST_CELLS, 'cell')} of '{comparison.group}' and of "
            f"'{comparison.reference}', so the groups cannot be distinguished from the batches; "
            "compare groups that share batches, or fit a model without batches",
            f"no batch has {count_of(FEWEST_CELLS, 'cell')} of both sides",
        )
    return None
