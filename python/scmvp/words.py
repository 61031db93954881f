"""Words in sentences: numbers with nouns and verbs that agree, the first of many names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_NAMES_SHOWN = 3


def count_of(n: int, noun: str, singular: str = "", plural: str = "") -> str:
    """A number with its noun, and its verb where it has one: "1 cell has", "1,234 cells have".

    Args:
        n: Number of things.
        noun: Noun in the singular; words before it are not changed ("shared cell").
        singular: Verb after a single one ("has").
        plural: Verb after none or several ("have").
    """
    if n != 1:
        hissing = noun.endswith(("s", "x", "ch", "sh")) and not noun.endswith("och")
        noun += "es" if hissing else "s"
    verb = singular if n == 1 else plural
    return f"{n:,} {noun} {verb}" if verb else f"{n:,} {noun}"


def name_some(names: Sequence[str] | np.ndarray) -> str:
    """The first few of many names, for a message."""
    shown = ", ".join(f"'{name}'" for name in names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown}, ..."


def in_a_row(names: Sequence[str], word: str = "and") -> str:
    """All of some names: "1", "1 and 2", "1, 2 and 3"."""
    *first, last = names
    return f"{', '.join(first)} {word} {last}" if first else last
