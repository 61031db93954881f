"""Stages of long work: what is reported of them, what is shown, and interrupts in each."""

import contextlib
import errno
import io
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from operator import attrgetter

import numpy as np
import pytest
import scipy.sparse as sp
from commands import environment

import scmvp
from scmvp import progress
from scmvp.data.products import Products
from scmvp.data.spectral import fit_correspondence
from scmvp.fit import training
from scmvp.imports import undisturbed
from scmvp.progress import Stages

SCMVP = scmvp.SCMVP
OF_TRAINING = [
    "correspondence analysis of RNA", "correspondence analysis of peaks",
    "setting up the networks", "scores of all cells", "epoch 1", "finding the clusters",
]  # fmt: skip
QUICK = {"max_epochs": 3, "threads": 1, "seed": 0}


@pytest.fixture
def every_event(monkeypatch):
    """Nothing is left out because it comes soon after something else."""
    monkeypatch.setattr(progress, "_APART", 0)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def once(stage, share, act=interrupt):
    """A listener that acts at the first event of a stage with at least this share."""
    done = []

    def listen(event):
        if event["stage"] == stage and event["share"] >= share and not done:
            done.append(event)
            act()

    return listen


def in_call(number, name):
    """The function of the training of this name, with an interrupt in one of its calls."""
    function, calls = attrgetter(name)(training), []

    def counted(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise KeyboardInterrupt
        return function(*arguments)

    return counted


def shares(events):
    """Shares of each stage, in the order of the stages."""
    found = {}
    for event in events:
        found.setdefault(event["stage"], []).append(event["share"])
    return found


def assert_whole(found):
    """From 0, never falling, to 1."""
    assert found[0] == 0 and found[-1] == 1 and found.count(0) == found.count(1) == 1
    assert found == sorted(set(found))


# ---- what is reported


def test_shares_never_fall_and_end_once(every_event):
    events = []
    with Stages(events.append).stage("work") as report:
        for share in (0.3, 0.1, 0.5, 0.5, 1.0, 2.0):
            report(share)
    assert [event["share"] for event in events] == [0, 0.3, 0.5, 1]
    assert all(event["stage"] == "work" and event["seconds"] >= 0 for event in events)


def test_events_come_apart():
    events = []
    with Stages(events.append).stage("work") as report:
        for share in np.linspace(0, 1, 10_000):
            report(share)
    assert len(events) < 10


@pytest.mark.slow
def test_a_training_tells_its_stages_in_order_and_epochs_go_to_the_callback(simulated, every_event):
    events, epochs = [], []
    model = SCMVP(simulated).train(**QUICK, progress=events.append, callback=epochs.append)
    found = shares(events)
    assert list(found) == OF_TRAINING
    for name in found:
        assert_whole(found[name])
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]
    for name in (*OF_TRAINING[:2], "epoch 1"):
        assert len(found[name]) > 5, name
    silent = SCMVP(simulated).train(**QUICK, progress=False)
    np.testing.assert_array_equal(
        model.get_latent_representation(), silent.get_latent_representation()
    )


def test_correspondence_analysis_reports_after_every_product(monkeypatch):
    counts = sp.random(300, 400, 0.1, "csr", np.float32, random_state=0)
    counts.data = np.random.default_rng(0).poisson(1, counts.nnz).astype(np.float32) + 1
    reported, products, backward = [], [], Products.backward

    def counting(self, y):
        products.append(y.shape)
        return backward(self, y)

    monkeypatch.setattr(Products, "backward", counting)
    fit_correspondence(counts, 10, seed=0, report=reported.append)
    assert reported == sorted(reported) and 0 < reported[0] and reported[-1] == pytest.approx(1)
    assert len(reported) == len(products) > 100


@pytest.mark.slow
def test_other_cells_and_imputation_tell_theirs(simulated, tmp_path, every_event, monkeypatch):
    monkeypatch.setattr("scmvp.tools.impute.BLOCK_BYTES", 1 << 16)
    model = SCMVP(simulated, n_clusters=3).train(**QUICK, progress=False)
    events = []
    model.impute_to_file(tmp_path / "a.h5", "atac", data=simulated, progress=events.append)
    found = shares(events)
    assert list(found) == ["embedding the cells", "imputing peaks"]
    assert_whole(found["embedding the cells"])
    assert_whole(found["imputing peaks"])
    assert len(found["imputing peaks"]) > 5


# ---- files


