"""How far the seed moves a method, and the scores of scib-metrics for one seed.

    python bench/accuracy/seeds.py [--data NAME ...] [--methods NAME ...] [--seeds 0 1 2 3 4]
    python bench/accuracy/seeds.py --scib [--data NAME ...] [--methods NAME ...]
    python bench/accuracy/seeds.py --ensemble 5 --methods scmvp --seeds 0 1 2 3 4 5 6 7 8 9

Embeddings are kept in bench/output/latents, for both. docs/seeds.csv has, of all pairs of seeds,
the mean ARI between their clusters; and of the first two seeds the rank correlation of markers.
docs/scib.csv has the scores (environment 'scib' of bench/peers.sh). K is the number of labels.
--ensemble N prints what clusters of N fits together are worth: their latents side by side, on 20
principal components, with the mixture and k-means.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import subprocess
import tempfile
import warnings
from pathlib import Path

import data
import elsewhere
import methods
import numpy as np
import results
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment
from scipy.stats import spearmanr
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
)

from scmvp.fit import mixture

DATA = ("multiome_pbmc2k", "snare_cortex", "sim_sparse")
METHODS = ("scmvp", "pca+lsi10", "pca+lsi50")
MIN_CLUSTER = 20  # cells of a cluster whose markers are compared


def fitted(paired: data.Paired, name: str, seed: int, cache: Path) -> dict[str, dict]:
    """By name of a result, 'z' and 'clusters' of the scored cells, either of them or both."""
    path = cache / f"{paired.name.replace('@', '-')}.{name}.{seed}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {}
        for result in methods.METHODS[name].embed(paired, seed, {}):
            for part in ("z", "clusters"):
                if getattr(result, part) is not None:
                    arrays[f"{result.name}/{part}"] = getattr(result, part)
        np.savez(path, **arrays)
    results: dict[str, dict] = {}
    with np.load(path) as found:
        for key in found:
            result, part = key.split("/")
            results.setdefault(result, {})[part] = found[key][paired.scored]
    return results


def clusters_of(result: dict, n_labels: int, seed: int) -> np.ndarray:
    """The method's own clusters, or those of k-means."""
    if "clusters" in result:
        return result["clusters"]
    return KMeans(n_labels, n_init=10, random_state=seed).fit_predict(result["z"])


def t_statistics(logs: sp.csr_matrix, clusters: np.ndarray, one: int) -> np.ndarray:
    """Welch's t of each gene, cells of one cluster against all others."""
    inside = clusters == one
    moments = []
    for cells in (logs[inside], logs[~inside]):
        mean = np.asarray(cells.mean(0)).ravel()
        square = np.asarray(cells.multiply(cells).mean(0)).ravel()
        moments.append((mean, (square - mean**2) / cells.shape[0]))
    (first, v1), (second, v2) = moments
    return (first - second) / np.sqrt(v1 + v2 + 1e-12)


def marker_agreement(x: sp.csr_matrix, first: np.ndarray, second: np.ndarray) -> float:
    """Mean over clusters of the rank correlation of a cluster's markers with its partner's.

    Partners are the pairs that share the most cells. Markers are ranked by t of log(1 + counts per
    10,000), the same test for every method.
    """
    logs = (sp.diags(1e4 / np.asarray(x.sum(1)).ravel()) @ x).tocsr().log1p()
    names, others = np.unique(first), np.unique(second)
    shared = np.array([[((first == a) & (second == b)).sum() for b in others] for a in names])
    correlations = []
    for row, column in zip(*linear_sum_assignment(-shared), strict=True):
        a, b = names[row], others[column]
        if min((first == a).sum(), (second == b).sum()) >= MIN_CLUSTER:
            pair = t_statistics(logs, first, a), t_statistics(logs, second, b)
            correlations.append(spearmanr(*pair).statistic)
    return float(np.mean(correlations))


def repeatability(paired: data.Paired, name: str, seeds: list[int], cache: Path) -> list[dict]:
    """Rows of one method on one data set."""
    runs = [fitted(paired, name, seed, cache) for seed in seeds]
    rows = []
    for part in runs[0]:
        if part.startswith(("scmvp-rna", "scmvp-atac")):
            continue
        found = [
            clusters_of(run[part], paired.n_labels, seed)
            for run, seed in zip(runs, seeds, strict=True)
        ]
        between = [adjusted_rand_score(*pair) for pair in itertools.combinations(found, 2)]
        scores = {
            "ari_between": float(np.mean(between)),
            "markers": marker_agreement(paired.x[paired.scored], *found[:2]),
        }
        rows += [
            {"data": paired.name, "method": part, "seeds": len(seeds), "metric": metric, "value": v}
            for metric, v in scores.items()
        ]
    return rows


