from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit

import scmvp
from scmvp.errors import InputNote

TERMS = (
    "log contact", "log accessibility", "log support", "log pairs of the gene", "promoter",
    "promoter of another gene",
)  # fmt: skip
TRUE = dict(zip(TERMS, (0.8, 0.5, 1.2, -0.6, 0.7, -0.4), strict=True))
KINDS = np.array(["distal", "promoter", "promoter of another gene"])


def table_of(n_genes: int = 400, seed: int = 0) -> pd.DataFrame:
    """Pairs as link_peaks has them, with factors drawn at random."""
    rng = np.random.default_rng(seed)
    of_gene = np.repeat(np.arange(n_genes), rng.integers(5, 80, n_genes))
    n = len(of_gene)
    center = rng.permutation(n) * 1000 + 500
    chrom = np.array([f"chr{i % 7 + 1}" for i in range(n_genes)])[of_gene]
    return pd.DataFrame(
        {
            "gene": [f"g{i}" for i in of_gene],
            "peak": [f"{c}:{x - 250}-{x + 250}" for c, x in zip(chrom, center, strict=True)],
            "score": rng.uniform(size=n),
            "contact": rng.uniform(0.01, 1, n),
            "accessibility": rng.gamma(1.0, 1.0, n),
            "support": rng.gamma(0.5, 3.0, n),
            "kind": rng.choice(KINDS, n, p=[0.8, 0.1, 0.1]),
            "seqnames": chrom,
        }
    )


def terms_of(links: pd.DataFrame) -> np.ndarray:
    size = links["gene"].value_counts()
    return np.column_stack(
        [
            np.log(links["contact"]), np.log(links["accessibility"].clip(lower=1e-3)),
            np.log((1 + links["support"]) / 2), np.log([size[gene] for gene in links["gene"]]),
            links["kind"] == KINDS[1], links["kind"] == KINDS[2],
        ]
    ).astype(float)  # fmt: skip


@pytest.fixture(scope="module")
def case():
    links = table_of()
    odds = terms_of(links) @ list(TRUE.values()) + 1.0
    linked = np.random.default_rng(1).uniform(size=len(links)) < expit(odds)
    return links, linked, odds


def known_of(links: pd.DataFrame, linked: np.ndarray) -> pd.DataFrame:
    return links[["gene", "peak"]].assign(linked=linked)


def best_weights(x: np.ndarray, linked: np.ndarray) -> np.ndarray:
    """Intercept and weights with the largest posterior, by a general minimizer."""
    mean, sd = x.mean(0), x.std(0)
    scaled = (x - mean) / sd

    def loss(w):
        odds = w[0] + scaled @ w[1:]
        return np.logaddexp(0, odds).sum() - odds[linked].sum() + 0.5 * (w[1:] ** 2).sum()

    def slope(w):
        rest = expit(w[0] + scaled @ w[1:]) - linked
        return np.concatenate([[rest.sum()], scaled.T @ rest + w[1:]])

    w = minimize(loss, np.zeros(1 + x.shape[1]), jac=slope, method="BFGS", tol=1e-9).x
    return np.concatenate([[w[0] - (w[1:] * mean / sd).sum()], w[1:] / sd])


def test_weights_are_those_of_a_general_minimizer_and_near_the_true_ones(case):
    links, linked, _ = case
    found = scmvp.calibrate_links(links, known_of(links, linked)).attrs["weights"]
    wanted = best_weights(terms_of(links), linked)
    assert tuple(found["weights"]) == TERMS
    np.testing.assert_allclose([found["intercept"], *found["weights"].values()], wanted, rtol=1e-3)
    np.testing.assert_allclose(wanted[1:], [*TRUE.values()], atol=0.2)
    assert found["pairs"] == len(links) and found["linked"] == linked.sum()
    precision = found["average_precision"]
    assert precision["calibrated"] > max(precision["contact"], precision["score"]) + 0.1


@pytest.mark.slow
def test_probabilities_are_calibrated_and_of_other_chromosomes(case):
    links, linked, odds = case
    result = scmvp.calibrate_links(links, known_of(links, linked))
    assert "calibrated" not in links
    calibrated = result["calibrated"].to_numpy()
    for part in np.array_split(np.argsort(calibrated), 5):
        error = 4 * np.sqrt(calibrated[part].mean() / len(part))
        assert abs(calibrated[part].mean() - linked[part].mean()) < error
    assert np.abs(calibrated - expit(odds)).mean() < 0.02
    # with seven chromosomes in five folds the largest is alone in its fold
    here = (links["seqnames"] == links["seqnames"].value_counts().index[0]).to_numpy()
    x, w = terms_of(links), best_weights(terms_of(links)[~here], linked[~here])
    np.testing.assert_allclose(calibrated[here], expit(w[0] + x[here] @ w[1:]), rtol=1e-3)
    # so that what is known of them has no part in their own probabilities
    other = np.where(here, ~linked, linked)
    again = scmvp.calibrate_links(links, known_of(links, other))["calibrated"].to_numpy()
    np.testing.assert_array_equal(again[here], calibrated[here])


