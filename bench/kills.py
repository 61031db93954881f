"""End every writer by `kill -9` at random moments, and look at what is left.

    python bench/kills.py [NUMBER=500]

Each kill hits a forked process at a moment drawn evenly from the time that the job takes. The
earlier result or the new one must be there, whole; now and then the job is run again, which must
give the new one. Ends with status 1 where anything else is found. Where R and SeuratObject are
installed, some kills hit R itself while it writes an .rds.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "python"))

import killed

import scmvp

RERUN_EVERY = 10
KILLS_OF_R = 20


def duration(job: killed.Job, folder: Path) -> float:
    """Seconds that the job takes here."""
    killed.start(job, folder)
    started = time.monotonic()
    assert killed.in_child(lambda: job.run(folder)) == 0
    return time.monotonic() - started


def kills_of(name: str, job: killed.Job, root: Path, number: int, rng) -> tuple[Counter, list[str]]:
    """States found, and what was wrong."""
    longest = sorted(duration(job, root / "whole") for _ in range(3))[1]
    states, wrong, folder = Counter(), [], root / "folder"
    while sum(states.values()) < number:
        seconds = float(rng.uniform(0, longest))
        if killed.kill_after(job, folder, seconds) != -signal.SIGKILL:
            continue  # it was done already
        states[job.state(folder)] += 1
        if what := killed.judge(job, folder, rerun=sum(states.values()) % RERUN_EVERY == 0):
            wrong.append(f"{name}, after {seconds:.3f} s: {what}")
    return states, wrong


def has_seurat() -> bool:
    code = "quit(status = !requireNamespace('SeuratObject', quietly = TRUE))"
    return (
        shutil.which("Rscript") is not None
        and subprocess.run(["Rscript", "-e", code], capture_output=True).returncode == 0
    )


def r_job(root: Path) -> killed.Job:
    """Results added to a Seurat object in place, by R."""
    cells = scmvp.simulate(n_cells=60, n_genes=40, n_peaks=60, n_types=3, seed=5)
    scmvp.write_rds(cells, root / "object.rds", engine="process")
    cells.obsm["X_scmvp"] = np.zeros((60, 3))

    def add(folder: Path) -> None:
        scmvp.add_to_rds(folder / "x.rds", cells, folder / "x.rds", engine="process")

    def state(folder: Path) -> str:
        found = scmvp.read_rds(folder / "x.rds", engine="process")
        return "new" if "X_scmvp" in found.obsm else "old"

    return killed.Job(
        lambda folder: shutil.copy(root / "object.rds", folder / "x.rds"),
        add,
        state,
        {"x.rds"},
    )


def end_r() -> None:
    """End R where the Python that started it is gone."""
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes()
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if b"bridge.R" in command and parent == "1":
            os.kill(int(process.name), signal.SIGKILL)


def main(number: int = 500) -> int:
    """Print a line per job; the status."""
    rng = np.random.default_rng(0)
    wrong: list[str] = []
    total: Counter = Counter()
    with tempfile.TemporaryDirectory(prefix="scmvp-kills-") as place:
        root = Path(place)
        jobs = killed.jobs(root)
        shares = {name: 1 for name in jobs}
        if has_seurat():
            jobs["add_to_rds"] = r_job(root)
            shares["add_to_rds"] = min(1, KILLS_OF_R * len(shares) / number)
        numbers = [round(number * share / sum(shares.values())) for share in shares.values()]
        numbers[0] += number - sum(numbers)
        for (name, job), n in zip(jobs.items(), numbers, strict=True):
            states, problems = kills_of(name, job, root, n, rng)
            end_r()
            wrong += problems
            total += states
            print(f"{name}: {n} kills, {dict(states)}, {len(problems)} wrong", flush=True)
    print(f"all: {sum(numbers)} kills, {dict(total)}, {len(wrong)} wrong")
    print(*wrong, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
