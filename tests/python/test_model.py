"""The model a user holds: fitting, reproducibility, imputation, files, refusals."""

import json
import re
import shutil
import warnings

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from stored import rename_tensors

import scmvp
from scmvp import InputError, ModelFileError, storage
from scmvp.data.features import match_features
from scmvp.data.preprocess import looks_like_insertions
from scmvp.errors import InputNote
from scmvp.model import SCMVP
from scmvp.nn.module import LossTerms
from scmvp.options import default_epochs

QUICK = {"max_epochs": 4, "threads": 1}


def small(seed=0, **changes):
    arguments = {"n_cells": 120, "n_genes": 150, "n_peaks": 300, "n_types": 3}
    arguments |= {"median_umi": 200, "median_fragments": 200}
    return scmvp.simulate(**(arguments | changes), seed=seed)


def without_row(matrix, i):
    keep = np.ones(matrix.shape[0], np.float32)
    keep[i] = 0
    emptied = (sp.diags(keep) @ matrix).tocsr().astype(np.float32)
    emptied.eliminate_zeros()
    return emptied


@pytest.fixture(scope="module")
def mdata():
    return small()


@pytest.fixture(scope="module")
def model(mdata):
    return SCMVP(mdata, n_clusters=3).train(**QUICK)


@pytest.fixture(scope="module")
def longer(mdata):
    """As many epochs as are trained where no number is given."""
    return SCMVP(mdata, n_clusters=3).train(threads=1)


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path / "model")
    return tmp_path / "model"


# ---- what it is for


@pytest.mark.slow
def test_it_finds_known_types():
    """Mixture and latent both: argmax p(c|z) must cluster as well as k-means on z does."""
    mdata = scmvp.simulate(n_cells=400, n_genes=800, n_peaks=1500, n_types=4, seed=5)
    truth = mdata["rna"].obs["cell_type"]
    model = SCMVP(mdata, n_clusters=4, n_latent=10).train(max_epochs=30, threads=1)
    z = model.get_latent_representation()
    found = KMeans(4, n_init=10, random_state=0).fit_predict(z)
    assert adjusted_rand_score(truth, found) > 0.9
    assert adjusted_rand_score(truth, model.predict()) > 0.9
    assert model.n_clusters_used == 4
    proba = model.predict_proba()
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-5)
    assert np.median(proba.max(1)) > 0.9


@pytest.mark.slow
def test_the_mixture_may_be_that_of_some_of_the_cells():
    mdata = scmvp.simulate(n_cells=300, n_genes=400, n_peaks=800, n_types=3, seed=3)
    given = {"max_epochs": 8, "threads": 1}
    found, whole = (
        SCMVP(mdata, n_clusters=3).train(max_mixture_cells=n, **given) for n in (60, 20_000)
    )
    assert adjusted_rand_score(mdata.obs["cell_type"], found.predict()) > 0.95
    assert not np.allclose(
        found.get_latent_representation(), whole.get_latent_representation(), atol=1e-3
    )


@pytest.mark.slow
def test_it_finds_how_many_types_there_are(tmp_path):
    """At 20 dimensions, where the published p(c|z) was uniform and its argmax a single cluster."""
    mdata = scmvp.simulate(n_cells=450, n_genes=800, n_peaks=1500, n_types=6, seed=5)
    model = SCMVP(mdata)
    assert model.n_clusters is None and "clusters to be found" in repr(model)
    model.train(max_epochs=30, threads=1)
    assert model.n_clusters == model.summary()["n_clusters"] == 6
    assert adjusted_rand_score(mdata["rna"].obs["cell_type"], model.predict()) > 0.9
    model.save(tmp_path / "model")
    loaded = SCMVP.load(tmp_path / "model")
    assert loaded.n_clusters == 6 and loaded.account["n_clusters_estimated"]
    np.testing.assert_array_equal(loaded.predict_proba(mdata), model.predict_proba())


@pytest.mark.slow
def test_cells_of_one_type_are_one_cluster():
    """Also where their depths differ widely."""
    rng = np.random.default_rng(0)
    depth = np.exp(rng.normal(6, 1, 300))
    counts = [
        rng.poisson(depth[:, None] * rng.dirichlet(np.ones(n))).astype("f4") for n in (300, 500)
    ]
    model = SCMVP(tuple(map(ad.AnnData, map(sp.csr_matrix, counts))))
    model.train(max_epochs=30, threads=1)
    assert model.n_clusters == 1
    np.testing.assert_array_equal(model.predict_proba(), 1)


@pytest.mark.slow
def test_training_improves_the_held_out_elbo(longer):
    elbo = longer.history["elbo_validation"]
    assert longer.summary()["elbo"] > elbo[0] + 1


