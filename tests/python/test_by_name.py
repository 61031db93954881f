"""Cells go by their names: every function on one MuData in many orders gives the same results.

The truth is the MuData whose modalities have their cells in the order of `obs_names`.
"""

from __future__ import annotations

import functools

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from mudata import MuData
from test_rbridge import r_has

import scmvp

pytestmark = pytest.mark.filterwarnings("ignore")


def reordered(mdata: MuData, orders: dict, reverse: bool = False) -> MuData:
    """Each modality with its cells in another order; the columns of obs and obsm come along."""
    parts = {name: mdata[name][order].copy() for name, order in orders.items()}
    found = MuData(dict(reversed(parts.items())) if reverse else parts)
    found.obs = mdata.obs.loc[found.obs_names]
    for key, values in mdata.obsm.items():
        found.obsm[key] = (
            pd.DataFrame(values, index=mdata.obs_names).loc[found.obs_names].to_numpy()
        )
    return found


def view_of(mdata: MuData, rng: np.random.Generator) -> MuData:
    """The same cells as a view of a MuData with more of them, shuffled."""
    more = {}
    for name, adata in mdata.mod.items():
        other = adata[:50].copy()
        other.obs_names = [f"{cell}-other" for cell in other.obs_names]
        more[name] = ad.concat([other, adata], merge="same")
    orders = {name: rng.permutation(adata.n_obs) for name, adata in more.items()}
    whole = MuData({name: more[name][order].copy() for name, order in orders.items()})
    names = rng.permutation(mdata.obs_names)
    view = whole[names]
    assert view.is_view
    view.obs = mdata.obs.loc[names]
    for key, values in mdata.obsm.items():
        view.obsm[key] = pd.DataFrame(values, index=mdata.obs_names).loc[names].to_numpy()
    return view


@pytest.fixture(scope="module")
def cells() -> MuData:
    mdata = scmvp.simulate(n_cells=200, n_genes=120, n_peaks=200, n_types=3, seed=5)
    rng = np.random.default_rng(0)
    mdata.obs["donor"] = pd.Categorical(rng.choice(["a", "b"], mdata.n_obs))
    mdata.obs["t"] = rng.random(mdata.n_obs)
    mdata.obsm["X_scmvp"] = rng.standard_normal((mdata.n_obs, 4))
    return mdata


FORMS = ("atac permuted", "rna permuted", "atac first", "both reversed", "view")
some_slow = [
    form if form in ("atac first", "view") else pytest.param(form, marks=pytest.mark.slow)
    for form in FORMS
]


@pytest.fixture(scope="module")
def forms(cells) -> dict[str, MuData]:
    rng = np.random.default_rng(1)
    n = cells.n_obs
    same, mixed, back = np.arange(n), rng.permutation(n), np.arange(n)[::-1]
    made = (
        reordered(cells, {"rna": same, "atac": mixed}),
        reordered(cells, {"rna": mixed, "atac": same}),
        reordered(cells, {"rna": same, "atac": mixed}, reverse=True),
        reordered(cells, {"rna": back, "atac": back}),
        view_of(cells, rng),
    )
    return dict(zip(FORMS, made, strict=True))


@pytest.fixture(scope="module")
def model(cells) -> scmvp.SCMVP:
    return scmvp.SCMVP(cells, n_clusters=3, batch="donor").train(max_epochs=2, threads=1)


def named(values: np.ndarray, mdata: MuData) -> pd.DataFrame:
    return pd.DataFrame(values, index=mdata.obs_names)


# What a user does with a MuData: results per cell as tables by name, others as they are.
def latent(model, mdata, tmp_path):
    return named(model.get_latent_representation(mdata), mdata)


def clusters(model, mdata, tmp_path):
    return named(model.predict(mdata)[:, None], mdata)


