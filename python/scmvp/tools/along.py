"""Genes and peaks that change along a pseudotime: an F test for all, smooth trends.

Counts stay sparse and are read in blocks of cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..arguments import once, positions, whole_number
from ..data.annotated import counts_in, in_order_of
from ..data.containers import is_mudata, modality_in, type_name
from ..data.levels import refuse_levels
from ..data.matrices import (
    Matrix,
    cell_totals,
    entries_once,
    matrix_of,
    pieces_of,
    rows_of,
)
from ..data.names import as_names
from ..data.values import not_a_count
from ..errors import InputError
from ..settings import own_settings
from ..words import count_of

if TYPE_CHECKING:
    from mudata import MuData

FEWEST_CELLS = 30
GRID = 50
_BANDWIDTH = 0.07  # standard deviation of the smoother, as a part of the cells


# Overdispersion a of a cell of size 1 (variance = mean (1 + a s)), for which weights are made.
_LEVELS = np.concatenate([[0.0], 0.1 * 2.0 ** np.arange(14)])


class _Sums(NamedTuple):
    """Sums over cells, for every feature."""

    n_seen: np.ndarray  # (features,)
    total: np.ndarray  # (features,): sum y
    square: np.ndarray  # (features,): sum y^2
    cross: np.ndarray  # (features,): sum y s
    smooth: np.ndarray  # (features, GRID): sum k y


@own_settings()
def features_along(
    data: MuData | Matrix,
    modality: str | None = None,
    *,
    pseudotime: str | np.ndarray = "scmvp_pseudotime",
    cells: np.ndarray | Sequence[bool] | None = None,
    features: Sequence[str] | None = None,
    size: np.ndarray | None = None,
    layer: str | None = None,
    df: int = 4,
    min_cells: int = 10,
) -> pd.DataFrame:
    """Test every gene or peak for a change along pseudotime.

    The counts y of a feature have mean s f(t), where s is the size of the cell (its total count
    divided by the mean over cells), and a variance proportional to s (1 + a s), as in a negative
    binomial if a is not 0; a is the nearest of 0, .1, .2, .4, ... to its moment estimate. An F test
    compares a constant f with a cubic spline of t (knots at quantiles), in the regression of y / s
    with weights s / (1 + a s). With a = 0 it is Rao's score test of the quasi-Poisson regression
    with log link and offset log s. The residual dispersion of the spline is set to at least 1. All
    computations are sums over the non-zero counts.

    If the pseudotime was computed from the same counts, it depends on every feature. The p-values
    then measure how features follow this order; they do not test whether the cells have an order
    (docs/benchmarks.md has the effect on the false discovery rate).

    Args:
        data: MuData with raw counts, or a matrix of counts, cells x features.
        modality: 'rna', 'atac' or 'protein', of a MuData.
        pseudotime: Column of obs, or (cells,); cells in which it is not finite are left out.
        cells: Boolean mask, positions or names of the cells to use, such as those of trunk and one
            branch.
        features: For a matrix, the names of its features; for a MuData, the names of the features
            to test (all when None).
        size: (cells,), size of each cell; its sum of counts in this modality when None.
        layer: Layer with raw counts, of a MuData; X when None.
        df: Degrees of freedom of the spline, at least 3.
        min_cells: Features with counts in fewer cells have no p-value.

    Returns:
        One row per feature, indexed by name and sorted by p-value: 'n_cells' (cells with counts),
        'mean' (per cell of size 1), 'log2_fold_change' (ratio of the largest to the smallest
        value of the smoothed trend), 'peak' (pseudotime of the largest value), 'f', 'p_value' and
        'q_value' (Benjamini and Hochberg).

    Raises:
        InputError: No such column, layer or feature; values that are not counts; fewer than 30
            cells with a pseudotime.
    """
    from scipy.stats import f as f_distribution

    given = _input_of(data, modality, pseudotime, features, layer)
    counts = given.counts
    use, t, s = _cells_to_use(given, cells, size)
    df = whole_number("df", df, 3)
    if len(use) < 10 * df:
        raise InputError(
            f"df is {df}, but only {count_of(len(use), 'cell', 'has', 'have')} a pseudotime; "
            f"give at most {len(use) // 10}"
        )
    min_cells = whole_number("min_cells", min_cells)
    basis = spline_basis(t, df)
    grid, kernel = _smoother(t)
    sums = _sums(counts, use, s, kernel)
    f = _f_statistics(counts, use, s, basis, _levels(sums, s))
    f[(sums.n_seen < min_cells) | ~np.isfinite(f)] = np.nan
    table = pd.DataFrame({"n_cells": sums.n_seen, "mean": sums.total / s.sum(), "f": f})
    table["p_value"] = f_distribution.sf(f, df, len(s) - 1 - df)
    trend = _trend(sums, kernel, s)
    table["log2_fold_change"] = np.log2(trend.max(1) / trend.min(1))
    table["peak"] = np.where(np.isnan(table["f"]), np.nan, grid[trend.argmax(1)])
    table.index = pd.Index(given.features, name="feature")
    table = table.iloc[given.wanted].copy()
    table["q_value"] = benjamini_hochberg(table["p_value"].to_numpy())
    columns = ["n_cells", "mean", "log2_fold_change", "peak", "f", "p_value", "q_value"]
    return table[columns].sort_values(["p_value", "f"], ascending=[True, False], kind="stable")


@own_settings()
def trends_along(
    data: MuData | Matrix,
    modality: str | None = None,
    *,
    features: Sequence[str] | None = None,
    pseudotime: str | np.ndarray = "scmvp_pseudotime",
    cells: np.ndarray | Sequence[bool] | None = None,
    size: np.ndarray | None = None,
    layer: str | None = None,
) -> pd.DataFrame:
    """The smoothed trend of features along pseudotime, in counts per cell of size 1.

    A Gaussian kernel smoother over the ranks of the cells (standard deviation 7 % of the cells):
    sum k y over sum k s. Half a count at the feature's mean is added to shrink it toward the mean.

    Args:
        data: As for `features_along`.
        modality: As there.
        features: Names; all features when None.
        pseudotime: As there.
        cells: As there.
        size: As there.
        layer: As there.

    Returns:
        DataFrame, features x 50 pseudotimes (the names of the columns), with equal numbers of cells
        between consecutive ones.
    """
    given = _input_of(data, modality, pseudotime, features, layer)
    use, t, s = _cells_to_use(given, cells, size)
    grid, kernel = _smoother(t)
    sums = _sums(given.counts, use, s, kernel)
    table = pd.DataFrame(_trend(sums, kernel, s), index=pd.Index(given.features), columns=grid)
    return table.iloc[given.wanted]


def spline_basis(t: np.ndarray, df: int) -> np.ndarray:
    """Cubic B-splines without the constant, knots at quantiles; (n, df).

    The functions are those of R's splines::bs(t, df = df).
    """
    from scipy.interpolate import BSpline

    inner = np.quantile(t, np.linspace(0, 1, df - 1)[1:-1])
    knots = np.concatenate([np.repeat(t.min(), 4), inner, np.repeat(t.max(), 4)])
    return BSpline.design_matrix(t, knots, 3).toarray()[:, 1:]


def _whitened(basis: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The same functions, orthogonal to the constant and orthonormal under the weights."""
    root = np.sqrt(weight)[:, None]
    orthonormal, triangle = np.linalg.qr(root * (basis - (weight @ basis) / weight.sum()))
    diagonal = np.abs(np.diag(triangle))
    if diagonal.min() < 1e-8 * diagonal.max():
        df, n_values = basis.shape[1], len(np.unique(basis, axis=0))
        advice = "lower df" if df > 3 < n_values else "give cells of at least 4 values"
        raise InputError(f"too few different values of pseudotime for a spline; {advice}")
    return orthonormal / root


