"""Attention between regions of the genome as part of the encoder, beside the default.

    python bench/regions.py [--data NAME ...] [--seeds 0 1] [--regions 32] [--results FILE.csv]

Each region is a token: a run of neighboring peaks with the same share of all counts, and its scores
on the leading loadings of the correspondence analysis (I2, of the peaks of the region alone, scaled
to the noise of a whole cell). Self-attention with as many tokens as regions and a position for each
is pooled and added to the first layer of the ATAC branches. `shuffled` has regions of as many peaks
from anywhere. Prints the best held-out ELBO and the scores of the clusters and the latent.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).with_name("accuracy")))

import data
import metrics
import results

import scmvp
from scmvp.data.genes import bare_chromosome
from scmvp.data.peaks import peaks_of
from scmvp.fit import build
from scmvp.nn.inputs import SpectralScores

DATA = ("multiome_pbmc2k", "multiome_pbmc2k@0.2", "snare_cortex")
KINDS = ("none", "genome", "shuffled")
N_DIRECTIONS, TOKEN = 8, 16  # scores of a region; width of a token
KEYS = ("data", "seed", "regions")  # rows that are measured again are replaced


def regions_of(peaks: np.ndarray, counts: np.ndarray, n: int, kind: str, seed: int) -> np.ndarray:
    """The region of each peak."""
    intervals, _ = peaks_of(peaks, "the model")
    order = np.lexsort([intervals.start, bare_chromosome(intervals.chrom)])
    if kind == "shuffled":
        order = np.random.default_rng(seed).permutation(len(order))
    share = np.cumsum(counts[order]) / counts.sum()
    region = np.empty(len(order), int)
    region[order] = np.minimum((share * n).astype(int), n - 1)
    return region


class Tokens(nn.Module):
    """Scores of the cell and of its regions to the first hidden layer."""

    def __init__(self, n_scores: int, n_regions: int, n_out: int):
        super().__init__()
        self.n_scores, self.n_regions = n_scores, n_regions
        self.whole = nn.Linear(n_scores, n_out)
        self.embed = nn.Linear(N_DIRECTIONS, TOKEN)
        self.position = nn.Parameter(torch.randn(n_regions, TOKEN) * 0.1)
        self.query_key_value = nn.Linear(TOKEN, 3 * TOKEN)
        self.out = nn.Linear(n_regions * TOKEN, n_out)
        nn.init.zeros_(self.out.weight)

    def forward(self, scores: Tensor) -> Tensor:
        whole, regions = scores.split([self.n_scores, self.n_regions * N_DIRECTIONS], 1)
        tokens = self.embed(regions.unflatten(1, (self.n_regions, N_DIRECTIONS))) + self.position
        mixed = functional.scaled_dot_product_attention(*self.query_key_value(tokens).chunk(3, -1))
        return self.whole(whole) + self.out((tokens + mixed).flatten(1))


class RegionScores(SpectralScores):
    """Those of the whole cell, and of the peaks of each region."""

    def __init__(self, analysis, region: np.ndarray, n: int):
        leading = analysis.loading[:, :N_DIRECTIONS]
        of_region = np.zeros((len(leading), n, N_DIRECTIONS), np.float32)
        of_region[np.arange(len(leading)), region] = leading * np.sqrt(n)
        loading = np.hstack([analysis.loading, of_region.reshape(len(leading), -1)])
        self.shape = analysis.loading.shape[1], n
        centre = np.concatenate([analysis.centre, analysis.share @ loading[:, self.shape[0] :]])
        super().__init__(analysis._replace(loading=loading, centre=centre.astype(np.float32)))

    def layer(self, n_out: int) -> nn.Module:
        return Tokens(*self.shape, n_out)


def reader_for(peaks: np.ndarray, n: int, kind: str, seed: int) -> Callable:
    """In the place of SpectralScores: regions for the matrix of the peaks, as it is for genes."""

    def make(analysis):
        if kind == "none" or len(analysis.share) != len(peaks):
            return SpectralScores(analysis)
        return RegionScores(analysis, regions_of(peaks, analysis.share, n, kind, seed), n)

    return make


def measured(paired: data.Paired, n: int, kind: str, seed: int) -> dict[str, float]:
    """Scores of one fit."""
    model = scmvp.SCMVP(data.to_mudata(paired), n_clusters=paired.n_labels)
    build.SpectralScores = reader_for(model.peaks, n, kind, seed)
    try:
        model.train(seed=seed, threads=1, progress=False)
    finally:
        build.SpectralScores = SpectralScores
    of_latent = metrics.of_embedding(model.get_latent_representation(), paired, seed)
    return {
        "elbo": max(model.history["elbo_validation"]),
        "ari": metrics.of_clusters(model.predict(), paired)["ari"],
        "ari_kmeans": of_latent["ari"],
        "neighbors": of_latent["knn"],
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=list(DATA))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--regions", type=int, default=32)
    parser.add_argument("--data-folder", type=Path, default=Path("../shared/data"))
    parser.add_argument("--results", type=Path, default=Path("regions.csv"))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in given.data:
        paired = data.seen_often(data.load(name, given.data_folder))
        for seed, kind in product(given.seeds, KINDS):
            found = measured(paired, given.regions, kind, seed)
            row = {"data": name, "seed": seed, "regions": kind}
            row |= {key: f"{value:.3f}" for key, value in found.items()}
            results.put_by(given.results, [row], KEYS)
            print(*row.values(), sep="\t", flush=True)


if __name__ == "__main__":
    main()
