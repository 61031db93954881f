"""Checks of arguments other than cells: numbers, options and names; errors are one sentence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .errors import InputError
from .words import name_some

Names = Sequence[str] | np.ndarray  # of cells or features
_LARGEST_WHOLE = 2**53  # float64, as in R, represents every integer up to this one
_SMALLEST = 1e-12


def options_from(kind: type, values: dict[str, Any], defaults: dict[str, Any] | None = None) -> Any:
    """A dataclass of options with some of its fields given.

    Args:
        kind: The class; its fields are bool, int, float or str. Integers are at least 1, or the
            field's metadata entry 'at_least'; other numbers are not negative.
        values: Values by field name.
        defaults: Replace the defaults of the class.
    """
    if not isinstance(values, dict):
        raise InputError(f"options must be a dict of names and values, not {values!r}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := [str(name) for name in values if name not in fields]:
        known = ", ".join(fields)
        raise InputError(f"unknown option {', '.join(unknown)}; the options are {known}")
    checked = {name: _of_field(fields[name], value) for name, value in values.items()}
    return kind(**(defaults or {}) | checked)


def _of_field(field: dataclasses.Field, value: Any) -> Any:
    if isinstance(field.default, bool):
        return flag(field.name, value)
    if isinstance(field.default, int):
        return whole_number(field.name, value, field.metadata.get("at_least", 1))
    if isinstance(field.default, float) and number(field.name, value) < 0:
        raise InputError(f"{field.name} is {value!r}; give a number of at least 0")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False, and nothing that could be taken for one."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} is {value!r}; give True or False")
    return bool(value)


def number(name: str, value: Any) -> float:
    """A finite number."""
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    try:
        given = float(value) if is_number else math.nan
    except OverflowError:
        raise InputError(f"{name} has hundreds of digits; give a smaller number") from None
    if not math.isfinite(given):
        raise InputError(f"{name} is {value!r}; give a number")
    return given


def whole_number(name: str, value: Any, at_least: int = 1, at_most: int | None = None) -> int:
    """An integer; whole numbers given as float, as R sends them, are accepted."""
    given = number(name, value)
    most = _LARGEST_WHOLE if at_most is None else at_most
    if given != int(given) or not at_least <= given <= most:
        limit = "" if at_most is None and given <= most else f" and at most {most}"
        raise InputError(f"{name} is {value!r}; give a whole number of at least {at_least}{limit}")
    return int(value)


def positive(name: str, value: Any, at_most: float = 1e12) -> float:
    """A number above zero that stays so in float32, also after a division by a large sum."""
    if not _SMALLEST <= number(name, value) <= at_most:
        raise InputError(
            f"{name} is {value!r}; give a positive number of at least {_SMALLEST:g} and at most "
            f"{at_most:g}"
        )
    return float(value)


def once(names: Any) -> Any:
    """A list of names with each of them once; anything else as it is."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        return names
    return list(dict.fromkeys(names))


def positions(
    have: Names,
    wanted: Names,
    what: str,
    where: str,
    more: str = "",
) -> np.ndarray:
    """Index of each requested name; the error names the first missing ones.

    A name given twice yields two indices. `more` is appended to the error message.
    """
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        raise InputError(f"{what}s must be given as a list of names, not as {wanted!r}")
    wanted = list(wanted)
    position = {name: i for i, name in enumerate(have)}
    missing = [str(name) for name in wanted if str(name) not in position]
    if missing:
        raise InputError(
            f"{what}s that are not in {where}: {name_some(missing)}; "
            f"give names that are there, spelled the same way{more}"
        )
    if not len(wanted):
        raise InputError(
            f"no {what} is named; give at least one name, or leave the list out for all"
        )
    return np.fromiter((position[str(name)] for name in wanted), np.int64, len(wanted))
