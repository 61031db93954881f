"""All figures and tables of docs/benchmarks.md from the CSV files in docs/.

    python bench/figures [--docs FOLDER]

Needs matplotlib and pandas. The measurements themselves come from the other commands of bench/.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "bench" / "accuracy"))

import accuracy_figures  # noqa: E402
import other_figures  # noqa: E402
import pandas as pd  # noqa: E402
import report  # noqa: E402
import tables  # noqa: E402


def main() -> None:
    """Draw the figures, then write the tables."""
    parser = argparse.ArgumentParser(prog="figures", description=__doc__.splitlines()[0])
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", metavar="FOLDER")
    docs = parser.parse_args().docs
    folder = docs / "figures"
    measured = report.read(docs / "accuracy.csv")
    measured = measured[measured["metric"] != "error"]
    accuracy = measured[~measured["method"].str.contains(" (", regex=False)]
    accuracy = accuracy.drop_duplicates(["data", "method", "seed", "metric"], keep="last")
    accuracy_figures.draw(accuracy, folder)
    csv = {
        name: pd.read_csv(docs / f"{name}.csv")
        for name in ("speed", "n_clusters", "integration", "trajectory", "differential",
                     "calibration", "links")
    }  # fmt: skip
    other_figures.speed(csv["speed"], folder)
    other_figures.n_clusters(csv["n_clusters"], folder)
    other_figures.batches(csv["integration"], folder)
    other_figures.unimodal(csv["integration"], folder)
    other_figures.order(csv["trajectory"], folder)
    other_figures.labels(csv["trajectory"], folder)
    other_figures.tests(csv["differential"], folder)
    other_figures.links(csv["links"], folder)
    seconds = csv["integration"]["metric"] == "cpu_seconds"
    csv["trajectory"]["metric"] = csv["trajectory"]["metric"].str.replace("Spearman, ", "Spearman ")
    parts = [
        tables.accuracy(accuracy[accuracy["data"] != "sim_tiny"]),
        "## Number of clusters",
        "Simulated cells, estimated by the BIC (default) and from the rank (preset `paper`):",
        tables.plain(csv["n_clusters"]),
        "Real cells, seeds 0 and 1, without and with a given number of clusters:",
        tables.estimated_k(measured),
        "## Speed and memory",
        tables.speed(csv["speed"]),
        "## Batches and unimodal cells",
        tables.over_seeds(csv["integration"][~seconds], ["task", "data"]),
        "## Trajectories and label transfer",
        tables.over_seeds(csv["trajectory"], ["task"]),
        "## Differential genes and peaks",
        tables.differential(csv["differential"]),
        "## Calibration of the differential test",
        tables.plain(csv["calibration"]),
        "## Regulatory elements",
        tables.links(csv["links"]),
    ]
    (docs / "benchmark-tables.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
