"""The tables of docs/benchmark-tables.md."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from report import GROUPS, markdown, mean_and_sd, read

SETS = {
    "Real cells": [
        "multiome_pbmc2k", "multiome_pbmc2k@0.2", "snare_cortex", "scicar_a549", "sccat_celllines",
    ],
    "Simulated cells": [
        "sim_medium", "sim_sparse", "sim_hard", "sim_rna", "sim_atac", "sim_together", "sim_faint",
        "sim_subtle",
    ],
    "Cortex, each batch alone": [f"snare_cortex:09{letter}" for letter in "ABCDEF"],
}  # fmt: skip
INTRODUCTION = """# Tables of the benchmarks

`make figures` writes this page from the CSV files in this folder.
[benchmarks.md](benchmarks.md) explains the data, the methods and the scores. ± is one standard
deviation over seeds. A number in parentheses is the number of seeds, where it is not the usual one
({usual}). An empty cell was not measured.

Methods are named as in `python bench/accuracy --methods`. `scmvp` is k-means on the joint latent
and `scmvp-argmax` are the clusters of the mixture; `-rna` and `-atac` use one modality of the
joint model. `pca`, `lsi` and `pca+lsi` are followed by the number of dimensions. `wnn-muon` and
`wnn-seurat` are weighted nearest neighbors, with k-means on the UMAP (`-umap`) or spectral
clusters of the graph (`-spectral`). `labels-known` is naive Bayes, given the labels of nine tenths
of the cells."""
METRICS = {
    "ilisi": "iLISI",
    "clisi": "cLISI",
    "across": "types across batches",
    "ari": "ARI, k-means",
    "ari_own": "ARI, own clusters",
    "foscttm": "FOSCTTM",
    "transfer_rna": "types, RNA cells",
    "transfer_atac": "types, ATAC cells",
    "gain_rna": "gain of RNA",
    "gain_atac": "gain of ATAC",
    "truth_rna": "truth, RNA",
    "truth_atac": "truth, ATAC",
    "auprc_atac": "AUPRC, ATAC",
}
TASKS = {
    "batches": "Batches",
    "mosaic": "Unimodal cells",
    "path": "Order, simulated path",
    "lead": "Order, simulated path with chromatin ahead",
    "course": "Order, hour of treatment",
    "features": "Features along a simulated path",
    "transfer": "Labels of 30 % of the blood cells",
    "novelty-B": "Labels, reference without B cells",
    "novelty-NK": "Labels, reference without NK cells",
    "novelty-MAIT": "Labels, reference without MAIT cells",
    "novelty-monocytes": "Labels, reference without intermediate and non-classical monocytes",
    "novelty-dendritic": "Labels, reference without dendritic cells",
}


def _ordered(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Rows of these data sets in this order, methods of scMVP first."""
    of_peer = ~rows["method"].str.startswith("scmvp")
    place = rows["data"].map({name: at for at, name in enumerate(names)})
    return rows.assign(place=place, of_peer=of_peer).sort_values(
        ["of_peer", "place"], kind="stable"
    )


def accuracy(rows: pd.DataFrame) -> str:
    """Every score of docs/accuracy.csv, by kind of data."""
    parts = [INTRODUCTION.format(usual="5; imputation 2; batches of the cortex 3")]
    for title, metric, digits in GROUPS:
        parts.append(f"## {title}")
        for kind, names in SETS.items():
            chosen = rows[(rows["metric"] == metric) & rows["data"].isin(names)]
            chosen = _ordered(chosen, names)
            if chosen.empty:
                continue
            if chosen["task"].iloc[0] == "imputation":
                usual = 2
            else:
                usual = 3 if kind.startswith("Cortex") else 5
            parts += [f"{kind}:", markdown(mean_and_sd(chosen, "value", usual, digits))]
    for task, usual in (("embedding", 5), ("imputation", 2)):
        chosen = rows[(rows["task"] == task) & rows["data"].isin(sum(SETS.values(), []))]
        chosen = chosen.drop_duplicates(["data", "method", "seed"])
        parts.append(f"## CPU seconds of a fit ({task})")
        for kind, names in SETS.items():
            own = chosen[chosen["data"].isin(names)]
            if len(own):
                own = _ordered(own, names)
                parts += [f"{kind}:", markdown(mean_and_sd(own, "cpu_seconds", usual, 0))]
    return "\n\n".join(parts)


