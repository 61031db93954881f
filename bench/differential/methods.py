"""Methods behind one interface: a fit, then a test of two groups of cells by modality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from data import Comparison

import scmvp

FDR = 0.05
MIN_CELLS = 5  # in which scMVP must see a feature to model it; the groups are small


@dataclass
class Tested:
    """Of each feature: whether it is called, and a score by which features are ranked."""

    called: np.ndarray
    score: np.ndarray


Test = Callable[[str, Comparison], Tested]


def fit_scmvp(mdata, seed: int, note: dict, models=None, name="") -> dict[str, Test]:
    """Our test, and Wilcoxon on what we impute, which is here as a warning."""
    folder = None if models is None else models / name
    if folder is not None and folder.exists():
        model = scmvp.SCMVP.load(folder)
        note["fitted_before"] = True
    else:
        model = scmvp.SCMVP(mdata, min_cells=MIN_CELLS).train(seed=seed, threads=1, progress=False)
        if folder is not None:
            model.save(folder)
    note["epochs"] = model.summary()["epochs"]

    def ours(modality: str, comparison: Comparison) -> Tested:
        test = {"rna": model.differential_expression, "atac": model.differential_accessibility}
        table = test[modality](
            mdata, group1=comparison.group, group2=comparison.reference, fdr=FDR
        ).set_index("feature")
        # what is seen in too few cells to be modeled is not called
        table = table.reindex(mdata[modality].var_names)
        called = table["is_de"].fillna(False).to_numpy(bool)
        return Tested(called, table["prob_de"].fillna(0).to_numpy())

    def imputed(modality: str, comparison: Comparison) -> Tested:
        impute = {
            "rna": model.get_normalized_expression, "atac": model.get_accessibility_estimates
        }  # fmt: skip
        modeled = {"rna": model.genes, "atac": model.peaks}[modality]
        tested = _wilcoxon(np.log1p(impute[modality](mdata)), modeled, comparison)
        at = pd.Index(modeled).get_indexer(mdata[modality].var_names)
        return Tested(*(np.where(at < 0, 0, part[at]) for part in (tested.called, tested.score)))

    return {"scMVP": ours, "Wilcoxon, imputed": imputed}


def fit_raw(mdata, seed: int, note: dict, models=None, name="") -> dict[str, Test]:
    """Wilcoxon on log-normalized counts."""
    import scanpy as sc

    def test(modality: str, comparison: Comparison) -> Tested:
        adata = mdata[modality].copy()
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
        return _wilcoxon(adata.X, adata.var_names, comparison)

    return {"Wilcoxon, counts": test}


def fit_scvi(mdata, seed: int, note: dict, models=None, name="") -> dict[str, Test]:
    """scVI of the genes."""
    model_class = _scvi(seed).model.SCVI
    adata = mdata["rna"].copy()
    model_class.setup_anndata(adata)
    model = model_class(adata)
    note["epochs"] = _train(model)

    def test(modality: str, comparison: Comparison) -> Tested:
        if modality != "rna":
            raise NotImplementedError
        table = model.differential_expression(
            idx1=comparison.group, idx2=comparison.reference, mode="change", fdr_target=FDR,
            silent=True,
        ).loc[adata.var_names]  # fmt: skip
        return Tested(table[f"is_de_fdr_{FDR}"].to_numpy(), table["proba_de"].to_numpy())

    return {"scVI": test}


def fit_multivi(mdata, seed: int, note: dict, models=None, name="") -> dict[str, Test]:
    """MultiVI of both."""
    import mudata

    model_class = _scvi(seed).model.MULTIVI
    both = mudata.MuData({name: mdata[name].copy() for name in ("rna", "atac")})
    model_class.setup_mudata(both, modalities={"rna_layer": "rna", "atac_layer": "atac"})
    n = {name: both[name].n_vars for name in ("rna", "atac")}
    model = model_class(both, n_genes=n["rna"], n_regions=n["atac"])
    note["epochs"] = _train(model)

    def test(modality: str, comparison: Comparison) -> Tested:
        groups = {"idx1": comparison.group, "idx2": comparison.reference, "silent": True}
        names = both[modality].var_names
        if modality == "rna":
            table = model.differential_expression(**groups, fdr_target=FDR).loc[names]
            return Tested(table[f"is_de_fdr_{FDR}"].to_numpy(), table["proba_de"].to_numpy())
        table = model.differential_accessibility(**groups, fdr_target=FDR).loc[names]
        return Tested(table["is_da_fdr"].to_numpy(), table["prob_da"].to_numpy())

    return {"MultiVI": test}


FITS = {"scmvp": fit_scmvp, "wilcoxon": fit_raw, "scvi": fit_scvi, "multivi": fit_multivi}


def _scvi(seed: int):
    import scvi
    import torch

    torch.set_num_threads(1)
    scvi.settings.seed = seed
    return scvi


def _train(model, **changes) -> int:
    model.train(accelerator="cpu", devices=1, enable_progress_bar=False, **changes)
    return len(model.history["elbo_train"])


def _wilcoxon(values, names, comparison: Comparison) -> Tested:
    import anndata
    import scanpy as sc

    used = comparison.group | comparison.reference
    label = np.where(comparison.group, "group", "reference")[used]
    obs = pd.DataFrame({"label": pd.Categorical(label)}, index=[str(i) for i in range(sum(used))])
    adata = anndata.AnnData(values[used], obs=obs, var=pd.DataFrame(index=names))
    sc.tl.rank_genes_groups(adata, "label", groups=["group"], reference="reference",
                            method="wilcoxon", tie_correct=True)  # fmt: skip
    table = sc.get.rank_genes_groups_df(adata, "group").set_index("names").loc[names]
    return Tested((table["pvals_adj"] <= FDR).to_numpy(), table["scores"].abs().to_numpy())
