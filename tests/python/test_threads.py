"""A seed gives the same bits, whatever numbers of threads the environment or the caller has set."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

import scmvp
from scmvp.threads import limited_threads

POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")

# in processes of their own, too: the size at which BLAS shares out the work of a fit
FIT = """
import hashlib, sys
import numpy as np, scmvp
mdata = scmvp.simulate(n_cells=600, n_genes=800, n_peaks=1500, n_types=4, seed=3)
model = scmvp.SCMVP(mdata).train(seed=0, max_epochs=3, threads=1)
found = [
    model.get_latent_representation(), model.predict_proba(),
    model.get_latent_representation(mdata), model.get_normalized_expression(genes=model.genes[:20]),
    model.differential_expression()[["lfc", "prob_de", "lfc_model"]].to_numpy(),
]
"""
PRINT = "print(*(hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for a in found))"


def digests_under(**environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in POOLS}
    done = subprocess.run(
        [sys.executable, "-c", FIT + PRINT],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
@pytest.mark.slow
def test_environment_does_not_change_a_fit():
    one, many = (digests_under(**dict.fromkeys(POOLS, n)) for n in ("1", "3"))
    assert one == many


@pytest.mark.slow
def test_threads_of_the_caller_do_not_change_a_fit_and_come_back():
    found = []
    before = torch.get_num_threads()
    for n in (1, 2):
        torch.set_num_threads(n)
        try:
            with threadpool_limits(limits=n, user_api="blas"):
                scope: dict = {}
                exec(FIT, scope)  # noqa: S102
                found.append(scope["found"])
                blas = {
                    pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"
                }
                assert blas == {n} and torch.get_num_threads() == n
        finally:
            torch.set_num_threads(before)
    for here, there in zip(*found, strict=True):
        assert np.array_equal(here, there)


def test_every_pool_is_set_inside():
    with limited_threads(2):
        pools = {pool["user_api"]: pool["num_threads"] for pool in threadpool_info()}
        assert torch.get_num_threads() == 2
        assert pools["blas"] == 1


@pytest.mark.slow
def test_the_summary_says_how_many(simulated):
    model = scmvp.SCMVP(simulated, n_clusters=2).train(max_epochs=1, threads=1)
    assert model.summary()["options"]["threads"] == 1
    if len(os.sched_getaffinity(0)) > 1:
        assert model.train(max_epochs=1, threads=2).summary()["options"]["threads"] == 2
