"""Contact maps, against look-ups by hand and the power law itself."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest

from scmvp.data.contacts import ContactMap
from scmvp.errors import InputNote
from scmvp.tools.contact import contact_of, contact_within

WIDTH = 10_000
SIDES = ["chrom1", "start1", "end1", "chrom2", "start2", "end2"]


@pytest.fixture
def table():
    """Contacts of two chromosomes of 60 and 40 bins; bin 7 of chr1 has none."""
    rng = np.random.default_rng(3)
    rows = []
    for chrom, n in (("chr1", 60), ("chr2", 40)):
        for one in range(n):
            for other in range(one, n):
                count = rng.poisson(200 / (1 + other - one))
                if count and not (chrom == "chr1" and 7 in (one, other)):
                    pair = [chrom, one * WIDTH, (one + 1) * WIDTH]
                    rows.append([*pair, chrom, other * WIDTH, (other + 1) * WIDTH, count])
    rows.append(["chr1", 0, WIDTH, "chr2", 0, WIDTH, 5000])  # between chromosomes
    return pd.DataFrame(rows, columns=[*SIDES, "count"])


def write_cool(file: h5py.Group, table: pd.DataFrame, weight: np.ndarray | None = None) -> None:
    """The parts of a .cool file that matter, by the published schema.

    The first chromosome is shorter than a bin, and has a contact with itself.
    """
    sizes = {"chrM": 1, "chr1": 60, "chr2": 40}
    first = np.concatenate([[0], np.cumsum([*sizes.values()])])
    offset = dict(zip(sizes, first, strict=False))
    file["chroms/name"] = np.array(list(sizes), dtype="S")
    file["bins/chrom"] = np.repeat(np.arange(3), list(sizes.values()))
    start = np.concatenate([np.arange(n) * WIDTH for n in sizes.values()])
    end = start + WIDTH
    end[0] = WIDTH // 2
    file["bins/start"], file["bins/end"] = start.astype("i4"), end.astype("i4")
    if weight is not None:
        file["bins/weight"] = np.concatenate([[1.0], weight])
    ids = [table[f"chrom{i}"].map(offset) + table[f"start{i}"] // WIDTH for i in (1, 2)]
    order = np.lexsort(ids[::-1])
    one, other = (np.concatenate([[0], of.to_numpy()[order]]) for of in ids)
    file["pixels/bin1_id"], file["pixels/bin2_id"] = one, other
    file["pixels/count"] = np.concatenate([[3], table["count"].to_numpy()[order]])
    file["indexes/bin1_offset"] = np.searchsorted(one, np.arange(first[-1] + 1))
    file["indexes/chrom_offset"] = first


def by_hand(table, chrom, one, other):
    """The count of the two bins, which are 0-based."""
    bins = sorted([(one - 1) // WIDTH * WIDTH, (other - 1) // WIDTH * WIDTH])
    own = table[(table["chrom1"] == chrom) & (table["chrom2"] == chrom)]
    hit = own[(own["start1"] == bins[0]) & (own["start2"] == bins[1])]
    return hit["count"].sum()


def test_every_kind_of_map_is_the_same(table, tmp_path):
    table.to_csv(tmp_path / "named.tsv", sep="\t", index=False)
    table.to_csv(tmp_path / "bare.tsv.gz", sep="\t", index=False, header=False)
    bedpe = table.assign(name="loop")[[*SIDES, "name", "count"]]
    bedpe.to_csv(tmp_path / "loops.bedpe", sep="\t", index=False, header=False)
    with h5py.File(tmp_path / "map.cool", "w") as file:
        write_cool(file, table)
    with h5py.File(tmp_path / "maps.mcool", "w") as file:
        write_cool(file.create_group("resolutions/10000"), table)
        file.create_group("resolutions/100000")
    sources = [table, *(tmp_path / name for name in ("named.tsv", "bare.tsv.gz", "loops.bedpe"))]
    rng = np.random.default_rng(0)
    one, other = rng.integers(1, 70 * WIDTH, (2, 300))
    expected = [by_hand(table, "chr1", *pair) for pair in zip(one, other, strict=True)]
    unmeasured = np.isin([(one - 1) // WIDTH, (other - 1) // WIDTH], [7, *range(60, 70)]).any(0)
    expected = np.where(unmeasured, np.nan, expected)
    for source in sources:
        contacts = ContactMap(source, 10**7)
        assert contacts.width == WIDTH
        assert contacts.chromosomes == ["1", "2"]
        np.testing.assert_array_equal(contacts.frequencies("1", one, other), expected)
    for name, words in (("map.cool", "no balancing"), ("maps.mcool", "10,000 base pairs")):
        with pytest.warns(InputNote) as notes:
            contacts = ContactMap(tmp_path / name, 10**7)
        assert words in str(notes[0].message)
        np.testing.assert_array_equal(contacts.frequencies("1", one, other), expected)
    named = ContactMap(f"{tmp_path / 'named.tsv'}", 3 * WIDTH)
    near = np.abs(one - other) <= 3 * WIDTH
    np.testing.assert_array_equal(named.frequencies("1", one, other)[near], expected[near])


@pytest.mark.filterwarnings("ignore::scmvp.errors.InputNote")
def test_a_square_map_and_a_repeated_index_make_no_difference(table, tmp_path):
    sides = {f"{name}{i}": f"{name}{3 - i}" for name in ("chrom", "start", "end") for i in (1, 2)}
    mirrored = table[(table["chrom1"] != table["chrom2"]) | (table["start1"] != table["start2"])]
    square = pd.concat([table, mirrored.rename(columns=sides)], ignore_index=True)
    with h5py.File(tmp_path / "square.cool", "w") as file:
        write_cool(file, square)
    by_chromosome = [part for _, part in table.groupby(["chrom1", "chrom2"])]
    repeated = pd.concat([part.reset_index(drop=True) for part in by_chromosome])
    assert not repeated.index.is_unique
    one, other = np.random.default_rng(1).integers(1, 40 * WIDTH, (2, 300))
    for source in (tmp_path / "square.cool", repeated, repeated.set_index("chrom1", drop=False)):
        for chrom in ("1", "2"):
            found = ContactMap(source, 700_000).frequencies(chrom, one, other)
            wanted = ContactMap(table, 700_000).frequencies(chrom, one, other)
            np.testing.assert_array_equal(found, wanted)


def test_weights_balance_the_counts_and_mask_bins(table, tmp_path):
    weight = np.random.default_rng(1).uniform(0.5, 2, 100)
    weight[11] = np.nan
    with h5py.File(tmp_path / "map.cool", "w") as file:
        write_cool(file, table, weight)
    contacts = ContactMap(tmp_path / "map.cool", 10**7)
    one, other = np.array([35_000, 35_000, 505_000]), np.array([205_000, 115_000, 500_001])
    expected = [
        by_hand(table, "chr1", 35_000, 205_000) * weight[3] * weight[20],
        np.nan,
        by_hand(table, "chr1", 505_000, 500_001) * weight[50] ** 2,
    ]
    np.testing.assert_allclose(contacts.frequencies("1", one, other), expected)


def test_a_map_that_is_the_power_law_gives_the_power_law():
    n = 400
    first, second = np.triu_indices(n)
    start = first * WIDTH, second * WIDTH
    table = pd.DataFrame(
        {"chrom1": "1", "start1": start[0], "end1": start[0] + WIDTH,
         "chrom2": "1", "start2": start[1], "end2": start[1] + WIDTH,
         "balanced": 7e-3 * contact_of(start[1] - start[0], 0.87)}
    )  # fmt: skip
    rng = np.random.default_rng(5)
    one = rng.integers(0, n // 2, 500) * WIDTH + 5_001
    distance = rng.integers(0, 50, 500) * WIDTH
    seqnames = np.full(500, "chr1", dtype=object)
    found = contact_within(table, seqnames, one, one + distance, 0.87)
    floor = np.where(distance > 0, contact_of(np.full(500, 10**6), 0.87), 0)
    np.testing.assert_allclose(found, contact_of(distance, 0.87) + floor, rtol=1e-6)
    seqnames[:10] = "chr9"
    with pytest.warns(InputNote, match="no contacts on 'chr9'"):
        found = contact_within(table, seqnames, one, one + distance, 0.87)
    np.testing.assert_allclose(found[:10], contact_of(distance[:10], 0.87))


def test_a_loop_counts_for_its_gene_and_peak_only(table):
    floor = contact_of(np.array([10**6]), 0.87)
    table.loc[(table["start1"] == 20 * WIDTH) & (table["start2"] == 45 * WIDTH), "count"] = 10_000
    one = np.array([205_000, 205_000, 195_000])
    other = np.array([455_000, 445_000, 455_000])
    found = contact_within(table, np.full(3, "chr1", dtype=object), one, other, 0.87) - floor
    counts = [by_hand(table, "chr1", *pair) for pair in zip(one, other, strict=True)]
    assert counts[0] == 10_000
    np.testing.assert_allclose(found / found[0], np.array(counts) / counts[0], atol=1e-12)


def test_maps_that_cannot_be_used(table, tmp_path, refused):
    def read(source):
        return lambda: ContactMap(source, 10**6)

    (tmp_path / "text.tsv").write_text("a\tb\tc\n")
    (tmp_path / "empty.tsv").write_text("")
    (tmp_path / "damaged.cool").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(90))
    with h5py.File(tmp_path / "other.cool", "w") as file:
        file["x"] = 1
    with h5py.File(tmp_path / "maps.mcool", "w") as file:
        write_cool(file.create_group("resolutions/10000"), table)
    refused(read(tmp_path / "text.tsv"), "text.tsv is no contact map", "chrom1")
    refused(read(tmp_path / "empty.tsv"), "empty.tsv is empty")
    refused(read(tmp_path / "none.tsv"), "none.tsv does not exist")
    refused(read(tmp_path / "damaged.cool"), "damaged.cool is not a readable contact map")
    refused(read(tmp_path / "other.cool"), "is no .cool file")
    refused(read(f"{tmp_path}/maps.mcool::/resolutions/7"), "the resolutions '10000'")
    refused(read(tmp_path), "is a folder", "give the path of a contact map")
    refused(read(3), "3 is not a path")
    refused(read(pd.DataFrame()), "no column 'chrom1' (its columns: none)")
    refused(read(pd.concat([table, table["count"]], axis=1)), "several columns 'count'")
    refused(
        read(table.assign(end1=table["start1"])), "row 1 of the table of contacts is not a contact"
    )
    refused(
        read(table.assign(start1=-WIDTH, end1=0)), "row 1 of the table of contacts is not a contact"
    )
    refused(read(table.drop(columns="count")), "no column 'count'", "cool file")
    refused(read(table.assign(start1="x")), "row 1 of the table of contacts", "chrom1")
    refused(read(table.assign(count=-1.0)), "row 1 of the table of contacts")
    refused(read(table.assign(end2=table["end2"] + 5_000)), "several widths")
    refused(read(table[table["chrom1"] != table["chrom2"]]), "no contacts within a chromosome")
    places = np.array([15_000]), np.array([205_000])
    refused(
        lambda: contact_within(table, np.array(["chr7"], dtype=object), *places, 0.87),
        "the table of contacts has no contacts between nearby genes and peaks", "chr7",
    )  # fmt: skip
