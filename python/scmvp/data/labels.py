"""The name of a categorical value, independent of the type of its column.

Batch 1 is named "1" in integer, float (if another value is missing), categorical and text
columns, in Python, in R (`R/labels.R`) and in model files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

# R's factor() turns 100000 into '1e+05'; names that people choose have no sign in the exponent.
_NUMBER_OF_R = re.compile(r"-?\d(\.\d+)?e[+-]\d{2,}")
_LOGICAL_OF_R = {"TRUE": "True", "FALSE": "False"}
_EXACT = 2.0**53


def level_name(value: Any) -> str:
    """The name of one value that is not missing.

    Whole numbers have no exponent and no decimals, other numbers 15 significant digits; dates at
    midnight have no time; text stays as it is.
    """
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        # use the decimal representation of a float32, not its exact double value
        return _of_float(float(str(value)) if isinstance(value, np.floating) else value)
    if isinstance(value, np.datetime64 | pd.Timestamp):
        stamp = pd.Timestamp(value)
        return stamp.strftime("%Y-%m-%d" if stamp == stamp.normalize() else "%Y-%m-%d %H:%M:%S")
    return value.decode() if isinstance(value, bytes) else str(value)


def batch_name(value: Any) -> str:
    """The same of a batch, also of a column that R has written as text."""
    text = level_name(value)
    if _NUMBER_OF_R.fullmatch(text):
        return _of_float(float(text))
    return _LOGICAL_OF_R.get(text, text)


def _of_float(value: float) -> str:
    if math.isfinite(value) and value == int(value) and abs(value) < _EXACT:
        return str(int(value))
    return f"{value:.15g}"


def level_names(values: Any, name: Callable[[Any], str] = level_name) -> np.ndarray:
    """Names of many values, (n,) objects; None where a value is missing."""
    if isinstance(getattr(values, "dtype", None), pd.CategoricalDtype):
        categories = values.cat if hasattr(values, "cat") else values
        levels = [name(value) for value in categories.categories]
        return np.array([*levels, None], dtype=object)[np.asarray(categories.codes)]
    values = np.array(values, dtype=object)
    names = np.full(values.shape, None, dtype=object)
    for at in np.flatnonzero(~pd.isna(values)):
        names[at] = name(values[at])
    return names


def level_codes(values: Any, names: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Level of each value, (n,) with -1 where it is missing, and the levels.

    Levels come in the order of the categories, or of the values; 1 and "1" are one level.

    Args:
        values: As given.
        names: What `level_names` calls them.
    """
    order = dict.fromkeys(level_name(value) for value in pd.Categorical(values).categories)
    present = set(names)
    levels = [level for level in order if level in present]
    return pd.Index(levels, dtype=object).get_indexer(names).astype(np.int64), levels
