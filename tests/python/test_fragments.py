"""Counts from files of fragments, against a loop over all fragments and peaks."""

from __future__ import annotations

import gzip
import os
import signal
import struct
import warnings
import zlib

import numpy as np
import pytest
from runs import count_slowly, draw_runs, write_fragments

import scmvp
from scmvp.data import fragments as module
from scmvp.errors import InputNote


@pytest.fixture(scope="module")
def run():
    return draw_runs(seed=4)["donor1"]


def counted(path, run, **options):
    return scmvp.count_fragments(path, run.names, run.cells, **options).X.toarray()


def bgzip(data: bytes, end: bool = True) -> bytes:
    """As the program does: blocks of gzip with their sizes, and an empty one at the end."""
    blocks = []
    pieces = [data[i : i + 5000] for i in range(0, len(data), 5000)] + [b""] * end
    for piece in pieces:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = packer.compress(piece) + packer.flush()
        header = struct.pack("<4BI2BHBBHH", 31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, len(body) + 25)
        blocks.append(header + body + struct.pack("<II", zlib.crc32(piece), len(piece)))
    return b"".join(blocks)


# ---- counts


@pytest.mark.parametrize("kind", ["insertions", "fragments"])
@pytest.mark.parametrize("name", ["a.tsv.gz", "a.tsv"])
def test_counts_are_those_of_a_loop(run, tmp_path, kind, name):
    path = write_fragments(tmp_path / name, run.fragments)
    truth = count_slowly(run.fragments, run.peaks, run.cells, kind == "insertions")
    np.testing.assert_array_equal(counted(path, run, counts=kind), truth)
    assert truth.sum() > 500


def test_in_pieces_in_any_order_of_lines_cells_and_peaks(run, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 97)
    monkeypatch.setattr(module, "_PENDING", 50)
    rng = np.random.default_rng(0)
    rows = [run.fragments[i] for i in rng.permutation(len(run.fragments))]
    path = write_fragments(tmp_path / "a.tsv.gz", rows)
    cells, at = rng.permutation(run.cells)[:15], rng.permutation(len(run.peaks))
    found = scmvp.count_fragments(path, np.array(run.names)[at], cells)
    truth = count_slowly(run.fragments, [run.peaks[i] for i in at], cells)
    np.testing.assert_array_equal(found.X.toarray(), truth)
    assert found.obs_names.tolist() == cells.tolist()
    assert found.var_names.tolist() == np.array(run.names)[at].tolist()


def test_ends_of_fragments_and_of_peaks(tmp_path):
    """Start and end of a fragment each count where start of the peak <= place < its end."""
    rows = [("chr1", 100, 200, "c"), ("chr1", 50, 100, "c"), ("chr1", 99, 201, "c"),
            ("chr1", 200, 210, "c"), ("chr1", 10, 1000, "c"), ("chr1", 120, 130, "c")]  # fmt: skip
    path = write_fragments(tmp_path / "a.tsv", rows)
    peak = ["chr1:100-200"]
    # the first and the second have one end in it (100 twice), the last one both
    assert scmvp.count_fragments(path, peak, ["c"]).X.toarray().tolist() == [[4]]
    # those that overlap it: all but the second and the fourth
    fragments = scmvp.count_fragments(path, peak, ["c"], counts="fragments")
    assert fragments.X.toarray().tolist() == [[4]]


def test_bed_files_and_peaks_that_overlap(run, tmp_path):
    path = write_fragments(tmp_path / "a.tsv.gz", run.fragments)
    moved = [(chrom, start + 300, end + 300) for chrom, start, end in run.peaks]
    both = [peak for pair in zip(run.peaks, moved, strict=True) for peak in pair]
    bed = tmp_path / "peaks.bed"
    bed.write_text("".join("\t".join(map(str, peak)) + "\n" for peak in both))
    for kind in ("insertions", "fragments"):
        found = scmvp.count_fragments(path, bed, run.cells, kind)
        truth = count_slowly(run.fragments, both, run.cells, kind == "insertions")
        np.testing.assert_array_equal(found.X.toarray(), truth)


def test_the_blocks_of_bgzip(run, tmp_path, refused):
    text = write_fragments(tmp_path / "a.tsv", run.fragments).read_bytes()
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(bgzip(text))
    np.testing.assert_array_equal(counted(path, run), counted(tmp_path / "a.tsv", run))
    # cut between two blocks, what is left is a file of gzip without a fault
    path.write_bytes(bgzip(text[:10000], end=False))
    gzip.decompress(path.read_bytes())
    refused(lambda: counted(path, run), "a.tsv.gz is incomplete", "bgzip")


