"""Features along pseudotime, against regressions written out."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import f as f_distribution
from stored import on_disk

import scmvp
from scmvp.tools.along import spline_basis


@pytest.fixture(scope="module")
def course():
    """Counts of 400 cells along a course: constant, rising, falling, waving, unseen."""
    rng = np.random.default_rng(0)
    t, size = rng.uniform(0, 2, 400), rng.lognormal(0, 0.5, 400)
    shapes = np.column_stack(
        [np.ones(400), np.exp(t - 1), np.exp(1 - t), np.exp(np.sin(3 * t)), np.zeros(400)]
    )
    mean = size[:, None] * shapes
    return sp.csr_matrix(rng.negative_binomial(3, 3 / (3 + mean))), t, size


LEVELS = 0.1 * 2.0 ** np.arange(14)
NAMES = ["constant", "rising", "falling", "waving", "unseen"]


def test_statistic_is_the_f_of_the_weighted_regression(course):
    counts, t, size = course
    table = scmvp.features_along(counts, pseudotime=t, size=size, features=NAMES, df=5)
    s = size / size.mean()
    basis = np.column_stack([np.ones(len(t)), spline_basis(t, 5)])
    for column, name in enumerate(NAMES[:4]):
        y = counts[:, [column]].toarray().ravel()
        mean = y.sum() / s.sum()
        a = ((y - mean * s) ** 2 - mean * s).sum() / (mean * (s**2).sum())
        nearest = LEVELS[np.abs(np.log(LEVELS / a)).argmin()]
        root = np.sqrt(s / (1 + nearest * s))
        residual = [
            np.linalg.lstsq(root[:, None] * x, root * y / s, rcond=None)[1][0]
            for x in (basis[:, :1], basis)
        ]
        weighted_mean = (root**2 * y / s).sum() / (root**2).sum()
        dispersion = max(residual[1] / (len(t) - 6) / weighted_mean, 1)
        f = (residual[0] - residual[1]) / 5 / dispersion / weighted_mean
        assert table.loc[name, "f"] == pytest.approx(f)
        assert table.loc[name, "p_value"] == pytest.approx(f_distribution.sf(f, 5, len(t) - 6))


def test_without_overdispersion_it_is_raos_score_test():
    """The score test of Poisson regression written out: U' I^-1 U at the constant."""
    rng = np.random.default_rng(3)
    t, s = rng.uniform(size=500), rng.lognormal(0, 0.4, 500)
    s /= s.mean()
    y = rng.binomial(2, 0.05 * s * np.exp(t))  # less than Poisson, so that a is 0
    table = scmvp.features_along(sp.csr_matrix(y[:, None]), pseudotime=t, size=s)
    mu = s * y.sum() / s.sum()
    basis = np.column_stack([np.ones(500), spline_basis(t, 4)])
    u = basis.T @ (y - mu)
    rao = u @ np.linalg.solve(basis.T @ (mu[:, None] * basis), u)
    dispersion = max((((y - mu) ** 2 / mu).sum() - rao) / 495, 1)
    assert table["f"].iloc[0] == pytest.approx(rao / 4 / dispersion)


def test_spline_is_that_of_r():
    # splines::bs(c(0, .1, .25, .4, .7, 1), df = 4)[c(2, 4), ], R 4.2
    t = np.array([0, 0.1, 0.25, 0.4, 0.7, 1])
    expected = [
        [0.588420574, 0.076686391, 0.003076923, 0.000000000],
        [0.320000000, 0.485925926, 0.192702332, 0.001371742],
    ]
    np.testing.assert_allclose(spline_basis(t, 4)[[1, 3]], expected, atol=1e-7)


def test_courses_are_distinguished_and_described(course):
    counts, t, size = course
    table = scmvp.features_along(counts, pseudotime=t, size=size, features=NAMES)
    assert set(table.index[:3]) == {"rising", "falling", "waving"}
    assert (table["q_value"][:3] < 1e-6).all() and table.loc["constant", "p_value"] > 0.01
    assert table.loc["rising", "peak"] > 1.8 and table.loc["falling", "peak"] < 0.2
    assert table.loc["rising", "log2_fold_change"] == pytest.approx(2 / np.log(2), rel=0.35)
    assert np.isnan(table.loc["unseen", ["p_value", "q_value", "peak"]].to_numpy(float)).all()
    trends = scmvp.trends_along(counts, pseudotime=t, size=size, features=NAMES)
    truth = np.exp(trends.columns.to_numpy(float) - 1)
    assert np.corrcoef(trends.loc["rising"], truth)[0, 1] > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("mean", [0.03, 0.3, 3.0, 30.0])
def test_p_values_of_nothing_are_uniform_or_larger(mean):
    """Also where size and pseudotime go together, and for counts far from Poisson."""
    rng = np.random.default_rng(1)
    t = rng.uniform(size=800)
    size = np.exp(0.6 * (2 * (t - 0.5) + rng.normal(0, 0.8, 800)))
    mu = np.repeat(mean * size[:, None] / size.mean(), 1500, axis=1)
    counts = sp.csr_matrix(rng.negative_binomial(2, 2 / (2 + mu)))
    p = scmvp.features_along(counts, pseudotime=t, size=size)["p_value"].dropna()
    for level in (0.1, 0.05, 0.01):
        error = np.sqrt(level * (1 - level) / len(p))
        assert level / 2 - 3 * error < (p < level).mean() < level + 3 * error


