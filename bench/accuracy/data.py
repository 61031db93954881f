"""The data sets: real ones read from a folder, simulated ones made here, the same for all methods.

Every method gets the same cells and the same features: those seen in at least 10 cells, ATAC as
fragments.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

import scmvp
from scmvp.data.matrices import feature_cells
from scmvp.data.preprocess import counts_insertions, insertions_to_fragments

SEED = 20261124
MIN_CELLS = 10
MIN_BATCH_CELLS = 300
# Labels of fewer cells are not scored: they have no information about a method.
MIN_LABEL_CELLS = 5
UNSCORED = ("Mis",)
TRAINING_PART = 0.9

REAL = ("sccat_celllines", "multiome_pbmc2k", "scicar_a549", "snare_cortex")

_SIZE = {"n_cells": 1500, "n_genes": 2000, "n_peaks": 5000, "seed": SEED}
_MEDIUM = _SIZE | {"median_umi": 1500, "median_fragments": 1500}
SIMULATED = {
    "sim_medium": _MEDIUM | {"n_types": 10},
    "sim_sparse": _SIZE
    | {"n_types": 8, "median_umi": 700, "median_fragments": 700, "ambient": 0.1},
    "sim_hard": _SIZE | {"n_types": 5, "median_umi": 600, "median_fragments": 950, "ambient": 0.35},
    # deep, and the types hardly differ
    "sim_subtle": _SIZE
    | {
        "n_cells": 2500,
        "n_genes": 3000,
        "n_peaks": 8000,
        "n_types": 12,
        "median_umi": 4000,
        "median_fragments": 6000,
        "gene_fold": 2.0,
        "peak_fold": 1.4,
    },
    # few counts, and many types of small folds
    "sim_faint": _SIZE
    | {
        "n_types": 16,
        "median_umi": 700,
        "median_fragments": 800,
        "gene_fold": 3.0,
        "peak_fold": 1.8,
    },
    "sim_rna": _MEDIUM | {"n_types": 8, "separated_by": "rna"},
    "sim_atac": _MEDIUM | {"n_types": 8, "separated_by": "atac"},
    "sim_together": _MEDIUM | {"n_types": 8, "separated_by": "together"},
    # only to try whether everything runs
    "sim_tiny": {"n_cells": 200, "n_genes": 300, "n_peaks": 600, "n_types": 4, "seed": SEED},
}
# a fifth of the counts, under the labels found with all counts
THINNED = ("multiome_pbmc2k@0.2",)
DEFAULT = (*REAL, *THINNED, *(name for name in SIMULATED if name != "sim_tiny"))


@dataclass
class Truth:
    """What the counts of one simulated modality were drawn from.

    `profile` is features x types, `ambient_profile` (features,), each summing to one over all
    simulated features; `ambient` (cells,) is the part of a cell's counts from the ambient profile,
    `type_of` (cells,) its column of `profile`, `marker` (features,) whether the feature differs.
    """

    profile: np.ndarray
    ambient_profile: np.ndarray
    ambient: np.ndarray
    type_of: np.ndarray
    marker: np.ndarray

    def proportions(self, features: np.ndarray) -> np.ndarray:
        """Expected part of each cell's counts on some features, (cells, len(features))."""
        own = self.profile[features].T[self.type_of]
        shared = self.ambient_profile[features]
        return (1 - self.ambient)[:, None] * own + self.ambient[:, None] * shared

    def of_features(self, kept: np.ndarray) -> Truth:
        """The same cells with some of the features."""
        return dataclasses.replace(
            self,
            profile=self.profile[kept],
            ambient_profile=self.ambient_profile[kept],
            marker=self.marker[kept],
        )


