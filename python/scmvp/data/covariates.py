"""Batches of cells: columns of `obs` whose effects are removed from the latent.

Each column has levels (donor A, donor B, ...); a cell's row of the design has a 1 at its level of
every column, all columns side by side.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError, InputNote
from ..words import count_of, name_some
from .labels import batch_name, level_names

Batch = str | Mapping[str, str] | None  # level of the only batch column, or levels by column

MOST_LEVELS = 200  # per column; with more levels, the values are probably cell IDs, not batches


@dataclass(frozen=True)
class Covariates:
    """Columns, their levels, and the proportion of the fitted cells in each level."""

    levels: dict[str, list[str]]
    share: list[float]  # proportion of the fitted cells in each level of every column

    @classmethod
    def of(cls, obs: pd.DataFrame) -> Covariates:
        """The batches of the cells to fit.

        Args:
            obs: One column of batches each, one row per cell.

        Raises:
            InputError: A value is missing, or a column has one level or hundreds of them.
        """
        levels = {}
        for name in obs:
            values = _words(obs[name], name)
            levels[name] = sorted(set(values))
            if len(levels[name]) == 1:
                raise InputError(
                    f"all cells have '{levels[name][0]}' in '{name}', so there is no difference "
                    "between batches to remove; leave it out"
                )
            most = max(10, min(MOST_LEVELS, len(values) // 2))
            if len(levels[name]) > most:
                raise InputError(
                    f"'{name}' has {count_of(len(levels[name]), 'different value')} in "
                    f"{count_of(len(values), 'cell')}, too many to be batches (at most {most}); "
                    "name a column of categories"
                )
        found = cls(levels, [])
        return cls(levels, found.design(obs).mean(0).tolist())

    @classmethod
    def from_info(cls, info: dict[str, Any] | None) -> Covariates | None:
        """Restore from the dictionary that `info` returns."""
        return None if info is None else cls(**info)

    def info(self) -> dict[str, Any]:
        """Dictionary for the model file."""
        return asdict(self)

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self.levels)

    def design(self, obs: pd.DataFrame) -> np.ndarray:
        """(n_cells, n_levels) float32; a level that was not fitted is the average of all.

        Args:
            obs: Has the columns.
        """
        parts, start = [], 0
        for name, levels in self.levels.items():
            values = _words(obs[name], name)
            place = pd.Index(levels).get_indexer(values)
            rows = np.zeros((len(values), len(levels)), np.float32)
            known = place >= 0
            rows[known, place[known]] = 1
            if not known.all():
                new = sorted(set(values[~known]))
                rows[~known] = self.share[start : start + len(levels)]
                warnings.warn(
                    f"{count_of(int((~known).sum()), 'cell', 'is', 'are')} of batches that the "
                    f"model has not seen ({name}: {name_some(new)}) and treated as the average "
                    "batch, so that their difference from it remains in the latent",
                    InputNote,
                    stacklevel=4,
                )
            parts.append(rows)
            start += len(levels)
        return np.hstack(parts)

    def row(self, batch: Batch) -> np.ndarray:
        """(n_levels,) float32, design of a cell with these levels; the average of other columns.

        Args:
            batch: A level of the only column, or levels by column.

        Raises:
            InputError: There is no such column or level.
        """
        row = np.array(self.share, np.float32)
        if batch is None:
            return row
        if not isinstance(batch, Mapping):
            if len(self.levels) > 1:
                raise InputError(
                    f"batch is {batch!r}, but the model has the batch columns "
                    f"{', '.join(self.names)}; give a dict of column and level"
                )
            batch = {self.names[0]: batch}
        if odd := [name for name in batch if name not in self.levels]:
            raise InputError(
                f"the model has no batch column '{odd[0]}'; it has {', '.join(self.names)}"
            )
        start = 0
        for name, levels in self.levels.items():
            if name in batch:
                level = batch_name(batch[name])
                if level not in levels:
                    raise InputError(
                        f"'{name}' has no level {batch[name]!r}; it has {name_some(levels)}"
                    )
                row[start : start + len(levels)] = 0
                row[start + levels.index(level)] = 1
            start += len(levels)
        return row


def distinct(design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unique rows of a design, (kinds, n_levels), and the index of each cell's row, (n,)."""
    kinds, kind = np.unique(design, axis=0, return_inverse=True)
    return kinds, kind.ravel()  # NumPy 2.0 gives it the shape of a column


def column_names(batch: str | Sequence[str] | None) -> list[str]:
    """The columns of an argument `batch`, as a list."""
    if batch is None:
        return []
    names = [batch] if isinstance(batch, str) else batch
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise InputError(f"batch is {batch!r}; give the name of a column of obs, or a list of them")
    names = list(names)
    if len(set(names)) < len(names):
        raise InputError(f"batch names a column twice: {', '.join(names)}")
    return names


def _words(values: pd.Series, name: str) -> np.ndarray:
    if (missing := values.isna().to_numpy()).any():
        raise InputError(
            f"{count_of(int(missing.sum()), 'cell', 'has', 'have')} no value in '{name}' "
            f"({name_some(list(map(str, values.index[missing])))}); give every cell its batch"
        )
    return level_names(values, batch_name).astype(str)