def test_counts_on_disk_and_some_of_the_cells_give_the_same(course):
    counts, t, size = course
    counts = counts.astype(np.float32)
    stored = on_disk(counts)
    expected = scmvp.features_along(counts, pseudotime=t)
    np.testing.assert_allclose(scmvp.features_along(stored, pseudotime=t), expected)
    some = np.arange(0, 400, 2)
    kept = scmvp.features_along(counts, pseudotime=t, cells=some)
    np.testing.assert_allclose(kept, scmvp.features_along(counts[some], pseudotime=t[some]))
    unknown = np.where(np.arange(400) % 2, np.nan, t)
    np.testing.assert_allclose(scmvp.features_along(counts, pseudotime=unknown), kept)


def test_of_a_mudata_by_name(refused):
    mdata = scmvp.simulate(300, 200, 300, 4, ordered=True, ambient=0, seed=1)
    table = scmvp.features_along(mdata, "rna", pseudotime="pseudotime")
    marker = mdata["rna"].var["marker_of"].astype(str) != ""
    assert marker[table.index[: marker.sum() // 2]].mean() > 0.95
    some = list(mdata["atac"].var_names[:5])
    part = scmvp.features_along(mdata, "atac", pseudotime="pseudotime", features=some)
    assert set(part.index) == set(some)
    trends = scmvp.trends_along(mdata, "atac", pseudotime="pseudotime", features=some)
    assert list(trends.index) == some and trends.shape == (5, 50)
    call = scmvp.features_along
    refused(lambda: call(mdata, "protein"), "protein", "rna")
    refused(lambda: call(mdata, "rna"), "scmvp_pseudotime", "diffusion")
    time = mdata.obs["pseudotime"].to_numpy()
    refused(lambda: call(mdata, "rna", pseudotime=time, features=["no"]), "'no'")
    refused(lambda: call(mdata, "rna", pseudotime=time, layer="no"), "layer 'no'")
    refused(lambda: call(mdata, "rna", pseudotime=time[:5]), "300 numbers")
    refused(lambda: call(mdata, "rna", pseudotime=time, cells=np.arange(29)), "29 cells")
    refused(lambda: call(mdata, "rna", pseudotime=np.ones(300)), "same pseudotime")
    refused(lambda: call(mdata, "rna", pseudotime=time, df=2), "df")
    some = np.arange(len(time)) < 35
    refused(
        lambda: call(mdata, "rna", pseudotime=time, cells=some),
        "df is 4, but only 35 cells have",
        "at most 3",
    )
    refused(lambda: call(mdata, "rna", pseudotime=np.round(time)), "too few different values")


def test_features_are_named_in_any_kind_of_list(refused):
    mdata = scmvp.simulate(n_cells=80, n_genes=40, n_peaks=60, n_types=2, seed=3)
    t, names = np.linspace(0, 1, 80), list(mdata["rna"].var_names[:3])

    def along(features, function=scmvp.features_along):
        return function(mdata, "rna", pseudotime=t, features=features)

    table, trends = along(names), along(names, scmvp.trends_along)
    assert len(table) == 3
    pd.testing.assert_frame_equal(along([*names, names[1], names[1]]), table)
    for kind in (pd.Index, pd.Series, np.array, tuple, iter):
        pd.testing.assert_frame_equal(along(kind(names)), table)
        pd.testing.assert_frame_equal(along(kind(names), scmvp.trends_along), trends)
    refused(lambda: along("Gene0001"), "as a list of names")


def test_a_matrix_is_of_counts(course, refused):
    counts, t, size = course
    # every entry in two parts
    parts = (np.repeat(counts.data, 2), np.repeat(counts.indices, 2), 2 * counts.indptr)
    twice = sp.csr_matrix(parts, shape=counts.shape)
    pd.testing.assert_frame_equal(
        scmvp.features_along(twice, pseudotime=t, size=size),
        scmvp.features_along(2 * counts, pseudotime=t, size=size),
    )
    # two entries of a place whose sum is beyond their type
    small = sp.csr_matrix(
        (np.full(80, 200, np.uint8), np.repeat(np.arange(40) % 2, 2), 2 * np.arange(41)),
        shape=(40, 2),
    )
    table = scmvp.features_along(small, pseudotime=np.arange(40), size=np.ones(40))
    assert table["mean"].tolist() == [200, 200]
    for odd in (-counts, counts * 0.3, counts.log1p()):
        refused(lambda odd=odd: scmvp.features_along(odd, pseudotime=t), "not counts", "raw counts")


def test_cells_of_one_pseudotime_may_be_in_any_order(course):
    counts, t, size = course
    hours = np.round(3 * t)
    order = np.lexsort([size, hours])
    given = {"pseudotime": hours, "size": size, "features": NAMES}
    mixed = {"pseudotime": hours[order], "size": size[order], "features": NAMES}
    pd.testing.assert_frame_equal(
        scmvp.features_along(counts[order], **mixed), scmvp.features_along(counts, **given)
    )
    trends = scmvp.trends_along(counts, **given)
    pd.testing.assert_frame_equal(scmvp.trends_along(counts[order], **mixed), trends)
