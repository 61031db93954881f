"""Tables of cells and features with columns of the kinds that R has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def plain_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with columns of numbers (float64), booleans, text and categories of text only."""
    columns = {str(name): _column(frame.iloc[:, at]) for at, name in enumerate(frame.columns)}
    return pd.DataFrame(columns, index=frame.index.astype(str))


def vectors(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Columns of Python objects as what they hold, the others as they are.

    Returns:
        The table, and the columns of neither numbers, booleans nor text, which are text now.
    """
    columns, told = {}, []
    for at, name in enumerate(frame.columns):
        series = frame.iloc[:, at]
        columns[at] = series.array
        categories = isinstance(series.dtype, pd.CategoricalDtype | pd.StringDtype)
        if series.dtype.kind not in "biufc" and not categories:
            columns[at] = _column(series)
            holds = pd.api.types.infer_dtype(series, skipna=True)
            if columns[at].dtype.kind == "O" and holds not in ("string", "empty"):
                told.append(str(name))
    return pd.DataFrame(columns, index=frame.index).set_axis(frame.columns, axis=1), told


def _column(series: pd.Series) -> Any:
    if isinstance(series.dtype, pd.CategoricalDtype):
        levels = [str(level) for level in series.cat.categories]
        return pd.Categorical.from_codes(series.cat.codes, levels, ordered=series.cat.ordered)
    missing = series.isna().to_numpy()
    kind = _kind_of(series, missing)
    if kind == "number":
        # nullable numbers have a missing value of their own
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    if kind == "logical":
        flags = [not gone and bool(value) for value, gone in zip(series, missing, strict=True)]
        return pd.arrays.BooleanArray(np.array(flags, dtype=bool), missing)
    values = [None if gone else str(value) for value, gone in zip(series, missing, strict=True)]
    return np.array(values, dtype=object)


def _kind_of(series: pd.Series, missing: np.ndarray) -> str:
    kind = series.dtype.kind
    if kind == "O":  # what a column of several types, or with None in it, really holds
        kind = {"boolean": "b", "integer": "i", "floating": "f", "mixed-integer-float": "f"}.get(
            pd.api.types.infer_dtype(series[~missing], skipna=True), "O"
        )
    return {"b": "logical", "i": "number", "u": "number", "f": "number"}.get(kind, "text")
