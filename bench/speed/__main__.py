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
    parser.add_argument("--device", default="cpu", help="of scMVP")
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
            device = arguments.device if method.startswith("scmvp") else "cpu"
            key = (str(n_cells), method, extent, str(arguments.threads), device)
            if any(tuple(row[c] for c in COLUMNS[:5]) == key for row in rows_of(arguments.results)):
                continue
            done = subprocess.run(
                [sys.executable, HERE / "worker.py", method, path, extent, device],
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
    """The table, CPU seconds, with the ratio to scMVP of the same cells, threads and extent."""
    lines = [
        "| cells | method | threads | CPU s per epoch | per 1,000 cells | ratio | epochs | "
        "CPU s in all | ratio | peak memory, MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]

    def own(row: dict, name: str) -> float | None:
        for other in rows:
            same = all(other[c] == row[c] for c in ("cells", "extent", "threads"))
            if same and other["method"] == "scmvp" and name in other["result"]:
                return other["result"][name][1]
        return None

    order = sorted(rows, key=lambda row: (row["extent"], int(row["cells"]), row["threads"]))
    for row in order:
        result, n = row["result"], int(row["cells"])
        if "error" in result:
            continue
        cpu = result["epoch"][1]
        total = result.get("total", [None, None])[1]
        ratios = [
            f"{value / own(row, name):.1f}" if value and own(row, name) else ""
            for name, value in (("epoch", cpu), ("total", total))
        ]
        lines.append(
            f"| {n:,} | {row['method']} | {row['threads']} | {cpu:.2f} | {1000 * cpu / n:.3f} | "
            f"{ratios[0]} | {result.get('epochs', '')} | {total or ''} | {ratios[1]} | "
            f"{result['peak_mb']:,.0f} |"
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
