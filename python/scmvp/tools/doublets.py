"""Doublet scores: the probability that a droplet contained two cells of different types.

Doublets are simulated as sums of two cells' counts in all modalities and embedded by the model. A
logistic regression then separates them from the cells by the proportion of simulated doublets among
the nearest neighbors in the latent and by the depth of each modality (docs/decisions, D27). Cells
are sorted by name, so the scores do not depend on their order in the data.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..arguments import whole_number
from ..data.covariates import distinct
from ..data.features import empty_cells
from ..data.matrices import Matrix, with_structure
from ..data.paired import Paired
from ..data.scope import Scope
from ..errors import InputError
from ..fit.fitted import Fitted
from ..modalities import all_of
from ..words import count_of

COLUMN = "scmvp_doublet_score"
FEWEST_CELLS = 50
MOST_SIMULATED = 20_000  # unless more are asked for
NEIGHBORS = 30
FEWEST_KEPT = 0.6  # of the counts of two cells, in one droplet
MOST_DOUBLETS = 0.5  # proportion of the cells
_PARTS_BELOW = np.linspace(0.1, 0.7, 13)  # of the simulated doublets, by threshold
_BLOCK_CELLS = 2048


class Placed(NamedTuple):
    """Positions of cells in the latent, (n, D), and their log counts, (n, modalities)."""

    latent: np.ndarray
    depth: np.ndarray


def doublet_scores(
    fit: Fitted, scope: Scope, paired: Paired, n_simulated: int | None, seed: int
) -> pd.Series:
    """Scores of cells by name; see `SCMVP.doublet_scores` for the arguments and the scores."""
    rows, observed, simulated = place(fit, scope, paired, n_simulated, seed)
    scores = np.full(len(paired.cells), np.nan)
    with fit.on_its_threads():
        scores[rows] = probabilities(observed, simulated)
    return pd.Series(scores, index=pd.Index(paired.cells), name=COLUMN)


def place(
    fit: Fitted, scope: Scope, paired: Paired, n_simulated: int | None, seed: int
) -> tuple[np.ndarray, Placed, Placed]:
    """Rows of the cells with all modalities, sorted by name; these cells; doublets of them.

    Raises:
        InputError: There are too few cells, or all belong to one component.
    """
    seed = whole_number("seed", seed, at_least=0, at_most=2**32 - 1)
    rows = np.flatnonzero(~np.logical_or.reduce([*empty_cells(paired).values()]))
    if len(rows) < FEWEST_CELLS:
        raise InputError(
            f"{count_of(len(rows), 'cell', 'has', 'have')} counts in {all_of(len(paired.counts))}, "
            f"too few to score doublets; give at least {FEWEST_CELLS}"
        )
    if n_simulated is None:
        n_simulated = min(2 * len(rows), MOST_SIMULATED)
    n_simulated = whole_number("n_simulated", n_simulated, at_least=FEWEST_CELLS)
    rows = rows[np.argsort(paired.cells[rows])]
    design = scope.design(paired)
    batch = np.zeros(len(rows), int) if design is None else distinct(design[rows])[1]
    with fit.on_its_threads():
        observed = _placed(fit, paired, design, (rows,))
        rng = np.random.default_rng(seed)
        one, other = draw_pairs(_component(fit, observed.latent), batch, n_simulated, rng)
        simulated = _placed(fit, paired, design, (rows[one], rows[other]), thinned_by=rng)
    return rows, observed, simulated


def draw_pairs(
    kind: np.ndarray, batch: np.ndarray, n_pairs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of both cells of each pair, from one batch and of different kinds.

    All such pairs are equally probable within a batch, and the number of pairs of a batch is
    proportional to its number of cells.

    Args:
        kind: Of each cell, (n,).
        batch: Of each cell, (n,).
        n_pairs: Number of pairs.
        rng: Of the draws.

    Raises:
        InputError: No batch has cells of two kinds.
    """
    order = np.lexsort((kind, batch))  # cells of one kind in one batch lie side by side
    kind, batch = kind[order], batch[order]
    first_of, size_of = _runs(batch)
    _, run = np.unique(np.column_stack([batch, kind]), axis=0, return_inverse=True)
    first_alike, n_alike = _runs(run.ravel())
    others = size_of - n_alike
    if not others.any():
        whose = "all cells" if batch[0] == batch[-1] else "the cells of each batch"
        raise InputError(
            f"{whose} belong to one component of the mixture, and doublets of cells of one type "
            "cannot be distinguished from single cells; score cells of several types"
        )
    n_pairs_in = np.bincount(batch, others, minlength=batch.max() + 1)[batch]
    chance = np.divide(others * size_of, n_pairs_in, out=np.zeros(len(batch)), where=n_pairs_in > 0)
    one = rng.choice(len(kind), n_pairs, p=chance / chance.sum())
    # the cells of other kinds begin behind those of its own, and go on at the start of the batch
    step = n_alike[one] + rng.integers(0, others[one])
    place = first_alike[one] - first_of[one] + step
    other = first_of[one] + place % size_of[one]
    return order[one], order[other]


