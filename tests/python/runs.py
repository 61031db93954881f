"""Runs of a multiome experiment on disk: matrices and fragments of cells whose truth is known."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from conftest import TenX

import scmvp

LENGTH = 2_000_000  # of each chromosome, base pairs


@dataclass
class Run:
    """A sample: its cells, its peaks, and its fragments as rows (chromosome, start, end, cell)."""

    cells: list[str]
    peaks: list[tuple[str, int, int]]
    fragments: list[tuple[str, int, int, str]]

    @property
    def names(self) -> list[str]:
        return [f"{chrom}:{start}-{end}" for chrom, start, end in self.peaks]


def count_slowly(fragments, peaks, cells, insertions=True) -> np.ndarray:
    """Cells x peaks, by a loop over all fragments and all peaks."""
    counts = np.zeros((len(cells), len(peaks)), int)
    row = {cell: i for i, cell in enumerate(cells)}
    for chrom, start, end, cell in fragments:
        if cell not in row:
            continue
        for j, (on, first, last) in enumerate(peaks):
            if on != chrom:
                continue
            if insertions:
                counts[row[cell], j] += (first <= start < last) + (first <= end < last)
            else:
                counts[row[cell], j] += start < last and end > first
    return counts


def unite_slowly(peaks) -> list[tuple[str, int, int]]:
    """The union, by joining any two that overlap until there are none."""
    left = list(peaks)
    united = []
    while left:
        chrom, start, end = left.pop()
        hit = [p for p in left if p[0] == chrom and p[1] < end and p[2] > start]
        if not hit:
            united.append((chrom, start, end))
            continue
        left = [p for p in left if p not in hit]
        left.append((chrom, min(start, *(p[1] for p in hit)), max(end, *(p[2] for p in hit))))
    return sorted(set(united))


def draw_runs(seed=0, n_cells=40, n_peaks=30, n_fragments=1500, names=("donor1", "donor2")):
    """Samples of the same places, each with peaks of its own: moved, some of them not called."""
    rng = np.random.default_rng(seed)
    places = [
        (f"chr{1 + i % 2}", int(start))
        for i, start in enumerate(rng.choice(np.arange(1000, LENGTH, 5000), n_peaks, replace=False))
    ]
    runs = {}
    for name in names:
        called = [place for place in places if rng.random() < 0.85]
        peaks = [
            (chrom, start + int(rng.integers(-200, 200)), start + int(rng.integers(500, 900)))
            for chrom, start in called
        ]
        peaks.sort()
        cells = [f"{''.join(rng.choice(list('ACGT'), 8))}-1" for _ in range(n_cells)]
        depth = rng.lognormal(0, 0.5, n_cells)
        rows = []
        for cell in rng.choice(
            [*cells, "background-1"], n_fragments, p=[*depth / depth.sum() * 0.9, 0.1]
        ):
            chrom, start = places[rng.integers(len(places))]
            first = int(start + rng.integers(-600, 1100))
            rows.append((chrom, first, first + int(rng.integers(20, 400)), str(cell)))
        rows.sort()
        runs[name] = Run(cells, peaks, rows)
    return runs


def write_fragments(path: Path, rows, header="# id=run\n# primary_contig=chr1\n") -> Path:
    text = header + "".join("\t".join(map(str, row)) + "\t1\n" for row in rows)
    if path.suffix == ".gz":
        with gzip.open(path, "wt") as file:
            file.write(text)
    else:
        path.write_text(text)
    return path


def write_run(folder: Path, run: Run, n_genes=50, seed=0, **changes) -> Path:
    """`outs` of Cell Ranger ARC; counts of peaks are insertions. Returns the folder of the run."""
    rng = np.random.default_rng([seed, *folder.name.encode()])
    outs = folder / "outs"
    outs.mkdir(parents=True)
    genes = sp.csr_matrix(rng.poisson(2, (len(run.cells), n_genes)))
    peaks = sp.csr_matrix(count_slowly(run.fragments, run.peaks, run.cells))
    names = [f"GENE{i}" for i in range(n_genes)]
    parts = [(part.data, part.indices, part.indptr) for part in (genes, peaks)]
    ten_x = TenX(scmvp.from_parts(*parts, run.cells, names, run.names))
    for name, value in changes.items():
        setattr(ten_x, name, value)
    ten_x.write_h5(outs / "filtered_feature_bc_matrix.h5")
    write_fragments(outs / "atac_fragments.tsv.gz", run.fragments)
    return folder
