"""The CSV files of bench: rows are added, replaced and kept as they were written."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import pytest

ACCURACY = Path(__file__).parents[2] / "bench" / "accuracy"


@pytest.fixture
def results(monkeypatch):
    monkeypatch.syspath_prepend(str(ACCURACY))
    import results

    yield results
    for name in ("results", "report"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_rows_with_the_same_keys_are_replaced_and_all_others_stay_as_they_are(
    results, tmp_path, ending
):
    path = tmp_path / "scores.csv"
    lines = ["data,seed,value", "a,0,1.50", "a,1,2", '"b, c",0,3']
    path.write_bytes(ending.join([*lines, ""]).encode())
    results.put_by(path, [{"data": "a", "seed": 1, "value": "7"}], ("data", "seed"))
    expected = [lines[0], lines[1], lines[3], "a,1,7", ""]
    assert path.read_bytes() == ending.join(expected).encode()
    results.put_by(path, [{"data": "d", "seed": 0, "value": 4}], ("data", "seed"))
    expected = [*expected[:-1], "d,0,4", ""]
    assert path.read_bytes() == ending.join(expected).encode()
    results.put_by(path, [{"data": "e", "seed": 0, "more": "x"}], ("data", "seed"))
    assert results.rows_of(path)[-1] == {"data": "e", "seed": "0", "value": "", "more": "x"}
    assert results.rows_of(path)[0] == {"data": "a", "seed": "0", "value": "1.50", "more": ""}
    assert [file.name for file in tmp_path.iterdir()] == ["scores.csv"]


def test_rows_are_added_to_a_file_that_is_not_there(results, tmp_path):
    path = tmp_path / "new" / "scores.csv"
    row = results.formatted({"data": "a", "n": 3, "x": 0.12345, "y": float("nan")}, ".3f")
    results.put_by(path, [row], ("data",))
    assert path.read_text() == "data,n,x,y\na,3,0.123,\n"


def test_an_error_is_gone_after_a_try_that_succeeds(results, tmp_path, monkeypatch):
    """Of the same unit only; a method may have its scores under names of its parts."""
    monkeypatch.setattr(os, "environ", dict(os.environ))  # the module sets numbers of threads
    module = runpy.run_path(str(ACCURACY / "__main__.py"))
    path = tmp_path / "accuracy.csv"

    def row(method, seed, metric, options=""):
        return {
            "data": "a", "method": method, "seed": seed, "task": "embedding", "metric": metric,
            "value": "1", "cpu_seconds": "2", "options": options,
        }  # fmt: skip

    def key(seed, options="{}"):
        return "a", "wnn", seed, "embedding", options

    module["keep"](path, [row("wnn", 0, "error", '{"error": "no memory"}')], key(0))
    module["keep"](path, [row("wnn", 1, "error", '{"error": "no memory"}')], key(1))
    given = '{"error": "no memory", "n": 2}'
    module["keep"](path, [row("wnn", 0, "error", given)], key(0, '{"n": 2}'))
    assert "no memory" in failures(path)
    module["keep"](path, [row("wnn-umap", 0, "ari"), row("wnn-spectral", 0, "ari")], key(0))
    found = [(one["method"], one["seed"], one["metric"]) for one in results.rows_of(path)]
    assert found == [
        ("wnn", "1", "error"), ("wnn", "0", "error"), ("wnn-umap", "0", "ari"),
        ("wnn-spectral", "0", "ari"),
    ]  # fmt: skip
    assert failures(path).count("no memory") == 2


def failures(path: Path) -> str:
    import report

    return report.tables(path, [0], [0])
