"""Differential features of simulated cells: false discoveries, power and time beside the peers'.

    python bench/differential --results FILE.csv [--methods scmvp wilcoxon scvi multivi]
        [--data medium sparse] [--seeds 0 1 2]

Each result is a line of FILE.csv; what is there already is not run again. `--report` prints the
tables of docs/benchmarks.md. Needs bench/requirements-peers.txt.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from data import DATA, NULL_FOLD, Comparison, cells, comparisons
from methods import FDR, FITS, Tested

MODALITIES = ("rna", "atac")


def scores_of(tested: Tested, truth: np.ndarray) -> dict[str, float]:
    """Counts of calls, and the power where 5 % of the calls would be wrong, by rank."""
    differs = np.abs(truth) > NULL_FOLD
    called = np.nan_to_num(tested.called).astype(bool)
    order = np.argsort(-tested.score, kind="stable")
    wrong = np.cumsum(~differs[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(wrong <= FDR)
    at_rank = differs[order][: good[-1] + 1].sum() if len(good) else 0
    return {
        "called": int(called.sum()),
        "wrong": int((called & ~differs).sum()),
        "differ": int(differs.sum()),
        "right": int((called & differs).sum()),
        "right_at_5_percent": int(at_rank),
    }


def run(method: str, data: str, seed: int, models: Path | None) -> list[dict]:
    """One fit and its tests."""
    mdata = cells(data, seed)
    start, note = time.process_time(), {}
    tests = FITS[method](mdata, seed, note, models, f"{data}{seed}")
    fit_seconds = time.process_time() - start
    if note.pop("fitted_before", False):
        fit_seconds = np.nan
    rows = []
    for comparison in comparisons(mdata, seed):
        for name, test in tests.items():
            for modality in MODALITIES:
                rows += _row(
                    name, test, modality, comparison, method, data, seed, fit_seconds, note
                )
    return rows


def _row(name, test, modality, comparison: Comparison, method, data, seed, fit_seconds, note):
    start = time.process_time()
    try:
        tested = test(modality, comparison)
    except NotImplementedError:
        return []
    row = {
        "run": method, "method": name, "data": data, "seed": seed, "modality": modality,
        "comparison": comparison.name, "n1": int(comparison.group.sum()),
        "n2": int(comparison.reference.sum()), **scores_of(tested, comparison.log2_fold[modality]),
        "test_cpu_s": round(time.process_time() - start, 2), "fit_cpu_s": round(fit_seconds, 1),
        **note,
    }  # fmt: skip
    return [row]


def report(results: pd.DataFrame) -> None:
    """Tables in Markdown: totals over seeds."""
    by = ["data", "modality", "comparison", "method"]
    counts = results.groupby(by, sort=False)[
        ["called", "wrong", "differ", "right", "right_at_5_percent"]
    ].sum()
    seeds = results.groupby(by, sort=False)["seed"].nunique()
    fdr = (counts["wrong"] / counts["called"].clip(lower=1)).map("{:.3f}".format)
    for (data, modality), part in counts.groupby(level=[0, 1], sort=False):
        print(f"\n{data}, {'genes' if modality == 'rna' else 'peaks'}\n")
        print("| | method | seeds | called | wrong | observed FDR | power | power at 5 % wrong |")
        print("|---|---|---|---|---|---|---|---|")
        for key, row in part.iterrows():
            power = ["-", "-"]
            if row["differ"]:
                power = [f"{row[x] / row['differ']:.3f}" for x in ("right", "right_at_5_percent")]
            print(
                f"| {key[2]} | {key[3]} | {seeds[key]} | {row['called']} | {row['wrong']} "
                f"| {fdr[key]} | {power[0]} | {power[1]} |"
            )
    cost = results.groupby("method", sort=False)[["fit_cpu_s", "test_cpu_s", "epochs"]].mean()
    print("\n| method | epochs | CPU s of the fit | CPU s of one test |\n|---|---|---|---|")
    for name, row in cost.iterrows():
        epochs = "-" if np.isnan(row["epochs"]) else f"{row['epochs']:.0f}"
        print(f"| {name} | {epochs} | {row['fit_cpu_s']:.0f} | {row['test_cpu_s']:.1f} |")


def main() -> None:
    """Run what is missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=FITS, default=list(FITS))
    parser.add_argument("--data", nargs="+", choices=DATA, default=["medium", "sparse"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--models", type=Path, help="folder in which fits of scMVP are kept")
    parser.add_argument("--report", action="store_true", help="print the tables, run nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    results = pd.read_csv(arguments.results) if arguments.results.exists() else pd.DataFrame()
    for data in () if arguments.report else arguments.data:
        for seed in arguments.seeds:
            for method in arguments.methods:
                key = ["run", "data", "seed"]
                if len(results) and (results[key] == [method, data, seed]).all(axis=1).any():
                    continue
                rows = pd.DataFrame(run(method, data, seed, arguments.models))
                results = pd.concat([results, rows], ignore_index=True)
                results.to_csv(arguments.results, index=False)
                print(f"{data} {seed} {method}", flush=True)
    report(results)


if __name__ == "__main__":
    main()
