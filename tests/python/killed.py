"""Jobs that write files, ended by `kill -9` on the way, and what is found afterwards.

Each job begins with what an earlier run has left and is run in a forked process, which has all of
scmvp loaded. Wherever it is ended, the earlier result is there or the new one, whole, and the job
can be run again.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
from stored import write_pair

import scmvp
from scmvp import SCMVP, cli, files
from scmvp.r import rbridge
from scmvp.tools import hdf5

EVENTS = {
    "open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link",
    "shutil.rmtree", "ctypes.dlopen",
}  # fmt: skip
OPTIONS = {"n_clusters": 3, "min_cells": 1, "options": {"n_hidden": 16, "n_heads": 4}}


@dataclass
class Job:
    """Something that writes.

    Attributes:
        start: Makes what an earlier run has left.
        run: Writes.
        state: 'old', 'new', or what is wrong, in words.
        names: What may be in the folder, beside hidden siblings.
    """

    start: Callable[[Path], None]
    run: Callable[[Path], None]
    state: Callable[[Path], str]
    names: set[str]


def in_child(call: Callable[[], None], seconds: float | None = None) -> int:
    """Run it in a forked process, ended after some time; the status, negative for a signal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                call()
            status = 0
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def stepwise(folder: Path, at: int | None, report: Path | None = None) -> Callable[[], None]:
    """Count what is done to files of a folder; end this process before step number `at`."""
    steps = 0

    def step(what: str) -> None:
        nonlocal steps
        steps += 1
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple) -> None:
        if event in EVENTS and any(str(folder) in str(part) for part in arguments[:2]):
            step(event)

    def before(holder, name: str) -> None:
        real = getattr(holder, name)

        def called(*arguments, **named):
            step(name)
            return real(*arguments, **named)

        setattr(holder, name, called)

    sys.addaudithook(hook)
    before(os, "fsync")
    before(files, "_exchange")
    before(hdf5._Target, "write")

    def end() -> None:
        if report is not None:
            report.write_text(str(steps))

    return end


def count_steps(job: Job, folder: Path, report: Path) -> int:
    def whole() -> None:
        end = stepwise(folder, None, report)
        job.run(folder)
        end()

    start(job, folder)
    assert in_child(whole) == 0
    return int(report.read_text())