def test_pairs_that_are_not_known_get_the_weights_of_all_that_are(case):
    links, linked, _ = case
    some = np.random.default_rng(2).uniform(size=len(links)) < 0.3
    known = known_of(links, linked)[some].sample(frac=1, random_state=0)
    known = pd.concat([known, known.assign(peak="chr1:1-2"), known.assign(linked=False)])
    with pytest.warns(InputNote, match="known pairs are not among the links"):
        result = scmvp.calibrate_links(links, known)
    assert result.attrs["weights"]["pairs"] == some.sum()
    assert result.attrs["weights"]["linked"] == linked[some].sum()
    weights = json.loads(json.dumps(result.attrs["weights"]))
    applied = scmvp.calibrate_links(links, weights=weights)
    same = np.isclose(applied["calibrated"], result["calibrated"], rtol=1e-12, atol=0)
    assert same[~some].all() and not same[some].any()
    assert applied.attrs["weights"] == weights


@pytest.mark.slow
def test_known_peaks_are_matched_in_any_spelling(case):
    links, linked, _ = case
    listed = links.loc[linked, ["gene", "peak"]]
    assert listed["peak"].str.fullmatch(r"chr\d+:\d+-\d+").all()
    respelled = listed["peak"].str.replace(":", "-")
    half = np.arange(len(listed)) % 2 == 0
    other = listed.assign(peak=np.where(half, respelled, listed["peak"]))
    wanted = scmvp.calibrate_links(links, listed)
    pd.testing.assert_frame_equal(scmvp.calibrate_links(links, other), wanted)
    unknown = listed.assign(peak=np.where(half, "chr1-1-2", listed["peak"]))
    n = f"{half.sum():,} of {len(listed):,} known pairs are not among the links"
    with pytest.warns(InputNote, match=n):
        scmvp.calibrate_links(links, unknown)


def test_a_list_of_links_makes_the_other_pairs_of_its_genes_unlinked(case):
    links, linked, _ = case
    first = links["gene"].str[1:].astype(int).to_numpy() < 150
    listed = links.loc[linked & first, ["gene", "peak"]]
    result = scmvp.calibrate_links(links, listed).attrs["weights"]
    genes = set(listed["gene"])
    assert result["pairs"] == links["gene"].isin(genes).sum()
    assert result["linked"] == (linked & first).sum()


@pytest.mark.slow
def test_ranges_stand_for_the_peaks_that_they_overlap(case):
    links, linked, _ = case
    parts = links["peak"].str.extract(r"(\w+):(\d+)-(\d+)").astype({1: int, 2: int})
    rng = np.random.default_rng(3)
    moved = rng.integers(-600, 600, len(links))
    known = pd.DataFrame(
        {
            "gene": links["gene"], "chrom": parts[0].str[3:], "start": parts[1] + moved,
            "end": parts[2] + moved, "linked": linked,
        }
    )[::2]  # fmt: skip
    found = scmvp.calibrate_links(links, known).attrs["weights"]
    tested, of_link = set(), set()
    for gene, rows in known.groupby("gene"):
        start, end = rows["start"].to_numpy(), rows["end"].to_numpy()
        for at in np.flatnonzero(links["gene"] == gene):  # genes of a case are on one chromosome
            hit = (parts[1][at] < end) & (parts[2][at] > start)
            if hit.any():
                tested.add(at)
                if rows["linked"].to_numpy()[hit].any():
                    of_link.add(at)
    assert (found["pairs"], found["linked"]) == (len(tested), len(of_link))
    assert 100 < len(of_link) < len(tested) < len(links)


@pytest.mark.slow
def test_a_gene_whose_known_range_is_on_no_peak_is_learned_from_as_by_name(case):
    links, linked, _ = case
    listed = links.loc[linked & (links.index < 8000), ["gene", "peak"]]
    parts = listed["peak"].str.extract(r"(\w+):(\d+)-(\d+)").astype({1: int, 2: int})
    ranges = listed[["gene"]].assign(chrom=parts[0], start=parts[1], end=parts[2])
    far = links["gene"].iloc[[-1]]
    by_name = pd.concat([listed, pd.DataFrame({"gene": far, "peak": "chr1:1-2"})])
    by_range = pd.concat([ranges, pd.DataFrame({"gene": far, "chrom": "1", "start": 1, "end": 2})])
    found = []
    for known in (by_name, by_range):
        with pytest.warns(InputNote, match="1 of .* known pairs is not among the links"):
            found.append(scmvp.calibrate_links(links, known).attrs["weights"])
    assert found[0] == found[1]


