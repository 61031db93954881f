"""Trajectories and label transfer: scMVP and what users have otherwise.

    python bench/trajectory [--tasks path lead course ...] [--results FILE.csv]
    python bench/trajectory --report --results FILE.csv

A task with one seed is a unit; its scores are added to the CSV file when it is done, and units that
are there already are skipped. Environment: bench/requirements-peers.txt, and Seurat in R.
"""

from __future__ import annotations

import os

# Before numpy is imported: one thread, as in bench/accuracy.
for _library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import argparse  # noqa: E402
import functools  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "accuracy"))

import labels  # noqa: E402
import results  # noqa: E402

TASKS = ("path", "lead", "course", "features", "transfer", *labels.NOVEL)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="trajectory", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=TASKS,
        default=list(TASKS),
        metavar="TASK",
        help=", ".join(TASKS) + " (default: all)",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--results", type=Path, default=Path("trajectory.csv"), metavar="FILE.csv")
    parser.add_argument("--data-folder", type=Path, default=Path("../shared/data"))
    parser.add_argument("--report", action="store_true", help="only print tables")
    return parser.parse_args()


def add(path: Path, task: str, seed: int, scores: list[tuple[str, str, float]]) -> None:
    """The scores of a unit: method, metric, value."""
    unit = {"task": task, "seed": seed}
    rows = [
        unit | {"method": method, "metric": metric, "value": f"{value:.6g}"}
        for method, metric, value in scores
    ]
    results.put_by(path, rows, (*unit, "method", "metric"))


def report(rows: list[dict[str, str]]) -> None:
    """One table for each task: methods x metrics, mean and standard deviation over seeds."""
    import statistics

    for task in TASKS:
        own = [row for row in rows if row["task"] == task]
        if not own:
            continue
        metrics = list(dict.fromkeys(row["metric"] for row in own))
        print(f"\n### {task}\n\n| | {' | '.join(metrics)} |\n|---|{'---|' * len(metrics)}")
        for method in dict.fromkeys(row["method"] for row in own):
            cells = []
            for metric in metrics:
                found = [
                    float(row["value"])
                    for row in own
                    if row["method"] == method and row["metric"] == metric
                ]
                if not found:
                    cells.append("")
                    continue
                spread = f" ± {statistics.stdev(found):.3f}" if len(found) > 1 else " (1)"
                cells.append(f"{statistics.mean(found):.3f}{spread}")
            print(f"| {method} | {' | '.join(cells)} |")


def main() -> None:
    """Run what is missing, then print the tables."""
    options = parsed()
    if not options.report:
        warnings.simplefilter("ignore")
        import features
        import order

        run = {
            "path": order.path,
            "lead": order.lead,
            "course": order.course,
            "features": features.features,
            "transfer": labels.transfer,
            **{task: functools.partial(labels.novelty, task) for task in labels.NOVEL},
        }
        for task in options.tasks:
            for seed in options.seeds:
                done = {(row["task"], int(row["seed"])) for row in results.rows_of(options.results)}
                if (task, seed) in done:
                    continue
                began = time.monotonic()
                add(options.results, task, seed, run[task](seed, options.data_folder))
                print(f"{task} {seed}: {time.monotonic() - began:.0f} s", flush=True)
    report(results.rows_of(options.results))


if __name__ == "__main__":
    main()
