"""K estimated from the rank of the cell-cell correlation, against the number of simulated types.

    python bench/n_clusters.py [--seeds 0 1 2 3 4]

Prints for each number of types and depth the estimates over seeds, and how many are within 20 %.
"""

from __future__ import annotations

import argparse

import scipy.sparse as sp

import scmvp
from scmvp.preprocess import estimate_n_clusters

TYPES = (3, 8, 14, 25)
DEPTHS = {  # median UMIs, median fragments
    "deep": (3000, 5000),
    "medium": (1500, 1500),
    "sparse": (700, 700),
}


def main() -> None:
    """One line per number of types and depth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--cells", type=int, default=2000)
    arguments = parser.parse_args()
    print("| types | depth | estimates | within 20 % |\n|---|---|---|---|")
    for n_types in TYPES:
        for depth, (umi, fragments) in DEPTHS.items():
            found = []
            for seed in arguments.seeds:
                mdata = scmvp.simulate(
                    n_cells=arguments.cells,
                    n_types=n_types,
                    median_umi=umi,
                    median_fragments=fragments,
                    seed=seed,
                )
                counts = (sp.csr_matrix(mdata[m].X, dtype="f4") for m in ("rna", "atac"))
                found.append(estimate_n_clusters(*counts, seed=seed))
            near = sum(abs(k - n_types) <= 0.2 * n_types for k in found)
            print(
                f"| {n_types} | {depth} | {', '.join(map(str, found))} | {near} of {len(found)} |"
            )


if __name__ == "__main__":
    main()