def estimated_k(rows: pd.DataFrame) -> str:
    """Fits that estimate K beside fits with K = number of labels, the values of seeds 0 and 1."""
    rows = rows[(rows["task"] == "embedding") & rows["seed"].isin([0, 1])]
    rows = rows.drop_duplicates(["data", "method", "seed", "metric"], keep="last")
    free = "(n_clusters=None)"
    columns = (
        ("clusters found", f"scmvp {free}", "n_clusters_used", 0),
        ("ARI, mixture", f"scmvp-argmax {free}", "ari", 3),
        ("K given", "scmvp-argmax", "ari", 3),
        ("ARI, k-means", f"scmvp {free}", "ari", 3),
        ("K given", "scmvp", "ari", 3),
        ("neighbors", f"scmvp {free}", "knn", 3),
        ("K given", "scmvp", "knn", 3),
    )
    lines = [f"| {' | '.join(['', *(column[0] for column in columns)])} |", "|---" * 8 + "|"]
    for data in SETS["Real cells"]:
        own = rows[rows["data"] == data]
        if not own["method"].str.endswith(free).any():
            continue
        cells = []
        for _, method, metric, digits in columns:
            found = own[(own["method"] == method) & (own["metric"] == metric)]
            values = found.sort_values("seed")["value"]
            cells.append(", ".join(f"{value:.{digits}f}" for value in values))
        lines.append(f"| {data} | {' | '.join(cells)} |")
    return "\n".join(lines)


def over_seeds(rows: pd.DataFrame, by: list[str]) -> str:
    """Mean and standard deviation over seeds: methods in rows, scores in columns, per group."""
    parts = []
    rows = rows.assign(metric=rows["metric"].replace(METRICS), task=rows["task"].map(TASKS))
    for keys, part in rows.groupby(by):
        parts.append(f"{', '.join(keys)}:")
        table = part.groupby(["method", "metric"], sort=False)["value"].agg(
            lambda v: _mean(v) + (" (1)" if len(v) == 1 else "")
        )
        wide = table.unstack(fill_value="")
        order = part["method"].drop_duplicates(), part["metric"].drop_duplicates()
        parts.append(markdown(wide.loc[order[0], order[1]]))
    return "\n\n".join(parts)


def experiments(rows: pd.DataFrame) -> str:
    """The paper's experiments: by figure and data, methods in rows, measures in columns."""
    parts = []
    for (figure, name), own in rows.groupby(["figure", "experiment"], sort=False):
        parts.append(f"### Figure {figure}: `python bench/paper {name}`")
        for data, part in own.groupby("data", sort=False):
            by = part.groupby(["method", "measure"], sort=False)
            table = by["ours"].agg(_mean).unstack(fill_value="")
            table = table.loc[part["method"].unique(), part["measure"].unique()]
            for measure, of in part.dropna(subset="published").groupby("measure", sort=False):
                known = of.groupby("method")["published"].first().map(_number)
                table[f"{measure}, published"] = known.reindex(table.index).fillna("").astype(str)
            seeds = ", ".join(map(str, sorted(part["seed"].unique())))
            parts += [f"{data}, seed{'s' * (',' in seeds)} {seeds}:", markdown(table)]
    return "\n\n".join(parts)


def _mean(values: pd.Series) -> str:
    digits = 3 if values.abs().max() < 10 else 0
    spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():,.{digits}f}{spread}"


