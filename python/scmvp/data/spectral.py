"""Correspondence analysis of sparse counts: loadings of the features, and scores of cells.

The residuals are (x_ij / l_i - p_j) sqrt(l_i / p_j), with l_i the library size of cell i and p_j
the proportion of feature j in all counts: deviations from independence in units of their Poisson
standard deviation (Greenacre, Correspondence Analysis in Practice). They are never stored. Loadings
are their leading right singular vectors (docs/MODEL.md, I1, I2, I4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator

from ..progress import Report
from .covariates import distinct
from .matrices import Matrix, blocks_of, in_memory
from .products import Products

# One count of a feature with an expected count of 1e-4 has a residual of 100. Such chance events,
# not groups of cells, would determine the leading directions, so scaled entries are clipped here.
CLIP = 10.0

_ANALYZED_CELLS = 20_000
_ANALYZED_ENTRIES = 20_000_000
_PROBE_CELLS = 1_000
_FEW_COUNTS = 10
_KRYLOV_BLOCK = 16
_KRYLOV_STEPS = 12
_ZERO = 1e-5  # of the largest singular value
_NO_ROWS = slice(0)
_TENTHS = 10
_TENTHS_CELLS = 1_000  # enough to estimate by how much scores shrink


class CorrespondenceAnalysis(NamedTuple):
    """The loadings, and what else is needed to compute scores of cells.

    A cell's scores are Σ_j min(x_j, CLIP sqrt(l p_j)) / l · loading_j - centre, (d,), in units of
    the noise of a cell of mean library size; x are its counts, divided by the factors of its batch.
    The fields have the names of the tensors in model files.
    """

    loading: np.ndarray  # (F, d) float32, scaled loadings; with `shrink` times the shrinkage
    centre: np.ndarray  # (d,) float32, scores of the mean profile
    share: np.ndarray  # (F,) float32, proportions p
    log_factor: np.ndarray  # (n_levels, F) float32, log factors of the batches


class Batches(NamedTuple):
    """The batches of cells, and the factors by which these multiply the features."""

    design: np.ndarray  # (n_cells, n_levels) float32
    log_factor: np.ndarray  # (n_levels, F) float32, by which a level multiplies a feature


def fit_correspondence(
    counts: Matrix,
    n_components: int,
    seed: int,
    batches: Batches | None = None,
    shrink: bool = True,
    report: Report | None = None,
) -> CorrespondenceAnalysis:
    """Correspondence analysis of at most 20,000 cells and about 20 million non-zeros.

    Args:
        counts: Cells x features.
        n_components: d; those beyond the smaller side of the matrix are all zero.
        seed: Seed of the cells drawn and of the search.
        batches: Batches of the cells.
        shrink: Shrink the scores of each direction. The loadings of some thousand cells fit the
            noise of each of them: its scores are several times as large as on loadings of other
            cells (Lee, Zou and Wright, Ann. Stat. 2010), and shrinkage makes them as large as
            these (docs/decisions, D20).
        report: Called with the fraction of the work that is done, 0 to 1, every now and then.
    """
    log_factor = np.zeros((0, counts.shape[1])) if batches is None else batches.log_factor
    rng = np.random.default_rng(seed)
    prepared = _prepared(counts, rng, batches)
    proportion, size = prepared.proportion, prepared.size
    right = shrunken_directions(prepared, n_components, rng, shrink, report)
    unit = np.sqrt(size.mean())
    inverse = np.divide(
        unit, np.sqrt(proportion), out=np.zeros_like(proportion), where=proportion > 0
    )
    centre = unit * (prepared.mean @ right) / np.sqrt(max(size.sum(), 1))
    parts = (right * inverse[:, None], centre, proportion, log_factor)
    return CorrespondenceAnalysis(*(part.astype(np.float32) for part in parts))


def shrunken_directions(
    prepared: Prepared,
    n_components: int,
    rng: np.random.Generator,
    shrink: bool,
    report: Report | None,
) -> np.ndarray:
    """Leading right vectors of the residuals, each times its shrinkage; (F, n_components)."""
    tenths = _tenths(prepared.scaled.shape[0], rng) if shrink else []
    step = _counted(report, (1 + len(tenths)) * (_KRYLOV_STEPS + 1))
    right = _directions(prepared, n_components, rng, step=step)
    if shrink:
        right = right * _shrinkage(prepared, right, tenths, rng, step)
    return right


def without_depth(scaled: sp.csr_matrix) -> Prepared:
    """Residuals that are sparse themselves, of which depth explains nothing."""
    n_cells, n_features = scaled.shape
    nothing = np.zeros((n_cells, 1), np.float32), np.zeros(n_features, np.float32)
    return Prepared(scaled, Products(scaled), *nothing, np.ones(n_cells), np.ones(n_features))


def _counted(report: Report | None, n_steps: int) -> Callable[[], None]:
    """What is called after every one of `n_steps` steps."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if report is not None:
            report(done / n_steps)

    return step