def _smoother(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The grid, (GRID,), and the weight of each cell at each of its points, (cells, GRID)."""
    from scipy.stats import rankdata

    rank = (rankdata(t) - 0.5) / len(t)  # cells of one pseudotime share a rank
    places = (np.arange(GRID) + 0.5) / GRID
    kernel = np.exp(-0.5 * ((rank[:, None] - places) / _BANDWIDTH) ** 2)
    return np.quantile(t, places), kernel


def _used_blocks(counts: Matrix, use: np.ndarray) -> Iterator[tuple[np.ndarray, sp.csr_matrix]]:
    """Blocks of the cells in use: their positions among these, and their counts."""
    row_of = np.full(counts.shape[0], -1)
    row_of[use] = np.arange(len(use))
    start = 0
    for block in pieces_of(counts):
        rows = row_of[start : start + block.shape[0]]
        start += block.shape[0]
        taken = np.flatnonzero(rows >= 0)
        if len(taken):
            yield rows[taken], (block if len(taken) == len(rows) else block[taken]).astype(float)


def _sums(counts: Matrix, use: np.ndarray, s: np.ndarray, kernel: np.ndarray) -> _Sums:
    n = counts.shape[1]
    sums = _Sums(
        np.zeros(n, dtype=np.int64), np.zeros(n), np.zeros(n), np.zeros(n),
        np.zeros((n, kernel.shape[1])),
    )  # fmt: skip
    for at, y in _used_blocks(counts, use):
        sums.n_seen[:] += np.bincount(y.indices[y.data != 0], minlength=n)
        sums.total[:] += np.asarray(y.sum(0)).ravel()
        sums.square[:] += np.asarray(y.power(2).sum(0)).ravel()
        sums.cross[:] += y.T @ s[at]
        sums.smooth[:] += y.T @ kernel[at]
    return sums


def _levels(sums: _Sums, s: np.ndarray) -> np.ndarray:
    """Number in _LEVELS nearest to a of each feature, by moments around the constant."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums.total / s.sum()
        excess = sums.square - 2 * mean * sums.cross + mean**2 * (s @ s) - sums.total
        a = np.nan_to_num(np.maximum(excess / (mean * (s @ s)), 0))
    between = np.sqrt(_LEVELS[1:-1] * _LEVELS[2:])
    return np.searchsorted(np.concatenate([[_LEVELS[1] / np.sqrt(2)], between]), a)


def _f_statistics(
    counts: Matrix, use: np.ndarray, s: np.ndarray, basis: np.ndarray, level: np.ndarray
) -> np.ndarray:
    """F of the weighted regression of y / s on the basis, (features,).

    With weights w = s / (1 + a s) and functions q orthonormal under them and orthogonal to 1, the
    spline explains sum_k (sum w q_k y / s)^2 of sum w (y / s - m)^2, m being the weighted mean.
    """
    df, rest = basis.shape[1], len(s) - 1 - basis.shape[1]
    n = len(level)
    total, square, size, score = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros((n, df))
    weighted = []
    for number in np.unique(level):
        of_level = np.flatnonzero(level == number)
        shrink = 1 / (1 + _LEVELS[number] * s)
        size[of_level] = s @ shrink
        weighted.append((of_level, shrink, _whitened(basis, s * shrink)))
    for at, block in _used_blocks(counts, use):
        by_feature = block.tocsc()
        for of_level, shrink, q in weighted:
            y = by_feature[:, of_level]
            total[of_level] += y.T @ shrink[at]
            square[of_level] += y.power(2).T @ (shrink[at] / s[at])
            score[of_level] += y.T @ (shrink[at][:, None] * q[at])
    mean = total / size
    explained = (score**2).sum(1)
    whole = square - total * mean
    with np.errstate(divide="ignore", invalid="ignore"):
        dispersion = np.maximum((whole - explained) / mean / rest, 1)
        return explained / mean / df / dispersion


def _trend(sums: _Sums, kernel: np.ndarray, s: np.ndarray) -> np.ndarray:
    """(features, GRID), shrunk toward the mean by half a count, so that no value is zero."""
    with np.errstate(divide="ignore"):
        half = 0.5 * s.sum() / sums.total  # the size of cells that hold half a count
    return (sums.smooth + 0.5) / (kernel.T @ s + np.minimum(half, 1e12)[:, None])


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q-values; NaN where the p-value is."""
    q = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known])[::-1]]
    n = len(order)
    q[order] = np.minimum.accumulate(np.minimum(p[order] * n / np.arange(n, 0, -1), 1))
    return q


# ---- what goes in


class _Input(NamedTuple):
    counts: Matrix  # cells x features
    features: np.ndarray  # names
    wanted: np.ndarray | slice  # positions of the features that were asked for
    cells: np.ndarray  # names, or numbers where there are none
    pseudotime: Any  # as given: one number per cell


def _input_of(
    data: Any, modality: str | None, pseudotime: Any, features: Any, layer: str | None
) -> _Input:
    if not is_mudata(data):
        pair = isinstance(data, tuple | list) and any(hasattr(part, "obs_names") for part in data)
        counts = None if pair or hasattr(data, "obs_names") else matrix_of(data)
        if counts is None:
            raise InputError(f"counts are {type_name(data)}; give a MuData, or cells x features")
        names = np.arange(counts.shape[1]) if features is None else np.asarray(list(features))
        if len(names) != counts.shape[1]:
            raise InputError(
                f"features has {count_of(len(names), 'name')} for "
                f"{count_of(counts.shape[1], 'feature')}; give one name for each feature"
            )
        if isinstance(pseudotime, str):
            raise InputError("give pseudotime as numbers, one per cell, with a matrix of counts")
        if layer is not None:
            raise InputError(f"layer is {layer!r}, but a matrix has none; leave layer out")
        cells = np.arange(counts.shape[0])
        return _Input(_raw_counts(counts), names, slice(None), cells, pseudotime)
    refuse_levels(modality)
    counts, names, own_cells = counts_in(modality_in(data, modality), str(modality), layer)
    wanted: np.ndarray | slice = slice(None)
    if features is not None:
        wanted = positions(names, once(features), "feature", f"'{modality}'")
    if isinstance(pseudotime, str):
        if pseudotime not in data.obs:
            raise InputError(
                f"there is no column '{pseudotime}' in obs; call scmvp.diffusion() first, or name "
                "the column"
            )
        pseudotime = data.obs[pseudotime]
    order = pd.Index(own_cells).get_indexer(as_names(data.obs_names))
    if not np.array_equal(order, np.arange(counts.shape[0])):
        counts = rows_of(counts, order)  # a cell that the modality lacks has no counts
    return _Input(counts, names, wanted, as_names(data.obs_names), pseudotime)


def _raw_counts(counts: Matrix) -> Matrix:
    """Counts of features of any kind, each entry once."""
    for block in pieces_of(counts):
        bad = not_a_count(block.data)
        if bad.any():
            raise InputError(
                f"the matrix has values that are not counts, such as {block.data[bad][0]:g}; give "
                "raw counts"
            )
    if isinstance(counts, sp.csr_matrix) and not counts.has_canonical_format:
        return entries_once(counts)
    return counts


def _numbers(name: str, values: Any, cells: np.ndarray) -> np.ndarray:
    try:
        values = np.asarray(in_order_of(cells, values, name), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} has values that are not numbers; give one number per cell"
        ) from error
    if values.shape != cells.shape:
        raise InputError(
            f"{name} has shape {values.shape}; give {count_of(len(cells), 'number')}, one per cell"
        )
    return values


def _chosen(cells: Any, names: np.ndarray) -> np.ndarray:
    """A mask, positions, or names of cells, as what picks them."""
    cells = np.asarray(in_order_of(names, cells, "cells"))
    if cells.dtype.kind in "UO" and names.dtype.kind == "U":
        return positions(names, cells, "cell", "the data")
    whole = cells.dtype.kind in "iu" and cells.ndim == 1
    if whole and not ((cells < 0) | (cells >= len(names))).any():
        return cells
    if cells.dtype != bool or cells.shape != names.shape:
        raise InputError(
            f"cells has shape {cells.shape}; give True or False for each of "
            f"{count_of(len(names), 'cell')}, positions from 0 to {len(names) - 1}, or names"
        )
    return cells


def _cells_to_use(
    given: _Input, cells: Any, size: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the cells, their pseudotimes and sizes (of mean 1)."""
    n = len(given.cells)
    t = _numbers("pseudotime", given.pseudotime, given.cells)
    if size is None:
        size = cell_totals(given.counts)
    size = _numbers("size", size, given.cells)
    if np.isinf(size).any():
        raise InputError("size has infinite values; give the size of each cell")
    usable = np.isfinite(t) & (size > 0)
    if cells is not None:
        chosen = np.zeros(n, dtype=bool)
        chosen[_chosen(cells, given.cells)] = True
        usable &= chosen
    use = np.flatnonzero(usable)
    if len(use) < FEWEST_CELLS:
        raise InputError(
            f"only {count_of(len(use), 'cell', 'has', 'have')} a pseudotime and counts; give "
            f"at least {FEWEST_CELLS}"
        )
    t = t[use]
    if t.min() == t.max():
        raise InputError("all cells have the same pseudotime: nothing can change along it")
    return use, t, size[use] / size[use].mean()