def ensembles(paired: data.Paired, name: str, seeds: list[int], n: int, cache: Path) -> list[dict]:
    """Rows of consensus clusters of n fits, and of single fits."""
    runs = [fitted(paired, name, seed, cache)[name]["z"] for seed in seeds]
    groups = [runs[i : i + n] for i in range(0, len(runs) - n + 1, n)]
    rows = []
    for size, some in ((1, [[run] for run in runs]), (n, groups)):
        found: dict[str, list] = {"mixture": [], "kmeans": []}
        for group in some:
            z = np.hstack([run - run.mean(0) for run in group]) / np.sqrt(size)
            z = PCA(runs[0].shape[1], random_state=0).fit_transform(z)
            known = mixture.start(z, np.zeros_like(z), paired.n_labels, 0)
            known = mixture.em(z, np.zeros_like(z), known, 100)
            found["mixture"].append(mixture.responsibilities(z, known).argmax(1))
            found["kmeans"].append(clusters_of({"z": z}, paired.n_labels, 0))
        labels = paired.labels[paired.scored]
        for kind, clusters in found.items():
            aris = [adjusted_rand_score(labels, one) for one in clusters]
            pairs = itertools.combinations(clusters, 2)
            between = np.mean([adjusted_rand_score(*pair) for pair in pairs])
            about = {"data": paired.name, "method": f"{name}, {kind}", "seeds": size}
            rows.append(about | {"metric": "ari", "value": float(np.mean(aris))})
            rows.append(about | {"metric": "ari_between", "value": float(between)})
    return rows


def scib_scores(paired: data.Paired, name: str, seed: int, cache: Path) -> list[dict]:
    """Rows of one method on one data set."""
    labels = paired.labels[paired.scored]
    batch = np.full(len(labels), "all") if paired.batch is None else paired.batch[paired.scored]
    rows = []
    for part, result in fitted(paired, name, seed, cache).items():
        if "z" not in result or part.startswith(("scmvp-rna", "scmvp-atac")):
            continue
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            np.savez(
                folder / "given.npz", z=result["z"], labels=labels.astype("U"),
                batch=batch.astype("U"),
            )  # fmt: skip
            driver = elsewhere.DRIVERS / "scib.py"
            subprocess.run([elsewhere.python("scib"), driver, folder], check=True)
            scores = json.loads((folder / "scores.json").read_text())
        found = clusters_of({"z": result["z"]}, paired.n_labels, seed)
        scores |= {
            "ami_kmeans": adjusted_mutual_info_score(labels, found),
            "nmi_kmeans": normalized_mutual_info_score(labels, found),
        }
        rows += [
            {"data": paired.name, "method": part, "seed": seed, "metric": metric, "value": value}
            for metric, value in scores.items()
        ]
    return rows


def main() -> None:
    """Add rows to the CSV file, in the place of earlier ones of the same score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=DATA)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--data-folder", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path("bench/output/latents"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--ensemble", type=int, metavar="N", help="only print clusters of N fits")
    parser.add_argument("--scib", action="store_true", help="the scores of scib-metrics instead")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    path = arguments.docs / ("scib.csv" if arguments.scib else "seeds.csv")
    for name in arguments.data:
        paired = data.load(name, arguments.data_folder)
        for method in arguments.methods:
            if arguments.ensemble:
                n = arguments.ensemble
                for row in ensembles(paired, method, arguments.seeds, n, arguments.cache):
                    print(*row.values(), flush=True)
                continue
            if arguments.scib:
                rows = scib_scores(paired, method, arguments.seeds[0], arguments.cache)
            else:
                rows = repeatability(paired, method, arguments.seeds, arguments.cache)
            for row in rows:
                row |= {"date": datetime.date.today(), "value": f"{row['value']:.4f}"}
                print(*row.values(), flush=True)
            results.put_by(path, rows, ("data", "method", "metric"))


if __name__ == "__main__":
    main()
