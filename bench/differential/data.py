"""Simulated cells, the groups that are compared, and which features truly differ between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import scmvp

_SIZE = {"n_cells": 1200, "n_genes": 1000, "n_peaks": 2500, "n_types": 6}
DATA: dict[str, dict[str, Any]] = {
    "medium": _SIZE | {"median_umi": 1500, "median_fragments": 2000},
    "sparse": _SIZE | {"median_umi": 400, "median_fragments": 500, "ambient": 0.2},
    # two batches of other proportions of the types, each with its own factor for every feature
    "batches": _SIZE
    | {"median_umi": 1500, "median_fragments": 2000, "n_batches": 2, "batch_effect": 1.0},
    # only to try whether everything runs
    "tiny": _SIZE | {"n_cells": 300, "n_genes": 200, "n_peaks": 400, "n_types": 3},
}
SMALL = 50
NULL_FOLD = 0.25  # log2; true folds up to it count as no difference


@dataclass
class Comparison:
    """Two groups of cells; `log2_fold` by modality, of the expected counts per library."""

    name: str
    group: np.ndarray
    reference: np.ndarray
    log2_fold: dict[str, np.ndarray]


def cells(data: str, seed: int):
    """MuData of one simulation."""
    return scmvp.simulate(**DATA[data], seed=100 + seed)


def comparisons(mdata, seed: int) -> list[Comparison]:
    """One type against the rest, two siblings, 50 of each, and a type against itself."""
    rng = np.random.default_rng(seed)
    label = mdata["rna"].obs["cell_type"].cat.codes.to_numpy()
    first, sibling = np.flatnonzero(label == 0), np.flatnonzero(label == 1)
    halves = np.array_split(rng.permutation(first), 2)
    few = [rng.choice(some, min(SMALL, len(some)), replace=False) for some in (first, sibling)]
    pairs = {
        "type against rest": (first, np.flatnonzero(label != 0)),
        "two siblings": (first, sibling),
        f"two siblings, {SMALL} cells each": few,
        "two halves of a type": halves,
    }
    found = []
    for name, indices in pairs.items():
        masks = [np.isin(np.arange(len(label)), some) for some in indices]
        fold = {
            modality: np.log2(_profile(mdata, modality, masks[0]))
            - np.log2(_profile(mdata, modality, masks[1]))
            for modality in ("rna", "atac")
        }
        found.append(Comparison(name, *masks, fold))
    return found


def _profile(mdata, modality: str, mask: np.ndarray) -> np.ndarray:
    """Mean proportion of each feature in these cells, ambient counts included."""
    adata = mdata[modality]
    obs = adata.obs[mask]
    own = 1 - obs["ambient"].to_numpy()
    profile = adata.varm["true_profile"]
    weight = np.bincount(obs["cell_type"].cat.codes, own, profile.shape[1])
    ambient = adata.var["ambient_profile"].to_numpy()
    return (profile @ weight + ambient * (1 - own).sum()) / mask.sum()
