"""Activity of motifs: chromVAR's definition by brute force, and what it finds."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

import scmvp
from scmvp.data.motifs import genes_of
from scmvp.errors import InputError, InputNote
from scmvp.tools import motifs as tool
from scmvp.tools.profiles import counted, decoded

PEAKS = np.array([f"chr1-{1000 * i + 1}-{1000 * i + 501}" for i in range(120)])
QUIET = pytest.mark.filterwarnings("ignore::scmvp.errors.InputNote")


def cells_of(counts: np.ndarray, peaks: np.ndarray = PEAKS) -> AnnData:
    names = [f"cell{i}" for i in range(len(counts))]
    return AnnData(
        sp.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(index=names),
        var=pd.DataFrame(index=peaks[: counts.shape[1]]),
    )


def drawn(n_cells=30, n_peaks=120, seed=0, depth=1.0):
    rng = np.random.default_rng(seed)
    rate = rng.gamma(1.0, 1.0, n_peaks) * rng.uniform(0.5, 2, (n_cells, 1)) * depth
    return rng.poisson(rate), rng.uniform(0.3, 0.7, n_peaks)


def table_of(matches: np.ndarray, names=None) -> pd.DataFrame:
    names = [f"m{j}" for j in range(matches.shape[1])] if names is None else names
    return pd.DataFrame(matches, index=PEAKS[: len(matches)], columns=names)


def by_loop(counts, matches, background):
    """z and corrected deviations of chromVAR, one cell, motif and background set at a time."""
    counts = counts.astype(float)
    expectation = counts.sum(0) / counts.sum()
    shape = (len(counts), matches.shape[1])
    z, corrected = np.full(shape, np.nan), np.full(shape, np.nan)
    for cell in range(shape[0]):
        for motif in range(shape[1]):
            there = np.flatnonzero(matches[:, motif])
            depth = counts[cell].sum()

            def deviation(of, cell=cell, depth=depth):
                expected = sum(expectation[p] for p in of) * depth
                return (sum(counts[cell, p] for p in of) - expected) / expected

            if not len(there) or expectation[there].sum() * depth < 1:
                continue
            sets = [deviation(background[there, i]) for i in range(background.shape[1])]
            corrected[cell, motif] = deviation(there) - np.mean(sets)
            z[cell, motif] = corrected[cell, motif] / np.std(sets, ddof=1)
    return z, corrected


@QUIET
@pytest.mark.parametrize("with_gc", [True, False])
def test_deviations_are_those_of_chromvar(with_gc):
    counts, gc = drawn()
    counts[:, 7] = 0  # a peak that no cell has
    rng = np.random.default_rng(1)
    matches = (rng.random((120, 5)) < 0.2).astype(float)
    given = pd.Series(gc, PEAKS) if with_gc else None
    found = scmvp.motif_activity(
        cells_of(counts), table_of(matches), gc=given, n_background=8, seed=3
    )
    seen = counts.sum(0) > 0
    background = tool.background_by_name(
        PEAKS[seen], counts[:, seen].sum(0), gc[seen] if with_gc else None, 8,
        np.random.default_rng(3),
    )  # fmt: skip
    z, corrected = by_loop(counts[:, seen], matches[seen], background)
    np.testing.assert_allclose(found.X, z, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.layers["deviations"], corrected, rtol=0, atol=1e-10)
    assert list(found.var["n_peaks"]) == list(matches[seen].sum(0))
    assert list(found.obs_names) == [f"cell{i}" for i in range(30)]


def test_dense_blocks_give_what_one_sparse_matrix_gives(monkeypatch):
    counts, gc = drawn()
    matches = sp.csr_matrix((np.random.default_rng(1).random((120, 9)) < 0.2).astype(float))
    background = tool.background_peaks(counts.sum(0) + 1, gc, 5, np.random.default_rng(0))
    whole = tool.deviations_of(
        counted(sp.csr_matrix(counts, dtype=np.float32)), matches, background
    )
    monkeypatch.setattr(tool, "_CHUNK", 2)
    dense = counts.astype(np.float32)
    parts = decoded(lambda: iter([dense[:7], dense[7:8], dense[8:]]))
    for one, other in zip(whole, tool.deviations_of(parts, matches, background), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)


def test_background_peaks_are_like_the_peaks_they_replace():
    rng = np.random.default_rng(0)
    n = 4000
    gc = rng.normal(0.5, 0.08, n).clip(0.2, 0.8)
    totals = np.ceil(10 ** rng.normal(2, 0.5, n) * (1 + 2 * gc))
    chosen = np.argsort(gc)[-600:]  # a motif in peaks rich in GC, which are more open
    background = tool.background_peaks(totals, gc, 50, rng)
    assert background.shape == (n, 50)
    log = np.log10(totals)
    for side in (log, gc):
        sets = side[background[chosen]].mean(0)
        assert np.abs(sets - side[chosen].mean()).max() < 0.06 * side.std()
        # and not only in the mean: each is near the peak it replaces
        off = np.abs(side[background[chosen]] - side[chosen][:, None])
        assert np.median(off) < 0.2 * side.std()
    # without GC content it is not matched, and accessibility still is
    alone = tool.background_peaks(totals, None, 50, np.random.default_rng(0))
    assert abs(log[alone[chosen]].mean() - log[chosen].mean()) < 0.05 * log.std()
    assert gc[chosen].mean() - gc[alone[chosen]].mean() > gc.std()


def test_background_is_drawn_with_the_density_of_the_kernel():
    """Two bins at a known distance: the rate of one in the place of the other is known."""
    totals = np.repeat([100.0, 110.0, 10_000.0], [50, 150, 200])
    background = tool.background_peaks(totals, None, 4000, np.random.default_rng(0))
    place = np.log10(totals) / np.log10(totals).std(ddof=1)
    step = np.ptp(place) / 49
    apart = np.rint((place[60] - place[0]) / step) * step
    weight = np.exp(-(apart**2) / (2 * 0.1**2))
    expected = weight / (1 + weight)  # a bin first, then a peak in it
    near = (background[:50] >= 50) & (background[:50] < 200)
    assert abs(near.mean() - expected) < 0.01
    assert not (background[:50] >= 200).any()


@pytest.mark.slow
@QUIET
def test_random_motifs_have_standard_normal_z_scores():
    rng = np.random.default_rng(5)
    n_cells, n_peaks = 200, 3000
    peaks = np.array([f"chr1-{1000 * i + 1}-{1000 * i + 501}" for i in range(n_peaks)])
    rate = rng.gamma(2.0, 0.5, n_peaks)
    counts = rng.poisson(rate * rng.uniform(0.3, 1, (n_cells, 1)))
    matches = sp.csr_matrix((rng.random((n_peaks, 40)) < 0.1).astype(float))
    gc = pd.Series(rng.uniform(0.3, 0.7, n_peaks), peaks)
    motifs = (matches, peaks, [f"m{j}" for j in range(40)])
    z = scmvp.motif_activity(cells_of(counts, peaks), motifs, gc=gc, seed=1).X
    assert abs(z.mean()) < 0.05
    assert 0.9 < z.std() < 1.1
    assert 0.03 < (np.abs(z) > 1.96).mean() < 0.08


def typed(seed=0, n_cells=240, n_peaks=900, fold=3.0):
    """Cells of three types; the peaks of motif 'A', 'B', 'C' are more open in one of them."""
    rng = np.random.default_rng(seed)
    peaks = np.array([f"chr2-{1000 * i + 1}-{1000 * i + 501}" for i in range(n_peaks)])
    kind = np.repeat([0, 1, 2], n_cells // 3)
    matches = rng.random((n_peaks, 10)) < 0.08
    rate = rng.gamma(1.0, 0.15, n_peaks) + 0.02
    lift = np.where(matches[:, :3], fold, 1.0)
    counts = rng.poisson(rate * lift[:, kind].T)
    table = pd.DataFrame(matches, peaks, ["A", "B", "C", *[f"other{j}" for j in range(7)]])
    adata = cells_of(counts, peaks)
    adata.obs["kind"] = pd.Categorical.from_codes(kind, ["a", "b", "c"])
    return adata, table


@QUIET
def test_a_motif_whose_peaks_are_open_in_a_type_is_the_first_there():
    adata, table = typed()
    activity = scmvp.motif_activity(adata, table)
    activity.obs["kind"] = adata.obs["kind"]
    ranks = scmvp.rank_motifs(activity, "kind")
    assert list(ranks.groupby("group", sort=False)["motif"].first()) == ["A", "B", "C"]
    assert (ranks.groupby("group", sort=False)["auroc"].first() > 0.95).all()


@QUIET
def test_seeds_names_and_their_order():
    adata, table = typed()
    first = scmvp.motif_activity(adata, table, seed=4)
    again = scmvp.motif_activity(adata, table, seed=4)
    other = scmvp.motif_activity(adata, table, seed=5)
    assert np.array_equal(first.X, again.X)
    assert not np.array_equal(first.X, other.X)
    shuffled = table.iloc[np.random.default_rng(0).permutation(len(table))]
    assert np.array_equal(first.X, scmvp.motif_activity(adata, shuffled, seed=4).X)
    respelled = table.set_axis([name.replace("-", ":", 1) for name in table.index])
    assert np.array_equal(first.X, scmvp.motif_activity(adata, respelled, seed=4).X)
    cells = np.random.default_rng(1).permutation(adata.n_obs)
    moved = scmvp.motif_activity(adata[cells].copy(), table, seed=4)[first.obs_names]
    np.testing.assert_allclose(first.X, moved.X, atol=1e-9)
    peaks = np.random.default_rng(2).permutation(adata.n_vars)
    moved = scmvp.motif_activity(adata[:, peaks].copy(), table, seed=4)
    np.testing.assert_allclose(first.X, moved.X, atol=1e-9)


@QUIET
def test_all_forms_of_a_table_are_read_alike():
    adata, table = typed(n_cells=30)
    adata.varm["matches"] = table
    as_tuple = (sp.csc_matrix(table.to_numpy(float) * 2), table.index, table.columns)
    as_anndata = AnnData(
        sp.csr_matrix(table.to_numpy(np.float32)),
        obs=pd.DataFrame(index=table.index),
        var=pd.DataFrame({"gene": table.columns}, index=table.columns),
    )
    expected = scmvp.motif_activity(adata, table).X
    for motifs in ("matches", as_tuple, as_anndata, table.astype(int)):
        assert np.array_equal(scmvp.motif_activity(adata, motifs).X, expected, equal_nan=True)


def test_what_is_missing_is_told():
    adata, table = typed(n_cells=30)
    gc = pd.Series(0.5, table.index)
    with pytest.warns(InputNote, match="matched by accessibility only"):
        scmvp.motif_activity(adata, table)
    with pytest.warns(InputNote, match="100 peaks are not in the table of motifs"):
        scmvp.motif_activity(adata, table.iloc[100:], gc=gc)
    with pytest.warns(InputNote, match="1 motif is in no peak .*'none'"):
        found = scmvp.motif_activity(adata, table.assign(none=0), gc=gc)
    assert np.isnan(found[:, "none"].X).all()
    with pytest.warns(InputNote, match="GC content of 1 peak is not known and taken"):
        scmvp.motif_activity(adata, table, gc=gc.iloc[1:])
    empty = adata.copy()
    empty.X = sp.csr_matrix(np.vstack([np.zeros((1, 900)), adata.X.toarray()[1:]]), dtype="f4")
    with pytest.warns(InputNote, match="are missing"):
        found = scmvp.motif_activity(empty, table, gc=gc)
    assert np.isnan(found.X[0]).all()
    assert np.isfinite(found.X[1:]).mean() > 0.95
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # all peaks known, all cells deep
        scmvp.motif_activity(
            cells_of(drawn(depth=9)[0]),
            table_of(np.eye(120)[:, :2] + np.eye(120)[:, 2:4]),
            gc=pd.Series(drawn()[1], PEAKS),
        )


def test_one_cell():
    counts, gc = drawn(n_cells=1, depth=5)
    matches = (np.random.default_rng(0).random((120, 3)) < 0.3).astype(float)
    found = scmvp.motif_activity(cells_of(counts), table_of(matches), gc=pd.Series(gc, PEAKS))
    # all deviations of the only cell from the mean of all cells are 0
    np.testing.assert_allclose(found.layers["deviations"], 0, atol=1e-12)


@QUIET
@pytest.mark.parametrize(
    ("motifs", "options", "says"),
    [
        (lambda t: t.astype(float).replace(1.0, np.nan), {}, "not finite"),
        (lambda t: -t.astype(float), {}, "below 0"),
        (lambda t: t.astype(str), {}, "not numbers"),
        (lambda t: t.set_axis([f"x{i}" for i in range(len(t))]), {}, "only 0 of the 900 peaks"),
        (lambda t: t.T, {}, "only 0 of the 900 peaks"),
        (lambda t: t.iloc[:, [0, 0]], {}, "1 motif twice"),
        (lambda t: t.iloc[[0, 0]], {}, "1 peak twice"),
        (lambda t: t.iloc[:, :0], {}, "no column"),
        (lambda t: t & False, {}, "no motif is in any peak"),
        (lambda t: 3, {}, "motifs must be a DataFrame"),
        (lambda t: (t.to_numpy(), t.index[1:], t.columns), {}, "899 peak names"),
        (lambda t: "absent", {}, "neither a file nor a table in varm|no file 'absent'"),
        (lambda t: t, {"gc": "gc"}, "gc is 'gc', which is no column"),
        (lambda t: t, {"gc": np.zeros(900)}, "gc must be a Series"),
        (lambda t: t, {"gc": pd.Series(0.4, ["a"])}, "not known for any peak"),
        (lambda t: t, {"gc": pd.Series(0.4, ["a", "a"])}, "gc has 1 peak twice"),
        (lambda t: t, {"gc": pd.Series(-1.0, ["chr2-1-501"])}, "below 0 or above 100"),
        (lambda t: t, {"n_background": 1}, "n_background is 1"),
        (lambda t: t, {"p_value": 0}, "p_value is 0"),
        (lambda t: t, {"fasta": "/nowhere.fa"}, "no file '/nowhere.fa'"),
    ],
)
def test_what_cannot_be_used_is_refused(motifs, options, says):
    adata, table = typed(n_cells=30)
    with pytest.raises(InputError, match=says):
        scmvp.motif_activity(adata, motifs(table), **options)


def test_genes_of_motifs():
    names = np.array(["SPI1", "MA0080.5_SPI1", "MA0099.3 FOS::JUN", "RARA(var.2)", "UN0001.1"])
    assert list(genes_of(names)) == ["SPI1", "SPI1", "FOS::JUN", "RARA", "UN0001.1"]


# ---- of a model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    mdata = scmvp.simulate(n_cells=150, n_genes=150, n_peaks=400, n_types=3, seed=2)
    model = scmvp.SCMVP(mdata, n_clusters=3, min_cells=1).train(max_epochs=3, threads=1)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.random((len(model.peaks), 6)) < 0.1, model.peaks)
    return mdata, model, table


@pytest.mark.slow
@QUIET
def test_a_model_sums_what_it_decodes(fitted):
    mdata, model, table = fitted
    gc = pd.Series(np.random.default_rng(1).uniform(0.3, 0.7, len(table)), table.index)
    found = model.motif_activity(table, gc=gc, n_background=6)
    values = model.get_accessibility_estimates().astype(np.float64)
    background = tool.background_by_name(
        model.peaks, values.sum(0), gc.to_numpy(), 6, np.random.default_rng(0)
    )
    # by hand, for one cell and one motif
    share = values.sum(0) / values.sum()
    there = np.flatnonzero(table.iloc[:, 0])
    depth = values[0].sum()
    raw = values[0, there].sum() / (share[there].sum() * depth) - 1
    sets = [values[0, b].sum() / (share[b].sum() * depth) - 1 for b in background[there].T]
    assert abs(found.X[0, 0] - (raw - np.mean(sets)) / np.std(sets, ddof=1)) < 1e-5
    assert list(found.obs_names) == list(mdata.obs_names)
    again = model.motif_activity(table, mdata, gc=gc, n_background=6)
    np.testing.assert_allclose(found.X, again.X, atol=1e-3)


@QUIET
def test_measured_counts_of_a_model_are_those_of_its_peaks(fitted):
    mdata, model, table = fitted
    found = model.motif_activity(table, imputed=False, seed=2)
    alone = scmvp.motif_activity(mdata["atac"][:, model.peaks].copy(), table, seed=2)
    assert np.array_equal(found.X, alone.X, equal_nan=True)
    with pytest.raises(InputError, match="^batch is for imputed values; leave it out"):
        model.motif_activity(table, imputed=False, batch="a")
