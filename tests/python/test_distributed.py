"""Several processes against one, with the engine that PyTorch has on a CPU (gloo)."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import FIT, assert_refused, environment
from commands import run as cli_run
from torch import distributed

from scmvp import cli
from scmvp.nn.networks import BatchNorm


def run(*arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def elbos(folder: Path) -> np.ndarray:
    with (folder / "history.csv").open() as file:
        rows = [*csv.DictReader(file)]
    return np.array([[float(row["elbo_train"]), float(row["elbo_validation"])] for row in rows])


TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29517"}


@pytest.mark.parametrize(
    "given, odd",
    [
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_PORT and MASTER_ADDR are missing"),
        (TORCHRUN | {"WORLD_SIZE": "x"}, "WORLD_SIZE is missing or not valid"),
        (TORCHRUN | {"WORLD_SIZE": "2", "RANK": "2"}, "RANK is missing or not valid"),
        (TORCHRUN | {"WORLD_SIZE": "2", "MASTER_PORT": ""}, "MASTER_PORT is missing"),
    ],
)
@pytest.mark.slow
def test_a_start_without_torchrun_is_refused(pair_folder, tmp_path, monkeypatch, given, odd):
    fit = ["fit", pair_folder, "--out", tmp_path / "out", *FIT, "--quiet"]
    with monkeypatch.context() as patch:
        for name in ("WORLD_SIZE", *TORCHRUN):
            patch.delenv(name, raising=False)
        for name, value in given.items():
            patch.setenv(name, value)
        result = cli_run(*fit)
    assert_refused(result, f"WORLD_SIZE={given['WORLD_SIZE']} ", odd, "or unset WORLD_SIZE")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert cli_run(*fit).returncode == 0


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="this PyTorch has no gloo")
@pytest.mark.parametrize("backed", ["no", "yes"])
@pytest.mark.slow
def test_two_processes_train_as_one(pair_folder, tmp_path, backed):
    given = ["--n-clusters", 3] if backed == "no" else []  # else the first finds it for both
    fit = ["fit", pair_folder, *given, "--max-epochs", 6, "--quiet", "--backed", backed, "--out"]
    assert cli.main(list(map(str, [*fit, tmp_path / "one"]))) == 0
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    run(*launcher, "-m", "scmvp", *fit, tmp_path / "two")
    one, two = elbos(tmp_path / "one"), elbos(tmp_path / "two")
    assert one.shape == two.shape == (6, 2)
    # from memory each minibatch has the same cells, from disk other ones
    np.testing.assert_allclose(two, one, rtol=1e-3 if backed == "no" else 0.01)
    one, two = (
        np.genfromtxt(tmp_path / name / "latent.csv", delimiter=",")[1:, 1:]
        for name in ("one", "two")
    )
    assert one.shape == two.shape == (240, 20)
    # three clusters span two directions, the first ones; in the others there is only noise
    alike = [abs(np.corrcoef(one[:, d], two[:, d])[0, 1]) for d in range(2)]
    assert min(alike) > (0.9999 if backed == "no" else 0.9)


def _statistics(rank: int, folder: Path, h: torch.Tensor) -> None:
    meeting = f"file://{folder / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    norm = BatchNorm(3).train()
    part = h[rank::2].clone().requires_grad_()
    found = norm(part)
    found.square().sum().backward()
    result = found.detach(), part.grad, norm.running_mean, norm.running_var
    torch.save(result, folder / f"{rank}")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not distributed.is_gloo_available(), reason="this PyTorch has no gloo")
def test_batch_norm_sees_the_cells_of_all_processes(tmp_path):
    torch.manual_seed(0)
    h = torch.randn(11, 3) * 2 + 1
    torch.multiprocessing.spawn(_statistics, (tmp_path, h), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}") for rank in range(2)]
    norm, whole = torch.nn.BatchNorm1d(3, momentum=None).train(), h.clone().requires_grad_()
    expected = norm(whole)
    (expected.square().sum() * 1).backward()
    for rank, (found, gradient, mean, variance) in enumerate(parts):
        torch.testing.assert_close(found, expected[rank::2].detach())
        torch.testing.assert_close(gradient, whole.grad[rank::2], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(mean, norm.running_mean)
        torch.testing.assert_close(variance, norm.running_var)
