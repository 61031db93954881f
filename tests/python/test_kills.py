"""Whatever ends the writing of a file, the earlier one or the new one is there, whole.

`bench/kills.py` does the same at random moments, many times.
"""

from __future__ import annotations

import itertools
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import anndata
import killed
import numpy as np
import pytest

import scmvp
from scmvp import files, storage
from scmvp.errors import InputNote
from scmvp.tools import hdf5

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kill -9 of Linux")


@pytest.fixture(scope="module")
def all_jobs(tmp_path_factory):
    return killed.jobs(tmp_path_factory.mktemp("root"))


JOBS = [
    "fit with a checkpoint", "save", "impute_to_file", "write_rds", "scmvp fit", "scmvp embed",
    "scmvp impute",
]  # fmt: skip
LAST = 8  # steps: there the new file takes the place of the old one
EARLIER = 2 if os.environ.get("SCMVP_FUZZ", "1") == "1" else 1000  # steps before these


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_ended_before_any_step(all_jobs, tmp_path, name):
    """Before each opening, writing to the disk, renaming and deleting; so also after each.

    All steps with SCMVP_FUZZ=2.
    """
    job = all_jobs[name]
    n = killed.count_steps(job, tmp_path / "whole", tmp_path / "steps")
    assert n >= 4
    first = max(n - LAST, 0)
    chosen = [*range(1, first + 1, -(-first // EARLIER) or 1), *range(first + 1, n + 1)]
    states = set()
    for at in chosen:
        folder = tmp_path / f"{at}"
        assert killed.kill_at_step(job, folder, at) == -9
        states.add(job.state(folder))
        assert killed.judge(job, folder, rerun=at in (chosen[0], chosen[-1])) is None, at
    assert states <= {"old", "new"}
    assert "old" in states


# ---- a full disk, a folder that cannot be written to, two at once


WRITERS = [name for name in JOBS if name != "fit with a checkpoint"]


def names_in(folder) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def failing(job: killed.Job, folder, prepare) -> str:
    """Run it in a process in which writing fails; what it says."""
    said = folder.with_name("said")

    def call() -> None:
        prepare()
        try:
            job.run(folder)
        except (OSError, scmvp.InputError) as error:
            said.write_text(f"{type(error).__name__} {error}")
        except AssertionError as error:  # the command line has said it and gives its status
            said.write_text(f"status {error}")
        os._exit(0)

    killed.start(job, folder)
    names = names_in(folder)
    assert killed.in_child(call) == 0
    assert job.state(folder) == "old"
    assert names_in(folder) == names, "something is left over"
    return said.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(all_jobs, tmp_path, name):
    """As the system says it: no file may become longer than a few bytes."""

    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))

    said = failing(all_jobs[name], tmp_path / "folder", full)
    assert said == "status 2" if name.startswith("scmvp") else "File too large" in said, said


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [None, 1.0])
def test_a_disk_that_fills_at_any_moment_of_an_imputation(all_jobs, tmp_path, threshold):
    """HDF5 reads again what it has written, and crashed where that was lost."""
    killed.start(all_jobs["save"], tmp_path / "old")
    model = scmvp.SCMVP.load(tmp_path / "old" / "model")
    latent = np.zeros((60, model.options.n_latent), np.float32)
    names = [f"cell {i}" for i in range(60)]
    folder = tmp_path / "folder"
    folder.mkdir()
    whole = tmp_path / "whole.h5"
    model.decode_to_file(whole, latent, "rna", names, threshold=threshold)
    for share in (0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        limit = int(share * whole.stat().st_size)

        def prepare(limit=limit) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            with pytest.raises(OSError, match=r"File too large.*x\.h5"):
                model.decode_to_file(folder / "x.h5", latent, "rna", names, threshold=threshold)
            os._exit(0)

        assert killed.in_child(prepare) == 0, limit
        assert names_in(folder) == set()


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_an_interrupt_in_any_write_leaves_no_imputed_file(tmp_path, monkeypatch, threshold):
    values = np.random.default_rng(0).random((300, 700), np.float32)
    names = [f"c{i}" for i in range(300)], [f"p{j}" for j in range(700)]
    path, written, at, plain = tmp_path / "x.h5", [], [], hdf5._Target.write

    def write(self, data):
        written.append(None)
        if len(written) in at:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, data)

    def call():
        written.clear()
        hdf5.write_blocks(path, iter(np.split(values, 4)), *names, threshold, {})

    monkeypatch.setattr(hdf5._Target, "write", write)
    call()
    n = len(written)
    path.unlink()
    for number in range(1, n + 1):
        at[:] = [number]
        with pytest.raises(KeyboardInterrupt):
            call()
        assert not [*tmp_path.iterdir()]
    at.clear()
    call()
    expected = values if threshold is None else np.where(values >= threshold, values, 0)
    found = anndata.read_h5ad(path).X
    np.testing.assert_array_equal(found if threshold is None else found.toarray(), expected)


