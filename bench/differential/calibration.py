"""The error rate of our differential test over many simulations, and what a known prior would give.

    python bench/differential/calibration.py [--data medium sparse batches] [--seeds 20]

The test reads counts alone (docs/differential.md), so nothing is fitted. "Known prior" is the same
likelihood with the true effects as the prior of the features: what is left of a deviation there is
the likelihood's, the rest is that of the learned prior. "only_pos" are features that are higher in
the group, with the rate of these; "lfc > 0" is the filter of all calls. Cells are compared within
their batches where there are some. Needs scmvp alone.
"""

from __future__ import annotations

import argparse
import functools

import numpy as np
import pandas as pd
from data import DATA, NULL_FOLD, Comparison, cells, comparisons

from scmvp.tools import compared, effects, groups, posterior
from scmvp.tools.sums import sums_by_batch

FDR = 0.05
MIN_CELLS = 5


def calls(prob: np.ndarray, differs: np.ndarray) -> dict[str, int]:
    """How many features are called at 5 %, and how many of them are wrong."""
    called = posterior.q_values(prob) <= FDR
    return {"called": called.sum(), "wrong": (called & ~differs).sum()}


def known_prior(evidence: effects.Evidence, effect: np.ndarray) -> np.ndarray:
    """Probability of a difference where the prior is the histogram of the true effects, log."""
    grid = posterior.GRID
    prior = np.histogram(effect, np.append(grid, np.inf) - posterior.STEP / 2)[0]
    density = evidence.likelihood(slice(None)) * prior
    outside = np.abs(grid) > NULL_FOLD * np.log(2)
    return density @ outside / density.sum(1)


def tested(mdata, modality: str, comparison: Comparison) -> list[dict]:
    """Lines for the learned and the known prior."""
    counts = mdata[modality].X.tocsr()
    kept = counts.getnnz(0) >= MIN_CELLS
    unit = np.where(comparison.group, 0, np.where(comparison.reference, 1, -1))
    batch = mdata.obs["batch"].factorize()[0] if "batch" in mdata.obs else None
    sums = sums_by_batch(counts[:, kept], unit, 2, batch)
    named = groups.Comparison(comparison.name, "reference", ([0], [1]))
    pairs = compared.sums_of_sides(sums, named)
    evidence, centre = effects.evidence_of([pairs[i] for i in compared.shared_batches(pairs)])
    fold = comparison.log2_fold[modality][kept]
    differs = np.abs(fold) > NULL_FOLD
    learned = posterior.posterior_of(evidence, NULL_FOLD)
    above = posterior.posterior_of(evidence, NULL_FOLD, only_pos=True)
    up, gains = above.mean > 0, fold > NULL_FOLD
    filtered = (posterior.q_values(learned.prob) <= FDR) & up
    found = {
        "learned": (differs.sum(), calls(learned.prob, differs)),
        "known": (differs.sum(), calls(known_prior(evidence, fold * np.log(2) - centre), differs)),
        "only_pos": (gains.sum(), calls(above.prob[up], gains[up])),
        "lfc > 0": (
            gains.sum(), {"called": filtered.sum(), "wrong": (filtered & ~gains).sum()}
        ),
    }  # fmt: skip
    return [
        {"modality": modality, "comparison": comparison.name, "prior": prior, "differ": n, **counts}
        for prior, (n, counts) in found.items()
    ]


def main() -> None:
    """Print a table with the standard error over simulations."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=["medium", "sparse", "batches"])
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    rows = []
    for data in arguments.data:
        for seed in range(arguments.seeds):
            mdata = cells(data, seed)
            test = functools.partial(tested, mdata)
            for comparison in comparisons(mdata, seed):
                for modality in ("rna", "atac"):
                    rows += [{"data": data} | row for row in test(modality, comparison)]
    by = ["data", "modality", "comparison", "prior"]
    print("| data | modality | comparison | prior | called | wrong | proportion wrong | power |")
    print("|---|---|---|---|---|---|---|---|")
    for key, part in pd.DataFrame(rows).groupby(by, sort=False):
        total = part[["called", "wrong", "differ"]].sum()
        share = total["wrong"] / max(total["called"], 1)
        # of a ratio of sums, by what each simulation deviates from it
        off = part["wrong"] - share * part["called"]
        error = np.sqrt((off**2).sum()) / max(total["called"], 1)
        right = total["called"] - total["wrong"]
        power = f"{right / total['differ']:.3f}" if total["differ"] else ""
        print(
            f"| {' | '.join(key)} | {total['called']:,} | {total['wrong']} "
            f"| {share:.3f} ± {error:.3f} | {power} |"
        )


if __name__ == "__main__":
    main()
