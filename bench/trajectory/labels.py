"""Labels of hidden cells of the 10x Multiome blood cells: accuracy, calibration, unknown types."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import data
import methods
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.extmath import randomized_svd

import scmvp

HIDDEN_PART = 0.3
# types removed from the reference, by the task that removes them: from one unlike all others to
# ones that resemble those that stay
NOVEL = {
    "novelty-B": ("naive B cells", "memory B cells"),
    "novelty-NK": ("CD56 (bright) NK cells", "CD56 (dim) NK cells"),
    "novelty-MAIT": ("MAIT T cells",),
    "novelty-monocytes": ("intermediate monocytes", "non-classical monocytes"),
    "novelty-dendritic": ("myeloid DC", "plasmacytoid DC"),
}
_K = 15

Scores = list[tuple[str, str, float]]
# label, confidence, and numbers that are larger for cells unlike the reference, by their names
Found = tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]


def transfer(seed: int, folder: Path) -> Scores:
    """Accuracy and calibration of the labels of a random third."""
    paired = data.load("multiome_pbmc2k", folder)
    rng = np.random.default_rng(seed)
    hidden = rng.random(len(paired.labels)) < HIDDEN_PART
    scores: Scores = []
    for name, (label, confidence, _) in _all(paired, ~hidden, hidden, seed):
        right = label == paired.labels[hidden]
        scores.append((name, "accuracy", right.mean()))
        scores.append((name, "calibration error", calibration_error(confidence, right)))
        scores.append((name, "mean confidence", confidence.mean()))
    return scores


def novelty(task: str, seed: int, folder: Path) -> Scores:
    """The same with types that the reference lacks: are they distinguished from the others?"""
    paired = data.load("multiome_pbmc2k", folder)
    rng = np.random.default_rng(seed)
    novel = np.isin(paired.labels, NOVEL[task])
    hidden = (rng.random(len(paired.labels)) < HIDDEN_PART) | novel
    scores: Scores = []
    for name, (label, _, unlike) in _all(paired, ~hidden, hidden, seed, True):
        for by, value in unlike.items():
            auroc = roc_auc_score(novel[hidden], value)
            scores.append((f"{name}, by {by}", "AUROC of unknown types", auroc))
        if name.startswith("scmvp"):
            off = label == "unassigned"
            name = f"{name}, by p-value"
            scores.append((name, "unassigned, unknown", off[novel[hidden]].mean()))
            scores.append((name, "unassigned, known", off[~novel[hidden]].mean()))
    return scores


def calibration_error(confidence: np.ndarray, right: np.ndarray, n_bins: int = 10) -> float:
    """Expected calibration error, in bins of equal width."""
    place = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    return sum(
        abs(confidence[place == b].mean() - right[place == b].mean()) * (place == b).mean()
        for b in np.unique(place)
    )


def _all(
    paired: data.Paired,
    known: np.ndarray,
    hidden: np.ndarray,
    seed: int,
    with_unassigned: bool = False,
) -> Iterator[tuple[str, Found]]:
    reference, query = (paired.of_cells(np.flatnonzero(part)) for part in (known, hidden))
    labels = reference.labels
    n_types = len(np.unique(labels))
    model = scmvp.SCMVP(methods._mdata(reference), n_clusters=n_types)
    model.train(seed=seed, threads=1, progress=False)
    z = model.get_latent_representation()
    for modality in ("joint", "rna", "atac"):
        of_query = model.get_latent_representation(methods._mdata(query), modality)
        own = model.get_latent_representation(modality=modality)
        table = scmvp.transfer_labels(z, labels, of_query, calibration=own)
        label = table["label" if with_unassigned else "best_label"].to_numpy()
        confidence, p = (table[column].to_numpy() for column in ("confidence", "p_value"))
        unlike = {"p-value": -p, "confidence": -confidence}
        yield f"scmvp, query {modality}", (label, confidence, unlike)
    blocks = {
        "rna": _pca(reference.x, query.x, seed),
        "atac": _lsi(reference.y, query.y, seed),
    }
    scaled = [[part / np.linalg.norm(block[0]) for part in block] for block in blocks.values()]
    blocks["joint"] = tuple(np.hstack(parts) for parts in zip(*scaled, strict=True))
    for modality, (of_reference, of_query) in blocks.items():
        name = {"rna": "PCA", "atac": "LSI", "joint": "PCA + LSI"}[modality]
        yield f"kNN in {name}, query {modality}", _knn(of_reference, labels, of_query)
    yield "Seurat TransferData, query rna", _seurat(reference, query, seed)


def _knn(z: np.ndarray, labels: np.ndarray, query: np.ndarray) -> Found:
    """Proportion of the most frequent label among 15 neighbors, and their mean distance."""
    groups, code = np.unique(labels, return_inverse=True)
    distance, near = NearestNeighbors(n_neighbors=_K).fit(z).kneighbors(query)
    proportion = np.stack([(code[near] == group).mean(1) for group in range(len(groups))], axis=1)
    unlike = {"mean distance": distance.mean(1), "confidence": -proportion.max(1)}
    return groups[proportion.argmax(1)], proportion.max(1), unlike


def _pca(x: sp.csr_matrix, query: sp.csr_matrix, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """30 components of log(1 + counts per 10,000) of the reference, and the query in them."""
    logs = [
        np.log1p((sp.diags(1e4 / np.asarray(m.sum(1)).ravel()) @ m).toarray()) for m in (x, query)
    ]
    mean = logs[0].mean(0)
    _, _, v = randomized_svd(logs[0] - mean, 30, random_state=seed)
    return tuple((part - mean) @ v.T for part in logs)


def _lsi(y: sp.csr_matrix, query: sp.csr_matrix, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Components 2 to 30 of log TF-IDF of the reference, and the query in them."""
    idf = sp.diags(y.shape[0] / (1 + np.asarray(y.sum(0)).ravel()))
    tfidf = [
        np.log1p((sp.diags(1e4 / np.asarray(m.sum(1)).ravel()) @ m @ idf).tocsr())
        for m in (y, query)
    ]
    _, _, v = randomized_svd(tfidf[0], 30, random_state=seed)
    return tuple(part @ v[1:].T for part in tfidf)


def _seurat(reference: data.Paired, query: data.Paired, seed: int) -> Found:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, paired in (("reference", reference), ("query", query)):
            scipy.io.mmwrite(folder / f"{part}.mtx", paired.x.T.astype(np.int64))
        pd.Series(reference.labels).to_csv(folder / "labels.csv", index=False, header=False)
        script = Path(__file__).with_name("transfer.R")
        run = subprocess.run(
            ["Rscript", str(script), name, str(seed)], capture_output=True, text=True
        )
        if run.returncode:
            raise RuntimeError(run.stderr.strip()[-500:])
        table = pd.read_csv(folder / "predicted.csv")
    score = table["score"].to_numpy()
    unlike = {"mapping score": -table["mapping"].to_numpy(), "confidence": -score}
    return table["label"].to_numpy(dtype=object), score, unlike
