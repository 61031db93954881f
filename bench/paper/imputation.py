"""Experiments on imputed values: cells against bulk, and markers.

Bulk samples are not at hand. In their place a half of the cells of each type is held out, and its
counts are summed; the models are fitted to the other half and never see it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import anndata
import data
import methods
import numpy as np
import pandas as pd
import scipy.sparse as sp

Score = tuple[str, str, float, str]
Scores = Iterator[tuple[str, list[Score]]]

BULK_SETS = ("multiome_pbmc2k", "snare_cortex", "scicar_a549", "sccat_celllines")
MARKER_SETS = ("multiome_pbmc2k", "snare_cortex")
MIN_HELD_OUT = 20  # cells of a type that make a bulk
BULK_PART = 0.1  # of all peaks, those with most counts of a bulk are its peaks
N_MARKERS = 50
FDR = 0.05
IMPUTED = {
    "scMVP": "scmvp",
    "scVI (RNA)": "scvi",
    "30 nearest neighbors": "knn30",
    "feature means": "feature-means",
}


def halves(paired: data.Paired, seed: int) -> tuple[data.Paired, data.Paired]:
    """Cells of types with enough of them: a half of each type to fit, and the other half."""
    rng = np.random.default_rng([data.SEED, seed])
    fitted, held_out = [], []
    for one in np.unique(paired.labels[paired.scored]):
        cells = rng.permutation(np.flatnonzero(paired.labels == one))
        if len(cells) // 2 >= MIN_HELD_OUT:
            held_out.append(cells[: len(cells) // 2])
            fitted.append(cells[len(cells) // 2 :])
    fitted = data.seen_often(paired.of_cells(np.sort(np.concatenate(fitted))))
    held_out = paired.of_cells(np.sort(np.concatenate(held_out)))
    genes = paired.genes.index.get_indexer(fitted.genes.index)
    peaks = paired.peaks.index.get_indexer(fitted.peaks.index)
    return fitted, held_out.of_features(genes, peaks)


@functools.cache
def halves_of(name: str, seed: int, folder: Path) -> tuple[data.Paired, data.Paired]:
    """The halves of a data set."""
    return halves(data.load(name, folder), seed)


@functools.cache
def imputed(method: str, name: str, seed: int, folder: Path) -> methods.Proportions:
    """What a method of bench/accuracy imputes for the half to fit; once for both experiments."""
    return methods.METHODS[method].impute(halves_of(name, seed, folder)[0], seed, {})


def logs(counts: np.ndarray | sp.csr_matrix) -> np.ndarray:
    """log(1 + counts per 10,000), dense."""
    counts = counts.toarray() if sp.issparse(counts) else counts
    return np.log1p(methods._as_proportions(np.array(counts, dtype=np.float32)) * 1e4)


def correlations(cells: np.ndarray, bulks: np.ndarray) -> np.ndarray:
    """Pearson correlation over features of each cell with each bulk, (cells, bulks)."""
    parts = []
    for values in (cells, bulks):
        values = values - values.mean(1, keepdims=True)
        parts.append(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))
    return parts[0] @ parts[1].T


def pseudobulk(seed: int, folder: Path) -> Scores:
    """Raw and imputed cells against the bulk of each type, RNA and ATAC."""
    for name in BULK_SETS:
        fitted, held_out = halves_of(name, seed, folder)
        types = np.unique(held_out.labels)
        own = np.searchsorted(types, fitted.labels)
        found = {"raw counts": {"rna": fitted.x, "atac": fitted.y}} | {
            shown: imputed(peer, name, seed, folder) for shown, peer in IMPUTED.items()
        }
        scores = []
        for modality, counts in (("rna", held_out.x), ("atac", held_out.y)):
            word = "RNA" if modality == "rna" else "ATAC"
            bulks = np.vstack([counts[held_out.labels == one].sum(0) for one in types])
            for shown, values in found.items():
                if modality in values:
                    r = correlations(logs(values[modality]), logs(np.asarray(bulks)))
                    scores += _of_bulks(shown, word, r, own)
                    if modality == "atac":
                        scores += _peaks_of_bulk(shown, values["atac"], fitted.y, bulks, own)
        yield name, scores


def _of_bulks(shown: str, word: str, r: np.ndarray, own: np.ndarray) -> list[Score]:
    """Correlation with the own bulk, and how often no other bulk is nearer."""
    right = r[np.arange(len(own)), own]
    return [
        (shown, f"{word}: correlation with the bulk of the type", float(np.median(right)), ""),
        (shown, f"{word}: own bulk is the nearest", float((r.argmax(1) == own).mean()), ""),
    ]


def _peaks_of_bulk(shown: str, values, raw: sp.csr_matrix, bulks, own: np.ndarray) -> list[Score]:
    """Peaks of the bulk among the peaks of a cell, and among the first imputed ones.

    As many imputed peaks are taken as the cell has raw ones; and then as many as have the same
    part in the bulk as the raw ones, which says how many more peaks are found.
    """
    n_top = round(BULK_PART * bulks.shape[1])
    in_bulk = np.zeros(bulks.shape, dtype=bool)
    best = np.argsort(-np.asarray(bulks), axis=1, kind="stable")[:, :n_top]
    np.put_along_axis(in_bulk, best, True, axis=1)
    part, found = np.zeros(len(own)), np.zeros(len(own))
    for cell, of in enumerate(own):
        peaks = raw[cell].indices
        raw_part = in_bulk[of, peaks].mean()
        if sp.issparse(values):
            part[cell], found[cell] = raw_part, in_bulk[of, peaks].sum()
            continue
        hits = np.cumsum(in_bulk[of, np.argsort(-values[cell], kind="stable")])
        part[cell] = hits[len(peaks) - 1] / len(peaks)
        as_good = hits >= raw_part * np.arange(1, len(hits) + 1)
        found[cell] = hits[np.flatnonzero(as_good)[-1]] if as_good.any() else 0
    return [
        (shown, "ATAC: part in the bulk of a cell's peaks", float(np.median(part)), ""),
        (shown, "ATAC: peaks of the bulk, at the raw part", float(np.median(found)), ""),
    ]


# ---- markers


def ranked(values: np.ndarray, labels: np.ndarray, names: pd.Index, test: str) -> dict:
    """By type, its table of scanpy's test against the rest, the highest score first."""
    import scanpy as sc

    cells = anndata.AnnData(
        values, obs=pd.DataFrame({"type": pd.Categorical(labels)}), var=pd.DataFrame(index=names)
    )
    cells.obs_names = cells.obs_names.astype(str)
    sc.tl.rank_genes_groups(cells, "type", method=test)
    tables = {}
    for one in np.unique(labels):
        table = sc.get.rank_genes_groups_df(cells, one)
        # scores of a rank test are equal where the cells of a type are apart from all others
        tables[one] = table.sort_values(
            ["scores", "logfoldchanges"], ascending=False, kind="stable"
        )
    return tables