def accessibility_of_some(model, mdata, tmp_path):
    some = sorted(mdata.obs_names)[:20]
    return pd.DataFrame(
        model.get_accessibility_estimates(mdata, peaks=model.peaks[:9], cells=some), index=some
    )


def imputed_file(model, mdata, tmp_path):
    model.impute_to_file(tmp_path / "x.h5", "atac", mdata, features=model.peaks[:5])
    return ad.read_h5ad(tmp_path / "x.h5").to_df()


def between_types(model, mdata, tmp_path):
    return model.differential_expression(mdata, groupby="cell_type").drop(
        columns=["lfc_model", "lfc_model_sd"]  # of cells drawn in their order
    )


def between_named_labels(model, mdata, tmp_path):
    labels = mdata.obs["cell_type"].sort_index()  # a Series: by its index
    return model.differential_expression(mdata, groupby=labels).drop(
        columns=["lfc_model", "lfc_model_sd"]
    )


def of_a_mask(model, mdata, tmp_path):
    mask = (mdata.obs["cell_type"] == mdata.obs["cell_type"].cat.categories[0]).to_numpy()
    return model.differential_expression(mdata, group1=mask).drop(
        columns=["lfc_model", "lfc_model_sd"]
    )


def ordered(model, mdata, tmp_path):
    pytest.importorskip("scanpy")
    mine = mdata.copy()
    mine.obsm["X_scmvp"] = model.get_latent_representation(mine)
    scmvp.diffusion(mine, root=sorted(mine.obs_names)[0], n_neighbors=40)
    return mine.obs[["scmvp_pseudotime"]].round(4)


def along(model, mdata, tmp_path):
    return scmvp.features_along(mdata, "atac", pseudotime="t", cells=mdata.obs["t"] > 0.2)


def along_an_array(model, mdata, tmp_path):
    return scmvp.features_along(mdata, "rna", pseudotime=mdata.obs["t"].to_numpy())


def trends(model, mdata, tmp_path):
    return scmvp.trends_along(mdata, "rna", pseudotime=mdata.obs["t"].sort_index())


def transferred(model, mdata, tmp_path):
    mine = mdata.copy()
    mine.obsm["X_scmvp"] = model.get_latent_representation(mine)
    calibration = mine[sorted(mine.obs_names)].copy()  # in an order of its own
    table = scmvp.transfer_labels(
        mine, mine.obs["cell_type"].sort_index(), mine, calibration=calibration, n_neighbors=20
    )
    return table.drop(columns="p_value")  # calibrated on cells at even places


def filtered(model, mdata, tmp_path):
    detected = {name: mdata[name].to_df() > 0 for name in ("rna", "atac")}
    least = [int(part.sum(axis=1).quantile(0.2)) + 1 for part in detected.values()]
    rna, atac = (part.sum(axis=1) >= n for part, n in zip(detected.values(), least, strict=True))
    names = mdata.obs_names[(rna & atac).loc[mdata.obs_names]]
    rarest = max(part.loc[names].sum().min() for part in detected.values())
    kept = scmvp.filter_paired(mdata, *least, int(rarest) + 1, verbose=False)
    assert set(kept.obs_names) == set(names)
    assert all(0 < kept[name].n_vars < mdata[name].n_vars for name in detected)
    assert 0 < kept.n_obs < mdata.n_obs
    both = [kept[name].to_df().loc[kept.obs_names] for name in detected]
    return pd.concat([*both, kept.obs[["t"]]], axis=1)


def sums(model, mdata, tmp_path):
    return scmvp.pseudobulk(mdata, "donor", "cell_type", "atac", min_cells=2).to_df()


def sums_of_an_array(model, mdata, tmp_path):
    kind = mdata.obs["cell_type"].sort_index()
    return scmvp.pseudobulk(mdata, mdata.obs["donor"].to_numpy(), kind, min_cells=2).to_df()