def differential(rows: pd.DataFrame) -> str:
    """Calls, false discovery rate and power, sums over seeds."""
    parts = []
    by = ["data", "modality", "comparison", "method"]
    counts = ["called", "wrong", "differ", "right", "right_at_5_percent"]
    for (data, modality), part in rows.groupby(["data", "modality"], sort=False):
        sums = part.groupby(by[2:], sort=False)[counts].sum()
        sums["seeds"] = part.groupby(by[2:], sort=False)["seed"].nunique()
        lines = ["| comparison | method | seeds | called | wrong | observed FDR | power "
                 "| power at 5 % wrong |", "|---" * 8 + "|"]  # fmt: skip
        for (comparison, method), row in sums.iterrows():
            rate = f"{row['wrong'] / row['called']:.3f}" if row["called"] else ""
            power = ["", ""]
            if row["differ"]:
                power = [f"{row[c] / row['differ']:.3f}" for c in counts[3:]]
            lines.append(
                f"| {comparison} | {method} | {row['seeds']} | {row['called']:,} "
                f"| {row['wrong']:,} | {rate} | {power[0]} | {power[1]} |"
            )
        parts += [f"{data}, {'genes' if modality == 'rna' else 'peaks'}:", "\n".join(lines)]
    return "\n\n".join(parts)


def plain(rows: pd.DataFrame) -> str:
    """A CSV file as it is."""
    return markdown(rows.astype(str).set_index(rows.columns[0]), rows.columns[0])


def speed(rows: pd.DataFrame) -> str:
    """One row per measurement, its numbers in columns."""
    by = ["shape", "cells", "method", "machine", "date"]
    wide = rows.set_index([*by, "metric"])["value"].unstack()[rows["metric"].unique()].reset_index()
    wide = wide.sort_values(["machine", "shape", "cells"], kind="stable")
    wide.columns = [name.replace("_", " ") for name in wide.columns]
    return plain(wide.astype(object).where(wide.notna(), "").map(_number))


def _number(value: object) -> object:
    return f"{value:g}" if isinstance(value, float) else value


def links(rows: pd.DataFrame) -> str:
    """One row per depth and input, the values of both seeds."""
    parts = []
    for method, part in rows.groupby("method", sort=False):
        part = part.assign(row=part["fragments"].astype(str) + " fragments, " + part["input"])
        table = part.groupby(["row", "measure"], sort=False)["value"].agg(
            lambda v: ", ".join(f"{x:g}" for x in v)
        )
        order = part["row"].drop_duplicates(), part["measure"].drop_duplicates()
        wide = table.unstack(fill_value="").loc[order[0], order[1]]
        parts += [f"{method}:", markdown(wide)]
    return "\n\n".join(parts)


def link_scores(rows: pd.DataFrame) -> str:
    """Average precision by method and set; calls by rate; agreement of halves of the cells."""
    scored = rows[rows["ap"].notna()].copy()
    scored["set"] = scored["data"] + ": " + scored["truth"]
    mean = scored.groupby(["method", "set"], sort=False)[["ap", "low", "high", "ratio"]].mean()
    cell = mean.apply(lambda x: f"{x.ap:.3f} ({x.low:.3f}-{x.high:.3f}), {x.ratio:.2f}", axis=1)
    order = scored["method"].drop_duplicates(), scored["set"].drop_duplicates()
    calls = rows[rows["truth"] == "calls"].groupby(["data", "level"], sort=False)
    calls = calls[["called", "not_linked", "called_elsewhere"]].mean().round(3).reset_index()
    halves = rows[rows["truth"] == "halves"].groupby(["data", "method"], sort=False)
    halves = halves[["spearman", "best_1000"]].mean()
    both = halves.apply(lambda x: f"{x.spearman:.2f}, {x.best_1000:.2f}", axis=1)
    calls.columns = ["data", "rate", "called", "not linked", "called, genes exchanged"]
    halved = [name for name in order[0] if name in both.index.get_level_values("method")]
    return "\n\n".join(
        [
            "Scores of all pairs: average precision (95 % interval over genes), and its ratio to "
            "that of the distance; means over seeds:",
            markdown(cell.unstack(fill_value="").loc[order[0], order[1]]),
            "Calls of `link_peaks` by their rate, and after genes have exchanged their places:",
            plain(calls),
            "Two halves of the cells: rank correlation of the scores, and the proportion of the "
            "best 1,000 pairs that are the same:",
            markdown(both.unstack(0, fill_value="").loc[halved]),
        ]
    )


