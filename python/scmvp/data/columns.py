"""Columns of cells from several tables: those of a MuData and of its modalities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from ..errors import InputError
from ..words import name_some
from .names import as_names


def columns_of_cells(
    tables: Sequence[pd.DataFrame], columns: Sequence[str], cells: np.ndarray
) -> pd.DataFrame:
    """Columns from the first table that has them; cells absent there are looked up in the next.

    If a cell is in a table but its value is missing, it stays missing.

    Raises:
        InputError: No table has a column, or one has it several times.
    """
    refuse_missing_columns(columns, [name for table in tables for name in table])
    found = pd.DataFrame(index=pd.Index(cells, dtype=str))
    for name in columns:
        first, *others = (_column(table, name) for table in tables if name in table)
        for other in others:
            if not found.index.isin(first.index).all():
                first = one_column(first, other[~other.index.isin(first.index)])
        found[name] = first.reindex(cells)
    return found


def refuse_missing_columns(columns: Sequence[str], has: Iterable[str]) -> None:
    """Refuse columns of which no table has one."""
    has = list(has)
    for name in columns:
        if name not in has:
            known = name_some(has) if has else "none"
            raise InputError(f"there is no column '{name}' in obs (columns: {known})")


def own_columns(whole: pd.DataFrame, of_modalities: Mapping[str, Iterable[object]]) -> pd.DataFrame:
    """Columns of a MuData except copies of modality columns ('rna:n_counts').

    Args:
        whole: Its obs.
        of_modalities: Column names by modality name in the MuData.
    """
    copied = {f"{name}:{column}" for name, columns in of_modalities.items() for column in columns}
    return whole[[name for name in whole if name not in copied]]


def one_column(one: pd.Series, other: pd.Series) -> pd.Series:
    """Two columns of different cells as one; categories stay categories."""
    joined = pd.concat([one, other])
    if isinstance(one.dtype, pd.CategoricalDtype):
        levels = pd.unique(pd.Series([*one.cat.categories, *other.dropna()], dtype=object))
        return joined.astype(pd.CategoricalDtype(levels))
    return joined


def same_column(one: pd.Series, other: pd.Series) -> bool:
    """Whether two columns hold the same values in the same order, whatever their types."""
    one, other = (part.astype(object).reset_index(drop=True) for part in (one, other))
    return bool(((one == other) | (one.isna() & other.isna())).fillna(False).all())


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    """One column, by names of cells."""
    column = table[name]
    if isinstance(column, pd.DataFrame):
        raise InputError(f"obs has several columns '{name}'; rename all but one of them")
    return column.set_axis(as_names(column.index))
