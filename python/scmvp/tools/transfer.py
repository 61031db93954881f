"""Label transfer: labels of a reference for query cells in the same latent, with confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..arguments import number, whole_number
from ..data.annotated import LATENT, in_order_of, labels_of, latent_of
from ..data.containers import refuse_view_on_disk
from ..data.matrices import evenly
from ..data.names import note
from ..errors import InputError
from ..settings import own_settings
from ..words import count_of
from .novelty import p_values

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

FEWEST_CELLS = 20
UNASSIGNED = "unassigned"
# Widths of the kernel that are tried; the latent is whitened by the variance within clusters.
WIDTHS = (0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4, 2.8, 3.4, 4.0)
PRIOR_WEIGHT = 0.1
_CALIBRATION_CELLS = 5_000


@own_settings()
def transfer_labels(
    reference: MuData | AnnData | np.ndarray,
    labels: str | Sequence[Any],
    query: MuData | AnnData | np.ndarray,
    *,
    calibration: MuData | AnnData | np.ndarray | None = None,
    use_rep: str = LATENT,
    n_neighbors: int = 50,
    unassigned_below: float = 0.01,
    key_added: str = "scmvp_transfer",
) -> pd.DataFrame:
    """Give query cells the most probable label of the labeled cells near them in the latent.

    The probability of a label is its proportion among the nearest reference cells, weighted by a
    Gaussian kernel of their distance, where the nearest cell has weight 1; the proportions in the
    reference are added with a weight of 0.1. All directions of the latent
    share one kernel width, because the latent is whitened by the variance within clusters. The
    width maximizes the probability of the labels of the reference cells when each is left out in
    turn; this calibrates the probabilities.

    Cells that resemble no reference cells have a small out-of-reference p-value, (1 + m) / (1 + n):
    of the n labeled cells (at most 5,000 of them), m are at least as unlike the others as the query
    cell is. How unlike a cell is, is the product of its distance to the nearest mean of a label and
    its mean distance to the 15 nearest cells, in units of the standard deviation within labels;
    labeled cells are compared with the other nine tenths of the reference. With `calibration`,
    all of these distances are between latents of the query's modality. Cells of a type that the
    reference lacks are recognized if it resembles no type of the reference; else most are given the
    label of the most similar type (docs/benchmarks.md, Label transfer).

    Args:
        reference: Latent of labeled cells: MuData or AnnData with obsm[use_rep], or (n, D).
        labels: Column of obs, or one label per reference cell; cells without a label (NaN, None)
            are not used.
        query: Latent of the cells to label from the same model, given both modalities or one
            (`get_latent_representation(query, modality="rna")`). The results are added to a MuData
            or AnnData as obs['{key}_label'], '_confidence' and '_p_value'.
        calibration: Latent of the reference cells given the same modality as the query, if that
            differs from `reference`: for a query with RNA only,
            `get_latent_representation(reference, modality="rna")`. The width is chosen for it, and
            p-values are computed from its distances to the query.
        use_rep: Key of the latent in obsm.
        n_neighbors: Number of nearest reference cells that have a weight.
        unassigned_below: Query cells with a smaller p-value are 'unassigned'; about the same
            proportion of cells that do resemble the reference is also unassigned. 0 labels all
            cells. If n is so small that 1 / (1 + n) is not below this limit, no cell can be
            unassigned, and a warning reports this.
        key_added: Prefix of the columns in obs.

    Returns:
        One row per query cell: 'label', 'confidence' (probability of the best label), 'p_value'
        (out-of-reference, small for cells unlike the reference), 'best_label' (also of the
        unassigned), and one column 'probability_<label>' for each label. `attrs['width']` is the
        kernel's width.

    Raises:
        InputError: Latents of different dimensions, fewer than 20 labeled cells or a single label,
            or a label that is 'unassigned' itself.
    """
    refuse_view_on_disk(query, "query")
    z, cells = latent_of(reference, use_rep, "the reference's latent")
    known = labels_of(reference, labels, cells, "labels")
    target, names = latent_of(query, use_rep, "the query's latent")
    own = z if calibration is None else _calibration(calibration, use_rep, cells)
    _refuse_shapes(z, target, own)
    unassigned_below = number("unassigned_below", unassigned_below)
    if not 0 <= unassigned_below < 1:
        raise InputError(
            f"unassigned_below is {unassigned_below!r}; give a proportion from 0 to below 1"
        )
    n_neighbors = whole_number("n_neighbors", n_neighbors, at_least=2)
    labeled = np.array([label is not None for label in known])
    z, own = z[labeled], own[labeled]
    groups, code = np.unique(known[labeled].astype(str), return_inverse=True)
    _refuse_labels(groups, len(z))

    k = min(n_neighbors, len(z) - 1)
    tried = evenly(len(z), _CALIBRATION_CELLS)
    distance, near = _neighbors(z, own[tried], k, without=tried)
    width = _best_width(distance, code[near], code[tried], code, len(groups))
    distance, near = _neighbors(z, target, k)
    probability = _probabilities(distance, code[near], width, code, len(groups))
    # with `calibration` of its latents: another encoder may place all cells elsewhere
    p_value = p_values(own, code, target, _CALIBRATION_CELLS)
    lowest = 1 / (1 + len(tried))
    if 0 < unassigned_below <= lowest:
        note(
            f"no cell can be unassigned: with {count_of(len(tried), 'labeled cell')} no p-value is "
            f"below {lowest:.3f}; give an unassigned_below that is larger"
        )
    table = _table(names, groups, probability, p_value, unassigned_below)
    table.attrs["width"] = width
    if hasattr(query, "obs"):
        query.obs[f"{key_added}_label"] = pd.Categorical(table["label"])
        for column in ("confidence", "p_value"):
            query.obs[f"{key_added}_{column}"] = table[column].to_numpy()
    return table


def _calibration(data: Any, use_rep: str, cells: np.ndarray) -> np.ndarray:
    """Its latent, in the order of the reference's cells where it has their names."""
    latent, names = latent_of(data, use_rep, "calibration")
    if names.dtype.kind == "U":
        return in_order_of(cells, pd.DataFrame(latent, index=names), "calibration").to_numpy()
    return latent


