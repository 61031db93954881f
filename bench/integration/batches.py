"""How well batches are mixed and types kept apart, each method given the same covariate.

iLISI (1: batches mixed as they can be) and cLISI (1: types apart) are scib-metrics'. Where the mix
of types differs between batches, as in the simulation, no method can and none should reach iLISI 1;
`across` is the accuracy with which cells of a batch get their type from those of the other batches.
"""

from __future__ import annotations

from pathlib import Path

import methods
import numpy as np
from data import SEED, Paired, of_mudata, seen_often
from data import load as load_paired
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

import scmvp

LISI_NEIGHBORS = 90
N_NEIGHBORS = 15

_SIMULATED = {
    "sim_mild_batches": {"batch_effect": 0.2},
    "sim_batches": {"batch_effect": 0.5},
    "sim_strong_batches": {"batch_effect": 1.0},
}
_SIZE = {
    "n_cells": 1500,
    "n_genes": 2000,
    "n_peaks": 5000,
    "n_types": 8,
    "n_batches": 3,
    "median_umi": 1000,
    "median_fragments": 1200,
    "seed": SEED,
}
DATA = (*_SIMULATED, "snare_cortex")


def load(name: str, folder: Path) -> Paired:
    """Cells with `batch`."""
    if name not in _SIMULATED:
        return load_paired(name, folder)
    return seen_often(of_mudata(name, scmvp.simulate(**_SIZE, **_SIMULATED[name])))


def scored(paired: Paired, found: tuple[np.ndarray, np.ndarray | None], seed: int) -> dict:
    """Scores of an embedding, and of the method's own clusters where it has some."""
    from scib_metrics import clisi_knn, ilisi_knn
    from scib_metrics.nearest_neighbors import NeighborsResults

    z, clusters = found
    z, labels, batch = (part[paired.scored] for part in (z, paired.labels, paired.batch))
    distances, indices = NearestNeighbors(n_neighbors=LISI_NEIGHBORS).fit(z).kneighbors(z)
    near = NeighborsResults(indices, distances)
    across = []
    for one in np.unique(batch):
        here = batch == one
        classifier = KNeighborsClassifier(N_NEIGHBORS).fit(z[~here], labels[~here])
        across.append(classifier.score(z[here], labels[here]))
    k_means = KMeans(paired.n_labels, n_init=10, random_state=seed).fit_predict(z)
    scores = {
        "ilisi": float(ilisi_knn(near, batch)),
        "clisi": float(clisi_knn(near, labels)),
        "across": float(np.mean(across)),
        "ari": float(adjusted_rand_score(labels, k_means)),
    }
    if clusters is not None:
        scores["ari_own"] = float(adjusted_rand_score(labels, clusters[paired.scored]))
    return scores


def _scmvp(paired: Paired, seed: int, batch: str | None) -> tuple[np.ndarray, np.ndarray]:
    mdata = methods._mdata(paired)
    mdata.obs["batch"] = paired.batch
    model = scmvp.SCMVP(mdata, n_clusters=paired.n_labels, min_cells=0, batch=batch)
    model.train(seed=seed, threads=1, progress=False)
    return model.get_latent_representation(), model.predict()


def _harmonized(z: np.ndarray, batch: np.ndarray, seed: int) -> np.ndarray:
    import harmonypy
    import pandas as pd

    meta = pd.DataFrame({"batch": batch})
    found = np.asarray(harmonypy.run_harmony(z, meta, ["batch"], random_state=seed).Z_corr)
    return found if found.shape == z.shape else found.T


def _pca_and_lsi(paired: Paired, seed: int) -> tuple[np.ndarray, None]:
    return methods._pca_and_lsi(paired, 10, seed), None


def _harmony(paired: Paired, seed: int) -> tuple[np.ndarray, None]:
    # of the scale that Harmony's defaults are made for
    z = methods._pca_and_lsi(paired, 10, seed) * np.sqrt(len(paired.labels))
    return _harmonized(z, paired.batch, seed), None


def _harmony_wnn(paired: Paired, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted nearest neighbors of Harmony's PCA and LSI; its UMAP, spectral clusters."""
    import muon

    mdata = methods._mdata(paired)
    blocks = {"rna": methods._pca(paired.x, 20, seed).z, "atac": methods._lsi(paired.y, 20, seed).z}
    latents = {
        modality: _harmonized(z / z.std(0)[0], paired.batch, seed) for modality, z in blocks.items()
    }
    methods.add_wnn(mdata, latents, seed)
    muon.tl.umap(mdata, neighbors_key="wnn", random_state=seed)
    graph = mdata.obsp["wnn_connectivities"]
    return np.asarray(mdata.obsm["X_umap"]), methods._spectral(graph, paired, seed)


def _multivi(paired: Paired, seed: int) -> tuple[np.ndarray, None]:
    mdata = methods._mdata(paired)
    mdata.obs["batch"] = mdata["rna"].obs["batch"] = paired.batch
    model = methods.multivi(mdata, seed, batch_key="batch")
    model.train(**methods._TRAIN)
    return model.get_latent_representation(), None


METHODS = {
    "pca+lsi, no covariate": _pca_and_lsi,
    "scmvp, no covariate": lambda paired, seed: _scmvp(paired, seed, None),
    "scmvp": lambda paired, seed: _scmvp(paired, seed, "batch"),
    "harmony": _harmony,
    "harmony+wnn": _harmony_wnn,
    "multivi": _multivi,
}
