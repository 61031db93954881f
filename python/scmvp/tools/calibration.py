"""Links weighed by links that are known: a logistic regression on the factors of their score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..data.containers import type_name
from ..data.features import range_meaning
from ..data.labels import batch_name, level_names
from ..data.names import as_names, note
from ..data.peaks import peaks_of
from ..errors import InputError
from ..words import count_of, name_some
from .activity import overlaps

_FOLDS = 5
_RIDGE = 1.0  # precision of the prior of a weight, of factors in units of their standard deviation
_FEWEST = 10  # pairs with and without a link
_LEAST = 1e-3  # accessibility, in units of the average peak
_KINDS = ("promoter", "promoter of another gene")
_TERMS = (
    "log contact", "log accessibility", "log support", "log pairs of the gene", *_KINDS,
)  # fmt: skip
_NEEDED = ("gene", "peak", "seqnames", "contact", "accessibility", "support", "kind")


def calibrate_links(
    links: pd.DataFrame,
    known: pd.DataFrame | None = None,
    weights: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Probability of links by a logistic regression on their factors, learned from known links.

    If some links are known, for instance from perturbed enhancers or from promoter contacts, they
    show how much weight each factor of `SCMVP.link_peaks` should have and how often such pairs are
    linked. The log odds of a link are a weighted sum of the logarithms of 'contact',
    'accessibility', (1 + 'support') / 2 and the number of pairs of the gene, and of whether the
    peak is at the start of the gene or of another one. The prior of the weights is N(0, 1) for
    factors in units of their standard deviation.

    Weights reflect the list from which they were learned: what it counts as a link, and which pairs
    it can detect. Weights learned from one list can be worse for another list than no weights;
    decision D28 of the documentation has examples.

    Args:
        links: All pairs, as `SCMVP.link_peaks` returns them.
        known: One row for each known pair, with the columns 'gene' and 'peak', or 'gene', 'chrom',
            'start' and 'end' (0-based, half-open) of a range, which stands for every peak that
            overlaps it. With a column 'linked' (bool, or 0 and 1), only these pairs are used for
            learning, and a pair with both values is linked. Without this column, the rows are the
            links, and all other pairs of their genes are not linked. Known pairs that are not in
            `links` are left out, and a warning reports their number. Peak names match in any
            spelling. If `links` has a column 'group', `known` needs one, too.
        weights: `attrs['weights']` of a table that was calibrated before, instead of `known`.

    Returns:
        A copy of `links` with the column 'calibrated', a probability. Probabilities of known pairs
        are cross-validated: their weights come from the genes on other chromosomes.
        `attrs['weights']` is a dict of plain values that can be stored as JSON: 'intercept',
        'weights' by term and, with `known`, the numbers of 'pairs' and of 'linked' pairs, and
        'average_precision', a dict with the average precision of the cross-validated probabilities,
        of the contact and, if `links` has one, of the score.

    Raises:
        InputError: A column is missing or holds no usable values; fewer than 10 pairs are linked,
            or not linked; all known pairs are on one chromosome; or both or neither of `known` and
            `weights` are given.
    """
    if (known is None) == (weights is None):
        raise InputError("give known links or weights, and not both")
    result = _check_table(links, _NEEDED, "links").copy()
    links = result.reset_index(drop=True)
    terms = _terms(links)
    if weights is not None:
        given = _checked_weights(weights)
        result["calibrated"] = _probability(terms, given)
        result.attrs["weights"] = given
        return result
    tested, linked = _known_pairs(links, known)
    fold, of_tested = _folds(as_names(links["seqnames"])[tested]), terms[tested]
    found = _fitted(of_tested, linked)
    probability = _probability(terms, found)
    held_out = np.empty(len(linked))
    for one in range(fold.max() + 1):
        here = fold == one
        of_others = _fitted(of_tested[~here], linked[~here])
        held_out[here] = _probability(of_tested[here], of_others)
    probability[tested] = held_out
    result["calibrated"] = probability
    rankings = {"calibrated": held_out, "contact": of_tested[:, 0]}
    if "score" in links:
        rankings["score"] = _numbers(links, "score")[tested]
    found |= {
        "pairs": len(linked),
        "linked": int(linked.sum()),
        "average_precision": {
            name: _average_precision(linked, values) for name, values in rankings.items()
        },
    }
    result.attrs["weights"] = found
    return result


