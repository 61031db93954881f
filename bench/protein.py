"""Three modalities beside WNN of three, totalVI and MultiVI, where the truth is simulated.

    python bench/protein.py [--seeds 0] [--cells 600] [--out docs/protein.csv] [--methods scmvp wnn]

Rows of `--out` with the same setting, method, seed and cells are replaced.

Eight types are told apart by one modality alone, by a pair of which neither is enough, or only by
all three: the modalities that a setting names have the bits of the type's number among them, the
others are the same in all types. Prints for each setting and method the adjusted Rand index (all
are given the number of types), and the mean over proteins of the correlation of imputed proteins
without background with the simulated foreground, over cells. Runs in the environment of
`requirements-peers.txt`.

    wnn       muon's weighted nearest neighbors of PCA, LSI and PCA of CLR, with the steps of
              bench/accuracy; spectral clusters
    totalvi   RNA and protein; k-means of its latent
    multivi   RNA, ATAC and protein; k-means of its latent
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.metrics import adjusted_rand_score

sys.path.insert(0, str(Path(__file__).with_name("accuracy")))

import methods
import results

import scmvp

N_TYPES, N_PROTEINS = 8, 32
# Which of the three bits of a type's number each modality knows.
SETTINGS = {
    "rna": {"rna": (0, 1, 2)},
    "atac": {"atac": (0, 1, 2)},
    "protein": {"protein": (0, 1, 2)},
    "rna+atac": {"rna": (0, 1), "atac": (2,)},
    "rna+protein": {"rna": (0, 1), "protein": (2,)},
    "atac+protein": {"atac": (0, 1), "protein": (2,)},
    "all three": {"rna": (0,), "atac": (1,), "protein": (2,)},
}


def pattern(kind: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """The number that these bits of the types make."""
    return sum(((kind >> bit) & 1) << place for place, bit in enumerate(bits)) + 0 * kind


def pair_of(kind: np.ndarray, bits: dict[str, tuple[int, ...]], seed: int) -> dict[str, AnnData]:
    """RNA and ATAC, each of cells of another simulation with the patterns that the types have."""
    found = {}
    for modality in ("rna", "atac"):
        own = pattern(kind, bits.get(modality, ()))
        n = int(own.max()) + 1
        # of no pattern: types that do not differ
        fold = {} if n > 1 else {"gene_fold": 1.0001, "peak_fold": 1.0001}
        source = scmvp.simulate(
            n_cells=3 * len(kind), n_genes=500, n_peaks=1000, n_types=max(n, 2),
            median_umi=1500, median_fragments=2500, marker_fraction=0.05,
            seed=seed + (modality == "atac"), **fold,
        )[modality]  # fmt: skip
        code = source.obs["cell_type"].cat.codes.to_numpy()
        rows = np.empty(len(kind), int)
        for one in range(n):
            of_pattern = np.flatnonzero(code == one) if n > 1 else np.arange(len(code))
            rows[own == one] = of_pattern[: (own == one).sum()]
        found[modality] = AnnData(source.X[rows], var=source.var[[]])
    return found


def proteins_of(kind: np.ndarray, bits: tuple[int, ...], seed: int) -> tuple[AnnData, np.ndarray]:
    """Counts with background, and the means of the foreground.

    A protein is on in the patterns that it is drawn for, six of all in each pattern at least.
    """
    rng, own = np.random.default_rng([seed, 7]), pattern(kind, bits)
    n = int(own.max()) + 1
    on = np.arange(N_PROTEINS)[:, None] % max(n, 2) == np.arange(n)
    on |= rng.random((N_PROTEINS, 1)) < 0.25  # in all cells
    if n == 1:
        on = rng.random((N_PROTEINS, 1)) < 0.5
    rate = rng.lognormal(4.0, 0.7, N_PROTEINS)
    background = rng.lognormal(1.5, 1.0, N_PROTEINS) * rng.lognormal(0, 0.35, (len(kind), 1))
    foreground = on.T[own] * rate * rng.lognormal(0, 0.35, (len(kind), 1))
    mean = background + foreground
    counts = rng.poisson(rng.gamma(5, mean / 5)).astype(np.float32)
    names = [f"CD{j}" for j in range(N_PROTEINS)]
    return AnnData(sp.csr_matrix(counts), var=pd.DataFrame(index=names)), foreground


def cells_of(setting: str, n_cells: int, seed: int) -> tuple[MuData, np.ndarray, np.ndarray]:
    """Cells, their types, and the foreground of their proteins."""
    bits = SETTINGS[setting]
    kind = np.random.default_rng(seed).integers(0, N_TYPES, n_cells)
    parts: dict[str, AnnData] = pair_of(kind, bits, 10 * seed)
    parts["protein"], foreground = proteins_of(kind, bits.get("protein", ()), seed)
    for adata in parts.values():
        adata.obs_names = [f"cell{i}" for i in range(n_cells)]
    return MuData(parts), kind, foreground


def of_scmvp(mdata: MuData, seed: int) -> dict[str, np.ndarray]:
    model = scmvp.SCMVP(mdata, n_clusters=N_TYPES)
    model.train(seed=seed, threads=1, progress=False)
    return {"clusters": model.predict(), "protein": model.get_protein_expression()}


def of_wnn(mdata: MuData, seed: int) -> dict[str, np.ndarray]:
    import muon
    import scanpy

    mdata = methods.preprocessed(mdata.copy())
    proteins = mdata["protein"]
    muon.prot.pp.clr(proteins, axis=1)  # within cells, as Seurat does for WNN
    scanpy.pp.scale(proteins)
    scanpy.tl.pca(proteins, n_comps=18, svd_solver="arpack", random_state=seed)
    latents = methods.pca_and_lsi_muon(mdata, seed) | {"protein": proteins.obsm["X_pca"]}
    methods.add_wnn(mdata, latents, seed)
    graph = mdata.obsp["wnn_connectivities"]
    spectral = SpectralClustering(N_TYPES, affinity="precomputed", random_state=seed)
    return {"clusters": spectral.fit_predict(graph.maximum(graph.T))}


def of_totalvi(mdata: MuData, seed: int) -> dict[str, np.ndarray]:
    import scvi

    scvi.settings.seed = seed
    adata = mdata["rna"].copy()
    proteins = mdata["protein"].X.toarray()
    adata.obsm["protein"] = pd.DataFrame(proteins, adata.obs_names, mdata["protein"].var_names)
    scvi.model.TOTALVI.setup_anndata(adata, protein_expression_obsm_key="protein")
    model = scvi.model.TOTALVI(adata)
    model.train(max_epochs=400, accelerator="cpu", enable_progress_bar=False)
    z = model.get_latent_representation()
    _, protein = model.get_normalized_expression(n_samples=10, return_mean=True)
    return {"clusters": _kmeans(z, seed), "protein": protein.to_numpy()}


def of_multivi(mdata: MuData, seed: int) -> dict[str, np.ndarray]:
    model = methods.multivi(mdata.copy(), seed)
    model.train(max_epochs=300, accelerator="cpu", enable_progress_bar=False)
    return {"clusters": _kmeans(model.get_latent_representation(), seed)}


def _kmeans(z: np.ndarray, seed: int) -> np.ndarray:
    return KMeans(N_TYPES, n_init=20, random_state=seed).fit_predict(z)


METHODS = {"scmvp": of_scmvp, "wnn": of_wnn, "totalvi": of_totalvi, "multivi": of_multivi}


def correlation(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the proteins that differ between cells, of log(1 + x)."""
    varies = (truth > 0).any(0) & (truth == 0).any(0)
    if not varies.any():
        return np.nan
    found = found * np.median(truth.sum(1)) / np.median(found.sum(1))
    a, b = np.log1p(found[:, varies]), np.log1p(truth[:, varies])
    a, b = ((part - part.mean(0)) / np.maximum(part.std(0), 1e-9) for part in (a, b))
    return float((a * b).mean(0).mean())


