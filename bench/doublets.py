"""Doublet scores beside Scrublet's, on doublets that were made by adding cells.

    python bench/doublets.py [--seeds 0 1 2] [--epochs 20] [--data-folder FOLDER]

A tenth of the cells are sums of two others, in both modalities. Prints for each data set the area
under the precision-recall curve, doublets of two types against single cells (the others are left
out), over seeds; then, of the scores of scMVP, their sum beside the number of doublets, and what
is above one half. With `--data`, real cells are taken from folders in it, too. Needs the extra
`analysis`.

    scrublet      on RNA, and on ATAC as it is on RNA
    depth         log counts, added over the modalities
    likelihood    log-likelihood ratio of two mean profiles to one, added over the modalities
    neighbors     scMVP without the depth
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import scanpy
import scipy.sparse as sp
from anndata import AnnData
from sklearn.metrics import average_precision_score

import scmvp
from scmvp.tools.doublets import place, probabilities, thinned

SIZE = {"n_cells": 1100, "n_genes": 1000, "n_peaks": 2000}
SIMULATED = {
    "deep": SIZE | {"median_umi": 3000, "median_fragments": 5000},
    "medium": SIZE | {"median_umi": 1500, "median_fragments": 1500},
    "sparse": SIZE | {"median_umi": 700, "median_fragments": 700},
    "gradient": SIZE
    | {"median_umi": 1500, "median_fragments": 1500, "n_types": 6, "ordered": True},
}
REAL = {"blood": "multiome_pbmc2k", "cortex": "snare_cortex"}
MOST_CELLS = 2200  # of real data
DOUBLETS = 0.1
Scores = dict[str, np.ndarray]


def cells_of(name: str, folder: Path | None, seed: int):
    """Paired cells without added doublets; their types are in the obs of the RNA."""
    if name in SIMULATED:
        return scmvp.simulate(seed=seed, **SIMULATED[name])
    mdata = scmvp.read(folder / REAL[name])
    chosen = np.random.default_rng(seed).permutation(mdata.n_obs)[:MOST_CELLS]
    return mdata[np.sort(chosen)].copy()


def with_doublets(mdata, kept: float, seed: int) -> tuple[tuple[AnnData, AnnData], np.ndarray]:
    """Both modalities, and of each cell 'single', 'hetero' or 'homo'.

    `kept`: part of the counts of two cells that their doublet has.
    """
    rng = np.random.default_rng(seed)
    n = int(mdata.n_obs * DOUBLETS / (1 + DOUBLETS))
    one, other, rest = np.split(rng.permutation(mdata.n_obs), [n, 2 * n])
    kind = mdata["rna"].obs["cell_type"].to_numpy().astype(str)
    pair = []
    for modality in ("rna", "atac"):
        counts = sp.csr_matrix(mdata[modality].X)
        sums = thinned(counts[one] + counts[other], np.full(n, kept), rng)
        both = sp.vstack([sums, counts[rest]], format="csr").astype(np.float32)
        part = AnnData(both[:, both.getnnz(0) > 0])
        part.obs_names = [f"cell{i}" for i in range(part.n_obs)]
        part.var_names = mdata[modality].var_names[both.getnnz(0) > 0]
        pair.append(part)
    of_two = np.where(kind[one] == kind[other], "homo", "hetero")
    return tuple(pair), np.concatenate([of_two, np.repeat("single", len(rest))])


def scrublet(part: AnnData, seed: int) -> np.ndarray:
    part = part.copy()
    scanpy.pp.scrublet(part, threshold=0.25, random_state=seed, verbose=False)
    return part.obs["doublet_score"].to_numpy()


def likelihood_ratio(counts: list[sp.csr_matrix], member: np.ndarray) -> np.ndarray:
    """How much better the mixture of two clusters explains a cell than one; (n,)."""
    one, two = 0.0, 0.0
    first, second = np.triu_indices(member.shape[1], 1)
    for part in counts:
        profile = (part.T @ member).T + 100 * (part.sum(0).A1 + 0.5) / (part.sum() + 0.5)
        profile /= profile.sum(1, keepdims=True)
        mixed = [
            part @ np.log(w * profile[first] + (1 - w) * profile[second]).T for w in (0.3, 0.5, 0.7)
        ]
        one, two = one + part @ np.log(profile).T, two + np.max(mixed, 0)
    return two.max(1) - one.max(1)


def all_scores(pair: tuple[AnnData, AnnData], epochs: int, seed: int) -> Scores:
    """By method; where the cells are of one cluster for the model, its scores are zero."""
    size = [part.X.sum(1).A1 for part in pair]
    scores = {
        "scrublet RNA": scrublet(pair[0], seed),
        "scrublet ATAC": scrublet(pair[1], seed),
        "depth": np.log1p(size).sum(0),
    }
    model = scmvp.SCMVP(pair).train(seed=seed, max_epochs=epochs, threads=1, progress=False)
    member = model.predict_proba(n_clusters=len(model.tree.n_cells))
    scores["likelihood"] = likelihood_ratio([part.X for part in pair], member[:, member.any(0)])
    rows, observed, simulated = place(
        model._fitted(), model._plan.scope, model._matched(None), None, seed
    )
    alone = [part._replace(depth=np.zeros_like(part.depth)) for part in (observed, simulated)]
    scores["neighbors"] = np.zeros(len(model.cells))
    scores["neighbors"][rows] = probabilities(*alone)
    scores["scMVP"] = model.doublet_scores(seed=seed).fillna(0).to_numpy()
    return scores


def main() -> None:
    """Two tables, a line per data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--data-folder", type=Path)
    arguments = parser.parse_args()
    names = [*SIMULATED, *(REAL if arguments.data_folder else [])]
    sets = [(name, 1.0) for name in names] + [(n, 0.7) for n in names if n in ("medium", "blood")]
    found = []
    for name, kept in sets:
        areas, counted = {}, []
        for seed in arguments.seeds:
            pair, kind = with_doublets(cells_of(name, arguments.data_folder, seed), kept, seed)
            told = kind != "homo"
            scores = all_scores(pair, arguments.epochs, seed)
            for method, values in scores.items():
                area = average_precision_score(kind[told] == "hetero", values[told])
                areas.setdefault(method, []).append(area)
            above = scores["scMVP"] > 0.5
            shares = [np.mean(above[kind == which]) for which in ("hetero", "homo", "single")]
            counted.append([np.sum(kind == "hetero"), scores["scMVP"].sum(), *shares])
        if not found:
            print("| data |", " | ".join(areas), "|")
            print("|---" * (len(areas) + 1) + "|")
        label = name if kept == 1 else f"{name}, {kept:.0%} of the counts"
        means = (f"{np.mean(values):.3f}" for values in areas.values())
        print(f"| {label} |", " | ".join(means), "|", flush=True)
        found.append((label, np.mean(counted, 0)))
    print("\n| data | doublets | sum of scores | above 0.5: of two types | of one | single |")
    print("|---" * 6 + "|")
    for label, (n, total, *shares) in found:
        print(f"| {label} | {n:.0f} | {total:.0f} |", " | ".join(f"{s:.1%}" for s in shares), "|")


if __name__ == "__main__":
    main()
