"""Counts in sentences: number, noun and verb that agree."""

from __future__ import annotations


def count_of(n: int, noun: str, singular: str = "", plural: str = "") -> str:
    """A number with its noun, and its verb where it has one: "1 cell has", "1,234 cells have".

    Args:
        n: How many.
        noun: Of one; words before it stay as they are ("shared cell").
        singular: What follows it where there is one ("has").
        plural: What follows it where there are more, or none ("have").
    """
    if n != 1:
        noun += "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    verb = singular if n == 1 else plural
    return f"{n:,} {noun} {verb}" if verb else f"{n:,} {noun}"
