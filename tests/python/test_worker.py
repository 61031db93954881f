"""The worker: requests in, events and replies out."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import environment

import scmvp
from scmvp.files import json_text
from scmvp.r import rserial
from scmvp.r.rserial import Named


def test_json_is_what_every_parser_takes():
    value = {"a": np.float32(0.5), "b": (np.int64(1), float("nan")), 1: np.bool_(True)}
    said = json_text(value)
    assert said == '{"a": 0.5, "b": [1, null], "1": true}'


@pytest.fixture
def start():
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(OMP_NUM_THREADS="1"),
        )
        started.append(process)
        assert "ready" in json.loads(process.stdout.readline())
        return process

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def running(start):
    return start("-m", "scmvp.worker")


def ask(process, tmp_path, verb, tell=False, **arguments):
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.rds"
    rserial.write({"do": verb, "tell": tell, "arguments": arguments}, path)
    process.stdin.write(f"{path}\n")
    process.stdin.flush()


def sent(cells):
    """Counts as a request has them."""
    return {
        name: Named(cells[name].X.tocsr(), list(cells.obs_names), list(cells[name].var_names))
        for name in ("rna", "atac")
    }


def reply(process):
    """The next event, or at the end of a request its outcome."""
    event = json.loads(process.stdout.readline())
    if "done" not in event:
        return event
    with open(event["done"], "rb") as file:
        return rserial.load(file)


@pytest.mark.slow
def test_a_fit_in_the_worker_is_that_in_this_process(running, tmp_path):
    cells = scmvp.simulate(n_cells=60, n_genes=50, n_peaks=60, n_types=2, seed=1)
    ask(running, tmp_path, "build", counts=sent(cells), n_clusters=2)
    assert reply(running)["value"]["genes"] == list(scmvp.SCMVP(cells, n_clusters=2).genes)
    assert not list(tmp_path.glob("*.rds"))  # the copy of the counts is gone
    ask(running, tmp_path, "train", tell=True, max_epochs=2)
    events = []
    while "value" not in (event := reply(running)):
        events.append(event)
    assert not event["value"]["interrupted"]
    assert [event["epoch"]["epoch"] for event in events if "epoch" in event] == [1, 2]
    stages = [event["stage"] for event in events if "stage" in event]
    assert stages[0]["stage"] == "correspondence analysis of RNA" and stages[0]["share"] == 0
    assert stages[-1]["stage"] == "finding the clusters" and stages[-1]["share"] == 1
    assert len(events) == 2 + len(stages)
    ask(running, tmp_path, "fitted")
    got = reply(running)["value"]
    model = scmvp.SCMVP(cells, n_clusters=2).train(max_epochs=2, threads=1)
    np.testing.assert_allclose(got["latent"], model.get_latent_representation(), atol=1e-4)
    assert list(got["history"]["epoch"]) == [1, 2]


@pytest.mark.slow
def test_failures_are_replies_and_the_worker_lives(running, tmp_path):
    ask(running, tmp_path, "load", folder=str(tmp_path / "none"))
    failed = reply(running)
    assert failed["class"] == ["ModelFileError"] and "has no model.json" in failed["error"][0]
    assert "Traceback" in failed["details"][0]
    running.send_signal(signal.SIGINT)  # with nothing to interrupt
    ask(running, tmp_path, "load", folder=str(tmp_path / "none"))
    assert "error" in reply(running)
    running.stdin.close()
    assert running.wait(timeout=60) == 0


@pytest.mark.slow
def test_a_worker_forgets_its_model_and_ends_when_nobody_asks(start, tmp_path):
    code = "import scmvp.worker as worker; worker.IDLE_SECONDS = 1; raise SystemExit(worker.main())"
    process = start("-c", code)
    cells = scmvp.simulate(n_cells=60, n_genes=50, n_peaks=60, n_types=2, seed=1)
    ask(process, tmp_path, "build", counts=sent(cells), n_clusters=2)
    assert "account" in reply(process)["value"]
    time.sleep(1.5)  # between the requests of one call there is no limit
    ask(process, tmp_path, "tree")
    assert "'NoneType'" not in reply(process).get("error", [""])[0]
    ask(process, tmp_path, "forget")
    assert reply(process)["value"] is None
    ask(process, tmp_path, "tree")
    assert "'NoneType'" in reply(process)["error"][0]
    ask(process, tmp_path, "forget")
    assert reply(process)["value"] is None
    assert process.wait(timeout=60) == 0
