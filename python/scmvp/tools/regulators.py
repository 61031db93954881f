"""Transcription factors by the activity of their motifs: ranks, expression, target genes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ..data.annotated import column_of, labels_of
from ..data.checks import check_unique
from ..data.containers import is_anndata, type_name
from ..data.labels import level_codes
from ..data.matrices import blocks_of, matrix_of
from ..data.motifs import table_of
from ..data.names import as_names, note
from ..errors import InputError
from ..words import count_of, name_some
from .along import benjamini_hochberg

if TYPE_CHECKING:
    from anndata import AnnData

_FEWEST_CELLS = 3
_GENES = 256  # whose expression is dense at a time
_ENOUGH = 20  # genes seen in a typical cell, so that a cell without any was not measured


class Expression(NamedTuple):
    """Expression of genes in cells, of which only some genes are dense at a time."""

    genes: np.ndarray
    cells: np.ndarray
    values: Callable[[np.ndarray], Any]  # positions of genes -> (cells, these genes)
    seen: Callable[[], np.ndarray] | None = None  # number of genes in each cell; None: imputed

    def table(self, names: Sequence[str] | np.ndarray) -> pd.DataFrame:
        """Some genes, cells x genes."""
        genes = pd.Index(self.genes)
        if (repeated := genes[genes.duplicated()].intersection(list(names))).size:
            raise InputError(
                f"expression has several columns {name_some(repeated)}; give each gene once"
            )
        at = np.flatnonzero(genes.isin(list(names)))  # in their order, as files need it
        values = _dense(self.values(at)).astype(np.float64)
        return pd.DataFrame(values, index=self.cells, columns=genes[at])[list(names)]

    def measured(self) -> Expression:
        """Without the cells in which no gene was measured; a note has their number.

        Cells without any gene stay where there are too few genes to say that they were not
        measured, as in a table of some factors.
        """
        seen = np.ones(1) if self.seen is None else self.seen()
        known = seen > 0
        if known.all() or not known.any() or np.median(seen[known]) < _ENOUGH:
            return self
        n = int((~known).sum())
        note(
            f"{count_of(n, 'cell', 'has', 'have')} no expression of any gene and "
            f"{'is' if n == 1 else 'are'} left out of correlations"
        )
        at = np.flatnonzero(known)
        return self._replace(
            cells=self.cells[at], values=lambda genes: self.values(genes)[at], seen=None
        )


def rank_motifs(
    activity: AnnData, groupby: str | Sequence | np.ndarray | pd.Series
) -> pd.DataFrame:
    """Motifs that are more active in a group of cells than in the others.

    Args:
        activity: AnnData returned by `motif_activity`.
        groupby: Column of `activity.obs`, or a value for each cell; cells with a missing value are
            left out.

    Returns:
        DataFrame with one row per group and motif, sorted within a group by decreasing difference
        of 'mean' and 'mean_rest': 'group', 'motif', 'gene', 'mean' and 'mean_rest' (mean z-scores
        in the group and in the other cells), 'auroc' (probability that a cell of the group has a
        higher z-score than one of the others), 'p_value' (Mann-Whitney, two-sided) and 'q_value'
        (Benjamini and Hochberg, within the group). For each motif, cells without a z-score are left
        out; NaN if fewer than 3 cells remain in the group or outside it.

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
    z, genes = _dense(activity.X), _genes_of(activity)
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
        table.insert(2, "gene", genes.astype(object))
        table["q_value"] = benjamini_hochberg(table["p_value"].to_numpy())
        # of an array: argsort of a Series gives -1 for NaN, which is the last row
        order = np.argsort((table["mean_rest"] - table["mean"]).to_numpy(), kind="stable")
        tables.append(table.iloc[order])
    return pd.concat(tables, ignore_index=True)


