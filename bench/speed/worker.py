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
MANY_CELLS = 50_000  # of which one epoch is enough


def clock() -> tuple[float, float]:
    """Seconds on the wall and of the CPU."""
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> list[float]:
    return [round(now - then, 3) for now, then in zip(clock(), start, strict=True)]


def run_scmvp(path: Path, whole: bool, backed: bool, device: str) -> dict[str, Any]:
    import scmvp
    from scmvp.fit.training import Trainer

    start = clock()
    times = []
    first = Trainer._train_epoch

    def marked(self, *arguments):
        if not times:
            times.append(clock())
        return first(self, *arguments)

    Trainer._train_epoch = marked
    cells = scmvp.read(path, backed=backed)
    model = scmvp.SCMVP(cells, n_clusters=None if whole else 10)
    # half of them are in the warm-up; after it all terms of the loss are on
    timed = TIMED_EPOCHS if len(model.cells) < MANY_CELLS else 1
    epochs = {} if whole else {"max_epochs": 2 * timed}
    model.train(
        threads=THREADS,
        device=device,
        callback=lambda _: times.append(clock()),
        progress=False,
        **epochs,
    )
    latent, labels = model.get_latent_representation(), model.predict()
    total = since(start)
    per_epoch = np.diff(np.array(times[-timed - 1 :]), axis=0)
    before = [round(then - now, 3) for then, now in zip(times[0], start, strict=True)]
    found = {"epoch": np.median(per_epoch, 0).round(3).tolist(), "start": before}
    found["features_per_step"] = model.summary()["features_per_step"]
    if whole:
        found |= {"total": total, "epochs": len(times) - 1, "clusters": model.n_clusters}
        found |= agreement(path, latent, labels)
    return found


def agreement(path: Path, latent: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How well the simulated types are found."""
    import anndata
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    known = anndata.read_h5ad(path / "rna.h5ad", backed="r").obs["cell_type"].to_numpy()
    kmeans = KMeans(len(set(known)), n_init=10, random_state=0).fit_predict(latent)
    return {
        "ari": round(adjusted_rand_score(known, labels), 4),
        "ari_kmeans": round(adjusted_rand_score(known, kmeans), 4),
    }


def run_wnn(path: Path) -> dict[str, Any]:
    import subprocess

    script = Path(__file__).with_name("wnn.R")
    done = subprocess.run(["Rscript", script, path], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise RuntimeError(done.stderr[-300:])
    return json.loads(lines[-1][7:])


def run_peer(path: Path, whole: bool, device: str, make: Callable) -> dict[str, Any]:
    import scvi
    import torch
    from lightning.pytorch.callbacks import LambdaCallback

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
    times: list[tuple[float, float]] = []
    at_ends = LambdaCallback(on_train_epoch_end=lambda *_: times.append(clock()))
    model.train(max_epochs=1 + TIMED_EPOCHS, early_stopping=False, callbacks=[at_ends], **quiet)
    return {"epoch": np.median(np.diff(np.array(times), axis=0), 0).round(3).tolist()}


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
    if method == "wnn":
        print("RESULT " + json.dumps(run_wnn(path)))
        return
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
