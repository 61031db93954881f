"""Experiments on the latent: its size, replicates, the loss, cell lines, one modality alone.

An experiment gives, for each data set, rows of method, measure, value, and the published value
where the paper has one of the same data ("").
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import batches
import data
import methods
import numpy as np
from seeds import clusters_of
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

import scmvp

Score = tuple[str, str, float, str]
Scores = Iterator[tuple[str, list[Score]]]

SIZES = (2, 3, 5, 8, 10, 12, 15, 20)
N_NEIGHBORS = 15
# Cells of a type in a batch, from which a mixing score has a meaning.
MIN_BATCH = 20
# The loss is stable within this part of its whole decrease.
STABLE = 0.01
PAPER_EPOCHS = 30


def agreement(name: str, result: dict, paired: data.Paired, seed: int) -> list[Score]:
    """ARI and AMI of clusters, or of k-means on z, with the labels of the scored cells."""
    result = {part: np.asarray(of)[paired.scored] for part, of in result.items()}
    labels, found = paired.labels[paired.scored], clusters_of(result, paired.n_labels, seed)
    kind = "mixture" if "clusters" in result else "k-means"
    return [
        (name, f"ARI, {kind}", adjusted_rand_score(labels, found), ""),
        (name, f"AMI, {kind}", adjusted_mutual_info_score(labels, found), ""),
    ]


def of_method(
    shown: str, name: str, paired: data.Paired, seed: int, options: dict | None = None
) -> list[Score]:
    """The same of a method of bench/accuracy; of scMVP, the joint latent and the mixture."""
    scores = []
    for result in methods.METHODS[name].embed(paired, seed, options or {}):
        if result.name.startswith(("scmvp-rna", "scmvp-atac")):
            continue
        part = {"z": result.z} if result.clusters is None else {"clusters": result.clusters}
        scores += agreement(shown, part, paired, seed)
    return scores


def latent(seed: int, folder: Path) -> Scores:
    """Accuracy by the number of latent dimensions."""
    for name in ("sccat_celllines", "multiome_pbmc2k"):
        paired = data.load(name, folder)
        scores = []
        for size in SIZES:
            scores += of_method(f"D = {size}", "scmvp", paired, seed, {"n_latent": size})
        yield name, scores


def cell_lines(seed: int, folder: Path) -> Scores:
    """Clusters of three cell lines."""
    paired = data.load("sccat_celllines", folder)
    scores = of_method("scMVP", "scmvp", paired, seed)
    for shown, name in (("PCA (RNA)", "pca10"), ("LSI (ATAC)", "lsi10")):
        scores += of_method(shown, name, paired, seed)
    yield paired.name, scores


def single(seed: int, folder: Path) -> Scores:
    """Fits to RNA alone and to ATAC alone, beside both, and beside the same counts without them."""
    for name in ("snare_cortex", "multiome_pbmc2k"):
        paired = data.load(name, folder)
        scores = of_method("scMVP, both", "scmvp", paired, seed)
        for shown, modality in (("RNA", "rna"), ("ATAC", "atac")):
            model = scmvp.SCMVP(
                methods._mdata(paired), n_clusters=paired.n_labels, min_cells=0,
                modalities=(modality,),
            )  # fmt: skip
            model.train(seed=seed, threads=1, progress=False)
            z = model.get_latent_representation()
            for part in ({"z": z}, {"clusters": model.responsibilities(z).argmax(1)}):
                scores += agreement(f"scMVP, {shown} alone", part, paired, seed)
        for shown, peer in (("PCA (RNA)", "pca10"), ("LSI (ATAC)", "lsi10")):
            scores += of_method(shown, peer, paired, seed)
        yield name, scores


def replicates(seed: int, folder: Path) -> Scores:
    """Batches of one type in a latent that was not told of them, and before the model."""
    for name in ("snare_cortex", "sim_mild_batches"):
        paired = batches.load(name, folder)
        found = {
            "scMVP, no labels": batches._scmvp(paired, seed, None)[0],
            "scMVP, labels of batches": batches._scmvp(paired, seed, "batch")[0],
        }
        for shown, peer in (("PCA (RNA)", "pca10"), ("LSI (ATAC)", "lsi10")):
            found[shown] = methods.METHODS[peer].embed(paired, seed, {})[0].z
        types, batch = paired.labels[paired.scored], paired.batch[paired.scored]
        yield (
            name,
            [
                (shown, "mixing (random labels: 1)", mixing(z[paired.scored], types, batch), "")
                for shown, z in found.items()
            ],
        )


def mixing(z: np.ndarray, types: np.ndarray, batch: np.ndarray) -> float:
    """Neighbors from other batches, among cells of the same type, over that of random labels.

    For random labels the expected part is known: a cell of a batch of b among n cells has a
    neighbor of another batch with probability (n - b) / (n - 1). 0: batches apart.
    """
    observed = expected = 0.0
    for one in np.unique(types):
        here = np.flatnonzero(types == one)
        names, size = np.unique(batch[here], return_counts=True)
        here = here[np.isin(batch[here], names[size >= MIN_BATCH])]
        if len(np.unique(batch[here])) < 2:
            continue
        k = min(N_NEIGHBORS, len(here) - 1)
        near = NearestNeighbors(n_neighbors=k).fit(z[here]).kneighbors(return_distance=False)
        own = batch[here]
        observed += (own[near] != own[:, None]).mean(1).sum()
        expected += sum((own != of).sum() / (len(own) - 1) for of in own)
    return observed / expected


def loss(seed: int, folder: Path) -> Scores:
    """When the held-out loss is stable."""
    for name in ("multiome_pbmc2k", "snare_cortex", "sccat_celllines"):
        paired = data.load(name, folder)
        model = methods._fit_scmvp(paired, seed, {})
        held_out = -np.array(model.history["elbo_validation"])
        yield (
            name,
            [
                ("scMVP", "epochs run", len(held_out), ""),
                ("scMVP", "first epoch of a stable held-out loss", stable_from(held_out), ""),
                (
                    "scMVP",
                    "part of the decrease by epoch 30",
                    decrease_by(held_out, PAPER_EPOCHS),
                    "",
                ),
            ],
        )


def stable_from(held_out: np.ndarray) -> int:
    """First epoch, counted from 1, from which the loss stays near its smallest value."""
    limit = held_out.min() + STABLE * (held_out[0] - held_out.min())
    above = np.flatnonzero(held_out > limit)
    return int(above[-1]) + 2 if len(above) else 1


def decrease_by(held_out: np.ndarray, epoch: int) -> float:
    """Part of the whole decrease of the loss after the first epoch that is reached by an epoch."""
    reached = held_out[:epoch].min()
    return float((held_out[0] - reached) / (held_out[0] - held_out.min()))
