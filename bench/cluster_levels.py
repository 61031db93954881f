"""Clusters of fits without a given K: components, merged ones at several levels, and Leiden.

    python bench/cluster_levels.py --data-folder FOLDER [--data NAME ...] [--seeds 0 1 2 3 4]

ARI with the labels, per seed and as means. Data: those of `bench/accuracy`, and simulations with
gradients within some of the types. Leiden needs `leidenalg` and `igraph`; without, it is
left out. What the numbers decided: docs/decisions, D26.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score

import scmvp
from scmvp.fit.mixture import shared_neighbors

sys.path.insert(0, str(Path(__file__).parent / "accuracy"))
from data import REAL, SIMULATED, THINNED, load  # noqa: E402
from methods import _mdata  # noqa: E402

LEVELS = (0.1, 0.15, 0.2, 0.3)
RESOLUTIONS = (1.0, 0.8)
# Types that are gradients, types that are not, UMIs, fragments, and fold changes of markers.
GRADIENTS: dict[str, dict] = {
    "grad_medium": {},
    "grad_deep": {"umi": 4000, "fragments": 6000},
    "grad_sparse": {"umi": 500, "fragments": 600},
    "grad_all": {"gradients": 8, "types": 0, "umi": 2500, "fragments": 3000},
    "grad_none": {"gradients": 0, "types": 14},
    "grad_subtle": {"umi": 4000, "fragments": 6000, "gene_fold": 2.5, "peak_fold": 1.5},
    "grad_rare": {"evenness": 0.9, "umi": 2500, "fragments": 3000},
    "grad_small": {"n_cells": 300, "gradients": 2, "types": 2, "umi": 8000, "fragments": 8000},
}


def with_gradients(
    seed: int, n_cells: int = 2000, gradients: int = 5, types: int = 5, umi: float = 1500,
    fragments: float = 1500, gene_fold: float = 4.5, peak_fold: float = 2.2, evenness: float = 3.0,
) -> tuple[MuData, np.ndarray]:  # fmt: skip
    """Cells of types, of which some lie evenly between two states, and their types."""
    rng = np.random.default_rng([7, seed])
    states = 2 * gradients + types + types % 2
    base = scmvp.simulate(
        50, 2000, 5000, states, gene_fold=gene_fold, peak_fold=peak_fold, seed=seed
    )
    n = gradients + types
    label = rng.choice(n, n_cells, p=rng.dirichlet(np.full(n, evenness)))
    place = rng.random(n_cells)
    weight = np.zeros((n_cells, states))
    between = label < gradients
    weight[between, 2 * label[between]] = 1 - place[between]
    weight[between, 2 * label[between] + 1] = place[between]
    weight[~between, gradients + label[~between]] = 1
    weight = 0.9 * weight + 0.1 * weight.mean(0)
    depth = rng.multivariate_normal([0, 0], 0.2 * np.array([[1, 0.5], [0.5, 1]]), n_cells)
    obs = pd.DataFrame(index=[f"cell{number}" for number in range(n_cells)])
    made = {}
    for modality, median, theta, log_depth in (
        ("rna", umi, 2.0, depth[:, 0]), ("atac", fragments, 5.0, depth[:, 1]),
    ):  # fmt: skip
        profile = np.asarray(base[modality].varm["true_profile"])
        mean = weight @ profile.T * (median * np.exp(log_depth))[:, None]
        counts = rng.poisson(rng.gamma(theta, mean / theta)).astype(np.float32)
        made[modality] = AnnData(csr_matrix(counts), obs=obs, var=base[modality].var[[]])
    return MuData(made), label


def leiden(latent: np.ndarray, resolution: float) -> np.ndarray | None:
    """Leiden on the graph of shared neighbors, as Seurat prunes it."""
    try:
        import igraph
        import leidenalg
    except ImportError:
        return None
    edges = shared_neighbors(latent).tocoo()
    kept = (edges.row < edges.col) & (edges.data > 1 / 15)
    graph = igraph.Graph(len(latent), np.c_[edges.row[kept], edges.col[kept]].tolist())
    graph.es["weight"] = edges.data[kept]
    found = leidenalg.find_partition(
        graph, leidenalg.RBConfigurationVertexPartition, weights="weight",
        resolution_parameter=resolution, seed=0,
    )  # fmt: skip
    return np.array(found.membership)


def scores(name: str, seed: int, folder: Path) -> dict[str, float]:
    """ARI of each clustering of one fit."""
    if name in GRADIENTS:
        mdata, labels = with_gradients(seed, **GRADIENTS[name])
        scored = np.ones(len(labels), bool)
    else:
        paired = load(name, folder)
        mdata, labels, scored = _mdata(paired), paired.labels, paired.scored
    model = scmvp.SCMVP(mdata).train(seed=seed, threads=1, progress=False)
    most = len(model.tree.n_cells)
    latent = model.get_latent_representation().astype(np.float64)
    found = {"components": model.predict(n_clusters=most)}
    found |= {f"at {level}": model.predict(resolution=level) for level in LEVELS}
    found |= {f"Leiden {resolution}": leiden(latent, resolution) for resolution in RESOLUTIONS}
    ari = {
        how: adjusted_rand_score(labels[scored], clusters[scored])
        for how, clusters in found.items()
        if clusters is not None
    }
    return {"K": most, "clusters": model.n_clusters} | ari


def main() -> None:
    """One line per data set and seed, then means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-folder", type=Path, default=Path("../shared/data"))
    parser.add_argument("--data", nargs="+", default=[*GRADIENTS, *SIMULATED, *REAL, *THINNED])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    rows = []
    for seed in arguments.seeds:
        for name in arguments.data:
            rows.append({"data": name, "seed": seed} | scores(name, seed, arguments.data_folder))
            print({key: round(v, 3) if key != "data" else v for key, v in rows[-1].items()})
    print(pd.DataFrame(rows).groupby("data", sort=False).mean().round(3).to_string())


if __name__ == "__main__":
    main()
