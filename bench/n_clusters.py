"""K as a fit finds it in its latent, and from the rank of the cell-cell correlation, against truth.

    python bench/n_clusters.py [--seeds 0 1 2] [--types 3 8 14 25] [--cells 2000] [--results FILE]

`components` of the mixture, found by the BIC; `clusters` to which these merge at the same time; and
one more than the `rank`. A fit is interrupted when its mixture has started, after which the number
of components is fixed. Earlier rows of the same types, depth and seed are replaced.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).with_name("accuracy")))

import results

import scmvp

DEPTHS = {  # median UMIs, median fragments
    "deep": (3000, 5000),
    "medium": (1500, 1500),
    "sparse": (700, 700),
}


def in_the_latent(mdata: Any, seed: int) -> dict[str, int]:
    """Numbers of components and of clusters of a fit, the default."""

    def stop(latest: dict) -> None:
        if latest["phase"] == "mixture":
            raise KeyboardInterrupt

    model = scmvp.SCMVP(mdata).train(seed=seed, threads=1, callback=stop, progress=False)
    return {"components": model.n_components, "clusters": model.n_clusters}


def from_the_rank(mdata: Any, seed: int) -> dict[str, int]:
    """K of the preset 'paper'."""
    return {"rank": scmvp.estimate_n_clusters(mdata["rna"].X, mdata["atac"].X, seed=seed)}


def main() -> None:
    """One row per number of types, depth and seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--types", nargs="+", type=int, default=[3, 8, 14, 25])
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--results", type=Path, default=Path("n_clusters.csv"), metavar="FILE.csv")
    given = parser.parse_args()
    for n_types, depth, seed in product(given.types, DEPTHS, given.seeds):
        umi, fragments = DEPTHS[depth]
        mdata = scmvp.simulate(
            n_cells=given.cells, n_types=n_types, seed=seed,
            median_umi=umi, median_fragments=fragments,
        )  # fmt: skip
        row = {"types": n_types, "depth": depth, "seed": seed}
        row |= in_the_latent(mdata, seed) | from_the_rank(mdata, seed)
        results.put_by(given.results, [row], ("types", "depth", "seed"))
        print(*row.values(), sep="\t", flush=True)


if __name__ == "__main__":
    main()
