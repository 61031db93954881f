"""CSV files of scores: rows are added as they are measured, and replaced when measured again."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a file, as text; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def formatted(row: Row, form: str) -> Row:
    """The row with its floats in this format, and nothing for what is not a number."""
    return {
        name: ("" if value != value else format(value, form)) if isinstance(value, float) else value
        for name, value in row.items()
    }


def put(path: Path, rows: Sequence[Row], stale: Callable[[dict[str, str]], bool]) -> None:
    """Add rows and remove the earlier ones that are `stale`, at once, so that no half is left.

    Where none is, the file is only appended to, which several processes can do.
    """
    old = rows_of(path)
    kept = [row for row in old if not stale(row)]
    columns = [*dict.fromkeys(name for row in (*kept, *rows) for name in row)]
    whole = not kept or len(kept) < len(old) or columns != [*kept[0]]
    ending = "\r\n" if old and path.read_bytes().split(b"\n", 1)[0].endswith(b"\r") else "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.with_name(path.name + ".partial") if whole else path
    with target.open("w" if whole else "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator=ending)
        if whole:
            writer.writeheader()
        writer.writerows([*kept, *rows] if whole else rows)
    if whole:
        target.replace(path)


def put_by(path: Path, rows: Sequence[Row], keys: Sequence[str]) -> None:
    """Add rows in the place of the earlier ones that have the same values in `keys`."""
    new = {_of(row, keys) for row in rows}
    put(path, rows, lambda row: _of(row, keys) in new)


def _of(row: Row, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(row.get(key, "")) for key in keys)
