"""Batches of cells: as a design, in correspondence analysis, in decoders and in results."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import KNeighborsClassifier

import scmvp
from scmvp.data.covariates import Covariates, column_names
from scmvp.data.labels import batch_name
from scmvp.data.spectral import batches_of, fit_correspondence
from scmvp.nn.inputs import SpectralScores
from scmvp.nn.networks import Decoder, RnaBranch
from scmvp.nn.sparse import SparseRows
from scmvp.options import ModelOptions

OBS = pd.DataFrame({"donor": ["a", "b", "b", "a"], "lane": [2, 1, 3, 1]}, index=list("wxyz"))


def of_two_batches(n_cells: int, seed: int):
    return scmvp.simulate(
        n_cells, n_genes=400, n_peaks=900, n_types=4, n_batches=2, batch_effect=1.0, seed=seed
    )


@pytest.fixture(scope="module")
def batched():
    """Of two similar types, one is nearly absent from the first batch (2 of 139 cells)."""
    return of_two_batches(800, 4)


@pytest.fixture(scope="module")
def model(batched):
    return scmvp.SCMVP(batched, batch="batch").train(max_epochs=24, seed=0, threads=1)


def test_a_design_has_each_cells_level_of_every_column():
    found = Covariates.of(OBS)
    assert found.levels == {"donor": ["a", "b"], "lane": ["1", "2", "3"]}
    expected = [[1, 0, 0, 1, 0], [0, 1, 1, 0, 0], [0, 1, 0, 0, 1], [1, 0, 1, 0, 0]]
    np.testing.assert_array_equal(found.design(OBS), expected)
    np.testing.assert_allclose(found.row(None), [0.5, 0.5, 0.5, 0.25, 0.25])
    np.testing.assert_allclose(found.row({"donor": "b"}), [0, 1, 0.5, 0.25, 0.25])
    assert Covariates.from_info(found.info()) == found


def test_a_new_level_is_the_average_one_and_said():
    found = Covariates.of(OBS)
    with pytest.warns(UserWarning, match="1 cell is of batches that .*donor: 'c'"):
        design = found.design(OBS.assign(donor=["a", "b", "c", "a"]))
    np.testing.assert_allclose(design[2, :2], [0.5, 0.5])


# One batch 1 and one batch 2, and logical values, however a table keeps them.
NUMBERS = {
    "int": [1, 2, 1, 2],
    "float": [1.0, 2.0, 1.0, 2.0],
    "float32": np.array([1, 2, 1, 2], np.float32),
    "nullable": pd.array([1, 2, 1, 2], "Int64"),
    "text": ["1", "2", "1", "2"],
    "categories of numbers": pd.Categorical([1.0, 2.0, 1.0, 2.0]),
    "categories of text": pd.Categorical(["1", "2", "1", "2"], ["2", "1"]),
    "mixed": np.array([1, 2.0, "1", "2"], dtype=object),
    "bytes": np.array([b"1", b"2", b"1", b"2"], dtype=object),
}
LOGICAL = {
    "bool": [True, False, True, False],
    "nullable": pd.array([True, False, True, False], "boolean"),
    "object": np.array([True, False, True, False], dtype=object),
    "categories": pd.Categorical([True, False, True, False]),
    "text of R": ["TRUE", "FALSE", "TRUE", "FALSE"],
    "text of Python": ["True", "False", "True", "False"],
}


@pytest.mark.parametrize(
    ("kinds", "levels"), [(NUMBERS, ["1", "2"]), (LOGICAL, ["False", "True"])], ids=["1", "True"]
)
def test_a_batch_has_one_name_whatever_the_type_of_its_column(kinds, levels, recwarn):
    designs = []
    fitted = [Covariates.of(pd.DataFrame({"batch": values})) for values in kinds.values()]
    for found in fitted:
        assert found.levels == {"batch": levels}
        designs += [found.design(pd.DataFrame({"batch": values})) for values in kinds.values()]
    assert all(np.array_equal(design, designs[0]) for design in designs)
    for one, same in ((1, "1"), (2.0, "2"), (True, "TRUE"), (np.False_, "False")):
        if batch_name(same) in levels:
            np.testing.assert_array_equal(fitted[0].row(one), fitted[0].row(same))
    assert not recwarn.list


def test_names_of_numbers():
    names = {
        1e5: "100000", 1e15: "1000000000000000", 0.1 + 0.2: "0.3", 1e-7: "1e-07", -0.0: "0",
        2**60: "1152921504606846976", np.float32(0.1): "0.1", 1e300: "1e+300", -2.5: "-2.5",
        "1e+05": "100000", "1e5": "1e5", "01": "01", "1.0": "1.0", "plate 1E05": "plate 1E05",
        pd.Timestamp("2024-05-01"): "2024-05-01",
    }  # fmt: skip
    assert {value: batch_name(value) for value in names} == names


@pytest.mark.slow
def test_a_query_of_another_type_has_the_same_latent(batched):
    mdata = batched[:300].copy()
    number = mdata.obs["batch"].cat.codes.to_numpy()
    mdata.obs["lane"] = number + 1
    model = scmvp.SCMVP(mdata, n_clusters=3, batch="lane").train(max_epochs=2, threads=1)
    fitted = model.get_latent_representation(mdata)
    for values in (
        number + 1.0,  # an NA in a cell that is left out is enough
        pd.Categorical((number + 1).astype(str)),
    ):
        mdata.obs["lane"] = values
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            np.testing.assert_array_equal(model.get_latent_representation(mdata), fitted)


@pytest.mark.parametrize(
    ("obs", "sentence"),
    [
        (OBS.assign(donor="a"), "all cells have 'a' in 'donor'"),
        (OBS.assign(donor=["a", None, "b", "a"]), "1 cell has no value in 'donor' .'x'"),
        (pd.DataFrame({"depth": np.arange(300)}), "'depth' has 300 different values"),
    ],
)
def test_columns_that_are_no_batches_are_refused(obs, sentence):
    with pytest.raises(scmvp.InputError, match=sentence):
        Covariates.of(obs)


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        ("a", "give a dict of column and level"),
        ({"sex": "f"}, "no batch column 'sex'"),
        ({"donor": "q"}, "'donor' has no level 'q'"),
    ],
)
def test_a_batch_that_is_none_of_the_models_is_refused(batch, sentence):
    with pytest.raises(scmvp.InputError, match=sentence):
        Covariates.of(OBS).row(batch)


def test_what_names_columns():
    assert column_names(None) == []
    assert column_names("donor") == ["donor"]
    assert column_names(["donor", "lane"]) == ["donor", "lane"]
    for wrong in (3, [1], ["donor", "donor"]):
        with pytest.raises(scmvp.InputError, match="batch"):
            column_names(wrong)


def test_spectral_scores_do_not_see_what_only_batches_do():
    """Cells of one kind, changed feature by feature in a batch, score as if they were not."""
    rng = np.random.default_rng(0)
    donor, lane = rng.integers(0, 2, (2, 400))
    design = np.hstack([np.eye(2, dtype=np.float32)[one] for one in (donor, lane)])
    log_factor = rng.normal(0, 0.7, (4, 50))
    rate = rng.uniform(1, 4, 50) * np.exp(design @ log_factor)
    counts = sp.csr_matrix(rng.poisson(rate).astype(np.float32))
    found = batches_of(counts, design)
    for first in (0, 2):  # up to what sums to one, and to the noise of some hundred counts
        ratio = (found.log_factor - log_factor)[first] - (found.log_factor - log_factor)[first + 1]
        assert np.std(ratio) < 0.1
    analysis = fit_correspondence(counts, 4, 0, found, shrink=False)
    reader = SpectralScores(analysis)
    rows = torch.from_numpy(design)
    scores = reader(SparseRows.from_csr(counts), rows).numpy()
    blind = SpectralScores(fit_correspondence(counts, 4, 0, shrink=False))
    plain = blind(SparseRows.from_csr(counts)).numpy()
    for level in design.T > 0:
        assert np.abs(scores[level].mean(0)).max() < 0.5  # of a spread of about 1
        assert np.abs(plain[level].mean(0)).max() > 2
    # profiles of infinitely many counts, at once and as the decoder's pass makes them
    share = torch.from_numpy(rate / rate.sum(1, keepdims=True)).float()
    ours = reader.reconstructed(share, None, rows)
    assert ours.abs().max() < 0.6
    scoring = reader.scoring(rows)
    sums = (share * scoring.factor[scoring.kind]) @ scoring.weight
    torch.testing.assert_close(sums[:, :-1] / sums[:, -1:] - reader.centre, ours, atol=1e-4, rtol=0)


def test_a_batch_moves_log_shares():
    torch.manual_seed(0)
    branch = RnaBranch(torch.nn.Linear(3, 8), 8, ModelOptions(n_hidden=8))
    decoder = Decoder(branch, 8, 2, torch.zeros(6), torch.zeros(2, 6)).eval()
    torch.nn.init.normal_(decoder.of_level)
    z = torch.randn(5, 3)
    one, other = (decoder(z, None, torch.eye(2)[i].expand(5, 2)).log() for i in (0, 1))
    moved = one - other - (decoder.of_level[:, 0] - decoder.of_level[:, 1])
    torch.testing.assert_close(moved, moved[:, :1].expand(5, 6))  # up to what sums to one


@pytest.mark.slow
def test_types_are_found_across_strong_batches(batched, model):
    z, labels = model.get_latent_representation(), batched.obs["cell_type"].to_numpy()
    assert adjusted_rand_score(labels, model.predict(n_clusters=4)) > 0.9
    first = (batched.obs["batch"] == "batch1").to_numpy()
    often = pd.crosstab(labels, first).min(axis=1) >= 20  # types that can be learned from either
    known = np.isin(labels, often.index[often])
    for one, other in ((first & known, ~first & known), (~first & known, first & known)):
        classifier = KNeighborsClassifier(15).fit(z[one], labels[one])
        assert classifier.score(z[other], labels[other]) > 0.95
    plain = scmvp.SCMVP(batched, n_clusters=4).train(max_epochs=8, seed=0, threads=1)
    assert adjusted_rand_score(labels, plain.predict()) < 0.8


@pytest.mark.slow
def test_profiles_can_be_imputed_to_a_batch(batched, model):
    """The ratio of the two batches' imputed means is that of the simulated factors."""
    cells = model.cells[:50]
    one, other = (
        model.get_normalized_expression(cells=cells, batch=name) for name in ("batch1", "batch2")
    )
    found = np.log(one / other).mean(0)
    counts = batched["rna"].X.toarray()
    labels = batched.obs["cell_type"].to_numpy()
    parts = []
    for label in np.unique(labels):  # within a type, batches differ only by the factors
        means = [
            counts[(labels == label) & (batched.obs["batch"] == name)].sum(0) + 0.5
            for name in ("batch1", "batch2")
        ]
        parts.append(np.log(means[0] / means[0].sum()) - np.log(means[1] / means[1].sum()))
    place = batched["rna"].var_names.get_indexer(model.genes)
    often = counts.sum(0)[place] > 500
    assert np.corrcoef(found[often], np.mean(parts, 0)[place][often])[0, 1] > 0.95
    average = model.get_normalized_expression(cells=cells)
    assert not np.allclose(average, one)
    np.testing.assert_allclose(average.sum(1), 1e4, rtol=1e-4)


