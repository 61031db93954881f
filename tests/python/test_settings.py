"""Results are those of the seed, whatever the caller's settings are and in whatever thread."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import scmvp
from scmvp.settings import own_settings


@pytest.fixture(scope="module")
def cells():
    return scmvp.simulate(120, 200, 300, 3, seed=1)


def fitted(cells, seed: int = 0) -> scmvp.SCMVP:
    return scmvp.SCMVP(cells, n_clusters=3).train(max_epochs=3, seed=seed, progress=False)


def results(cells, folder: Path) -> list[np.ndarray]:
    model = fitted(cells)
    model.save(folder, overwrite=True)
    loaded = scmvp.SCMVP.load(folder, cells)
    return [
        model.get_latent_representation(),
        model.get_latent_representation(cells, "rna"),
        model.predict_proba(),
        model.get_normalized_expression(genes=model.genes[:5]),
        model.differential_expression()[["lfc", "prob_de", "lfc_model"]].to_numpy(),
        model.doublet_scores().to_numpy(),
        *model.input_scores(cells).values(),
        loaded.get_latent_representation(),
    ]


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


SETTINGS: dict[str, Callable[[], AbstractContextManager]] = {
    "dtype": default_dtype,
    "device": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "errors of NumPy": lambda: np.errstate(all="raise"),
}


@pytest.mark.slow
def test_settings_of_the_caller_do_not_change_a_result(cells, tmp_path):
    usual = results(cells, tmp_path / "model")
    for name, setting in SETTINGS.items():
        with setting():
            found = results(cells, tmp_path / "model")
        for here, there in zip(usual, found, strict=True):
            assert np.array_equal(here, there, equal_nan=True), name


def test_motif_activity_is_the_same_where_numpy_raises(cells):
    peaks = cells["atac"].var_names
    draws = np.random.default_rng(0)
    motifs = pd.DataFrame(draws.random((len(peaks), 3)) < 0.3, peaks, ["a", "b", "c"])
    gc = pd.Series(draws.random(len(peaks)), peaks)
    usual = scmvp.motif_activity(cells, motifs, gc=gc)
    with np.errstate(all="raise"):
        found = scmvp.motif_activity(cells, motifs, gc=gc)
        with pytest.raises(FloatingPointError):
            np.exp(-1e6)
    assert np.array_equal(usual.X, found.X)


def state_of_torch() -> tuple:
    return (
        torch.get_default_dtype(),
        torch.empty(0).device.type,
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.mm(torch.ones(1, 1), torch.ones(1, 1)).dtype,  # another one under autocast
        torch.get_num_threads(),
        tuple(np.geterr().values()),
    )


@pytest.mark.parametrize("setting", [*SETTINGS.values(), nullcontext])
def test_settings_are_replaced_inside_and_come_back(setting):
    with setting():
        before = state_of_torch()
        with pytest.raises(InterruptedError), own_settings(1):
            inside = state_of_torch()
            raise InterruptedError
        assert state_of_torch() == before
    usual = ("warn", "warn", "ignore", "warn")
    assert inside == (torch.float32, "cpu", True, False, torch.float32, 1, usual)


@pytest.mark.slow
def test_fits_in_threads_are_those_of_their_seeds(cells):
    alone = [fitted(cells, seed).get_latent_representation() for seed in (0, 1)]
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda seed: fitted(cells, seed).get_latent_representation(), (0, 1))
    for here, there in zip(alone, found, strict=True):
        assert np.array_equal(here, there)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.slow
def test_other_methods_do_not_disturb_a_fit_in_another_thread(cells, tmp_path):
    model = fitted(cells)
    model.save(tmp_path / "model")
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(lambda: fitted(cells).get_latent_representation())
        while not coming.done():
            scmvp.SCMVP.load(tmp_path / "model", cells).differential_expression()
    assert np.array_equal(coming.result(), model.get_latent_representation())


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_loading_and_scores_leave_the_random_numbers_of_the_caller(cells, tmp_path, preset):
    model = scmvp.SCMVP(cells, n_clusters=3, preset=preset).train(max_epochs=1, progress=False)
    model.save(tmp_path / "model")
    before = torch.random.get_rng_state()
    scmvp.SCMVP.load(tmp_path / "model", cells).input_scores(cells)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_thread_that_waits_can_be_interrupted():
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with own_settings(1):
            held.set()
            done.wait(60)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold)
        held.wait()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            with pytest.raises(KeyboardInterrupt), own_settings(1):
                pass
        finally:
            done.set()
