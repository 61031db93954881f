"""Tests of cells and of donors between two conditions: error rate without a difference, and power.

    python bench/differential/replicates.py [--donors 4 8] [--spreads 0 0.2 0.4] [--cells 50 200]
        [--seeds 5] [--genes 1000]

Each donor multiplies each gene by a factor of its own, gamma distributed with mean 1 and a standard
deviation of `spread`; the donors of one condition are no others than those of the other one. In the
second half of the experiments 5 % of the genes are twice as high in one of the conditions. Needs R
with scMVP, edgeR and DESeq2, and the extra `replicates` (PyDESeq2).
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp
from anndata import AnnData
from scipy.stats import mannwhitneyu

import scmvp
from scmvp.tools import compared, effects, groups, posterior
from scmvp.tools.sums import sums_by_batch

LEVEL = 0.05
CHANGED = 0.05
THETA = 2.0
METHODS = {
    "Wilcoxon": "cells, Wilcoxon",
    "scMVP": "cells, `DifferentialSCMVP()`",
    "edgeR": "donors, edgeR",
    "DESeq2": "donors, DESeq2",
    "PyDESeq2": "donors, PyDESeq2",
}


def experiment(seed: int, n_donors: int, spread: float, n_cells: int, n_genes: int, effect: bool):
    """Cells of `n_donors` donors in each of two conditions, and which genes differ."""
    n = 2 * n_donors * n_cells
    plain = scmvp.simulate(n, n_genes, 50, n_types=1, median_fragments=50, seed=seed)["rna"]
    rng = np.random.default_rng([seed, n_donors, n_cells])
    donor = np.repeat(np.arange(2 * n_donors), n_cells)
    treated = donor % 2 == 1
    profile = np.tile(plain.varm["true_profile"][:, 0], (2 * n_donors, 1))
    if spread > 0:
        profile *= rng.gamma(spread**-2, spread**2, profile.shape)
    differs = np.zeros(n_genes, dtype=bool)
    differs[rng.permutation(n_genes)[: int(CHANGED * n_genes)]] = effect
    up = rng.random(n_genes) < 0.5
    profile[np.ix_(np.arange(2 * n_donors) % 2 == 1, differs & up)] *= 2
    profile[np.ix_(np.arange(2 * n_donors) % 2 == 0, differs & ~up)] *= 2
    profile /= profile.sum(1, keepdims=True)
    mean = plain.obs["library_size"].to_numpy()[:, None] * profile[donor]
    counts = rng.negative_binomial(THETA, THETA / (THETA + mean)).astype(np.float32)
    obs = pd.DataFrame(
        {
            "condition": np.where(treated, "treated", "control"),
            "sample": [f"{seed}_{number}" for number in donor],
            "group": str(seed),
        },
        index=[f"{seed}_{number}" for number in range(n)],
    )
    return AnnData(sp.csr_matrix(counts), obs=obs), differs


def of_cells(adata: AnnData) -> dict[str, pd.DataFrame]:
    """Tables of p and q by gene of tests that take cells for replicates."""
    treated = (adata.obs["condition"] == "treated").to_numpy()
    counts = adata.X.toarray()
    log = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))
    p = mannwhitneyu(log[treated], log[~treated]).pvalue
    order = np.argsort(p)
    q = np.empty_like(p)
    steps = p[order] * len(p) / np.arange(1, len(p) + 1)
    q[order] = np.minimum.accumulate(steps[::-1])[::-1]
    sums = sums_by_batch(adata.X, treated.astype(np.int64), 2, None)
    named = groups.Comparison("treated", "control", ([1], [0]))
    pairs = compared.sums_of_sides(sums, named)
    evidence, _ = effects.evidence_of([pairs[i] for i in compared.shared_batches(pairs)])
    prob = posterior.posterior_of(evidence, 0.25).prob
    return {
        "Wilcoxon": pd.DataFrame({"p": p, "q": q}),
        "scMVP": pd.DataFrame({"p": np.nan, "q": posterior.q_values(prob)}),
    }


def of_donors(adata: AnnData) -> dict[str, pd.DataFrame]:
    """Tables of `DifferentialConditionsSCMVP()` and `differential_conditions`, all groups."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scipy.io.mmwrite(folder / "counts.mtx", adata.X.astype(np.int64))
        adata.obs.to_csv(folder / "cells.csv", index=False)
        script = Path(__file__).with_name("conditions.R")
        run = subprocess.run(["Rscript", script, name], capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(run.stderr.strip()[-500:])
        found = {
            method: pd.read_csv(folder / f"{method}.csv", dtype={"group": str})
            for method in ("edgeR", "DESeq2")
        }
    adata.var_names = [f"gene{number}" for number in range(adata.n_vars)]
    found["PyDESeq2"] = scmvp.differential_conditions(adata, "condition", "sample", "group")
    return found


def lines_of(setting: dict, n_genes: int, seeds: range) -> list[dict]:
    """One line per method and experiment."""
    made = {str(seed): experiment(seed, n_genes=n_genes, **setting) for seed in seeds}
    whole = AnnData(
        sp.vstack([adata.X for adata, _ in made.values()], format="csr"),
        obs=pd.concat([adata.obs for adata, _ in made.values()]),
    )
    tables = of_donors(whole)
    lines = []
    for seed, (adata, differs) in made.items():
        found = of_cells(adata)
        for method, table in tables.items():
            own = table[table["group"].astype(str) == seed]
            at = own["feature"].str.removeprefix("gene").astype(int)
            found[method] = pd.DataFrame(
                {"p": own["p_value"].to_numpy(), "q": own["q_value"].to_numpy()}, index=at
            ).reindex(range(n_genes))
        for method, table in found.items():
            called, p = (table["q"] <= LEVEL).to_numpy(), table["p"].dropna()
            lines.append(
                setting
                | {"method": method, "below": (p < LEVEL).sum(), "tested": len(p)}
                | {"called": called.sum(), "wrong": (called & ~differs).sum(),
                   "differ": differs.sum(), "genes": n_genes}
            )  # fmt: skip
    return lines


def report(lines: pd.DataFrame) -> None:
    """A line per setting and method."""
    by = ["n_donors", "n_cells", "spread", "method"]
    null = lines[~lines["effect"]].groupby(by, sort=False).sum(numeric_only=True)
    effect = lines[lines["effect"]].groupby(by, sort=False).sum(numeric_only=True)
    print(
        "| donors per condition | cells of each | spread of donors | test of | p < 0.05, null "
        "| called at 5 %, null | proportion wrong | power |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for key in null.index:
        n, e = null.loc[key], effect.loc[key]
        below = f"{n['below'] / n['tested']:.3f}" if n["tested"] else ""
        print(
            f"| {key[0]} | {key[1]} | {key[2]:g} | {METHODS[key[3]]} | {below} "
            f"| {n['called'] / n['genes']:.3f} | {e['wrong'] / max(e['called'], 1):.3f} "
            f"| {(e['called'] - e['wrong']) / e['differ']:.3f} |",
            flush=True,
        )


def main() -> None:
    """Print a table; sums over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--donors", nargs="+", type=int, default=[4, 8])
    parser.add_argument("--spreads", nargs="+", type=float, default=[0, 0.2, 0.4])
    parser.add_argument("--cells", nargs="+", type=int, default=[50, 200])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--genes", type=int, default=1000)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = []
    for n_donors, n_cells, spread, effect in itertools.product(
        arguments.donors, arguments.cells, arguments.spreads, (False, True)
    ):
        setting = {"n_donors": n_donors, "n_cells": n_cells, "spread": spread, "effect": effect}
        lines += lines_of(setting, arguments.genes, range(arguments.seeds))
    report(pd.DataFrame(lines))


if __name__ == "__main__":
    main()