def test_an_interrupt_while_the_writer_starts_leaves_no_imputed_file(tmp_path, monkeypatch):
    """Before the caller knows of the thread, which must not begin to write then."""
    plain, threads = threading.Thread.start, []

    def start(thread):
        plain(thread)
        threads.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start)
    blocks = iter([np.ones((2, 3), np.float32)])
    with pytest.raises(KeyboardInterrupt):
        hdf5.write_blocks(tmp_path / "x.h5", blocks, list("ab"), list("efg"), None, {})
    threads[0].join(timeout=60)
    assert not threads[0].is_alive() and not [*tmp_path.iterdir()]


def test_blocks_that_fail_leave_no_imputed_file(tmp_path):
    def blocks():
        yield np.ones((2, 3), np.float32)
        raise ZeroDivisionError

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        hdf5.write_blocks(tmp_path / "x.h5", blocks(), list("abcd"), list("efg"), None, {})
    assert not [*tmp_path.iterdir()] and threading.active_count() == before


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become someone else")
@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_one_may_not_write_to(all_jobs, tmp_path, name):
    folder = tmp_path / "folder"

    def someone_else() -> None:
        (tmp_path / "said").touch()
        (tmp_path / "said").chmod(0o666)
        os.setgid(65534)
        os.setuid(65534)

    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o005:
            parent.chmod(parent.stat().st_mode | 0o055)
    said = failing(all_jobs[name], folder, someone_else)
    assert (
        said == "status 2"
        if name.startswith("scmvp")
        else "ermission" in said or ("writable folder" in said)
    ), said


