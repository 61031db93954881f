"""Scores of peak-gene links beside those of other methods, against links that are known.

    python bench/cre/links.py [--seeds 0 1 2 3 4] [--data-folder FOLDER] [--results FILE.csv]
                              [--no-r]

Truth: links of simulated cells (`decay`: nearer peaks are linked more often, in proportion to
contacts; `uniform`: at all distances up to 100 kb alike; in both, most genes have none, and other
peaks follow the same programs without being linked), and with `--data` blood (FOLDER contains
multiome_pbmc2k, and links/ with lists of EnhancerAtlas and 4DGenome). Every method ranks the same
pairs, those of `link_peaks`; what a method does not return is last. Average precision with 95 %
intervals over genes (bootstrap), and its ratio to that of the distance alone, drawn together.

    distance               of the start of the gene and the center of the peak
    activity by contact    contact x mean of the counts; `share`: divided by the sum over the gene
    Signac                 correlation of log-normalized counts, if above that of 200 peaks of other
                           chromosomes as accessible (p < .05), as LinkPeaks() of Signac
    SCENT                  score test of a Poisson regression of the gene's counts on the open peak
                           with the log depth of the cell, the model of SCENT
    LASSO, Cicero          LinkPeaksLASSO(), RunCicero() (with the peak at the start of the gene),
                           of counts and of imputed values
    scMVP                  `link_peaks`, and the same without one of its factors
    scMVP, known links     `calibrate_links` with the truth itself, each chromosome with the weights
                           of the others; `weights of NAME` with those learned from another truth

The lists of blood are also counted without the peaks at the start of any gene (`distal`): contacts
within a promoter cannot be on a list of contacts.

`--weights FILE.csv` keeps the weights that were learned. Then calls at a false discovery rate, with
and without links, and agreement between two halves of the cells.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).parents[1] / "accuracy"))

import results

import scmvp
from scmvp.data.peaks import peaks_of

SIZE = {"n_cells": 2000, "n_genes": 2000, "n_peaks": 10_000, "n_types": 8}
SIMULATED = {
    "decay": SIZE | {"median_umi": 2000, "median_fragments": 3000, "link_decay": 1.0},
    "decay, sparse": SIZE | {"median_umi": 700, "median_fragments": 700, "link_decay": 1.0},
    "uniform": SIZE | {"median_umi": 2000, "median_fragments": 3000},
}
TRUTHS = {"EnhancerAtlas": "enhanceratlas.combined", "4DGenome": "four.d.genome"}
DRAWS = 200
Scores = dict[str, np.ndarray]
Truth = tuple[str, np.ndarray, np.ndarray]  # its name, which pairs it is about, which it links


def simulated(name: str, seed: int):
    mdata = scmvp.simulate(seed=seed, **SIMULATED[name])
    places = mdata["rna"].var[["chrom", "start", "end", "strand", "tss"]]
    places = places.rename_axis("gene").reset_index()
    known = mdata.uns["links"]
    known = pd.MultiIndex.from_arrays([known["gene"], known["peak"]])

    def truth(table: pd.DataFrame) -> Iterator[Truth]:
        yield "simulated", np.ones(len(table), bool), pairs_of(table).isin(known)

    return mdata, places, truth


def blood(folder: Path):
    mdata = scmvp.read(folder / "multiome_pbmc2k")
    places = pd.read_csv(folder / "links" / "CollapsedGeneBounds.hg38.bed.gz", sep="\t")
    places = places.rename(columns={"#chr": "seqnames", "name": "gene"})
    places["start"] += 1
    lists = {name: read_list(folder / "links" / f"{file}.grl.rds") for name, file in TRUTHS.items()}

    def truth(table: pd.DataFrame) -> Iterator[Truth]:
        peaks, at = peaks_of(table["peak"].to_numpy(), "the table")
        of_row = pd.DataFrame({"chrom": peaks.chrom, "start": peaks.start, "end": peaks.end}, at)
        for name, regions in lists.items():
            rows = table[["gene"]].join(of_row).reset_index(names="row")
            both = rows.merge(regions, on=["gene", "chrom"], suffixes=("", "_known"))
            hit = (both["start"] <= both["end_known"]) & (both["end"] >= both["start_known"])
            linked = np.zeros(len(table), bool)
            linked[both.loc[hit, "row"]] = True
            yield name, table["gene"].isin(regions["gene"]).to_numpy(), linked

    return mdata, places[["gene", "seqnames", "start", "end", "strand"]], truth


def read_list(path: Path) -> pd.DataFrame:
    """A GRangesList by gene as a table of gene, chrom, start, end."""
    with tempfile.NamedTemporaryFile(suffix=".tsv") as out:
        code = (
            "suppressMessages(library(GenomicRanges)); a <- commandArgs(TRUE); x <- readRDS(a[1]);"
            "u <- unlist(x, use.names = FALSE); write.table(data.frame(gene = rep(names(x), "
            "lengths(x)), chrom = as.character(seqnames(u)), start = start(u), end = end(u)), a[2],"
            "sep = '\\t', quote = FALSE, row.names = FALSE)"
        )
        subprocess.run(["Rscript", "-e", code, path, out.name], check=True)
        return pd.read_csv(out.name, sep="\t")


def pairs_of(table: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([table["gene"], table["peak"]])


# ---- methods -------------------------------------------------------------------------------------


def fitted(mdata, seed: int) -> scmvp.SCMVP:
    model = scmvp.SCMVP(mdata)
    return model.train(seed=seed, progress=False)


def scores_of(model, mdata, places: pd.DataFrame, seed: int, with_r: bool):
    """The pairs and the scores of every method."""
    table = model.link_peaks(places, seed=seed)
    rna, atac = (sp.csc_matrix(mdata[name].X).astype(np.float64) for name in ("rna", "atac"))
    gene = mdata["rna"].var_names.get_indexer(table["gene"])
    peak = mdata["atac"].var_names.get_indexer(table["peak"])
    contact, support = table["contact"].to_numpy(), table["support"].to_numpy()
    accessible = table["accessibility"].to_numpy()
    mean = np.asarray(atac.mean(0)).ravel()
    activity = contact * mean[peak]
    by_gene = pd.Series(activity).groupby(table["gene"].to_numpy()).transform("sum").to_numpy()
    scores = {
        "distance": -table["distance"].abs().to_numpy(),
        "activity by contact": activity,
        "activity by contact, share": activity / by_gene,
        "Signac": signac(rna, atac, gene, peak, mdata, seed),
        "SCENT": scent(rna, atac, gene, peak),
        "imputed correlation": table["correlation"].to_numpy(),
        "scMVP": table["score"].to_numpy(),
        "scMVP, no contact": accessible * (1 + support) / 2,
        "scMVP, no accessibility": contact * (1 + support) / 2,
        "scMVP, no association": contact * accessible,
        "scMVP, probability": table["probability"].to_numpy(),
    }
    if with_r:
        scores |= by_r(model, mdata, places, table)
    return table, scores


def log_normalized(counts: sp.csc_matrix) -> np.ndarray:
    total = np.asarray(counts.sum(1)).ravel()
    x = np.log1p(counts.multiply(1e4 / np.maximum(total, 1)[:, None]).toarray())
    x -= x.mean(0)
    return x / np.maximum(x.std(0), 1e-12)


def paired_means(x: np.ndarray, y: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    x, y, n = np.ascontiguousarray(x.T), np.ascontiguousarray(y.T), len(x)
    parts = [slice(start, start + 1000) for start in range(0, len(i), 1000)]
    return np.concatenate([np.einsum("pc,pc->p", x[i[part]], y[j[part]]) / n for part in parts])


def signac(rna, atac, gene, peak, mdata, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x, y = log_normalized(rna), log_normalized(atac)
    r, x_by_gene = paired_means(x, y, gene, peak), np.ascontiguousarray(x.T)
    order = np.argsort(np.asarray(atac.sum(0)).ravel(), kind="stable")
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    chromosome = np.array([name.rsplit("-", 2)[0] for name in mdata["atac"].var_names])
    of_gene = pd.Series(chromosome[peak], gene).groupby(level=0).first()
    z = np.zeros(len(r))
    for one in np.unique(gene):  # the genes' background: as accessible as each peak, elsewhere
        rows = np.flatnonzero(gene == one)
        drawn = rng.integers(-200, 201, (len(rows), 200)) + rank[peak[rows], None]
        some = order[np.clip(drawn, 0, len(order) - 1)]
        values = x_by_gene[one] @ y / len(x)
        null = np.where(chromosome[some] == of_gene[one], np.nan, values[some])
        z[rows] = (r[rows] - np.nanmean(null, 1)) / np.nanstd(null, 1)
    return np.where((z > 1.645) & (r > 0.05), r, np.minimum(r, 0.05) - 1)


def scent(rna, atac, gene, peak) -> np.ndarray:
    """z of the score test for the peak in gene ~ log depth + open peak, Poisson."""
    depth = np.asarray(rna.sum(1)).ravel()
    is_open = (atac > 0).astype(np.float64).toarray()
    share = depth / depth.sum()
    centered = is_open - share @ is_open
    variance = share @ centered**2
    counts = rna.toarray()
    totals = counts.sum(0)
    found = paired_means(counts, centered, gene, peak) * len(depth)
    return found / np.sqrt(np.maximum(totals[gene] * variance[peak], 1e-12))


def by_r(model, mdata, places: pd.DataFrame, table: pd.DataFrame) -> Scores:
    mdata = mdata[:, np.concatenate([model.genes, model.peaks])].copy()
    mdata.obsm["X_scmvp"] = model.get_latent_representation()
    mdata["atac"].layers["imputed"] = model.get_accessibility_estimates()
    groups = scmvp.aggregate_cells(mdata, verbose=False)
    wanted, scores = pairs_of(table), {}
    promoters = table[table["kind"] == "promoter"].groupby("gene")["peak"].apply(list)
    for name, layer in (("counts", None), ("imputed", "imputed")):
        links = scmvp.link_peaks_lasso(
            mdata, places, atac_layer=layer, distance=500_000, lambda_="min", n_permutations=0,
            verbose=False,
        )  # fmt: skip
        found = pd.Series(links["coefficient"].to_numpy(), pairs_of(links))
        scores[f"LASSO, {name}"] = found.reindex(wanted).fillna(0).to_numpy()
        pairs = scmvp.run_cicero(mdata, layer=layer, groups=groups, verbose=False)
        value = pd.Series(
            pairs["coaccess"].to_numpy(), pd.MultiIndex.from_frame(pairs[["Peak1", "Peak2"]])
        )
        scores[f"Cicero, {name}"] = with_promoter(table, promoters, value)
    return scores


def with_promoter(table: pd.DataFrame, promoters: pd.Series, value: pd.Series) -> np.ndarray:
    """Co-accessibility of each peak with the peaks at the start of the gene; 1 for these."""
    rows = table[["gene", "peak"]].reset_index().merge(
        promoters.explode().rename("at").reset_index(), on="gene"
    )  # fmt: skip
    index = pd.MultiIndex.from_arrays([rows["peak"], rows["at"]])
    rows["value"] = np.where(rows["peak"] == rows["at"], 1.0, value.reindex(index).fillna(0))
    best = rows.groupby("index")["value"].max()
    return best.reindex(range(len(table))).fillna(0).to_numpy()


# ---- what is shown -------------------------------------------------------------------------------


class Ranked:
    """Average precision of a score under many weights of the pairs: it is sorted once."""

    def __init__(self, score: np.ndarray, linked: np.ndarray):
        self.order = np.argsort(-score, kind="stable")
        ranked = score[self.order]
        self.last = np.append(ranked[1:] != ranked[:-1], True)  # ties have one precision
        self.linked = linked[self.order]

    def precision(self, weight: np.ndarray) -> float:
        weight = weight[self.order]
        hits, called = (np.cumsum(x)[self.last] for x in (weight * self.linked, weight))
        return float(np.sum(np.diff(hits, prepend=0) * hits / np.maximum(called, 1)) / hits[-1])


def precision_rows(scores: Scores, genes: np.ndarray, linked: np.ndarray, seed: int):
    """Average precision of each method, its interval, and its ratio to that of the distance."""
    rng = np.random.default_rng(seed)
    code, names = pd.factorize(genes)
    draws = [np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[code]
             for _ in range(DRAWS)]  # fmt: skip
    draws.insert(0, np.ones(len(genes)))
    values = {}
    for name, score in scores.items():
        ranked = Ranked(score, linked)
        values[name] = np.array([ranked.precision(weight) for weight in draws])
    for name, value in values.items():
        ratio = value / values["distance"]
        yield {
            "method": name, "ap": value[0], "low": np.quantile(value[1:], 0.025),
            "high": np.quantile(value[1:], 0.975), "ratio": ratio[0],
            "ratio_low": np.quantile(ratio[1:], 0.025), "ratio_high": np.quantile(ratio[1:], 0.975),
            "pairs": len(linked), "linked": int(linked.sum()),
        }  # fmt: skip


def learned_from(table: pd.DataFrame, truths: list[Truth]) -> dict[str, pd.DataFrame]:
    """The pairs of each truth, calibrated with it."""
    return {
        of: scmvp.calibrate_links(
            table[use], table.loc[use, ["gene", "peak"]].assign(linked=on[use])
        )
        for of, use, on in truths
    }


def truth_rows(table, scores: Scores, truths: list[Truth], learned, before, seed: int):
    """Average precision with each truth; of the lists of blood, that of distal pairs as well.

    `learned`: of `learned_from`; `before`: weights learned from other cells, by name.
    """
    distal = (table["kind"] == "distal").to_numpy()
    for of, use, linked in truths:
        some = {method: score[use] for method, score in scores.items()}
        some["scMVP, known links"] = learned[of]["calibrated"].to_numpy()
        others = {name: each.attrs["weights"] for name, each in learned.items() if name != of}
        for name, weights in (before | others).items():
            applied = scmvp.calibrate_links(table[use], weights=weights)
            some[f"scMVP, weights of {name}"] = applied["calibrated"].to_numpy()
        genes = table["gene"].to_numpy()[use]
        parts = {of: np.ones(len(genes), bool)}
        if of in TRUTHS:
            parts[f"{of}, distal"] = distal[use]
        for name, part in parts.items():
            of_part = {method: score[part] for method, score in some.items()}
            for row in precision_rows(of_part, genes[part], linked[use][part], seed):
                yield {"truth": name} | row


def weight_rows(learned: dict[str, pd.DataFrame]):
    for of, table in learned.items():
        found = table.attrs["weights"]
        for term, weight in ({"intercept": found["intercept"]} | found["weights"]).items():
            yield {
                "truth": of, "pairs": found["pairs"], "linked": found["linked"], "term": term,
                "weight": weight,
            }  # fmt: skip


def call_rows(model, mdata, places, truth, table, seed: int):
    """Calls by rate, and how many of them are not linked; with the places of genes exchanged."""
    _, _, linked = next(truth(table))
    order = np.random.default_rng(seed).permutation(len(places))
    exchanged = model.link_peaks(places.assign(gene=places["gene"].to_numpy()[order]), seed=seed)
    for level in (0.05, 0.1, 0.2):
        called = table["fdr"].to_numpy() <= level
        yield {
            "level": level, "called": int(called.sum()),
            "not_linked": float((~linked[called]).mean()) if called.any() else np.nan,
            "called_elsewhere": int((exchanged["fdr"] <= level).sum()),
        }  # fmt: skip


def agreement_rows(mdata, places, seed: int, with_r: bool):
    """Scores of two halves of the cells: rank correlation, and the best 1,000 that they share.

    Pairs of the same score are in random order.
    """
    order = np.random.default_rng(seed).permutation(mdata.n_obs)
    halves = []
    for part in np.array_split(order, 2):
        cells = mdata[np.sort(part)].copy()
        table, scores = scores_of(fitted(cells, seed), cells, places, seed, with_r)
        halves.append(pd.DataFrame(scores, index=pairs_of(table)))
    shared = halves[0].index.intersection(halves[1].index)
    one, other = (
        half.loc[shared].sample(frac=1, random_state=part) for part, half in enumerate(halves)
    )
    for name in one:
        best = [set(half[name].nlargest(1000).index) for half in (one, other)]
        yield {
            "method": name, "spearman": one[name].corr(other[name], method="spearman"),
            "best_1000": len(best[0] & best[1]) / 1000,
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--sets", nargs="+", default=[*SIMULATED, "blood"])
    parser.add_argument("--data-folder", type=Path)
    parser.add_argument("--results", type=Path, default=Path("bench/output/link_scores.csv"))
    parser.add_argument("--weights", type=Path, help="file for the weights of known links")
    parser.add_argument("--no-r", action="store_true", help="without LASSO and Cicero")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for seed in options.seeds:
        before: dict[str, dict] = {}
        for name in options.sets:
            if name == "blood" and options.data_folder is None:
                continue
            mdata, places, truth = (
                blood(options.data_folder) if name == "blood" else simulated(name, seed)
            )
            model = fitted(mdata, seed)
            table, scores = scores_of(model, mdata, places, seed, not options.no_r)
            truths = list(truth(table))
            learned = learned_from(table, truths)
            rows = list(truth_rows(table, scores, truths, learned, before, seed))
            if name != "blood":
                before[name] = learned["simulated"].attrs["weights"]
                calls = call_rows(model, mdata, places, truth, table, seed)
                rows += [{"truth": "calls"} | row for row in calls]
            halves = agreement_rows(mdata, places, seed, not options.no_r)
            rows += [{"truth": "halves"} | row for row in halves]
            write(options.results, name, seed, rows)
            if options.weights is not None:
                write(options.weights, name, seed, weight_rows(learned))
            print(name, seed, "done", flush=True)
    show(pd.read_csv(options.results))


def write(path: Path, name: str, seed: int, rows: Iterable[dict]) -> None:
    """Rows of a data set and a seed, in the place of earlier ones of both."""
    about = {"data": name, "seed": seed}
    written = [results.formatted(about | row, ".4g") for row in rows]
    results.put_by(path, written, tuple(about))


def show(rows: pd.DataFrame) -> None:
    pd.set_option("display.width", 200, "display.max_columns", None)
    scored = rows[rows["ap"].notna()]
    columns = ["ap", "low", "high", "ratio", "ratio_low", "ratio_high"]
    print(scored.groupby(["data", "truth", "method"], sort=False)[columns].mean().round(3))
    calls = rows[rows["truth"] == "calls"]
    if len(calls):
        columns = ["called", "not_linked", "called_elsewhere"]
        print(calls.groupby(["data", "level"], sort=False)[columns].mean().round(3))
    halves = rows[rows["truth"] == "halves"]
    print(halves.groupby(["data", "method"], sort=False)[["spearman", "best_1000"]].mean().round(3))


if __name__ == "__main__":
    main()
