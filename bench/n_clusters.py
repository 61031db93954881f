"""K as a fit finds it in its latent, and from the rank of the cell-cell correlation, against truth.

    python bench/n_clusters.py [--seeds 0 1 2] [--types 3 8 14 25] [--cells 2000]

Prints for each number of simulated types and depth the estimates over seeds, and how many are
within 20 %. A fit is interrupted when its mixture has started.
"""

from __future__ import annotations

import argparse
from typing import Any

import scmvp

DEPTHS = {  # median UMIs, median fragments
    "deep": (3000, 5000),
    "medium": (1500, 1500),
    "sparse": (700, 700),
}


def in_the_latent(mdata: Any, seed: int) -> int:
    """K of a fit, the default."""

    def stop(latest: dict) -> None:
        if latest["phase"] == "mixture":
            raise KeyboardInterrupt

    return scmvp.SCMVP(mdata).train(seed=seed, threads=1, callback=stop, progress=False).n_clusters


def from_the_rank(mdata: Any, seed: int) -> int:
    """K of the preset 'paper'."""
    return scmvp.estimate_n_clusters(mdata["rna"].X, mdata["atac"].X, seed=seed)


def main() -> None:
    """One line per number of types and depth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--types", nargs="+", type=int, default=[3, 8, 14, 25])
    parser.add_argument("--cells", type=int, default=2000)
    arguments = parser.parse_args()
    print("| types | depth | in the latent | within 20 % | from the rank | within 20 % |")
    print("|---|---|---|---|---|---|")
    for n_types in arguments.types:
        for depth, (umi, fragments) in DEPTHS.items():
            options = {"median_umi": umi, "median_fragments": fragments, "n_types": n_types}
            found: dict = {in_the_latent: [], from_the_rank: []}
            for seed in arguments.seeds:
                mdata = scmvp.simulate(n_cells=arguments.cells, seed=seed, **options)
                for way, estimates in found.items():
                    estimates.append(way(mdata, seed))
            parts = [str(n_types), depth]
            for estimates in found.values():
                near = sum(abs(k - n_types) <= 0.2 * n_types for k in estimates)
                parts += [", ".join(map(str, estimates)), f"{near} of {len(estimates)}"]
            print("| " + " | ".join(parts) + " |", flush=True)


if __name__ == "__main__":
    main()
