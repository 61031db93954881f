"""Peaks as intervals of the genome: their union over several sets, and which of them a place is in.

Starts are 0-based and ends exclusive, as in BED and in the names that Cell Ranger gives to peaks.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from ..words import count_of, name_some
from .claims import open_text
from .formats import damage_reported
from .names import RANGE, note

# Largest proportion of names that may be something else than ranges.
_MOST_UNREADABLE = 0.1
# Two sets of peaks are of one genome where at least half of the smaller one overlaps the other, or
# twice as many as when it is moved by these numbers of base pairs. Measured: sets of one genome
# overlap 15 to 24 times as often as when moved, of two genomes 0.9 to 1.8 times.
_MOVED = (100_000, 300_000, 1_000_000)
_COLON_STYLE = (":", "-")


@dataclass(frozen=True)
class Peaks:
    """Intervals in any order, and how the names of such peaks are written."""

    chrom: np.ndarray  # of str
    start: np.ndarray  # int64
    end: np.ndarray
    style: tuple[str, str] = _COLON_STYLE  # before the start, before the end

    def __len__(self) -> int:
        return len(self.chrom)

    def __getitem__(self, at: np.ndarray) -> Peaks:
        return Peaks(self.chrom[at], self.start[at], self.end[at], self.style)

    @property
    def names(self) -> np.ndarray:
        """As the names that were read are written."""
        before_start, before_end = self.style
        parts = zip(self.chrom, self.start, self.end, strict=True)
        return np.array(
            [f"{chrom}{before_start}{start}{before_end}{end}" for chrom, start, end in parts],
            dtype=object,
        ).astype(str)


@dataclass(frozen=True)
class Union:
    """The union of several sets of peaks."""

    peaks: Peaks
    within: list[np.ndarray]  # for each set, which peak of the union each of its peaks is in

    def n_longer(self, i: int, peaks: Peaks) -> int:
        """How many peaks of a set are only part of their peak in the union."""
        whole = self.peaks[self.within[i]]
        return int(((whole.start != peaks.start) | (whole.end != peaks.end)).sum())

    def covered(self) -> np.ndarray:
        """(n_sets, n_union) whether a set has a peak there."""
        there = np.zeros((len(self.within), len(self.peaks)), bool)
        for row, at in zip(there, self.within, strict=True):
            row[at] = True
        return there


def peaks_of(names: Sequence[str] | np.ndarray, where: str) -> tuple[Peaks, np.ndarray]:
    """Peaks of their names, and the positions of the names that could be read.

    Args:
        names: Such as chr1:100-200, chr1-100-200 and chr1_100_200.
        where: Whose they are, for the words of a refusal.

    Raises:
        InputError: More than a tenth are no ranges. Fewer are left out, which a note says.
    """
    found = [RANGE.fullmatch(str(name)) for name in names]
    usable = [match is not None and int(match[2]) < int(match[3]) for match in found]
    odd = [str(name) for name, is_range in zip(names, usable, strict=True) if not is_range]
    if len(odd) > _MOST_UNREADABLE * len(found):
        raise InputError(
            f"{count_of(len(odd), 'peak')} of {where} {'is' if len(odd) == 1 else 'are'} not named "
            f"by a range ({name_some(odd)}); name peaks like 'chr1:100-200'"
        )
    if odd:
        note(
            f"{count_of(len(odd), 'peak')} of {where} left out: their names are not ranges "
            f"({name_some(odd)})"
        )
    matches = [match for match, is_range in zip(found, usable, strict=True) if match and is_range]
    style = _COLON_STYLE
    if matches:
        first = matches[0]
        style = (first.string[first.end(1)], first.string[first.end(2)])
    peaks = Peaks(
        np.array([match[1] for match in matches], dtype=object),
        np.array([int(match[2]) for match in matches], np.int64),
        np.array([int(match[3]) for match in matches], np.int64),
        style,
    )
    return peaks, np.flatnonzero(usable)


def bed_lines(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Number, text and columns of the lines of a BED file that are no comments."""
    with damage_reported(path, "BED file"), open_text(path) as content:
        for number, line in enumerate(io.TextIOWrapper(content, encoding="utf-8-sig"), start=1):
            if line.strip() and not line.startswith(("#", "track", "browser")):
                yield number, line.strip(), line.rstrip("\r\n").split("\t")


def read_bed(path: Path) -> Peaks:
    """The intervals of a BED file, gzipped or not; those that occur twice once.

    Raises:
        InputError: It is damaged, empty, or a line is no interval.
    """
    rows = []
    for number, line, parts in bed_lines(path):
        is_interval = len(parts) >= 3 and parts[1].isdigit() and parts[2].isdigit()
        if not is_interval or int(parts[1]) >= int(parts[2]):
            raise InputError(
                f"line {number} of {path} is no interval of a BED file (chromosome, start and "
                f"end, with tabs between them): '{line[:60]}'; correct the file"
            )
        rows.append((parts[0], int(parts[1]), int(parts[2])))
    if not rows:
        raise InputError(f"{path} holds no peaks; give a BED file of peaks")
    chrom, start, end = zip(*dict.fromkeys(rows), strict=True)
    return Peaks(np.array(chrom, dtype=object), np.array(start, np.int64), np.array(end, np.int64))


