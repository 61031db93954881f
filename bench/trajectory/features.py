"""Features along a simulated path: false discoveries, power and time beside regressions."""

from __future__ import annotations

import time
from pathlib import Path

import methods
import numpy as np
import order

import scmvp
from scmvp.tools.along import spline_basis

_FDR = 0.05
_MIN_CELLS = 10  # both methods test the features seen in so many cells of the path

Scores = list[tuple[str, str, float]]


def features(seed: int, folder: Path) -> Scores:
    """Genes and peaks along trunk and first branch, by true and by inferred pseudotime."""
    mdata = order.simulated(seed)
    obs = mdata.obs
    paired = methods._mdata(order.paired_of("path", mdata))
    model = scmvp.SCMVP(paired).train(seed=seed, threads=1, progress=False)
    start = np.where(obs["cell_type"] == "Type01", "start", "rest")
    inferred = scmvp.diffusion(model.get_latent_representation(), root="start", groupby=start)
    on_path = (obs["branch"] != "branch2").to_numpy()
    true = obs["pseudotime"].to_numpy()
    permuted = np.random.default_rng(seed).permutation(true)
    scores: Scores = []
    for modality in ("rna", "atac"):
        counts = mdata[modality].X
        changes = _changes(mdata, modality)
        for name, t in (("true", true), ("inferred", inferred.pseudotime), ("permuted", permuted)):
            began = time.process_time()
            table = scmvp.features_along(counts, pseudotime=t, cells=on_path, min_cells=_MIN_CELLS)
            seconds = time.process_time() - began
            method = f"scmvp {modality}, {name} pseudotime"
            scores += _scored(method, table.sort_index(), changes, seconds, name == "permuted")
        scores += _regressions(counts, true, on_path, changes, modality)
    return scores


def _changes(mdata, modality: str) -> np.ndarray:
    """Features marked by some stage of trunk or first branch."""
    marks = mdata[modality].var["marker_of"].astype(str)
    stages = {f"Type{number:02d}" for number in range(1, 7)}
    every = {"+".join(sorted(stages))}
    return np.array([bool(set(m.split("+")) & stages) and m not in every for m in marks])


def _scored(method: str, table, changes: np.ndarray, seconds: float, null: bool) -> Scores:
    tested = table["p_value"].notna().to_numpy()
    called = (table["q_value"] < _FDR).to_numpy() & tested
    changes = changes[table.index.to_numpy(dtype=int)]
    scores = [(method, "p < 0.01 where nothing changes", _low(table, tested, changes, null))]
    if not null:
        scores += [
            (method, "false discoveries", (called & ~changes).sum() / max(called.sum(), 1)),
            (method, "called", called.sum()),
            (method, "power", called[tested & changes].mean()),
            (method, "ms per feature", 1e3 * seconds / len(table)),
        ]
    return scores


def _low(table, tested: np.ndarray, changes: np.ndarray, null: bool) -> float:
    of = tested if null else tested & ~changes
    return (table["p_value"].to_numpy()[of] < 0.01).mean()


def _regressions(counts, t: np.ndarray, on_path: np.ndarray, changes, modality: str) -> Scores:
    """F tests of quasi-Poisson regressions by statsmodels, feature by feature."""
    import pandas as pd
    import statsmodels.api as sm
    from scipy.stats import f as f_distribution

    counts, t = counts[on_path].tocsc(), t[on_path]
    size = np.asarray(counts.sum(1)).ravel()
    offset = np.log(size / size.mean())
    chosen = np.flatnonzero(np.diff(counts.indptr) >= _MIN_CELLS)
    spline = np.column_stack([np.ones(len(t)), spline_basis(t, 4)])
    began = time.process_time()
    p = np.full(len(chosen), np.nan)
    for place, feature in enumerate(chosen):
        y = counts[:, [feature]].toarray().ravel()
        family = sm.families.Poisson()
        small = sm.GLM(y, spline[:, :1], family=family, offset=offset).fit()
        large = sm.GLM(y, spline, family=family, offset=offset).fit()
        scale = large.pearson_chi2 / large.df_resid
        f = (small.deviance - large.deviance) / 4 / scale
        p[place] = f_distribution.sf(f, 4, large.df_resid)
    seconds = time.process_time() - began
    from scmvp.tools.along import benjamini_hochberg

    table = pd.DataFrame({"p_value": p, "q_value": benjamini_hochberg(p)}, index=chosen)
    return _scored(f"quasi-Poisson {modality}, true pseudotime", table, changes, seconds, False)