# ---- what cannot be counted


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_half_a_file(run, tmp_path, refused, share):
    for name in ("a.tsv.gz", "b.tsv"):
        path = write_fragments(tmp_path / name, run.fragments)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content)) - 3])
        refused(lambda path=path: counted(path, run), path.name)
    path = tmp_path / "c.tsv.gz"
    content = bgzip((tmp_path / "b.tsv").read_bytes() + b"\n")
    path.write_bytes(content[: int(share * len(content)) - 3])
    refused(lambda: counted(path, run), "c.tsv.gz")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no fragments"),
        ("# id=run\n", "holds no fragments"),
        ("chr1\t5\t9\n", "not a readable file of fragments"),
        ("chr1\t5\tx\tc-1\t1\n", "not a readable file of fragments"),
        ("chr1 5 9 c-1 1\n", "not a readable file of fragments"),
        ("chr1\t5\t9\tc-1\t1\nchr1\t9\t9\tc-1\t1\n", "a fragment from 9 to 9 of chr1"),
        ("chr1\t5\t9\tc-1\t1\nchr1\t9\t", "a.tsv"),
        (
            "chr1\t5\t9\tother-1\t1\n",
            "only 0 of the 1 cell (lacking: 'c-1'; in the file: 'other-1'",
        ),
        ("1\t5\t9\tc-1\t1\n", "none of the chromosomes of the peaks (peaks: 'chr1'; in the file"),
    ],
)
def test_files_that_are_refused(tmp_path, refused, text, words):
    path = tmp_path / "a.tsv"
    path.write_text(text)
    refused(lambda: scmvp.count_fragments(path, ["chr1:1-10"], ["c-1"]), "a.tsv", words)


def test_arguments(run, tmp_path, refused):
    path = write_fragments(tmp_path / "a.tsv", run.fragments)
    refused(lambda: counted(path, run, counts="cuts"), "'cuts'", "'insertions' or 'fragments'")
    call = scmvp.count_fragments
    refused(lambda: call(tmp_path / "none", run.names, run.cells), "does not exist")
    refused(lambda: call(path, ["peak1"], run.cells), "1 peak of the peaks is not named")
    refused(lambda: call(path, run.names, [*run.cells, run.cells[3]]), run.cells[3], "twice")
    refused(lambda: call(path, run.names, run.cells[0]), "a list of barcodes")


def test_most_cells_have_to_be_in_the_file(run, tmp_path, refused):
    path = write_fragments(tmp_path / "a.tsv", run.fragments)
    renamed = [f"{cell[:-1]}2" for cell in run.cells]
    call = scmvp.count_fragments
    refused(lambda: call(path, run.names, run.cells[:9] + renamed[9:]), "only 9 of the 40 cells")


def test_what_has_no_fragment_is_told(run, tmp_path):
    rows = [row for row in run.fragments if row[3] != run.cells[2]]
    path = write_fragments(tmp_path / "a.tsv", rows)
    with pytest.warns(InputNote) as notes:
        scmvp.count_fragments(path, [*run.names, "chrY:1-9"], run.cells)
    said = " ".join(str(note.message) for note in notes)
    assert f"no fragment of 1 cell ('{run.cells[2]}')" in said
    assert "no fragment on 1 chromosome with peaks ('chrY')" in said


# ---- progress


def test_progress_and_interrupts(run, tmp_path, monkeypatch):
    from scmvp import progress

    monkeypatch.setattr(progress, "_APART", 0)
    monkeypatch.setattr(module, "_AT_ONCE", 97)
    path = write_fragments(tmp_path / "a.tsv.gz", run.fragments)
    events = []
    counted(path, run, progress=events.append)
    assert {event["stage"] for event in events} == {"counting a.tsv.gz"}
    assert events[0]["share"] == 0 and events[-1]["share"] == 1

    def stop(event):
        if event["share"] > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="counting a.tsv.gz"):
        counted(path, run, progress=stop)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is left open
        counted(path, run)


def test_barcodes_and_comments_may_contain_hashes(run, tmp_path):
    truth = counted(write_fragments(tmp_path / "plain.tsv", run.fragments), run)
    lines = (tmp_path / "plain.tsv").read_text().splitlines(keepends=True)
    lines = [line for line in lines if not line.startswith("#")]
    comments = ["# one\n", "# two\n"]
    (tmp_path / "twice.tsv").write_text("".join(comments + lines[:9] + comments + lines[9:]))
    np.testing.assert_array_equal(counted(tmp_path / "twice.tsv", run), truth)
    # as ArchR names cells
    fields = [line.split("\t") for line in lines]
    renamed = ["\t".join([*part[:3], f"S#{part[3]}", *part[4:]]) for part in fields]
    renamed = [line if line.endswith("\n") else f"{line}\n" for line in renamed]
    (tmp_path / "archr.tsv").write_text("".join(comments + renamed))
    cells = [f"S#{cell}" for cell in run.cells]
    found = scmvp.count_fragments(tmp_path / "archr.tsv", run.names, cells)
    np.testing.assert_array_equal(found.X.toarray(), truth)


def test_an_interrupt_in_any_read_is_no_damage(tmp_path, monkeypatch):
    """pandas says no more of it than that a read has failed."""
    lines = "".join(f"chr1\t{i}\t{i + 50}\tA\t1\n" for i in range(1, 40_000))
    (tmp_path / "f.tsv").write_text(lines)
    count = lambda: scmvp.count_fragments(tmp_path / "f.tsv", ["chr1:1-900"], ["A"])  # noqa: E731
    plain, reads, at = module._LastByte.read, [], []

    def read(self, size=-1):
        reads.append(None)
        if len(reads) in at:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(self, size)

    monkeypatch.setattr(module._LastByte, "read", read)
    count()
    for number in range(1, len(reads) + 1):
        reads.clear()
        at[:] = [number]
        with pytest.raises(KeyboardInterrupt):
            count()
