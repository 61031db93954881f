"""Methylation alone and beside RNA: scMVP, MethylVI, MOFA+ and a PCA, where the truth is simulated.

    python bench/methylation.py [--seeds 0 1 2] [--cells 600] [--out docs/methylation.csv]

Eight types differ in a tenth of 2,000 regions, by 1.5 in the log odds of methylation. In the
setting "rna+methylation" neither is enough: RNA has two of the three bits of a type's number,
methylation the third. The level of a region in a cell has Gaussian noise on the scale of log odds,
so that no method's likelihood is that of the simulation; coverage is Poisson, with factors of cells
and of regions. Prints for each setting and method the adjusted Rand index (all are given the number
of types), and the correlation of imputed with true levels, both less the mean of each region; for
scMVP also what its differential test calls between each type and the others: how many regions, the
proportion of these that differ by less than 0.25 (log2 odds ratio), and of those that differ by
more than 1 the proportion that is called. Runs in the environment of `requirements-peers.txt`.

    pca        posterior means of levels under a beta prior for each region, 20 components, k-means
    methylvi   methylation alone; k-means of its latent
    mofa       10 factors of log counts and of posterior means; k-means
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from protein import measure, pair_of, parser_of, pattern
from scipy.special import expit, logit
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

import scmvp
from scmvp.nn import levels

N_TYPES, N_REGIONS = 8, 2000
ALL = (0, 1, 2)
# Mean coverage of a region, and which bits of a type's number each modality knows.
SETTINGS = {
    "sparse": (0.5, {"methylation": ALL}),
    "medium": (1.0, {"methylation": ALL}),
    "deep": (10.0, {"methylation": ALL}),
    "rna+methylation": (1.0, {"rna": (0, 1), "methylation": (2,)}),
}
EFFECT, NOISE = 1.5, 0.7  # on log odds: of a type on a region; sd between cells of one type


def methylation_of(
    kind: np.ndarray, bits: tuple[int, ...], coverage: float, seed: int
) -> tuple[AnnData, np.ndarray]:
    """Counts, and the level of each region in cells of a type, (n, F)."""
    rng, own = np.random.default_rng([seed, 11]), pattern(kind, bits)
    effect = np.zeros((int(own.max()) + 1, N_REGIONS))
    for one in effect:
        at = rng.choice(N_REGIONS, N_REGIONS // 10, replace=False)
        one[at] = EFFECT * rng.choice([-1, 1], len(at))
    log_odds = (rng.normal(0.8, 1.2, N_REGIONS) + effect)[own]
    rate = (
        coverage * rng.lognormal(-0.32, 0.8, N_REGIONS) * rng.lognormal(-0.1, 0.45, (len(kind), 1))
    )
    covered = rng.poisson(rate)
    methylated = rng.binomial(covered, expit(log_odds + NOISE * rng.normal(size=log_odds.shape)))
    names = [f"chr1-{5000 * j}-{5000 * j + 4999}" for j in range(N_REGIONS)]
    layers = {"methylated": methylated, "covered": covered}
    part = AnnData(
        obs=pd.DataFrame(index=[f"cell{i}" for i in range(len(kind))]),
        var=pd.DataFrame(index=names),
        layers={name: sp.csr_matrix(value.astype(np.float32)) for name, value in layers.items()},
    )
    # the mean level over the noise, by quadrature
    node, weight = np.polynomial.hermite_e.hermegauss(21)
    weight = weight / weight.sum()
    kinds, first = np.unique(own, return_index=True)
    level = sum(w * expit(log_odds[first] + NOISE * x) for x, w in zip(node, weight, strict=True))
    return part, level[np.searchsorted(kinds, own)]


def cells_of(setting: str, n_cells: int, seed: int) -> tuple[MuData, np.ndarray, np.ndarray]:
    """Cells, their types, and their levels."""
    coverage, bits = SETTINGS[setting]
    kind = np.random.default_rng(seed).integers(0, N_TYPES, n_cells)
    part, level = methylation_of(kind, bits["methylation"], coverage, seed)
    parts = {"methylation": part}
    if "rna" in bits:
        rna = pair_of(kind, bits, 10 * seed)["rna"]
        rna.obs_names = part.obs_names
        parts = {"rna": rna} | parts
    return MuData(parts), kind, level


def of_scmvp(mdata: MuData, seed: int) -> dict[str, np.ndarray]:
    model = scmvp.SCMVP(mdata, n_clusters=N_TYPES, modalities=tuple(mdata.mod), min_cells=0)
    model.train(seed=seed, threads=1, progress=False)
    return {"clusters": model.predict(), "level": model.get_methylation(), "model": model}


def calls_of(model: scmvp.SCMVP, kind: np.ndarray, level: np.ndarray) -> dict[str, float]:
    """Calls between each type and the others, beside the truth."""
    table = model.differential_methylation(groupby=kind.astype(str), n_samples=1)
    at = pd.Index(model.regions).get_indexer(table["feature"])
    mean = np.stack([level[kind == k].mean(0) for k in range(N_TYPES)])
    others = np.stack([level[kind != k].mean(0) for k in range(N_TYPES)])
    effect = (logit(mean) - logit(others)) / np.log(2)
    effect, called = effect[table["group"].astype(int), at], table["is_de"].to_numpy()
    return {
        "called": called.sum(),
        "false": (np.abs(effect[called]) < 0.25).mean() if called.any() else 0.0,
        "found": called[np.abs(effect) > 1].mean(),
    }


def posterior_means(mdata: MuData) -> np.ndarray:
    """Of the level of each region in each cell, under a beta prior from all cells by moments."""
    layers = mdata["methylation"].layers
    m, n = layers["methylated"].toarray(), layers["covered"].toarray()
    p = (m.sum(0) + 0.5) / (n.sum(0) + 1)
    excess = ((m - n * p) ** 2 - n * p * (1 - p)).sum(0)
    rho = np.clip(excess / np.maximum(p * (1 - p) * (n * (n - 1)).sum(0), 1e-9), 0.01, 0.9)
    prior = (1 - rho) / rho
    return (m + prior * p) / (n + prior)


def of_pca(mdata: MuData, seed: int) -> dict[str, np.ndarray]:
    level = posterior_means(mdata)
    model = PCA(20, random_state=seed).fit(level)
    z = model.transform(level)
    return {"clusters": _kmeans(z, seed), "level": model.inverse_transform(z)}


def of_methylvi(mdata: MuData, seed: int) -> dict[str, np.ndarray]:
    import scvi

    scvi.settings.seed = seed
    part = mdata["methylation"]
    own = AnnData(
        obs=part.obs.copy(), var=part.var.copy(),
        layers={"mc": part.layers["methylated"], "cov": part.layers["covered"]},
    )  # fmt: skip
    only = MuData({"mCG": own})
    scvi.external.METHYLVI.setup_mudata(
        only, mc_layer="mc", cov_layer="cov", methylation_contexts=["mCG"],
        modalities={"batch_key": None},
    )  # fmt: skip
    model = scvi.external.METHYLVI(only)
    model.train(accelerator="cpu", enable_progress_bar=False)
    level = model.get_normalized_methylation(context="mCG")
    z = model.get_latent_representation()
    return {"clusters": _kmeans(z, seed), "level": np.asarray(level)}


def of_mofa(mdata: MuData, seed: int) -> dict[str, np.ndarray]:
    from mofapy2.run.entry_point import entry_point

    views = [posterior_means(mdata)]
    if "rna" in mdata.mod:
        rna = mdata["rna"].X.toarray()
        views.append(np.log1p(1e4 * rna / rna.sum(1, keepdims=True)))
    with contextlib.redirect_stdout(io.StringIO()):
        run = entry_point()
        run.set_data_options(scale_views=True)
        run.set_data_matrix([[view] for view in views])
        run.set_model_options(factors=10)
        run.set_train_options(seed=seed, iter=500, convergence_mode="fast", quiet=True)
        run.build()
        run.run()
    nodes = run.model.nodes
    z, w = nodes["Z"].getExpectation(), nodes["W"].getExpectation()[0]
    return {"clusters": _kmeans(z, seed), "level": z @ w.T}


def _kmeans(z: np.ndarray, seed: int) -> np.ndarray:
    return KMeans(N_TYPES, n_init=20, random_state=seed).fit_predict(z)


METHODS = {"scmvp": of_scmvp, "pca": of_pca, "methylvi": of_methylvi, "mofa": of_mofa}


def correlation(found: np.ndarray, truth: np.ndarray) -> float:
    """Of deviations from the mean of each region."""
    parts = (found - found.mean(0), truth - truth.mean(0))
    return float(np.corrcoef(*(part.ravel() for part in parts))[0, 1])


def scores(found: dict, kind: np.ndarray, level: np.ndarray) -> dict[str, float]:
    row = {"level_correlation": correlation(found["level"], level)}
    if "model" in found:
        row |= {"elbo": found["model"].summary()["elbo"]} | calls_of(found["model"], kind, level)
    return row


def main() -> None:
    """See the module."""
    parser = parser_of(__doc__, SETTINGS, METHODS, [0, 1, 2])
    # strength of the prior of scMVP's output weights in these phases
    parser.add_argument("--prior", type=float, nargs=2, metavar=("WARM-UP", "MIXTURE"))
    given = parser.parse_args()
    if given.prior:
        warm_up, of_mixture = given.prior
        stages = {"KL warm-up": warm_up, "warm-up": warm_up, "mixture": of_mixture}
        levels.EARLY_PRIOR.update(stages)
    measure(given, METHODS, cells_of, scores)


if __name__ == "__main__":
    main()