class Prepared(NamedTuple):
    """Cells as correspondence analysis reads them."""

    scaled: sp.csr_matrix  # `scaled_counts`, cut off at CLIP
    products: Products  # of `scaled`
    depth: np.ndarray  # (n, 1) float32, sqrt(l) / sqrt(Σ l)
    mean: np.ndarray  # (F,) float32, what depth explains of `scaled`, per unit of depth
    size: np.ndarray  # (n,), l
    proportion: np.ndarray  # (F,), p


def _prepared(counts: Matrix, rng: np.random.Generator, batches: Batches | None) -> Prepared:
    counts, rows = sampled(counts, rng)
    if batches is not None:
        counts = without_batches(counts, Batches(batches.design[rows], batches.log_factor))
    size = np.asarray(counts.sum(1), dtype=np.float64).ravel()
    total = max(size.sum(), 1)
    proportion = np.asarray(counts.sum(0), dtype=np.float64).ravel() / total
    scaled = scaled_counts(counts)
    np.minimum(scaled.data, CLIP, out=scaled.data)
    depth = np.sqrt(size / total)[:, None].astype(np.float32)
    return Prepared(scaled, Products(scaled), depth, (scaled.T @ depth)[:, 0], size, proportion)


def _directions(
    prepared: Prepared,
    n_components: int,
    rng: np.random.Generator,
    without: np.ndarray | slice = _NO_ROWS,
    step: Callable[[], None] | None = None,
) -> np.ndarray:
    """Leading right vectors of the residuals, (F, n_components); zero where there are no more.

    Args:
        prepared: The cells.
        n_components: Number of components.
        rng: Generator for the search.
        without: Cells that are left out.
        step: Called after every step of the search.
    """
    scaled = prepared.scaled
    right = np.zeros((scaled.shape[1], n_components), np.float32)
    n = min(n_components, min(scaled.shape) - 1)
    if n > 0 and scaled.nnz:
        depth = prepared.depth.copy()
        depth[without] = 0
        depth /= max(np.linalg.norm(depth), np.finfo(np.float32).tiny)
        operator = residuals(prepared.products, depth, without)
        right[:, :n] = leading(operator, n, rng, step)[1]
    return right


