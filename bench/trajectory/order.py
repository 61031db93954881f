"""Pseudotime against known times, by one rule for the root and one graph for all latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import data
import methods
import mudata
import numpy as np
import scipy.sparse as sp
from scipy.stats import spearmanr

import scmvp
from scmvp.tools.trajectory import order_graph

SEED = 20261125
# Sparse, with a tenth of the counts ambient.
PATH = {
    "n_cells": 1500,
    "n_genes": 2000,
    "n_peaks": 5000,
    "n_types": 8,
    "ordered": True,
    "branches": 2,
    "median_umi": 700,
    "median_fragments": 1000,
}

Scores = list[tuple[str, str, float]]


LEAD = 0.05


def simulated(seed: int, lead: float = 0) -> mudata.MuData:
    """The branching path of a seed; chromatin may be ahead of expression."""
    return scmvp.simulate(**PATH, atac_lead=lead, seed=SEED + seed)


def paired_of(name: str, mdata: mudata.MuData) -> data.Paired:
    """The cells as bench/accuracy's methods take them."""
    paired = data.of_mudata(name, mdata)
    return data.seen_often(paired)


def latents(paired: data.Paired, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Names and latents of the methods that have one."""
    model = scmvp.SCMVP(methods._mdata(paired), min_cells=0).train(
        seed=seed, threads=1, progress=False
    )
    for modality in ("joint", "rna", "atac"):
        name = "scmvp" if modality == "joint" else f"scmvp-{modality}"
        yield name, model.get_latent_representation(modality=modality)
    for name in ("pca10", "pca50", "lsi10", "lsi50", "pca+lsi10", "pca+lsi50"):
        yield name, methods.METHODS[name].embed(paired, seed, {})[0].z


def orders(
    paired: data.Paired, seed: int, start: np.ndarray
) -> Iterator[tuple[str, np.ndarray | None]]:
    """Names and pseudotimes; None where the cells fall into parts."""

    def tried(order: Callable) -> np.ndarray | None:
        try:
            return order().pseudotime
        except scmvp.InputError as error:
            print(" ", error, flush=True)
            return None

    groups = np.where(start, "start", "rest")
    for name, z in latents(paired, seed):
        z = np.asarray(z, dtype=np.float64)
        yield name, tried(lambda z=z: scmvp.diffusion(z, root="start", groupby=groups, seed=seed))
    graph = sp.csr_matrix(methods.wnn_muon(paired, seed).obsp["wnn_connectivities"])
    graph = graph.maximum(graph.T)
    yield "wnn-muon", tried(lambda: order_graph(graph, np.flatnonzero(start), seed=seed))


def path(seed: int, folder: Path) -> Scores:
    """Spearman's correlation with the true time on the simulated path."""
    return _path(simulated(seed), seed)


def lead(seed: int, folder: Path) -> Scores:
    """The same with chromatin a twentieth of the path ahead; the time is that of expression."""
    return _path(simulated(seed, LEAD), seed)


def _path(mdata: mudata.MuData, seed: int) -> Scores:
    paired = paired_of("path", mdata)
    obs = mdata.obs
    time = obs["pseudotime"].to_numpy()
    start = (obs["cell_type"] == "Type01").to_numpy()
    return [
        (name, "Spearman, time", np.nan if found is None else spearmanr(found, time)[0])
        for name, found in orders(paired, seed, start)
    ]


def course(seed: int, folder: Path) -> Scores:
    """Spearman's correlation with the hour of treatment."""
    paired = data.load("scicar_a549", folder)
    hour = np.array([int(label.rsplit("_", 1)[1][:-1]) for label in paired.labels])
    return [
        (name, "Spearman, hour", np.nan if found is None else spearmanr(found, hour)[0])
        for name, found in orders(paired, seed, hour == 0)
    ]