@pytest.mark.slow
def test_history_has_one_row_for_each_epoch(model):
    assert all(len(values) == 4 for values in model.history.values())
    assert model.history["phase"] == ["warm-up", "mixture", "mixture", "annealing"]


def test_more_or_deeper_cells_need_fewer_epochs():
    assert [default_epochs(n, 1500) for n in (200, 10_000, 20_000, 100_000)] == [60, 60, 30, 12]
    assert [default_epochs(5000, counts) for counts in (3000, 6000, 500_000)] == [60, 38, 26]
    assert [default_epochs(n, 12_000) for n in (10_000, 20_000)] == [24, 12]
    assert default_epochs(200, 50_000) == 60  # six steps each


@pytest.mark.slow
def test_kl_warm_up_rises(longer):
    """The published weight was 1 from the first step."""
    weights = longer.history["warm_up_weight"]
    expected = np.minimum(np.arange(1, len(weights) + 1) / 12, 1)  # of the warm-up's 20 epochs
    np.testing.assert_allclose(weights, expected)


@pytest.mark.slow
def test_single_encoders_are_trained():
    """Published pretraining never reached the joint encoder; here one loss trains all three."""
    mdata = small(n_cells=240, median_umi=600, median_fragments=600)
    model = SCMVP(mdata, n_clusters=3).train(max_epochs=15, threads=1)
    joint = model.get_latent_representation()
    for modality in ("rna", "atac"):
        single = model.get_latent_representation(modality=modality)
        assert not np.allclose(single, joint)
        # three clusters span two directions, the first ones; in the others there is only noise
        for d in range(2):
            assert np.corrcoef(joint[:, d], single[:, d])[0, 1] > 0.8


@pytest.mark.slow
def test_few_cells_of_few_counts_do_not_end_in_one_cluster(longer):
    assert longer.n_clusters_used == 3


# ---- the same again


@pytest.mark.slow
def test_the_same_seed_gives_the_same_latent(mdata, model):
    again = SCMVP(mdata, n_clusters=3).train(**QUICK)
    other = SCMVP(mdata, n_clusters=3).train(**QUICK, seed=1)
    np.testing.assert_array_equal(
        again.get_latent_representation(), model.get_latent_representation()
    )
    assert not np.allclose(other.get_latent_representation(), model.get_latent_representation())


@pytest.mark.slow
def test_training_twice_starts_anew(mdata, model):
    twice = SCMVP(mdata, n_clusters=3).train(**QUICK, seed=9).train(**QUICK)
    np.testing.assert_array_equal(
        twice.get_latent_representation(), model.get_latent_representation()
    )


@pytest.mark.slow
def test_the_callers_random_streams_are_untouched(mdata):
    torch.manual_seed(5)
    np.random.seed(5)
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    SCMVP(mdata, n_clusters=3).train(max_epochs=2, threads=1)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_imputation_is_deterministic_and_evaluation_mode_is_on(model):
    """Published: one random z, and a model left in training mode; two calls differed by 7-10 %."""
    first = model.get_normalized_expression()
    np.testing.assert_array_equal(first, model.get_normalized_expression())
    np.testing.assert_array_equal(
        model.get_accessibility_estimates(), model.get_accessibility_estimates()
    )
    assert not any(part.training for part in model._fitted().module.modules())


def test_input_is_not_changed(mdata):
    before = {m: mdata[m].X.copy() for m in ("rna", "atac")}
    SCMVP(mdata, n_clusters=3).train(max_epochs=1, threads=1)
    for modality, matrix in before.items():
        assert (mdata[modality].X != matrix).nnz == 0


def test_order_and_names_of_shuffled_cells_are_kept(mdata, model):
    """Published: cells came back in another order without a word."""
    order = np.random.default_rng(0).permutation(mdata.n_obs)
    rna, atac = mdata["rna"][order].copy(), mdata["atac"].copy()
    np.testing.assert_array_equal(SCMVP((rna, atac), n_clusters=3).cells, rna.obs_names)
    embedded = model.get_latent_representation((rna, atac))
    expected = model.get_latent_representation()[order]
    np.testing.assert_allclose(embedded, expected, atol=1e-4)


def test_features_of_other_data_are_matched_by_name(mdata, model):
    rna = mdata["rna"][:, ::-1].copy()
    embedded = model.get_latent_representation((rna, mdata["atac"]))
    np.testing.assert_allclose(embedded, model.get_latent_representation(), atol=1e-4)
    with pytest.raises(InputError, match="query has only .* of the model's .* genes"):
        model.get_latent_representation((rna[:, :100].copy(), mdata["atac"]))


