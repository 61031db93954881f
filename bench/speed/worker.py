"""One measurement in a process of its own, so that memory is of it alone; prints JSON."""

from __future__ import annotations

import os

for _library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{_library}_NUM_THREADS"] = os.environ.get("BENCH_THREADS", "1")

import json  # noqa: E402
import logging  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

THREADS = int(os.environ.get("BENCH_THREADS", "1"))
TIMED_EPOCHS = 3


def clock() -> tuple[float, float]:
    """Seconds on the wall and of the CPU."""
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> list[float]:
    return [round(now - then, 3) for now, then in zip(clock(), start, strict=True)]


def run_scmvp(path: Path, whole: bool, backed: bool, device: str) -> dict[str, Any]:
    import scmvp

    start = clock()
    model = scmvp.SCMVP(scmvp.read(path, backed=backed), n_clusters=10)
    prepared = since(start)
    times = []

    def callback(latest: dict) -> None:
        times.append(clock())

    # the second phase, so that all terms of the loss are on in the last epochs
    epochs = {} if whole else {"max_epochs": 2 * TIMED_EPOCHS}
    model.train(threads=THREADS, callback=callback, device=device, progress=False, **epochs)
    per_epoch = np.diff(np.array(times[-TIMED_EPOCHS - 1 :]), axis=0)
    found = {"epoch": np.median(per_epoch, 0).round(3).tolist(), "prepare": prepared}
    if whole:
        found |= {"total": since(start), "epochs": len(times)}
    return found


def run_peer(path: Path, whole: bool, device: str, make: Callable) -> dict[str, Any]:
    import scvi
    import torch

    import scmvp

    torch.set_num_threads(THREADS)
    scvi.settings.seed = 0
    model = make(scvi.model, scmvp.read(path))
    quiet = {"accelerator": device, "devices": 1, "enable_progress_bar": False}
    if whole:
        start = clock()
        model.train(**quiet)
        model.get_latent_representation()
        total, epochs = since(start), len(model.history["elbo_train"])
        return {
            "epoch": [round(seconds / epochs, 3) for seconds in total],
            "total": total,
            "epochs": epochs,
        }
    model.train(max_epochs=1, early_stopping=False, **quiet)
    start = clock()
    model.train(max_epochs=TIMED_EPOCHS, early_stopping=False, **quiet)
    return {"epoch": [round(seconds / TIMED_EPOCHS, 3) for seconds in since(start)]}


def scvi_model(models, mdata):
    models.SCVI.setup_anndata(mdata["rna"])
    return models.SCVI(mdata["rna"])


def multivi_model(models, mdata):
    models.MULTIVI.setup_mudata(mdata, modalities={"rna_layer": "rna", "atac_layer": "atac"})
    return models.MULTIVI(mdata, n_genes=mdata["rna"].n_vars, n_regions=mdata["atac"].n_vars)


def main() -> None:
    """worker.py METHOD FOLDER whole|epochs DEVICE."""
    method, path, extent, device = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    whole = extent == "whole"
    if method.startswith("scmvp"):
        found = run_scmvp(path, whole, method == "scmvp-disk", device)
    else:
        make = {"scvi": scvi_model, "multivi": multivi_model}[method]
        found = run_peer(path, whole, device, make)
    if device == "cuda":
        import torch

        found["gpu"] = torch.cuda.get_device_name()
        found["gpu_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
    from scmvp.cli import peak_memory_mb

    print("RESULT " + json.dumps(found | {"peak_mb": peak_memory_mb()}))


if __name__ == "__main__":
    main()