# Embedding by one modality, imputation and tests between unnamed labels: test_container_fuzz.py.
VERBS = (
    latent, clusters, accessibility_of_some, imputed_file, between_types, between_named_labels,
    of_a_mask, ordered, along, along_an_array, trends, transferred, filtered, sums,
    sums_of_an_array,
)  # fmt: skip


@pytest.fixture(scope="module")
def truth(cells, model, tmp_path_factory):
    """What a verb gives for the plain form."""
    return functools.cache(lambda verb: verb(model, cells, tmp_path_factory.mktemp("truth")))


def equal(found: pd.DataFrame, wanted: pd.DataFrame, cells: pd.Index) -> None:
    if wanted.index.isin(cells).all():
        assert set(found.index) == set(wanted.index)
        found = found.loc[wanted.index]
    pd.testing.assert_frame_equal(found, wanted, rtol=2e-3, atol=2e-4, check_categorical=False)


@pytest.mark.slow
@pytest.mark.parametrize("form", some_slow)
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_functions_of_a_fitted_model(verb, form, cells, forms, model, truth, tmp_path):
    equal(verb(model, forms[form], tmp_path), truth(verb), cells.obs_names)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_the_lines_of_the_readme_put_results_on_their_cells(form, cells, forms):
    mdata = forms[form].copy()
    model = scmvp.SCMVP(mdata, n_clusters=3).train(max_epochs=4, threads=1)
    mdata.obsm["X_scmvp"] = model.get_latent_representation()
    mdata.obs["scmvp_cluster"] = model.predict()
    # the truth: every cell embedded again from the MuData in which nothing is permuted
    wanted = named(model.get_latent_representation(cells), cells).loc[mdata.obs_names]
    np.testing.assert_allclose(mdata.obsm["X_scmvp"], wanted, atol=1e-3)
    wanted = pd.Series(model.predict(cells), cells.obs_names).loc[mdata.obs_names]
    assert (mdata.obs["scmvp_cluster"] == wanted).mean() > 0.99
    np.testing.assert_array_equal(model.cells, mdata.obs_names)


@pytest.mark.slow
def test_a_permuted_modality_does_not_change_a_fit(cells, forms):
    first, second = (
        scmvp.SCMVP(mdata, n_clusters=3).train(max_epochs=2, threads=1)
        for mdata in (cells, forms["atac permuted"])
    )
    np.testing.assert_array_equal(
        first.get_latent_representation(), second.get_latent_representation()
    )


@pytest.mark.slow
def test_a_mosaic_goes_by_name(cells):
    rng = np.random.default_rng(2)
    mosaic = reordered(
        cells, {"rna": rng.permutation(160), "atac": rng.permutation(np.arange(40, 200))}
    )
    first = reordered(
        cells, {"rna": np.arange(160), "atac": rng.permutation(np.arange(40, 200))}, reverse=True
    )
    for mdata in (mosaic, first):
        fitted = scmvp.SCMVP(mdata, n_clusters=3, mosaic=True).train(max_epochs=2, threads=1)
        np.testing.assert_array_equal(fitted.cells, mdata.obs_names)
        mdata.obsm["X_scmvp"] = fitted.get_latent_representation()
        plain = cells.copy()
        missing = {
            "rna": ~cells.obs_names.isin(mdata["rna"].obs_names),
            "atac": ~cells.obs_names.isin(mdata["atac"].obs_names),
        }
        for name, gone in missing.items():  # a cell that a modality lacks is one without counts
            counts = plain[name].X.tolil()
            counts[gone] = 0
            plain[name].X = counts.tocsr()
        wanted = named(fitted.get_latent_representation(plain), plain).loc[mdata.obs_names]
        np.testing.assert_allclose(mdata.obsm["X_scmvp"], wanted, atol=1e-3)
        for modality in ("rna", "atac"):
            found = scmvp.features_along(mdata, modality, pseudotime="t")
            whole = scmvp.features_along(plain, modality, pseudotime="t")
            pd.testing.assert_frame_equal(found, whole, rtol=1e-6)