def test_features_that_a_query_lacks_count_as_zero(mdata, model):
    lacking = model.genes[[3, 50, 7]]
    zeroed = mdata["rna"].copy()
    zeroed.X = sp.csr_matrix(zeroed.X.toarray() * ~zeroed.var_names.isin(lacking))
    fewer = zeroed[:, ~zeroed.var_names.isin(lacking)][:, ::-1].copy()
    with pytest.warns(InputNote, match="3 genes of the model .* count as zero") as caught:
        embedded = model.get_latent_representation((fewer, mdata["atac"]))
    assert len(caught) == 1 and lacking[0] in str(caught[0].message)
    expected = model.get_latent_representation((zeroed, mdata["atac"]))
    np.testing.assert_allclose(embedded, expected, atol=1e-5)


@pytest.mark.parametrize("spelled", [r"\1:\2-\3", r"\1_\2_\3", r"\1.\2.\3", r"\1:0\2-\3"])
def test_peaks_are_the_same_however_they_are_spelled(mdata, model, spelled):
    atac = mdata["atac"][:, ::-1].copy()
    atac.var_names = [re.sub("^(.+)-([0-9]+)-([0-9]+)$", spelled, n) for n in atac.var_names]
    assert not set(atac.var_names) & set(model.peaks)
    embedded = model.get_latent_representation((mdata["rna"], atac))
    np.testing.assert_allclose(embedded, model.get_latent_representation(), atol=1e-4)


def test_features_are_matched_by_name_then_meaning_and_never_twice():
    """As match_features() of the R package, whose tests have the same cases."""
    modeled = np.array(["chr1:100-200", "chrUn_X1:5-10", "chr2-7-9", "spike"])
    have = np.array(["spike", "chr2-7-9", "chrUn-X1-5-10", "chr1_100_200"])
    assert match_features(modeled, have, "atac").tolist() == [3, 2, 1, 0]
    twice = np.array(["chr1-100-200", "chr1_100_200"])
    assert match_features(modeled[:1], twice, "atac").tolist() == [-1]
    assert match_features(twice, modeled[:1], "atac").tolist() == [-1, -1]
    assert match_features(np.array(["A_1", "B"]), np.array(["B", "A-1"]), "rna").tolist() == [1, 0]
    assert match_features(np.array(["chr1-9-5"]), np.array(["chr1:9-5"]), "atac").tolist() == [-1]


# ---- imputation


def test_imputed_profiles_have_the_stated_library_size(model):
    rna = model.get_normalized_expression(library_size=500)
    np.testing.assert_allclose(rna.sum(1), 500, rtol=1e-4)
    assert rna.shape == (120, len(model.genes))


def test_chosen_features_and_cells_are_the_columns_and_rows_of_the_whole(model):
    whole = model.get_accessibility_estimates()
    peaks, cells = model.peaks[[7, 2]], model.cells[[5, 0, 9]]
    some = model.get_accessibility_estimates(peaks=peaks, cells=cells)
    np.testing.assert_allclose(some, whole[[5, 0, 9]][:, [7, 2]], rtol=1e-5)


def test_decode_needs_only_the_latent(model):
    z = model.get_latent_representation()[:4]
    np.testing.assert_allclose(
        model.decode(z, "rna"), model.get_normalized_expression()[:4], rtol=1e-5
    )


@pytest.mark.slow
def test_imputation_follows_the_truth():
    """Over cells, per linked gene, closer to the true mean than the counts are."""
    mdata = scmvp.simulate(n_cells=300, n_genes=400, n_peaks=800, n_types=4, seed=2)
    model = SCMVP(mdata, n_clusters=4).train(max_epochs=30, threads=1)
    truth = mdata["rna"].varm["true_profile"]
    types = mdata["rna"].obs["cell_type"].astype("category")
    mean = np.asarray(truth)[:, types.cat.codes].T
    marker = np.argsort(-np.asarray(truth).std(1) / np.asarray(truth).mean(1))[:40]
    names = np.asarray(mdata["rna"].var_names)[marker]
    marker = marker[np.isin(names, model.genes)]
    names = names[np.isin(names, model.genes)]
    imputed = model.get_normalized_expression(genes=names)
    counts = mdata["rna"].X[:, marker].toarray() / mdata["rna"].X.sum(1)

    def correlation(values):
        return np.mean([np.corrcoef(values[:, j], mean[:, m])[0, 1] for j, m in enumerate(marker)])

    assert correlation(imputed) > correlation(np.asarray(counts)) + 0.2


