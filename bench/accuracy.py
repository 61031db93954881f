"""Clustering accuracy over seeds, one row per data set.

    python bench/accuracy.py DATA [DATA ...] [--seeds 5] [--set name=value ...]

DATA is anything `scmvp.read` reads whose RNA obs has a `cell_type`, or `simulated`. ARI is that of
k-means (k = number of labels) on each latent, and of argmax p(c|z) with K = number of labels. Cells
labelled as one of --leave-out take part in the fit but not in the scores.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import scmvp
from scmvp.module import ModelOptions


def option(text: str) -> tuple[str, object]:
    """'name=value' with the value as a number, a bool or text."""
    name, value = text.split("=")
    if value in ("True", "False"):
        return name, value == "True"
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            pass
    return name, value


def scores(model: scmvp.SCMVP, labels: np.ndarray, scored: np.ndarray) -> Iterator[tuple]:
    """(name, value) of every metric of a fitted model."""
    k = len(np.unique(labels[scored]))
    for modality in ("joint", "rna", "atac"):
        z = model.get_latent_representation(modality=modality)[scored]
        found = KMeans(k, n_init=10, random_state=0).fit_predict(z)
        yield f"k-means {modality}", adjusted_rand_score(labels[scored], found)
    yield "argmax p(c|z)", adjusted_rand_score(labels[scored], model.predict()[scored])
    summary = model.summary()
    yield "used", summary["n_clusters_used"]
    yield "best epoch", summary["best_epoch"]
    yield "held-out ELBO", summary["elbo"]
    yield "seconds", summary["seconds_fit"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--leave-out", nargs="*", default=["Mis"])
    parser.add_argument("--preset", default="default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="*", type=option, default=[], metavar="name=value")
    arguments = parser.parse_args()

    model_fields = {field.name for field in dataclasses.fields(ModelOptions)}
    changes = dict(arguments.set)
    model_options = {name: changes.pop(name) for name in [*changes] if name in model_fields}
    n_latent = model_options.pop("n_latent", 10)
    for data in arguments.data:
        mdata = scmvp.simulate() if data == "simulated" else scmvp.read(data)
        labels = mdata["rna"].obs["cell_type"].astype(str).to_numpy()
        scored = ~np.isin(labels, arguments.leave_out)
        rows = []
        for seed in range(arguments.seeds):
            model = scmvp.SCMVP(
                mdata,
                n_latent=n_latent,
                n_clusters=len(np.unique(labels[scored])),
                preset=arguments.preset,
                options=model_options,
            )
            model.train(seed=seed, threads=arguments.threads, **changes)
            rows.append(dict(scores(model, labels, scored)))
        print(f"\n{Path(data).name}, {arguments.seeds} seeds, {arguments.set or 'defaults'}")
        for name in rows[0]:
            values = [row[name] for row in rows]
            each = " ".join(f"{value:.3f}" for value in values)
            print(
                f"  {name:14s} {np.mean(values):10.3f} +- {np.std(values):.3f}   ({each})",
                flush=True,
            )


if __name__ == "__main__":
    main()
