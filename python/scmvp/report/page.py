"""The page of a report: HTML, styles and script in one file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from ..modalities import MODALITIES
from ..version import __version__
from ..words import count_of
from . import figures
from .contents import WEAK_AGREEMENT, Contents, without_counts

CITATION = (
    "Li G, Fu S, Wang S, et al. A deep generative model for multi-view profiling of single-cell "
    "RNA-seq and ATAC-seq data. Genome Biology 23:20 (2022)."
)
STATIC_MAPS = 9


def page_of(found: Contents, title: str) -> str:
    """The whole page."""
    columns = _columns(found)
    parts = [
        _head(found, title),
        _maps(found, columns),
        _depths(found),
        _clusters(found),
        _markers(found),
        _modalities(found),
        _batches(found),
        _training(found),
        _options(found),
    ]
    own = files(__package__)
    style, script = (own.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    return (
        "<!DOCTYPE html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}</style></head><body>{parts[0]}<main>{''.join(parts[1:])}</main>"
        f"<footer>{escape(CITATION)}</footer>"
        f'<script type="application/json" id="cells">{_json_of(found, columns)}</script>'
        f"<script>{script}</script></body></html>\n"
    )


# ---- sections ------------------------------------------------------------------------------------


def _head(found: Contents, title: str) -> str:
    account = found.account
    numbers = [(account["n_cells"], "cells in the fit")]
    if len(found.cells.names) != account["n_cells"]:
        numbers.append((len(found.cells.names), "cells shown"))
    for of in MODALITIES.values():
        if f"n_{of.features}" in account:
            left = account[f"n_{of.features}_in"]
            numbers.append((account[f"n_{of.features}"], f"of {left:,} {of.features}"))
    numbers.append((len(np.unique(found.cells.cluster)), "clusters"))
    items = "".join(f"<li><b>{n:,}</b> {escape(word)}</li>" for n, word in numbers)
    made = datetime.now().strftime("%Y-%m-%d %H:%M")
    warnings = ""
    if found.warnings:
        entries = "".join(f"<li>{escape(one)}</li>" for one in found.warnings)
        warnings = f'<div class="warnings"><b>Before you go on</b><ul>{entries}</ul></div>'
    return (
        f'<header><h1>{escape(title)}</h1><p class="faint">scMVP {__version__}, {made}</p>'
        f'<ul class="numbers">{items}</ul>{warnings}</header>'
    )


def _maps(found: Contents, columns: list[dict[str, Any]]) -> str:
    said = f"Cells placed by {found.layout}."
    if len(found.shown) < len(found.cells.names):
        n, of = len(found.shown), count_of(len(found.cells.names), "cell")
        said += f" {n:,} of {of}, drawn at random."
    interactive = (
        '<div id="map"><label>Color by <select id="color"></select></label>'
        '<div class="row"><canvas></canvas><div class="legend" id="legend"></div></div>'
        '<div id="tip"></div></div>'
    )
    maps = []
    for column in columns[:STATIC_MAPS]:
        colors = column["colors"]
        if column["levels"]:
            colors = [colors[value] for value in column["values"]]
        maps.append(
            f"<figure>{figures.points(found.places, colors, column['name'])}"
            f"<figcaption>{escape(_caption(column))}</figcaption>{_legend(column)}</figure>"
        )
    static = (
        '<details class="static" open><summary>All at once</summary>'
        f'<div class="row">{"".join(maps)}</div></details>'
    )
    return _section("Cells", f"<p>{said}</p>", interactive, static)


def _depths(found: Contents) -> str:
    if not found.depth:
        return _section("Depth", _without_counts("Depth"))
    pictures = []
    for number, (name, depth) in enumerate(found.depth.items()):
        of = MODALITIES[name]
        counted = "counts"
        if name == "atac" and found.converted:
            counted = "fragments (about half of the counted insertions)"
        depth = depth[depth > 0]  # the other cells are told below
        if not len(depth):
            continue
        said = f"{of.label}: median {np.median(depth):,.0f} {counted} per cell"
        picture = figures.histogram(depth, f"{of.label} counts", "cells", figures.color_of(number))
        pictures.append(f"<figure>{picture}<figcaption>{said}</figcaption></figure>")
    lacking = "".join(f"<p>{sentence}</p>" for sentence in without_counts(found))
    return _section("Depth", f'<div class="row">{"".join(pictures)}</div>{lacking}')


def _clusters(found: Contents) -> str:
    cells, tree = found.cells, found.tree
    used, sizes = np.unique(cells.cluster, return_counts=True)
    colors = [figures.color_of(one) for one in used]
    names = [f"cluster {one}" for one in used]
    sure = [round(float(np.median(cells.certainty[cells.cluster == one])), 3) for one in used]
    pictures = [
        _figure(figures.bars(names, sizes.tolist(), colors, "cells"), "Cells of each cluster"),
        _figure(
            figures.bars(names, sure, colors, "probability"),
            "Median probability of the cluster in its cells",
        ),
    ]
    drawn = ""
    if tree is not None and len(tree.n_cells) > 1:
        cluster = np.arange(len(tree.leaf)) if found.cluster_of is None else found.cluster_of
        drawn = _figure(
            figures.tree(tree, cluster),
            "How the components of the mixture merge, by their connectivity. Below a leaf: its "
            "cluster, and its number of cells in the fit. The dashed line is where the tree is "
            "cut.",
            "tree",
        )
    crossed = "" if cells.groupby is None else _by_cluster(found, cells.groupby)
    return _section("Clusters", f'<div class="row">{"".join(pictures)}</div>{drawn}{crossed}')


def _markers(found: Contents) -> str:
    if not found.depth:
        return _section("Markers", _without_counts("Markers"))
    if not found.markers:
        return _section("Markers", "<p>There are not two groups large enough for a test.</p>")
    word = escape(found.cells.word)
    same = "The clusters were found in the same counts, so q ranks the features but is"
    if found.cells.groupby is not None:
        same = "If the groups were found in the same counts, q ranks the features but is"
    parts = [
        f"<p>Features that are higher in the cells of a {word} than in all others, at a false "
        "discovery rate of 5 %. lfc: log2 fold change, shrunken; q: expected proportion of false "
        "calls down to this line; detected: cells with a count in the group and in the others. "
        f"{same} not valid evidence.</p>"
    ]
    if any(MODALITIES[name].is_level for name in found.markers):
        parts.append("<p>Of methylation, lfc is the log2 odds ratio of the levels.</p>")
    for name, table in found.markers.items():
        of, number = MODALITIES[name], found.n_markers[name]
        called = ", ".join(f"{escape(group)}: {n:,}" for group, n in number.items())
        parts.append(f"<h3>{of.features.capitalize()}</h3>")
        parts.append(f'<p class="faint">called, by {word}: {called}</p>')
        if len(table):
            listed = _marker_table(table, found.cells.groupby or "cluster")
            parts.append(_details(f"The first {of.features} of each {found.cells.word}", listed))
        if name in found.means:
            parts.append(_heats(found, name))
    return _section("Markers", *parts)


def _heats(found: Contents, modality: str) -> str:
    features, groups, *both = found.means[modality]
    word = found.cells.word
    pictures = [
        _figure(
            figures.heat(values, features, groups, kind, word), f"{kind}, mean per {word}", "heat"
        )
        for kind, values in zip(("Measured", "Imputed"), both, strict=True)
    ]
    return (
        f'<p class="faint">The first of each {escape(word)}, each row from its lowest to its '
        f'highest mean.</p><div class="row">{"".join(pictures)}</div>'
    )


def _modalities(found: Contents) -> str:
    if not found.agreement:
        return ""
    rows = [(MODALITIES[name].label, f"{kappa:.2f}") for name, kappa in found.agreement.items()]
    n = len(found.shown)
    of = "all cells" if n == len(found.cells.names) else f"the {count_of(n, 'cell')} of the map"
    apart, without = "do not depend on the training", ""
    if len(found.depth) > 1:
        apart = "depend neither on the training nor on other modalities"
        without = (
            " If another modality has signal, one without has about 0 (where cells are few, rarely "
            f"above {WEAK_AGREEMENT})."
        )
    return _section(
        "Modalities",
        "<p>How well each modality separates the clusters: agreement (Cohen's kappa) of a cell's "
        "cluster with the most frequent one of its 15 nearest cells in this modality alone, of "
        f"{of}. Cells are near if their scores are similar: those of correspondence analysis (for "
        f"methylation, of levels), which {apart}. An agreement of 1 means that they are always "
        f"equal, and 0 that they agree no more often than by chance.{without}</p>",
        _table(("modality", "agreement"), rows),
    )


def _batches(found: Contents) -> str:
    if found.mixing is None:
        return ""
    parts = [
        "<p>How many of a cell's 15 nearest cells are of its own batch. Where batches are mixed, "
        "as many as by chance; more where batches differ in their cells, or are not mixed.</p>",
        _table(
            tuple(found.mixing.columns),
            [
                (row[0], *(f"{100 * value:.0f} %" for value in row[1:]))
                for row in found.mixing.itertuples(index=False)
            ],
        ),
    ]
    parts += [_by_cluster(found, name) for name in found.cells.batches]
    return _section("Batches", *parts)


def _by_cluster(found: Contents, name: str) -> str:
    """How many cells of each cluster have each level of a column."""
    code, levels = _coded(found.cells.columns[name])
    counts = pd.crosstab(found.cells.cluster, pd.Categorical.from_codes(code, levels))
    rows = [(f"cluster {one}", *map("{:,}".format, counts.loc[one])) for one in counts.index]
    return _table((name, *counts.columns), rows)


def _training(found: Contents) -> str:
    history, summary = found.history, found.summary
    if not history.get("epoch"):
        return ""
    epoch = np.asarray(history["epoch"], float)
    phase = history["phase"]
    begins = [i for i in range(1, len(phase)) if phase[i] != phase[i - 1]]
    phases = ", ".join(f"{phase[i]} from epoch {int(epoch[i])}" for i in [0, *begins])
    picture = figures.lines(
        {
            "training": (epoch, _numbers(history["elbo_train"])),
            "held out": (epoch, _numbers(history["elbo_validation"])),
        },
        "epoch", "ELBO, nats per cell", [epoch[i] - 0.5 for i in begins],
    )  # fmt: skip
    said = (
        f"{count_of(summary['epochs'], 'epoch')} in {summary['seconds_fit']:.0f} s; the weights "
        f"are those of epoch {summary['best_epoch']}. Phases: {phases}."
    )
    return _section("Training", f"<p>{escape(said)}</p>", _figure(picture, ""))


def _options(found: Contents) -> str:
    summary = found.summary
    rows = [(name, _plain(value)) for name, value in summary["options"].items()]
    versions = ", ".join(f"{name} {value}" for name, value in summary["versions"].items())
    return _section(
        "How it was made",
        f"<p>{escape(versions)}</p>",
        _details("All options", _table(("option", "value"), rows)),
    )


# ---- parts ---------------------------------------------------------------------------------------


def _columns(found: Contents) -> list[dict[str, Any]]:
    """What the map can be colored by, of the cells that are shown."""
    cells, shown = found.cells, found.shown
    clusters = [str(one) for one in range(cells.probabilities.shape[1])]
    columns = [
        _levels("cluster", cells.cluster[shown], clusters),
        _scale("cluster probability", cells.certainty[shown]),
    ]
    for name, depth in found.depth.items():
        log = np.where(depth[shown] > 0, np.log10(depth[shown] + 1), np.nan)
        columns.append(_scale(f"{MODALITIES[name].label} counts, log10", log))
    if found.doublets is not None:
        columns.append(_scale("doublet score", found.doublets[shown]))
    for name in cells.columns:
        values = cells.columns[name].iloc[shown]
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            columns.append(_scale(str(name), values.to_numpy(float)))
        else:
            code, levels = _coded(values)
            columns.append(_levels(str(name), code, levels))
    return columns


def _coded(values: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Level of each cell, and the levels: in their own order, or numbers before text."""
    text = values.astype(object).where(values.notna(), "missing").astype(str)
    there = set(text)
    if isinstance(values.dtype, pd.CategoricalDtype):
        known = [str(level) for level in values.cat.categories if str(level) in there]
        levels = known + sorted(there - set(known))
    else:
        number = {one: one.zfill(20) for one in there if one.isdecimal()}
        levels = sorted(there, key=lambda one: (one not in number, number.get(one, one)))
    return pd.Index(levels).get_indexer(text), levels