def _tenths(n_cells: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Tenths of the cells, as many as make some thousand cells."""
    tenth = rng.permutation(n_cells) % _TENTHS
    # of fewer than ten cells, as when a saved model is loaded into a blank one, tenths are empty
    n = min(_TENTHS, n_cells, math.ceil(_TENTHS * _TENTHS_CELLS / n_cells))
    return [np.flatnonzero(tenth == k) for k in range(n)]


def _shrinkage(
    prepared: Prepared,
    right: np.ndarray,
    tenths: list[np.ndarray],
    rng: np.random.Generator,
    step: Callable[[], None] | None = None,
) -> np.ndarray:
    """Slope of cells' scores on loadings of other cells, by those on `right`; (d,), 0 to 1.

    Each tenth of the cells is scored on the loadings of the others, projected onto `right`, so
    that a direction on which the tenths do not agree hardly counts.
    """
    apart, whole = np.zeros(right.shape[1]), np.zeros(right.shape[1])
    for own in tenths:
        directions = _directions(prepared, right.shape[1], rng, own, step)
        basis = np.hstack([right, directions])
        scores = prepared.scaled[own] @ basis - prepared.depth[own] * (prepared.mean @ basis)
        here, there = np.hsplit(scores, 2)
        apart += (here * (there @ (directions.T @ right))).sum(0)
        whole += (here**2).sum(0)
    return np.divide(apart, whole, out=np.zeros_like(whole), where=whole > 0).clip(0, 1)


def batches_of(counts: Matrix, design: np.ndarray) -> Batches:
    """Log ratio of the counts of every feature in a batch to those expected from all cells.

    Both get ten counts more, so that a feature seldom seen is left as it is. The counts
    expected from a later column of batches include the factors of the earlier ones.

    Args:
        counts: Cells x features.
        design: Batches of the cells, (n_cells, n_levels).
    """
    kinds, kind = distinct(design)
    seen, start = np.zeros((len(kinds), counts.shape[1])), 0
    for block in blocks_of(counts):
        rows = kind[start : start + block.shape[0]]
        start += len(rows)
        member = (np.ones(len(rows)), (rows, np.arange(len(rows))))
        seen += (sp.csr_matrix(member, (len(kinds), len(rows))) @ block).toarray()
    proportion = seen.sum(0) / max(seen.sum(), 1)
    expected = seen.sum(1, keepdims=True) * proportion
    found = np.zeros((design.shape[1], counts.shape[1]))
    for level in range(design.shape[1]):
        here = kinds[:, level] > 0
        of_level = seen[here].sum(0), expected[here].sum(0)
        found[level] = np.log((of_level[0] + _FEW_COUNTS) / (of_level[1] + _FEW_COUNTS))
        expected[here] *= np.exp(found[level])
    return Batches(design, found.astype(np.float32))


def without_batches(counts: sp.csr_matrix, batches: Batches) -> sp.csr_matrix:
    """Counts divided by the factors of their cell's batch."""
    kinds, kind = distinct(batches.design)
    factor = np.exp(kinds @ batches.log_factor)
    row = np.repeat(kind, np.diff(counts.indptr))
    parts = (counts.data / factor[row, counts.indices], counts.indices, counts.indptr)
    return sp.csr_matrix(parts, shape=counts.shape)


def sampled(counts: Matrix, rng: np.random.Generator) -> tuple[sp.csr_matrix, np.ndarray | slice]:
    """All cells, or as many of them as bounds time and memory; and which these are."""
    n_cells = counts.shape[0]
    n = min(n_cells, _ANALYZED_CELLS)
    probe = counts[np.sort(rng.choice(n_cells, min(n, _PROBE_CELLS), replace=False))]
    per_cell = max(probe.nnz / max(probe.shape[0], 1), 1)
    n = min(n, max(_PROBE_CELLS, int(_ANALYZED_ENTRIES / per_cell)))
    if n == n_cells:
        return in_memory(counts), slice(None)
    rows = np.sort(rng.choice(n_cells, n, replace=False))
    return counts[rows], rows


def scaled_counts(counts: sp.csr_matrix) -> sp.csr_matrix:
    """x_ij / sqrt(l_i Σ_i x_ij / Σ l), float32; a row or column without counts stays empty."""
    rows = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    columns = np.asarray(counts.sum(axis=0, dtype=np.float64)).ravel() / max(rows.sum(), 1)
    row, column = (_inverse_root(totals).astype(np.float32) for totals in (rows, columns))
    value = counts.data.astype(np.float32)
    value *= np.repeat(row, np.diff(counts.indptr))
    value *= column[counts.indices]
    return sp.csr_matrix((value, counts.indices, counts.indptr), shape=counts.shape)


def residuals(
    scaled: Products, depth: np.ndarray, left_out: np.ndarray | slice = _NO_ROWS
) -> LinearOperator:
    """Scaled counts without what depth explains; never formed.

    Args:
        scaled: `scaled_counts`, cells x features.
        depth: Orthonormal columns, (n_cells, q); sqrt(l) / sqrt(Σ l) alone makes the residuals
            those of correspondence analysis.
        left_out: Rows that are zero instead, as those of `depth` are: spares a copy without them.
    """

    def forward(x: np.ndarray) -> np.ndarray:
        product = scaled.forward(x)
        product[left_out] = 0
        return product - depth @ (depth.T @ product)

    def backward(y: np.ndarray) -> np.ndarray:
        rest = y - depth @ (depth.T @ y)
        rest[left_out] = 0
        return scaled.backward(rest)

    return operator(scaled.shape, forward, backward)


def operator(shape: tuple[int, int], forward: Callable, backward: Callable) -> LinearOperator:
    """A matrix, float32, by its products with one or several columns."""
    return LinearOperator(
        shape, matvec=forward, rmatvec=backward, matmat=forward, rmatmat=backward, dtype=np.float32
    )


def leading(
    matrix: LinearOperator,
    n: int,
    rng: np.random.Generator,
    step: Callable[[], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Singular values (n,), descending, and right vectors (n_columns, n), by block Krylov.

    Golub, Luk and Overton (ACM TOMS 1981). Blocks, because a product of the sparse matrix with 16
    vectors costs a few times one with a single vector; a fixed number of them, because what stands
    out of the noise is exact long before the directions within the noise are, which nobody needs.

    Args:
        matrix: A, by its products.
        n: Number of directions.
        rng: Generator for the start vectors of the search.
        step: Called after every block.
    """
    rows = min(matrix.shape) == matrix.shape[0]
    if min(matrix.shape) <= _KRYLOV_BLOCK * (_KRYLOV_STEPS + 1):
        unit = np.eye(min(matrix.shape), dtype=np.float32)
        dense = (matrix.T @ unit).T if rows else matrix @ unit
        _, values, right = scipy.linalg.svd(dense, full_matrices=False)
        return values[:n], right[:n].T * (values[:n] > _ZERO * values[0])
    block = rng.standard_normal((matrix.shape[1], _KRYLOV_BLOCK)).astype(np.float32)
    basis: list[np.ndarray] = []  # Q
    products, images = [], []  # A'Q and AA'Q
    image = matrix @ block
    for _ in range(_KRYLOV_STEPS + 1):
        basis.append(_orthonormal(image, basis))
        products.append(matrix.T @ basis[-1])
        image = matrix @ products[-1]
        images.append(image)
        if step is not None:
            step()
    projected = np.hstack(basis).astype(np.float64).T @ np.hstack(images)
    squares, vectors = scipy.linalg.eigh((projected + projected.T) / 2)
    order = np.argsort(-squares)[:n]
    values = np.sqrt(squares[order].clip(0))
    weights = np.split(vectors[:, order].astype(np.float32), _KRYLOV_STEPS + 1)
    right = sum(product @ weight for product, weight in zip(products, weights, strict=True))
    # a matrix of zeros, as the residuals of identical cells are, has no directions
    return values, np.divide(right, values, out=np.zeros_like(right), where=values > 0)


def _orthonormal(block: np.ndarray, basis: list[np.ndarray]) -> np.ndarray:
    """An orthonormal basis of a block's columns beside those of others, all float32."""
    # twice: after one projection, rounding errors leave a component along the others
    for _ in range(2):
        for other in basis:
            block = block - other @ (other.T @ block)
        block = scipy.linalg.qr(block, mode="economic")[0]
    return block


def _inverse_root(totals: np.ndarray) -> np.ndarray:
    root = np.zeros_like(totals)
    np.divide(1.0, np.sqrt(totals), out=root, where=totals > 0)
    return root
