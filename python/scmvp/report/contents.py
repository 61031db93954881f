"""What a report shows of a fit, in numbers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..data.labels import level_codes, level_names
from ..data.levels import both_columns
from ..data.matrices import cell_totals, columns_of, in_memory, rows_of
from ..data.paired import Paired
from ..errors import InputError, LeftOut
from ..fit.tree import ClusterTree
from ..modalities import MODALITIES, listed
from ..progress import Stages
from ..settings import own_settings
from ..tools.groups import NothingToTest
from ..words import count_of, in_a_row
from .layout import layout

if TYPE_CHECKING:
    from ..model import SCMVP

SHOWN_CELLS = 3_000  # of a map; the numbers are of all cells unless it is said
NEIGHBORS = 15
# Cohen's kappa below which a modality is said not to separate the clusters. Scores without signal
# are at most there in 99 of 100 cases with 30 cells, and below .1 with 400.
WEAK_AGREEMENT = 0.25
ONE_BATCH = 0.9
DEPTH_RATIO = 2.5
UNSURE = 0.7
LIKE_DOUBLETS = 0.5
MOST_LEVELS = 60


@dataclass
class Cells:
    """The cells of a report and what is known of each.

    Attributes:
        names: (n,).
        latent: (n, D).
        probabilities: Probabilities of their clusters, (n, C).
        columns: Columns of their metadata, one row per cell.
        batches: Names of those columns that the model has as batches.
        groupby: The one of these columns whose levels the markers are of; None: the clusters.
    """

    names: np.ndarray
    latent: np.ndarray
    probabilities: np.ndarray
    columns: pd.DataFrame
    batches: list[str]
    groupby: str | None = None

    @property
    def groups(self) -> pd.Series:
        """Those that the markers are of, (n,): names in their order; NaN in none."""
        if self.groupby is None:
            number = np.unique(self.cluster)  # in the order of numbers, not of text
            found = pd.Categorical(self.cluster.astype(str), number.astype(str))
        else:
            values = self.columns[self.groupby]
            code, levels = level_codes(values, level_names(values))
            found = pd.Categorical.from_codes(code, levels)
        return pd.Series(found, index=self.names)

    @property
    def word(self) -> str:
        """For one of these groups."""
        return "cluster" if self.groupby is None else f"group of {self.groupby}"

    @property
    def cluster(self) -> np.ndarray:
        """The most probable one of each, (n,)."""
        return self.probabilities.argmax(1)

    @property
    def certainty(self) -> np.ndarray:
        """Its probability, (n,)."""
        return self.probabilities.max(1)


@dataclass
class Contents:
    """Everything on the page. What needs counts is empty where there are none."""

    cells: Cells
    shown: np.ndarray  # which cells are on the maps
    places: np.ndarray  # of these, (s, 2), 0 to 1
    layout: str  # how they were placed
    account: dict[str, Any]
    summary: dict[str, Any]
    history: dict[str, list]
    depth: dict[str, np.ndarray] = field(default_factory=dict)  # by modality, (n,)
    converted: bool = False  # whether insertions were converted to the fragments of the ATAC depth
    markers: dict[str, pd.DataFrame] = field(default_factory=dict)
    n_markers: dict[str, pd.Series] = field(default_factory=dict)  # called ones, by group
    # features, groups that have cells, measured, imputed (f, groups)
    means: dict[str, tuple] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    doublets: np.ndarray | None = None  # scores, (n,)
    mixing: pd.DataFrame | None = None
    tree: ClusterTree | None = None
    cluster_of: np.ndarray | None = None  # of each component, (K,); None where it is the component
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)  # clusters, why, by modality
    warnings: list[str] = field(default_factory=list)


@own_settings()
def contents_of(
    model: SCMVP,
    cells: Cells,
    paired: Paired | None,
    coordinates: np.ndarray | None,
    n_markers: int,
    seed: int,
    stages: Stages,
) -> Contents:
    """What a report of these cells has.

    Args:
        model: The fit.
        cells: The cells.
        paired: Their counts in the features of the model, in the same order; None without.
        coordinates: Their places on a map, (n, 2); None: made here.
        n_markers: Features to list of each cluster.
        seed: Seed of the cells that are shown and of their places, of the tests and of the
            simulated doublets.
        stages: For what takes long.
    """
    n = len(cells.names)
    chosen = np.random.default_rng(seed).permutation(n)[:SHOWN_CELLS]
    shown = np.sort(chosen)
    if coordinates is None:
        with stages.stage("placing the cells on a map"):
            places, name = layout(cells.latent[shown], seed)
        name = f"{name} of the joint latent"
    else:
        places, name = coordinates[shown], "the given coordinates"
    spread = np.ptp(places, axis=0)
    places = (places - places.min(0)) / np.where(spread > 0, spread, 1)
    found = Contents(
        cells, shown, places, name, model.account, model.summary(), model.history,
    )  # fmt: skip
    if paired is not None:
        found.depth = {name: cell_totals(counts) for name, counts in paired.counts.items()}
        found.converted = paired.converted
        _add_markers(found, model, paired, n_markers, seed, stages)
        with stages.stage("simulating doublets"), suppress(InputError):  # of too few cells
            found.doublets = model.doublet_scores(paired, seed=seed).to_numpy()
        with stages.stage("comparing the modalities"):
            found.agreement = _agreement(found, model, paired)
    found.mixing = _mixing(cells, shown)
    found.warnings = warnings_of(found)
    return found


# ---- clusters and modalities ---------------------------------------------------------------------


def _add_markers(
    found: Contents, model: SCMVP, paired: Paired, n_markers: int, seed: int, stages: Stages
) -> None:
    labels = found.cells.groups
    if labels.nunique() < 2:
        return
    for modality in model.features:
        if not found.depth[modality].any():
            continue
        word = MODALITIES[modality].features
        with stages.stage(f"testing {word}"):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", LeftOut)  # the page tells it
                    table = model.differential(
                        modality, paired, groupby=labels, only_pos=True, n_samples=1, seed=seed
                    )
            except NothingToTest as error:
                found.left_out[modality] = error.left_out
                continue
        found.left_out[modality] = table.attrs["left_out"]
        called = table[table["is_de"]]
        number = called["group"].value_counts()
        tested = [group for group, _ in table.attrs["comparisons"]]
        found.n_markers[modality] = number.reindex(tested, fill_value=0)
        found.markers[modality] = called.groupby("group", sort=False).head(n_markers)
        first = called.drop_duplicates("group")["feature"].drop_duplicates()
        if len(first):
            found.means[modality] = _means(found, model, paired, modality, list(first))


def _means(
    found: Contents, model: SCMVP, paired: Paired, modality: str, features: list[str]
) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """Mean of measured (per 10,000 counts, or levels) and imputed values by group with cells."""
    groups = found.cells.groups
    used = list(groups.cat.categories)
    at = pd.Index(paired.features[modality]).get_indexer(features)
    by_group = [np.flatnonzero(groups == one) for one in used]
    # in cells without counts of the modality it was not measured
    with_counts = [rows[found.depth[modality][rows] > 0] for rows in by_group]
    counts = paired.counts[modality]
    if MODALITIES[modality].is_level:
        columns = both_columns(at, counts.shape[1] // 2)
        measured = _levels(in_memory(columns_of(counts, columns)), with_counts)
    else:
        counts = in_memory(columns_of(counts, at))
        scale = 1e4 / np.maximum(found.depth[modality], 1)
        scaled = counts.multiply(scale[:, None]).tocsr()
        none = np.full(len(at), np.nan)
        measured = [
            np.asarray(scaled[rows].mean(0)).ravel() if len(rows) else none for rows in with_counts
        ]
    imputed = model.decode(found.cells.latent, modality, features)
    return (
        features,
        used,
        np.column_stack(measured),
        np.column_stack([imputed[rows].mean(0) for rows in by_group]),
    )


def _levels(counts: Any, by_group: list[np.ndarray]) -> list[np.ndarray]:
    """Methylated by covered positions of each group, (f,)."""
    found = []
    for rows in by_group:
        m, u = np.split(np.asarray(counts[rows].sum(0, dtype=np.float64)).ravel(), 2)
        found.append(np.divide(m, m + u, out=np.full_like(m, np.nan), where=m + u > 0))
    return found


def _agreement(found: Contents, model: SCMVP, paired: Paired) -> dict[str, float]:
    """Cohen's kappa of the clusters and those of a cell's neighbors in one modality alone.

    A cell is given the cluster that most of its 15 neighbors have by the scores of one modality. In
    its latent they would agree even without signal, because encoders overfit to the few cells of a
    small fit. There is no value if all cells are in one cluster.
    """
    kappa, shown = {}, found.shown
    cluster, n = found.cells.cluster[shown], found.cells.probabilities.shape[1]
    counts = {name: rows_of(part, shown) for name, part in paired.counts.items()}
    obs = None if paired.obs is None else paired.obs.iloc[shown]
    some = replace(paired, counts=counts, cells=paired.cells[shown], obs=obs)
    for modality, scores in model.input_scores(some).items():
        rows = np.flatnonzero(found.depth[modality][shown] > 0)
        if len(rows) < 2 * NEIGHBORS or len(np.unique(cluster[rows])) < 2:
            continue
        # with tied scores, the first cells count as nearest, and the cells may be sorted by cluster
        rows = np.random.default_rng(0).permutation(rows)
        own = cluster[rows]
        guess = np.eye(n)[own[_neighbors(scores[rows])]].sum(1).argmax(1)
        chance = float(np.bincount(own, minlength=n) @ np.bincount(guess, minlength=n))
        chance /= len(own) ** 2
        right = float((guess == own).mean())
        kappa[modality] = (right - chance) / (1 - chance)
    return kappa


def _mixing(cells: Cells, shown: np.ndarray) -> pd.DataFrame | None:
    """How many of a cell's neighbors are of its own batch, and how many would be by chance."""
    if not cells.batches or len(shown) <= NEIGHBORS:
        return None
    neighbors = _neighbors(cells.latent[shown])
    rows = []
    for name in cells.batches:
        code = pd.factorize(cells.columns[name].astype(str))[0][shown]
        same = float((code[neighbors] == code[:, None]).mean())
        part = np.bincount(code) / len(code)
        rows.append({"column": name, "of the same batch": same, "by chance": float(part @ part)})
    return pd.DataFrame(rows)