def _levels(name: str, code: np.ndarray, levels: list[str]) -> dict[str, Any]:
    colors = [figures.color_of(number) for number in range(len(levels))]
    return {"name": name, "levels": levels, "values": code.tolist(), "colors": colors}


def _scale(name: str, values: np.ndarray) -> dict[str, Any]:
    kept = [float(f"{value:.4g}") if np.isfinite(value) else None for value in values]
    colors = figures.on_ramp(values).tolist()
    return {"name": name, "levels": None, "values": kept, "colors": colors}


def _caption(column: dict[str, Any]) -> str:
    name, n = column["name"], len(figures.PALETTE)
    repeated = column["levels"] and len(column["levels"]) > n
    return f"{name} (colors repeat after {count_of(n, 'level')})" if repeated else name


def _legend(column: dict[str, Any]) -> str:
    if column["levels"]:
        pairs = list(zip(column["levels"], column["colors"], strict=True))
    else:
        known = [i for i, value in enumerate(column["values"]) if value is not None]
        if not known:
            return ""
        ends = [pick(known, key=lambda i: column["values"][i]) for pick in (min, max)]
        pairs = [(f"{column['values'][i]:g}", column["colors"][i]) for i in ends]
    entries = "".join(
        f'<span><i style="background:{color}"></i>{escape(level)}</span>' for level, color in pairs
    )
    return f'<div class="legend">{entries}</div>'


def _marker_table(table: pd.DataFrame, groups: str) -> str:
    rows = [
        (
            row.group, row.feature, f"{row.lfc:.2f}", f"{row.q_value:.2g}",
            f"{100 * row.detected_group:.0f} %", f"{100 * row.detected_reference:.0f} %",
        )
        for row in table.itertuples(index=False)
    ]  # fmt: skip
    return _table((groups, "feature", "lfc", "q", "detected", "in others"), rows)


def _json_of(found: Contents, columns: list[dict[str, Any]]) -> str:
    x, y = np.round(found.places, 4).T.tolist()
    names = [str(name) for name in found.cells.names[found.shown]]
    content = {"names": names, "x": x, "y": y, "columns": columns}
    # nothing in it may end the element that it is in
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def _without_counts(what: str) -> str:
    return f"<p>{what} need the counts of the cells, which this report was made without.</p>"


def _figure(picture: str, caption: str, kind: str = "") -> str:
    said = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="{kind}">{picture}{said}</figure>'


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(str(name))}</th>" for name in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(value))}</td>' for value in row)}</tr>" for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _numbers(values: Sequence[Any]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], float)


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)
