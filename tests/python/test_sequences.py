"""Sequences of peaks, motif files, and motifs in sequences."""

from __future__ import annotations

import gzip
import itertools

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scmvp
from scmvp.data.peaks import peaks_of
from scmvp.data.sequences import Motif, gc_content, matches_in, read_motifs, sequences_of
from scmvp.errors import InputError

JASPAR = """>MA0001.1\tONE
A  [ 10  0  0  1 ]
C  [  0 10  0  1 ]
G  [  0  0 10  1 ]
T  [  0  0  0  7 ]
>MA0002.1 TWO::THREE
A  [ 5 5 ]
C  [ 5 0 ]
G  [ 0 5 ]
T  [ 0 0 ]
"""
MEME = """MEME version 4

ALPHABET= ACGT

MOTIF MA0001.1 ONE
letter-probability matrix: alength= 4 w= 4 nsites= 10 E= 0
 1.0 0.0 0.0 0.0
 0.0 1.0 0.0 0.0
 0.0 0.0 1.0 0.0
 0.1 0.1 0.1 0.7

MOTIF MA0002.1 TWO::THREE
letter-probability matrix: alength= 4 w= 2 nsites= 10
 0.5 0.5 0.0 0.0
 0.5 0.0 0.5 0.0
URL none
"""


def write(path, text):
    path.write_text(text)
    return path


def random_dna(rng, n):
    return "".join(rng.choice(list("ACGT"), n))


def test_motifs_of_both_formats(tmp_path):
    for motifs in (
        read_motifs(write(tmp_path / "a.jaspar", JASPAR)),
        read_motifs(write(tmp_path / "a.meme", MEME)),
    ):
        assert [m.name for m in motifs] == ["MA0001.1", "MA0002.1"]
        assert [m.gene for m in motifs] == ["ONE", "TWO::THREE"]
        np.testing.assert_allclose(
            motifs[0].counts, [[10, 0, 0, 0], [0, 10, 0, 0], [0, 0, 10, 0], [1, 1, 1, 7]]
        )
        np.testing.assert_allclose(motifs[1].counts, [[5, 5, 0, 0], [5, 0, 5, 0]])


@pytest.mark.parametrize("zipped", [False, True])
def test_sequences_of_peaks(tmp_path, zipped):
    rng = np.random.default_rng(0)
    genome = {"chr1": random_dna(rng, 500), "chr2": random_dna(rng, 300).lower()}
    path = tmp_path / ("g.fa" + ".gz" * zipped)
    with (gzip.open if zipped else open)(path, "wt") as file:
        for name, sequence in genome.items():
            lines = [sequence[i : i + 60] for i in range(0, len(sequence), 60)]
            file.write(f">{name} about\n" + "\n".join(lines) + "\n")
    names = ["chr2-10-50", "chr1:0-61", "1-100-300", "chr1-100-300"]
    found = sequences_of(path, peaks_of(names, "the test")[0])
    one, two = genome["chr1"], genome["chr2"].upper()
    assert found == [two[10:50], one[:61], one[100:300], one[100:300]]
    gc = [(s.count("G") + s.count("C")) / len(s) for s in found]
    np.testing.assert_allclose(gc_content(found), gc)
    assert np.isnan(gc_content(["NNN"])[0])
    with pytest.raises(InputError, match="2 peaks are not in the sequences"):
        sequences_of(path, peaks_of(["chr3-1-5", "chr1-490-501", "chr1-1-5"], "the test")[0])


def test_files_of_other_kinds_are_refused(tmp_path):
    peaks = peaks_of(["chr1-1-5"], "the test")[0]
    for name, text, read, says in (
        ("a.fa", "ACGT\n", lambda p: sequences_of(p, peaks), "does not start with '>'"),
        ("b.txt", "no motif\n", read_motifs, "holds no motif"),
        ("c.txt", ">A\nA [1 2]\nC [1 2]\n", read_motifs, "motif 'A' is no matrix"),
        ("d.txt", JASPAR + JASPAR, read_motifs, "twice"),
    ):
        with pytest.raises(InputError, match=says):
            read(write(tmp_path / name, text))
    for read in (read_motifs, lambda p: sequences_of(p, peaks)):
        with pytest.raises(InputError, match="there is no file"):
            read(tmp_path / "absent")


def best_of(sequence: str, scores: np.ndarray) -> float:
    """Highest score of a place on either strand, one base at a time."""
    best = -np.inf
    for rows in (scores, scores[::-1, ::-1]):
        for start in range(len(sequence) - len(rows) + 1):
            word = sequence[start : start + len(rows)]
            if set(word) <= set("ACGT"):
                best = max(
                    best, sum(row["ACGT".index(b)] for row, b in zip(rows, word, strict=True))
                )
    return best


