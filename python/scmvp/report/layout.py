"""Places of cells on a map: UMAP where it is installed, else t-SNE."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.neighbors import NearestNeighbors

FEWEST_CELLS = 10
EPOCHS = 200  # as UMAP itself takes of more than 10,000 cells


def layout(latent: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """Places of cells, (n, 2), and the name of the method.

    Args:
        latent: (n, D).
        seed: Of the method.
    """
    if len(latent) < FEWEST_CELLS:
        return latent[:, [0, min(1, latent.shape[1] - 1)]], "first dimensions of the latent"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one thread with a seed, and the like
        try:
            from umap import UMAP
        except ImportError:
            from sklearn.manifold import TSNE

            perplexity = min(30.0, (len(latent) - 1) / 3)
            return TSNE(perplexity=perplexity, random_state=seed).fit_transform(latent), "t-SNE"
        # UMAP's own search of so few cells calls Python for each pair of them
        search = NearestNeighbors(n_neighbors=min(15, len(latent) - 1)).fit(latent)
        distances, neighbors = search.kneighbors(latent)
        fast = UMAP(
            search.n_neighbors, random_state=seed, n_jobs=1, n_epochs=EPOCHS,
            precomputed_knn=(neighbors, distances.astype(np.float32)),
            force_approximation_algorithm=True,
        )  # fmt: skip
        return fast.fit_transform(latent), "UMAP"