def start(job: Job, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job.start(folder)


def kill_at_step(job: Job, folder: Path, at: int) -> int:
    def call() -> None:
        stepwise(folder, at)
        job.run(folder)

    start(job, folder)
    return in_child(call)


def kill_after(job: Job, folder: Path, seconds: float) -> int:
    start(job, folder)
    return in_child(lambda: job.run(folder), seconds)


def judge(job: Job, folder: Path, rerun: bool = True) -> str | None:
    """What is wrong after a kill, in words."""
    left = {path.name for path in folder.iterdir()} - job.names
    if odd := [name for name in left if not name.endswith(files.SUFFIX)]:
        return f"left over: {odd}"
    state = job.state(folder)
    if state not in ("old", "new"):
        return state
    if rerun:
        if (status := in_child(lambda: job.run(folder))) != 0:
            return f"it cannot be run again: status {status}"
        if (state := job.state(folder)) != "new":
            return f"after it was run again: {state}"
    return None


# ---- the jobs


def command(*arguments: object) -> None:
    status = cli.main([*map(str, arguments), "--quiet"])
    assert status == 0, status


def jobs(root: Path) -> dict[str, Job]:
    """All jobs; what they need is made in `root`."""
    cells = scmvp.simulate(n_cells=60, n_genes=40, n_peaks=60, n_types=3, seed=5)
    pair = write_pair(cells, root / "cells")
    old, new = (SCMVP(cells, **OPTIONS).train(max_epochs=2, seed=s, threads=1) for s in (0, 1))
    for name, model in (("old", old), ("new", new)):
        model.save(root / name)
    fit = ("fit", pair, "--n-clusters", 3, "--min-cells", 1, "--max-epochs", 2, "--threads", 1)
    for seed in (0, 1):
        command(*fit, "--out", root / f"fit{seed}", "--seed", seed)
    for name in ("old", "new"):
        command("embed", root / name, pair, "--out", root / f"{name}.csv")
        command("impute", root / name, pair, "--modality", "rna", "--out", root / f"{name}.h5")
    whole = SCMVP(cells, **OPTIONS).train(max_epochs=3, seed=2, threads=1)
    latent = whole.get_latent_representation()

    def bytes_state(name: str, old: bytes, new: bytes) -> Callable[[Path], str]:
        def state(folder: Path) -> str:
            found = (folder / name).read_bytes()
            known = {old: "old", new: "new"}
            return known.get(found, f"{len(found)} bytes that are neither")

        return state

    def model_state(folder: Path) -> str:
        try:
            values = SCMVP.load(folder / "model").get_latent_representation(cells)
        except scmvp.InputError as error:
            return str(error)
        for name, model in (("old", old), ("new", new)):
            if np.array_equal(values, model.get_latent_representation()):
                return name
        return "a model that is neither"

    def imputed_state(folder: Path) -> str:
        found = anndata.read_h5ad(folder / "x.h5")
        for name in ("old", "new"):
            if np.array_equal(found.X, anndata.read_h5ad(root / f"{name}.h5").X):
                return name
        return "values that are neither"

    def fit_state(folder: Path) -> str:
        out = folder / "out"
        if not out.exists():
            return "the earlier result is gone"
        seed = json.loads((out / "summary.json").read_text())["options"]["seed"]
        for name in ("latent.csv", "clusters.csv"):
            if (out / name).read_bytes() != (root / f"fit{seed}" / name).read_bytes():
                return f"{name} is not of this fit"
        with open(out / "history.csv", newline="") as file:
            if len(list(csv.reader(file))) != 3:
                return "half a history"
        SCMVP.load(out / "model")
        return ("old", "new")[seed]

    def checkpoint_state(folder: Path) -> str:
        if not (folder / "state").exists():
            return "new" if (folder / "latent").exists() else "old"
        copy = folder / f".copy{files.SUFFIX}"
        shutil.copy(folder / "state", copy)
        resumed = SCMVP(cells, **OPTIONS)
        resumed.train(max_epochs=3, seed=2, threads=1, checkpoint=copy)
        same = np.array_equal(resumed.get_latent_representation(), latent)
        return "old" if same else "a checkpoint of something else"

    def train(folder: Path) -> None:
        model = SCMVP(cells, **OPTIONS)
        model.train(max_epochs=3, seed=2, threads=1, checkpoint=folder / "state")
        assert np.array_equal(model.get_latent_representation(), latent)
        (folder / "latent").touch()

    def write_rds(folder: Path) -> None:
        """What R does is done here: it writes to the path it is given, block by block."""

        def call(verb, arguments, engine):
            with open(arguments["path"], "wb") as file:
                for _ in range(20):
                    file.write(bytes(10_000))
                    file.flush()

        rbridge.call = call
        scmvp.write_rds(cells, folder / "x.rds")

    def write_old(name: str) -> Callable[[Path], None]:
        return lambda folder: shutil.copy(root / f"old{Path(name).suffix}", folder / name)

    csvs = [(root / f"{name}.csv").read_bytes() for name in ("old", "new")]
    return {
        "fit with a checkpoint": Job(
            lambda folder: None, train, checkpoint_state, {"state", "latent"}
        ),
        "save": Job(
            lambda folder: shutil.copytree(root / "old", folder / "model"),
            lambda folder: new.save(folder / "model", overwrite=True),
            model_state,
            {"model"},
        ),
        "impute_to_file": Job(
            write_old("x.h5"),
            lambda folder: new.impute_to_file(folder / "x.h5", "rna"),
            imputed_state,
            {"x.h5"},
        ),
        "write_rds": Job(
            lambda folder: (folder / "x.rds").write_bytes(b"old"),
            write_rds,
            bytes_state("x.rds", b"old", bytes(200_000)),
            {"x.rds"},
        ),
        "scmvp fit": Job(
            lambda folder: shutil.copytree(root / "fit0", folder / "out"),
            lambda folder: command(*fit, "--out", folder / "out", "--seed", 1, "--overwrite"),
            fit_state,
            {"out"},
        ),
        "scmvp embed": Job(
            write_old("x.csv"),
            lambda folder: command("embed", root / "new", pair, "--out", folder / "x.csv"),
            bytes_state("x.csv", *csvs),
            {"x.csv"},
        ),
        "scmvp impute": Job(
            write_old("x.h5"),
            lambda folder: command(
                "impute", root / "new", pair, "--modality", "rna", "--out", folder / "x.h5"
            ),
            imputed_state,
            {"x.h5"},
        ),
    }