def _neighbors(latent: np.ndarray) -> np.ndarray:
    """Nearest other rows of each row, (n, 15)."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=NEIGHBORS + 1).fit(latent)
    return search.kneighbors(return_distance=False, n_neighbors=NEIGHBORS)


# ---- warnings ------------------------------------------------------------------------------------


def warnings_of(found: Contents) -> list[str]:
    """What a reader should know before the clusters are given names, as sentences."""
    parts = (_of_training, _of_modalities, _of_clusters, _of_markers)
    return [sentence for part in parts for sentence in part(found)]


def _of_training(found: Contents) -> list[str]:
    said, summary = [], found.summary
    if summary["interrupted"]:
        said.append("The training was interrupted; the best state until then is shown.")
    elif summary["best_epoch"] == summary["epochs"] == summary["options"]["max_epochs"]:
        said.append(
            "The held-out ELBO was still rising in the last epoch; more epochs may fit better."
        )
    return said


def _of_modalities(found: Contents) -> list[str]:
    said, strong = [], [name for name, k in found.agreement.items() if k >= WEAK_AGREEMENT]
    for modality, kappa in found.agreement.items():
        if kappa < WEAK_AGREEMENT:
            label = MODALITIES[modality].label
            subject = f"{label[0].upper()}{label[1:]}{' alone' if len(found.depth) > 1 else ''}"
            based = f"; they are mainly based on {listed(strong)}" if strong else ""
            said.append(f"{subject} hardly separates the clusters (agreement {kappa:.2f}){based}.")
    return [*said, *without_counts(found)]


def without_counts(found: Contents) -> list[str]:
    """Of each modality that cells of the page lack, how many; of the fit where it has no counts."""
    said = []
    for modality in MODALITIES.values():
        n = found.account.get(f"cells_without_{modality.name}", 0)
        if found.depth:
            n = int((found.depth.get(modality.name, np.ones(1)) == 0).sum())
        if n:
            said.append(f"{count_of(n, 'cell', 'has', 'have')} no {modality.label} counts.")
    return said


def _of_clusters(found: Contents) -> list[str]:
    cells, said = found.cells, []
    cluster = cells.cluster
    used = np.unique(cluster)
    for name in cells.batches:
        level = cells.columns[name].astype(str).to_numpy()
        whole = pd.Series(level).value_counts(normalize=True)
        for one in used:
            part = pd.Series(level[cluster == one]).value_counts(normalize=True)
            if part.iloc[0] >= ONE_BATCH > 1.2 * whole[part.index[0]]:
                said.append(
                    f"Cluster {one} is {100 * part.iloc[0]:.0f} % cells of '{part.index[0]}' in "
                    f"'{name}', of which all cells have {100 * whole[part.index[0]]:.0f} %."
                )
    if found.doublets is not None:
        # cells of one modality have no score
        scored = pd.Series(found.doublets).groupby(cluster).median()
        like = scored.index[scored > LIKE_DOUBLETS].tolist()
        if like:
            said.append(f"Most cells of {_named(like)} resemble doublets of other clusters.")
    unsure = [one for one in used if np.median(cells.certainty[cluster == one]) < UNSURE]
    if unsure:
        said.append(
            f"Many cells of {_named(unsure)} cannot be assigned with confidence (median "
            f"probability below {UNSURE})."
        )
    return said


def _of_markers(found: Contents) -> list[str]:
    said, word = [], found.cells.word
    for modality, left_out in found.left_out.items():
        if left_out:
            named = _named([f"{one} ({why})" for one, why in left_out.items()], word)
            said.append(f"Too few cells for a test of {MODALITIES[modality].features}: {named}.")
    if found.n_markers:
        number = pd.DataFrame(found.n_markers).sum(axis=1)
        without = number.index[number == 0].tolist()
        if without:
            none = in_a_row([f"no {MODALITIES[name].feature}" for name in found.n_markers])
            said.append(
                f"In {_named(without, word)}, {none} is significantly higher than in the other "
                "cells."
            )
        said += _of_depth(found, number)
    return said


def _of_depth(found: Contents, number: pd.Series) -> list[str]:
    """Groups that differ from the others in depth and hardly in anything else."""
    few = number.index[number < max(5, 0.1 * number.median())]
    groups, word = found.cells.groups, found.cells.word
    deep, shallow = [], []
    for one in few:
        own = (groups == one).to_numpy()
        ratios = []
        for depth in found.depth.values():
            inside, outside = (depth[cells & (depth > 0)] for cells in (own, ~own))
            if len(inside) and len(outside):
                ratios.append(np.median(inside) / np.median(outside))
        if not ratios:
            continue
        if min(ratios) > DEPTH_RATIO:
            deep.append(one)
        elif max(ratios) < 1 / DEPTH_RATIO:
            shallow.append(one)
    said = []
    if deep:
        named = _named(deep, word)
        said.append(f"The cells of {named} have many counts and few markers: doublets?")
    if shallow:
        named = _named(shallow, word)
        said.append(f"The cells of {named} have few counts and few markers: empty drops?")
    return said


def _named(groups: Sequence[object], word: str = "cluster") -> str:
    """Groups in sentences: "clusters 1 and 2", "group B of cell_type"."""
    noun, *of = word.split(" ", 1)
    plural = "s" if len(groups) > 1 else ""
    return " ".join([f"{noun}{plural}", in_a_row(list(map(str, groups))), *of])


def columns_to_show(obs: pd.DataFrame, wanted: Sequence[str] | None) -> list[str]:
    """Columns for the maps: those named, else numbers and those of at most 60 levels."""
    if wanted is not None:
        return list(wanted)
    return [
        name
        for name in obs
        if pd.api.types.is_numeric_dtype(obs[name]) or 1 < obs[name].nunique() <= MOST_LEVELS
    ]