WIDE = {
    "ari_between": "ARI between two seeds",
    "markers": "markers, rank correlation",
    "ami_kmeans": "AMI, our k-means",
    "nmi_kmeans": "NMI, our k-means",
    "nmi": "NMI, its k-means",
    "ari": "ARI, its k-means",
    "isolated_labels": "isolated labels",
    "graph_connectivity": "graph connectivity",
    "clisi": "cLISI",
    "silhouette": "silhouette of labels",
}


def wide(rows: pd.DataFrame) -> str:
    """A table per data set: methods in rows, scores in columns; the last of repeated rows."""
    rows = rows.drop_duplicates(["data", "method", "metric"], keep="last")
    parts = []
    known = [name for names in SETS.values() for name in names]
    for data in [name for name in known if name in set(rows["data"])]:
        part = rows[rows["data"] == data].sort_values("method", kind="stable")
        metrics = [metric for metric in WIDE if metric in set(part["metric"])]
        table = part.pivot(index="method", columns="metric", values="value")[metrics]
        if "seeds" in part:
            table.insert(0, "seeds", part.groupby("method")["seeds"].first().astype(str))
        table = table.loc[part["method"].drop_duplicates()].rename(columns=WIDE)
        text = table.map(lambda v: v if isinstance(v, str) else f"{v:.3f}")
        parts += [f"{data}:", markdown(text)]
    return "\n\n".join(parts)


def accuracy_rows(docs: Path, with_options: bool = False) -> pd.DataFrame:
    """The scores of docs/accuracy.csv; those of fits with other options only if asked for."""
    rows = read(docs / "accuracy.csv")
    rows = rows[rows["metric"] != "error"]
    if with_options:
        return rows
    rows = rows[~rows["method"].str.contains(" (", regex=False)]
    return rows.drop_duplicates(["data", "method", "seed", "metric"], keep="last")


def page(docs: Path) -> str:
    """The text of docs/benchmark-tables.md."""
    csv = {
        name: pd.read_csv(docs / f"{name}.csv")
        for name in ("n_clusters", "speed", "integration", "trajectory", "differential",
                     "calibration", "links", "link_scores", "seeds", "scib", "not_measured",
                     "paper")
    }  # fmt: skip
    integration, trajectory = csv["integration"], csv["trajectory"]
    integration = integration[integration["metric"] != "cpu_seconds"]
    trajectory["metric"] = trajectory["metric"].str.replace("Spearman, ", "Spearman ")
    rows = accuracy_rows(docs)
    parts = [
        accuracy(rows[rows["data"] != "sim_tiny"]),
        "## Not measured",
        plain(csv["not_measured"]),
        "## Repeatability over seeds",
        "Mean ARI between the clusters of two seeds, over all pairs of seeds, and the rank "
        "correlation of the markers of matched clusters of seeds 0 and 1:",
        wide(csv["seeds"]),
        "## Scores of scib-metrics",
        "One seed. Blood is one batch, so all its labels count as isolated; the cortex has six:",
        wide(csv["scib"]),
        "## Number of clusters",
        "Simulated cells: components of the mixture, clusters into which these merge (default), K "
        "from the rank (preset `paper`):",
        plain(csv["n_clusters"]),
        "Real cells, seeds 0 and 1, without and with a given number of clusters:",
        estimated_k(accuracy_rows(docs, with_options=True)),
        "## Speed and memory",
        speed(csv["speed"]),
        "## Batches and unimodal cells",
        over_seeds(integration, ["task", "data"]),
        "## Trajectories and label transfer",
        over_seeds(trajectory, ["task"]),
        "## Differential genes and peaks",
        differential(csv["differential"]),
        "## Calibration of the differential test",
        plain(csv["calibration"]),
        "## Regulatory elements",
        links(csv["links"]),
        link_scores(csv["link_scores"]),
        "## The paper's experiments",
        "[benchmarks.md](benchmarks.md#the-papers-experiments) explains them and says what the "
        "paper found on its own data. A published value is given only for data of the same size:",
        experiments(csv["paper"]),
    ]
    return "\n\n".join(parts) + "\n"
