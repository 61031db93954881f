"""Figures as SVG: points, lines, bars, heat maps and trees, with axes where they have them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from ..fit.tree import ClusterTree

# Any two differ by at least 15 in CIELAB; after the first 22, each is as far from those before it
# as is possible.
PALETTE = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31", "#7B4173",
    "#637939", "#F0C808", "#843C39", "#31A354", "#9E9AC8", "#FD8D3C", "#17BECF", "#A55194",
    "#6B6ECF", "#B5CF6B", "#E7969C", "#525252", "#BDB76B", "#C51B8A", "#FF3C5A", "#3C0087",
    "#E178FF", "#003C1E", "#78E15A", "#960000", "#0F2D5A", "#3C2D00", "#96D2B4", "#A50F4B",
    "#E1A5FF", "#5A9600", "#1E7878", "#FFC396", "#FF6996", "#962DA5", "#E1695A", "#A59600",
    "#005A00", "#002D87", "#00E1A5", "#FF78D2", "#B4D22D", "#964B0F", "#F0C3E1", "#A5D2E1",
    "#69A5FF", "#785AE1", "#4B1E2D", "#5A0F69", "#966978", "#00E1D2", "#0078FF", "#D2964B",
    "#FF5A3C", "#69003C", "#005A78", "#F00F78",
)  # fmt: skip
_UNKNOWN = "#999999"
_RAMP = ("#F1EEF6", "#BDC9E1", "#74A9CF", "#2B8CBE", "#045A8D")
_LEFT, _BOTTOM, _TOP, _RIGHT = 58, 40, 10, 30  # half of the last number is on the right


def color_of(number: int) -> str:
    """Color of the n-th level of a column."""
    return PALETTE[number % len(PALETTE)]


def on_ramp(values: np.ndarray) -> np.ndarray:
    """Colors of values from the smallest to the largest, (n,); gray where there is none."""
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(values), _UNKNOWN)
    low, high = values[known].min(), values[known].max()
    part = np.where(known, values - low, 0) / ((high - low) or 1.0)
    steps = np.minimum((part * 10).astype(int), 9) / 9 * (len(_RAMP) - 1)
    lower = np.minimum(steps.astype(int), len(_RAMP) - 2)
    rgb = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in _RAMP])
    mixed = rgb[lower] + (steps - lower)[:, None] * (rgb[lower + 1] - rgb[lower])
    colors = np.array([f"#{r:02X}{g:02X}{b:02X}" for r, g, b in mixed.round().astype(int)])
    return np.where(known, colors, _UNKNOWN)


def points(xy: np.ndarray, colors: Sequence[str], label: str, size: int = 300) -> str:
    """A map of cells, (n, 2) coordinates from 0 to 1; points of one color are one path."""
    place = np.round(np.c_[xy[:, 0], 1 - xy[:, 1]] * (size - 12) + 6, 1)
    color = np.asarray(colors)
    radius = 3.2 if len(xy) < 1000 else 2.2
    paths = []
    for one in dict.fromkeys(color.tolist()):
        moves = "".join(f"M{x:g} {y:g}h0" for x, y in place[color == one])
        paths.append(f'<path d="{moves}" stroke="{one}"/>')
    return _svg(
        size, size, label,
        f'<g stroke-width="{radius}" stroke-linecap="round" fill="none">{"".join(paths)}</g>',
    )  # fmt: skip


def lines(
    series: dict[str, tuple[np.ndarray, np.ndarray]],
    x_label: str,
    y_label: str,
    marks: Sequence[float] = (),
) -> str:
    """Curves by name, with dotted lines at some x."""
    width, height = 560, 260
    x = np.concatenate([x for x, _ in series.values()])
    y = np.concatenate([y for _, y in series.values()])
    axes = _Axes(width, height, _limits(x), _limits(y))
    parts = [axes.drawn(x_label, y_label)]
    parts += [
        f'<line x1="{axes.x(at):.1f}" x2="{axes.x(at):.1f}" y1="{_TOP}" y2="{height - _BOTTOM}" '
        'stroke="#999" stroke-dasharray="2 3"/>'
        for at in marks
    ]
    for number, (name, (px, py)) in enumerate(series.items()):
        kept = np.isfinite(py)
        path = "L".join(
            f"{axes.x(a):.1f} {axes.y(b):.1f}" for a, b in zip(px[kept], py[kept], strict=True)
        )
        color = color_of(number)
        parts.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="1.8"/>')
        parts.append(
            _text(width - _RIGHT - 4, height - _BOTTOM - 24 + 16 * number, name, "end", color)
        )
    return _svg(width, height, f"{y_label} by {x_label}", "".join(parts))


def histogram(values: np.ndarray, x_label: str, y_label: str, color: str) -> str:
    """Counts of cells on a logarithmic scale."""
    width, height = 360, 200
    logs = np.log10(np.maximum(values, 1))
    number, edges = np.histogram(logs, bins=min(40, max(5, int(np.sqrt(len(values))))))
    axes = _Axes(width, height, (edges[0], edges[-1]), (0.0, float(number.max())))
    bars = "".join(
        f'<rect x="{axes.x(a):.1f}" y="{axes.y(n):.1f}" width="{axes.x(b) - axes.x(a):.1f}" '
        f'height="{axes.y(0) - axes.y(n):.1f}" fill="{color}"/>'
        for n, a, b in zip(number, edges, edges[1:], strict=False)
    )
    return _svg(width, height, x_label, bars + axes.drawn(x_label, y_label, log_x=True))


def bars(names: Sequence[str], values: Sequence[float], colors: Sequence[str], x_label: str) -> str:
    """Horizontal bars, one a line, with their values."""
    width, row = 460, 20
    height = row * len(names) + 26
    left = 14 + 7 * max(len(name) for name in names)
    longest = max(values) or 1
    parts = []
    for number, (name, value, color) in enumerate(zip(names, values, colors, strict=True)):
        y, length = number * row, (width - left - 60) * value / longest
        parts.append(_text(left - 6, y + 14, name, "end"))
        parts.append(
            f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="{row - 6}" fill="{color}"/>'
        )
        parts.append(_text(left + length + 5, y + 14, f"{value:,g}", "start", "#555"))
    parts.append(_text(left, height - 6, x_label, "start", "#555"))
    return _svg(width, height, x_label, "".join(parts))


def heat(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], label: str, word: str
) -> str:
    """Values of features (rows) in groups (columns), each row from its lowest to its highest.

    Names of groups that are wider than a column stand upright. `word`: for one of the groups.
    """
    cell, longest = 20, max(len(name) for name in columns)
    left = 12 + 7 * max(len(name) for name in rows)
    upright = longest > 2
    width = left + cell * len(columns) + 8
    height = cell * len(rows) + (14 + 7 * longest if upright else 30)
    parts = []
    for i, name in enumerate(rows):
        parts.append(_text(left - 6, i * cell + 14, name, "end"))
        colors = on_ramp(values[i])
        for j, column in enumerate(columns):
            said = f"{values[i, j]:.3g}" if np.isfinite(values[i, j]) else "not measured"
            title = escape(f"{name}, {word} {column}: {said}")
            parts.append(
                f'<rect x="{left + j * cell}" y="{i * cell}" width="{cell - 1}" '
                f'height="{cell - 1}" fill="{colors[j]}"><title>{title}</title></rect>'
            )
    for j, column in enumerate(columns):
        x, y = left + j * cell + cell / 2, cell * len(rows) + (8 if upright else 14)
        parts.append(_turned(x + 4, y, column, "end") if upright else _text(x, y, column, "middle"))
    return _svg(width, height, label, "".join(parts))


def tree(of: ClusterTree, cluster: np.ndarray) -> str:
    """The tree of clusters, with a dashed line where it is cut.

    Args:
        of: The tree.
        cluster: Cluster of each component, (K,).
    """
    n = len(of.n_cells)
    members = [[leaf] for leaf in range(n)]
    for a, b in of.merges:
        members.append(members[a] + members[b])
    order = np.argsort(members[-1])
    x = [float(np.mean(order[leaves])) for leaves in members]
    floor = 1e-3  # connectivities below it are drawn there
    height = np.log10(np.maximum(of.connectivity, floor))
    bottom = max([*height, 0.0]) + 0.3
    y = np.concatenate([np.full(n, bottom), height])
    width, tall = max(320, 26 * n + _LEFT + _RIGHT), 280
    axes = _Axes(width, tall, (-0.6, n - 0.4), (bottom, -3.1))
    own = [{int(cluster[of.component[leaf]]) for leaf in leaves} for leaves in members]
    color = ["#666" if len(one) > 1 else color_of(min(one)) for one in own]
    parts = []
    for made, (a, b) in enumerate(of.merges, n):
        top = axes.y(y[made])
        for one in (a, b):
            across = axes.x(x[one])
            parts.append(
                f'<path d="M{across:.1f} {axes.y(y[one]):.1f}V{top:.1f}H{axes.x(x[made]):.1f}" '
                f'fill="none" stroke="{color[one]}" stroke-width="2"/>'
            )
    for leaf in range(n):
        place = axes.x(x[leaf])
        parts.append(_text(place, tall - _BOTTOM + 14, f"{min(own[leaf])}", "middle", color[leaf]))
        parts.append(_text(place, tall - _BOTTOM + 28, f"{of.n_cells[leaf]}", "middle", "#555", 9))
    # between the last merge within a cluster (without one, the leaves) and the first of clusters
    last = n - len(set().union(*own))
    cut = axes.y(np.mean([bottom, *height, np.log10(floor)][last : last + 2]))
    parts.append(
        f'<line x1="{_LEFT}" x2="{width - _RIGHT}" y1="{cut:.1f}" y2="{cut:.1f}" stroke="#999" '
        'stroke-dasharray="5 4"/>'
    )
    for tick in (10, 3, 1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001):
        if np.log10(tick) <= bottom:
            at = axes.y(np.log10(tick))
            parts.append(_text(_LEFT - 8, at + 4, f"{tick:g}", "end", "#555"))
    parts.append(_turned(13, (tall - _BOTTOM) / 2, "connectivity"))
    return _svg(width, tall, "tree of clusters", "".join(parts))


class _Axes:
    """A frame with ticks, and places in it."""

    def __init__(
        self, width: int, height: int, x: tuple[float, float], y: tuple[float, float]
    ) -> None:
        self.width, self.height, self._x, self._y = width, height, x, y

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / ((high - low) or 1) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        tall = self.height - _TOP - _BOTTOM
        return self.height - _BOTTOM - (value - low) / ((high - low) or 1) * tall

    def drawn(self, x_label: str, y_label: str, log_x: bool = False) -> str:
        bottom = self.height - _BOTTOM
        parts = [
            f'<path d="M{_LEFT} {_TOP}V{bottom}H{self.width - _RIGHT}" fill="none" stroke="#444"/>',
            _text((_LEFT + self.width) / 2, self.height - 6, x_label, "middle"),
            _turned(13, bottom / 2, y_label),
        ]
        for tick, name in _log_ticks(*self._x) if log_x else _named(_ticks(*self._x)):
            parts.append(_text(self.x(tick), bottom + 15, name, "middle", "#555"))
        parts += [
            _text(_LEFT - 6, self.y(tick) + 4, f"{tick:,g}", "end", "#555")
            for tick in _ticks(*self._y)
        ]
        return "".join(parts)


def _limits(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)


def _named(ticks: list[float]) -> list[tuple[float, str]]:
    return [(tick, f"{tick:,g}") for tick in ticks]


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Whole numbers between two, given as logarithms; their places, and what they are.

    They are 1, 2 and 5 times powers of 10. Where these are fewer than 3, they are at even
    distances, and where they have no room, the powers alone, or every other one of these.
    """
    numbers = _within([a * 10**power for power in range(16) for a in (1, 2, 5)], low, high)
    if len(numbers) < 3:
        even = _ticks(10**low, 10**high)
        numbers = _within([int(one) for one in even if one >= 1 and one == int(one)], low, high)
    elif len(numbers) > 7:
        numbers = _within(
            [10**power for power in range(0, 16, 1 + int(high - low) // 6)], low, high
        )
    return [(float(np.log10(one)), f"{one:,}") for one in numbers]


def _within(numbers: list[int], low: float, high: float) -> list[int]:
    return [one for one in numbers if low <= np.log10(one) <= high]


def _ticks(low: float, high: float) -> list[float]:
    """About four round numbers between two."""
    step = (high - low) / 4 or 1.0
    power = 10.0 ** np.floor(np.log10(step))
    step = power * min((1, 2, 5, 10), key=lambda part: abs(part * power - step))
    first = np.ceil(low / step) * step
    return [float(f"{tick:.12g}") for tick in np.arange(first, high + step / 1e6, step)]


def _text(x: float, y: float, text: str, anchor: str, color: str = "#222", size: int = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{color}">{escape(text)}</text>'
    )


def _turned(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<g transform="rotate(-90 {x:g} {y:g})">{_text(x, y, text, anchor)}</g>'


def _svg(width: float, height: float, label: str, content: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" role="img" aria-label="{escape(label)}">{content}</svg>'
    )