def motif_expression(
    activity: AnnData, expression: AnnData | pd.DataFrame | Expression
) -> pd.DataFrame:
    """Correlation of the activity of motifs with the expression of the factors that bind them.

    Args:
        activity: What `motif_activity` returned.
        expression: AnnData (X) or DataFrame, cells x genes, measured or imputed. Cells are matched
            by name, and genes by `var['gene']` of the motifs, ignoring case. Each gene of a dimer
            ('A::B') has a row. Cells without expression of any gene are left out as not measured,
            and a warning reports this, if the other cells have a median of at least 20 genes.

    Returns:
        'motif', 'gene' and 'correlation' (Spearman's, over these cells with a z-score), in
        decreasing order; NaN if one of the two does not vary. Motifs whose gene is not in
        `expression` are left out.

    Raises:
        InputError: Cells of the activity are missing from `expression`, or so are the genes of
            all motifs.
    """
    expression = expression_of(expression)
    genes, cells = _genes_of(activity), as_names(activity.obs_names)
    pairs = _genes_there(as_names(activity.var_names), genes, expression.genes)
    if not len(pairs):
        raise InputError(
            f"none of the genes of the motifs ({name_some(genes)}) is in the expression "
            f"({name_some(expression.genes)}); give names of the same kind"
        )
    missing = ~pd.Index(cells).isin(expression.cells)
    if missing.any() or not pd.Index(expression.cells).is_unique:
        raise InputError(
            f"expression lacks {count_of(int(missing.sum()), 'cell')} of the activity "
            f"({name_some(cells[missing])}), or names a cell twice; give one row for each cell"
        )
    expression = expression.measured()
    known = np.isin(cells, expression.cells)
    z = pd.DataFrame(_dense(activity.X)[known], columns=as_names(activity.var_names))
    pairs["correlation"] = np.nan
    for names in _blocks(pairs["gene"].unique()):
        values = expression.table(names).loc[cells[known]]
        for row in pairs.index[pairs["gene"].isin(names)]:
            motif, gene = pairs.loc[row, ["motif", "gene"]]
            pairs.loc[row, "correlation"] = _spearman(z[motif].to_numpy(), values[gene].to_numpy())
    return pairs.sort_values("correlation", ascending=False, kind="stable", ignore_index=True)