def _check_table(table: Any, columns: tuple[str, ...], name: str) -> pd.DataFrame:
    """A data frame that has these columns, once each and with names in all rows of the text ones.

    Raises:
        InputError: It is none.
    """
    if not isinstance(table, pd.DataFrame):
        raise InputError(f"{name} must be a data frame, not {type_name(table)}")
    has = list(map(str, table.columns))
    if lacking := [column for column in columns if column not in has]:
        raise InputError(
            f"{name} lacks {name_some(lacking)} (it has {', '.join(has)}); give the whole table of "
            "the scored links"
            if name == "links"
            else f"{name} needs the columns 'gene' and 'peak', or 'gene', 'chrom', 'start' and "
            f"'end'; it has {', '.join(has)}"
        )
    if not len(table):
        raise InputError(f"{name} has no rows; give at least {_FEWEST} pairs")
    if twice := [column for column in (*columns, "group") if has.count(column) > 1]:
        raise InputError(f"{name} has several columns '{twice[0]}'; give one of them")
    for column in ("group", "gene", "peak", "seqnames", "kind", "chrom"):
        if column in has and table[column].isna().any():
            raise InputError(
                f"column '{column}' of {name} has missing values "
                f"({count_of(int(table[column].isna().sum()), 'row')}); leave these rows out"
            )
    return table


def _terms(links: pd.DataFrame) -> np.ndarray:
    """What the log odds are a weighted sum of, (n, terms)."""
    numbers = {
        name: _numbers(links, name, least=0) for name in ("contact", "accessibility", "support")
    }
    pairs = links.groupby([*_key(links)[:-1]], observed=True, sort=False)["peak"].transform("size")
    kind = as_names(links["kind"])
    columns = [
        np.log(np.maximum(numbers["contact"], np.finfo(float).tiny)),
        np.log(np.maximum(numbers["accessibility"], _LEAST)),
        np.log((1 + numbers["support"]) / 2),
        np.log(pairs.to_numpy(np.float64)),
        *(kind == name for name in _KINDS),
    ]
    return np.column_stack(columns).astype(np.float64)


def _numbers(links: pd.DataFrame, name: str, least: float = -np.inf) -> np.ndarray:
    values = pd.to_numeric(links[name], errors="coerce").to_numpy(np.float64)
    if not (np.isfinite(values) & (values >= least)).all():
        kind = "numbers" if least < 0 else f"numbers of at least {least:g}"
        raise InputError(
            f"column '{name}' of links has values that are no {kind}; give the whole table of the "
            "scored links"
        )
    return values


def _key(table: pd.DataFrame) -> list[str]:
    """Columns that name a pair, that of the peak last."""
    return ["group", "gene", "peak"] if "group" in table else ["gene", "peak"]


