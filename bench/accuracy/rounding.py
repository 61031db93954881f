"""How far rounding alone moves a fit, beside how far the seed moves it.

    python bench/accuracy/rounding.py [--data NAME ...] [--data-folder FOLDER] [--runs 5]

Rounding: seed 0, with the loadings that the encoders read multiplied by 1 plus or minus 2^-23, the
spacing of float32, with random signs. For each data set: mean and standard deviation of the scores,
and the mean ARI between the clusters of two runs.
"""

from __future__ import annotations

import argparse
import itertools
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import data
import methods
import metrics
import numpy as np
import results
from sklearn.metrics import adjusted_rand_score

from scmvp.fit import build

DATA = ("multiome_pbmc2k", "multiome_pbmc2k@0.2", "snare_cortex")
KEYS = ("data", "varied", "run")  # rows that are measured again are replaced
SCORES = ("ari_argmax", "ari_kmeans", "knn", "elbo")


@contextmanager
def rounded(run: int):
    """Loadings that differ from the true ones in their last bit; run 0 has the true ones."""
    fit_correspondence = build.fit_correspondence
    rng = np.random.default_rng(run)

    def nearly(*args, **kwargs):
        analysis = fit_correspondence(*args, **kwargs)
        signs = rng.choice([-1, 1], analysis.loading.shape) if run else 0
        loading = analysis.loading * (1 + signs * 2.0**-23)
        return analysis._replace(loading=loading.astype(np.float32))

    with mock.patch.object(build, "fit_correspondence", nearly):
        yield


def scored(paired: data.Paired, seed: int, run: int) -> tuple[dict[str, float], np.ndarray]:
    """Scores of one fit, and its clusters."""
    with rounded(run):
        model = methods._fit_scmvp(paired, seed, {})
    z, clusters = model.get_latent_representation(), model.predict()
    embedding = metrics.of_embedding(z, paired, 0)
    scores = {
        "ari_argmax": metrics.of_clusters(clusters, paired)["ari"],
        "ari_kmeans": embedding["ari"],
        "knn": embedding["knn"],
        "elbo": model.summary()["elbo"],
    }
    return scores, clusters[paired.scored]


def line(name: str, varied: str, rows: list[dict], clusters: list[np.ndarray]) -> str:
    """A row of the table."""
    pairs = itertools.combinations(clusters, 2)
    between = np.mean([adjusted_rand_score(*pair) for pair in pairs])
    cells = [name, varied, str(len(rows))]
    for score in SCORES:
        values = [row[score] for row in rows]
        digits = 1 if score == "elbo" else 3
        cells.append(f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}")
    return "| " + " | ".join([*cells, f"{between:.3f}"]) + " |"


def main() -> None:
    """The table on standard output, every fit in the file of --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=DATA)
    parser.add_argument("--data-folder", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("bench/output/rounding.csv"))
    arguments = parser.parse_args()
    print("| data | varied | runs | ARI, mixture | ARI, k-means | neighbors | ELBO | ARI "
          "between runs |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for name in arguments.data:
        paired = data.load(name, arguments.data_folder)
        first = scored(paired, 0, 0)
        for varied in ("seed", "rounding"):
            rows, clusters = [], []
            for run in range(arguments.runs):
                seed, rounding = (run, 0) if varied == "seed" else (0, run)
                scores, found = first if run == 0 else scored(paired, seed, rounding)
                rows.append({"data": name, "varied": varied, "run": run} | scores)
                clusters.append(found)
                results.put_by(arguments.out, rows[-1:], KEYS)
            print(line(name, varied, rows, clusters), flush=True)


if __name__ == "__main__":
    main()