def test_a_stale_mudata_is_refused(cells, model, refused):
    mdata = cells.copy()
    mdata.mod["rna"] = mdata["rna"][10:].copy()
    mdata.mod["atac"] = mdata["atac"][10:].copy()
    refused(lambda: scmvp.SCMVP(mdata), "no modality has", "update()")
    refused(lambda: model.predict(mdata), "no modality has", "update()")
    mdata.update()
    assert len(model.predict(mdata)) == cells.n_obs - 10
    # a third modality may have cells of its own
    other = ad.AnnData(np.ones((3, 2)), obs=pd.DataFrame(index=["x", "y", "z"]))
    with_more = MuData({"rna": cells["rna"], "atac": cells["atac"], "protein": other})
    np.testing.assert_allclose(
        model.get_latent_representation(with_more_columns(with_more, cells)),
        model.get_latent_representation(cells),
        atol=1e-5,
    )


def with_more_columns(mdata: MuData, cells: MuData) -> MuData:
    mdata.obs["donor"] = cells.obs["donor"].astype(object).reindex(mdata.obs_names)
    return mdata


def test_values_of_other_cells_are_refused(cells, model, refused):
    labels = cells.obs["cell_type"].rename(lambda cell: f"{cell}-x")
    refused(lambda: model.differential_expression(cells, groupby=labels), "no value for")
    refused(
        lambda: scmvp.transfer_labels(cells, cells.obs["cell_type"][:50], cells), "no value for"
    )
    numbered = cells.obs["cell_type"].reset_index(drop=True)  # numbers are not names of cells
    model.differential_expression(cells, groupby=numbered, genes=model.genes[:2])


@pytest.mark.slow
def test_labels_that_look_alike_are_one_group(cells, model):
    half = np.arange(cells.n_obs) % 2
    tables = [
        model.differential_expression(cells, groupby=labels, genes=model.genes[:20])
        for labels in (
            half,
            half.astype(float),
            half.astype(str),
            np.array([str(x) if i % 3 else int(x) for i, x in enumerate(half)], dtype=object),
        )
    ]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


@pytest.mark.slow
def test_regulation_goes_by_name(forms, kept):
    if not (r_has("scMVP") and r_has("glasso")):
        pytest.skip("the R packages scMVP and glasso are not installed")

    def plain(mdata: MuData) -> MuData:
        found = MuData({name: mdata[name][mdata.obs_names].copy() for name in ("rna", "atac")})
        found.obsm["X_scmvp"] = mdata.obsm["X_scmvp"]
        return found

    quiet = {"verbose": False, "engine": kept}
    mdata, options = forms["atac permuted"], {"k": 20, "distance_parameter": 0.5} | quiet
    found, wanted = (scmvp.run_cicero(each, **options) for each in (mdata, plain(mdata)))
    assert wanted["coaccess"].abs().max() > 0.01
    pd.testing.assert_frame_equal(found, wanted)
    # groups in an order of their own
    groups = scmvp.aggregate_cells(mdata, k=20, **quiet)
    mixed = groups[np.random.default_rng(3).permutation(groups.n_obs)].copy()
    found = scmvp.run_cicero(mdata, groups=mixed, distance_parameter=0.5, **quiet)
    pd.testing.assert_frame_equal(found, wanted)
    mdata, options = forms["atac first"], {"n_permutations": 1, "fdr": 1} | quiet
    found, wanted = (scmvp.link_peaks_lasso(each, **options) for each in (mdata, plain(mdata)))
    assert len(wanted)
    pd.testing.assert_frame_equal(found, wanted)
    folds = pd.Series(np.resize([1, 2, 3, 4], mdata.n_obs), mdata.obs_names)
    wanted = scmvp.link_peaks_lasso(mdata, folds=folds.to_numpy(), **options)
    for given in (folds[::-1], list(folds)):
        found = scmvp.link_peaks_lasso(mdata, folds=given, **options)
        pd.testing.assert_frame_equal(found, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["view", "atac first"])
