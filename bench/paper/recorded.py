"""Experiments of other commands of bench/, whose results in docs/ are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

Scores = Iterator[tuple[str, list[tuple[str, str, float, str]]]]

DOCS = Path(__file__).parents[2] / "docs"
ORDERED = {"path": "simulated path", "course": "scicar_a549"}  # tasks of bench/trajectory
PAPER_EPOCHS = 30
# Cells: peak memory in MB in the paper, of as many genes and peaks.
PAPER_MB = {1000: "752", 100_000: "8500"}
MEASURES = {
    "seconds_per_epoch": "seconds per epoch",
    "peak_mb": "peak memory, MB",
    "peak_gpu_mb": "peak memory of the GPU, MB",
}


def pseudotime(seed: int, folder: Path) -> Scores:
    """Order of a simulated path with two branches, and of the hours of a treatment."""
    rows = pd.read_csv(DOCS / "trajectory.csv")
    for task, name in ORDERED.items():
        own = rows[(rows["task"] == task) & (rows["seed"] == seed)]
        measure = "Spearman's correlation with the time"
        yield name, [(row.method, measure, row.value, "") for row in own.itertuples()]


def scale(seed: int, folder: Path) -> Scores:
    """Rows of bench/speed for the paper's 8,000 genes and 23,000 peaks."""
    rows = pd.read_csv(DOCS / "speed.csv")
    rows = rows[(rows["shape"] == "filtered") & rows["metric"].isin(MEASURES)]
    rows = rows[~rows["machine"].str.contains("busy")]
    rows = rows.drop_duplicates(["cells", "method", "machine", "metric"], keep="last")
    for cells, part in rows.groupby("cells"):
        scores = []
        for row in part.itertuples():
            method = f"{row.method}; {row.machine}"
            published = ""
            if row.metric == "peak_mb" and row.method.startswith("scMVP"):
                published = PAPER_MB.get(cells, "")
            scores.append((method, MEASURES[row.metric], row.value, published))
            if row.metric == "seconds_per_epoch":
                minutes = row.value * PAPER_EPOCHS / 60
                scores.append((method, f"minutes of {PAPER_EPOCHS} epochs", minutes, ""))
        yield f"{cells:,} cells", scores