@pytest.mark.parametrize("threshold", [None, 30.0])
def test_imputed_file_is_the_imputed_matrix(model, tmp_path, threshold, monkeypatch):
    monkeypatch.setattr("scmvp.tools.impute.BLOCK_BYTES", 4 * len(model.peaks) * 50)
    path = tmp_path / "atac.h5"
    model.impute_to_file(path, "atac", threshold=threshold)
    expected = model.get_accessibility_estimates()
    if threshold is not None:
        assert 0 < (expected >= threshold).mean() < 0.9
        expected = np.where(expected >= threshold, expected, 0)
    read = ad.read_h5ad(path)
    values = read.X.toarray() if sp.issparse(read.X) else read.X
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    assert read.obs_names.tolist() == model.cells.tolist()
    assert read.var_names.tolist() == model.peaks.tolist()
    with h5py.File(path) as file:
        assert file.attrs["scmvp_modality"] == "atac"


def test_features_of_a_file_may_come_one_by_one(model, tmp_path):
    some = list(model.genes[:3])
    model.impute_to_file(tmp_path / "a.h5ad", "rna", features=some)
    model.impute_to_file(tmp_path / "b.h5ad", "rna", features=(name for name in some))
    one, other = (ad.read_h5ad(tmp_path / name) for name in ("a.h5ad", "b.h5ad"))
    assert list(other.var_names) == some
    np.testing.assert_array_equal(other.X, one.X)


@pytest.mark.parametrize(
    ("path", "arguments", "sentence"),
    [
        ("none/rna.h5", {}, "there is no folder"),
        (".", {}, "is a folder"),
        ("rna.h5", {"threshold": float("nan")}, "threshold is nan"),
        ("rna.h5", {"library_size": 1e39}, "library_size is 1e"),
        ("rna.h5", {"features": 3}, "list of names"),
    ],
)
def test_what_cannot_be_written_is_refused_first(model, tmp_path, path, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        model.impute_to_file(tmp_path / path, "rna", **arguments)
    assert not list(tmp_path.iterdir())


def test_no_half_written_file_is_left(model, tmp_path, monkeypatch):
    def blocks(*_):
        yield np.zeros((50, len(model.genes)), np.float32)
        raise KeyboardInterrupt

    monkeypatch.setattr("scmvp.tools.impute.decode_blocks", blocks)
    with pytest.raises(KeyboardInterrupt):
        model.impute_to_file(tmp_path / "rna.h5", "rna")
    assert not list(tmp_path.iterdir())


# ---- interruption and the progress callback


def interrupt_at(epoch):
    def callback(state):
        if state["epoch"] == epoch:
            raise KeyboardInterrupt

    return callback


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 3])
def test_interrupt_keeps_the_best_state(mdata, epoch):
    """In the warm-up (epoch 1) and in the mixture phase (epoch 3) alike."""
    model = SCMVP(mdata, n_clusters=3).train(max_epochs=6, threads=1, callback=interrupt_at(epoch))
    assert model.interrupted
    assert len(model.history["epoch"]) == epoch
    assert np.isfinite(model.get_latent_representation()).all()
    assert model.n_clusters_used >= 1
    assert model.summary()["interrupted"] is True