@pytest.mark.slow
def test_a_small_disk(tmp_path):
    """A disk of 64 kB; HDF5 and safetensors meet its end in their own ways."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        mdata = scmvp.simulate(n_cells=400, n_genes=60, n_peaks=60, n_types=3, seed=1)
        model = scmvp.SCMVP(mdata, **killed.OPTIONS).train(max_epochs=1, threads=1)
        with pytest.raises(OSError, match="No space left"):
            model.impute_to_file(place / "x.h5", "rna")
        with pytest.raises(OSError, match="No space left"):
            model.save(place / "model")
        with pytest.warns(InputNote, match=r"No space left.*training goes on"):
            scmvp.SCMVP(mdata, **killed.OPTIONS).train(
                max_epochs=1, threads=1, checkpoint=place / "state"
            )
        assert names_in(place) <= {"model"}
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["save", "impute_to_file", "write_rds", "scmvp fit"])
def test_two_write_the_same_at_once(all_jobs, tmp_path, name):
    """One of the two results is there, and nothing else."""
    job, folder = all_jobs[name], tmp_path / "folder"
    killed.start(job, folder)
    children = [fork(lambda: job.run(folder)) for _ in range(3)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 3
    assert job.state(folder) == "new"
    assert {path.name for path in folder.iterdir()} == job.names


def fork(call) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            call()
            status = 0
        finally:
            os._exit(status)
    return child


def test_one_reads_while_another_replaces(all_jobs, tmp_path):
    """Every time one of the two models, never a sentence about damage."""
    job, folder = all_jobs["save"], tmp_path / "folder"
    killed.start(job, folder)
    models = [scmvp.SCMVP.load(folder / "model")]
    job.run(folder)
    models.append(scmvp.SCMVP.load(folder / "model"))

    enough = tmp_path / "enough"

    def replace() -> None:
        for i in itertools.count():
            models[i % 2].save(folder / "model", overwrite=True)
            if i >= 40 and enough.exists():
                return

    child, states, end = fork(replace), set(), time.monotonic() + 60
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        states.add(job.state(folder))
        if states == {"old", "new"} or time.monotonic() > end:
            enough.touch()
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert states == {"old", "new"}


def test_one_reads_while_another_replaces_twice(all_jobs, tmp_path, monkeypatch):
    """The same model again, but another was there between its two files."""
    job, folder = all_jobs["save"], tmp_path / "folder"
    killed.start(job, folder)
    old = scmvp.SCMVP.load(folder / "model")
    job.run(folder)
    new, read = scmvp.SCMVP.load(folder / "model"), storage.read_weights

    def replaced_twice(*arguments):
        monkeypatch.undo()
        old.save(folder / "model", overwrite=True)
        try:
            return read(*arguments)
        finally:
            new.save(folder / "model", overwrite=True)

    monkeypatch.setattr(storage, "read_weights", replaced_twice)
    assert job.state(folder) == "new"


def test_a_result_made_meanwhile_is_not_replaced(tmp_path):
    """Without leave to replace, the second of two goes to a place of its own, and says where."""
    with pytest.raises(scmvp.InputError, match="another program has written") as refusal:
        with files.whole_folder(tmp_path / "out") as partial:
            (partial / "mine").touch()
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "theirs").touch()
    assert names_in(tmp_path / "out") == {"theirs"}
    (other,) = (path for path in tmp_path.iterdir() if path.name != "out")
    assert names_in(other) == {"mine"} and str(other) in str(refusal.value)


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path, monkeypatch, exchanges):
    """Also where the system cannot exchange two names in one step."""
    if not exchanges:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    with files.whole_folder(out, replace=True) as partial:
        (partial / "new").touch()
    assert names_in(tmp_path) == {"out", "out/new"}


def _refuse_streams(folder: Path) -> None:
    """Names of a file that is open are no place for another one, whatever they lead to."""
    log = folder / "log"
    with log.open("w") as file:
        number = file.fileno()
        names = [f"/dev/fd/{number}"]
        if sys.platform == "linux":
            names += [f"/proc/{process}/fd/{number}" for process in ("self", os.getpid())]
        (folder / "stream").symlink_to(names[0])
        (folder / "fds").symlink_to("/dev/fd")
        (folder / "again").symlink_to("stream")
        for name in (*names, folder / "stream", folder / "again", folder / "fds" / str(number)):
            assert os.path.samefile(name, log)
            with pytest.raises(scmvp.InputError, match="a device or a pipe"):
                files.writable(name)
            with pytest.raises(scmvp.InputError, match="a device or a pipe"):
                files.whole_file(name).__enter__()
    shared = Path("/dev/shm")
    if os.access(shared, os.W_OK):
        assert files.writable(shared / "scmvp.csv") == shared / "scmvp.csv"


def test_links_stay_and_devices_are_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_text("old")
    (tmp_path / "real" / "x").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "x")
    with files.whole_file(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "x").read_text() == "new"
    assert (tmp_path / "real" / "x").stat().st_mode & 0o777 == 0o600
    with pytest.raises(scmvp.InputError, match="a device or a pipe"):
        with files.whole_file("/dev/null"):
            pass
    _refuse_streams(tmp_path)
    long = tmp_path / ("é" * 127)
    with files.whole_file(long) as partial:
        partial.write_text("new")
    assert long.read_text() == "new"