def test_objects_of_r_go_by_name(form, cells, forms, tmp_path, kept):
    if not r_has("SeuratObject"):
        pytest.skip("the R package SeuratObject is not installed")
    mdata = forms[form].copy()
    scmvp.write_rds(mdata, tmp_path / "made.rds", engine=kept)
    results = mdata[sorted(mdata.obs_names)].copy()  # in an order of their own
    results.obs["score"] = [hash(cell) % 1000 for cell in results.obs_names]
    scmvp.add_to_rds(tmp_path / "made.rds", results, tmp_path / "added.rds", engine=kept)
    back = scmvp.read_rds(tmp_path / "added.rds", engine=kept)
    for name in ("rna", "atac"):
        found = back[name].to_df().loc[cells.obs_names, cells[name].var_names]
        np.testing.assert_array_equal(found, cells[name].to_df())
    np.testing.assert_array_equal(back.obs["t"].loc[cells.obs_names], cells.obs["t"])
    assert [hash(cell) % 1000 for cell in back.obs_names] == back.obs["score"].tolist()
    found = named(back.obsm["X_scmvp"], back).loc[cells.obs_names]
    np.testing.assert_allclose(found, cells.obsm["X_scmvp"])


def test_old_and_new_mudata_options_give_the_same(cells, forms, model):
    """Whether MuData pulls columns of its modalities up is a matter of its version."""
    with mudata.set_options(pull_on_update=False):
        mdata = MuData({name: forms["atac first"][name] for name in ("atac", "rna")})
        mdata.obs["donor"] = cells.obs["donor"].loc[mdata.obs_names]
        found = named(model.get_latent_representation(mdata), mdata)
    equal(found, named(model.get_latent_representation(cells), cells), cells.obs_names)


@pytest.mark.slow
def test_a_label_that_the_whole_lacks_is_not_taken_from_a_modality(cells, model, tmp_path):
    some = cells.copy()
    levels = ["Type03", "Type02", "Type01"]
    known = some.obs["cell_type"].astype(str).where(np.arange(cells.n_obs) % 2 == 0)
    some.obs["cell_type"] = pd.Categorical(known, levels)
    some.write_h5mu(tmp_path / "some.h5mu")
    on_disk = scmvp.read(tmp_path / "some.h5mu", backed=True)
    labels = some.obs["cell_type"]

    def means(data, groupby):
        table = model.differential_expression(data, groupby=groupby)
        return table.sort_values(["group", "feature"])[["group", "lfc"]].reset_index(drop=True)

    def sums(groupby):
        return scmvp.pseudobulk(some, "donor", groupby, min_cells=1)

    for data in (some, on_disk):
        pd.testing.assert_frame_equal(means(data, "cell_type"), means(data, labels))
    assert sums("cell_type").obs["n_cells"].sum() == labels.notna().sum()
    assert list(sums("cell_type").obs["group"].cat.categories) == levels
    np.testing.assert_array_equal(sums("cell_type").X.todense(), sums(labels).X.todense())


def test_columns_of_several_tables():
    from scmvp.data.columns import columns_of_cells

    kinds = pd.CategoricalDtype(["z", "y"])
    whole = pd.DataFrame({"kind": pd.Categorical(["y", None], dtype=kinds)}, index=["a", "b"])
    part = pd.DataFrame({"kind": ["z", "z", "x"], "n": [1, 2, 3]}, index=["b", "a", "c"])
    found = columns_of_cells([whole, part], ["kind", "n"], np.array(["c", "b", "a"]))
    assert list(found["kind"].cat.categories) == ["z", "y", "x"]
    assert found["kind"].isna().tolist() == [False, True, False]
    assert found["kind"].dropna().tolist() == ["x", "y"]
    assert found["n"].tolist() == [3, 1, 2]