@pytest.mark.slow
def test_interrupt_before_the_first_epoch_keeps_the_earlier_fit(mdata, monkeypatch):
    model = SCMVP(mdata, n_clusters=3).train(**QUICK)
    before = model.get_latent_representation()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("scmvp.fit.training.Trainer._train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.train(**QUICK)
    np.testing.assert_array_equal(model.get_latent_representation(), before)


@pytest.mark.slow
def test_the_best_epoch_is_the_one_kept(mdata):
    model = SCMVP(mdata, n_clusters=3).train(max_epochs=40, lr=0.02, patience=2, threads=1)
    summary = model.summary()
    mixture = [
        elbo
        for elbo, phase in zip(
            model.history["elbo_validation"], model.history["phase"], strict=True
        )
        if phase != "warm-up"
    ]
    assert summary["elbo"] == max(mixture)
    assert summary["best_epoch"] <= summary["epochs"] < 40


@pytest.mark.slow
def test_callback_tells_where_training_is(mdata):
    states = []
    SCMVP(mdata, n_clusters=3).train(**QUICK, callback=states.append)
    assert [state["epoch"] for state in states] == [1, 2, 3, 4]
    assert states[-1]["seconds_left"] == 0
    assert {"phase", "elbo_train", "elbo_validation", "max_epochs"} <= states[0].keys()


@pytest.mark.parametrize(("theta", "of_peaks"), [(1.0, 0.5), (4.0, 3.0)])
@pytest.mark.slow
def test_dispersions_are_those_of_the_counts(theta, of_peaks):
    """Simulated with variance m + m^2 / theta in both, of which m / theta is c on average."""
    cells = {"n_cells": 500, "n_genes": 300, "n_peaks": 600, "n_types": 3, "seed": 5}
    depth = {"median_umi": 2000, "median_fragments": 2000}
    mdata = scmvp.simulate(**cells, **depth, rna_theta=theta, atac_theta=of_peaks)
    model = SCMVP(mdata, n_clusters=3).train(seed=0, max_epochs=24, threads=1)
    module = model._fitted().module
    often = np.asarray(mdata["rna"].X.mean(0)).ravel() > 1
    found = np.exp(module.dispersions["rna"].detach().numpy())[often]
    assert np.median(found) == pytest.approx(theta, rel=0.15)
    size = np.asarray(mdata["atac"].X.sum(1)).reshape(-1, 1)
    mean = model.get_accessibility_estimates(library_size=1.0) * size
    expected = np.log((mean**2).sum(0) / mean.sum(0) / of_peaks)
    log_c = module.dispersions["atac"].detach().numpy()
    assert np.corrcoef(log_c, expected)[0, 1] > 0.85
    # that of m / theta has its mean where m is large, the likelihood its say where m is small
    assert -1.0 < np.median(log_c - expected) < 0.2


# ---- what may look like trouble and is none


@pytest.mark.slow
def test_every_cell_comes_back(mdata):
    rna, atac = mdata["rna"].copy(), mdata["atac"].copy()
    atac.X = without_row(atac.X, 3)
    model = SCMVP((rna, atac), n_clusters=3).train(**QUICK)
    assert model.account["cells_without_atac"] == 1
    z = model.get_latent_representation()
    assert z.shape == (120, 20)
    assert np.isfinite(z).all()


def test_rare_features_are_left_out_and_counted(mdata):
    seen = np.asarray((mdata["rna"].X > 0).sum(0)).ravel()
    model = SCMVP(mdata, n_clusters=3, min_cells=40)
    assert model.account["n_genes"] == (seen >= 40).sum() < model.account["n_genes_in"]
    assert model.genes.tolist() == mdata["rna"].var_names[seen >= 40].tolist()


@pytest.mark.slow
def test_both_presets_fit(mdata):
    model = SCMVP(mdata, n_clusters=3, preset="paper").train(**QUICK)
    assert model.summary()["options"]["preset"] == "paper"
    assert np.isfinite(model.get_latent_representation()).all()


# ---- files


def test_a_saved_model_is_the_model(model, mdata, saved):
    loaded = SCMVP.load(saved)
    np.testing.assert_array_equal(
        loaded.get_latent_representation(mdata), model.get_latent_representation()
    )
    np.testing.assert_array_equal(loaded.predict(mdata), model.predict())
    assert loaded.summary() == json.loads(json.dumps(model.summary()))
    assert loaded.history == model.history
    with pytest.raises(InputError, match="without its cells; pass them"):
        loaded.get_latent_representation()
    with pytest.raises(InputError, match="make a new SCMVP"):
        loaded.train()


def test_a_model_loaded_with_its_cells_has_them(model, mdata, saved):
    """As the model that was fitted, whatever the order of the cells it is loaded with."""
    order = np.random.default_rng(0).permutation(mdata.n_obs)
    loaded = SCMVP.load(saved, mdata[order])
    assert list(loaded.cells) == list(mdata.obs_names[order])
    np.testing.assert_allclose(
        loaded.get_latent_representation(), model.get_latent_representation()[order], atol=1e-5
    )
    np.testing.assert_array_equal(loaded.predict(), model.predict()[order])
    one, other = (
        fit.differential_expression(genes=model.genes[:3]).set_index(["group", "feature"])
        for fit in (loaded, model)
    )
    np.testing.assert_allclose(one["lfc"], other.loc[one.index, "lfc"], atol=1e-4)
    with pytest.raises(InputError, match="make a new SCMVP"):
        loaded.train()


def test_a_folder_with_a_model_is_kept(saved, tmp_path):
    loaded = SCMVP.load(saved)
    loaded.save(tmp_path)
    before = (tmp_path / "model.json").read_bytes()
    with pytest.raises(InputError, match="holds a model already"):
        loaded.save(tmp_path)
    assert (tmp_path / "model.json").read_bytes() == before
    loaded.save(tmp_path, overwrite=True)


def test_imputed_values_with_their_names(model, mdata):
    cells, genes = mdata.obs_names[[5, 2]], model.genes[[3, 0]]
    table = model.get_normalized_expression(genes=genes, cells=cells, as_frame=True)
    assert list(table.index) == list(cells) and list(table.columns) == list(genes)
    whole = model.get_normalized_expression()
    for cell in cells:
        for gene in genes:
            row, column = list(model.cells).index(cell), list(model.genes).index(gene)
            assert table.loc[cell, gene] == pytest.approx(whole[row, column], rel=1e-5)
    peaks = model.get_accessibility_estimates(mdata, peaks=model.peaks[:2], as_frame=True)
    assert list(peaks.index) == list(mdata.obs_names) and list(peaks) == list(model.peaks[:2])
    with pytest.raises(InputError, match="as_frame"):
        model.get_normalized_expression(as_frame="yes")


@pytest.mark.parametrize("modality", ["rna", "atac"])
def test_an_anndata_is_embedded_from_the_modality_that_is_named(model, mdata, modality):
    pair = {"rna": (mdata["rna"], None), "atac": (None, mdata["atac"])}[modality]
    np.testing.assert_array_equal(
        model.get_latent_representation(mdata[modality], modality),
        model.get_latent_representation(pair, modality),
    )
    np.testing.assert_array_equal(
        model.get_latent_representation(mdata[modality]), model.get_latent_representation(pair)
    )


def test_a_modality_that_was_not_fitted_is_told_before_anything_else(saved):
    with pytest.raises(InputError, match="fitted without proteins"):
        SCMVP.load(saved).get_protein_expression()


def test_a_loaded_model_saves_the_same_files(saved, tmp_path):
    SCMVP.load(saved).save(tmp_path / "again")
    for name in ("model.json", "weights.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()


def test_saved_files_hold_no_pickle(saved):
    assert sorted(path.name for path in saved.iterdir()) == ["model.json", "weights.safetensors"]
    json.loads((saved / "model.json").read_text())
    assert (saved / "weights.safetensors").read_bytes()[8:9] == b"{"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda info: info.update(format_version=99), "format version 99"),
        (lambda info: info.update(format="other"), "is not a scMVP model"),
        (lambda info: info.pop("genes"), "lacks genes"),
        (lambda info: info["genes"].pop(), "does not fit its model.json"),
        (lambda info: info["model_options"].update(magic=1), "other options"),
        (lambda info: info.update(account=None), "is damaged"),
        (lambda info: info.update(genes=None), "is damaged"),
        (lambda info: info["model_options"].update(n_latent="x"), "is damaged"),
    ],
)
def test_a_model_of_another_kind_is_refused(saved, change, sentence):
    info = json.loads((saved / "model.json").read_text())
    change(info)
    # as if it had been saved so
    (saved / "model.json").write_text(json.dumps(storage.signed(info)))
    with pytest.raises(ModelFileError, match=sentence) as refusal:
        SCMVP.load(saved)
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
def test_weights_of_another_model_are_refused(saved, mdata):
    """What is left when a crash hits between the two files."""
    other = SCMVP(mdata, n_clusters=3).train(**QUICK, seed=7)
    other.save(saved.with_name("other"))
    shutil.copy(saved.with_name("other") / "weights.safetensors", saved)
    with pytest.raises(ModelFileError, match="not of the same model"):
        SCMVP.load(saved)


