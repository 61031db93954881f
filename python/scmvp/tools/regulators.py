"""Transcription factors by the activity of their motifs: ranks, expression, target genes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..data.annotated import column_of, labels_of
from ..data.containers import as_names, type_name
from ..data.labels import level_codes
from ..data.motifs import table_of
from ..errors import InputError
from ..words import count_of, name_some
from .along import benjamini_hochberg

if TYPE_CHECKING:
    from anndata import AnnData

_FEWEST_CELLS = 3


def rank_motifs(
    activity: AnnData, groupby: str | Sequence | np.ndarray | pd.Series
) -> pd.DataFrame:
    """Motifs that are more active in a group of cells than in the others.

    Args:
        activity: What `motif_activity` returned.
        groupby: Column of its obs, or a value for each cell; cells with a missing value are left
            out.

    Returns:
        One row per group and motif, within a group in decreasing order of the difference of 'mean'
        and 'mean_rest' (z-scores): 'group', 'motif', 'gene', both means, 'auroc' (probability that
        a cell of the group has a higher z-score than one of the others), 'p_value' (Mann-Whitney,
        two-sided) and 'q_value' (Benjamini and Hochberg, within the group). For each motif,
        cells without a z-score are left out; NaN if fewer than 3 cells remain in the group or
        outside of it.

        z-scores and their means compare a motif with random sets of peaks, whereas 'auroc' and
        p-values compare cells: for measured counts they show whether a difference exceeds the noise
        of cells. Imputed values have no such noise, so every motif differs between groups; use only
        the means.

    Raises:
        InputError: No such column, or fewer than two groups.
    """
    from scipy.stats import mannwhitneyu

    cells = as_names(activity.obs_names)
    values = column_of(activity, groupby, cells) if isinstance(groupby, str) else groupby
    code, levels = level_codes(values, labels_of(activity, values, cells, "groupby"))
    if len(levels) < 2:
        raise InputError(
            f"groupby has {count_of(len(levels), 'group')}; give groups of cells to compare"
        )
    z = np.asarray(activity.X)
    known = np.isfinite(z)
    tables = []
    for level, name in enumerate(levels):
        here, rest = code == level, (code >= 0) & (code != level)
        rows = []
        for j in range(z.shape[1]):
            one, other = z[here & known[:, j], j], z[rest & known[:, j], j]
            if min(len(one), len(other)) < _FEWEST_CELLS:
                rows.append((np.nan, np.nan, np.nan, np.nan))
                continue
            test = mannwhitneyu(one, other)
            area = test.statistic / (len(one) * len(other))
            rows.append((one.mean(), other.mean(), area, test.pvalue))
        table = pd.DataFrame(rows, columns=["mean", "mean_rest", "auroc", "p_value"])
        table.insert(0, "group", name)
        table.insert(1, "motif", as_names(activity.var_names).astype(object))
        table.insert(2, "gene", as_names(activity.var["gene"]).astype(object))
        table["q_value"] = benjamini_hochberg(table["p_value"].to_numpy())
        order = np.argsort(table["mean_rest"] - table["mean"], kind="stable")  # NaN last
        tables.append(table.iloc[order])
    return pd.concat(tables, ignore_index=True)


def motif_expression(activity: AnnData, expression: AnnData | pd.DataFrame) -> pd.DataFrame:
    """Correlation of the activity of motifs with the expression of the factors that bind them.

    Args:
        activity: What `motif_activity` returned.
        expression: AnnData (X) or DataFrame, cells x genes, measured or imputed; cells are matched
            by name, genes by `var['gene']` of the motifs, ignoring case. Each gene of a dimer
            ('A::B') has a row.

    Returns:
        'motif', 'gene' and 'correlation' (Spearman's, over the cells with a z-score), in
        decreasing order; NaN if one of the two does not vary. Motifs whose gene is not in
        `expression` are left out.

    Raises:
        InputError: Cells of the activity are missing from `expression`, or so are the genes of
            all motifs.
    """
    pairs = _genes_there(
        as_names(activity.var_names), as_names(activity.var["gene"]), _genes_in(expression)
    )
    if not len(pairs):
        raise InputError(
            f"none of the genes of the motifs ({name_some(as_names(activity.var['gene']))}) is in "
            f"the expression ({name_some(_genes_in(expression))}); give names of the same kind"
        )
    values = _expression_of(expression, pairs["gene"].unique(), as_names(activity.obs_names))
    z = pd.DataFrame(np.asarray(activity.X), columns=as_names(activity.var_names))
    pairs["correlation"] = [
        _spearman(z[motif].to_numpy(), values[gene].to_numpy())
        for motif, gene in zip(pairs["motif"], pairs["gene"], strict=True)
    ]
    return pairs.sort_values("correlation", ascending=False, kind="stable", ignore_index=True)


def regulons(
    links: pd.DataFrame, motifs: Any, expression: AnnData | pd.DataFrame | None = None
) -> pd.DataFrame:
    """Target genes of transcription factors, from links of peaks to genes and motifs of peaks.

    Args:
        links: 'peak', 'gene' and 'score' (or 'coefficient', as in `link_peaks_lasso`).
        motifs: The motifs of the peaks: a table as for `motif_activity`.
        expression: As for `motif_expression`; adds the correlation of factor and target.

    Returns:
        'tf', 'motif', 'peak', 'gene', 'score' and, with `expression`, 'correlation' (Spearman's,
        over all cells of `expression`; NaN if it lacks either gene). One row per link and motif
        of a factor, in the order of the links. Each factor of a dimer ('A::B') has a row.

    Raises:
        InputError: `links` lacks a column, or none of its peaks is in the table of motifs.
    """
    score = next((name for name in ("score", "coefficient") if name in links), None)
    if score is None or not {"peak", "gene"} <= set(links):
        raise InputError(
            "links needs columns 'peak', 'gene' and 'score' (or 'coefficient'); it has "
            f"{', '.join(map(str, links.columns))}"
        )
    links = links.rename(columns={score: "score"})[["peak", "gene", "score"]]
    peaks = as_names(pd.unique(links["peak"]))
    table = table_of(motifs, peaks, least=0.0)
    at, motif = table.matches.nonzero()
    if not len(at):
        raise InputError(
            f"no linked peak ({name_some(peaks)}) has a motif in the table; give a table of the "
            "peaks that were linked"
        )
    factors = _factors(table.names, table.genes)
    found = pd.DataFrame({"peak": peaks[at], "motif": table.names[motif]})
    joined = links.reset_index().merge(found, on="peak").merge(factors, on="motif")
    joined = joined.sort_values(["index", "motif"], kind="stable", ignore_index=True)
    joined = joined[["tf", "motif", "peak", "gene", "score"]]
    if expression is not None:
        joined["correlation"] = _of_pairs(joined, expression)
    return joined


# ---- names of factors ----------------------------------------------------------------------------


def _factors(motifs: np.ndarray, genes: np.ndarray) -> pd.DataFrame:
    """'motif' and 'tf', a row for each factor of a dimer."""
    rows = [
        (motif, part.strip())
        for motif, gene in zip(motifs, genes, strict=True)
        for part in dict.fromkeys(str(gene).split("::"))
    ]
    return pd.DataFrame(rows, columns=["motif", "tf"])


def _genes_there(motifs: np.ndarray, genes: np.ndarray, there: np.ndarray) -> pd.DataFrame:
    """'motif' and 'gene', as it is written in `there`: exactly, or in another case."""
    factors = _factors(motifs, genes)
    by_case = pd.Series(there, index=pd.Index(there).str.upper())
    by_case = by_case[~by_case.index.duplicated(keep=False)]
    known = set(there)
    spelled = [
        name if name in known else by_case.get(name.upper()) for name in factors["tf"].astype(str)
    ]
    factors["gene"] = pd.Series(spelled, dtype=object)
    return factors.loc[factors["gene"].notna(), ["motif", "gene"]].reset_index(drop=True)


# ---- expression ----------------------------------------------------------------------------------


def _genes_in(expression: Any) -> np.ndarray:
    if isinstance(expression, pd.DataFrame):
        return as_names(expression.columns)
    if hasattr(expression, "obs_names") and hasattr(expression, "X"):
        return as_names(expression.var_names)
    raise InputError(
        f"expression must be an AnnData or a DataFrame (cells x genes), not {type_name(expression)}"
    )


def _expression_of(expression: Any, genes: Any, cells: np.ndarray | None) -> pd.DataFrame:
    """Some genes, dense, in the order of `cells`; all cells when None."""
    is_table = isinstance(expression, pd.DataFrame)
    at = pd.Index(_genes_in(expression)).get_indexer(list(genes))
    values = expression.iloc[:, at].to_numpy() if is_table else expression.X[:, at]
    values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    have = as_names(expression.index if is_table else expression.obs_names)
    table = pd.DataFrame(values.astype(np.float64), index=have, columns=list(genes))
    if cells is None:
        return table
    missing = ~pd.Index(cells).isin(have)
    if missing.any() or not table.index.is_unique:
        raise InputError(
            f"expression lacks {count_of(int(missing.sum()), 'cell')} of the activity "
            f"({name_some(cells[missing])}), or names a cell twice; give one row for each cell"
        )
    return table.loc[cells]


def _of_pairs(joined: pd.DataFrame, expression: Any) -> np.ndarray:
    """Correlation of factor and target of each row."""
    there = _genes_in(expression)
    tf = joined["tf"].to_numpy()
    spelled = _genes_there(tf, tf, there).drop_duplicates("motif").set_index("motif")["gene"]
    pairs = pd.DataFrame({"tf": joined["tf"].map(spelled), "gene": joined["gene"]})
    known = pairs["tf"].notna() & pairs["gene"].isin(there)
    of_pair = pairs[known].drop_duplicates()
    names = pd.unique(of_pair.to_numpy().ravel())
    values = _expression_of(expression, names, None)
    found = {
        (tf, gene): _spearman(values[tf].to_numpy(), values[gene].to_numpy())
        for tf, gene in of_pair.itertuples(index=False, name=None)
    }
    rows = pairs.itertuples(index=False, name=None)
    return np.array([found.get(pair, np.nan) for pair in rows])


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    from scipy.stats import rankdata

    known = np.isfinite(one) & np.isfinite(other)
    ranks = rankdata(one[known]), rankdata(other[known])
    if known.sum() < _FEWEST_CELLS or np.ptp(ranks[0]) == 0 or np.ptp(ranks[1]) == 0:
        return np.nan
    return float(np.corrcoef(*ranks)[0, 1])