def regulons(
    links: pd.DataFrame,
    motifs: Any,
    expression: AnnData | pd.DataFrame | Expression | None = None,
    factors: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Target genes of transcription factors, from links of peaks to genes and motifs of peaks.

    Args:
        links: DataFrame with columns 'peak', 'gene' and 'score' (or 'coefficient', as in
            `link_peaks_lasso`), and 'group' if it has links of several groups.
        motifs: The motifs of the peaks: a table as for `motif_activity`.
        expression: As for `motif_expression`; adds the correlation of factor and target.
        factors: Names of the factors to return, ignoring case; all when None.

    Returns:
        DataFrame with one row per link and motif of a factor, in the order of the links: 'tf',
        'motif', 'peak', 'gene', 'score' and, with `expression`, 'correlation' of factor and gene
        (Spearman's, over the cells of `expression`; NaN if it lacks either of them, or if one does
        not vary or has missing values). Each factor of a dimer ('A::B') has a row. If `links` has a
        column 'group', it comes first.

    Raises:
        InputError: `links` lacks a column, none of its peaks is in the table of motifs, or a factor
            has no motif in them.
    """
    if not isinstance(links, pd.DataFrame):
        raise InputError(f"links must be a DataFrame, as of link_peaks(), not {type_name(links)}")
    score = next((name for name in ("score", "coefficient") if name in links), None)
    if score is None or not {"peak", "gene"} <= set(links):
        raise InputError(
            "links needs columns 'peak', 'gene' and 'score' (or 'coefficient'); it has "
            f"{', '.join(map(str, links.columns))}"
        )
    kept = [name for name in ("group", "peak", "gene", score) if name in links]
    links = links[kept].rename(columns={score: "score"}).reset_index(drop=True)
    links["peak"] = as_names(links["peak"])
    peaks = as_names(pd.unique(links["peak"]))
    table = table_of(motifs, peaks, least=0.0)
    at, motif = table.matches.nonzero()
    if not len(at):
        raise InputError(
            f"no linked peak ({name_some(peaks)}) has a motif in the table; give a table of the "
            "peaks that were linked"
        )
    found = pd.DataFrame({"peak": peaks[at], "motif": table.names[motif]})
    found = found.merge(_factors(table.names, table.genes), on="motif")
    if factors is not None:
        found = _of_factors(found, as_names([factors] if isinstance(factors, str) else factors))
    joined = links.reset_index().merge(found, on="peak")
    joined = joined.sort_values(["index", "motif"], kind="stable", ignore_index=True)
    joined = joined[[*kept[: "group" in kept], "tf", "motif", "peak", "gene", "score"]]
    if expression is not None:
        joined["correlation"] = _of_pairs(joined, expression_of(expression).measured())
    return joined


def _genes_of(activity: Any) -> np.ndarray:
    """Names of the factors that bind the motifs."""
    if not hasattr(activity, "var") or "gene" not in activity.var:
        raise InputError(
            "the activity has no var['gene'], the factors of the motifs; give what "
            "motif_activity() returned"
        )
    check_unique(as_names(activity.var_names), "names of motifs", "var_names")
    return as_names(activity.var["gene"])


def _dense(values: Any) -> np.ndarray:
    return values.toarray() if hasattr(values, "toarray") else np.asarray(values)


# ---- names of factors ----------------------------------------------------------------------------


def _factors(motifs: np.ndarray, genes: np.ndarray) -> pd.DataFrame:
    """'motif' and 'tf', a row for each factor of a dimer."""
    rows = [
        (motif, part.strip())
        for motif, gene in zip(motifs, genes, strict=True)
        for part in dict.fromkeys(str(gene).split("::"))
    ]
    return pd.DataFrame(rows, columns=["motif", "tf"])


def _of_factors(found: pd.DataFrame, factors: np.ndarray) -> pd.DataFrame:
    """Rows of these factors."""
    there = found["tf"].str.upper()
    missing = factors[~pd.Index(factors).str.upper().isin(there)]
    if len(missing):
        raise InputError(
            f"factors: {name_some(missing)} {'has' if len(missing) == 1 else 'have'} no motif in a "
            f"linked peak (factors there: {name_some(found['tf'].unique())}); leave out what is "
            "not there"
        )
    return found[there.isin(pd.Index(factors).str.upper())]


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


def expression_of(given: Any) -> Expression:
    """Expression as it is given: AnnData (X) or DataFrame, cells x genes."""
    if isinstance(given, Expression):
        return given
    if isinstance(given, pd.DataFrame):
        return Expression(
            as_names(given.columns), as_names(given.index),
            lambda at: given.iloc[:, at].to_numpy(), lambda: genes_seen(given.to_numpy()),
        )  # fmt: skip
    if is_anndata(given):
        return Expression(
            as_names(given.var_names), as_names(given.obs_names), lambda at: given.X[:, at],
            lambda: genes_seen(given.X),
        )  # fmt: skip
    raise InputError(
        f"expression must be an AnnData or a DataFrame (cells x genes), not {type_name(given)}"
    )


def genes_seen(values: Any) -> np.ndarray:
    """Number of genes that are not 0 in each cell; values: cells x genes, in memory or on disk."""
    matrix = values if isinstance(values, np.ndarray) else matrix_of(values)
    return np.concatenate([np.asarray((part != 0).sum(1)).ravel() for part in blocks_of(matrix)])


def _blocks(names: np.ndarray) -> list[np.ndarray]:
    return [names[first : first + _GENES] for first in range(0, len(names), _GENES)]


def _of_pairs(joined: pd.DataFrame, expression: Expression) -> np.ndarray:
    """Correlation of factor and target of each row; NaN where either is not there."""
    tf = joined["tf"].unique()
    spelled = _genes_there(tf, tf, expression.genes).drop_duplicates("motif")
    factors = spelled["gene"].unique()
    row = pd.Index(factors).get_indexer(joined["tf"].map(spelled.set_index("motif")["gene"]))
    targets = joined["gene"].unique()
    targets = targets[pd.Index(targets).isin(expression.genes)]
    found = np.full(len(joined), np.nan)
    if not len(factors) or not len(targets):
        return found
    of_factors = np.hstack([_ranked(expression.table(names)) for names in _blocks(factors)])
    for names in _blocks(targets):
        column = pd.Index(names).get_indexer(joined["gene"])
        use = (row >= 0) & (column >= 0)
        products = of_factors.T @ _ranked(expression.table(names))
        found[use] = products[row[use], column[use]]
    return found


def _ranked(table: pd.DataFrame) -> np.ndarray:
    """Ranks of each gene, of mean 0 and norm 1; NaN where it does not vary."""
    ranks = table.rank().to_numpy()
    ranks = ranks - ranks.mean(0)
    norm = np.sqrt((ranks**2).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return ranks / np.where((norm > 0) & (len(ranks) >= _FEWEST_CELLS), norm, np.nan)


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    from scipy.stats import rankdata

    known = np.isfinite(one) & np.isfinite(other)
    ranks = rankdata(one[known]), rankdata(other[known])
    if known.sum() < _FEWEST_CELLS or np.ptp(ranks[0]) == 0 or np.ptp(ranks[1]) == 0:
        return np.nan
    return float(np.corrcoef(*ranks)[0, 1])
