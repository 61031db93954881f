"""Batches taken out, and unimodal cells beside paired ones: scMVP and other methods.

    python bench/integration [--task batches|mosaic] [--data NAME ...] [--methods NAME ...]
                             [--seeds N ...] [--results FILE.csv]
    python bench/integration --report --results FILE.csv

Needs bench/requirements-peers.txt, harmonypy and scib-metrics. One method on one data set with one
seed is a unit; its scores are added to the CSV file when it is done, and a unit that is there
already is skipped.
"""

from __future__ import annotations

import os

for _library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import argparse  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402

import pandas as pd  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "accuracy"))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="integration", description=__doc__.splitlines()[0])
    parser.add_argument("--task", nargs="+", choices=("batches", "mosaic"), default=None)
    parser.add_argument("--data", nargs="+", metavar="NAME")
    parser.add_argument("--methods", nargs="+", metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=Path("integration.csv"))
    parser.add_argument("--data-folder", type=Path, default=Path("../shared/data"))
    parser.add_argument("--report", action="store_true", help="only print tables")
    return parser.parse_args()


def report(path: Path) -> None:
    """A table per task and data set: mean and standard deviation over seeds."""
    table = pd.read_csv(path)
    for (task, data), part in table.groupby(["task", "data"], sort=False):
        print(f"\n{task}, {data}\n")
        metrics = list(dict.fromkeys(part["metric"]))
        print("| method | seeds | " + " | ".join(metrics) + " |")
        print("|---" * (len(metrics) + 2) + "|")
        for method, rows in part.groupby("method", sort=False):
            cells = []
            for metric in metrics:
                values = rows.loc[rows["metric"] == metric, "value"]
                mean = f"{values.mean():.3f}" if values.mean() < 10 else f"{values.mean():.0f}"
                spread = f" ± {values.std():.3f}" if 1 < len(values) and values.mean() < 10 else ""
                cells.append(mean + spread if len(values) else "")
            print(f"| {method} | {rows['seed'].nunique()} | " + " | ".join(cells) + " |")


def main() -> None:
    """Run what is missing, or report."""
    arguments = parsed()
    if arguments.report:
        report(arguments.results)
        return
    warnings.simplefilter("ignore")
    import batches
    import mosaic
    from elsewhere import cpu_seconds

    path = arguments.results
    done = set()
    if path.exists():
        columns = ["task", "data", "method", "seed"]
        done = set(pd.read_csv(path)[columns].itertuples(index=False, name=None))
    for name, task in (("batches", batches), ("mosaic", mosaic)):
        if arguments.task and name not in arguments.task:
            continue
        for data in arguments.data or task.DATA:
            cells = task.load(data, arguments.data_folder)
            for method in arguments.methods or task.METHODS:
                for seed in arguments.seeds:
                    if (name, data, method, seed) in done or method not in task.METHODS:
                        continue
                    started = cpu_seconds()
                    scores = task.scored(cells, task.METHODS[method](cells, seed), seed)
                    scores["cpu_seconds"] = cpu_seconds() - started
                    rows = pd.DataFrame(
                        {
                            "date": time.strftime("%Y-%m-%d"),
                            "task": name,
                            "data": data,
                            "method": method,
                            "seed": seed,
                            "metric": scores.keys(),
                            "value": scores.values(),
                        }
                    )
                    rows.to_csv(path, mode="a", header=not path.exists(), index=False)
                    shown = " ".join(f"{key} {value:.3f}" for key, value in scores.items())
                    print(
                        f"{time.strftime('%X')} {name} {data} {method} {seed}: {shown}", flush=True
                    )


main()
