"""Names, colors and markers of the methods, the same in every figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette, which people with any kind of color vision can tell apart.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PINK, SKY, BLACK, GRAY = "#CC79A7", "#56B4E9", "#000000", "#7F7F7F"

# Name on the figures: color, marker.
METHODS = {
    "scMVP": (BLUE, "o"),
    "scMVP, k-means": (BLUE, "D"),
    "scMVP, RNA encoder": (BLUE, "^"),
    "scMVP, ATAC encoder": (BLUE, "v"),
    "scMVP, no covariate": (BLUE, "s"),
    "WNN": (GREEN, "s"),
    "PCA + LSI": (ORANGE, "s"),
    "PCA + LSI, no covariate": (ORANGE, "D"),
    "PCA (RNA)": (ORANGE, "^"),
    "LSI (ATAC)": (ORANGE, "v"),
    "Cobolt": (RED, "P"),
    "MOFA+": (PINK, "X"),
    "MultiVI": (SKY, "p"),
    "SnapATAC2": (PINK, "s"),
    "MIDAS": (BLACK, "X"),
    "scVI (RNA)": (BLACK, "^"),
    "PeakVI (ATAC)": (BLACK, "v"),
    "Harmony": (PINK, "D"),
    "Harmony + WNN": (GREEN, "D"),
    "30 nearest neighbors": (ORANGE, "o"),
    "cluster means": (GREEN, "o"),
    "feature means": (GRAY, "o"),
    "raw counts": (BLACK, "o"),
    "naive Bayes, given labels": (GRAY, "*"),
    "Wilcoxon": (ORANGE, "o"),
    "Wilcoxon, imputed values": (RED, "o"),
    "scVI": (BLACK, "^"),
    "Seurat": (GREEN, "s"),
    "kNN": (ORANGE, "o"),
}

plt.rcParams |= {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 160,
    "svg.hashsalt": "scmvp",
}


def panels(columns: int, *, height: float, width: float = 7.4, rows: int = 1, **more) -> tuple:
    """A figure with panels in rows, and its axes as an array."""
    return plt.subplots(
        rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **more
    )


def dot(axes: Axes, row: float, method: str, own: np.ndarray) -> None:
    """The mean over seeds, and a line of one standard deviation on either side.

    A method with a single seed has an open marker and no line.
    """
    color, marker = METHODS[method]
    axes.errorbar(
        own.mean(),
        row,
        xerr=own.std(ddof=1) if len(own) > 1 else None,
        color=color,
        marker=marker,
        markersize=5,
        markerfacecolor=color if len(own) > 1 else "white",
        elinewidth=1.4,
        capsize=0,
    )


def dots(axes: Axes, methods: Sequence[str], values: dict[str, np.ndarray], label: str) -> None:
    """One row per method that has values, from above."""
    for row, method in enumerate(methods):
        own = values.get(method)
        if own is not None and len(own):
            dot(axes, row, method, own)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_yticks(range(len(methods)), methods)
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(label)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write the figure without a date, so that the same numbers give the same file."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", metadata={"Software": None})
    plt.close(figure)
