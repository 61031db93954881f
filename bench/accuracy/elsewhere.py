"""Methods in an environment of their own, which bench/peers.sh makes.

The counts go into a folder, peers/NAME.py is run there by the Python of that environment, and its
embedding, clusters and versions are read back. SCMVP_PEERS is the folder of the environments.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from data import Paired

DRIVERS = Path(__file__).with_name("peers")


@dataclass
class Fitted:
    """What a driver leaves: `z` (cells, D), numbers, and other arrays, such as own clusters."""

    z: np.ndarray
    arrays: dict[str, np.ndarray]
    scores: dict[str, float]


def cpu_seconds() -> float:
    """CPU time of this process and of those it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def python(name: str) -> Path:
    """The interpreter of a method's environment.

    Raises:
        RuntimeError: It has not been made.
    """
    folder = Path(os.environ.get("SCMVP_PEERS", "bench/output/peers"))
    found = folder / name / "bin" / "python"
    if not found.exists():
        raise RuntimeError(f"no {found}; make it with bench/peers.sh {name} {folder}")
    return found


def fit(name: str, paired: Paired, seed: int, part: np.ndarray | None = None) -> Fitted:
    """Run the driver of a method on the counts of all cells, or on those that `part` leaves them.

    Raises:
        RuntimeError: It ended with an error, whose last words are in the message.
    """
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        sp.save_npz(folder / "rna.npz", sp.csr_matrix(paired.x))
        sp.save_npz(folder / "atac.npz", sp.csr_matrix(paired.y))
        about = {"seed": seed, "n_clusters": paired.n_labels, "peaks": list(paired.peaks.index)}
        (folder / "about.json").write_text(json.dumps(about))
        if part is not None:
            np.save(folder / "part.npy", part)
        run = subprocess.run(
            [python(name), DRIVERS / f"{name}.py", folder], capture_output=True, text=True
        )
        if run.returncode:
            words = run.stderr.strip().splitlines() or [f"exit status {run.returncode}"]
            raise RuntimeError(words[-1][:400])
        with np.load(folder / "result.npz") as found:
            parts = dict(found)
    scores = {key: float(parts.pop(key)) for key in list(parts) if parts[key].ndim == 0}
    return Fitted(parts.pop("z"), parts, scores)


@functools.cache
def versions(name: str, *packages: str) -> str:
    """Names and versions of packages in a method's environment; of a clone its commit."""
    try:
        found = [f"{package} {_version(python(name), package)}" for package in packages]
    except (RuntimeError, subprocess.CalledProcessError):
        return f"{name} missing"
    return ", ".join(found)


def _version(interpreter: Path, package: str) -> str:
    clone = interpreter.parents[1] / package
    if (clone / ".git").exists():
        command = ["git", "-C", clone, "rev-parse", "--short", "HEAD"]
    else:
        code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
        command = [interpreter, "-c", code, package]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
