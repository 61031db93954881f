"""Digests of what fits give, to see that a change of structure changes no result.

    python tools/golden.py write FILE     before a change
    python tools/golden.py compare FILE   after it, on the same machine

Digests are of the bytes: machines, threads and libraries change them.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scmvp
from scmvp import cli

FIT = {"max_epochs": 10, "seed": 1, "threads": 1, "progress": False}


def digest(value: Any) -> str:
    """Of an array, a table or text."""
    if isinstance(value, pd.DataFrame):
        value = value.to_csv(float_format="%.17g")
    if isinstance(value, str):
        return hashlib.sha256(value.encode()).hexdigest()[:16]
    value = np.ascontiguousarray(value)
    return hashlib.sha256(f"{value.dtype} {value.shape}".encode() + value.tobytes()).hexdigest()[
        :16
    ]


def of_model(model: scmvp.SCMVP, cells: Any, folder: Path) -> dict[str, Any]:
    """Everything that a model gives."""
    joint = model.get_latent_representation()
    found = {
        "history": json.dumps(model.history),
        "joint": joint,
        "rna": model.get_latent_representation(modality="rna"),
        "atac": model.get_latent_representation(modality="atac"),
        "responsibilities": model.predict_proba(),
        "expression": model.get_normalized_expression(genes=list(model.genes[:40])),
        "accessibility": model.get_accessibility_estimates(peaks=list(model.peaks[:40])),
    }
    groups = {"group1": "0", "n_samples": 2}
    labels = np.where(joint[:, 0] > np.median(joint[:, 0]), "0", "1")
    found["de"] = model.differential_expression(groupby=labels, **groups)
    found["da"] = model.differential_accessibility(groupby=labels, **groups)
    model.save(folder)
    again = scmvp.SCMVP.load(folder)
    found["embedded again"] = again.get_latent_representation(cells)
    return found


def fits(folder: Path) -> dict[str, dict[str, Any]]:
    """Results by the name of the fit."""
    small = dict(n_genes=300, n_peaks=600, seed=3, gene_fold=8.0)
    plain = scmvp.simulate(n_cells=240, n_types=3, **small)
    sparse = scmvp.simulate(n_cells=300, n_types=4, median_umi=150, median_fragments=200, **small)
    batches = scmvp.simulate(n_cells=300, n_types=3, n_batches=3, **small)
    wide = scmvp.simulate(n_cells=200, n_genes=400, n_peaks=9000, n_types=3, seed=5)
    mosaic = (plain["rna"][:180].copy(), plain["atac"][60:].copy())
    batch = next(name for name in batches.obs if "batch" in name)
    (folder / "disk").mkdir()
    for name in ("rna", "atac"):
        sparse[name].write_h5ad(folder / "disk" / f"{name}.h5ad")
    disk = scmvp.read(folder / "disk", backed=True)
    asked: dict[str, tuple[Any, dict, dict]] = {
        "plain": (plain, {"n_clusters": 3}, {}),
        "sparse, K found": (sparse, {}, {}),
        "batches": (batches, {"n_clusters": 3, "batch": batch}, {}),
        # 9,000 peaks: what the zeros say is estimated from a sample
        "wide": (wide, {"n_clusters": 3}, {}),
        "wide, exact": (wide, {"n_clusters": 3}, {"zeros": "exact"}),
        "mosaic": (mosaic, {"n_clusters": 3, "mosaic": True}, {}),
        "paper": (plain, {"preset": "paper"}, {}),
        "paper, batches": (batches, {"preset": "paper", "batch": batch, "n_clusters": 3}, {}),
        "counts, poisson": (
            plain,
            {"n_clusters": 3, "options": {"encoder_input": "counts", "likelihood_atac": "poisson"}},
            {},
        ),
        "poisson": (plain, {"n_clusters": 3, "options": {"likelihood_atac": "poisson"}}, {}),
        "no gate": (plain, {"n_clusters": 3, "options": {"cluster_gate": False}}, {}),
        "disk": (disk, {"n_clusters": 4}, {}),
    }
    found = {}
    for name, (cells, of_data, of_training) in asked.items():
        model = scmvp.SCMVP(cells, **of_data).train(**FIT, **of_training)
        found[name] = of_model(model, cells, folder / f"model of {name}")
    found["two processes"] = of_processes(folder)
    found["regulation"] = of_regulation(plain)
    return found


def of_processes(folder: Path) -> dict[str, Any]:
    """A fit of two processes, by the command line."""
    source = str(Path(scmvp.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    launcher = "-m torch.distributed.run --standalone --nproc-per-node 2 -m scmvp fit".split()
    rest = ["--n-clusters", "4", "--max-epochs", "6", "--quiet", "--out", str(folder / "two")]
    call = [sys.executable, *launcher, str(folder / "disk"), *rest]
    subprocess.run(call, env=environment, check=True, capture_output=True)
    assert cli.main(["fit", str(folder / "disk"), *rest[:-1], str(folder / "one")]) == 0
    found = {}
    for name in ("one", "two"):
        found[f"{name}: latent"] = (folder / name / "latent.csv").read_text()
        found[f"{name}: clusters"] = (folder / name / "clusters.csv").read_text()
        with (folder / name / "history.csv").open() as file:
            rows = [
                {k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)
            ]
        found[f"{name}: history"] = json.dumps(rows)
    return found


def of_regulation(cells: Any) -> dict[str, Any]:
    """What R computes of a MuData."""
    cells = cells.copy()
    cells.obsm["X_scmvp"] = np.random.default_rng(0).standard_normal((cells.n_obs, 5))
    groups = scmvp.aggregate_cells(cells, k=20, seed_use=1, verbose=False)
    cicero = scmvp.run_cicero(cells, groups=groups, verbose=False, seed_use=1)
    links = scmvp.link_peaks_lasso(cells, groups=groups, verbose=False, seed_use=1)
    return {"groups": groups.X.toarray(), "cicero": cicero, "lasso": links}


def main() -> int:
    """See the module."""
    action, path = sys.argv[1], Path(sys.argv[2])
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        results = fits(Path(folder))
    for parts in results.values():
        if "history" in parts:
            history = json.loads(parts["history"])
            parts["history"] = json.dumps({k: v for k, v in history.items() if k != "seconds"})
    found = {
        f"{name}: {part}": digest(value)
        for name, parts in results.items()
        for part, value in parts.items()
    }
    if action == "write":
        path.write_text(json.dumps(found, indent=1))
        print(f"{len(found)} digests in {path}")
        return 0
    known = json.loads(path.read_text())
    other = sorted(name for name in known | found if known.get(name) != found.get(name))
    print(f"{len(known) - len(other)} of {len(known)} digests are the same")
    print("\n".join(other))
    return int(bool(other))


if __name__ == "__main__":
    sys.exit(main())
