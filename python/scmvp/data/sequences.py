"""DNA of peaks and what is found in it: GC content, and motifs of JASPAR and MEME files.

The genome is read from start to end, one sequence at a time, and needs no index.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from ..errors import InputError
from ..files import as_path
from ..words import count_of, name_some
from .claims import open_text
from .formats import damage_reported
from .genes import bare_chromosome
from .names import note
from .peaks import Peaks

_BASES = "ACGT"
_PSEUDOCOUNT = 0.8  # of all bases together: that of TFBSTools::toPWM()
_SITES = 20.0  # behind the probabilities of a MEME file that does not say: its own default
_PIECE = 1 << 22  # base pairs scanned at a time


class Motif(NamedTuple):
    """A motif of a file; `counts` are (width, 4), of A, C, G and T."""

    name: str
    gene: str
    counts: np.ndarray


# ---- sequences -----------------------------------------------------------------------------------


def sequences_of(fasta: str | os.PathLike, peaks: Peaks) -> list[str]:
    """The sequence of each peak in upper case, from a FASTA file, gzipped or not.

    Raises:
        InputError: There is no such file, it is damaged, or peaks are beyond its sequences.
    """
    path = as_path(fasta)
    if not path.is_file():
        raise InputError(f"there is no file '{path}'; give the FASTA file of the genome as fasta")
    chromosome = bare_chromosome(peaks.chrom)
    found: list[str | None] = [None] * len(peaks)
    with damage_reported(path, "FASTA file"):
        for name, sequence in _records(path):
            for i in np.flatnonzero(chromosome == bare_chromosome([name])[0]):
                if found[i] is None:
                    found[i] = sequence[peaks.start[i] : peaks.end[i]].upper()
    names = peaks.names
    lacking = [i for i, one in enumerate(found) if one is None or len(one) < len_of(peaks, i)]
    if lacking:
        raise InputError(
            f"{count_of(len(lacking), 'peak', 'is', 'are')} not in the sequences of '{path}' "
            f"({name_some(names[lacking])}); give the genome that the reads were aligned to"
        )
    return [one for one in found if one is not None]


def len_of(peaks: Peaks, i: int) -> int:
    """Base pairs of a peak."""
    return int(peaks.end[i] - peaks.start[i])


def _records(path: Path) -> Iterator[tuple[str, str]]:
    """Name and sequence of each record."""
    name: str | None = None
    lines: list[str] = []
    with open_text(path) as content:
        for line in io.TextIOWrapper(content, encoding="ascii"):
            if line.startswith(">"):
                if name is not None:
                    yield name, "".join(lines)
                words = line[1:].split()
                name, lines = words[0] if words else "", []
            elif name is None and line.strip():
                raise InputError("its first line does not start with '>'; give a FASTA file")
            else:
                lines.append(line.strip())
    if name is not None:
        yield name, "".join(lines)


def gc_content(sequences: list[str]) -> np.ndarray:
    """Proportion of G and C among the known bases of each sequence, NaN where there are none."""
    counted = np.array([[one.count(base) for base in _BASES] for one in sequences], np.float64)
    with np.errstate(invalid="ignore"):
        return counted[:, 1:3].sum(1) / counted.sum(1)


# ---- motif files ---------------------------------------------------------------------------------


def read_motifs(path: str | os.PathLike) -> list[Motif]:
    """Motifs of a file in MEME or JASPAR format.

    Raises:
        InputError: There is no such file, or it is in another format.
    """
    path = as_path(path)
    if not path.is_file():
        raise InputError(f"there is no file '{path}' of motifs; give one in MEME or JASPAR format")
    with damage_reported(path, "file of motifs"), open_text(path) as content:
        text = io.TextIOWrapper(content, encoding="utf-8-sig").read()
        motifs = _of_meme(text) if re.search("^MOTIF", text, re.MULTILINE) else _of_jaspar(text)
    if not motifs:
        raise InputError(
            f"'{path}' holds no motif; give a file in MEME or JASPAR format (a line '>ID name' and "
            "one line of counts for each of A, C, G and T)"
        )
    names = [motif.name for motif in motifs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"'{path}' holds {name_some(twice)} twice; give each motif one name")
    return motifs


def _of_meme(text: str) -> list[Motif]:
    motifs = []
    for part in re.split(r"^MOTIF\s+", text, flags=re.MULTILINE)[1:]:
        head, _, rest = part.partition("\n")
        stated = re.search(r"letter-probability matrix:([^\n]*)\n", rest)
        if stated is None:
            continue
        width = re.search(r"\bw=\s*(\d+)", stated[1])
        sites = re.search(r"\bnsites=\s*([\d.]+)", stated[1])
        lines = rest[stated.end() :].strip().splitlines()
        n = int(width[1]) if width else len(lines)
        rows = [[float(value) for value in line.split()] for line in lines[:n]]
        motifs.append(_motif(head, np.array(rows) * (float(sites[1]) if sites else _SITES)))
    return motifs


def _of_jaspar(text: str) -> list[Motif]:
    motifs = []
    for part in re.split("^>", text, flags=re.MULTILINE)[1:]:
        head, _, rest = part.partition("\n")
        rows = [re.findall(r"[\d.]+(?:[eE][-+]?\d+)?", line) for line in rest.splitlines()]
        motifs.append(_motif(head, np.array([row for row in rows if row], np.float64).T))
    return motifs


def _motif(head: str, counts: np.ndarray) -> Motif:
    words = head.split()
    if not words or counts.ndim != 2 or counts.shape[1] != 4 or (counts.sum(1) <= 0).any():
        raise InputError(f"the motif '{head.strip()}' is no matrix of A, C, G and T; correct it")
    return Motif(words[0], words[1] if len(words) > 1 else words[0], counts)


# ---- motifs in sequences -------------------------------------------------------------------------


def matches_in(sequences: list[str], motifs: list[Motif], p_value: float) -> sp.csc_matrix:
    """Which sequences have each motif, on either strand, (sequences, motifs) of zeros and ones.

    A place is a match where its log odds against the bases of all sequences are so high that a
    place of random bases has them with at most this probability: the rule of motifmatchr.
    """
    lightmotif = _lightmotif()
    counted = np.array([sum(one.count(base) for one in sequences) for base in _BASES], np.float64)
    if not counted.sum():
        raise InputError("the sequences of the peaks have no known base; give another fasta")
    frequency = (counted + counted[::-1]) / (2 * counted.sum())  # the same on both strands
    # multiples of 2^-20: lightmotif adds them in single precision and wants exactly 1
    frequency[[0, 3]] = np.round(frequency[0] * 2**20) / 2**20
    frequency[[1, 2]] = 0.5 - frequency[0]
    background = dict(zip(_BASES, frequency.tolist(), strict=True))
    scanned = []
    for motif in motifs:
        scores = _scores(motif.counts, frequency)
        for strand in (scores, scores[::-1, ::-1]):
            rows = {base: strand[:, i].tolist() for i, base in enumerate(_BASES)}
            pssm = lightmotif.ScoringMatrix(rows, background=background)
            scanned.append((pssm, pssm.score(p_value), len(strand)))
    found: list[set[int]] = [set() for _ in motifs]
    for first, text, ends in _pieces(sequences):
        striped = lightmotif.stripe(text)
        unknown = np.cumsum(np.frombuffer(b"A" + text.encode(), np.uint8) == ord("N"))
        for j, (pssm, threshold, width) in enumerate(scanned):
            hits = lightmotif.scan(pssm, striped, threshold=threshold)
            places = np.fromiter((hit.position for hit in hits), np.int64)
            places = places[places + width <= len(text)]
            places = places[unknown[places] == unknown[places + width]]
            at = np.searchsorted(ends, places, side="right")
            within = places + width <= ends[at]
            found[j // 2].update((first + np.unique(at[within])).tolist())
    indptr = np.cumsum([0, *map(len, found)])
    indices = np.array([i for rows in found for i in sorted(rows)], np.int32)
    return sp.csc_matrix((np.ones(len(indices)), indices, indptr), (len(sequences), len(motifs)))


def _scores(counts: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    smooth = counts + _PSEUDOCOUNT * frequency
    return np.log2(smooth / smooth.sum(1, keepdims=True) / frequency)


def _pieces(sequences: list[str]) -> Iterator[tuple[int, str, np.ndarray]]:
    """Sequences that lie in one text: the number of the first one, the text, their ends in it."""
    first = 0
    while first < len(sequences):
        size, last = 0, first
        while last < len(sequences) and (last == first or size < _PIECE):
            size += len(sequences[last])
            last += 1
        text = re.sub("[^ACGT]", "N", "".join(sequences[first:last]))
        yield first, text, np.cumsum([len(one) for one in sequences[first:last]])
        first = last


def _lightmotif():
    try:
        import lightmotif
    except ImportError as error:
        raise InputError(
            f"motifs are searched in sequences with lightmotif ({error}); install it with: pip "
            "install 'scmvp[motifs]', or give a table of the motifs of the peaks"
        ) from error
    return lightmotif


def tell_unknown_gc(gc: np.ndarray) -> np.ndarray:
    """GC content with the median in the place of what is not known, which a note says."""
    unknown = ~np.isfinite(gc)
    if unknown.all():
        raise InputError("gc is not known for any peak; give it for each peak, or leave gc out")
    if unknown.any():
        note(
            f"the GC content of {count_of(int(unknown.sum()), 'peak')} is not known and "
            "taken to be the median of the others"
        )
    return np.where(unknown, np.median(gc[~unknown]), gc)