def markers(seed: int, folder: Path) -> Scores:
    """Markers of held-out cells among the first markers by imputed and by raw values."""
    for name in MARKER_SETS:
        fitted, held_out = halves_of(name, seed, folder)
        tables = ranked(logs(held_out.x), held_out.labels, held_out.genes.index, "wilcoxon")
        known = {one: list(table["names"][higher(table)]) for one, table in tables.items()}
        known = {one: genes for one, genes in known.items() if genes}
        model = methods._fit_scmvp(fitted, seed, {})
        values = {
            "raw counts": logs(fitted.x),
            "imputed by scMVP": logs(model.decode(model.get_latent_representation(), "rna")),
            "imputed by scVI": logs(imputed("scvi", name, seed, folder)["rna"]),
        }
        order = {}
        for shown, of in values.items():
            for test in ("wilcoxon", "t-test"):
                tables = ranked(of, fitted.labels, fitted.genes.index, test)
                order[f"{shown}, {test}"] = {
                    one: list(table["names"]) for one, table in tables.items()
                }
            order[f"{shown}, difference of means"] = {
                one: differences(of, fitted.labels == one, fitted.genes.index)
                for one in np.unique(fitted.labels)
            }
        table = model.differential_expression(groupby=fitted.labels)
        order["scMVP's test of counts"] = {
            one: list(fitted.genes.index[own["feature"].str.removeprefix("gene").astype(int)])
            for one, own in table.groupby("group")
        }
        scores = []
        for shown, of in order.items():
            scores += found_again(shown, known, of)
        yield name, scores


def differences(values: np.ndarray, inside: np.ndarray, names: pd.Index) -> list[str]:
    """Genes by the difference of their means in a type and in the rest.

    No test: the tests divide by the variance within a type, of which imputation leaves little.
    """
    difference = values[inside].mean(0) - values[~inside].mean(0)
    return list(names[np.argsort(-difference, kind="stable")])


def higher(table: pd.DataFrame) -> pd.Series:
    """Which genes are higher in the type, at a false discovery rate of 5 %."""
    return (table["pvals_adj"] < FDR) & (table["scores"] > 0)


def found_again(
    shown: str, known: dict[str, list[str]], order: dict[str, list[str]]
) -> list[Score]:
    """Two parts of the first genes of a ranking, means over types.

    Those that are among the first held-out markers of a type (up to 50, as many genes of both),
    and those that are higher in the held-out cells of the type at all.
    """
    first, again = [], []
    for one, genes in known.items():
        n = min(len(genes), N_MARKERS)
        mine = set(order[one][:n])
        first.append(len(mine & set(genes[:n])) / n)
        again.append(len(mine & set(genes)) / n)
    return [
        (shown, "among the first markers of held-out cells", float(np.mean(first)), ""),
        (shown, "higher in held-out cells of the type", float(np.mean(again)), ""),
    ]
