"""Time and memory of scMVP, scVI and MultiVI at the paper's shape, in one run on one machine.

    python bench/speed [--cells N ...] [--methods NAME ...] [--whole] [--results FILE.csv]
    python bench/speed --report --results FILE.csv
    python bench/speed --profile

Environment: bench/requirements-peers.txt. Each measurement is a process of its own; what is in the
results already is skipped. `--whole` runs each method to its own default stopping.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

METHODS = ("scmvp", "scmvp-disk", "scvi", "multivi")
COLUMNS = ("cells", "method", "extent", "threads", "device", "result")
HERE = Path(__file__).parent


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="speed", description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", type=int, default=[1000, 5000, 20_000])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
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
    for n_cells in arguments.cells:
        path = cells_file(arguments.folder, n_cells)
        for method in arguments.methods:
            key = (str(n_cells), method, extent, str(arguments.threads), arguments.device)
            if any(tuple(row[c] for c in COLUMNS[:5]) == key for row in rows_of(arguments.results)):
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

    Seconds are the CPU's, and on a GPU those of the clock on the wall.
    """
    lines = [
        "| cells | method | device | threads | s per epoch | per 1,000 cells | ratio | epochs | "
        "s in all | ratio | peak memory, MB | of the GPU, MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]

    def seconds(row: dict, name: str) -> float | None:
        return row["result"].get(name, [None, None])[row["device"] == "cpu"]

    def own(row: dict, name: str) -> float | None:
        for other in rows:
            same = all(other[c] == row[c] for c in ("cells", "extent", "threads", "device"))
            if same and other["method"] == "scmvp":
                return seconds(other, name)
        return None

    def place(row: dict) -> tuple:
        return row["extent"], row["device"], int(row["cells"]), row["threads"]

    for row in sorted(rows, key=place):
        result, n = row["result"], int(row["cells"])
        if "error" in result:
            continue
        epoch, total = seconds(row, "epoch"), seconds(row, "total")
        ratios = [
            f"{seconds(row, name) / own(row, name):.1f}"
            if seconds(row, name) and own(row, name)
            else ""
            for name in ("epoch", "total")
        ]
        lines.append(
            f"| {n:,} | {row['method']} | {row['device']} | {row['threads']} | {epoch:.2f} | "
            f"{1000 * epoch / n:.3f} | {ratios[0]} | {result.get('epochs', '')} | {total or ''} | "
            f"{ratios[1]} | {result['peak_mb']:,.0f} | {result.get('gpu_mb', '')} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, report, or profile."""
    arguments = parsed()
    if arguments.profile:
        from profile_epoch import profile

        profile(arguments.folder, arguments.cells[0], arguments.threads)
        return
    if not arguments.report:
        measure(arguments)
    print(report(rows_of(arguments.results)))


if __name__ == "__main__":
    main()