def union_of(sets: Sequence[Peaks], unchanged: bool | None = None) -> Union:
    """Peaks that overlap by at least one base pair become one, from first start to last end.

    That is `GenomicRanges::reduce(c(...), min.gapwidth = 0L)`. Peaks that only touch stay apart,
    and so do all peaks where every set has the same ones: windows of the genome stay windows.
    Chromosomes come in the order in which they are met, peaks along each of them.

    Args:
        sets: The peaks of each sample.
        unchanged: Whether only equal ranges are one peak. None: where several sets are the same.
    """
    if unchanged is None:
        unchanged = _same_ranges(sets)
    chrom = np.concatenate([peaks.chrom for peaks in sets])
    start = np.concatenate([peaks.start for peaks in sets])
    end = np.concatenate([peaks.end for peaks in sets])
    codes, chromosomes = pd.factorize(chrom)
    bounds = np.cumsum([0, *map(len, sets)])
    order = np.lexsort((end, start, codes))
    first = _begins_group(codes[order], start[order], end[order], unchanged)
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(first) - 1
    at = order[first]
    ends = np.maximum.reduceat(end[order], np.flatnonzero(first)) if len(order) else end
    united = Peaks(chromosomes[codes[at]], start[at], ends, sets[0].style)
    return Union(united, [group[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)])


def _begins_group(
    codes: np.ndarray, start: np.ndarray, end: np.ndarray, only_equal: bool
) -> np.ndarray:
    """Which of sorted intervals do not belong to a peak with the one before them."""
    if not len(codes):
        return np.zeros(0, bool)
    # one chromosome after the other on one line, so that no end reaches into the next one
    shift = codes * (int(end.max()) + 1)
    reached = np.maximum.accumulate(end + shift)
    apart = (start + shift)[1:] >= reached[:-1]
    if only_equal:
        apart = (codes[1:] != codes[:-1]) | (start[1:] != start[:-1]) | (end[1:] != end[:-1])
    return np.concatenate([[True], apart])


def _same_ranges(sets: Sequence[Peaks]) -> bool:
    if len(sets) < 2 or len({len(peaks) for peaks in sets}) > 1:
        return False
    first, *others = (
        set(zip(peaks.chrom, peaks.start.tolist(), peaks.end.tolist(), strict=True))
        for peaks in sets
    )
    return all(first == other for other in others)


class Places:
    """Finds the peaks that intervals overlap, chromosome by chromosome.

    Raises:
        InputError: A peak lies within another one, so that counts in them could not be told apart.
    """

    def __init__(self, peaks: Peaks):
        self._by_chrom: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        for chrom, at in pd.Series(peaks.chrom).groupby(peaks.chrom, sort=False).indices.items():
            at = at[np.lexsort((peaks.end[at], peaks.start[at]))]
            start, end = peaks.start[at], peaks.end[at]
            inside = np.flatnonzero((np.diff(end) <= 0) | (np.diff(start) == 0))
            if len(inside):
                pair = peaks[at[[inside[0], inside[0] + 1]]].names
                raise InputError(
                    f"one of the peaks '{pair[0]}' and '{pair[1]}' lies within the other; leave "
                    "one of them out"
                )
            self._by_chrom[str(chrom)] = start, end, at

    @property
    def chromosomes(self) -> set[str]:
        """Those with peaks."""
        return set(self._by_chrom)

    def overlaps(
        self, chrom: str, start: np.ndarray, end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of an interval and a peak that overlap by at least one base pair: their positions.

        Args:
            chrom: Chromosome of the intervals.
            start: (n,) of each, 0-based.
            end: (n,) exclusive.
        """
        if chrom not in self._by_chrom:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        starts, ends, at = self._by_chrom[chrom]
        first = np.searchsorted(ends, start, side="right")
        n = np.maximum(np.searchsorted(starts, end, side="left") - first, 0)
        which = np.repeat(np.arange(len(start)), n)
        before = np.cumsum(n) - n
        return which, at[np.repeat(first - before, n) + np.arange(len(which))]


def refuse_other_genome(sets: dict[str, Peaks]) -> None:
    """Refuse sets of peaks of which one hardly overlaps the others, by the names of their owners.

    Raises:
        InputError: Chromosomes are called by other names, or the peaks are of another genome.
    """
    if len(sets) < 2:
        return
    (reference, peaks), *others = sorted(sets.items(), key=lambda item: -len(item[1]))
    whole = union_of([peaks])
    places = Places(whole.peaks)
    for name, other in others:
        if not {*other.chrom} & places.chromosomes:
            raise InputError(
                f"{reference} and {name} have no chromosome in common ({reference}: "
                f"{name_some(_chromosomes(peaks))}; {name}: {name_some(_chromosomes(other))}); "
                "give both the same names of chromosomes"
            )
        observed = _n_overlapping(other, places, 0)
        expected = np.mean([_n_overlapping(other, places, shift) for shift in _MOVED])
        if observed < len(other) / 2 and observed <= 2 * expected:
            raise InputError(
                f"only {observed:,} of the {count_of(len(other), 'peak')} of {name} overlap peaks "
                f"of {reference}, no more than by chance: are they of the same genome? give "
                "samples that were aligned to the same one"
            )


def _n_overlapping(peaks: Peaks, places: Places, shift: int) -> int:
    hit = 0
    for chrom, at in pd.Series(peaks.chrom).groupby(peaks.chrom, sort=False).indices.items():
        start, end = peaks.start[at] + shift, peaks.end[at] + shift
        hit += len(np.unique(places.overlaps(str(chrom), start, end)[0]))
    return hit


def _chromosomes(peaks: Peaks) -> list[str]:
    return list(dict.fromkeys(peaks.chrom))