@pytest.fixture
def files(simulated, pair_folder, ten_x, tmp_path):
    """The same cells in every format that is read piece by piece."""
    simulated.write_h5mu(tmp_path / "cells.h5mu")
    ten_x.write_h5(tmp_path / "cells.h5")
    ten_x.write_folder(tmp_path / "gzipped")
    ten_x.write_folder(tmp_path / "plain", gzipped=False)
    return {
        "pair": pair_folder, "h5mu": tmp_path / "cells.h5mu", "10x": tmp_path / "cells.h5",
        "gzipped": tmp_path / "gzipped", "plain": tmp_path / "plain",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pair", "h5mu", "10x", "gzipped", "plain"])
def test_a_file_is_read_whole_whoever_watches_and_an_interrupt_ends_it(
    files, kind, every_event, simulated
):
    path, events = files[kind], []
    found = scmvp.read(path, progress=events.append)
    reported = shares(events)
    assert list(reported) == [f"reading {path.name}"]
    assert_whole(reported[f"reading {path.name}"])
    assert len(reported[f"reading {path.name}"]) > 2
    assert (found["rna"].X != simulated["rna"].X).nnz == 0
    assert (found["atac"].X != simulated["atac"].X).nnz == 0
    for share in (0, 0.01):
        with pytest.raises(KeyboardInterrupt, match=rf"^interrupted \(reading {path.name}\)$"):
            scmvp.read(path, progress=once(f"reading {path.name}", share))
    again = scmvp.read(path)
    assert (again["rna"].X != found["rna"].X).nnz == 0


def test_a_folder_of_zarr_has_one_stage_too(simulated, tmp_path, every_event):
    for modality in ("rna", "atac"):
        simulated[modality].write_zarr(tmp_path / f"{modality}.zarr")
    events = []
    scmvp.read(tmp_path, progress=events.append)
    assert_whole([event["share"] for event in events])


# ---- interrupts


@pytest.mark.slow
def test_an_interrupt_before_an_epoch_is_complete_says_where_and_changes_nothing(
    simulated, every_event, tmp_path
):
    model = SCMVP(simulated, n_clusters=3).train(**QUICK, progress=False)
    before, history = model.get_latent_representation(), model.history
    cases = [(stage, share) for stage in OF_TRAINING[:5] for share in (0, 0.01)]
    for stage, share in cases:
        at = once(stage, share)
        with pytest.raises(KeyboardInterrupt, match=rf"^interrupted \({stage}\)$"):
            model.train(**QUICK | {"seed": 1}, progress=at, checkpoint=tmp_path / "state")
        np.testing.assert_array_equal(model.get_latent_representation(), before)
        assert model.history is history and not model.interrupted
        assert not list(tmp_path.iterdir())
    # and the session goes on as if nothing had been
    again = model.train(**QUICK, progress=False).get_latent_representation()
    np.testing.assert_array_equal(again, before)


@pytest.mark.slow
def test_an_interrupt_at_the_start_of_the_mixture_keeps_what_was_learned(monkeypatch):
    """Before K is set, afterwards, and in the first epoch under the mixture: the same fit."""
    cells = scmvp.simulate(n_cells=90, n_genes=100, n_peaks=150, n_types=3, seed=3)
    found = []

    def interrupted(**options):
        model = SCMVP(cells, min_cells=1).train(**QUICK, **options)
        assert model.interrupted and model.summary()["best_epoch"] == 1
        assert len(model.history["epoch"]) == 1
        found.append(model.get_latent_representation())

    for share in (0, 1):
        interrupted(progress=once("finding the clusters", share))
    for name, call in (("Trainer._fresh_mixture", 1), ("summed", 2)):  # the latter ends an epoch
        with monkeypatch.context() as patch:
            patch.setattr(f"scmvp.fit.training.{name}", in_call(call, name))
            interrupted(progress=False)
    assert np.isfinite(found[0]).all() and found[0].std(0).min() > 0
    for latent in found[1:]:
        np.testing.assert_array_equal(latent, found[0])


@pytest.mark.slow
def test_an_interrupted_imputation_leaves_no_file(simulated, tmp_path):
    model = SCMVP(simulated, n_clusters=3).train(**QUICK, progress=False)
    for stage in ("embedding the cells", "imputing peaks"):
        at = once(stage, 0)
        with pytest.raises(KeyboardInterrupt, match=stage):
            model.impute_to_file(tmp_path / "a.h5", "atac", data=simulated, progress=at)
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_the_command_line_hears_an_interrupt_in_a_correspondence_analysis(pair_folder, tmp_path):
    out = tmp_path / "out"
    slow = """
        import sys, time
        from scmvp import cli
        from scmvp.data import spectral
        product = spectral.residuals
        spectral.residuals = lambda *arguments: time.sleep(0.2) or product(*arguments)
        sys.exit(cli.main(sys.argv[1:]))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(slow), "fit", pair_folder, "--out", out],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    for line in process.stderr:
        if line.startswith("correspondence analysis of RNA"):
            process.send_signal(signal.SIGINT)
            break
    said = process.stderr.read()
    assert process.wait() == 130
    sentence = "scmvp: interrupted (correspondence analysis of RNA); nothing was written\n"
    assert said == sentence
    assert not out.exists()


class Gone(io.StringIO):
    """A terminal that is no more."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, closed(), Gone()])
def test_progress_that_cannot_be_shown_is_dropped(monkeypatch, capsys, stream):
    monkeypatch.setattr(progress, "_SHOWN_AFTER", 0.01)
    monkeypatch.setattr(progress, "_REPORTED_AFTER", 0)
    state = {
        "epoch": 1, "max_epochs": 2, "phase": "warm-up", "elbo_train": 1.0, "seconds": 1.0,
        "cells_per_second": 1.0, "seconds_left": 1.0,
    }  # fmt: skip
    with contextlib.redirect_stderr(stream), progress.displayed() as display:
        for _ in range(2):
            with Stages(display.stage).stage("work"):
                time.sleep(0.1)
            display.epoch(state)
            display.write("a line")
    assert capsys.readouterr().out == ""


# ---- imports


def module_that_waits(tmp_path, monkeypatch, name, then):
    (tmp_path / f"{name}.py").write_text(f"import time\ntime.sleep(0.5)\n{then}\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_an_import_is_complete_before_an_interrupt_ends_it(tmp_path, monkeypatch):
    module_that_waits(tmp_path, monkeypatch, "scmvp_test_slow", "complete = True")
    threading.Timer(0.1, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        undisturbed("scmvp_test_slow")
    assert sys.modules["scmvp_test_slow"].complete
    undisturbed("scmvp_test_slow")


def test_an_import_that_fails_does_so_as_ever(tmp_path, monkeypatch):
    module_that_waits(tmp_path, monkeypatch, "scmvp_test_broken", "import scmvp_test_absent")
    with pytest.raises(ModuleNotFoundError, match="scmvp_test_absent"):
        undisturbed("scmvp_test_broken")


# ---- what is shown


def work(display, monkeypatch, is_long):
    """A stage of 0.3 s, which is much or not."""
    monkeypatch.setattr(progress, "_SHOWN_AFTER", 0.05)
    monkeypatch.setattr(progress, "_APART", 0)
    monkeypatch.setattr(progress, "_REPORTED_AFTER", 0.2 if is_long else 100)
    with Stages(display.stage).stage("baking") as report:
        report(0.5)
        threading.Event().wait(0.3)


@pytest.mark.parametrize("is_long", [False, True])
def test_lines_of_a_log_are_few(capsys, monkeypatch, is_long):
    with progress.displayed() as display:
        work(display, monkeypatch, is_long)
    said = capsys.readouterr().err.splitlines()
    assert said == ["baking", "baking: 0 s"][: 1 + is_long]


def test_what_is_quick_has_no_line(capsys):
    with progress.displayed() as display:
        for _ in range(3):
            with Stages(display.stage).stage("blinking"):
                pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("is_long", [False, True])
def test_a_terminal_has_a_line_that_is_drawn_again_and_then_cleared(capsys, monkeypatch, is_long):
    monkeypatch.setattr(progress, "_can_redraw", lambda: True)
    with progress.displayed() as display:
        work(display, monkeypatch, is_long)
        display.write("note")
    said = capsys.readouterr().err
    assert re.search(r"\rbaking  50 %  0 s", said)
    assert said.rpartition("\r")[2] == ("baking: 0 s\nnote\n" if is_long else "note\n")


def test_an_interrupted_stage_is_not_drawn_any_more(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_can_redraw", lambda: True)
    monkeypatch.setattr(progress, "_SHOWN_AFTER", 0.02)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), progress.displayed() as display:
        with Stages(display.stage).stage("baking"):
            threading.Event().wait(0.1)
            raise KeyboardInterrupt
    for _ in range(100):
        if threading.active_count() == before:
            break
        threading.Event().wait(0.02)
    assert threading.active_count() == before
    assert capsys.readouterr().err.endswith("\r")


@pytest.mark.slow
def test_epochs_are_shown_by_default_and_not_when_turned_off(simulated, capsys):
    model = SCMVP(simulated, n_clusters=3).train(**QUICK)
    said = capsys.readouterr().err
    assert len(re.findall(r"^epoch \d/3 ", said, re.M)) == 3
    # what is modeled comes first, what was found last
    assert said.startswith(f"modeled: {len(model.cells)} cells (all), {len(model.genes)} of ")
    assert re.search(r"of 3 clusters used, 3 epochs in [\d.]+ s\n$", said)
    SCMVP(simulated, n_clusters=3).train(**QUICK, progress=False)
    assert capsys.readouterr().err == ""


def test_progress_is_a_truth_value_or_a_function(simulated, refused, pair_folder):
    refused(lambda: SCMVP(simulated, n_clusters=3).train(**QUICK, progress=3), "progress is 3")
    refused(lambda: scmvp.read(pair_folder, progress="yes"), "progress is 'yes'")
