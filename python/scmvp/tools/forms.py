"""The table of a differential test in the form of scanpy: its columns, its order, and `uns`.

scanpy itself is not needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..data.containers import refuse_view_on_disk
from ..data.labels import level_names
from ..errors import InputError
from ..words import name_some

FORMS = ("table", "scanpy")
_LEAST = 1e-16  # of a probability: next to 1 there is no smaller step
_PARTS = ("names", "scores", "logfoldchanges", "pvals", "pvals_adj")
_DETECTED = {"pts": "pct_nz_group", "pts_rest": "pct_nz_reference"}
_NEEDED = {"feature", "group", "lfc", "prob_de", "q_value", "detected_group", "detected_reference"}
_COLUMNS = ("group", *_PARTS, *_DETECTED.values())


def refuse_unknown(form: Any) -> None:
    """Unless it is one of `FORMS`."""
    if form not in FORMS:
        raise InputError(f"form is {form!r}; give 'table' or 'scanpy'")


def in_form(table: pd.DataFrame, form: str) -> pd.DataFrame:
    """The table of `differential.compare` as it is, or with the columns of scanpy."""
    return table if form == "table" else scanpy_form(table)


def scanpy_form(table: pd.DataFrame) -> pd.DataFrame:
    """Columns and order of `scanpy.get.rank_genes_groups_df(adata, None)`.

    There are no p-values. `pvals` is 1 - `prob_de`, the probability that the feature does not
    differ, and `pvals_adj` is the `q_value`, the mean of `pvals` over this and all more probable
    features, which is at most `pvals`. `scores` is -log10 of `pvals`, negative for features that
    are lower in the group. Rows are sorted by it: the most probable of the higher features come
    first, the most probable of the lower features last.
    """
    p = np.maximum(1 - table["prob_de"], 0)
    group = table["group"].astype(str)
    compared = [name for name, _ in table.attrs.get("comparisons", ())]
    found = pd.DataFrame(
        {
            "group": pd.Categorical(group, categories=list(dict.fromkeys([*compared, *group]))),
            "names": table["feature"],
            "scores": -np.sign(table["lfc"]) * np.log10(np.maximum(p, _LEAST)),
            "logfoldchanges": table["lfc"],
            "pvals": p,
            "pvals_adj": table["q_value"],
            "pct_nz_group": table["detected_group"],
            "pct_nz_reference": table["detected_reference"],
        }
    )
    # within each sign, the table is sorted by decreasing confidence
    place = np.where(table["lfc"] > 0, 1, -1) * np.arange(len(table))
    found = found.iloc[np.lexsort((place, -found["scores"], found["group"].cat.codes))]
    found.attrs = table.attrs
    return found.reset_index(drop=True)


def add_rank_genes_groups(
    adata: Any, table: pd.DataFrame, groupby: str, key: str = "rank_genes_groups"
) -> None:
    """Store a differential test for `scanpy.pl.rank_genes_groups_dotplot` and similar plots.

    Args:
        adata: AnnData of the modality that was tested; `adata.uns[key]` is written or replaced.
        table: Result of `SCMVP.differential_expression` or `differential_accessibility`, in
            either form, with all features (without `only_pos`), because scanpy needs equally many
            rows for each group.
        groupby: Column of `adata.obs` with the groups of the table.
        key: Name in `adata.uns`.

    Raises:
        InputError: The table is of another kind, or its features or groups are not those of
            `adata`, or the column holds numbers.
    """
    refuse_view_on_disk(adata, "adata")
    if _NEEDED <= set(table):
        table = scanpy_form(table)
    if not set(_COLUMNS) <= set(table):
        raise InputError(
            "table is not a result of differential_expression() or differential_accessibility(); "
            "give one"
        )
    groups = _refuse_others(adata, table, groupby)
    parts = {group: part for group, part in table.groupby("group", observed=True, sort=False)}
    detected = {
        name: pd.DataFrame({group: parts[group].set_index("names")[column] for group in groups})
        for name, column in _DETECTED.items()
    }
    reference = {str(other) for _, other in table.attrs.get("comparisons", [("", "rest")])}
    adata.uns[key] = {
        "params": {
            "groupby": groupby, "reference": "+".join(sorted(reference)), "method": "scmvp",
            "use_raw": False, "layer": None, "corr_method": "q_value",
        },
        **{
            name: pd.DataFrame({group: parts[group][name].to_numpy() for group in groups})
            .to_records(index=False)
            for name in _PARTS
        },
        **detected,
    }  # fmt: skip


def _refuse_others(adata: Any, table: pd.DataFrame, groupby: str) -> list[str]:
    """Groups of the table, if it and `adata` belong together."""
    if unknown := sorted(set(table["names"]) - set(adata.var_names)):
        raise InputError(
            f"table has features that adata lacks: {name_some(unknown)}; give the AnnData of the "
            "modality that was tested"
        )
    if groupby not in adata.obs:
        raise InputError(
            f"adata.obs has no column '{groupby}'; give the column with the groups of the table"
        )
    if pd.api.types.is_numeric_dtype(adata.obs[groupby]):
        raise InputError(
            f"column '{groupby}' of adata.obs holds numbers, which plots of scanpy would bin; make "
            f"it categorical: adata.obs['{groupby}'] = adata.obs['{groupby}'].astype('category')"
        )
    groups = [str(group) for group in table["group"].unique()]
    known = set(level_names(adata.obs[groupby]))
    if unknown := [group for group in groups if group not in known]:
        raise InputError(
            f"column '{groupby}' of adata.obs has no group {name_some(unknown)}; give the column "
            "with the groups of the table"
        )
    if table.duplicated(["group", "names"]).any():
        raise InputError(
            "table has several rows for a feature and group; give the result of one call"
        )
    if table["group"].value_counts()[groups].nunique() > 1:
        raise InputError(
            "table has more features for some groups than for others, which scanpy cannot store; "
            "make it with only_pos=False"
        )
    return groups