def _runs(sorted_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each of sorted labels: the first place of its like, and how many there are."""
    _, first, place, size = np.unique(
        sorted_labels, return_index=True, return_inverse=True, return_counts=True
    )
    return first[place], size[place]


def probabilities(observed: Placed, simulated: Placed) -> np.ndarray:
    """Probability that each observed cell is a doublet like the simulated ones, (n,).

    A first regression separates the simulated doublets from all cells, which include doublets. In
    the second, each cell counts as a single cell with the probability from the first.
    """
    from sklearn.neighbors import NearestNeighbors

    latent = np.concatenate([observed.latent, simulated.latent])
    depth = np.concatenate([observed.depth, simulated.depth])
    is_simulated = np.arange(len(latent)) >= len(observed.latent)
    n_neighbors = min(NEIGHBORS, len(observed.latent) // 5)
    near = NearestNeighbors(n_neighbors=n_neighbors).fit(latent).kneighbors(return_distance=False)
    weight = np.ones(len(latent))
    for _ in range(2):
        in_all = weight[near].sum(1)
        share = np.divide(
            (weight * is_simulated)[near].sum(1), in_all, out=np.ones(len(near)), where=in_all > 0
        )
        odds = _odds(np.column_stack([share, depth]), is_simulated, weight)
        proportion = proportion_of(odds[~is_simulated], odds[is_simulated])
        odds *= proportion / (1 - proportion)
        weight = np.where(is_simulated, 1, 1 / (1 + odds))
    return 1 - weight[~is_simulated]


def _odds(features: np.ndarray, is_simulated: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Density of simulated doublets over that of cells, by a logistic regression, (n,)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features = StandardScaler().fit_transform(features)
    total = np.where(is_simulated, weight[is_simulated].sum(), weight[~is_simulated].sum())
    told = LogisticRegression().fit(features, is_simulated, len(weight) / 2 * weight / total)
    return np.exp(told.decision_function(features))


def proportion_of(observed: np.ndarray, simulated: np.ndarray) -> float:
    """Proportion of doublets among observed cells, from scores of these and of simulated doublets.

    If all observed cells above a threshold were doublets, their number would be this proportion of
    the cells, times the fraction of doublets above it. Single cells increase it, so the threshold
    with the smallest estimate is used.
    """
    thresholds = np.quantile(simulated, _PARTS_BELOW)
    part = [np.mean(simulated > threshold) for threshold in thresholds]
    found = [max(np.mean(observed > threshold), 0.5 / len(observed)) for threshold in thresholds]
    return float(min(np.min(np.divide(found, np.maximum(part, 1e-9))), MOST_DOUBLETS))


def _component(fit: Fitted, latent: np.ndarray) -> np.ndarray:
    """Component of the mixture that each cell is of, as finely as the model has them."""
    n_components = None if fit.tree is None else len(fit.tree.n_cells)
    return fit.responsibilities(latent, n_components).argmax(1)


def _placed(
    fit: Fitted,
    paired: Paired,
    design: np.ndarray | None,
    rows: tuple[np.ndarray, ...],
    thinned_by: np.random.Generator | None = None,
) -> Placed:
    """Embed cells, each the sum of a row of every member of `rows`, block by block.

    A sum has the batch of its first row. With a generator, a random part of its counts is kept, the
    same in all modalities.
    """
    latent, depth = [], []
    for start in range(0, len(rows[0]), _BLOCK_CELLS):
        block = [part[start : start + _BLOCK_CELLS] for part in rows]
        counts = {name: _sums(part, block) for name, part in paired.counts.items()}
        if thinned_by is not None:
            kept = thinned_by.uniform(FEWEST_KEPT, 1, len(block[0]))
            counts = {name: thinned(part, kept, thinned_by) for name, part in counts.items()}
        latent.append(fit.embedded(counts, None if design is None else design[block[0]]))
        depth.append(np.column_stack([np.log1p(_sizes(part)) for part in counts.values()]))
    return Placed(np.concatenate(latent), np.concatenate(depth))


def _sums(counts: Matrix, rows: list[np.ndarray]) -> sp.csr_matrix:
    total = counts[rows[0]]
    for more in rows[1:]:
        total = total + counts[more]
    total.sort_indices()
    return total


def thinned(counts: sp.csr_matrix, kept: np.ndarray, rng: np.random.Generator) -> sp.csr_matrix:
    """Each count of a row kept with its probability, (n,)."""
    left = rng.binomial(counts.data.astype(np.int64), np.repeat(kept, np.diff(counts.indptr)))
    found = with_structure(left.astype(np.float32), counts).copy()
    found.eliminate_zeros()
    return found


def _sizes(counts: sp.csr_matrix) -> np.ndarray:
    """Counts of each cell, (n,) float64."""
    return np.asarray(counts.sum(1, dtype=np.float64)).ravel()
