"""Tables of cells and features as plain columns, of the kinds that R has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def table_columns(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The columns of a table by name: kind, values, and levels of a factor."""
    return {str(name): _column(frame.iloc[:, at]) for at, name in enumerate(frame.columns)}


def _column(series: pd.Series) -> dict[str, Any]:
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes = [None if code < 0 else int(code) for code in series.cat.codes]
        levels = [str(level) for level in series.cat.categories]
        return {"kind": "factor", "values": codes, "levels": levels}
    missing = series.isna().to_numpy()
    kind = _kind_of(series, missing)
    if kind == "number":
        # nullable numbers have a missing value of their own
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return {"kind": "number", "values": values.tolist()}
    plain_value = bool if kind == "logical" else str
    values = [
        None if gone else plain_value(value) for value, gone in zip(series, missing, strict=True)
    ]
    return {"kind": kind, "values": values}


def _kind_of(series: pd.Series, missing: np.ndarray) -> str:
    kind = series.dtype.kind
    if kind == "O":  # what a column of several types, or with None in it, really holds
        kind = {"boolean": "b", "integer": "i", "floating": "f", "mixed-integer-float": "f"}.get(
            pd.api.types.infer_dtype(series[~missing], skipna=True), "O"
        )
    return {"b": "logical", "i": "number", "u": "number", "f": "number"}.get(kind, "text")
