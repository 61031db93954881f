"""Which peaks have which motif: tables of any kind, or motif files and the genome."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..arguments import number
from ..errors import InputError
from ..files import as_path
from ..words import count_of, name_some
from .containers import is_anndata, type_name
from .features import match_features
from .names import as_names, note
from .peaks import peaks_of
from .sequences import gc_content, matches_in, read_motifs, sequences_of, tell_unknown_gc

if TYPE_CHECKING:
    from anndata import AnnData

# Smallest proportion of the peaks that a table of motifs must know.
_FEWEST_KNOWN = 0.5


class Motifs(NamedTuple):
    """Which peaks have each motif."""

    matches: sp.csc_matrix  # (peaks, motifs) float64, zeros and ones
    names: np.ndarray
    genes: np.ndarray  # of the factors that bind them, as 'A' or 'A::B'
    gc: np.ndarray | None  # (peaks,)


def motifs_of(
    given: Any, peaks: np.ndarray, *, gc: Any, fasta: str | os.PathLike | None, p_value: float,
    tables: Mapping[str, Any] | None = None, var: pd.DataFrame | None = None,
) -> Motifs:  # fmt: skip
    """The motifs of peaks.

    Args:
        given: As for `scmvp.motif_activity`.
        peaks: Names.
        gc: GC content of peaks: a Series, a column of `var`, or None.
        fasta: The genome.
        p_value: Of a match in it.
        tables: Those that can be given by name (`varm`).
        var: Of the peaks.

    Raises:
        InputError: It cannot be read, or is of other peaks.
    """
    if not 0 < number("p_value", p_value) < 1:
        raise InputError(f"p_value is {p_value!r}; give a number between 0 and 1")
    sequences = None
    if fasta is not None:
        intervals, at = peaks_of(peaks, "the data")
        if len(at) < len(peaks):
            raise InputError("with fasta, all peaks must be named by a range like 'chr1:100-200'")
        sequences = sequences_of(fasta, intervals)
    if isinstance(given, str | os.PathLike) and not (tables and given in tables):
        found = _of_file(as_path(given), sequences, p_value, list(tables or {}))
    else:
        table = tables[given] if tables and isinstance(given, str) else given
        found = table_of(table, peaks)
    if gc is not None:
        content = _gc_of(gc, peaks, var)
    elif sequences is not None:
        content = gc_content(sequences)
    else:
        note(
            "without the GC content of the peaks, background peaks are matched by accessibility "
            "only; give gc or fasta to match both"
        )
        return found
    return found._replace(gc=tell_unknown_gc(content))


def genes_of(names: np.ndarray) -> np.ndarray:
    """Genes of motifs by their names: 'MA0080.5_SPI1' and 'SPI1(var.2)' are of SPI1."""
    genes = (re.sub(r"^(MA|UN)\d+\.\d+[ _.-]", "", name) for name in names)
    return np.array([re.sub(r"\s*\(var\.\d+\)$", "", name) for name in genes], dtype=object)


def with_genes_in_names(motifs: Motifs) -> Motifs:
    """Motifs of a file under names that say their genes, as 'MA0080.5-SPI1'."""
    names = [
        name if name == gene else f"{name}-{gene}"
        for name, gene in zip(motifs.names, motifs.genes, strict=True)
    ]
    return motifs._replace(names=np.array(names, dtype=object))


def in_columns(values: Any, rows: Any, motifs: Any, genes: Any = None) -> AnnData:
    """AnnData with motifs in columns, and their genes; by their names when None."""
    from anndata import AnnData

    names = as_names(motifs)
    genes = genes_of(names) if genes is None else list(genes)
    var = pd.DataFrame({"gene": genes}, index=names)
    return AnnData(values, obs=pd.DataFrame(index=as_names(rows)), var=var)


def _of_file(path: Path, sequences: list[str] | None, p_value: float, known: list[str]) -> Motifs:
    if not path.is_file() and known:
        raise InputError(
            f"motifs is '{path}', which is neither a file nor a table in varm (there: "
            f"{name_some(known)}); give the name of one of them"
        )
    motifs = read_motifs(path)
    if sequences is None:
        raise InputError(
            "motifs of a file are searched in the sequences of the peaks; give the FASTA file of "
            "the genome as fasta"
        )
    return Motifs(
        matches_in(sequences, motifs, p_value),
        np.array([motif.name for motif in motifs], dtype=object),
        np.array([motif.gene for motif in motifs], dtype=object),
        None,
    )


def table_of(given: Any, peaks: np.ndarray, least: float = _FEWEST_KNOWN) -> Motifs:
    """Rows of a table in the order of the peaks; empty ones for those it does not have.

    Args:
        given: The table.
        peaks: Names.
        least: Smallest proportion of the peaks that it must have.
    """
    values, have, names, genes = _parts_of(given)
    if values.shape != (len(have), len(names)):
        raise InputError(
            f"the table of motifs is {values.shape[0]} x {values.shape[1]}, but has "
            f"{count_of(len(have), 'peak name')} and {count_of(len(names), 'motif name')}; give "
            "peaks x motifs"
        )
    _refuse_twice("the table of motifs", "peak", have)
    _refuse_twice("the table of motifs", "motif", names)
    if not len(names):
        raise InputError("the table of motifs has no column; give at least one motif")
    at = match_features(peaks, have, "atac")
    missing = at < 0
    if missing.mean() > 1 - least:
        raise InputError(
            f"the table of motifs has only {int((~missing).sum()):,} of the "
            f"{count_of(len(peaks), 'peak')} (the table has {name_some(have)}; the data "
            f"{name_some(peaks[missing])}); give a table of these peaks, with peaks in rows"
        )
    if missing.any() and least > 0:
        note(
            f"{count_of(int(missing.sum()), 'peak', 'is', 'are')} not in the table of motifs and "
            f"{'counts' if missing.sum() == 1 else 'count'} as having no motif "
            f"({name_some(peaks[missing])})"
        )
    rows = sp.csr_matrix(values)
    rows = sp.vstack([rows, sp.csr_matrix((1, rows.shape[1]))], format="csr")[at]
    return Motifs(sp.csc_matrix(rows), names, genes, None)


def _refuse_twice(where: str, what: str, names: np.ndarray) -> None:
    twice = pd.unique(names[pd.Index(names).duplicated()])
    if len(twice):
        raise InputError(
            f"{where} has {count_of(len(twice), what)} twice ({name_some(twice)}); give each one "
            "name"
        )


def _parts_of(given: Any) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray, np.ndarray]:
    """Zeros and ones, names of peaks and of motifs, genes of these."""
    genes = None
    if isinstance(given, pd.DataFrame):
        values, have, names = given.to_numpy(), as_names(given.index), as_names(given.columns)
    elif is_anndata(given):  # peaks x motifs
        values, have, names = given.X, as_names(given.obs_names), as_names(given.var_names)
        genes = as_names(given.var["gene"]).astype(object) if "gene" in given.var else None
    elif isinstance(given, tuple) and len(given) == 3:
        values, have, names = given[0], as_names(given[1]), as_names(given[2])
    else:
        raise InputError(
            "motifs must be a DataFrame (peaks x motifs), an AnnData (the same), (matrix, names of "
            f"peaks, names of motifs), or a motif file, not {type_name(given)}"
        )
    try:
        values = sp.csr_matrix(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            "the table of motifs has values that are not numbers; give zeros and ones"
        ) from error
    if not np.isfinite(values.data).all():
        raise InputError("the table of motifs has values that are not finite; give zeros and ones")
    if (values.data < 0).any():
        raise InputError(
            "the table of motifs has values below 0, like scores; give ones for the peaks with a "
            "motif and zeros for the others"
        )
    values.sum_duplicates()
    values.eliminate_zeros()
    values.data = np.ones_like(values.data)
    names = names.astype(object)
    return values, have, names, genes_of(names) if genes is None else genes


def _gc_of(gc: Any, peaks: np.ndarray, var: pd.DataFrame | None) -> np.ndarray:
    if isinstance(gc, str):
        if var is None or gc not in var:
            has = "there is none" if var is None else f"columns: {', '.join(map(str, var))}"
            raise InputError(f"gc is '{gc}', which is no column of the var of the peaks ({has})")
        gc = var[gc]
    if not isinstance(gc, pd.Series):
        raise InputError(
            "gc must be a Series with the names of the peaks, or a column of their var, not "
            f"{type_name(gc)}"
        )
    values = pd.to_numeric(gc, errors="coerce").to_numpy(np.float64)
    have = as_names(gc.index)
    _refuse_twice("gc", "peak", have)
    at = match_features(peaks, have, "atac")
    found = np.where(at < 0, np.nan, values[at])
    if (found[np.isfinite(found)] < 0).any() or (found[np.isfinite(found)] > 100).any():
        raise InputError("gc has values below 0 or above 100; give the proportion of G and C")
    return found