def test_a_latent_of_a_data_frame_has_names(cells):
    latent = pd.DataFrame(cells.obsm["X_scmvp"], index=cells.obs_names)
    labels = cells.obs["cell_type"]
    truth = scmvp.transfer_labels(cells, "cell_type", cells)
    mixed = np.random.default_rng(2).permutation(cells.n_obs)
    found = scmvp.transfer_labels(latent, labels.iloc[mixed], latent, calibration=latent[::-1])
    pd.testing.assert_frame_equal(found, truth)
    numbered = latent.reset_index(drop=True)
    found = scmvp.transfer_labels(numbered, labels.to_numpy(), numbered)
    assert list(found.index) == list(range(cells.n_obs))
    np.testing.assert_array_equal(found["p_value"], truth["p_value"])


def one_adata(cells) -> ad.AnnData:
    """RNA and ATAC side by side, as scanpy reads a 10x file."""
    both = ad.concat([cells["rna"], cells["atac"]], axis=1, merge="first")
    n_genes, n_peaks = cells["rna"].n_vars, cells["atac"].n_vars
    both.var["feature_types"] = ["Gene Expression"] * n_genes + ["Peaks"] * n_peaks
    return both


def test_peaks_of_one_anndata_and_of_modalities_of_other_names(cells):
    rng = np.random.default_rng(3)
    peaks, genes = cells["atac"].var_names, cells["rna"].var_names
    motifs = pd.DataFrame(rng.random((len(peaks), 3)) < 0.4, peaks, list("abc"))
    places = pd.DataFrame({"gene": [f"N{name}" for name in genes], "gene_id": genes})
    places["seqnames"] = [peak.split("-")[0].split(":")[0] for peak in peaks[: len(genes)]]
    places["tss"] = [int(peak.replace(":", "-").split("-")[1]) + 9 for peak in peaks[: len(genes)]]
    places["strand"] = "+"
    both = one_adata(cells)
    both.varm["motifs"] = motifs.reindex(both.var_names, fill_value=False)
    renamed = MuData({"GEX": cells["rna"], "peaks": cells["atac"]})
    truth = scmvp.motif_activity(cells, motifs, seed=1)
    of_genes = scmvp.gene_activity(cells, places)
    for data in (both, renamed):
        found = scmvp.motif_activity(data, motifs, seed=1)
        np.testing.assert_array_equal(found.X, truth.X)
        activity = scmvp.gene_activity(data, places)
        assert list(activity.var_names) == list(of_genes.var_names)
        assert (activity.X != of_genes.X).nnz == 0
    assert set(of_genes.var_names) <= set(genes)


@pytest.mark.slow
def test_what_add_to_adds_is_there_again_after_reading(cells, model, tmp_path):
    whole = cells.copy()
    model.add_to(whole)
    whole.uns["note"], whole.obs["rna:mine"] = "kept", 1
    whole.obsp["graph"] = scipy.sparse.eye(whole.n_obs).tocsr()
    # the file of another order, under other names
    other = reordered(whole, {"atac": np.arange(whole.n_obs)[::-1], "rna": np.arange(whole.n_obs)})
    other.uns["note"] = "kept"
    both = one_adata(whole)
    both.obsm["X_scmvp"], both.uns["note"] = whole.obsm["X_scmvp"], "kept"
    for name, written in (("a.h5mu", whole), ("b.h5mu", other), ("c.h5ad", both)):
        written.write(tmp_path / name)
        found = scmvp.read(tmp_path / name)
        assert found.uns["note"] == "kept"
        at = whole.obs_names.get_indexer(found.obs_names)
        np.testing.assert_array_equal(found.obsm["X_scmvp"], whole.obsm["X_scmvp"][at])
        if name == "a.h5mu":
            assert (found.obs["rna:mine"] == 1).all()
            assert (found.obsp["graph"] != whole.obsp["graph"]).nnz == 0
