"""Counts in any peaks from a file of fragments, as Cell Ranger and others write it.

A line has chromosome, start (0-based), end (exclusive) and barcode, with tabs between them.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..errors import InputError
from ..files import WatchedFile
from ..progress import Report, no_report
from ..words import count_of, name_some
from .formats import damage_reported
from .names import note
from .peaks import Peaks, Places

COUNTED = ("insertions", "fragments")
_FEWEST_SEEN = 0.5  # proportion of the cells that have fragments in their file
_AT_ONCE = 500_000  # lines
_PENDING = 1 << 23  # (cell, peak) pairs collected before they are summed
_COLUMNS = {"chrom": "category", "start": np.int64, "end": np.int64, "barcode": object}
# The empty block that ends a complete file of bgzip.
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def counts_of_fragments(
    path: Path,
    peaks: Peaks,
    cells: np.ndarray,
    counted: str = "insertions",
    report: Report = no_report,
) -> sp.csr_matrix:
    """Cells x peaks, int32. The file is read in pieces, in any order of its lines.

    Args:
        path: Fragments, gzipped or not.
        peaks: In which to count.
        cells: Their barcodes, as the file has them; other barcodes are not counted.
        counted: 'insertions': start and end of a fragment are each counted in the peak that has
            them, start <= place < end, as Cell Ranger does. 'fragments': a fragment is counted once
            in each peak that it overlaps, as `Signac::FeatureMatrix()` does.
        report: Of the fraction that was read.

    Raises:
        InputError: The file is damaged or incomplete, or has none of the cells or chromosomes.
    """
    if counted not in COUNTED:
        raise InputError(f"counts is {counted!r}; give 'insertions' or 'fragments'")
    places, index = Places(peaks), pd.Index(cells)
    total = _Sum((len(cells), len(peaks)))
    seen = np.zeros(len(cells), bool)
    chromosomes: set[str] = set()
    barcode = ""
    for piece in _pieces(path, report):
        chromosomes.update(piece["chrom"].cat.categories)
        barcode = barcode or str(piece["barcode"].iloc[0])
        row = index.get_indexer(piece["barcode"])
        seen[row[row >= 0]] = True
        kept = piece[row >= 0]
        _add_piece(total, places, kept, row[row >= 0], counted == "insertions")
    _refuse_other_file(path, cells, seen, barcode, places, chromosomes)
    return total.matrix()


def _add_piece(
    total: _Sum, places: Places, piece: pd.DataFrame, row: np.ndarray, insertions: bool
) -> None:
    start, end = piece["start"].to_numpy(), piece["end"].to_numpy()
    codes = piece["chrom"].cat.codes.to_numpy()
    for code, chrom in enumerate(piece["chrom"].cat.categories):
        here = np.flatnonzero(codes == code)
        intervals = [(start[here], end[here])]
        if insertions:
            intervals = [(place[here], place[here] + 1) for place in (start, end)]
        for first, last in intervals:
            which, peak = places.overlaps(str(chrom), first, last)
            total.add(row[here[which]], peak)


class _Sum:
    """Counts (row, column) pairs with a bounded buffer."""

    def __init__(self, shape: tuple[int, int]):
        self._sum = sp.csr_matrix(shape, dtype=np.int32)
        self._rows: list[np.ndarray] = []
        self._columns: list[np.ndarray] = []
        self._pending = 0

    def add(self, rows: np.ndarray, columns: np.ndarray) -> None:
        self._rows.append(rows.astype(np.int32))
        self._columns.append(columns.astype(np.int32))
        self._pending += len(rows)
        if self._pending > max(_PENDING, self._sum.nnz):
            self.matrix()

    def matrix(self) -> sp.csr_matrix:
        """All that was added so far."""
        if self._pending:
            at = np.concatenate(self._rows), np.concatenate(self._columns)
            ones = np.ones(self._pending, np.int32)
            self._sum = self._sum + sp.csr_matrix((ones, at), shape=self._sum.shape)
            self._rows, self._columns, self._pending = [], [], 0
        return self._sum


# ---- the file ------------------------------------------------------------------------------------


def _pieces(path: Path, report: Report) -> Iterator[pd.DataFrame]:
    """Lines of the file as tables of chrom, start, end and barcode."""
    with (
        damage_reported(path, "file of fragments"),
        _open(path, report) as text,
        text.interrupts_raised(),
    ):
        # not if the first line has '#', which barcodes may contain; else skip all comment lines
        comment = None if b"#" in text.first_line() else "#"
        pieces = pd.read_csv(
            text, sep="\t", header=None, comment=comment, usecols=[0, 1, 2, 3], names=[*_COLUMNS],
            dtype=_COLUMNS, chunksize=_AT_ONCE, low_memory=False, na_filter=False,
            quoting=csv.QUOTE_NONE,
        )  # fmt: skip
        for piece in pieces:
            if piece.empty:
                raise InputError(f"{path} holds no fragments; give the file of this sample")
            odd = np.flatnonzero(piece["start"].to_numpy() >= piece["end"].to_numpy())
            if len(odd):
                line = piece.iloc[odd[0]]
                raise InputError(
                    f"{path} is damaged: it has a fragment from {line['start']} to {line['end']} "
                    f"of {line['chrom']}; make the file again"
                )
            yield piece
        if text.last not in (b"\n", b"\r"):
            raise InputError(f"{path} ends within a line (truncated?); copy or write it again")


@contextmanager
def _open(path: Path, report: Report) -> Iterator[_LastByte]:
    with WatchedFile(path, report) as source:
        start = source.read(14)
        if start[:2] != _BGZF_END[:2]:
            source.seek(0)
            yield _LastByte(io.BufferedReader(source))
            return
        if start[:4] + start[12:] == _BGZF_END[:4] + _BGZF_END[12:14]:
            source.seek(-len(_BGZF_END), io.SEEK_END)
            if source.read() != _BGZF_END:
                raise InputError(
                    f"{path} is incomplete: the final bgzip block is missing; "
                    "copy or write it again"
                )
        source.seek(0)
        with gzip.GzipFile(fileobj=source, mode="rb") as file:
            yield _LastByte(file)


class _LastByte(io.RawIOBase):
    """Bytes of a file without the comments before its first line; the last byte is remembered."""

    def __init__(self, file: io.BufferedIOBase):
        super().__init__()
        self._file, self.last, self._first = file, b"", b""
        self._failure: BaseException | None = None

    def first_line(self) -> bytes:
        """The first line that is no comment, with which the next read begins."""
        self._first = self._file.readline()
        while self._first.startswith(b"#"):
            self._first = self._file.readline()
        return self._first

    def readable(self) -> bool:
        return True

    @contextmanager
    def interrupts_raised(self) -> Iterator[None]:
        """Raise KeyboardInterrupt if a read was interrupted; pandas reports only a failed read."""
        try:
            yield
        except pd.errors.ParserError as error:
            if "Calling read" not in str(error):
                raise
            # an interrupt before the first line of `read` is not stored in `_failure`
            raise self._failure or KeyboardInterrupt from None

    def read(self, size: int | None = -1) -> bytes:
        try:
            content = self._first + self._file.read(-1 if size is None else size)
        except BaseException as error:
            self._failure = error
            raise
        self._first = b""
        self.last = content[-1:] or self.last
        return content


def _refuse_other_file(
    path: Path,
    cells: np.ndarray,
    seen: np.ndarray,
    barcode: str,
    places: Places,
    chromosomes: set[str],
) -> None:
    """Reject fragments of other cells or chromosomes; notes report partial matches."""
    if seen.mean() < _FEWEST_SEEN:
        raise InputError(
            f"{path} has only {int(seen.sum()):,} of the {count_of(len(cells), 'cell')} (lacking: "
            f"{name_some(cells[~seen])}; in the file: '{barcode}', ...); give the file of these "
            "cells, and their names as the file has them"
        )
    if not chromosomes & places.chromosomes:
        raise InputError(
            f"{path} has none of the chromosomes of the peaks (peaks: "
            f"{name_some(sorted(places.chromosomes))}; in the file: "
            f"{name_some(sorted(chromosomes))}); use the same chromosome names in both"
        )
    if not seen.all():
        note(
            f"{path}: no fragment of {count_of(int((~seen).sum()), 'cell')} "
            f"({name_some(cells[~seen])})"
        )
    if absent := sorted(places.chromosomes - chromosomes):
        note(f"{path}: no fragment on {count_of(len(absent), 'chromosome')} with peaks "
             f"({name_some(absent)})")  # fmt: skip
