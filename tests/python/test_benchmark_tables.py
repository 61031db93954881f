"""The tables of the benchmarks are those of the measurements in docs/*.csv."""

from __future__ import annotations

import sys
from pathlib import Path

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


def test_the_page_of_tables_is_made_of_the_csv_files(tables):
    page = (ROOT / "docs" / "benchmark-tables.md").read_text(encoding="utf-8")
    assert tables.page(ROOT / "docs") == page, "run make figures"


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
