"""The methods behind one interface: counts in, embeddings or imputed profiles out.

Each is run with its documented defaults and one thread, the deep ones on a GPU where PyTorch sees
one. None is given more than the number of labels, and that only where a method takes a number of
clusters.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import elsewhere
import mudata
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp
from data import Paired
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.extmath import randomized_svd

import scmvp


@dataclass
class Result:
    """What one fit gives for the cells, under the name it is reported by.

    `z` is an embedding, (cells, D), `clusters` (cells,) the method's own clusters with K = number
    of labels; `scores` are numbers of the fit itself.
    """

    name: str
    z: np.ndarray | None = None
    clusters: np.ndarray | None = None
    scores: dict[str, float] = dataclasses.field(default_factory=dict)


Proportions = dict[str, np.ndarray]


@dataclass
class Method:
    """A method by what it can do, either of it None.

    `embed(paired, seed, options)` gives Results, `impute(paired, seed, options)` by modality the
    proportion of each cell's counts on each feature, (cells, features) with rows that sum to one.
    `packages` are those whose versions matter, in the environment `home` (bench/peers.sh) or in
    that of this process.
    """

    embed: Callable[[Paired, int, dict[str, Any]], list[Result]] | None = None
    impute: Callable[[Paired, int, dict[str, Any]], Proportions] | None = None
    packages: tuple[str, ...] = ("scikit-learn",)
    takes_options: bool = False
    home: str = ""


def _names(prefix: str, n: int) -> list[str]:
    return [f"{prefix}{i:06d}" for i in range(n)]


def _rna(paired: Paired) -> anndata.AnnData:
    return _adata(paired.x, "gene")


def _atac(paired: Paired) -> anndata.AnnData:
    return _adata(paired.y, "peak")


def _adata(counts: sp.csr_matrix, prefix: str) -> anndata.AnnData:
    obs = pd.DataFrame(index=_names("cell", counts.shape[0]))
    return anndata.AnnData(
        counts.copy(), obs=obs, var=pd.DataFrame(index=_names(prefix, counts.shape[1]))
    )


def _mdata(paired: Paired) -> mudata.MuData:
    return mudata.MuData({"rna": _rna(paired), "atac": _atac(paired)})


def _as_proportions(values: np.ndarray) -> np.ndarray:
    """Rows scaled to sum to one, in place where possible."""
    values = np.asarray(values, dtype=np.float32)
    np.clip(values, 0, None, out=values)
    totals = values.sum(1, dtype=np.float64, keepdims=True)
    values /= np.where(totals > 0, totals, 1).astype(np.float32)
    return values


def _rates(probability: np.ndarray) -> np.ndarray:
    """Rates of counts from probabilities of at least one count, which a Poisson count has.

    The methods that model whether a peak is seen do not model how often; proportions of counts
    need rates, and p itself would make them of the frequent peaks too small.
    """
    probability = np.clip(probability, 0, 1 - 1e-6)
    return -np.log1p(-probability)


def _spectral(graph: sp.spmatrix, paired: Paired, seed: int) -> np.ndarray:
    """Spectral clusters of the scored cells with K = number of labels; -1 for the others."""
    graph = sp.csr_matrix(graph, dtype=np.float64)[paired.scored][:, paired.scored]
    graph = graph.maximum(graph.T)
    clusters = np.full(len(paired.labels), -1)
    model = SpectralClustering(paired.n_labels, affinity="precomputed", random_state=seed)
    clusters[paired.scored] = model.fit_predict(graph)
    return clusters


# ---- scMVP


def _fit_scmvp(paired: Paired, seed: int, options: dict[str, Any]) -> scmvp.SCMVP:
    from scmvp.options import ModelOptions

    # those of the class first, then those of the network; the rest is for the training
    training = dict(options)
    own = {
        name: training.pop(name)
        for name in ("preset", "n_latent", "n_clusters")
        if name in training
    }
    fields = {field.name for field in dataclasses.fields(ModelOptions)}
    network = {name: training.pop(name) for name in [*training] if name in fields}
    own = {"n_clusters": paired.n_labels} | own
    model = scmvp.SCMVP(_mdata(paired), min_cells=0, options=network, **own)
    return model.train(**{"seed": seed, "threads": 1, "progress": False} | training)


def _embed_scmvp(paired: Paired, seed: int, options: dict[str, Any]) -> list[Result]:
    model = _fit_scmvp(paired, seed, options)
    summary = model.summary()
    scores = {name: summary[name] for name in ("n_clusters_used", "epochs", "best_epoch", "elbo")}
    results = []
    for modality in ("joint", "rna", "atac"):
        name = "scmvp" if modality == "joint" else f"scmvp-{modality}"
        z = model.get_latent_representation(modality=modality)
        results.append(Result(name, z, scores=scores if modality == "joint" else {}))
        results.append(Result(f"{name}-argmax", clusters=model.responsibilities(z).argmax(1)))
    return results


def _impute_scmvp(paired: Paired, seed: int, options: dict[str, Any]) -> Proportions:
    model = _fit_scmvp(paired, seed, options)
    z = model.get_latent_representation()
    return {modality: _as_proportions(model.decode(z, modality)) for modality in ("rna", "atac")}


# ---- linear baselines


@dataclass
class _Linear:
    """Scores of the cells, (cells, D), and how to get back to rates."""

    z: np.ndarray
    rates: Callable[[], np.ndarray]


def _pca(x: sp.csr_matrix, n: int, seed: int) -> _Linear:
    """PCA of log(1 + counts per 10,000)."""
    logs = sp.diags(1e4 / np.asarray(x.sum(1)).ravel()) @ x
    logs = np.log1p(logs.toarray().astype(np.float32))
    mean = logs.mean(0)
    u, s, v = randomized_svd(logs - mean, n, random_state=seed)
    return _Linear(u * s, lambda: np.expm1((u * s) @ v + mean))


def _lsi(y: sp.csr_matrix, n: int, seed: int) -> _Linear:
    """SVD of log(1 + 10,000 tf idf); the first component, which is depth, is not in `z`."""
    idf = y.shape[0] / (1 + np.asarray(y.sum(0)).ravel())
    tfidf = (sp.diags(1e4 / np.asarray(y.sum(1)).ravel()) @ y @ sp.diags(idf)).tocsr()
    tfidf = np.log1p(tfidf).astype(np.float32)
    u, s, v = randomized_svd(tfidf, n + 1, random_state=seed)
    idf = idf.astype(np.float32)
    # no entry of TF-IDF reaches e^20
    return _Linear((u * s)[:, 1:], lambda: np.expm1(np.clip((u * s) @ v, 0, 20)) / idf)


def _pca_and_lsi(paired: Paired, n: int, seed: int) -> np.ndarray:
    """Both blocks side by side, each of the same total variance."""
    blocks = [_pca(paired.x, n, seed).z, _lsi(paired.y, n, seed).z]
    return np.hstack([block / np.linalg.norm(block) for block in blocks])


def _linear(name: str, n: int) -> Method:
    def embed(paired: Paired, seed: int, options: dict[str, Any]) -> list[Result]:
        if name == "pca":
            z = _pca(paired.x, n, seed).z
        elif name == "lsi":
            z = _lsi(paired.y, n, seed).z
        else:
            z = _pca_and_lsi(paired, n, seed)
        return [Result(f"{name}{n}", z)]

    def impute(paired: Paired, seed: int, options: dict[str, Any]) -> Proportions:
        if name == "pca":
            return {"rna": _as_proportions(_pca(paired.x, n, seed).rates())}
        return {"atac": _as_proportions(_lsi(paired.y, n, seed).rates())}

    return Method(embed, impute if name != "pca+lsi" and n == 10 else None)


def _pooled(paired: Paired, weights: sp.csr_matrix) -> Proportions:
    """Proportions of the summed counts of groups of cells; `weights` is cells x cells, 0 or 1."""
    return {
        "rna": _as_proportions((weights @ paired.x).toarray()),
        "atac": _as_proportions((weights @ paired.y).toarray()),
    }


def _impute_knn(paired: Paired, seed: int, options: dict[str, Any]) -> Proportions:
    z = _pca_and_lsi(paired, 10, seed)
    return _pooled(paired, NearestNeighbors(n_neighbors=30).fit(z).kneighbors_graph(z))


def _impute_other_cells(paired: Paired, seed: int, options: dict[str, Any]) -> Proportions:
    """As `_impute_knn`, without the cell itself."""
    z = _pca_and_lsi(paired, 10, seed)
    return _pooled(paired, NearestNeighbors(n_neighbors=30).fit(z).kneighbors_graph())


def _impute_own_counts(paired: Paired, seed: int, options: dict[str, Any]) -> Proportions:
    """No profile of a population: what the counts of a cell tell of its own held-out counts."""
    return _pooled(paired, sp.identity(len(paired.labels), np.float32, "csr"))


def _impute_clusters(paired: Paired, seed: int, options: dict[str, Any]) -> Proportions:
    z = _pca_and_lsi(paired, 10, seed)
    found = KMeans(paired.n_labels, n_init=10, random_state=seed).fit_predict(z)
    member = sp.csr_matrix(np.eye(paired.n_labels, dtype=np.float32)[found])
    return {
        modality: _as_proportions((member.T @ counts).toarray())[found]
        for modality, counts in (("rna", paired.x), ("atac", paired.y))
    }


def _impute_means(paired: Paired, seed: int, options: dict[str, Any]) -> Proportions:
    means = {"rna": paired.x.sum(0), "atac": paired.y.sum(0)}
    n_cells = len(paired.labels)
    return {
        modality: np.repeat(_as_proportions(np.asarray(mean)), n_cells, axis=0)
        for modality, mean in means.items()
    }


def _embed_labels_known(paired: Paired, seed: int, options: dict[str, Any]) -> list[Result]:
    """No peer: the label that naive Bayes gives a cell given those of nine tenths of all cells.

    Where a method without labels is as good, little is left to find.
    """
    counts = sp.hstack([paired.x, paired.y], "csr")
    folds = StratifiedKFold(10, shuffle=True, random_state=seed)
    predicted = cross_val_predict(MultinomialNB(), counts, paired.labels, cv=folds)
    accuracy = float((predicted == paired.labels)[paired.scored].mean())
    return [Result("labels-known", clusters=predicted, scores={"accuracy": accuracy})]


# ---- scvi-tools

_TRAIN = {"accelerator": "auto", "devices": 1, "enable_progress_bar": False}
# scVI's profile is the mean over this many samples of z; the other models take the mean of z.
_SAMPLES = 25


def _scvi(seed: int):
    import scvi
    import torch

    torch.set_num_threads(1)
    scvi.settings.seed = seed
    return scvi


def multivi(mdata: mudata.MuData, seed: int, **setup: Any):
    """A model of all modalities of the cells, before its training; `setup`: of setup_mudata()."""
    model_class = _scvi(seed).model.MULTIVI
    layers = {f"{name}_layer": name for name in mdata.mod}
    model_class.setup_mudata(mdata, modalities=layers, **setup)
    return model_class(mdata, n_genes=mdata["rna"].n_vars, n_regions=mdata["atac"].n_vars)


def _fit_multivi(paired: Paired, seed: int):
    model = multivi(_mdata(paired), seed)
    model.train(**_TRAIN)
    return model


def _fit_scvi(paired: Paired, seed: int):
    return _fit_alone("SCVI", _rna(paired), seed)


def _fit_peakvi(paired: Paired, seed: int):
    # PeakVI (as MultiVI) models whether a count is above zero: counts are what it documents.
    return _fit_alone("PEAKVI", _atac(paired), seed)


def _fit_alone(name: str, adata: anndata.AnnData, seed: int):
    model_class = getattr(_scvi(seed).model, name)
    model_class.setup_anndata(adata)
    model = model_class(adata)
    model.train(**_TRAIN)
    return model


def _accessibility(model) -> np.ndarray:
    # With the factors of cell and region these are the probabilities the model has of seeing the
    # peak; without them they are not comparable with counts.
    probability = model.get_normalized_accessibility(
        normalize_cells=True, normalize_regions=True, return_numpy=True
    )
    return _as_proportions(_rates(probability))


def _deep(name: str, fit: Callable) -> Callable[[Paired, int, dict[str, Any]], list[Result]]:
    def embed(paired: Paired, seed: int, options: dict[str, Any]) -> list[Result]:
        model = fit(paired, seed)
        epochs = len(model.history["elbo_train"])
        return [Result(name, model.get_latent_representation(), scores={"epochs": epochs})]

    return embed


def _impute_multivi(paired: Paired, seed: int, options: dict[str, Any]) -> Proportions:
    model = _fit_multivi(paired, seed)
    rna = model.get_normalized_expression(return_numpy=True)
    return {"rna": _as_proportions(rna), "atac": _accessibility(model)}


def _impute_scvi(paired: Paired, seed: int, options: dict[str, Any]) -> Proportions:
    model = _fit_scvi(paired, seed)
    rna = model.get_normalized_expression(n_samples=_SAMPLES, return_mean=True, return_numpy=True)
    return {"rna": _as_proportions(rna)}


def _impute_peakvi(paired: Paired, seed: int, options: dict[str, Any]) -> Proportions:
    return {"atac": _accessibility(_fit_peakvi(paired, seed))}


# ---- muon: MOFA+ and weighted nearest neighbors


def preprocessed(mdata: mudata.MuData) -> mudata.MuData:
    """Log-normalized RNA with 'highly_variable' and TF-IDF ATAC, as in muon's tutorials."""
    import muon
    import scanpy as sc

    rna, atac = mdata["rna"], mdata["atac"]
    sc.pp.normalize_total(rna, target_sum=1e4)
    sc.pp.log1p(rna)
    sc.pp.highly_variable_genes(rna, min_mean=0.02, max_mean=4, min_disp=0.5)
    sc.pp.scale(rna, max_value=10)
    muon.atac.pp.tfidf(atac, scale_factor=1e4)
    return mdata