def test_matches_are_those_of_a_plain_scan_at_an_exact_threshold(tmp_path):
    pytest.importorskip("lightmotif")
    rng = np.random.default_rng(3)
    sequences = [random_dna(rng, int(n)) for n in rng.integers(3, 90, 120)]
    sequences[5] = sequences[5][:10] + "N" * 30 + sequences[5][10:]
    counts = rng.dirichlet([0.3] * 4, 6) * 40
    rows = [" ".join(f"{value:.3f}" for value in row) for row in counts.T]
    lines = [f"{base} [ {row} ]" for base, row in zip("ACGT", rows, strict=True)]
    motif = read_motifs(write(tmp_path / "m.txt", ">M1 X\n" + "\n".join(lines) + "\n"))
    text = "".join(sequences)
    gc = (text.count("G") + text.count("C")) / (len(text) - text.count("N"))
    frequency = np.array([1 - gc, gc, gc, 1 - gc]) / 2
    smooth = (motif[0].counts + 0.8 * frequency) / (motif[0].counts.sum(1, keepdims=True) + 0.8)
    scores = np.log2(smooth / frequency)
    words = np.array(list(itertools.product(range(4), repeat=6)))
    of_word = scores[np.arange(6), words].sum(1)
    chance = frequency[words].prod(1)
    order = np.argsort(-of_word)
    best = np.array([best_of(sequence, scores) for sequence in sequences])
    for p_value in (1e-3, 1e-2):
        above = np.cumsum(chance[order]) <= p_value
        threshold = of_word[order][above].min()
        found = matches_in(sequences, motif, p_value).toarray().ravel() > 0
        clear = np.abs(best - threshold) > 0.02  # scores are rounded in the search of the threshold
        assert clear.mean() > 0.9
        assert np.array_equal(found[clear], best[clear] >= threshold)
        assert 0 < found.sum() < len(found)


def test_any_composition_of_bases_can_be_scanned():
    pytest.importorskip("lightmotif")
    rng = np.random.default_rng(0)
    motif = [Motif("m", "m", rng.dirichlet([0.3] * 4, 5) * 40)]
    for _ in range(200):
        sequence = "".join(rng.permutation(list("A" * rng.integers(1, 99) + "CG" * 20)))
        assert matches_in([sequence], motif, 0.01).shape == (1, 1)


@pytest.mark.filterwarnings("ignore::scmvp.errors.InputNote")
def test_activity_from_a_motif_file_and_a_genome(tmp_path):
    """A planted motif, whose peaks are open in one half of the cells."""
    pytest.importorskip("lightmotif")
    rng = np.random.default_rng(7)
    n, wide, site = 400, 200, "GGAAGTGAAACC"
    planted = rng.random(n) < 0.2
    genome = []
    for has in planted:
        bases = random_dna(rng, wide)
        genome.append(bases[:50] + site + bases[50 + len(site) :] if has else bases)
    fasta = write(tmp_path / "g.fa", ">chr1\n" + "\n".join(genome) + "\n")
    lines = [f"{b} [ {' '.join(str(20 * (s == b)) for s in site)} ]" for b in "ACGT"]
    motifs = write(tmp_path / "m.jaspar", ">M1 SPI1\n" + "\n".join(lines) + "\n" + JASPAR)
    names = [f"chr1-{wide * i}-{wide * (i + 1)}" for i in range(n)]
    rate = np.tile(rng.gamma(1.0, 1.5, n), (60, 1))
    rate[:30] *= np.where(planted, 3.0, 1.0)
    rate[30:] *= np.where(planted, 0.5, 1.0)
    adata = AnnData(
        rng.poisson(rate).astype(np.float32),
        obs=pd.DataFrame(index=[f"c{i}" for i in range(60)]),
        var=pd.DataFrame(index=names),
    )
    found = scmvp.motif_activity(adata, motifs, fasta=fasta, p_value=1e-4)
    assert list(found.var["gene"]) == ["SPI1", "ONE", "TWO::THREE"]
    assert planted.sum() <= found.var["n_peaks"]["M1"] <= planted.sum() + 20
    z = found[:, "M1"].X.ravel()
    assert z[:30].min() > z[30:].max()
    with pytest.raises(InputError, match="give the FASTA file"):
        scmvp.motif_activity(adata, motifs)