@pytest.mark.slow
def test_the_index_and_the_type_of_columns_make_no_difference(case):
    links, linked, _ = case
    known = known_of(links, linked)
    wanted = scmvp.calibrate_links(links, known)
    shuffled = links.sample(frac=1, random_state=0).set_index("gene", drop=False)
    text = shuffled.astype({"contact": str, "kind": "category", "seqnames": "category"})
    found = scmvp.calibrate_links(text, known.astype("category"))
    assert found.index.equals(shuffled.index)
    merged = found.reset_index(drop=True).merge(wanted, on=["gene", "peak"])
    np.testing.assert_allclose(merged["calibrated_x"], merged["calibrated_y"], rtol=1e-5)
    numbered = scmvp.calibrate_links(links.assign(group=1), known.assign(group=1.0))
    np.testing.assert_array_equal(numbered["calibrated"], wanted["calibrated"])


@pytest.mark.slow
def test_groups_have_factors_of_their_own(case):
    links, linked, _ = case
    both = pd.concat(
        [links.assign(group="a"), links.assign(group="b", accessibility=links["accessibility"] / 9)]
    )
    known = known_of(links, linked).assign(group="a")
    result = scmvp.calibrate_links(both, known)
    alone = scmvp.calibrate_links(links, known_of(links, linked))
    assert result.attrs["weights"] == alone.attrs["weights"]
    of_a = (result["group"] == "a").to_numpy()
    np.testing.assert_array_equal(result["calibrated"][of_a], alone["calibrated"])
    weight = alone.attrs["weights"]["weights"]["log accessibility"]
    assert weight > 0 and (result["calibrated"][~of_a] < result["calibrated"][of_a]).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.update(known=None), ["known links or weights"]),
        (lambda a: a.update(weights={}), ["known links or weights"]),
        (lambda a: a.update(links="x"), ["links must be a data frame"]),
        (
            lambda a: a.update(links=a["links"].drop(columns="support")),
            ["lacks 'support' (it has gene, "],
        ),
        (lambda a: a.update(links=a["links"][:0]), ["links has no rows"]),
        (lambda a: a.update(links=a["links"].assign(contact=np.nan)), ["'contact' of links"]),
        (lambda a: a.update(links=a["links"].assign(group="a")), ["no column 'group'"]),
        (
            lambda a: a.update(
                links=a["links"].assign(gene=a["links"]["gene"].where(a["links"].index > 3))
            ),
            ["'gene' of links has missing values (4 rows)"],
        ),
        (
            lambda a: a.update(known=a["known"].assign(gene=None)),
            ["'gene' of known has missing values"],
        ),
        (lambda a: a.update(links=a["links"].assign(score=np.nan)), ["'score' of links"]),
        (
            lambda a: a.update(links=pd.concat([a["links"], a["links"][["contact"]]], axis=1)),
            ["several columns 'contact'"],
        ),
        (lambda a: a.update(known=[1]), ["known must be a data frame"]),
        (lambda a: a.update(known=a["known"].drop(columns="peak")), ["known needs the columns"]),
        (lambda a: a.update(known=a["known"][:0]), ["known has no rows"]),
        (
            lambda a: a.update(known=a["known"].assign(gene="x")),
            ["none of the known pairs (genes 'x')"],
        ),
        (lambda a: a.update(known=a["known"].assign(linked=2)), ["other values than 0 and 1"]),
        (lambda a: a.update(known=a["known"].assign(linked=True)), ["give at least 10 of each"]),
        (lambda a: a.update(links=a["links"].assign(seqnames="chr1")), ["are on chr1", "two"]),
        (
            lambda a: a.update(links=a["links"].assign(
                seqnames=np.where(a["known"]["linked"], "chr1", "chr2")
            )),
            ["the other", "more chromosomes"],
        ),
        (
            lambda a: a.update(known=a["known"].drop(columns="peak").assign(
                chrom="chr1", start="x", end=1)
            ),
            ["'start' of known", "base pairs"],
        ),
        (lambda a: a.update(known=None, weights={"intercept": 1}), ["weights must have a number"]),
    ],
)  # fmt: skip
def test_refusals(case, refused, change, words):
    links, linked, _ = case
    arguments = {"links": links, "known": known_of(links, linked)}
    change(arguments)
    refused(lambda: scmvp.calibrate_links(**arguments), *words)
