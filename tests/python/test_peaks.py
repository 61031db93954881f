"""Peaks as intervals, against loops over all of them."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from runs import unite_slowly

from scmvp.data.peaks import Peaks, Places, peaks_of, read_bed, refuse_other_genome, union_of
from scmvp.errors import InputNote


def peaks(*rows, style=(":", "-")):
    chrom, start, end = zip(*rows, strict=True)
    return Peaks(np.array(chrom, object), np.array(start), np.array(end), style)


def rows(given):
    return [*zip(given.chrom, given.start.tolist(), given.end.tolist(), strict=True)]


def drawn(rng, n, length=2000):
    chrom = rng.choice(["chr2", "chr10", "chrX"], n)
    start = rng.integers(0, length, n)
    width = rng.integers(1, 60, n)
    return [(str(c), int(s), int(s + w)) for c, s, w in zip(chrom, start, width, strict=True)]


# ---- the union


@pytest.mark.parametrize("seed", range(20))
def test_the_union_is_that_of_joining_any_two_that_overlap(seed):
    rng = np.random.default_rng(seed)
    sets = [drawn(rng, int(n)) for n in rng.integers(1, 60, rng.integers(1, 4))]
    union = union_of([peaks(*some) for some in sets])
    assert sorted(rows(union.peaks)) == unite_slowly(row for some in sets for row in some)
    for some, within in zip(sets, union.within, strict=True):
        for (chrom, start, end), j in zip(some, within, strict=True):
            on, first, last = rows(union.peaks)[j]
            assert chrom == on and first <= start and end <= last
    covered = union.covered()
    for i, some in enumerate(sets):
        hit = [
            any(c == on and s < last and e > first for c, s, e in some)
            for on, first, last in rows(union.peaks)
        ]
        assert covered[i].tolist() == hit
        other = {*rows(union.peaks)}
        assert union.n_longer(i, peaks(*some)) == sum(row not in other for row in some)


def test_peaks_that_touch_stay_apart_and_one_base_pair_joins():
    union = union_of([peaks(("chr1", 0, 100), ("chr1", 300, 400)), peaks(("chr1", 100, 301))])
    assert rows(union.peaks) == [("chr1", 0, 100), ("chr1", 100, 400)]
    assert [within.tolist() for within in union.within] == [[0, 1], [1]]


def test_the_same_peaks_in_all_sets_stay_as_they_are():
    windows = [("chr1", start, start + 500) for start in range(0, 5000, 250)]
    union = union_of([peaks(*windows), peaks(*windows[::-1])])
    assert rows(union.peaks) == windows
    assert union.within[1].tolist() == [*range(len(windows))][::-1]
    assert len(union_of([peaks(*windows), peaks(*windows[1:])]).peaks) == 1


def test_chromosomes_come_as_they_are_met_and_peaks_along_them():
    union = union_of([peaks(("chr2", 9, 10), ("chr1", 5, 8)), peaks(("chr2", 1, 3))])
    assert rows(union.peaks) == [("chr2", 1, 3), ("chr2", 9, 10), ("chr1", 5, 8)]


# ---- names


@pytest.mark.parametrize("style", [(":", "-"), ("-", "-"), ("_", "_")])
def test_names_are_written_as_they_were(style):
    names = [f"{c}{style[0]}{s}{style[1]}{s + 9}" for c, s in (("chr1", 5), ("GL000195.1", 70))]
    found, at = peaks_of(names, "donor1")
    assert found.names.tolist() == names and at.tolist() == [0, 1]
    other = peaks_of(["chr1:2-8"], "donor2")[0]
    assert union_of([found, other]).peaks.names[0] == f"chr1{style[0]}2{style[1]}14"


def test_names_that_are_no_ranges(refused):
    names = [f"chr1:{s}-{s + 5}" for s in range(0, 200, 10)]
    with pytest.warns(InputNote, match=r"2 peaks of donor1 left out.*'spike', 'chr1:9-3'"):
        found, at = peaks_of([*names[:5], "spike", *names[5:], "chr1:9-3"], "donor1")
    assert found.names.tolist() == names and 5 not in at
    refused(lambda: peaks_of(["peak1", "peak2", *names[:9]], "donor1"), "2 peaks of donor1 are not",
            "'peak1', 'peak2'", "'chr1:100-200'")  # fmt: skip


# ---- BED


@pytest.mark.parametrize("gzipped", [True, False])
def test_bed(tmp_path, gzipped):
    text = "# called\ntrack name=x\nchr1\t5\t9\tpeak1\t7\n\nchrX\t1\t2\nchr1\t5\t9\n"
    path = tmp_path / ("a.bed.gz" if gzipped else "a.bed")
    path.write_bytes(gzip.compress(text.encode()) if gzipped else text.encode())
    assert read_bed(path).names.tolist() == ["chr1:5-9", "chrX:1-2"]


def test_bed_that_is_none(tmp_path, refused):
    path = tmp_path / "a.bed"
    for text, number in (
        ("chr1\t5\t9\nchr1 5 9\n", 2), ("chrom\tstart\tend\n", 1), ("chr1\t9\t9\n", 1)
    ):  # fmt: skip
        path.write_text(text)
        refused(lambda: read_bed(path), f"line {number} of", "a.bed", "no interval")
    path.write_text("# nothing\n")
    refused(lambda: read_bed(path), "holds no peaks")
    damaged = tmp_path / "a.bed.gz"
    damaged.write_bytes(gzip.compress(b"chr1\t5\t9\n" * 9999)[:-20])
    refused(lambda: read_bed(damaged), "not a readable BED file")


# ---- which peak


@pytest.mark.parametrize("seed", range(5))
def test_overlaps_are_those_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    # some overlap each other, none lies within another
    starts = np.cumsum(rng.integers(1, 40, 80))
    given = [("chr1" if i % 2 else "chr2", int(s), int(s + 30)) for i, s in enumerate(starts)]
    given = [given[i] for i in rng.permutation(len(given))]
    found = Places(peaks(*given))
    start = rng.integers(0, 1700, 300)
    end = start + rng.integers(1, 90, 300)
    for chrom in ("chr1", "chr2", "chr3"):
        which, at = found.overlaps(chrom, start, end)
        truth = {
            (i, j)
            for i in range(len(start))
            for j, (on, first, last) in enumerate(given)
            if on == chrom and start[i] < last and end[i] > first
        }
        assert sorted(zip(which.tolist(), at.tolist(), strict=True)) == sorted(truth)


def test_peaks_within_others_are_refused(refused):
    for inner in ((10, 20), (0, 20), (10, 50), (0, 50)):
        given = peaks(("chr1", 0, 50), ("chr1", *inner), ("chr2", 5, 9))
        refused(lambda given=given: Places(given), "'chr1:0-50'", f"'chr1:{inner[0]}-{inner[1]}'")


# ---- one genome


def test_samples_of_one_genome_and_of_two(refused):
    rng = np.random.default_rng(0)

    def called(places, share, prefix="chr"):
        kept = places[rng.random(len(places)) < share]
        start = kept + rng.integers(-200, 200, len(kept))
        return peaks(*[(f"{prefix}{1 + i % 3}", int(s), int(s + 600)) for i, s in enumerate(start)])

    one, two = (np.sort(rng.integers(1_000_000, 50_000_000, 3000)) for _ in range(2))
    # chromosome by position in the list: keep the places, not all of which are called
    every = called(one, 1)
    again = called(one, 1)
    refuse_other_genome({"a": every, "b": again[:400], "c": again[5:50]})
    refuse_other_genome({"a": every})
    refused(lambda: refuse_other_genome({"a": every, "b": called(two, 1)}),
            "of the 3,000 peaks of b overlap peaks of a", "genome")  # fmt: skip
    refused(lambda: refuse_other_genome({"a": every, "b": called(one, 1, "")}),
            "no chromosome in common", "a: 'chr1'", "b: '1'")  # fmt: skip
    windows = [(f"chr{i}", s, s + 9000) for i in (1, 2, 3) for s in range(0, 51_000_000, 9000)]
    refuse_other_genome({"a": peaks(*windows), "b": every})