@pytest.mark.slow
def test_a_saved_model_knows_its_batches(batched, model, tmp_path):
    model.save(tmp_path / "model")
    loaded = scmvp.SCMVP.load(tmp_path / "model")
    np.testing.assert_allclose(
        loaded.get_latent_representation(batched), model.get_latent_representation(), atol=1e-4
    )
    rna, atac = batched["rna"].copy(), batched["atac"].copy()
    rna.obs, atac.obs = rna.obs.drop(columns="batch"), atac.obs.drop(columns="batch")
    with pytest.raises(scmvp.InputError, match="no column 'batch' in obs"):
        loaded.get_latent_representation((rna, atac))
    rna.obs["batch"] = batched.obs["batch"].to_numpy()
    np.testing.assert_allclose(
        loaded.get_latent_representation((rna, atac)),
        model.get_latent_representation(),
        atol=1e-4,
    )


@pytest.mark.slow
def test_what_a_fit_says_of_wrong_batches(batched):
    with pytest.raises(scmvp.InputError, match="no column 'donor' in obs"):
        scmvp.SCMVP(batched, batch="donor")
    plain = scmvp.SCMVP(batched, n_clusters=4).train(max_epochs=2, threads=1)
    with pytest.raises(scmvp.InputError, match="fitted without batches"):
        plain.get_normalized_expression(batch="batch1")


@pytest.mark.slow
def test_the_estimated_number_of_clusters_is_not_of_the_batches(batched, model):
    paper = scmvp.SCMVP(batched, batch="batch", preset="paper")  # the rank is known before training
    assert model.n_components == paper.n_components == 4
    # a difference of types that is nearly one of batches is removed with these, and the types merge
    mixed = of_two_batches(500, 0)
    labels = mixed.obs["cell_type"].to_numpy()
    assert pd.crosstab(labels, mixed.obs["batch"].to_numpy()).to_numpy().min() >= 30
    found = scmvp.SCMVP(mixed, batch="batch").train(max_epochs=20, seed=0, threads=1)
    assert found.n_components == found.n_clusters == 4
    assert adjusted_rand_score(labels, found.predict()) > 0.9
