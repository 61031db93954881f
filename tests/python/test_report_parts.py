"""Figures of the report, read from their SVG, and sentences on cells that are made up."""

from __future__ import annotations

import re
from html import unescape
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from scmvp.data.paired import Paired
from scmvp.fit.tree import ClusterTree
from scmvp.report import contents, figures, page

WIDEST = 6.9  # of a digit in 11 px of DejaVu Sans, the font that browsers have on Linux


def texts(svg: str, anchor: str = "middle", color: str = "#555") -> dict[str, tuple[float, float]]:
    """Texts of one kind, and their places."""
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" ([^>]*)>([^<]*)</text>', svg)
    kind = f'text-anchor="{anchor}" font-size="11" fill="{color}"'
    return {unescape(text): (float(x), float(y)) for x, y, how, text in found if how == kind}


@pytest.mark.parametrize(
    "low, high, ticks",
    [
        (585, 985, ["600", "700", "800", "900"]),
        (90, 11_000, ["100", "200", "500", "1,000", "2,000", "5,000", "10,000"]),
        (3_010, 4_100, ["3,200", "3,400", "3,600", "3,800", "4,000"]),
        (1, 3, ["1", "2", "3"]),
        (5, 200_000, ["10", "100", "1,000", "10,000", "100,000"]),
        (1, 2_000_000, ["1", "100", "10,000", "1,000,000"]),
        (700, 700, ["500", "1,000", "2,000"]),
    ],
)
def test_a_histogram_has_a_scale(low, high, ticks):
    svg = figures.histogram(np.linspace(low, high, 400), "counts", "cells", "#000000")
    found = texts(svg)
    assert list(found) == ticks
    place = np.array([x for x, _ in found.values()])
    log = np.log10([float(name.replace(",", "")) for name in ticks])
    np.testing.assert_allclose(np.diff(place) / np.diff(log), np.ptp(place) / np.ptp(log), rtol=0.1)
    half = np.array([len(name) * WIDEST / 2 for name in ticks])
    assert (place + half <= 360).all() and (place[1:] - half[1:] > place[:-1] + half[:-1]).all()


def test_names_wider_than_a_column_stand_upright():
    for names, upright in ((["g01", "g02"], True), (["10", "11"], False)):
        svg = figures.heat(np.eye(2), ["a", "b"], names, "", "group")
        assert svg.count("rotate(-90") == 2 * upright
        assert upright or len(max(names)) * WIDEST < 20


def test_colors_of_groups_differ():
    """At least 15 in CIELAB, of which about 2 can be seen side by side."""
    n = len(figures.PALETTE)
    assert n == 60
    rgb = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in figures.PALETTE]
    c = np.array(rgb) / 255
    linear = np.where(c > 0.04045, ((c + 0.055) / 1.055) ** 2.4, c / 12.92)
    xyz = linear @ [[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]
    x, y, z = np.cbrt(xyz / [0.9505, 1, 1.089]).T
    lab = np.column_stack([116 * y, 500 * (x - y), 200 * (y - z)])
    distance = np.linalg.norm(lab[:, None] - lab, axis=2) + 100 * np.eye(n)
    assert distance.min() > 15
    for n_levels, caption in ((60, "type"), (61, "type (colors repeat after 60 levels)")):
        column = page._levels("type", np.arange(n_levels), list(map(str, range(n_levels))))
        assert page._caption(column) == caption
        assert len(set(column["colors"])) == 60


@pytest.mark.parametrize(
    "cluster, between",
    [([0, 1, 2, 3], (2.8, None)), ([0, 0, 1, 2], (0.4, 2.8)), ([0, 0, 0, 0], (0.001, 0.02))],
)
def test_a_tree_has_its_cut_and_a_scale(cluster, between):
    merges, connectivity = np.array([[0, 1], [2, 4], [3, 5]]), np.array([2.8, 0.4, 0.02])
    tree = ClusterTree(np.arange(4), np.arange(4), merges, connectivity, np.full(4, 10))
    svg = figures.tree(tree, np.array(cluster))
    ticks = {name: y - 4 for name, (_, y) in texts(svg, "end").items()}
    assert list(ticks) == ["3", "1", "0.3", "0.1", "0.03", "0.01", "0.003", "0.001"]
    log = [float(np.log10(float(name))) for name in ticks]
    slope, start = np.polyfit(log, list(ticks.values()), 1)
    cut = re.findall(r'y1="([\d.]+)" y2="([\d.]+)" stroke="#999" stroke-dasharray', svg)
    assert len(cut) == 1
    low, high = between
    above = np.log10(2.8) + 0.3 if high is None else np.log10(high)  # where the leaves begin
    # in the middle of both, as PlotSCMVPTree() has it
    assert float(cut[0][0]) == pytest.approx(start + slope * (np.log10(low) + above) / 2, abs=0.5)


def made_up(latent: np.ndarray, cluster: np.ndarray) -> contents.Contents:
    """Contents of cells in given clusters, with counts in both modalities."""
    n = len(cluster)
    names = np.array([f"c{i}" for i in range(n)])
    of_cells = contents.Cells(
        names, latent, np.eye(cluster.max() + 1)[cluster], pd.DataFrame(index=names), []
    )
    found = contents.Contents(of_cells, np.arange(n), latent[:, :2], "made up", {}, {}, {})
    found.depth = {name: np.ones(n) for name in ("rna", "atac")}
    return found


def test_equal_scores_and_a_single_cluster_have_no_agreement():
    """Cells in the order of their clusters, which is no likeness of cells with equal scores."""
    cluster = np.repeat([0, 1, 2], 60)
    nothing = csr_matrix((180, 3), dtype=np.float32)
    found = made_up(np.zeros((180, 2)), cluster)
    paired = Paired(dict.fromkeys(found.depth, nothing), {}, found.cells.names)
    scores = {"rna": np.zeros((180, 4)), "atac": cluster[:, None] * np.ones(4)}
    model = SimpleNamespace(input_scores=lambda data: scores)
    kappa = contents._agreement(found, model, paired)
    assert abs(kappa["rna"]) < 0.2 and kappa["atac"] == 1
    assert contents._agreement(made_up(found.cells.latent, 0 * cluster), model, paired) == {}


def test_what_clusters_are_based_on():
    found = made_up(np.zeros((60, 2)), np.repeat([0, 1], 30))

    def said(**agreement):
        found.agreement, found.depth = agreement, dict.fromkeys(agreement, np.ones(60))
        return contents._of_modalities(found)

    alone = "hardly separates the clusters (agreement 0.10)"
    assert said(rna=0.1, atac=0.9) == [f"RNA alone {alone}; they are mainly based on ATAC."]
    assert said(rna=0.1, atac=0.1) == [f"RNA alone {alone}.", f"ATAC alone {alone}."]
    assert said(rna=0.9, atac=0.8, protein=0.1) == [
        f"Protein alone {alone}; they are mainly based on RNA and ATAC."
    ]
    assert said(rna=0.1, atac=0.1, protein=0.8) == [
        f"{name} alone {alone}; they are mainly based on protein." for name in ("RNA", "ATAC")
    ]
    assert said(rna=0.1) == [f"RNA {alone}."] and said(rna=0.9) == [] and said() == []
