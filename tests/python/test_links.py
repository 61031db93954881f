"""Links from peaks to genes: brute force, known densities, simulated links."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit
from sklearn.metrics import average_precision_score

import scmvp
from scmvp.errors import InputError, InputNote
from scmvp.tools.association import _rate, correlations, evidence_of
from scmvp.tools.links import contact_of, near_pairs

QUIET = pytest.mark.filterwarnings("ignore::scmvp.errors.InputNote")


def places_of(mdata) -> pd.DataFrame:
    var = mdata["rna"].var
    table = var[["chrom", "start", "end", "strand", "tss"]].rename(columns={"chrom": "seqnames"})
    return table.rename_axis("gene").reset_index()


def is_linked(table: pd.DataFrame, mdata) -> np.ndarray:
    true = mdata.uns["links"]
    known = set(zip(true["gene"], true["peak"], strict=True))
    return np.array([pair in known for pair in zip(table["gene"], table["peak"], strict=True)])


@pytest.fixture(scope="module")
def cells():
    return scmvp.simulate(
        600, 400, 2000, 4, link_decay=1.0, median_umi=2000, median_fragments=2000, seed=3
    )


@pytest.fixture(scope="module")
def model(cells):
    model = scmvp.SCMVP(cells, n_clusters=4)
    model.train(max_epochs=8, seed=0, progress=False)
    return model


@pytest.fixture(scope="module")
def table(cells, model):
    return model.link_peaks(places_of(cells))


def test_correlations_are_pearsons_of_all_cells():
    rng = np.random.default_rng(0)
    one, other = rng.gamma(2, 3, (500, 7)), 1e4 + rng.normal(size=(500, 9))
    other[:, 4] += 2 * one[:, 3]
    other[:, 8] = 5.0  # does not vary
    first, second = np.repeat(np.arange(7), 9), np.tile(np.arange(9), 7)
    blocks = [(one[i : i + 64], other[i : i + 64]) for i in range(0, 500, 64)]
    found, means = correlations(blocks, first, second)
    assert means == pytest.approx(other.mean(0))
    wanted = [stats.pearsonr(one[:, i], other[:, j])[0] if j != 8 else 0 for i, j in
              zip(first, second, strict=True)]  # fmt: skip
    assert found == pytest.approx(wanted, abs=1e-4)


def test_pairs_are_those_within_the_distance():
    rng = np.random.default_rng(1)
    start = rng.integers(0, 300_000, 80)
    on = rng.choice(["chr1", "chr2"], 80)
    peaks = np.array([*(f"{c}-{s}-{s + 500}" for c, s in zip(on, start, strict=True)), "odd"])
    places = pd.DataFrame(
        {
            "gene": ["a", "b", "c", "a", "other"],
            "seqnames": ["1", "2", "1", "1", "2"],
            "tss": [100_000, 150_000, 200_000, 130_000, 40_000],
            "strand": ["+", "-", "-", "+", "+"],
        }
    )
    with pytest.warns(InputNote, match="'odd'"):
        near = near_pairs(np.array(["b", "a", "c"]), peaks, places, 50_000)
    wanted = {}
    for number, gene in enumerate(["b", "a", "c"]):
        for j in range(80):
            own = places[(places["gene"] == gene) & ("chr" + places["seqnames"] == on[j])]
            center = start[j] + 250
            offsets = [(abs(center - t), center - t if s == "+" else t - center, t)
                       for t, s in zip(own["tss"], own["strand"], strict=True)]  # fmt: skip
            if offsets and min(offsets)[0] <= 50_000:
                starts = places[("chr" + places["seqnames"]) == on[j]]
                at = starts[(starts["tss"] >= start[j] - 999) & (starts["tss"] <= start[j] + 1500)]
                kind = (
                    "promoter" if gene in set(at["gene"])
                    else "promoter of another gene" if len(at) else "distal"
                )  # fmt: skip
                wanted[number, j] = (*min(offsets)[1:], kind)
    found = zip(near.distance, near.tss, near.kind, strict=True)
    assert dict(zip(zip(near.gene, near.peak, strict=True), found, strict=True)) == wanted
    assert {"promoter", "distal"} <= set(near.kind)


@QUIET
def test_a_gene_has_the_links_of_its_chromosome_with_most_peaks():
    peaks = np.array([f"chr6-{1000 * i}-{1000 * i + 500}" for i in range(5)] + ["chr2-1-9"])
    place = pd.DataFrame({"gene": "a", "seqnames": ["6"], "tss": [2_000], "strand": "+"})
    wanted = near_pairs(np.array(["a"]), peaks, place, 10_000)
    assert wanted.peak.tolist() == [0, 1, 2, 3, 4]
    places = pd.concat([place.assign(seqnames=on) for on in ("6_GL000250v2_alt", "2", "6")])
    for rows in (places, places[::-1]):
        found = near_pairs(np.array(["a"]), peaks, rows, 10_000)
        assert found.peak.tolist() == wanted.peak.tolist()
        assert (found.chromosome_of_gene == found.chromosome[0]).all()


def test_the_mixture_finds_known_densities():
    rng = np.random.default_rng(2)
    n = 60_000
    contact = contact_of(rng.uniform(0, 500_000, n), 0.87)
    linked = rng.random(n) < expit(np.log(0.3) + np.log(contact))
    null = stats.norm(0, 0.2)
    x = np.where(linked, rng.normal(0.7, 0.12, n), null.rvs(n, random_state=rng))
    found = evidence_of(x, null.rvs(100_000, random_state=rng), contact)
    assert found.probability.sum() == pytest.approx(linked.sum(), rel=0.25)
    for level in (0.05, 0.1, 0.2):
        called = found.fdr <= level
        assert called.sum() > 200
        assert (~linked[called]).mean() == pytest.approx(level, abs=0.04)
    for value in (0.6, 0.7):  # the ratio of the densities
        near = np.abs(x - value) < 0.02
        true = stats.norm(0.7, 0.12).pdf(value) / null.pdf(value)
        assert np.median(found.ratio[near]) == pytest.approx(true, rel=0.35)


@pytest.mark.slow
@pytest.mark.parametrize("reach", [500_000, 100_000, 5_000])
def test_the_rate_holds_where_links_do_not_follow_the_contacts(reach):
    rng = np.random.default_rng(4)
    n = 100_000
    distance = rng.uniform(0, 500_000, n)
    linked = (distance < reach) & (rng.random(n) < 0.01 * 500_000 / reach)
    x = rng.normal(np.where(linked, 0.8, 0), 0.2)
    found = evidence_of(x, rng.normal(0, 0.2, 100_000), contact_of(distance, 0.87))
    for level in (0.1, 0.2):
        called = found.fdr <= level
        assert called.sum() > 300
        assert (~linked[called]).mean() == pytest.approx(level, abs=0.04)


def test_the_rate_is_expected_over_found():
    rng = np.random.default_rng(5)
    found, of_null = (np.round(rng.random(n), 2) for n in (300, 500))  # with ties
    expected = rng.random(500)
    ratio = {v: expected[of_null >= v].sum() / (found >= v).sum() for v in np.unique(found)}
    wanted = [min(1, *(rate for at, rate in ratio.items() if at <= v)) for v in found]
    np.testing.assert_allclose(_rate(found, of_null, expected), wanted)


def test_without_links_nearly_nothing_is_called():
    rng = np.random.default_rng(3)
    contact = contact_of(rng.uniform(0, 500_000, 30_000), 0.87)
    found = evidence_of(rng.normal(size=30_000), rng.normal(size=50_000), contact)
    assert (found.fdr <= 0.2).sum() < 30


@pytest.mark.slow
def test_scores_find_the_links_of_a_simulation(cells, table):
    linked = is_linked(table, cells)
    precision = average_precision_score(linked, table["score"])
    by_distance = average_precision_score(linked, -table["distance"].abs())
    by_correlation = average_precision_score(linked, table["correlation"])
    assert precision > 2 * by_distance
    assert precision > 1.2 * by_correlation
    called = table["fdr"] <= 0.2
    assert called.sum() > 20
    assert (~linked[called]).mean() < 0.35


@pytest.mark.slow
def test_factors_make_up_the_score(model, table):
    expression = model.get_normalized_expression()
    accessible = model.get_accessibility_estimates()
    mean = accessible.mean(0) / accessible.mean()
    peak = pd.Index(model.peaks).get_indexer(table["peak"])
    gene = pd.Index(model.genes).get_indexer(table["gene"])
    assert table["accessibility"].to_numpy() == pytest.approx(mean[peak], rel=1e-4)
    assert table["contact"].to_numpy() == pytest.approx(
        np.minimum(1, (np.abs(table["distance"]) / 5000) ** -0.87)
    )
    some = np.random.default_rng(0).choice(len(table), 200)
    wanted = [np.corrcoef(np.log1p(expression[:, gene[i]]), accessible[:, peak[i]])[0, 1]
              for i in some]  # fmt: skip
    assert table["correlation"].to_numpy()[some] == pytest.approx(wanted, abs=1e-3)
    activity = table["contact"] * table["accessibility"]
    assert table["score"].to_numpy() == pytest.approx(activity * (1 + table["support"]) / 2)
    assert table["abc"].to_numpy() == pytest.approx(
        activity / activity.groupby(table["gene"]).transform("sum")
    )
    nearest = table.loc[table["distance"].abs().groupby(table["gene"]).idxmin()]
    assert (nearest["rank"] == 1).all()


@pytest.mark.slow
@QUIET
def test_the_order_of_places_and_cells_does_not_matter(cells, model, table):
    places = places_of(cells).sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(model.link_peaks(places), table)
    shuffled = cells[np.random.default_rng(0).permutation(cells.n_obs)].copy()
    again = model.link_peaks(places, shuffled)
    assert again["score"].to_numpy() == pytest.approx(table["score"].to_numpy(), rel=1e-3)


@pytest.mark.slow
def test_groups_have_the_accessibility_of_their_cells(cells, model, table):
    kinds = cells.obs["cell_type"].astype(object).copy()
    kinds.iloc[:10] = None
    found = model.link_peaks(places_of(cells), groupby=kinds.sample(frac=1, random_state=0))
    assert list(found["group"].unique()) == sorted(kinds.dropna().unique())
    own = np.flatnonzero((kinds == "Type02").to_numpy())
    accessible = model.get_accessibility_estimates()[own]
    mean = pd.Series(accessible.mean(0) / accessible.mean(), index=model.peaks)
    part = found[found["group"] == "Type02"].reset_index(drop=True)
    assert part["accessibility"].to_numpy() == pytest.approx(mean[part["peak"]].to_numpy(), rel=0.1)
    for column in ("gene", "peak", "correlation", "support", "fdr"):
        pd.testing.assert_series_equal(part[column], table[column])


@pytest.mark.slow
def test_a_contact_map_takes_the_place_of_the_distance(cells, model, table):
    """One in which linked pairs touch ten times as often: links come first."""
    linked, width = is_linked(table, cells), 1_000
    tss, center = table["tss"].to_numpy(), table["center"].to_numpy()
    bins = np.sort([(tss - 1) // width, (center - 1) // width], axis=0).astype(int) * width
    contacts = pd.DataFrame(
        {"chrom1": table["seqnames"], "start1": bins[0], "end1": bins[0] + width,
         "chrom2": table["seqnames"], "start2": bins[1], "end2": bins[1] + width,
         "count": np.where(linked, 10, 1) * 1e3 * table["contact"]}
    ).drop_duplicates(["chrom1", "start1", "start2"])  # fmt: skip
    found = model.link_peaks(places_of(cells), contacts=contacts)
    pd.testing.assert_frame_equal(
        found[["gene", "peak", "distance", "accessibility", "correlation"]],
        table[["gene", "peak", "distance", "accessibility", "correlation"]],
    )
    precision = [average_precision_score(linked, one["score"]) for one in (table, found)]
    assert precision[1] > 1.2 * precision[0]


@pytest.mark.slow
def test_only_pairs_up_to_a_rate_are_returned(cells, model, table):
    found = model.link_peaks(places_of(cells), fdr=0.2)
    wanted = table[table["fdr"] <= 0.2].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, wanted)


@pytest.mark.slow
def test_peaks_of_one_chromosome_are_scored_without_association(cells, model):
    places = places_of(cells)
    peaks = np.array([name.replace(name.split("-")[0], "chr1") for name in model.peaks])
    near = near_pairs(model.genes, peaks, places.assign(seqnames="chr1"), 100_000)
    with pytest.warns(InputNote, match="all peaks are on one chromosome"):
        table = model.links_near(near, model.get_latent_representation(), model.cells)
    assert (table["score"] == table["contact"] * table["accessibility"]).all()
    assert table["fdr"].isna().all()


@pytest.mark.slow
@QUIET
def test_refusals(cells, model):
    places = places_of(cells)
    for wrong, words in (
        ({"distance": 0}, "distance"),
        ({"decay": -1}, "decay is -1"),
        ({"fdr": 2}, "fdr is 2"),
        ({"n_cells": 2}, "n_cells"),
        ({"groupby": "no such"}, "no such"),
        ({"groupby": ["a"] * 3}, "3 labels for 600 cells"),
        ({"groupby": [None] * 600}, "no label for any cell"),
    ):
        with pytest.raises(InputError, match=words):
            model.link_peaks(places, **wrong)
    with pytest.raises(InputError, match="none of the .* genes of the model"):
        model.link_peaks(places.assign(gene="x" + places["gene"]))
    with pytest.raises(InputError, match="no peak is within"):
        model.link_peaks(places.assign(seqnames="chrZ"))
    with pytest.raises(InputError, match="at least 3 cells"):
        model.link_peaks(places, cells[:2].copy())