@pytest.mark.slow
def test_a_loaded_model_reads_the_layers_it_was_fitted_on(mdata, tmp_path):
    rna, atac = mdata["rna"].copy(), mdata["atac"].copy()
    rna.layers["counts"] = rna.X.copy()
    rna.X = (rna.X > 0).astype(np.float32)
    model = SCMVP((rna, atac), n_clusters=3, rna_layer="counts").train(**QUICK)
    model.save(tmp_path / "model")
    loaded = SCMVP.load(tmp_path / "model")
    np.testing.assert_array_equal(
        loaded.get_latent_representation((rna, atac)), model.get_latent_representation()
    )


@pytest.mark.slow
def test_what_the_caller_does_to_the_matrix_later_changes_nothing(mdata):
    """scanpy normalizes in place."""
    rna, atac = mdata["rna"].copy(), mdata["atac"].copy()
    model = SCMVP((rna, atac), n_clusters=3, min_cells=0)
    expected = SCMVP(mdata, n_clusters=3, min_cells=0).train(**QUICK).get_latent_representation()
    np.log1p(rna.X.data, out=rna.X.data)
    np.log1p(atac.X.data, out=atac.X.data)
    np.testing.assert_array_equal(model.train(**QUICK).get_latent_representation(), expected)


def test_a_broken_model_is_refused(saved):
    weights = saved / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="broken or truncated"):
        SCMVP.load(saved)
    weights.unlink()
    with pytest.raises(ModelFileError, match="no weights.safetensors"):
        SCMVP.load(saved)
    (saved / "model.json").write_text("{")
    with pytest.raises(ModelFileError, match="not readable JSON"):
        SCMVP.load(saved)
    shutil.rmtree(saved)
    with pytest.raises(ModelFileError, match="no model.json"):
        SCMVP.load(saved)


