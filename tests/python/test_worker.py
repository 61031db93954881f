"""The worker: requests in, events and raw files out."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scmvp
from scmvp import worker


def test_plain_is_what_every_json_parser_takes():
    value = {"a": np.float32(0.5), "b": (np.int64(1), float("nan")), 1: np.bool_(True)}
    assert json.dumps(worker.plain(value)) == '{"a": 0.5, "b": [1, null], "1": true}'


def test_matrices_go_column_after_column(tmp_path):
    values = np.arange(6.0).reshape(2, 3)
    at = worker.write_matrix(str(tmp_path / "m"), values)
    assert at["dim"] == [2, 3]
    assert np.fromfile(at["file"], np.float32).tolist() == [0, 3, 1, 4, 2, 5]
    values.T.tofile(tmp_path / "d")
    back = worker.read_matrix({"file": str(tmp_path / "d"), "dim": [2, 3]})
    assert (back == values).all()


@pytest.fixture
def running():
    root = Path(scmvp.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "scmvp.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )
    assert "ready" in json.loads(process.stdout.readline())
    yield process
    process.kill()


def ask(process, tmp_path, **request):
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
    path.write_text(json.dumps(request))
    process.stdin.write(f"{path}\n")
    process.stdin.flush()


def reply(process):
    event = json.loads(process.stdout.readline())
    return json.loads(Path(event["done"]).read_text()) if "done" in event else event


def counts_as_files(matrix, features, cells, folder, name):
    parts = {"x": np.float64, "i": np.int32, "p": np.int32}
    vectors = dict(zip(parts, (matrix.data, matrix.indices, matrix.indptr), strict=True))
    at = {}
    for part, kind in parts.items():
        at[part] = str(folder / f"{name}.{part}")
        vectors[part].astype(kind).tofile(at[part])
    for part, names in (("features", features), ("cells", cells)):
        at[part] = str(folder / f"{name}.{part}")
        Path(at[part]).write_text("".join(f"{n}\n" for n in names))
    return at


def test_a_fit_in_the_worker_is_that_in_this_process(running, tmp_path):
    cells = scmvp.simulate(n_cells=60, n_genes=50, n_peaks=60, n_types=2, seed=1)
    sent = {
        name: counts_as_files(
            cells[name].X.tocsr(), cells[name].var_names, cells.obs_names, tmp_path, name
        )
        for name in ("rna", "atac")
    }
    ask(running, tmp_path, do="build", **sent, n_clusters=2)
    assert reply(running)["genes"] == list(scmvp.SCMVP(cells, n_clusters=2).genes)
    ask(running, tmp_path, do="train", tell=True, max_epochs=2)
    events = []
    while "interrupted" not in (event := reply(running)):
        events.append(event)
    assert event == {"interrupted": False}
    assert [event["epoch"]["epoch"] for event in events if "epoch" in event] == [1, 2]
    stages = [event["stage"] for event in events if "stage" in event]
    assert stages[0]["stage"] == "correspondence analysis of RNA" and stages[0]["share"] == 0
    assert stages[-1]["stage"] == "finding the clusters" and stages[-1]["share"] == 1
    assert len(events) == 2 + len(stages)
    ask(
        running,
        tmp_path,
        do="fitted",
        latent=str(tmp_path / "l"),
        probabilities=str(tmp_path / "p"),
    )
    at = reply(running)["latent"]
    got = np.fromfile(at["file"], np.float32).reshape(at["dim"][::-1]).T
    model = scmvp.SCMVP(cells, n_clusters=2).train(max_epochs=2, threads=1)
    np.testing.assert_allclose(got, model.get_latent_representation(), atol=1e-4)


def test_failures_are_events_and_the_worker_lives(running, tmp_path):
    ask(running, tmp_path, do="load", folder=str(tmp_path / "none"))
    failed = reply(running)["failed"]
    assert failed["type"] == "ModelFileError" and "has no model.json" in failed["message"]
    running.send_signal(signal.SIGINT)  # with nothing to interrupt
    ask(running, tmp_path, do="load", folder=str(tmp_path / "none"))
    assert "failed" in reply(running)
    running.stdin.close()
    assert running.wait(timeout=60) == 0


def test_columns_of_every_type_become_what_json_can_say(tmp_path):
    index = list("abc")
    columns = {
        "nullable": pd.array([True, None, False], dtype="boolean"),
        "whole": pd.array([1, None, 3], dtype="Int64"),
        "real": pd.array([1.5, None, 3], dtype="Float64"),
        "half": np.array([1, np.nan, 3], np.float16),
        "text": pd.array(["a", None, "c"], dtype="string"),
        "object": np.array([True, None, False], dtype=object),
        "mixed": np.array(["a", 1, None], dtype=object),
        "empty": np.array([None] * 3, dtype=object),
        "levels": pd.Categorical([20, 3, None]),
        "yes": pd.Categorical([True, None, False]),
        "time": pd.to_datetime(["2024-01-01", None, "2024-01-02"]),
        "span": pd.to_timedelta(["1d", None, "2d"]),
        "complex": np.array([1j, 2, 3]),
        "sparse": pd.arrays.SparseArray([1, 0, 2]),
    }
    table = worker.write_table(pd.DataFrame(columns, index=index), tmp_path / "index")
    said = json.loads(json.dumps(worker.plain(table)))["columns"]
    kinds = {name: column["kind"] for name, column in said.items()}
    assert kinds == {
        "nullable": "logical", "whole": "number", "real": "number", "half": "number",
        "text": "text", "object": "logical", "mixed": "text", "empty": "text",
        "levels": "factor", "yes": "factor", "time": "text", "span": "text", "complex": "text",
        "sparse": "number",
    }  # fmt: skip
    assert said["nullable"]["values"] == said["object"]["values"] == [True, None, False]
    assert said["whole"]["values"] == [1, None, 3]
    assert said["real"]["values"] == [1.5, None, 3]
    assert said["text"]["values"] == ["a", None, "c"]
    assert said["mixed"]["values"] == ["a", "1", None]
    assert (said["levels"]["levels"], said["levels"]["values"]) == (["3", "20"], [1, 0, None])
    assert said["sparse"]["values"] == [1, 0, 2]
    assert said["time"]["values"][1] is None and said["time"]["values"][0].startswith("2024-01-01")
