"""Figures of docs/accuracy.csv: clusters, neighbors, imputation, calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from style import METHODS, dots, panels, save

DATA = {
    "multiome_pbmc2k": "blood",
    "multiome_pbmc2k@0.2": "blood, a fifth\nof the counts",
    "snare_cortex": "cortex",
    "scicar_a549": "treatment course",
    "sccat_celllines": "cell lines",
}
SIMULATIONS = {
    "sim_medium": "medium",
    "sim_sparse": "sparse",
    "sim_hard": "hard",
    "sim_faint": "faint",
    "sim_subtle": "subtle",
    "sim_rna": "RNA only",
    "sim_atac": "ATAC only",
    "sim_together": "together",
}
# Each method at the better of its settings, as a user would choose it who knew the labels.
VARIANTS = {
    "scMVP": ("scmvp-argmax",),
    "scMVP, k-means": ("scmvp",),
    "WNN": ("wnn-seurat-spectral", "wnn-muon-spectral", "wnn-seurat-umap", "wnn-muon-umap"),
    "PCA + LSI": ("pca+lsi10", "pca+lsi50"),
    "PCA (RNA)": ("pca10", "pca50"),
    "LSI (ATAC)": ("lsi10", "lsi50"),
    "SnapATAC2": ("snapatac2",),
    "Cobolt": ("cobolt",),
    "MOFA+": ("mofa",),
    "MultiVI": ("multivi",),
    "scVI (RNA)": ("scvi",),
    "PeakVI (ATAC)": ("peakvi",),
}
LABELED = {"naive Bayes, given labels": ("labels-known",)}
IMPUTATION = {
    "scMVP": ("scmvp",),
    "30 nearest neighbors": ("knn30",),
    "cluster means": ("cluster-means",),
    "PCA (RNA)": ("pca10",),
    "LSI (ATAC)": ("lsi10",),
    "scVI (RNA)": ("scvi",),
    "PeakVI (ATAC)": ("peakvi",),
    "MultiVI": ("multivi",),
}


def scores(rows: pd.DataFrame, data: str, metric: str, variants: dict) -> dict[str, np.ndarray]:
    """Values over seeds by method, of its variant with the largest mean."""
    chosen = rows[(rows["data"] == data) & (rows["metric"] == metric)]
    found = {}
    for name, members in variants.items():
        each = [chosen.loc[chosen["method"] == member, "value"].to_numpy() for member in members]
        each = [values for values in each if len(values)]
        if each:
            found[name] = max(each, key=np.mean)
    return found


def grid(rows: pd.DataFrame, data: dict, metric: str, variants: dict, label: str) -> tuple:
    """Panels in rows of four, one for each data set."""
    columns = min(4, len(data))
    lines = -(-len(data) // columns)
    figure, axes = panels(columns, rows=lines, height=0.4 + 2.4 * lines, sharey=True)
    for place, (name, title) in zip(axes.flat, data.items(), strict=False):
        dots(place, list(variants), scores(rows, name, metric, variants), label)
        place.set_title(title)
    for place in axes.flat[len(data) :]:
        place.set_visible(False)
    return figure, axes


def clusters(rows: pd.DataFrame, folder: Path) -> None:
    """ARI of the clusters, on real and on simulated cells."""
    variants = VARIANTS | LABELED
    real = {name: title for name, title in DATA.items() if name != "sccat_celllines"}
    for name, data in (("clusters", real), ("clusters_simulated", SIMULATIONS)):
        figure, axes = grid(rows, data, "ari", variants, "ARI")
        for place in axes.flat:
            place.set_xlim(-0.05, 1.05)
            place.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        save(figure, folder, name)


def neighbors(rows: pd.DataFrame, folder: Path) -> None:
    """Accuracy of the labels of the 15 nearest neighbors, on real cells."""
    variants = {"scMVP": ("scmvp",), "WNN": ("wnn-seurat-umap", "wnn-muon-umap")} | {
        name: members for name, members in VARIANTS.items() if not name.startswith(("scMVP", "WNN"))
    }
    real = {name: title for name, title in DATA.items() if name != "sccat_celllines"}
    figure, axes = grid(rows, real, "knn", variants, "accuracy")
    for place in axes.flat:
        place.set_xlim(0.38, 1)
        place.set_xticks([0.4, 0.6, 0.8, 1], ["0.4", "0.6", "0.8", "1"])
    save(figure, folder, "neighbors")


def imputation(rows: pd.DataFrame, folder: Path) -> None:
    """Gain of held-out counts over the feature means, RNA above ATAC."""
    data = {
        "multiome_pbmc2k": "blood",
        "snare_cortex": "cortex",
        "sim_medium": "simulation, medium",
        "sim_sparse": "simulation, sparse",
    }
    figure, axes = panels(4, rows=2, height=4.6, sharey="row")
    for line, (metric, word) in enumerate((("gain_rna", "RNA"), ("gain_atac", "ATAC"))):
        other = "ATAC" if word == "RNA" else "RNA"
        methods = {name: of for name, of in IMPUTATION.items() if f"({other})" not in name}
        for place, (name, title) in zip(axes[line], data.items(), strict=True):
            dots(
                place, list(methods), scores(rows, name, metric, methods), f"{word}, nats per count"
            )
            place.axvline(0, color="0.6", linewidth=0.8)
            if line == 0:
                place.set_title(title)
    save(figure, folder, "imputation")


def calibration(rows: pd.DataFrame, folder: Path) -> None:
    """Observed against expected held-out ATAC counts of blood, in ten bins."""
    names = IMPUTATION | {"feature means": ("feature-means",)}
    chosen = rows[
        (rows["data"] == "multiome_pbmc2k")
        & rows["metric"].str.match(r"calibration_(pred|obs)_\d+$")
    ]
    figure, axes = panels(1, width=4.6, height=4)
    place = axes[0, 0]
    for name, members in names.items():
        means = chosen[chosen["method"].isin(members)].groupby("metric")["value"].mean()
        if means.empty:
            continue
        pairs = [(means[f"calibration_pred_{i}"], means[f"calibration_obs_{i}"]) for i in range(10)]
        # less than one count in the sample cannot be told from zero
        pairs = [pair for pair in pairs if min(pair) > 1e-5]
        color, marker = METHODS[name]
        place.plot(
            *zip(*pairs, strict=True), color=color, marker=marker, markersize=4, linewidth=1,
            label=name,
        )  # fmt: skip
    place.set(xscale="log", yscale="log")
    place.set(xlabel="expected held-out count per cell and peak", ylabel="observed count")
    ends = place.get_xlim()
    place.plot(ends, ends, color="0.6", linewidth=0.8, zorder=0)
    place.legend(fontsize=8, frameon=False)
    save(figure, folder, "calibration_multiome_pbmc2k")


def draw(rows: pd.DataFrame, folder: Path) -> None:
    """All figures of this file; `rows` are those without options of a method."""
    for figure in (clusters, neighbors, imputation, calibration):
        figure(rows, folder)
