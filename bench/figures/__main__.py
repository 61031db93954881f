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
import tables_page  # noqa: E402


def main() -> None:
    """Draw the figures, then write the tables."""
    parser = argparse.ArgumentParser(prog="figures", description=__doc__.splitlines()[0])
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", metavar="FOLDER")
    docs = parser.parse_args().docs
    folder = docs / "figures"
    accuracy_figures.draw(tables_page.accuracy_rows(docs), folder)
    for draw, name in (
        (other_figures.speed, "speed"),
        (other_figures.n_clusters, "n_clusters"),
        (other_figures.batches, "integration"),
        (other_figures.unimodal, "integration"),
        (other_figures.order, "trajectory"),
        (other_figures.labels, "trajectory"),
        (other_figures.tests, "differential"),
        (other_figures.links, "links"),
        (other_figures.link_scores, "link_scores"),
        (other_figures.bulks, "paper"),
    ):
        draw(pd.read_csv(docs / f"{name}.csv"), folder)
    (docs / "benchmark-tables.md").write_text(tables_page.page(docs), encoding="utf-8")


if __name__ == "__main__":
    main()