# ---- refusals


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_clusters": 61}, "n_clusters is 61 but there are only 120 cells"),
        ({"n_clusters": 0}, "n_clusters is 0"),
        ({"n_latent": 2.5}, "n_latent is 2.5"),
        ({"preset": "best"}, "preset 'best' is unknown"),
        ({"min_cells": 1000}, "seen in at least 1,000"),
        ({"options": {"magic": 1}}, "unknown option magic"),
        ({"options": ["n_latent"]}, "options must be a dict"),
        ({"options": {"shrink": "yes"}}, "shrink is 'yes'; give True or False"),
        ({"options": {"n_hidden": "big"}}, "n_hidden is 'big'; give a number"),
        ({"options": {"n_hidden": 100}}, "n_hidden is 100, which n_heads, 8, does not divide"),
        ({"options": {"input_noise": -1}}, "input_noise is -1; give a number of at least 0"),
    ],
)
def test_wrong_arguments_are_refused(mdata, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        SCMVP(mdata, **({"n_clusters": 3} | arguments))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"lr": -1}, "lr is -1"),
        ({"lr": 10}, "lr is 10"),
        ({"threads": 10**6}, "threads is 1000000"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"mixture_update": "x"}, "mixture_update is 'x'"),
        ({"zeros": "x"}, "zeros is 'x'"),
        ({"validation_fraction": 0}, "validation_fraction is 0"),
        ({"validation_fraction": 0.99}, "validation_fraction is 0.99"),
        ({"max_mixture_cells": 1}, "max_mixture_cells is 1; give a whole number of at least 20"),
        ({"kl_warm_up_fraction": 1.5}, "kl_warm_up_fraction is 1.5; give a number from 0 to 1"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"patients": 3}, "unknown option patients"),
        ({"seed": -1}, "seed is -1"),
        ({"patience": 0}, "patience is 0"),
    ],
)
def test_wrong_training_arguments_are_refused(mdata, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        SCMVP(mdata, n_clusters=3).train(**arguments)


def test_divergence_is_said(mdata, monkeypatch):
    nan = torch.tensor(float("nan"))
    nowhere = LossTerms({"rna": nan, "atac": nan}, nan, nan)
    monkeypatch.setattr("scmvp.fit.training.Trainer._evaluate", lambda *_: nowhere)
    with pytest.raises(InputError, match="diverged in epoch 1 .* smaller learning rate"):
        SCMVP(mdata, n_clusters=3).train(max_epochs=5, threads=1)


def test_too_few_cells_are_refused(mdata):
    few = mdata[:12].copy()
    with pytest.raises(InputError, match="12 cells, too few"):
        SCMVP(few, n_clusters=2, min_cells=1)


def test_use_before_training_is_refused(mdata):
    model = SCMVP(mdata, n_clusters=3)
    for use in (model.get_latent_representation, model.predict, model.get_normalized_expression):
        with pytest.raises(InputError, match="call train"):
            use()


def test_unknown_names_are_refused(model):
    with pytest.raises(InputError, match="peaks that are not in the ATAC model: 'chrZ-1-2'"):
        model.get_accessibility_estimates(peaks=[model.peaks[0], "chrZ-1-2"])
    with pytest.raises(InputError, match="cells that are not in the data"):
        model.get_normalized_expression(cells=["nobody"])
    with pytest.raises(InputError, match="list of names"):
        model.get_normalized_expression(genes=str(model.genes[0]))
    with pytest.raises(InputError, match="latent has shape"):
        model.decode(np.zeros((3, 4)), "rna")


def test_a_cell_with_counts_only_in_rare_genes_is_named(mdata):
    rna, atac = mdata["rna"].copy(), mdata["atac"].copy()
    extra = sp.csr_matrix((np.ones(1, np.float32), ([7], [0])), shape=(rna.n_obs, 1))
    counts = sp.hstack([without_row(rna.X, 7), extra]).tocsr()
    genes = [*rna.var_names, "OnlyHere"]
    rna = ad.AnnData(counts, obs=rna.obs, var={"gene": genes})
    rna.var_names = genes
    atac.X = without_row(atac.X, 7)
    name = rna.obs_names[7]
    with pytest.raises(InputError, match=f"no count in any modeled feature .'{name}'"):
        SCMVP((rna, atac), n_clusters=3)


# Names of tensors now and before version 6 of the format.
EARLIER = {
    "readers.rna.": "read_rna.", "readers.atac.": "read_atac.",
    "encoders.joint.": "encoder_joint.", "encoders.rna.": "encoder_rna.",
    "encoders.atac.": "encoder_atac.", "decoders.rna.": "decoder_rna.",
    "decoders.atac.": "decoder_atac.", "dispersions.rna": "log_theta",
    "dispersions.atac": "log_dispersion", "zero_heads.atac.": "zero_head.",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_tensors_of_earlier_models_are_known_by_their_names(preset, mdata, tmp_path):
    model = SCMVP(mdata, n_clusters=3, preset=preset).train(**QUICK)
    model.save(tmp_path)
    seen = set()

    def earlier(name):
        for now, before in EARLIER.items():
            if name.startswith(now):
                seen.add(now)
                return before + name.removeprefix(now)
        return name

    rename_tensors(tmp_path, earlier)
    without = {"default": "zero_heads.atac.", "paper": "readers.rna."}
    assert seen == set(EARLIER) - {without[preset]}
    found = SCMVP.load(tmp_path)
    np.testing.assert_array_equal(
        found.get_latent_representation(mdata), model.get_latent_representation(mdata)
    )
    np.testing.assert_array_equal(
        found.get_normalized_expression(mdata), model.get_normalized_expression(mdata)
    )


@pytest.mark.slow
def test_insertions_are_read_as_fragments(mdata, tmp_path):
    """10x pipelines count both ends of a fragment; the model must not see each one twice."""
    doubled = mdata["atac"].copy()
    doubled.X = (2 * doubled.X).tocsr()
    fragments = SCMVP(mdata, n_clusters=3).train(**QUICK)
    insertions = SCMVP((mdata["rna"], doubled), n_clusters=3).train(**QUICK)
    assert insertions.account["atac_insertions"]
    assert not fragments.account["atac_insertions"]
    expected = fragments.get_latent_representation()
    np.testing.assert_array_equal(insertions.get_latent_representation(), expected)
    embedded = insertions.get_latent_representation((mdata["rna"], doubled))
    np.testing.assert_allclose(embedded, expected, atol=1e-4)
    # a query is what it looks like, whatever the fitted cells were
    with pytest.warns(InputNote, match="look like fragments .* the query is not halved"):
        embedded = insertions.get_latent_representation(mdata)
    np.testing.assert_allclose(embedded, expected, atol=1e-4)
    with pytest.warns(InputNote, match="look like insertions .* read as fragments"):
        embedded = fragments.get_latent_representation((mdata["rna"], doubled))
    np.testing.assert_allclose(embedded, expected, atol=1e-4)
    # with few counts it is unknown: as the fitted cells are
    few = mdata["atac"][:1].copy()
    few.X = sp.csr_matrix(few.X.toarray() * (np.arange(few.n_vars) < 100))
    assert 0 < few.X.nnz < 100
    double = few.copy()
    double.X = 2 * few.X
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputNote)
        one = insertions.get_latent_representation((mdata["rna"][:1], double))
        other = fragments.get_latent_representation((mdata["rna"][:1], few))
        # a report passes on cells whose counts are converted, these and the fitted ones
        again = insertions.get_latent_representation(
            insertions._matched((mdata["rna"][:1], double))
        )
        insertions.report(tmp_path / "report.html", seed=0)
    np.testing.assert_allclose(one, other, atol=1e-4)
    np.testing.assert_array_equal(one, again)
    page = (tmp_path / "report.html").read_text()
    median = np.median(np.asarray(mdata["atac"][:, insertions.peaks].X.sum(1)))
    assert f"ATAC: median {median:,.0f} fragments (about half" in page


@pytest.mark.parametrize("rate", [0.05, 0.5, 3.0])
def test_what_a_query_counts_is_found_rightly_or_not_at_all(rate):
    """Poisson fragments; of each, both ends in the peak nine times in ten, else one."""
    rng = np.random.default_rng(int(100 * rate))
    decided = {True: 0, False: 0}
    for n in (30, 300, 3_000, 30_000):
        fragments = rng.poisson(rate, (1, n)).astype(np.float32)
        inside = rng.binomial(fragments.astype(int), 0.9)
        insertions = (fragments + inside).astype(np.float32)
        for counts, truth in ((fragments, False), (insertions, True)):
            seen = looks_like_insertions(sp.csr_matrix(counts))
            assert seen in (None, truth)
            decided[truth] += seen is not None
    assert min(decided.values()) >= 2


@pytest.mark.slow
def test_shrunk_scores_depend_on_the_seed_alone_and_are_saved(tmp_path):
    """Batches and a cell without ATAC included."""
    mdata = scmvp.simulate(n_cells=120, n_genes=200, n_peaks=300, n_types=3, n_batches=2, seed=1)
    rna, atac = mdata["rna"].copy(), mdata["atac"][:-1].copy()
    rna.obs["batch"] = mdata.obs["batch"]
    options = {"n_clusters": 3, "batch": "batch", "mosaic": True}
    first, again = (
        scmvp.SCMVP((rna, atac), **options).train(max_epochs=4, seed=0, threads=1) for _ in range(2)
    )
    latent = first.get_latent_representation()
    np.testing.assert_array_equal(latent, again.get_latent_representation())
    first.save(tmp_path / "model")
    loaded = scmvp.SCMVP.load(tmp_path / "model")
    np.testing.assert_allclose(
        loaded.get_latent_representation((rna, atac)), latent, atol=1e-5 * np.abs(latent).max()
    )