def _embed_mofa(paired: Paired, seed: int, options: dict[str, Any]) -> list[Result]:
    import muon

    mdata = preprocessed(_mdata(paired))
    with tempfile.TemporaryDirectory() as folder:
        outfile = os.path.join(folder, "mofa.hdf5")
        # of all features: the tutorials' thresholds leave sparse cells hardly a variable peak
        muon.tl.mofa(mdata, use_var=None, n_factors=10, gpu_mode=False, seed=seed, outfile=outfile)
    return [Result("mofa", mdata.obsm["X_mofa"])]


def pca_and_lsi_muon(mdata: mudata.MuData, seed: int) -> dict[str, np.ndarray]:
    """20 components of the RNA and 2 to 31 of the ATAC of `preprocessed` cells, by modality."""
    import muon
    import scanpy as sc

    sc.tl.pca(mdata["rna"], svd_solver="arpack", random_state=seed)
    np.random.seed(seed)  # the start of the SVD of lsi
    muon.atac.tl.lsi(mdata["atac"])
    return {"rna": mdata["rna"].obsm["X_pca"][:, :20], "atac": mdata["atac"].obsm["X_lsi"][:, 1:31]}


def add_wnn(mdata: mudata.MuData, latents: dict[str, np.ndarray], seed: int) -> None:
    """Add muon's graph of weighted nearest neighbors, obsp['wnn_connectivities']."""
    import muon
    import scanpy as sc

    for modality, z in latents.items():
        adata = mdata[modality]
        adata.obsm["X_own"] = z
        # muon's documentation asks for it, to be as near to Seurat's as possible
        muon.pp.l2norm(adata, rep="X_own")
        sc.pp.neighbors(adata, n_neighbors=10, use_rep="X_own", random_state=seed)
    n_candidates = min(200, mdata.n_obs - 1)
    muon.pp.neighbors(mdata, key_added="wnn", n_multineighbors=n_candidates, random_state=seed)


