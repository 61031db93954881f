"""How unlike a labeled reference cells are: p-values of cells of types that the reference lacks."""

from __future__ import annotations

import numpy as np

from ..data.matrices import evenly

_NEIGHBORS = 15
_PARTS = 10


def p_values(
    reference: np.ndarray, code: np.ndarray, query: np.ndarray, at_most: int
) -> np.ndarray:
    """Proportion of the reference that is at least as unlike the rest of it as a query cell is.

    How unlike the reference a cell is, is the product of two distances: to the nearest mean of a
    label, and the mean one to the 15 nearest cells; both in units of the standard deviation within
    labels. The first recognizes cells between or beside the labels, the second cells in a gap of a
    broad label. Cells of the reference are compared with the other nine tenths of it, as if they
    were query cells.

    Args:
        reference: Latent of the labeled cells, (N, D).
        code: Their labels, (N,), from 0.
        query: (n, D).
        at_most: How many cells of the reference are compared.

    Returns:
        (1 + m) / (1 + u) of each query cell, (n,), m of u cells of the reference being as unlike.
    """
    # tenths of each label, whatever the order of the cells
    ordered = np.lexsort((reference[:, 0], code))
    compared = ordered[evenly(len(code), at_most)]
    usual = []
    for own in (compared[start::_PARTS] for start in range(_PARTS)):
        rest = np.delete(np.arange(len(code)), own)
        usual.append(_unlike(reference[rest], code[rest], reference[own]))
    sorted_usual = np.sort(np.concatenate(usual))
    unlike = _unlike(reference, code, query)
    at_least = len(compared) - np.searchsorted(sorted_usual, unlike, side="left")
    return (1 + at_least) / (1 + len(compared))


def _unlike(reference: np.ndarray, code: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Product of the two distances, (n,)."""
    from sklearn.neighbors import NearestNeighbors

    labels, code = np.unique(code, return_inverse=True)
    means = np.stack([reference[code == label].mean(0) for label in range(len(labels))])
    scaled = _whitening(reference - means[code], len(labels))
    reference, cells, means = reference @ scaled, cells @ scaled, means @ scaled
    to_mean = np.full(len(cells), np.inf)
    for mean in means:
        np.minimum(to_mean, np.linalg.norm(cells - mean, axis=1), out=to_mean)
    n_near = min(_NEIGHBORS, len(reference))
    distance, _ = NearestNeighbors(n_neighbors=n_near).fit(reference).kneighbors(cells)
    return to_mean * distance.mean(1)


def _whitening(deviation: np.ndarray, n_labels: int) -> np.ndarray:
    """A matrix by which the covariance within labels becomes the identity, (D, D).

    The covariance is shrunk towards equal variances by as many cells as there are dimensions.
    """
    n_cells, n_dims = deviation.shape
    n_free = max(n_cells - n_labels, 1)
    square = deviation.T @ deviation
    total_variance = np.trace(square) / n_free
    if not total_variance > 0:
        return np.eye(n_dims)
    shrunk = square + total_variance * np.eye(n_dims)
    return np.linalg.cholesky(np.linalg.inv(shrunk / (n_free + n_dims)))
