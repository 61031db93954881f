"""The error rate of our differential test where one group has few cells, or batches have few.

    python bench/differential/small_groups.py [--repeats 8]

Cells of one type (1,500 counts of 1,000 features on average, log-normal depths, sd .45), of which
some are the group. "Null": nothing differs, and the numbers are the repeats with a call and all
calls. Otherwise 10 % of the features differ threefold, up or down. Inverse dispersions have the
median 1.5, the same for all features or with a standard deviation of 1 of their logarithms. The
test reads counts alone, so nothing is fitted. Needs scmvp alone.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from scmvp.tools.compared import CountTest
from scmvp.tools.groups import Comparison, Groups
from scmvp.tools.posterior import posterior_of, q_values

N_FEATURES, COUNTS, FOLD = 1000, 1500, 3.0
DESIGNS = (  # batches, cells of the group and of the reference in each
    (1, 3, 300), (1, 5, 300), (1, 10, 300), (1, 20, 300), (1, 50, 300), (1, 100, 300),
    (1, 200, 200), (10, 6, 30), (20, 3, 15),
)  # fmt: skip


class Drawn(NamedTuple):
    """Counts of the cells, what they are, and which features differ."""

    counts: sp.csr_matrix
    unit: np.ndarray
    batch: np.ndarray
    differs: np.ndarray


def drawn(rng: np.random.Generator, design: tuple[int, ...], spread: float, share: float) -> Drawn:
    """One simulation; `spread`: of log inverse dispersions; `share`: of features that differ."""
    n_batches, first, second = design
    batch = np.repeat(np.arange(n_batches), first + second)
    unit = np.tile(np.repeat([0, 1], [first, second]), n_batches)
    profile = rng.gamma(0.5, 1, N_FEATURES)
    factor = np.exp(rng.normal(0, 0.3, (n_batches, N_FEATURES))) if n_batches > 1 else 1.0
    profiles = np.broadcast_to(profile * factor, (n_batches, N_FEATURES))
    profiles = profiles / profiles.sum(1, keepdims=True)
    mean = COUNTS * np.exp(rng.normal(0, 0.45, len(unit)))[:, None] * profiles[batch]
    differs = np.zeros(N_FEATURES, bool)
    differs[rng.permutation(N_FEATURES)[: int(share * N_FEATURES)]] = True
    fold = np.where(rng.random(differs.sum()) < 0.5, FOLD, 1 / FOLD)
    mean[np.ix_(unit == 0, differs)] *= fold
    theta = 1.5 * np.exp(rng.normal(0, spread, N_FEATURES))
    counts = rng.negative_binomial(theta, theta / (theta + mean)).astype(np.float32)
    return Drawn(sp.csr_matrix(counts), unit, batch, differs)


def called(cells: Drawn) -> np.ndarray:
    """Which features are called at 5 %."""
    batch = cells.batch if cells.batch.any() else None
    pair = Comparison("group", "rest", ([0], [1]))
    test = CountTest.of_counts(cells.counts, Groups(cells.unit, 2, [pair]), batch, None, COUNTS)
    return q_values(posterior_of(test.of(pair).evidence, 0.25).prob) <= 0.05


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=8)
    repeats = parser.parse_args().repeats
    print("| batches | cells | dispersions | null: repeats, calls | called | wrong | power |")
    print("|---|---|---|---|---|---|---|")
    for design in DESIGNS:
        for spread in (0.0, 1.0):
            rng = np.random.default_rng(1)
            nulls = [called(drawn(rng, design, spread, 0.0)).sum() for _ in range(repeats)]
            found = np.zeros(3)  # called, wrong, differing
            for _ in range(repeats):
                cells = drawn(rng, design, spread, 0.1)
                calls = called(cells)
                found += calls.sum(), (calls & ~cells.differs).sum(), cells.differs.sum()
            wrong, power = found[1] / max(found[0], 1), (found[0] - found[1]) / found[2]
            kind = "alike" if spread == 0 else "sd 1"
            print(
                f"| {design[0]} | {design[1]} : {design[2]} | {kind} | {np.count_nonzero(nulls)}, "
                f"{sum(nulls)} | {found[0]:.0f} | {wrong:.2f} | {power:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
