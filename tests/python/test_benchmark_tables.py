"""The tables of the benchmarks are those of the measurements in docs/*.csv."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tables(monkeypatch):
    for folder in ("accuracy", "figures"):
        monkeypatch.syspath_prepend(str(ROOT / "bench" / folder))
    import tables_page

    yield tables_page
    for name in ("tables_page", "report"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_the_page_of_tables_is_made_of_the_csv_files(tables):
    page = (ROOT / "docs" / "benchmark-tables.md").read_text(encoding="utf-8")
    assert tables.page(ROOT / "docs") == page, "run make figures"


def test_experiments_of_the_paper_have_means_over_seeds_and_published_values(tables):
    rows = pd.DataFrame(
        [
            ["1c", "scale", "9 cells", "scMVP", "MB", 0, 20.0, 30.0],
            ["1c", "scale", "9 cells", "peer", "MB", 0, 0.5, None],
            ["4b", "markers", "blood", "scMVP", "ARI", 1, 0.2, None],
            ["4b", "markers", "blood", "scMVP", "ARI", 3, 0.4, None],
        ],
        columns=["figure", "experiment", "data", "method", "measure", "seed", "ours", "published"],
    )
    first, second = tables.experiments(rows).split("### Figure 4b: ")
    assert "9 cells, seed 0:" in first and "blood, seeds 1, 3:" in second
    assert "|  | MB | MB, published |" in first
    assert "| scMVP | 20 | 30 |" in first and "| peer | 0.500 |  |" in first
    assert "| scMVP | 0.300 ± 0.141 |" in second


def test_the_readme_has_the_measured_accuracy(tables):
    """Mean and standard deviation (divisor n - 1) by hand, from the rows of the CSV file."""
    rows = tables.accuracy_rows(ROOT / "docs")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for method in ("scmvp-argmax", "cobolt"):
        own = rows[(rows["data"] == "multiome_pbmc2k@0.2") & (rows["metric"] == "ari")]
        values = own.loc[own["method"] == method, "value"].tolist()
        assert len(values) == 5
        mean = sum(values) / 5
        spread = (sum((value - mean) ** 2 for value in values) / 4) ** 0.5
        assert f"{mean:.2f} ± {spread:.2f}" in readme
