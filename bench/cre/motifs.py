"""Activity of motifs and genes from imputed and from measured accessibility.

    python bench/cre/motifs.py simulation
    python bench/cre/motifs.py genes FOLDER GENES           # rna.h5ad, atac.h5ad; GTF or BED
    python bench/cre/motifs.py motifs FOLDER FASTA MOTIFS   # the genome, a JASPAR or MEME file

`simulation` makes a genome in which the marker peaks of a type have its motif, and decoys have
none. `motifs` ranks factors by type (obs['cell_type']). Tables go to standard output as CSV.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.stats import rankdata

import scmvp

_WIDTH, _SITE = 400, 11
_N_DECOYS = 60
_SEEDS = (0, 1, 2)


def simulation() -> pd.DataFrame:
    """Does each type have its motif at the top? How do motifs without a role look?"""
    tables = []
    for seed in _SEEDS:
        mdata = scmvp.simulate(
            n_cells=600, n_genes=500, n_peaks=3000, n_types=6, median_umi=1000,
            median_fragments=400, peak_fold=2.5, seed=seed,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            fasta, motifs = _genome(mdata["atac"], Path(folder), seed)
            model = scmvp.SCMVP(mdata).train(seed=seed, threads=1, progress=False)
            for source in ("measured", "imputed"):
                activity = model.motif_activity(
                    motifs, mdata, imputed=source == "imputed", fasta=fasta, seed=seed
                )
                tables.append(_scored(activity, mdata.obs["cell_type"], source))
    return pd.concat(tables).groupby(["values", "score"], sort=False)["value"].mean().reset_index()


def _genome(atac, folder: Path, seed: int) -> tuple[Path, Path]:
    """Renames peaks to places in a genome, in which marker peaks have the motif of their type."""
    rng = np.random.default_rng(seed)
    types = sorted({one for some in atac.var["marker_of"].astype(str) for one in some.split("+")})
    types = [name for name in types if name.startswith("Type")]
    names = types + [f"Decoy{i:02d}" for i in range(_N_DECOYS)]
    sites = {name: rng.choice(list("ACGT"), _SITE) for name in names}
    sequence = []
    for marks in atac.var["marker_of"].astype(str):
        gc = rng.uniform(0.35, 0.65)
        bases = rng.choice(list("ACGT"), _WIDTH, p=np.array([1 - gc, gc, gc, 1 - gc]) / 2)
        for name in names:
            planted = 0.25 if name in marks.split("+") and marks.count("+") < 3 else 0.05
            if rng.random() < planted:
                start = rng.integers(0, _WIDTH - _SITE)
                bases[start : start + _SITE] = sites[name]
        sequence.append("".join(bases))
    atac.var_names = [f"chr1-{i * _WIDTH}-{(i + 1) * _WIDTH}" for i in range(atac.n_vars)]
    fasta, motifs = folder / "genome.fa", folder / "motifs.jaspar"
    fasta.write_text(">chr1\n" + "\n".join(sequence) + "\n")
    lines = []
    for name, site in sites.items():
        lines.append(f">{name}")
        lines += [f"{b} [ {' '.join(str(18 * (s == b) + 1) for s in site)} ]" for b in "ACGT"]
    motifs.write_text("\n".join(lines) + "\n")
    return fasta, motifs


def _scored(activity, types: pd.Series, source: str) -> pd.DataFrame:
    ranks = scmvp.rank_motifs(activity, types.to_numpy())
    ranks["rank"] = ranks.groupby("group").cumcount() + 1
    own = ranks[ranks["motif"] == ranks["group"]]
    decoys = ranks[ranks["motif"].str.startswith("Decoy")]
    first = activity.var_names.to_numpy()[np.nan_to_num(activity.X, nan=-np.inf).argmax(1)]
    scores = {
        "own motif first of all motifs (share of cells)": (first == types.to_numpy()).mean(),
        "own motif first (share of types)": (own["rank"] == 1).mean(),
        "own motif, mean z in its type": own["mean"].mean(),
        "own motif, AUROC of its type": own["auroc"].mean(),
        "decoys, sd of mean z of types": decoys["mean"].std(),
        "decoys, mean |AUROC - 0.5|": (decoys["auroc"] - 0.5).abs().mean(),
    }
    return pd.DataFrame({"values": source, "score": scores.keys(), "value": scores.values()})


def genes(folder: str, places: str) -> pd.DataFrame:
    """Correlation over cells of the activity of genes with their measured RNA."""
    rna, atac, model = _fitted(folder)
    counts = rna.X.tocsr()
    depth = np.asarray(counts.sum(1)).ravel()
    rows = []
    for method in ("body", "decay"):
        for source in ("measured", "imputed"):
            activity = model.gene_activity(
                places, (rna, atac), imputed=source == "imputed", method=method
            )
            shared = [name for name in activity.var_names if name in model.features["rna"]]
            values = activity[:, shared].X
            if source == "measured":
                fragments = np.asarray(atac[:, model.peaks].X.sum(1))
                values = values.toarray() / np.maximum(fragments, 1)
            expressed = counts[:, rna.var_names.get_indexer(shared)].toarray() / depth[:, None]
            r = _correlations(values, expressed)
            rows.append((method, source, len(shared), r.mean(), (r > 0.1).mean()))
    columns = ["method", "values", "genes", "mean correlation", "share above 0.1"]
    return pd.DataFrame(rows, columns=columns)


def _correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's, column by column; 0 where one does not vary."""
    ranks = [rankdata(side, axis=0) for side in (one, other)]
    ranks = [side - side.mean(0) for side in ranks]
    norm = np.sqrt((ranks[0] ** 2).sum(0) * (ranks[1] ** 2).sum(0))
    return np.divide((ranks[0] * ranks[1]).sum(0), norm, out=np.zeros(len(norm)), where=norm > 0)


def motifs(folder: str, fasta: str, file: str) -> pd.DataFrame:
    """The first factors of each type, and how far apart types are by each."""
    rna, atac, model = _fitted(folder)
    types = rna.obs["cell_type"].to_numpy()
    tables = []
    for source in ("measured", "imputed"):
        activity = model.motif_activity(file, (rna, atac), imputed=source == "imputed", fasta=fasta)
        ranks = scmvp.rank_motifs(activity, types)
        ranks.insert(0, "values", source)
        tables.append(ranks.groupby("group", sort=False).head(10))
    return pd.concat(tables)


def _fitted(folder: str):
    rna = anndata.read_h5ad(Path(folder, "rna.h5ad"))
    atac = anndata.read_h5ad(Path(folder, "atac.h5ad"))
    return rna, atac, scmvp.SCMVP((rna, atac)).train(seed=0, threads=1, progress=False)


if __name__ == "__main__":
    warnings.simplefilter("ignore", scmvp.errors.InputNote)
    parts = {"simulation": simulation, "genes": genes, "motifs": motifs}
    parts[sys.argv[1]](*sys.argv[2:]).round(3).to_csv(sys.stdout, index=False)
