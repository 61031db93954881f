"""Scores of embeddings, clusterings and imputed profiles."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp
from data import Paired
from sklearn.cluster import KMeans
from sklearn.metrics import (
    adjusted_rand_score,
    average_precision_score,
    normalized_mutual_info_score,
    silhouette_score,
)
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

N_NEIGHBORS = 15
N_FOLDS = 5
LINK_WINDOW = 100_000
MEAN_WEIGHTS = (0.001, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7)
N_BINS = 10
N_SAMPLED = 500_000


def of_embedding(z: np.ndarray, paired: Paired, seed: int) -> dict[str, float]:
    """Scores of an embedding against the labels, on the scored cells.

    Args:
        z: (cells, D).
        paired: The cells.
        seed: Of k-means and of the folds.

    Returns:
        'ari' and 'nmi' of k-means with k = number of labels, 'knn' accuracy, 'silhouette'.
    """
    labels, z = paired.labels[paired.scored], np.asarray(z)[paired.scored]
    found = KMeans(paired.n_labels, n_init=10, random_state=seed).fit_predict(z)
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    names, n_cells = np.unique(labels, return_counts=True)
    enough = np.isin(labels, names[n_cells >= N_FOLDS])
    classifier = KNeighborsClassifier(N_NEIGHBORS)
    accuracy = cross_val_score(classifier, z[enough], labels[enough], cv=folds)
    return {
        "ari": adjusted_rand_score(labels, found),
        "nmi": normalized_mutual_info_score(labels, found),
        "knn": float(accuracy.mean()),
        "silhouette": float(silhouette_score(z, labels)),
    }


def of_clusters(clusters: np.ndarray, paired: Paired) -> dict[str, float]:
    """Scores of clusters that a method makes itself; (cells,), those not scored are ignored."""
    labels, found = paired.labels[paired.scored], np.asarray(clusters)[paired.scored]
    return {
        "ari": adjusted_rand_score(labels, found),
        "nmi": normalized_mutual_info_score(labels, found),
        "n_clusters": len(np.unique(found)),
    }


def of_imputation(
    proportions: dict[str, np.ndarray],
    training: Paired,
    held_out: dict[str, sp.csr_matrix],
    seed: int,
) -> dict[str, float]:
    """Scores of imputed profiles.

    Args:
        proportions: By modality (or only one of them) the imputed proportions of the features in
            the counts of each cell, (cells, features), rows summing to one.
        training: What the profiles were imputed from.
        held_out: By modality, counts of the same cells and features.
        seed: Of the entries drawn for the calibration.

    Returns:
        'gain_rna', 'gain_atac': held-out log-likelihood, nats per held-out count above the feature
        means. On simulations 'truth_rna', 'truth_atac': correlation with the true proportion, mean
        over marker features; 'links': average precision of the true peak-gene links.
        'calibration_*'.
    """
    scores = {}
    for modality, proportion in proportions.items():
        counts = training.x if modality == "rna" else training.y
        scores[f"gain_{modality}"] = gain(proportion, counts, held_out[modality])
        if training.truth is not None:
            marker = np.flatnonzero(training.truth[modality].marker)
            true = training.truth[modality].proportions(marker)
            scores[f"truth_{modality}"] = float(_correlations(proportion[:, marker], true).mean())
    if "atac" in proportions:
        scores |= calibration(proportions["atac"], held_out["atac"], seed)
    if training.links is not None and {"rna", "atac"} <= proportions.keys():
        scores["links"] = link_precision(proportions["rna"], proportions["atac"], training)
    return scores


def gain(proportion: np.ndarray, training: sp.csr_matrix, held_out: sp.csr_matrix) -> float:
    """Poisson log-likelihood of held-out counts in nats per count above that of the feature means.

    A cell's rates are its proportions times its held-out library. As the rates of a cell then have
    the same sum under any proportions, only the logarithms at the held-out counts remain. The
    proportions are mixed with the feature means by whichever of a few weights is best, for every
    method alike: a proportion of zero at one count would make the sum infinite.
    """
    mean = np.asarray(training.sum(0), dtype=np.float64).ravel() + 0.5
    mean /= mean.sum()
    entries = held_out.tocoo()
    ratio = proportion[entries.row, entries.col].astype(np.float64) / mean[entries.col]
    return max(
        float((entries.data * np.log((1 - weight) * ratio + weight)).sum() / entries.data.sum())
        for weight in MEAN_WEIGHTS
    )


def calibration(proportion: np.ndarray, held_out: sp.csr_matrix, seed: int) -> dict[str, float]:
    """Expected against observed held-out counts in bins of the expected one.

    Returns:
        Means of bin i, counts per cell and peak, in 'calibration_pred_i' and 'calibration_obs_i',
        and 'calibration_error': sum of |observed - predicted| over the sum of the observed.
    """
    rng = np.random.default_rng(seed)
    rows = rng.integers(proportion.shape[0], size=N_SAMPLED)
    columns = rng.integers(proportion.shape[1], size=N_SAMPLED)
    library = np.asarray(held_out.sum(1), dtype=np.float64).ravel()
    predicted = proportion[rows, columns] * library[rows]
    observed = np.asarray(held_out[rows, columns]).ravel()
    bins = np.array_split(np.argsort(predicted, kind="stable"), N_BINS)
    pairs = np.array([(predicted[bin_].mean(), observed[bin_].mean()) for bin_ in bins])
    scores = {f"calibration_pred_{i}": float(pred) for i, (pred, _) in enumerate(pairs)}
    scores |= {f"calibration_obs_{i}": float(obs) for i, (_, obs) in enumerate(pairs)}
    error = np.abs(pairs[:, 1] - pairs[:, 0]).sum() / pairs[:, 1].sum()
    return scores | {"calibration_error": float(error)}


def link_precision(rna: np.ndarray, atac: np.ndarray, paired: Paired) -> float:
    """Average precision of the true links among all pairs within 100 kb.

    A pair's score is the correlation over cells of its imputed gene and imputed peak.
    """
    gene, peak = _pairs_within(paired.genes, paired.peaks, LINK_WINDOW)
    names = list(zip(paired.genes.index[gene], paired.peaks.index[peak], strict=True))
    links = set(zip(paired.links["gene"], paired.links["peak"], strict=True))
    true = np.array([pair in links for pair in names])
    return float(average_precision_score(true, _correlations(rna[:, gene], atac[:, peak])))


def _pairs_within(
    genes: pd.DataFrame, peaks: pd.DataFrame, window: int
) -> tuple[np.ndarray, np.ndarray]:
    near = [
        (gene, peak)
        for gene, (chrom, position) in enumerate(
            zip(genes["chrom"], genes["position"], strict=True)
        )
        for peak in np.flatnonzero(
            (peaks["chrom"].to_numpy() == chrom)
            & (np.abs(peaks["position"].to_numpy() - position) <= window)
        )
    ]
    return tuple(np.array(near).T)


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson correlation of each column with its counterpart; 0 where one does not vary."""
    centered = [np.asarray(m, np.float64) - m.mean(0, dtype=np.float64) for m in (first, second)]
    scale = np.sqrt((centered[0] ** 2).sum(0) * (centered[1] ** 2).sum(0))
    product = (centered[0] * centered[1]).sum(0)
    return np.divide(product, scale, out=np.zeros_like(product), where=scale > 1e-20)
