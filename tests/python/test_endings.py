"""How commands end: by signals, at any moment, and without memory."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from commands import FIT, SOURCE, assert_refused, environment, run

import scmvp
from scmvp import cli, saved, starting

needs_signals = pytest.mark.skipif(os.name == "nt", reason="signals")


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "cells.h5mu"
    scmvp.simulate(n_cells=90, n_genes=100, n_peaks=150, n_types=3, seed=4).write_h5mu(path)
    return path


def at(monkeypatch, name: str, number: int = signal.SIGINT) -> None:
    """Send this process a signal when the command line calls a function."""
    real = getattr(cli, name)

    def called(*arguments, **named):
        os.kill(os.getpid(), number)
        return real(*arguments, **named)

    monkeypatch.setattr(cli, name, called)


def last_line(result) -> str:
    return result.stderr.splitlines()[-1]


@pytest.mark.slow
@needs_signals
def test_an_interrupt_leaves_nothing_and_says_so(cells, tmp_path, monkeypatch):
    at(monkeypatch, "write_history")
    result = run("fit", cells, "--out", tmp_path / "out", *FIT, "--quiet")
    assert (result.returncode, result.stderr) == (130, "scmvp: interrupted; nothing was written\n")
    assert [*tmp_path.iterdir()] == []


@needs_signals
@pytest.mark.slow
def test_an_interrupted_fit_goes_on(cells, tmp_path, monkeypatch):
    """From its checkpoint, as the sentence says."""
    out, state = tmp_path / "out", tmp_path / "state"
    fit = ("fit", cells, "--out", out, *FIT, "--checkpoint", state)
    with monkeypatch.context() as patch:
        at(patch, "write_history")
        result = run(*fit)
    assert result.returncode == 130
    assert last_line(result).endswith(f"interrupted; the same command goes on from {state}")
    assert [*tmp_path.iterdir()] == [state]
    again = run(*fit)
    assert again.returncode == 0 and "epoch 1/" not in again.stderr
    assert [*tmp_path.iterdir()] == [out]


@needs_signals
@pytest.mark.slow
def test_an_interrupted_training_says_how_it_goes_on(cells, tmp_path, monkeypatch):
    class Stopped(scmvp.SCMVP):
        def train(self, *, callback, **options):
            def stop(state):
                if state["epoch"] == 2:
                    raise KeyboardInterrupt

            return super().train(callback=stop, **options)

    out, state = tmp_path / "out", tmp_path / "state"
    fit = ("fit", cells, "--out", out, *FIT, "--checkpoint", state)
    with monkeypatch.context() as patch:
        patch.setattr(cli, "_loaded_model_class", lambda stages: Stopped)
        result = run(*fit)
    assert result.returncode == 130 and out.exists()
    assert last_line(result) == f"with --overwrite, the same command goes on from {state}"
    assert run(*fit, "--overwrite").returncode == 0 and not state.exists()


@pytest.mark.slow
@needs_signals
def test_an_interrupted_report_does_not_deny_the_results(cells, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt("interrupted (placing the cells)")

    monkeypatch.setattr(scmvp.SCMVP, "report", interrupted)
    out = tmp_path / "out"
    result = run("fit", cells, "--out", out, *FIT, "--report", "--quiet")
    said = f"scmvp: interrupted (placing the cells); the results are in {out}\n"
    assert (result.returncode, result.stderr) == (130, said)
    assert (out / "latent.csv").exists() and not (out / "report.html").exists()


@pytest.mark.slow
@needs_signals
def test_termination_is_an_interrupt_of_another_status(cells, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    at(monkeypatch, "write_history", signal.SIGTERM)
    result = run("fit", cells, "--out", tmp_path / "out", *FIT, "--quiet")
    assert (result.returncode, result.stderr) == (143, "scmvp: interrupted; nothing was written\n")
    assert [*tmp_path.iterdir()] == []
    assert signal.getsignal(signal.SIGTERM) == before


@needs_signals
def test_a_command_in_a_thread_leaves_signals_alone(tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(cli.main(["info", str(tmp_path)])))
    thread.start()
    thread.join()
    assert found == [2]


# ---- while libraries are imported


def process(*arguments: str, code: str = "") -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(PYTHONPATH=f"{code}{os.pathsep}{SOURCE}"),
    )


@pytest.mark.slow
@needs_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("how", ["module", "script"])
def test_a_signal_during_the_imports_ends_in_one_line(tmp_path, how, number):
    (tmp_path / "mudata.py").write_text("print('importing', flush=True)\nwhile True: pass\n")
    (tmp_path / "scmvp").write_text("import sys\nfrom scmvp.cli import main\nsys.exit(main())\n")
    start = {"module": ["-m", "scmvp"], "script": [str(tmp_path / "scmvp")]}[how]
    started = process(*start, "info", "x", code=str(tmp_path))
    assert started.stdout.readline() == "importing\n"
    started.send_signal(number)
    _, said = started.communicate(timeout=60)
    assert (started.returncode, said) == (128 + number, "scmvp: interrupted\n")


@pytest.mark.slow
@needs_signals
def test_an_interrupt_within_exec_does_not_decide_how_python_ends(tmp_path):
    """As while a library runs a text: Python would end `-m` by SIGINT, whatever the status."""
    (tmp_path / "command.py").write_text(
        "import sys\n"
        "import scmvp.cli\n"
        "text = 'import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)'\n"
        "scmvp.cli.VERBS['info'] = lambda arguments, messages: exec(text)\n"
        "sys.exit(scmvp.cli.main(['info', 'x']))\n"
    )
    started = process("-m", "command", code=str(tmp_path))
    _, said = started.communicate(timeout=60)
    assert started.returncode == 128 + signal.SIGTERM, said


@pytest.mark.parametrize(
    "argv, original, answer",
    [
        (["-m"], ["python", "-X", "dev", "-m", "scmvp", "fit"], True),
        (["/usr/bin/scmvp", "fit"], ["python", "/usr/bin/scmvp", "fit"], True),
        (["C:\\scmvp.exe"], ["C:\\scmvp.exe"], os.name == "nt"),
        (["-m"], ["python", "-m", "pytest", "scmvp"], False),
        (["analysis.py", "scmvp"], ["python", "analysis.py", "scmvp"], False),
        (["-c"], ["python", "-c", "import scmvp"], False),
        ([""], ["python"], False),
        ([], [], False),
    ],
)
def test_other_programs_keep_their_signals(monkeypatch, argv, original, answer):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", original)
    assert starting.is_command_line() is answer


# ---- standard error and output that cannot be written


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("arguments", "where", "status"),
    [
        ("join a={cells} --out {out}", "2>/dev/full", 0),
        ("join a={cells} --out {out}", "2>&-", 0),
        ("join a={cells} --out {out}", ">&- 2>&- <&-", 0),
        ("join a=missing.h5mu --out {out}", "2>/dev/full", 2),
        ("clusters --bad", "2>/dev/full", 2),
        ("clusters --bad", "2>&-", 2),
    ],
)
def test_messages_that_cannot_be_written_are_dropped(cells, tmp_path, arguments, where, status):
    out = tmp_path / "joined.h5mu"
    command = f"{sys.executable} -m scmvp {arguments.format(cells=cells, out=out)} {where}"
    done = subprocess.run(command, shell=True, env=environment(), capture_output=True)  # noqa: S602
    assert (done.returncode, done.stdout) == (status, b"")
    assert out.exists() == (status == 0)
    if status == 0:
        assert len(scmvp.read(out)) == 90


@pytest.mark.slow
def test_a_fit_is_kept_where_its_messages_are_lost(cells, tmp_path):
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fit = ["fit", str(cells), "--out", str(tmp_path / "out"), *FIT]
    with contextlib.redirect_stderr(Full()):
        assert cli.main(fit) == 0
    info = ["info", str(tmp_path / "out" / "model")]
    for stream in (Full(), None):
        with contextlib.redirect_stdout(stream):
            assert cli.main(info) == 2  # here, the output is the result


# ---- memory and devices


@pytest.mark.slow
def test_memory_that_pytorch_does_not_get_is_one_sentence(cells, tmp_path, monkeypatch):
    """As on the CPU, as on a GPU; other errors of a run stay as they are."""
    torch = pytest.importorskip("torch")
    on_gpu = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
    error = RuntimeError()

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(scmvp.SCMVP, "train", fails)
    fit = ("fit", cells, "--out", tmp_path / "out", *FIT, "--quiet")
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55, dtype=torch.uint8)
    error = caught.value
    assert_refused(run(*fit), "not enough memory (can't allocate", "--backed yes")
    assert_refused(run(*fit, "--backed", "yes"), "give fewer cells")
    error = on_gpu("CUDA out of memory. Tried to allocate 2 GiB.\nOf")
    assert_refused(run(*fit), "not enough memory (CUDA out of memory", "use --device cpu")
    error = RuntimeError("another one")
    with pytest.raises(RuntimeError, match="another one"):
        run(*fit)


@pytest.mark.slow
def test_a_model_without_memory_is_not_damaged(cells, tmp_path, monkeypatch):
    scmvp.SCMVP(scmvp.read(cells), n_clusters=2).train(max_epochs=1).save(tmp_path / "model")

    def fails(*_, **__):
        raise MemoryError("72 GB")

    monkeypatch.setattr(saved, "untrained", fails)
    embed = ("embed", tmp_path / "model", cells, "--out", tmp_path / "latent.csv", "--quiet")
    assert_refused(run(*embed), "not enough memory (72 GB)")


@pytest.mark.slow
def test_a_device_that_cannot_compute_is_one_sentence(cells, tmp_path):
    for device in ("meta", "nothing", ""):
        fit = ("fit", cells, "--out", tmp_path / "out", *FIT, "--quiet", "--device", device)
        assert_refused(run(*fit), f"device '{device}' cannot be used")
