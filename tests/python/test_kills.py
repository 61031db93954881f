"""Whatever ends the writing of a file, the earlier one or the new one is there, whole.

`bench/kills.py` does the same at random moments, many times.
"""

from __future__ import annotations

import sys

import killed
import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kill -9 of Linux")


@pytest.fixture(scope="module")
def all_jobs(tmp_path_factory):
    return killed.jobs(tmp_path_factory.mktemp("room"))


JOBS = [
    "fit with a checkpoint", "save", "impute_to_file", "write_rds", "scmvp fit", "scmvp embed",
    "scmvp impute",
]  # fmt: skip
MOST = 20  # steps of a job at which it is ended


@pytest.mark.parametrize("name", JOBS)
def test_ended_before_any_step(all_jobs, tmp_path, name):
    """Before each opening, writing to the disk, renaming and deleting; so also after each."""
    job = all_jobs[name]
    n = killed.count_steps(job, tmp_path / "whole", tmp_path / "steps")
    assert n >= 4
    chosen = range(1, n + 1) if n <= MOST else [*range(1, n, -(-n // MOST)), n]
    states = set()
    for at in chosen:
        folder = tmp_path / f"{at}"
        assert killed.kill_at_step(job, folder, at) == -9
        states.add(job.state(folder))
        assert killed.judge(job, folder, rerun=at in (chosen[0], chosen[-1])) is None, at
    assert states <= {"old", "new"}
    assert "old" in states
