"""What the peaks and genes near a peak tell about it, beyond what the model has learned.

    python bench/genome_prior.py [--data NAME ...] [--seeds 0 1 2 3 4] [--results FILE.csv]

A model of four fifths of the cells decodes the others. The log proportion of each of their peaks is
then moved by a_0 times its own deviation from the mean of the peak, and by a_k times the sum, over
the n_k peaks or genes at a distance of bin k, of their deviations, divided by the square root of
n_k. One half of these cells gives the coefficients by maximum likelihood (multinomial, convex), the
other half the gain, and the other way round. Printed: gain in nats per cell over a_0 alone, by what
is used and whether its places are real or permuted, which should give coefficients and gains of 0.

Data: those of `bench/accuracy`; `links decay` and `links uniform` are simulations in which linked
peaks are near their gene, in proportion to contacts or at all distances to 100 kb alike.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

sys.path.insert(0, str(Path(__file__).with_name("accuracy")))

import data
import results

import scmvp
from scmvp.data.genes import bare_chromosome, read_genes
from scmvp.data.peaks import peaks_of

DATA = ("multiome_pbmc2k", "multiome_pbmc2k@0.2", "snare_cortex", "links decay", "links uniform")
GENOMES = {"multiome_pbmc2k": "hg38", "snare_cortex": "mm10"}
SIZE = {"n_cells": 2000, "n_genes": 2000, "n_peaks": 10_000, "n_types": 8,
        "median_umi": 700, "median_fragments": 700}  # fmt: skip
LINKED = {"links decay": {"link_decay": 1.0}, "links uniform": {}}
BINS = np.array([0, 2e3, 1e4, 5e4, 2e5])  # base pairs between centers, or center and start
HELD_OUT = 0.2
SOURCES = {"peaks": ("peaks",), "genes": ("genes",), "both": ("peaks", "genes")}
KEYS = ("data", "seed", "places", "source")  # rows that are measured again are replaced
Places = tuple[np.ndarray, np.ndarray]  # chromosomes, '' of features without a place; positions


def cells_of(name: str, folder: Path, seed: int) -> tuple[data.Paired, dict[str, pd.DataFrame]]:
    """Cells, and where their genes and peaks are: 'chrom' and 'position' by name."""
    if name in LINKED:
        mdata = scmvp.simulate(seed=seed, **SIZE, **LINKED[name])
        paired = data.of_mudata("sim_links", mdata)
        tables = {"genes": mdata["rna"].var, "peaks": mdata["atac"].var}
        middle = {
            "genes": tables["genes"]["tss"],
            "peaks": tables["peaks"][["start", "end"]].mean(axis=1),
        }
        return paired, {
            key: pd.DataFrame({"chrom": table["chrom"].astype(str), "position": middle[key]})
            for key, table in tables.items()
        }
    paired = data.load(name, folder)
    peaks, _ = peaks_of(paired.peaks.index.to_numpy(), name)
    genome = GENOMES[name.partition("@")[0]]
    genes = read_genes(
        folder / "annotation" / f"{genome}_tss.bed.gz", paired.genes.index.to_numpy()
    )
    genes = genes.drop_duplicates("gene").set_index("gene")
    return paired, {
        "genes": pd.DataFrame(
            {"chrom": bare_chromosome(genes["seqnames"]), "position": genes["tss"]}
        ),
        "peaks": pd.DataFrame(
            {"chrom": bare_chromosome(peaks.chrom), "position": (peaks.start + peaks.end) / 2},
            paired.peaks.index,
        ),
    }


def near(peaks: Places, others: Places, same: bool) -> list[sp.csr_matrix]:
    """For each bin, others x peaks: 1 / sqrt(n) for the n others of the peak in the bin."""
    at: list[list[np.ndarray]] = [[] for _ in BINS[1:]]
    for chrom in np.unique(peaks[0][peaks[0] != ""]):
        of_peak, of_other = (np.flatnonzero(of[0] == chrom) for of in (peaks, others))
        of_other = of_other[np.argsort(others[1][of_other])]
        position = others[1][of_other]
        for peak in of_peak:
            first, last = np.searchsorted(position, peaks[1][peak] + BINS[-1] * np.array([-1, 1]))
            found = of_other[first:last]
            bins = np.digitize(np.abs(position[first:last] - peaks[1][peak]), BINS) - 1
            for k in range(len(at)):
                kept = found[(bins == k) & ((found != peak) | (not same))]
                at[k].append(np.stack([kept, np.full(len(kept), peak)]))
    shape, matrices = (len(others[0]), len(peaks[0])), []
    for pairs in at:
        other, peak = np.concatenate(pairs, axis=1)
        n = np.bincount(peak, minlength=shape[1])
        matrices.append(sp.csr_matrix((1 / np.sqrt(n[peak]), (other, peak)), shape))
    return matrices


def loss(
    a: torch.Tensor, counts: torch.Tensor, base: torch.Tensor, moves: torch.Tensor
) -> torch.Tensor:
    """Multinomial, in nats per cell, up to a constant."""
    log_f = (base + torch.einsum("k,kcp->cp", a, moves)).log_softmax(1)
    return -(counts * log_f).sum() / len(counts)


def fitted(*cells: torch.Tensor) -> torch.Tensor:
    """The coefficients of largest likelihood."""
    a = torch.zeros(len(cells[-1]), requires_grad=True)
    solver = torch.optim.LBFGS([a], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        value = loss(a, *cells)
        value.backward()
        return value

    solver.step(closure)
    return a.detach()


def gain(counts: np.ndarray, base: np.ndarray, moves: list[np.ndarray], half: np.ndarray):
    """Nats per cell of the half that did not give the coefficients, and these; mean of both."""
    halves = [
        (
            torch.tensor(counts[cells], dtype=torch.float32),
            torch.tensor(base[cells], dtype=torch.float32),
            torch.tensor(np.stack([move[cells] for move in moves]), dtype=torch.float32),
        )
        for cells in (half, ~half)
    ]
    gains, coefficients = [], []
    for fit, judge in (halves, halves[::-1]):
        a = fitted(*fit)
        gains.append(float(loss(0 * a, *judge) - loss(a, *judge)))
        coefficients.append(a.numpy())
    return np.mean(gains), np.mean(coefficients, axis=0)


def measured(name: str, seed: int, folder: Path):
    """Rows of the table."""
    paired, tables = cells_of(name, folder, seed)
    rng = np.random.default_rng(seed)
    held_out = rng.random(paired.x.shape[0]) < HELD_OUT

    model = scmvp.SCMVP(data.to_mudata(paired, ~held_out))
    model.train(seed=seed, progress=False)
    others = data.to_mudata(paired, held_out)
    decoded = {
        "genes": model.get_normalized_expression(others),
        "peaks": model.get_accessibility_estimates(others),
    }
    names = {"genes": model.genes, "peaks": model.peaks}
    log_f, deviation, at = {}, {}, {}
    for key, whole in (("genes", paired.x), ("peaks", paired.y)):
        columns = getattr(paired, key).index.get_indexer(names[key])
        mean = np.asarray(whole[~held_out][:, columns].sum(0)).ravel() + 0.5
        log_f[key] = np.log(decoded[key] / decoded[key].sum(1, keepdims=True) + 1e-12)
        deviation[key] = log_f[key] - np.log(mean / mean.sum())
        table = tables[key].reindex(names[key])
        at[key] = table["chrom"].fillna("").to_numpy(str), table["position"].to_numpy(float)
    columns = paired.peaks.index.get_indexer(names["peaks"])
    counts = paired.y[held_out][:, columns].toarray()
    half = rng.random(len(counts)) < 0.5
    own = [deviation["peaks"]]
    alone, slope = gain(counts, log_f["peaks"], own, half)
    yield {"places": "", "source": "own deviation", "gain": alone, "coefficients": slope}
    for places in ("real", "permuted"):
        placed = dict(at)
        if places == "permuted":
            for key, (chrom, position) in at.items():
                order = rng.permutation(len(chrom))
                placed[key] = chrom[order], position[order]
        moves = {
            key: [
                deviation[key] @ kernel
                for kernel in near(placed["peaks"], placed[key], key == "peaks")
            ]
            for key in placed
        }
        for source, keys in SOURCES.items():
            used = own + [move for key in keys for move in moves[key]]
            value, coefficients = gain(counts, log_f["peaks"], used, half)
            yield {"places": places, "source": source, "gain": value - alone,
                   "coefficients": coefficients}  # fmt: skip


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--data-folder", type=Path, default=Path("../shared/data"))
    parser.add_argument("--results", type=Path, default=Path("genome_prior.csv"))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name, seed in product(given.data, given.seeds):
        for found in measured(name, seed, given.data_folder):
            row = {"data": name, "seed": seed} | found
            row["gain"] = f"{row['gain']:.3f}"
            row["coefficients"] = " ".join(f"{value:.3f}" for value in row["coefficients"])
            results.put_by(given.results, [row], KEYS)
            print(*row.values(), sep="\t", flush=True)


if __name__ == "__main__":
    main()
