"""Time and memory of scMVP, MultiVI, scVI and Seurat's WNN, in one run on one machine.

    python bench/speed [--cells N ...] [--methods NAME ...] [--shape NAME] [--results FILE.csv]
    python bench/speed --whole --methods scmvp wnn --cells 2000 5000 10000
    python bench/speed --shape rare --methods scmvp
    python bench/speed --report --results FILE.csv
    python bench/speed --profile --shape filtered

Shapes: "full" is 30,000 genes x 110,000 peaks, "filtered" 8,000 x 23,000, and "rare" is "full" with
as many peaks again of three counts each. Environment: bench/requirements-peers.txt, and for WNN R
with Seurat and this package. Each measurement is a process of its own; what is in the results
already is skipped. `--whole` runs each method to its clusters, at its own defaults: scMVP from the
file, WNN and scvi-tools from counts in memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

METHODS = ("scmvp", "scmvp-disk", "scvi", "multivi", "wnn")
SHAPES = ("full", "filtered", "rare")
COLUMNS = ("shape", "cells", "method", "extent", "threads", "device", "result")
KEYS = COLUMNS[:-1]
HERE = Path(__file__).parent


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="speed", description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", type=int, default=[5000])
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["full", "filtered"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["scmvp", "multivi"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--whole", action="store_true", help="to the default end of each method")
    parser.add_argument("--results", type=Path, default=HERE.parent / "output" / "speed.csv")
    parser.add_argument("--folder", type=Path, default=HERE.parent / "output" / "speed")
    parser.add_argument("--report", action="store_true", help="only print the tables")
    parser.add_argument("--profile", action="store_true", help="one epoch by term, and the floor")
    return parser.parse_args()


def rows_of(path: Path) -> list[dict]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row | {"result": json.loads(row["result"])} for row in csv.DictReader(file)]


def measure(arguments: argparse.Namespace) -> None:
    from data import cells_file

    extent = "whole" if arguments.whole else "epochs"
    for shape, n_cells in product(arguments.shape, arguments.cells):
        path = cells_file(arguments.folder, n_cells, shape)
        for method in arguments.methods:
            key = (shape, str(n_cells), method, extent, str(arguments.threads), arguments.device)
            if any(tuple(row[c] for c in KEYS) == key for row in rows_of(arguments.results)):
                continue
            done = subprocess.run(
                [sys.executable, HERE / "worker.py", method, path, extent, arguments.device],
                env=os.environ | {"BENCH_THREADS": str(arguments.threads)},
                capture_output=True,
                text=True,
            )
            lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
            result = lines[-1][7:] if lines else json.dumps({"error": done.stderr[-300:]})
            arguments.results.parent.mkdir(parents=True, exist_ok=True)
            new = not arguments.results.exists()
            with arguments.results.open("a", newline="") as file:
                writer = csv.writer(file)
                if new:
                    writer.writerow(COLUMNS)
                writer.writerow([*key, result])
            print(*key, result, flush=True)


def report(rows: list[dict]) -> str:
    """The table, with the ratio to scMVP of the same cells, threads, device and extent.

    Seconds are those of the CPU with one thread, else of the clock on the wall.
    """
    names = ("epoch", "start", "total")
    lines = [
        "| shape | cells | method | device | threads | s per epoch | ratio | s before the first | "
        "s in all | ratio | epochs | ARI | peak memory, MB | of the GPU, MB |",
        "|" + "---|" * 14,
    ]

    def seconds(row: dict, name: str) -> float | None:
        of_cpu = row["device"] == "cpu" and row["threads"] == "1"
        return row["result"].get(name, [None, None])[of_cpu]

    def own(row: dict, name: str) -> float | None:
        for other in rows:
            same = all(other[c] == row[c] for c in KEYS if c != "method")
            if same and other["method"] == "scmvp":
                return seconds(other, name)
        return None

    def written(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    def place(row: dict) -> tuple:
        return row["extent"], row["device"], row["shape"], int(row["cells"]), row["threads"]

    for row in sorted(rows, key=place):
        result = row["result"]
        if "error" in result:
            continue
        spent = {name: seconds(row, name) for name in names}
        ratio = {
            name: spent[name] / own(row, name) if spent[name] and own(row, name) else None
            for name in names
        }
        cells = [
            row["shape"],
            format(int(row["cells"]), ","),
            row["method"],
            row["device"],
            row["threads"],
            written(spent["epoch"], ".2f"),
            written(ratio["epoch"], ".1f"),
            written(spent["start"], ".1f"),
            written(spent["total"], ".0f"),
            written(ratio["total"], ".1f"),
            str(result.get("epochs", "")),
            str(result.get("ari", "")),
            written(result.get("peak_mb"), ",.0f"),
            str(result.get("gpu_mb", "")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, report, or profile."""
    arguments = parsed()
    if arguments.profile:
        from profile_epoch import profile

        profile(arguments.folder, arguments.cells[0], arguments.shape[0], arguments.threads)
        return
    if not arguments.report:
        measure(arguments)
    print(report(rows_of(arguments.results)))


if __name__ == "__main__":
    main()