def scores(found: dict[str, np.ndarray], _: np.ndarray, foreground: np.ndarray) -> dict[str, float]:
    known = "protein" in found
    return {"protein_correlation": correlation(found["protein"], foreground) if known else np.nan}


def parser_of(about: str, settings: Iterable[str], fits: Iterable[str], seeds: Sequence[int]):
    """The arguments of `measure`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--seeds", type=int, nargs="+", default=seeds)
    parser.add_argument("--cells", type=int, default=600)
    parser.add_argument("--settings", nargs="+", choices=settings, default=list(settings))
    parser.add_argument("--methods", nargs="+", choices=fits, default=list(fits))
    parser.add_argument("--out", type=Path)
    return parser


def measure(given: argparse.Namespace, fits: dict, cells_of: Callable, scores: Callable) -> None:
    """Run every method on the cells of every setting and seed; print and write a row for each.

    Args:
        given: What `parser_of` has read.
        fits: From cells and a seed to what was found, of which `clusters` are scored here.
        cells_of: From setting, number of cells and seed to cells, their types and the truth.
        scores: From what was found, the types and the truth to further columns.
    """
    warnings.simplefilter("ignore")
    keys = ("setting", "method", "seed", "cells")
    for setting in given.settings:
        for seed in given.seeds:
            mdata, kind, truth = cells_of(setting, given.cells, seed)
            for method in given.methods:
                started = time.perf_counter()
                found = fits[method](mdata, seed)
                seconds = time.perf_counter() - started
                row = dict(zip(keys, (setting, method, seed, given.cells), strict=True))
                row["ari"] = adjusted_rand_score(kind, found["clusters"])
                row |= scores(found, kind, truth) | {"seconds": seconds}
                row = results.formatted(row, ".3f")
                print(*row.values(), sep="\t", flush=True)
                if given.out:
                    results.put_by(given.out, [row], keys)


def main() -> None:
    """See the module."""
    measure(parser_of(__doc__, SETTINGS, METHODS, [0]).parse_args(), METHODS, cells_of, scores)


if __name__ == "__main__":
    main()
