"""Figures of the other CSV files: speed, number of clusters, batches, order, tests, links."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from style import BLACK, BLUE, GRAY, GREEN, METHODS, ORANGE, RED, dot, dots, panels, save

BATCH_METHODS = {
    "scmvp": "scMVP",
    "scmvp, no covariate": "scMVP, no covariate",
    "harmony": "Harmony",
    "harmony+wnn": "Harmony + WNN",
    "multivi": "MultiVI",
    "pca+lsi, no covariate": "PCA + LSI, no covariate",
}
BATCH_DATA = {
    "snare_cortex": "cortex, six batches",
    "sim_mild_batches": "simulation, sd 0.2",
    "sim_batches": "simulation, sd 0.5",
    "sim_strong_batches": "simulation, sd 1.0",
}
ORDER = {
    "scmvp": "scMVP",
    "scmvp-rna": "scMVP, RNA encoder",
    "scmvp-atac": "scMVP, ATAC encoder",
    "wnn-muon": "WNN",
    "pca+lsi10": "PCA + LSI",
    "pca10": "PCA (RNA)",
    "lsi10": "LSI (ATAC)",
}
ORDER_TASKS = {
    "path": "simulated path",
    "lead": "path, chromatin ahead",
    "course": "hour of treatment",
}
TESTS = {
    "scMVP": "scMVP",
    "Wilcoxon, counts": "Wilcoxon",
    "Wilcoxon, imputed": "Wilcoxon, imputed values",
    "scVI": "scVI",
}
COMPARISONS = {
    "type against rest": "type against\nthe rest",
    "two siblings": "two sibling types",
    "two siblings, 50 cells each": "siblings,\n50 cells each",
}


SPEED_MACHINE = "AMD EPYC, 2 cores"  # that of the text, with nothing else running


def newest_run(rows: pd.DataFrame, methods: set[str]) -> pd.DataFrame:
    """Means of the newest date on which all of these methods were measured: one run."""
    rows = rows[rows["method"].isin(methods)]
    complete = rows.groupby("date")["method"].nunique() == len(methods)
    newest = rows[rows["date"] == complete[complete].index.max()]
    return newest.groupby(["method", "metric", "cells"], as_index=False)["value"].mean()


def speed(rows: pd.DataFrame, folder: Path) -> None:
    """Seconds per epoch, seconds of a whole fit, memory of a whole fit."""
    figure, axes = panels(3, height=2.6)
    rows = rows[rows["machine"] == SPEED_MACHINE]
    epochs = rows[(rows["metric"] == "seconds_per_epoch") & (rows["cells"] == 5000)]
    place = axes[0, 0]
    for start, shape in enumerate(("full", "filtered")):
        run = newest_run(epochs[epochs["shape"] == shape], {"scMVP", "MultiVI"})
        for shift, method in enumerate(("scMVP", "MultiVI")):
            own = run.loc[run["method"] == method, "value"].item()
            at = start + 0.38 * shift - 0.19
            place.bar(at, own, 0.36, color=METHODS[method][0], label=None if start else method)
            place.text(at, own, f"{own:g}", ha="center", va="bottom", fontsize=8)
    place.set_xticks([0, 1], ["30,000 genes\n110,000 peaks", "8,000 genes\n23,000 peaks"])
    place.set_title("5,000 cells: s per epoch")
    place.legend(frameon=False, fontsize=8)
    whole = newest_run(rows[rows["shape"] == "full, whole fit"], {"scMVP", "WNN (Seurat)"})
    for place, metric, title in (
        (axes[0, 1], "seconds_in_all", "whole fit: CPU seconds"),
        (axes[0, 2], "peak_mb", "whole fit: peak memory, GB"),
    ):
        for method, color, marker in (("scMVP", BLUE, "o"), ("WNN (Seurat)", GREEN, "s")):
            own = whole[(whole["metric"] == metric) & (whole["method"] == method)]
            value = own["value"] / (1000 if metric == "peak_mb" else 1)
            place.plot(own["cells"], value, color=color, marker=marker, label=method)
        place.set(xlabel="cells", title=title, ylim=(0, None))
        place.set_xticks([2000, 5000, 10000], ["2,000", "5,000", "10,000"])
        place.legend(frameon=False, fontsize=8)
    save(figure, folder, "speed")


def n_clusters(rows: pd.DataFrame, folder: Path) -> None:
    """Estimated against true number of clusters, for three depths."""
    figure, axes = panels(3, height=2.6, sharey=True)
    for place, depth in zip(axes[0], ("deep", "medium", "sparse"), strict=True):
        own = rows[rows["depth"] == depth]
        ends = [2, 27]
        place.plot(ends, ends, color="0.6", linewidth=0.8, zorder=0)
        for shift, (column, color, marker, label) in enumerate((
            ("clusters", BLUE, "o", "BIC (default)"),
            ("rank", ORANGE, "s", "rank (preset paper)"),
        )):  # fmt: skip
            place.plot(
                own["types"] + 0.8 * shift - 0.4, own[column], linestyle="", marker=marker,
                color=color, markersize=5, alpha=0.8, label=label,
            )  # fmt: skip
        place.set(title=depth, xlabel="types in the simulation", xticks=[3, 8, 14, 25])
    axes[0, 0].set_ylabel("clusters found")
    axes[0, 0].legend(frameon=False, fontsize=8)
    save(figure, folder, "n_clusters")


def batches(rows: pd.DataFrame, folder: Path) -> None:
    """Mixing of the batches above, types across batches below."""
    rows = rows[rows["task"] == "batches"]
    figure, axes = panels(4, rows=2, height=4.2, sharey=True)
    for line, (metric, label) in enumerate((
        ("ilisi", "iLISI"), ("across", "accuracy"),
    )):  # fmt: skip
        for place, (data, title) in zip(axes[line], BATCH_DATA.items(), strict=True):
            own = rows[(rows["data"] == data) & (rows["metric"] == metric)]
            values = {
                shown: own.loc[own["method"] == name, "value"].to_numpy()
                for name, shown in BATCH_METHODS.items()
            }
            dots(place, list(values), values, label)
            place.set_xlim(-0.05, 1.05)
            place.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            place.set_title(title if line == 0 else "")
    save(figure, folder, "batches")


def unimodal(rows: pd.DataFrame, folder: Path) -> None:
    """Types of cells of one modality, from paired cells near them."""
    rows = rows[rows["task"] == "mosaic"]
    names = {
        "scmvp": "scMVP",
        "cobolt": "Cobolt",
        "multivi": "MultiVI",
        "midas": "MIDAS",
        "knn30": "30 nearest neighbors",
    }
    figure, axes = panels(4, height=2.1, sharey=True)
    places = iter(axes[0])
    for data, title in (("multiome_pbmc2k", "blood"), ("sim_sparse", "simulation")):
        for metric, word in (("transfer_rna", "RNA only"), ("transfer_atac", "ATAC only")):
            own = rows[(rows["data"] == data) & (rows["metric"] == metric)]
            values = {
                shown: own.loc[own["method"] == name, "value"].to_numpy()
                for name, shown in names.items()
            }
            place = next(places)
            dots(place, list(values), values, "accuracy of types")
            place.set_xlim(0, 1.05)
            place.set_title(f"{title}, {word}")
    save(figure, folder, "unimodal")


def order(rows: pd.DataFrame, folder: Path) -> None:
    """Correlation of pseudotime with the true order."""
    figure, axes = panels(3, height=2.5, sharey=True)
    for place, (task, title) in zip(axes[0], ORDER_TASKS.items(), strict=True):
        own = rows[(rows["task"] == task) & rows["metric"].str.startswith("Spearman")]
        values = {
            shown: own.loc[own["method"] == name, "value"].to_numpy()
            for name, shown in ORDER.items()
        }
        dots(place, list(values), values, "Spearman's correlation")
        place.set_title(title)
    save(figure, folder, "order")


LABEL_QUERIES = {
    "RNA + ATAC": {"scmvp, query joint": "scMVP", "kNN in PCA + LSI, query joint": "kNN"},
    "RNA only": {
        "scmvp, query rna": "scMVP",
        "kNN in PCA, query rna": "kNN",
        "Seurat TransferData, query rna": "Seurat",
    },
    "ATAC only": {"scmvp, query atac": "scMVP", "kNN in LSI, query atac": "kNN"},
}
# what tells unknown types, of scMVP its test; of others what is better
UNKNOWN_BY = {"scMVP": ("p-value",), "kNN": ("mean distance", "confidence"),
              "Seurat": ("mapping score", "confidence")}  # fmt: skip


def best(candidates: list[np.ndarray]) -> np.ndarray:
    """The values with the largest mean."""
    return max((values for values in candidates if len(values)), key=np.mean)


def labels(rows: pd.DataFrame, folder: Path) -> None:
    """Accuracy of transferred labels, and recognition of types that the reference lacks."""
    figure, axes = panels(2, height=2.4, sharey=True)
    for place, metric, label in (
        (axes[0, 0], "accuracy", "accuracy of labels"),
        (axes[0, 1], "AUROC of unknown types", "AUROC, types not in the reference"),
    ):
        # of each seed the mean over the tasks, each of which removes other types
        means = rows[rows["metric"] == metric].groupby(["method", "seed"])["value"].mean()
        values = dict(iter(means.groupby("method")))
        at, ticks = 0.0, []
        for query, methods in LABEL_QUERIES.items():
            for name, shown in methods.items():
                names = [name, *(f"{name}, by {by}" for by in UNKNOWN_BY[shown])]
                dot(place, at, shown, best([values[n].to_numpy() for n in names if n in values]))
                ticks.append((at, f"{shown}, query {query}"))
                at += 1
            at += 0.5
        place.set_yticks([t for t, _ in ticks], [text for _, text in ticks])
        place.set(xlabel=label, ylim=(at - 0.5, -0.5))
        place.grid(axis="x", color="0.9", linewidth=0.6)
    save(figure, folder, "labels")


def tests(rows: pd.DataFrame, folder: Path) -> None:
    """Observed false discovery rate and power of differential tests, sums over seeds."""
    figure, axes = panels(3, rows=2, height=4.4, sharex=True, sharey=True)
    rows = rows[(rows["data"] == "medium") & rows["method"].isin(TESTS)]
    for line, (modality, word) in enumerate((("rna", "genes"), ("atac", "peaks"))):
        for place, (comparison, title) in zip(axes[line], COMPARISONS.items(), strict=True):
            own = rows[(rows["modality"] == modality) & (rows["comparison"] == comparison)]
            sums = own.groupby("method")[["called", "wrong", "differ", "right"]].sum()
            place.axvline(0.05, color="0.6", linewidth=0.8, zorder=0)
            for name, total in sums.iterrows():
                color, marker = METHODS[TESTS[name]]
                place.plot(
                    total["wrong"] / max(total["called"], 1), total["right"] / total["differ"],
                    marker=marker, color=color, linestyle="", markersize=7,
                    label=TESTS[name] if (line, comparison) == (0, "type against rest") else None,
                )  # fmt: skip
            place.set(xlim=(-0.03, 1), ylim=(0, 1.05))
            place.set_title(f"{word}: {title}".replace("\n", " "))
    for place in axes[1]:
        place.set_xlabel("observed false discovery rate")
    for place in axes[:, 0]:
        place.set_ylabel("power")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    save(figure, folder, "tests")


def links(rows: pd.DataFrame, folder: Path) -> None:
    """Average precision of co-accessible pairs and of peak-gene links, by depth."""
    figure, axes = panels(2, height=3.2)
    # of several settings the one with the highest mean
    smoothed = ("kNN-smoothed", "kNN-smoothed, as imputed", "kNN-smoothed, relative")
    shown = {
        ("imputed (default)",): ("imputed by scMVP", BLUE, "o"),
        smoothed: ("kNN-smoothed", ORANGE, "s"),
        ("raw", 'raw, search = "extended"'): ("raw", BLACK, "^"),
        ("raw, groups of LSI",): ("raw, groups from LSI", GRAY, "v"),
        ("Bayes, types and folds known",): ("types known (bound)", RED, "*"),
    }
    for place, method, measure, title in (
        (axes[0, 0], "co-accessibility", "average precision, pairs of one program",
         "co-accessible peaks (RunCicero)"),
        (axes[0, 1], "LASSO", "average precision, lambda.min", "peak-gene links (LinkPeaksLASSO)"),
    ):  # fmt: skip
        own = rows[(rows["method"] == method) & (rows["measure"] == measure)]
        means = own.groupby("input")["value"].mean()
        for names, (label, color, marker) in shown.items():
            measured = [name for name in names if name in means]
            if not measured:
                continue
            each = own[own["input"] == max(measured, key=means.get)].groupby("fragments")["value"]
            low, mean, high = each.min(), each.mean(), each.max()
            place.errorbar(
                mean.index, mean, yerr=np.array([mean - low, high - mean]), color=color,
                marker=marker, markersize=5, linewidth=1.2, label=label,
            )  # fmt: skip
        place.set(xlabel="fragments per cell", ylabel="average precision", title=title, ylim=(0, 1))
        place.set_xticks([300, 700, 1500], ["300", "700", "1,500"])
    handles, texts = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    save(figure, folder, "links")


LINK_SETS = {
    ("decay", "simulated"): "simulated, near more often",
    ("decay, sparse", "simulated"): "the same, 700 counts",
    ("uniform", "simulated"): "simulated, any distance",
    ("blood", "EnhancerAtlas"): "blood, EnhancerAtlas",
    ("blood", "EnhancerAtlas, distal"): "blood, EnhancerAtlas, distal pairs",
    ("blood", "4DGenome"): "blood, 4DGenome",
    ("blood", "4DGenome, distal"): "blood, 4DGenome, distal pairs",
}
LINK_METHODS = {
    "scMVP": BLUE, "distance": GRAY, "activity by contact": GREEN, "Signac": ORANGE,
    "SCENT": ORANGE, "LASSO, counts": RED, "LASSO, imputed": RED, "Cicero, counts": BLACK,
    "Cicero, imputed": BLACK,
}  # fmt: skip


def link_scores(rows: pd.DataFrame, folder: Path) -> None:
    """Average precision of scores of peak-gene links, by set of known links."""
    measured = set(zip(rows["data"], rows["truth"], strict=True))
    shown = {key: title for key, title in LINK_SETS.items() if key in measured}
    figure, axes = panels(len(shown), height=2.8, sharey=True)
    names = list(LINK_METHODS)[::-1]
    for place, ((data, truth), title) in zip(axes[0], shown.items(), strict=True):
        own = rows[(rows["data"] == data) & (rows["truth"] == truth)].groupby("method")
        own = own[["ap", "low", "high"]].mean().reindex(names)
        for at, name in enumerate(names):
            ap, low, high = own.loc[name]
            place.plot([low, high], [at, at], color=LINK_METHODS[name], linewidth=1.4)
            place.plot(ap, at, "o", color=LINK_METHODS[name], markersize=4)
        place.axvline(own.loc["distance", "ap"], color=GRAY, linewidth=0.6, linestyle=":")
        place.set_title(title.replace(", ", ",\n"), fontsize=8)
        place.set_xlim(left=0)
    axes[0, 0].set_yticks(range(len(names)), names)
    figure.supxlabel("average precision", fontsize=9)
    save(figure, folder, "link_scores")


BULK_DATA = {
    "multiome_pbmc2k": "blood",
    "snare_cortex": "cortex",
    "scicar_a549": "treatment course",
    "sccat_celllines": "cell lines",
}


def bulks(rows: pd.DataFrame, folder: Path) -> None:
    """Cells against bulks: correlation with the own one, and whether it is the nearest."""
    rows = rows[rows["experiment"] == "pseudobulk"]
    figure, axes = panels(4, rows=2, height=4.2, sharex=True, sharey=True)
    names = ("raw counts", "feature means", "30 nearest neighbors", "scVI (RNA)", "scMVP")
    for line, word in enumerate(("RNA", "ATAC")):
        for place, (data, title) in zip(axes[line], BULK_DATA.items(), strict=True):
            own = rows[rows["data"] == data].groupby(["method", "measure"])["ours"].mean()
            for name in names:
                if (name, f"{word}: own bulk is the nearest") not in own:
                    continue
                color, marker = METHODS[name]
                place.plot(
                    own[name, f"{word}: correlation with the bulk of the type"],
                    own[name, f"{word}: own bulk is the nearest"],
                    marker=marker, color=color, linestyle="", markersize=6,
                    label=name if (line, data) == (0, "multiome_pbmc2k") else None,
                )  # fmt: skip
            place.set(xlim=(0, 1.05), ylim=(0, 1.05), title=f"{title}, {word}")
            place.grid(color="0.9", linewidth=0.6)
    figure.supxlabel("correlation of a cell with the bulk of its type (median)", fontsize=9)
    figure.supylabel("cells nearest to the bulk of their type", fontsize=9)
    figure.legend(loc="outside upper center", ncols=5, frameon=False)
    save(figure, folder, "bulks")
