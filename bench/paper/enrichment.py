"""Enrichment of predicted elements of blood in published elements, in place of ChIP-seq.

Cicero and LASSO rank peaks by raw and by imputed values. Of each ranking, the best peaks are
compared with peaks as accessible that no ranking has among its best, apart for proximal and distal
peaks (`ClassifyCRE()`), by the number of published elements that cover a base (`CREEnrichment()`):
enhancers of EnhancerAtlas and regions of interactions of 4DGenome, both of blood. A random order
shows the noise.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import links
import numpy as np
import pandas as pd

import scmvp

DISTANCE = 100_000  # of the paper's LASSO
Scores = Iterator[tuple[str, list[tuple[str, str, float, str]]]]


def enrichment(seed: int, folder: Path) -> Scores:
    """Ratio of published elements at the best peaks to that at matched ones."""
    mdata, places, _ = links.blood(folder)
    model = links.fitted(mdata, seed)
    cells = mdata[:, np.concatenate([model.genes, model.peaks])].copy()
    cells.obsm["X_scmvp"] = model.get_latent_representation()
    cells["rna"].layers["imputed"] = model.get_normalized_expression()
    cells["atac"].layers["imputed"] = model.get_accessibility_estimates()
    ranking = pd.concat([of.assign(set=name) for name, of in rankings(cells, places)])
    names = cells["atac"].var_names
    random = {"peak": names, "score": np.random.default_rng(seed).random(len(names))}
    ranking = pd.concat([ranking, pd.DataFrame(random).assign(set="random order")])
    with tempfile.TemporaryDirectory() as text:
        out = Path(text)
        ranking.to_csv(out / "sets.csv", index=False)
        places.to_csv(out / "genes.csv", index=False)
        counts = cells["atac"]
        accessible = np.asarray(counts.X.mean(0)).ravel()
        pd.DataFrame({"peak": counts.var_names, "accessible": accessible}).to_csv(
            out / "peaks.csv", index=False
        )
        tracks = [
            f"{name}={folder / 'links' / file}.grl.rds" for name, file in links.TRUTHS.items()
        ]
        script = Path(__file__).with_name("enrichment.R")
        run = subprocess.run(["Rscript", script, out, *tracks], capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(run.stderr.strip()[-500:])
        table = pd.read_csv(out / "summary.csv").rename(columns={"p_value": "p"})
    scores = []
    for row in table.itertuples():
        of = f"{row.kind} peaks, {row.track}"
        scores.append((row.set, f"{of}: ratio to matched peaks", row.ratio, ""))
        scores.append((row.set, f"{of}: p", row.p, ""))
    yield "multiome_pbmc2k", scores


def rankings(cells, places: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Names, and tables of peak and score, the largest of the links of a peak."""
    groups = scmvp.aggregate_cells(cells, verbose=False)
    for word, layer in (("raw", None), ("imputed", "imputed")):
        pairs = scmvp.run_cicero(cells, layer=layer, groups=groups, verbose=False)
        both = [pairs[[peak, "coaccess"]].set_axis(["peak", "score"], axis=1)
                for peak in ("Peak1", "Peak2")]  # fmt: skip
        yield f"Cicero, {word}", best(pd.concat(both))
    for word, of_rna, of_atac in (
        ("raw", None, None),
        ("imputed peaks", None, "imputed"),
        ("imputed, both sides", "imputed", "imputed"),
    ):
        # smoothed values on both sides, as in the paper, need folds of blocks of cells
        both = {"folds": "block"} if of_rna else {}
        found = scmvp.link_peaks_lasso(
            cells, places, rna_layer=of_rna, atac_layer=of_atac, distance=DISTANCE, lambda_="min",
            n_permutations=0, verbose=False, **both,
        )  # fmt: skip
        found["score"] = found["coefficient"].abs()
        yield f"LASSO, {word}", best(found[["peak", "score"]])


def best(table: pd.DataFrame) -> pd.DataFrame:
    """One row per peak with a score above 0."""
    found = table.groupby("peak", as_index=False, observed=True)["score"].max()
    return found[found["score"] > 0]
