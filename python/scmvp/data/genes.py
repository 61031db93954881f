"""Where genes are: a table, GTF or BED file -> one row for each place of a gene.

Positions are 1-based and ends inclusive, as in GTF and in R; `R/genes.R` has the same rules.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from ..files import as_path
from ..words import count_of, name_some
from .claims import open_text
from .formats import damage_reported
from .names import as_names, note
from .peaks import bed_lines

COLUMNS = ["gene", "seqnames", "start", "end", "strand", "tss"]
_NAMED = (
    "gene", "gene_name", "symbol", "gene_symbol", "external_gene_name", "hgnc_symbol", "mgi_symbol",
    "gene_id", "ensembl_gene_id", "geneID", "name", "Name",
)  # fmt: skip
_PLACES = {
    "seqnames": ("seqnames", "chr", "chrom", "chromosome", "seqname", "chromosome_name"),
    "start": ("start", "bp1", "chromStart", "start_position"),
    "end": ("end", "bp2", "chromEnd", "stop", "end_position"),
}
_FORWARD = {"+", "1", "1.0", "+1", "plus", "forward", "fwd", "f", "positive", "pos"}
_REVERSE = {"-", "-1", "-1.0", "−", "minus", "reverse", "rev", "r", "negative", "neg"}
# rows that are only a part of their gene, by type or by a column
_PARTS = {
    "exon", "cds", "utr", "five_prime_utr", "three_prime_utr", "start_codon", "stop_codon", "gap",
    "intron", "transcript", "mrna",
}  # fmt: skip
_OF_PARTS = ("tx_id", "transcript_id", "transcript")
_ATTRIBUTE = re.compile(r'\b(gene_name|gene_id)[ =]"?([^";]+)')


def read_genes(
    source: pd.DataFrame | str | os.PathLike, genes: Sequence[str] | np.ndarray | None = None
) -> pd.DataFrame:
    """Places of genes.

    Args:
        source: A table with a column of names ('gene', 'gene_name', 'symbol', 'gene_id', ...), of
            chromosomes ('seqnames', 'chrom', ...), and 'start', 'end' and 'strand' of the gene, or
            its 'tss'. Or the path of a GTF file, or of a BED file with names (column 4) and strands
            (column 6), gzipped or not. Rows of a BED file that mostly have one width are windows
            around starts, with the start in the middle.
        genes: Names that the genes have elsewhere: of several columns of names, the one with most
            of them is taken.

    Returns:
        DataFrame with 'gene', 'seqnames', 'start', 'end', 'strand' ('+' or '-') and 'tss', 1-based
        and inclusive, in the order of the source. Transcripts and exons are joined to their gene,
        which has one row then. A gene with several rows in a table of genes or starts keeps them.
        'start' and 'end' are both 'tss' where only this is known.

    Raises:
        InputError: The source is of another kind, damaged, has no such columns, or no gene.
    """
    if isinstance(source, str | os.PathLike):
        path = as_path(source)
        if not path.is_file():
            raise InputError(f"there is no file '{path}' with genes; give a GTF or BED file")
        is_bed = re.search(r"\.bed(\.gz)?$", path.name, re.IGNORECASE) is not None
        found = _places(_read_bed(path) if is_bed else _read_gtf(path), genes, f"'{path}'")
    elif isinstance(source, pd.DataFrame):
        found = _places(source, genes, "the table of genes")
    else:
        raise InputError(
            "genes must be a DataFrame (gene, seqnames, start, end, strand, or tss) or the path of "
            f"a GTF or BED file, not {type(source).__name__}"
        )
    return found


def bare_chromosome(names: Sequence[str] | np.ndarray | pd.Series) -> np.ndarray:
    """Names of chromosomes without 'chr', by which they are compared; 'M' for all spellings."""
    bare = pd.Series(as_names(names), dtype=object)
    bare = bare.str.replace(r"^chr(?:omosome)?[_-]?(?=.)", "", case=False, regex=True)
    bare[bare.str.lower().isin(["m", "mt", "mtdna", "mito"])] = "M"
    return bare.str.replace("_", "-", regex=False).to_numpy(dtype=object)


# ---- files ---------------------------------------------------------------------------------------


def _read_gtf(path: Path) -> pd.DataFrame:
    """Genes of a GTF file, each from the first to the last base of its rows."""
    spans: dict[tuple[str, ...], list[int]] = {}
    with damage_reported(path, "GTF file"), open_text(path) as content:
        for line in io.TextIOWrapper(content, encoding="utf-8-sig"):
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) < 9 or line.startswith("#"):
                continue
            named = dict(_ATTRIBUTE.findall(fields[8]))
            if not named:
                continue
            start, end = int(fields[3]), int(fields[4])
            known = named.get("gene_id", ""), named.get("gene_name", "")
            span = spans.setdefault((*known, fields[0], fields[6]), [start, end])
            span[0], span[1] = min(span[0], start), max(span[1], end)
    if not spans:
        raise InputError(
            f"'{path}' holds no gene: no line has names of genes in its ninth column; give a GTF "
            "file, or a BED file whose name ends in .bed or .bed.gz"
        )
    names = pd.DataFrame(list(spans), columns=["gene_id", "gene_name", "seqnames", "strand"])
    places = pd.DataFrame(list(spans.values()), columns=["start", "end"])
    return names.join(places)


def _read_bed(path: Path) -> pd.DataFrame:
    rows = []
    for number, line, parts in bed_lines(path):
        is_gene = len(parts) >= 4 and parts[1].isdigit() and parts[2].isdigit()
        if not is_gene or int(parts[1]) > int(parts[2]):
            raise InputError(
                f"line {number} of {path} is no gene of a BED file (chromosome, start, end and "
                f"name, with tabs between them): '{line[:60]}'; correct the file"
            )
        strand = parts[5] if len(parts) >= 6 else "*"
        end = int(parts[2])
        start = min(int(parts[1]) + 1, end)  # a place between two bases has no width
        rows.append((parts[3], parts[0], start, end, strand))
    if not rows:
        raise InputError(f"'{path}' holds no gene; give a BED file of genes")
    table = pd.DataFrame(rows, columns=["gene", "seqnames", "start", "end", "strand"])
    # Windows around starts all have the same width, except those merged or cut at the end of a
    # chromosome; gene bodies almost never do.
    width = table["end"] - table["start"] + 1
    usual = width.mode()[0]
    if width.max() <= 2 or (len(table) > 1 and (width == usual).mean() > 0.5):
        cut = (table["start"] == 1) & (width < usual)  # shorter on that side
        middle = np.round((table["start"] + table["end"]) / 2)
        table["tss"] = np.where(cut, table["end"] - usual // 2, middle).astype(np.int64)
    return table


# ---- tables --------------------------------------------------------------------------------------


def _places(
    table: pd.DataFrame, genes: Sequence[str] | np.ndarray | None, where: str
) -> pd.DataFrame:
    at_tss = "tss" in table
    columns = {name: _column(table, spelled) for name, spelled in _PLACES.items()}
    if at_tss:
        columns = {name: column or "tss" for name, column in columns.items()}
        columns["seqnames"] = _column(table, _PLACES["seqnames"])
    if missing := [name for name, column in columns.items() if column is None]:
        raise InputError(
            f"{where} has no column '{missing[0]}'; it needs seqnames, start and end, or seqnames "
            f"and tss, and has {', '.join(map(str, table.columns))}"
        )
    found = pd.DataFrame({"gene": _names(table, genes, where)})
    found["seqnames"] = table[columns["seqnames"]].astype(object).to_numpy()
    for name, column in {**columns, "tss": "tss" if at_tss else columns["start"]}.items():
        if name != "seqnames":
            found[name] = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    found["strand"] = table["strand"].to_numpy() if "strand" in table else "*"
    found["id"] = table["gene_id"].to_numpy() if "gene_id" in table else found["gene"]
    lacking = found[["gene", "seqnames", "start", "end", "tss"]].isna().any(axis=1)
    if lacking.any():
        note(
            f"{count_of(int(lacking.sum()), 'row')} of {where} without the name or the coordinates "
            f"of a gene {'is' if lacking.sum() == 1 else 'are'} left out"
        )
        found = found[~lacking].reset_index(drop=True)
    if not len(found):
        raise InputError(f"{where} has no gene with a name and coordinates; give one that does")
    _refuse_reversed(found, where)
    found["strand"] = _strands(found["strand"])
    if at_tss:  # a window around the start is no body
        window = ~(found["tss"].eq(found["start"]) | found["tss"].eq(found["end"]))
        for name in ("start", "end"):
            found[name] = found[name].mask(window, found["tss"])
    elif _has_parts(table):
        key = ["gene", "id", "seqnames", "strand"]
        spans = found.groupby(key, sort=False, dropna=False)
        found = spans.agg(start=("start", "min"), end=("end", "max")).reset_index()
    return _finished(found, at_tss, where)


def _refuse_reversed(found: pd.DataFrame, where: str) -> None:
    odd = found[found["start"] > found["end"]]
    if len(odd):
        row = odd.iloc[0]
        raise InputError(
            f"{where}: {count_of(len(odd), 'row', 'begins', 'begin')} after the end (gene "
            f"'{row['gene']}': {row['start']:,.0f} to {row['end']:,.0f}); the start is the smaller "
            "coordinate on both strands"
        )


def _finished(found: pd.DataFrame, at_tss: bool, where: str) -> pd.DataFrame:
    unknown = (found["strand"] == "*") & (found["end"] > found["start"])
    if unknown.any() and not at_tss:
        names = found["gene"][unknown].unique()
        note(
            f"the strand of {count_of(len(names), 'gene')} of {where} is not known "
            f"({name_some(names)}): {'it is' if len(names) == 1 else 'they are'} taken to start at "
            "the lower coordinate"
        )
    found["strand"] = found["strand"].replace("*", "+")
    if not at_tss:
        found["tss"] = np.where(found["strand"] == "-", found["end"], found["start"])
    for name in ("start", "end", "tss"):
        found[name] = found[name].astype(np.int64)
    for name in ("gene", "seqnames"):
        found[name] = as_names(found[name]).astype(object)
    return found[COLUMNS].drop_duplicates(ignore_index=True)


def _column(table: pd.DataFrame, spelled: Sequence[str]) -> str | None:
    return next((name for name in spelled if name in table), None)


def _names(table: pd.DataFrame, genes: Sequence[str] | np.ndarray | None, where: str) -> np.ndarray:
    """The name of each row's gene, missing where it is empty."""
    columns = [name for name in _NAMED if name in table]
    if not columns:
        raise InputError(
            f"{where} has no column of gene names ('gene', 'gene_name', 'symbol' or 'gene_id'); it "
            f"has {', '.join(map(str, table.columns))}"
        )
    labels = {}
    for column in columns:
        label = table[column].astype(object).replace("", None)
        if "gene_id" in table:  # genes that are known by their id alone
            label = label.where(label.notna(), table["gene_id"].astype(object).replace("", None))
        labels[column] = label.to_numpy(dtype=object)
    if genes is None:
        return labels[columns[0]]
    wanted = pd.Index(as_names(genes))
    return max(labels.values(), key=lambda label: wanted.isin(label).sum())


def _strands(given: pd.Series) -> pd.Series:
    """'+', '-' or, where it is not known, '*'."""
    words = given.astype(str).str.strip().str.lower()
    strand = np.select([words.isin(_FORWARD), words.isin(_REVERSE)], ["+", "-"], "*")
    return pd.Series(strand, index=given.index, dtype=object)


def _has_parts(table: pd.DataFrame) -> bool:
    """Whether rows are transcripts or exons rather than genes."""
    kinds = [table[name].astype(str).str.lower() for name in ("type", "feature") if name in table]
    of_parts = [table[name].notna() for name in _OF_PARTS if name in table]
    return any(kind.isin(_PARTS).any() for kind in kinds) or any(part.any() for part in of_parts)