@dataclass
class Paired:
    """Counts of the same cells in both modalities and what is known about them.

    `x` is cells x genes, `y` cells x peaks, float32 CSR counts. `scored` says which cells take part
    in the scores; all take part in the fits. `genes` and `peaks` are indexed by name, with columns
    'chrom' and 'position' where these are known. `links` has the columns 'gene' and 'peak'.
    """

    name: str
    x: sp.csr_matrix
    y: sp.csr_matrix
    labels: np.ndarray
    scored: np.ndarray
    genes: pd.DataFrame
    peaks: pd.DataFrame
    batch: np.ndarray | None = None
    truth: dict[str, Truth] | None = None
    links: pd.DataFrame | None = None

    @property
    def n_labels(self) -> int:
        """Number of labels among the scored cells, the K that all methods are given."""
        return len(np.unique(self.labels[self.scored]))

    def of_cells(self, kept: np.ndarray) -> Paired:
        """The same features in some of the cells; of real data only."""
        return dataclasses.replace(
            self,
            x=self.x[kept],
            y=self.y[kept],
            labels=self.labels[kept],
            scored=self.scored[kept],
            batch=None if self.batch is None else self.batch[kept],
        )

    def of_features(self, genes: np.ndarray, peaks: np.ndarray) -> Paired:
        """The same cells with some of the features, given by position."""
        truth = self.truth
        if truth is not None:
            truth = {
                "rna": truth["rna"].of_features(genes),
                "atac": truth["atac"].of_features(peaks),
            }
        return dataclasses.replace(
            self,
            x=self.x[:, genes].tocsr(),
            y=self.y[:, peaks].tocsr(),
            genes=self.genes.iloc[genes],
            peaks=self.peaks.iloc[peaks],
            truth=truth,
        )


def load(name: str, folder: Path) -> Paired:
    """A data set by name: simulated, a folder in `folder`, or 'folder:batch' for one batch of it.

    With '@0.2' at the end, a fifth of its counts, drawn one by one, the same on every call.

    Raises:
        ValueError: There is no such data set or batch, or no such part of its counts.
    """
    whole, _, part = name.partition("@")
    if part:
        fraction = part_of(part)  # before the whole is read
        paired, _ = thin(load(whole, folder), 0, fraction)
        return dataclasses.replace(seen_often(paired), name=name)
    if name in SIMULATED:
        return seen_often(of_mudata(name, scmvp.simulate(**SIMULATED[name])))
    base, _, batch = name.partition(":")
    if not (folder / base).is_dir():
        known = ", ".join(SIMULATED)
        raise ValueError(f"{name}: neither a folder in {folder} nor one of {known}")
    paired = of_mudata(name, scmvp.read(folder / base))
    if batch:
        if paired.batch is None or batch not in paired.batch:
            raise ValueError(f"{base} has no batch {batch}")
        paired = paired.of_cells(np.flatnonzero(paired.batch == batch))
    return seen_often(paired)


def part_of(text: str) -> float:
    """A number between 0 and 1.

    Raises:
        ValueError: It is none.
    """
    with contextlib.suppress(ValueError):
        part = float(text)
        if 0 < part < 1:
            return part
    raise ValueError(f"'@{text}' is no part of the counts; give a number between 0 and 1")


def expand(names: list[str], folder: Path) -> list[str]:
    """Names with every 'folder:*' replaced by one name for each batch of enough cells."""
    expanded = []
    for name in names:
        base, _, batch = name.partition(":")
        if batch != "*":
            expanded.append(name)
            continue
        batches, n_cells = np.unique(load(base, folder).batch.astype(str), return_counts=True)
        expanded += [f"{base}:{one}" for one in batches[n_cells >= MIN_BATCH_CELLS]]
    return expanded


def thin(
    paired: Paired, seed: int, fraction: float = TRAINING_PART
) -> tuple[Paired, dict[str, sp.csr_matrix]]:
    """Split the counts one by one: a `fraction` of them for training, the rest held out.

    Features that lose all their training counts are left out of both.

    Returns:
        The training part, and by modality the held-out counts, (cells, features) CSR.
    """
    rng = np.random.default_rng([SEED, seed])
    training, held_out = {}, {}
    for modality, counts in (("rna", paired.x), ("atac", paired.y)):
        chosen = rng.binomial(counts.data.astype(np.int64), fraction).astype(np.float32)
        for part, data in ((training, chosen), (held_out, counts.data - chosen)):
            part[modality] = sp.csr_matrix((data, counts.indices, counts.indptr), counts.shape)
            part[modality] = _without_zeros(part[modality])
    kept = {name: np.flatnonzero(feature_cells(part)) for name, part in training.items()}
    split = dataclasses.replace(paired, x=training["rna"], y=training["atac"])
    return (
        split.of_features(kept["rna"], kept["atac"]),
        {name: part[:, kept[name]].tocsr() for name, part in held_out.items()},
    )