def wnn_muon(paired: Paired, seed: int) -> mudata.MuData:
    """The cells with their graph of weighted nearest neighbors."""
    mdata = preprocessed(_mdata(paired))
    add_wnn(mdata, pca_and_lsi_muon(mdata, seed), seed)
    return mdata


def _embed_wnn_muon(paired: Paired, seed: int, options: dict[str, Any]) -> list[Result]:
    import muon

    mdata = wnn_muon(paired, seed)
    muon.tl.umap(mdata, neighbors_key="wnn", random_state=seed)
    return [
        Result("wnn-muon-umap", mdata.obsm["X_umap"]),
        Result(
            "wnn-muon-spectral",
            clusters=_spectral(mdata.obsp["wnn_connectivities"], paired, seed),
        ),
    ]


# ---- Seurat


def _embed_wnn_seurat(paired: Paired, seed: int, options: dict[str, Any]) -> list[Result]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for modality, counts in (("rna", paired.x), ("atac", paired.y)):
            scipy.io.mmwrite(folder / f"{modality}.mtx", counts.T.astype(np.int64))
        run = subprocess.run(
            ["Rscript", str(Path(__file__).with_name("wnn.R")), name, str(seed)],
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise RuntimeError(run.stderr.strip()[-500:])
        z = pd.read_csv(folder / "umap.csv").to_numpy()
        graph = scipy.io.mmread(folder / "wsnn.mtx")
    return [
        Result("wnn-seurat-umap", z),
        Result("wnn-seurat-spectral", clusters=_spectral(graph, paired, seed)),
    ]


# ---- Cobolt


def _cobolt_rates() -> Iterator[float]:
    # The tutorial's rate, and then, as its error message asks for, smaller ones.
    yield from (5e-3, 1e-3, 2e-4)


def _cobolt_cells(paired: Paired, kept: tuple = (slice(None), slice(None))):
    """Cobolt's data set; `kept`: which cells have RNA, and which ATAC."""
    from cobolt.utils import MultiomicDataset, SingleData

    cells = np.array(_names("cell", len(paired.labels)))
    counts = {"GeneExpr": paired.x, "ChromAccess": paired.y}
    return MultiomicDataset.from_singledata(
        *(
            SingleData(modality, "cells", np.array(_names("f", m.shape[1])), m[these], cells[these])
            for (modality, m), these in zip(counts.items(), kept, strict=True)
        )
    )


def _fit_cobolt(dataset, seed: int):
    """A fitted model, and the learning rate that did not diverge."""
    import torch
    from cobolt.model import Cobolt

    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for rate in _cobolt_rates():
        torch.manual_seed(seed)
        np.random.seed(seed)
        model = Cobolt(dataset=dataset, lr=rate, n_latent=10, device=device)
        try:
            model.train(num_epochs=100)
            return model, rate
        except ValueError as error:
            if "DIVERGED" not in str(error):
                raise
    raise RuntimeError("diverged at each of the learning rates")


def _cobolt_latent(model) -> np.ndarray:
    """In the order of the cells, whose names sort in it."""
    model.calc_all_latent()
    return model.latent["latent"][np.argsort(model.latent["barcode"].astype(str))]


def _embed_cobolt(paired: Paired, seed: int, options: dict[str, Any]) -> list[Result]:
    model, rate = _fit_cobolt(_cobolt_cells(paired), seed)
    return [Result("cobolt", _cobolt_latent(model), scores={"learning_rate": rate})]


# ---- methods in environments of their own


def _elsewhere(name: str, *packages: str) -> Method:
    def embed(paired: Paired, seed: int, options: dict[str, Any]) -> list[Result]:
        fitted = elsewhere.fit(name, paired, seed)
        results = [Result(name, fitted.z, scores=fitted.scores)]
        if "clusters" in fitted.arrays:
            results.append(Result(f"{name}-own", clusters=fitted.arrays["clusters"]))
        return results

    return Method(embed, packages=packages, home=name)


# Cheap ones first: an interrupted run then has the most.
METHODS: dict[str, Method] = {
    "feature-means": Method(impute=_impute_means),
    "pca10": _linear("pca", 10),
    "pca50": _linear("pca", 50),
    "lsi10": _linear("lsi", 10),
    "lsi50": _linear("lsi", 50),
    "pca+lsi10": _linear("pca+lsi", 10),
    "pca+lsi50": _linear("pca+lsi", 50),
    "labels-known": Method(_embed_labels_known, packages=("scikit-learn",)),
    "knn30": Method(impute=_impute_knn),
    "knn30-others": Method(impute=_impute_other_cells),
    "own-counts": Method(impute=_impute_own_counts),
    "cluster-means": Method(impute=_impute_clusters),
    "scmvp": Method(_embed_scmvp, _impute_scmvp, ("scmvp", "torch"), takes_options=True),
    "wnn-muon": Method(_embed_wnn_muon, packages=("muon", "scanpy", "umap-learn")),
    "wnn-seurat": Method(_embed_wnn_seurat, packages=()),
    "snapatac2": _elsewhere("snapatac2", "snapatac2"),
    "mofa": Method(_embed_mofa, packages=("mofapy2", "muon", "scanpy")),
    "scvi": Method(_deep("scvi", _fit_scvi), _impute_scvi, ("scvi-tools", "torch")),
    "peakvi": Method(_deep("peakvi", _fit_peakvi), _impute_peakvi, ("scvi-tools", "torch")),
    "scmdc": _elsewhere("scmdc", "scMDC", "torch", "scanpy"),
    "cobolt": Method(_embed_cobolt, packages=("cobolt", "torch")),
    "multivi": Method(_deep("multivi", _fit_multivi), _impute_multivi, ("scvi-tools", "torch")),
    "midas": _elsewhere("midas", "scmidas", "torch"),
}
