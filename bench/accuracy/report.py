"""Markdown tables from the CSV file; bench/figures makes those of the documentation."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

# Title, metrics as (name, what the table is headed by), digits.
GROUPS = (
    ("ARI of k-means with k = number of labels, or of the method's own clusters", "ari", 3),
    ("NMI of the same clusters", "nmi", 3),
    ("Accuracy of 15 nearest neighbors, 5-fold", "knn", 3),
    ("Silhouette of the labels", "silhouette", 3),
    ("Clusters used", "n_clusters", 1),
    ("Held-out log-likelihood, RNA: nats per count above the feature means", "gain_rna", 4),
    ("Held-out log-likelihood, ATAC: nats per count above the feature means", "gain_atac", 4),
    ("Correlation with the true proportion, marker genes", "truth_rna", 3),
    ("Correlation with the true proportion, marker peaks", "truth_atac", 3),
    ("Average precision of the true peak-gene links within 100 kb", "links", 3),
    ("Calibration error, ATAC", "calibration_error", 3),
)


def read(path: Path) -> pd.DataFrame:
    """All rows, with the options of a method in its name, errors in a column of their own."""
    rows = pd.read_csv(path, dtype={"options": str, "data": str}, keep_default_na=False)
    rows["value"] = pd.to_numeric(rows["value"], errors="coerce")
    rows["cpu_seconds"] = pd.to_numeric(rows["cpu_seconds"])
    options = [json.loads(text or "{}") for text in rows["options"]]
    rows["error"] = [each.pop("error", "") for each in options]
    rows["method"] = [
        name + (f" ({', '.join(f'{k}={v}' for k, v in each.items())})" if each else "")
        for name, each in zip(rows["method"], options, strict=True)
    ]
    return rows


def tables(path: Path, seeds: list[int], imputation_seeds: list[int]) -> str:
    """Mean +- sd over seeds: a table per metric, methods in rows and data sets in columns.

    A number in brackets is that of the seeds, where there are fewer than were asked for.
    """
    rows = read(path)
    asked = {"embedding": len(seeds), "imputation": len(imputation_seeds)}
    parts = []
    for title, metric, digits in GROUPS:
        chosen = rows[rows["metric"] == metric]
        if len(chosen):
            cells = mean_and_sd(chosen, "value", asked[chosen["task"].iloc[0]], digits)
            parts.append(f"### {title}\n\n{markdown(cells)}")
    for task in asked:
        chosen = rows[(rows["task"] == task) & (rows["metric"] != "error")]
        chosen = chosen.drop_duplicates(["data", "method", "seed"])
        if len(chosen):
            cells = mean_and_sd(chosen, "cpu_seconds", asked[task], 0)
            parts.append(f"### CPU seconds, {task}\n\n{markdown(cells)}")
    failed = rows[rows["metric"] == "error"]
    if len(failed):
        lines = [f"- {r.data}, {r.method}, seed {r.seed}, {r.task}: {r.error.splitlines()[0]}"
                 for r in failed.itertuples()]  # fmt: skip
        parts.append("### Failed\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def mean_and_sd(rows: pd.DataFrame, column: str, asked: int, digits: int) -> pd.DataFrame:
    """Text of mean and standard deviation over seeds: methods in rows, data sets in columns."""

    def cell(values: pd.Series) -> str:
        text = f"{values.mean():.{digits}f}"
        if len(values) > 1:
            text += f" ± {values.std(ddof=1):.{digits}f}"
        return text + (f" ({len(values)})" if len(values) < asked else "")

    rows = rows.drop_duplicates(["data", "method", "seed", "metric"], keep="last")
    table = rows.groupby(["method", "data"], sort=False)[column].agg(cell).unstack(fill_value="")
    order = rows["method"].drop_duplicates(), rows["data"].drop_duplicates()
    return table.loc[order[0], order[1]]


def markdown(table: pd.DataFrame, corner: str = "") -> str:
    """A table of texts in Markdown."""
    lines = [
        f"| {corner} | " + " | ".join(table.columns) + " |",
        "|---" * (table.shape[1] + 1) + "|",
    ]
    lines += [f"| {name} | " + " | ".join(row) + " |" for name, row in zip(
        table.index, table.to_numpy(), strict=True)]  # fmt: skip
    return "\n".join(lines)
