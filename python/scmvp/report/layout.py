"""Places of cells on a map: UMAP where it is installed, else t-SNE."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp

FEWEST_CELLS = 10
EPOCHS = 200  # as UMAP itself takes of more than 10,000 cells


def layout(latent: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """Places of cells, (n, 2), and the name of the method.

    Args:
        latent: (n, D).
        seed: Seed of the method.
    """
    if len(latent) < FEWEST_CELLS:
        return latent[:, [0, min(1, latent.shape[1] - 1)]], "first dimensions of the latent"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one thread with a seed, and the like
        try:
            from umap import umap_
        except ImportError:
            from sklearn.manifold import TSNE

            perplexity = min(30.0, (len(latent) - 1) / 3)
            return TSNE(perplexity=perplexity, random_state=seed).fit_transform(latent), "t-SNE"
        # Of so few cells, compiling what UMAP() does before this takes longer than all else.
        a, b = umap_.find_ab_params(1.0, 0.1)
        found = umap_.simplicial_set_embedding(
            latent, fuzzy_graph(latent).tocoo(), 2, 1.0, a, b, 1.0, 5, EPOCHS, "spectral",
            np.random.RandomState(seed), "euclidean", {}, False, {}, False,
        )  # fmt: skip
        return found[0], "UMAP"


def fuzzy_graph(latent: np.ndarray) -> sp.csr_matrix:
    """Weights of the edges between nearest neighbors in UMAP (McInnes et al., 2018), (n, n).

    A cell's weights are 1 for the nearest one and fall with the distance beyond it, at a rate at
    which they sum to log2 of the number of neighbors.
    """
    from sklearn.neighbors import NearestNeighbors

    n, k = len(latent), min(15, len(latent) - 1)
    distance, near = NearestNeighbors(n_neighbors=k).fit(latent).kneighbors(latent)
    first = np.where(distance > 0, distance, np.inf).min(1, keepdims=True)
    beyond = np.maximum(distance - np.where(np.isfinite(first), first, 0), 0)
    low, high = np.zeros((n, 1)), np.full((n, 1), np.inf)
    width = np.ones((n, 1))
    for _ in range(64):
        too_wide = np.exp(-beyond[:, 1:] / width).sum(1, keepdims=True) > np.log2(k)
        low, high = np.where(too_wide, low, width), np.where(too_wide, width, high)
        width = np.where(np.isfinite(high), (low + high) / 2, 2 * width)
    width = np.maximum(width, 1e-3 * np.maximum(distance.mean(1, keepdims=True), 1e-12))
    weight = np.where(near == np.arange(n)[:, None], 0, np.exp(-beyond / width))
    directed = sp.csr_matrix((weight.ravel(), (np.repeat(np.arange(n), k), near.ravel())), (n, n))
    both = directed.multiply(directed.T)
    graph = (directed + directed.T - both).tocsr()
    graph.eliminate_zeros()
    return graph.astype(np.float32)