def to_mudata(paired: Paired, cells: np.ndarray | slice = slice(None)):
    """The counts of some of the cells, by position, under the names of their features."""
    parts = [(m.data, m.indices, m.indptr) for m in (paired.x[cells], paired.y[cells])]
    names = [f"cell{i}" for i in np.arange(paired.x.shape[0])[cells]]
    return scmvp.from_parts(*parts, names, paired.genes.index, paired.peaks.index)


def of_mudata(name: str, mdata) -> Paired:
    """Counts of paired cells, ATAC as fragments, and their labels."""
    x, y = (sp.csr_matrix(mdata[m].X, dtype=np.float32) for m in ("rna", "atac"))
    if counts_insertions(y):
        y = insertions_to_fragments(y).astype(np.float32)
    obs = mdata["rna"].obs
    labels = obs["cell_type"].astype(str).to_numpy()
    simulated = name in SIMULATED
    return Paired(
        name=name,
        x=x,
        y=y,
        labels=labels,
        scored=~np.isin(labels, UNSCORED),
        genes=_features(mdata["rna"].var, simulated),
        peaks=_features(mdata["atac"].var, simulated),
        batch=obs["batch"].astype(str).to_numpy() if "batch" in obs else None,
        truth=_truth(mdata, labels) if simulated else None,
        links=_detectable_links(mdata) if simulated else None,
    )


def _features(var: pd.DataFrame, positions: bool) -> pd.DataFrame:
    if not positions:
        return pd.DataFrame(index=var.index)
    position = var["tss"] if "tss" in var else (var["start"] + var["end"]) // 2
    return pd.DataFrame({"chrom": var["chrom"].astype(str), "position": position})


def _truth(mdata, labels: np.ndarray) -> dict[str, Truth]:
    types = list(mdata.uns["types"])
    return {
        modality: Truth(
            profile=np.asarray(mdata[modality].varm["true_profile"]),
            ambient_profile=mdata[modality].var["ambient_profile"].to_numpy(),
            ambient=mdata[modality].obs["ambient"].to_numpy(),
            type_of=np.array([types.index(label) for label in labels]),
            marker=mdata[modality].var["marker_of"].astype(str).to_numpy() != "",
        )
        for modality in ("rna", "atac")
    }


def _detectable_links(mdata) -> pd.DataFrame:
    """Links of which both ends differ between types; the others leave no trace in the counts."""
    links = mdata.uns["links"]
    differs = np.ones(len(links), dtype=bool)
    for modality, end in (("rna", "gene"), ("atac", "peak")):
        marker_of = mdata[modality].var["marker_of"].astype(str)
        differs &= (marker_of.loc[links[end]] != "").to_numpy()
    return links.loc[differs, ["gene", "peak"]]


def seen_often(paired: Paired) -> Paired:
    """Without features seen in few cells and cells without counts; rare labels not scored."""
    kept = [np.flatnonzero(feature_cells(m) >= MIN_CELLS) for m in (paired.x, paired.y)]
    paired = paired.of_features(*kept)
    labels, n_cells = np.unique(paired.labels, return_counts=True)
    rare = np.isin(paired.labels, labels[n_cells < MIN_LABEL_CELLS])
    paired = dataclasses.replace(paired, scored=paired.scored & ~rare)
    # TF-IDF and library sizes of a cell without counts are undefined for most methods.
    full = (np.diff(paired.x.indptr) > 0) & (np.diff(paired.y.indptr) > 0)
    return paired if full.all() else paired.of_cells(np.flatnonzero(full))


def _without_zeros(counts: sp.csr_matrix) -> sp.csr_matrix:
    counts = counts.copy()
    counts.eliminate_zeros()
    return counts
