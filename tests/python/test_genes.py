"""Places of genes: tables, GTF and BED files."""

from __future__ import annotations

import gzip

import pandas as pd
import pytest

from scmvp.data.genes import bare_chromosome, read_genes
from scmvp.errors import InputError, InputNote

BODIES = [
    ("A", "chr1", 101, 200, "+", 101),
    ("B", "chr1", 301, 450, "-", 450),
    ("C", "chr2", 51, 60, "+", 51),
]
COLUMNS = ["gene", "seqnames", "start", "end", "strand", "tss"]


def rows_of(table: pd.DataFrame) -> list[tuple]:
    assert list(table.columns) == COLUMNS
    return list(table.itertuples(index=False, name=None))


@pytest.mark.parametrize("zipped", [False, True])
def test_one_set_of_genes_is_read_alike_from_all_forms(tmp_path, zipped):
    def write(name, lines):
        path = tmp_path / (name + ".gz" * zipped)
        with (gzip.open if zipped else open)(path, "wt") as file:
            file.write("\n".join(lines) + "\n")
        return path

    bed = [f"{c}\t{s - 1}\t{e}\t{g}\t0\t{strand}" for g, c, s, e, strand, _ in BODIES]
    about = 'gene_id "ENSG{0}"; gene_name "{0}";'
    gtf = ["#!genome-build x"] + [
        f"{c}\thavana\t{kind}\t{s}\t{e}\t.\t{strand}\t.\t{about.format(g)}"
        for g, c, s, e, strand, _ in BODIES
        for kind in ("gene", "transcript")
    ]
    exons = [line for line in gtf if "\tgene\t" not in line]
    # the same transcripts as exons that do not say where the gene ends but together
    exons = [line.replace("\t101\t200\t", "\t101\t110\t") for line in exons]
    exons.append(f"chr1\thavana\texon\t150\t200\t.\t+\t.\t{about.format('A')}")
    table = pd.DataFrame([row[:5] for row in BODIES], columns=COLUMNS[:5])
    spelled = table.rename(columns={"gene": "symbol", "seqnames": "chrom"})
    spelled["strand"] = spelled["strand"].map({"+": 1, "-": -1})
    for source in (
        write("a.bed", bed), write("a.gtf", gtf), str(write("b.gtf", exons)), table, spelled,
    ):  # fmt: skip
        assert rows_of(read_genes(source)) == BODIES


def test_windows_around_starts_are_no_bodies(tmp_path):
    path = tmp_path / "tss.bed"
    path.write_text(
        "chr1\t99\t200\tA\t.\t+\nchr1\t399\t500\tB\t.\t-\nchr1\t0\t61\tC\t.\t-\nchr1\t499\t600\tA\t.\t+\n"
    )
    assert rows_of(read_genes(path)) == [
        ("A", "chr1", 150, 150, "+", 150),
        ("B", "chr1", 450, 450, "-", 450),
        ("C", "chr1", 11, 11, "-", 11),  # the window was cut at the first base
        ("A", "chr1", 550, 550, "+", 550),
    ]


def test_a_place_between_two_bases_is_a_start(tmp_path):
    path = tmp_path / "tss.bed"
    path.write_text("chr1\t99\t200\tA\t.\t+\nchr1\t99\t200\tB\t.\t+\nchr1\t40\t40\tC\t.\t+\n")
    assert read_genes(path)["tss"].tolist() == [150, 150, 40]


def test_a_table_of_starts_keeps_all_starts_of_a_gene():
    table = pd.DataFrame({"gene": ["A", "A"], "chr": ["1", "1"], "tss": [10, 90]})
    assert rows_of(read_genes(table)) == [
        ("A", "1", 10, 10, "+", 10), ("A", "1", 90, 90, "+", 90),
    ]  # fmt: skip


def test_exons_of_a_table_are_joined_to_genes():
    table = pd.DataFrame(
        {
            "gene_name": ["A", "A", "B"], "type": ["exon", "cds", "exon"],
            "seqnames": "chr1", "start": [50, 10, 500], "end": [60, 20, 600],
            "strand": ["-", "-", "+"],
        }
    )  # fmt: skip
    assert rows_of(read_genes(table)) == [
        ("A", "chr1", 10, 60, "-", 60), ("B", "chr1", 500, 600, "+", 500),
    ]  # fmt: skip


def test_the_column_with_the_names_in_use_is_taken():
    table = pd.DataFrame(
        {
            "gene_name": ["A", None], "gene_id": ["E1", "E2"], "seqnames": "1",
            "start": [1, 5], "end": [3, 9], "strand": "+",
        }
    )  # fmt: skip
    assert list(read_genes(table)["gene"]) == ["A", "E2"]
    assert list(read_genes(table, ["E1", "E2"])["gene"]) == ["E1", "E2"]


def test_unknown_strands_and_lacking_rows_are_told():
    table = pd.DataFrame(
        {"gene": ["A", "B"], "seqnames": "1", "start": [1, 5], "end": [3, 9], "strand": ["?", "-"]}
    )
    with pytest.warns(InputNote, match="strand of 1 gene .*'A'.* lower coordinate"):
        assert list(read_genes(table)["tss"]) == [1, 9]
    table["strand"], table["gene"] = "+", ["A", None]
    with pytest.warns(InputNote, match="1 row .* is left out"):
        assert list(read_genes(table)["gene"]) == ["A"]


def test_chromosomes_are_compared_without_their_prefix():
    spelled = ["chr1", "1", "Chromosome_X", "MT", "chrM", "chr"]
    assert list(bare_chromosome(spelled)) == ["1", "1", "X", "M", "M", "chr"]


def test_genes_begin_before_they_end():
    places = pd.DataFrame(
        {"gene": ["a", "b"], "seqnames": "1", "start": [5, 90], "end": [10, 50], "strand": "-"}
    )
    with pytest.raises(InputError, match="1 row begins after the end .gene 'b': 90 to 50"):
        read_genes(places)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (3, "must be a DataFrame"),
        ("/nowhere.gtf", "no file '/nowhere.gtf'"),
        (pd.DataFrame({"gene": ["A"], "start": [1], "end": [2]}), "no column 'seqnames'"),
        (pd.DataFrame({"gene": ["A"], "chr": ["1"], "start": [1]}), "no column 'end'"),
        (pd.DataFrame({"chr": ["1"], "tss": [1]}), "no column of gene names"),
    ],
)
def test_other_sources_are_refused(source, says):
    with pytest.raises(InputError, match=says):
        read_genes(source)


def test_files_without_genes_are_refused(tmp_path):
    for name, text, says in (
        ("a.gtf", "chr1\t5\t9\tA\n", "no line has names of genes"),
        ("a.bed", "\n", "holds no gene"),
        ("b.bed", "chr1\t5\t9\n", "line 1 .* is no gene"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=says):
            read_genes(tmp_path / name)
