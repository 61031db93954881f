"""The published experiments of scMVP (Genome Biology 23:20, 2022) on the data at hand.

    python bench/paper NAME ... [--data-folder FOLDER] [--seeds 0 1 2] [--results FILE.csv]
    python bench/paper latent | replicates | loss | pseudobulk | celllines | markers | enrichment |
                       single | pseudotime | scale

A run replaces the rows of the same experiment, data and seed. Environment:
bench/requirements-peers.txt; `enrichment` needs R with this package, glmnet and rtracklayer.
"""

from __future__ import annotations

import os

# Before numpy is imported: one thread, as in bench/accuracy.
for _library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import argparse  # noqa: E402
import datetime  # noqa: E402
import importlib  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402

BENCH = Path(__file__).parents[1]
for _other in ("accuracy", "integration", "cre"):
    sys.path.append(str(BENCH / _other))

import pandas as pd  # noqa: E402

COLUMNS = (
    "experiment", "figure", "data", "method", "measure", "seed", "ours", "published", "command",
    "date",
)  # fmt: skip
# Name: figure of the paper, module and function that measures it.
EXPERIMENTS = {
    "latent": ("1b", "embedding", "latent"),
    "replicates": ("S1a", "embedding", "replicates"),
    "loss": ("S1b", "embedding", "loss"),
    "pseudobulk": ("2a-c", "imputation", "pseudobulk"),
    "celllines": ("3", "embedding", "cell_lines"),
    "markers": ("4b", "imputation", "markers"),
    "enrichment": ("4c, d", "enrichment", "enrichment"),
    "single": ("5a, c", "embedding", "single"),
    "pseudotime": ("5b, d", "recorded", "pseudotime"),
    "scale": ("1c", "recorded", "scale"),
}


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="paper", description=__doc__.splitlines()[0])
    parser.add_argument("experiments", nargs="+", choices=EXPERIMENTS, metavar="NAME")
    parser.add_argument("--data-folder", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--results", type=Path, default=Path("docs/paper.csv"), metavar="FILE.csv")
    return parser.parse_args()


def put(path: Path, rows: pd.DataFrame) -> None:
    """Add rows to the file in place of those of the same experiment, data and seed."""
    if path.exists():
        old = pd.read_csv(path, dtype=str, keep_default_na=False)
        key = ["experiment", "data", "seed"]
        new = set(rows[key].itertuples(index=False, name=None))
        kept = [row not in new for row in old[key].itertuples(index=False, name=None)]
        rows = pd.concat([old[kept], rows])
    order = rows["experiment"].map(list(EXPERIMENTS).index)
    data = pd.factorize(rows["data"])[0]
    rows = rows.assign(order=order, place=data, of=rows["seed"].astype(int))
    rows = rows.sort_values(["order", "place", "of"], kind="stable")
    rows[list(COLUMNS)].to_csv(path, index=False)


def run(name: str, seed: int, options: argparse.Namespace) -> None:
    """Measure an experiment with a seed, data set by data set."""
    figure, module, function = EXPERIMENTS[name]
    measure = getattr(importlib.import_module(module), function)
    began = time.monotonic()
    for data, scores in measure(seed, options.data_folder):
        rows = pd.DataFrame(scores, columns=["method", "measure", "ours", "published"])
        rows["ours"] = [f"{value:.5g}" for value in rows["ours"]]
        rows = rows.assign(
            experiment=name, figure=figure, data=data, seed=str(seed),
            command=f"python bench/paper {name} --seeds {seed}",
            date=datetime.date.today().isoformat(),
        )  # fmt: skip
        put(options.results, rows)
        print(rows[["data", "method", "measure", "ours"]].to_string(index=False, header=False))
        print(f"{name} {seed} {data}: {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    """Measure the experiments that are asked for."""
    options = parsed()
    warnings.simplefilter("ignore")
    for seed in options.seeds:
        for name in options.experiments:
            run(name, seed, options)


if __name__ == "__main__":
    main()
