"""Cells of which one modality is hidden: where they are put, and what is predicted of it.

A third of the cells keep both modalities, a third RNA alone, a third ATAC alone.

foscttm     unimodal cells, embedded from it and, by the same model, from the hidden one:
            the part of other cells that are nearer than the cell itself (0: none)
transfer    accuracy of their types, taken from paired cells by 15 nearest neighbors
gain_*      held-out log-likelihood of the hidden counts, nats per count above the feature means
truth_*     on simulations, correlation over cells with the true profile, mean over markers
auprc_atac  average precision of the hidden peaks, over cells and 500 peaks that vary most
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import elsewhere
import methods
import metrics
import numpy as np
import scipy.sparse as sp
from data import SEED, Paired
from data import load as load_paired
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier

import scmvp

DATA = ("sim_sparse", "multiome_pbmc2k")
N_PEAKS = 500


@dataclass
class Mosaic:
    """Paired cells and which of them keep what: 0 both modalities, 1 RNA, 2 ATAC."""

    paired: Paired
    part: np.ndarray

    def shown(self) -> Paired:
        """The counts without those that are hidden."""
        return self._without(rna=2, atac=1)

    def hidden(self) -> Paired:
        """The counts that are hidden; paired cells have both."""
        return self._without(rna=1, atac=2)

    def _without(self, rna: int, atac: int) -> Paired:
        """No counts of a modality in the cells of one part."""
        kept = []
        for part, counts in ((rna, self.paired.x), (atac, self.paired.y)):
            here = sp.diags((self.part != part).astype(np.float32))
            kept.append(sp.csr_matrix(here @ counts))
            kept[-1].eliminate_zeros()
        return replace(self.paired, x=kept[0], y=kept[1])


@dataclass
class Found:
    """z (cells, D) for RNA and for ATAC cells, z from what is hidden, and proportions by modality.

    Cobolt predicts no counts: it has no proportions.
    """

    z: dict[str, np.ndarray]
    z_hidden: np.ndarray | None
    proportions: dict[str, np.ndarray]


def load(name: str, folder: Path) -> Mosaic:
    """Cells with a part hidden, the same for all methods and seeds."""
    paired = load_paired(name, folder)
    part = np.random.default_rng(SEED).integers(0, 3, len(paired.labels))
    return Mosaic(paired, part)


def scored(mosaic: Mosaic, found: Found, seed: int) -> dict:
    """All scores of one fit."""
    paired, part = mosaic.paired, mosaic.part
    alone, scores = part > 0, {}
    if found.z_hidden is not None:
        one, other = found.z["rna"][alone], found.z_hidden[alone]
        scores["foscttm"] = _foscttm(one, other)
    known = (part == 0) & paired.scored
    for name, number in (("rna", 1), ("atac", 2)):
        these, z = (part == number) & paired.scored, found.z[name]
        classifier = KNeighborsClassifier(15).fit(z[known], paired.labels[known])
        scores[f"transfer_{name}"] = classifier.score(z[these], paired.labels[these])
    shown = mosaic.shown()
    for modality, absent in (("rna", 2), ("atac", 1)):
        if modality not in found.proportions:
            continue
        these = np.flatnonzero(part == absent)
        counts, seen = (paired.x, shown.x) if modality == "rna" else (paired.y, shown.y)
        proportion = found.proportions[modality][these]
        scores[f"gain_{modality}"] = metrics.gain(proportion, seen, counts[these].tocsr())
        if paired.truth is not None:
            truth = paired.truth[modality]
            marker = np.flatnonzero(truth.marker)
            true = truth.proportions(marker)[these]
            correlation = metrics._correlations(proportion[:, marker], true)
            scores[f"truth_{modality}"] = float(correlation.mean())
        if modality == "atac":
            often = np.asarray((seen > 0).mean(0)).ravel()
            chosen = np.argsort(-often * (1 - often))[:N_PEAKS]
            library = np.asarray(counts[these].sum(1))
            observed = counts[these][:, chosen].toarray() > 0
            expected = proportion[:, chosen] * library
            scores["auprc_atac"] = float(
                average_precision_score(observed.ravel(), expected.ravel())
            )
    return scores


def _foscttm(one: np.ndarray, other: np.ndarray) -> float:
    """Fraction of samples closer than the true match, mean over both directions."""
    square = (one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T
    true = np.diag(square)
    return float(((square < true[:, None]).mean() + (square < true[None]).mean()) / 2)


def _scmvp(mosaic: Mosaic, seed: int) -> Found:
    shown = mosaic.shown()
    model = scmvp.SCMVP(methods._mdata(shown), n_clusters=shown.n_labels, min_cells=0)
    model.train(seed=seed, threads=1, progress=False)
    z = model.get_latent_representation()
    proportions = {
        modality: methods._as_proportions(model.decode(z, modality)) for modality in ("rna", "atac")
    }
    z_hidden = model.get_latent_representation(methods._mdata(mosaic.hidden()))
    return Found({"rna": z, "atac": z}, z_hidden, proportions)


def _multivi(mosaic: Mosaic, seed: int) -> Found:
    """As its tutorial for missing modalities: which are there is the batch."""

    def cells(paired: Paired, part: np.ndarray):
        mdata = methods._mdata(paired)
        names = np.array(["paired", "rna", "atac"])[part]
        mdata.obs["modality"] = mdata["rna"].obs["modality"] = names
        return mdata

    mdata = cells(mosaic.shown(), mosaic.part)
    model = methods.multivi(mdata, seed, batch_key="modality")
    model.train(**methods._TRAIN)
    other = cells(mosaic.hidden(), np.array([0, 2, 1])[mosaic.part])
    other.obs["_indices"] = np.arange(other.n_obs)  # which setup_mudata makes
    rna = model.get_normalized_expression(return_numpy=True)
    z = model.get_latent_representation()
    return Found(
        {"rna": z, "atac": z},
        model.get_latent_representation(other),
        {"rna": methods._as_proportions(rna), "atac": methods._accessibility(model)},
    )


def _midas(mosaic: Mosaic, seed: int) -> Found:
    """In an environment of its own (bench/accuracy/peers/midas.py), which hides the counts."""
    fitted = elsewhere.fit("midas", mosaic.paired, seed, mosaic.part)
    rates = {"rna": fitted.arrays["rna"], "atac": methods._rates(fitted.arrays["atac"])}
    return Found(
        {"rna": fitted.z, "atac": fitted.z},
        fitted.arrays["z_hidden"],
        {name: methods._as_proportions(values) for name, values in rates.items()},
    )


def _cobolt(mosaic: Mosaic, seed: int) -> Found:
    """Single cells in the joint latent by its regression from their own."""
    rna, atac = mosaic.part != 2, mosaic.part != 1
    model, _ = methods._fit_cobolt(methods._cobolt_cells(mosaic.paired, (rna, atac)), seed)
    z = methods._cobolt_latent(model)
    # the same model on the other modality of each: the paired cells, and so the regression, stay
    model.dataset = methods._cobolt_cells(mosaic.paired, (atac, rna))
    return Found({"rna": z, "atac": z}, methods._cobolt_latent(model), {})


def _knn(mosaic: Mosaic, seed: int) -> Found:
    """Baseline: 30 nearest paired cells in the PCA or LSI of the modality that is there."""
    from sklearn.neighbors import NearestNeighbors

    shown, part = mosaic.shown(), mosaic.part
    paired = np.flatnonzero(part == 0)
    both = {"rna": shown.x, "atac": shown.y}
    proportions = {name: np.zeros(counts.shape, np.float32) for name, counts in both.items()}
    z = {name: np.zeros((len(part), 10)) for name in both}
    for number, counts, reduce in ((1, shown.x, methods._pca), (2, shown.y, methods._lsi)):
        these = np.flatnonzero((part == number) | (part == 0))
        scores = reduce(counts[these], 10, seed).z
        own = scores[part[these] == 0]
        here = np.flatnonzero(part[these] == number)
        near = NearestNeighbors(n_neighbors=30).fit(own).kneighbors_graph(scores[here])
        z["rna" if number == 1 else "atac"][these] = scores
        for modality, all_counts in both.items():
            pooled = (near @ all_counts[paired]).toarray()
            proportions[modality][these[here]] = methods._as_proportions(pooled)
    return Found(z, None, proportions)


METHODS = {"knn30": _knn, "scmvp": _scmvp, "cobolt": _cobolt, "multivi": _multivi, "midas": _midas}