def _known_pairs(links: pd.DataFrame, known: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows of links that are learned from, and whether they are linked."""
    by_name = isinstance(known, pd.DataFrame) and "peak" in known
    _check_table(known, ("gene", "peak") if by_name else ("gene", "chrom", "start", "end"), "known")
    key = _key(links)
    if "group" in links and "group" not in known:
        raise InputError("links are of groups of cells, but known has no column 'group'; add it")
    numbered = _names(links, key).assign(row=np.arange(len(links)))
    rows = _names(known, key if by_name else key[:-1])
    rows = rows.assign(linked=_linked(known), pair=np.arange(len(rows)))
    of_genes = rows[key[:-1]].drop_duplicates()
    if not by_name:
        rows = _with_peaks(rows, known, pd.unique(numbered["peak"]))
    found = numbered.merge(rows, on=key)
    if not len(found):
        names = "groups, genes and peaks" if "group" in links else "genes and peaks"
        raise InputError(
            f"none of the known pairs ({_first(of_genes)}) is among the links "
            f"({_first(numbered)}); give {names} by the same names, and of the same genome"
        )
    if absent := len(known) - found["pair"].nunique():
        note(
            f"{absent:,} of {count_of(len(known), 'known pair')} "
            f"{'is' if absent == 1 else 'are'} not among the links and left out"
        )
    linked = found.groupby("row")["linked"].max()
    if "linked" not in known:  # what else the genes have is not linked
        genes = numbered.merge(of_genes, on=key[:-1])["row"]
        linked = linked.reindex(np.sort(genes), fill_value=False)
    tested, values = linked.index.to_numpy(), linked.to_numpy(bool)
    if min(n := (int(values.sum()), int((~values).sum()))) < _FEWEST:
        raise InputError(
            f"{count_of(n[0], 'known pair')} {'is' if n[0] == 1 else 'are'} linked and {n[1]:,} "
            f"{'is' if n[1] == 1 else 'are'} not; give at least {_FEWEST} of each"
        )
    return tested, values


def _names(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Columns as text, peaks in one spelling, numbers and logical values as the project does."""
    names = {name: level_names(table[name], batch_name) for name in columns}
    if "peak" in names:
        names["peak"] = np.array([range_meaning(str(peak)) for peak in names["peak"]], dtype=object)
    return pd.DataFrame(names).astype(object)


def _first(names: pd.DataFrame) -> str:
    """The first rows, for a message."""
    columns = [name for name in ("group", "gene") if name in names]
    return "; ".join(f"{name}s {name_some(pd.unique(names[name]))}" for name in columns)


def _linked(known: pd.DataFrame) -> np.ndarray:
    if "linked" not in known:
        return np.ones(len(known), bool)
    values = pd.to_numeric(known["linked"], errors="coerce").to_numpy(np.float64)
    if not np.isin(values, (0, 1)).all():
        raise InputError(
            "column 'linked' of known has other values than 0 and 1; give one of these"
        )
    return values == 1


def _with_peaks(rows: pd.DataFrame, known: pd.DataFrame, names: np.ndarray) -> pd.DataFrame:
    """A row for each peak that a known range overlaps."""
    places = {}
    for side in ("start", "end"):
        values = pd.to_numeric(known[side], errors="coerce").to_numpy(np.float64)
        if not np.isfinite(values).all():
            raise InputError(
                f"column '{side}' of known has values that are no numbers; give base pairs"
            )
        places[side] = values
    peaks, at = peaks_of(names, "links")
    row, peak = overlaps(peaks, known["chrom"], places["start"], places["end"])
    return rows.iloc[row].assign(peak=names[at[peak]])


def _folds(chromosomes: np.ndarray) -> np.ndarray:
    """Fold of each pair: chromosomes stay together, folds are of similar size."""
    names, counts = np.unique(chromosomes, return_counts=True)
    if len(names) < 2:
        raise InputError(
            f"all known pairs are on {names[0]}; give pairs of at least two chromosomes, so that "
            "probabilities can be cross-validated"
        )
    size = np.zeros(min(_FOLDS, len(names)), np.int64)
    of = {}
    for i in np.argsort(-counts, kind="stable"):
        of[names[i]] = smallest = int(size.argmin())
        size[smallest] += counts[i]
    return np.array([of[name] for name in chromosomes])


def _fitted(terms: np.ndarray, linked: np.ndarray) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    if linked.all() or not linked.any():
        raise InputError(
            "without the chromosomes of one fold, the other known pairs are all "
            f"{'linked' if linked.all() else 'not linked'}; give pairs of both kinds on more "
            "chromosomes"
        )
    mean, sd = terms.mean(0), terms.std(0)
    sd[sd <= 1e-12 * np.abs(mean)] = 1.0  # a constant, up to rounding; its weight stays 0
    model = LogisticRegression(C=1 / _RIDGE, tol=1e-8, max_iter=10_000)
    model.fit((terms - mean) / sd, linked)
    weights = model.coef_[0] / sd
    return {
        "intercept": float(model.intercept_[0] - weights @ mean),
        "weights": dict(zip(_TERMS, map(float, weights), strict=True)),
    }


def _probability(terms: np.ndarray, found: Mapping[str, Any]) -> np.ndarray:
    from scipy.special import expit

    weights = np.array([found["weights"][name] for name in _TERMS])
    return expit(terms @ weights + found["intercept"])


def _checked_weights(given: Any) -> dict[str, Any]:
    """The weights of an earlier table."""
    if isinstance(given, Mapping) and isinstance(given.get("weights"), Mapping):
        try:
            weights = {name: float(given["weights"][name]) for name in _TERMS}
            intercept = float(given["intercept"])
        except (KeyError, TypeError, ValueError):
            pass
        else:
            if np.isfinite([intercept, *weights.values()]).all():
                return dict(given) | {"intercept": intercept, "weights": weights}
    raise InputError(
        f"weights must have a number for 'intercept' and, in 'weights', for each of "
        f"{', '.join(map(repr, _TERMS))}; give those of a table that was calibrated before"
    )


def _average_precision(linked: np.ndarray, values: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(linked, values))