def _table(
    names: np.ndarray, groups: np.ndarray, probability: np.ndarray, p: np.ndarray, below: float
) -> pd.DataFrame:
    best = groups[probability.argmax(1)]
    table = pd.DataFrame(
        {
            "label": np.where(p < below, UNASSIGNED, best),
            "confidence": probability.max(1),
            "p_value": p,
            "best_label": best,
        },
        index=pd.Index(names, name="cell"),
    )
    for column, group in enumerate(groups):
        table[f"probability_{group}"] = probability[:, column]
    return table


def _neighbors(
    z: np.ndarray, of: np.ndarray, k: int, without: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and positions of the k nearest of z, each (n, k), nearest first.

    Args:
        z: (N, D).
        of: (n, D), whose neighbors.
        k: At most N, or N - 1 with `without`.
        without: Position of each row's own cell, which is no neighbor of it.
    """
    from sklearn.neighbors import NearestNeighbors

    extra = 0 if without is None else 1
    distance, near = NearestNeighbors(n_neighbors=k + extra).fit(z).kneighbors(of)
    if without is None:
        return distance, near
    other = near != without[:, None]
    other[other.all(1), -1] = False  # cell not among its neighbors: drop the last
    return distance[other].reshape(-1, k), near[other].reshape(-1, k)


def _probabilities(
    distance: np.ndarray, code: np.ndarray, width: float, all_codes: np.ndarray, n_groups: int
) -> np.ndarray:
    """Probabilities of the labels: weighted votes of the neighbors and a weak prior, (n, groups).

    Args:
        distance: (n, k), nearest first.
        code: Labels of the neighbors, (n, k).
        width: Standard deviation of the kernel.
        all_codes: Labels of the reference, whose proportions are the prior.
        n_groups: Number of labels.
    """
    # the nearest cell has weight 1, so that the prior has little weight where cells are sparse, too
    weight = np.exp(-0.5 * (distance**2 - distance[:, :1] ** 2) / width**2)
    cell = np.repeat(np.arange(len(code)), code.shape[1])
    votes = np.zeros((len(code), n_groups))
    np.add.at(votes, (cell, code.ravel()), weight.ravel())
    votes += PRIOR_WEIGHT * np.bincount(all_codes, minlength=n_groups) / len(all_codes)
    return votes / votes.sum(1, keepdims=True)


def _best_width(
    distance: np.ndarray, code: np.ndarray, true: np.ndarray, all_codes: np.ndarray, n_groups: int
) -> float:
    def log_loss(width: float) -> float:
        probability = _probabilities(distance, code, width, all_codes, n_groups)
        return -np.log(probability[np.arange(len(true)), true]).mean()

    return min(WIDTHS, key=log_loss)


def _refuse_shapes(z: np.ndarray, target: np.ndarray, own: np.ndarray) -> None:
    if z.shape[1] != target.shape[1]:
        raise InputError(
            f"the reference's latent has {count_of(z.shape[1], 'dimension')}, the query's "
            f"{target.shape[1]}; embed both with the same model"
        )
    if own.shape != z.shape:
        raise InputError(
            f"calibration has shape {own.shape}; give the reference cells, {z.shape}, in their "
            "order"
        )
    if not len(target):
        raise InputError("the query has no cells; give at least one")


def _refuse_labels(groups: np.ndarray, n_cells: int) -> None:
    if n_cells < FEWEST_CELLS:
        raise InputError(
            f"the reference has {count_of(n_cells, 'labeled cell')}; give at least {FEWEST_CELLS}"
        )
    if len(groups) < 2:
        raise InputError(
            f"all labeled cells of the reference are '{groups[0]}', so there is nothing to "
            "distinguish; give cells of at least two labels"
        )
    if UNASSIGNED in groups:
        raise InputError(
            f"a label of the reference is '{UNASSIGNED}', the name for cells without a label; give "
            "these cells no label (None), or another one"
        )
