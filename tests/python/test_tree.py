"""The tree of clusters against brute force, known shapes, and simulated gradients."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score

import scmvp
from scmvp import cli, storage
from scmvp.errors import InputError
from scmvp.fit.mixture import shared_neighbors
from scmvp.fit.tree import RESOLUTION, _agglomerate, cluster_tree


def line_and_blobs() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A line in four pieces and three groups apart: latent, components, means, true clusters."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1000, 5))
    place = rng.uniform(0, 16, 400)
    z[:400, 0] += place
    component = np.concatenate([(place // 4).astype(int), np.repeat([4, 5, 6], 200)])
    for number in (4, 5, 6):
        z[component == number, number - 3] += 20
    means = np.stack([z[component == c].mean(0) for c in range(7)])
    return z, component, means, np.maximum(component - 3, 0)


def of_graph(graph: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Connectivities of clusters by their definition, edge by edge."""
    n = cluster.max() + 1
    total = graph.sum()
    found = np.zeros((n, n))
    for a in range(n):
        for b in range(n):
            between = graph[np.ix_(cluster == a, cluster == b)].sum()
            ends = graph[cluster == a].sum() * graph[cluster == b].sum()
            found[a, b] = between * total / ends
    return found


def test_merges_are_those_of_brute_force():
    z, component, means, _ = line_and_blobs()
    z = z / [4, 3, 3, 3, 1]  # nearer, so that all are connected
    tree = cluster_tree(z, component, means)
    graph = shared_neighbors(z).toarray()
    np.fill_diagonal(graph, 0)
    cluster = component.copy()
    for merge, connectivity in enumerate(tree.connectivity):
        found = of_graph(graph, cluster)
        np.fill_diagonal(found, -1)
        assert np.isclose(found.max(), connectivity)
        a, b = sorted(np.unravel_index(found.argmax(), found.shape))
        cluster[cluster == b] = a
        cluster = np.unique(cluster, return_inverse=True)[1]
        ours = tree.cut(len(tree.n_cells) - merge - 1)[component]
        assert adjusted_rand_score(ours, cluster) == 1
    assert (np.diff(tree.connectivity) <= 0).all()


def test_pieces_of_a_line_merge_and_groups_do_not():
    z, component, means, truth = line_and_blobs()
    tree = cluster_tree(z, component, means)
    n_clusters = tree.n_clusters_at(RESOLUTION)
    assert n_clusters == 4
    cluster = tree.cut(n_clusters)[component]
    assert adjusted_rand_score(cluster, truth) == 1
    sizes = np.bincount(cluster)
    assert (sizes[:-1] >= sizes[1:]).all() and sizes[0] == 400
    assert tree.n_clusters_at(1e-9) <= n_clusters <= tree.n_clusters_at(1e9) == 7


def test_a_component_without_cells_is_in_the_nearest_cluster():
    z, component, means, _ = line_and_blobs()
    tree = cluster_tree(z, component + (component > 1), np.insert(means, 2, means[5] + 0.1, 0))
    clusters = tree.cut(4)
    assert len(tree.n_cells) == 7 and clusters[2] == clusters[6]


def test_a_sample_of_many_cells_keeps_rare_ones(monkeypatch):
    z, component, means, truth = line_and_blobs()
    rare = np.r_[np.arange(0, 800), np.arange(800, 830)]  # 30 cells of the last group
    monkeypatch.setattr("scmvp.fit.tree.GRAPH_CELLS", 600)
    tree = cluster_tree(z[rare], component[rare], means)
    cluster = tree.cut(tree.n_clusters_at(RESOLUTION))[component[rare]]
    assert adjusted_rand_score(cluster, truth[rare]) == 1


@pytest.fixture(scope="module")
def cells():
    return scmvp.simulate(n_cells=300, n_genes=300, n_peaks=500, n_types=3, seed=2)


@pytest.fixture(scope="module")
def model(cells):
    return scmvp.SCMVP(cells).train(max_epochs=25, threads=1, progress=False)


@pytest.mark.slow
def test_levels_of_a_model(model, cells, tmp_path):
    most = len(model.tree.n_cells)
    components = model.responsibilities(model.get_latent_representation(), n_clusters=most)
    for n_clusters in range(1, most + 1):
        found = model.predict_proba(n_clusters=n_clusters)
        assert found.shape == (300, n_clusters)
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
        # a cluster is a union of components, and so is its probability
        parts = model.tree.cut(n_clusters), model.tree.cut(most)
        for cluster in range(n_clusters):
            own = np.unique(parts[1][parts[0] == cluster])
            np.testing.assert_allclose(found[:, cluster], components[:, own].sum(1), atol=1e-5)
    assert model.n_clusters == model.tree.n_clusters_at(RESOLUTION)
    assert model.summary()["n_components"] == model.n_components >= most
    np.testing.assert_array_equal(model.predict(), model.predict(n_clusters=model.n_clusters))
    np.testing.assert_array_equal(model.predict(), model.predict(resolution=RESOLUTION))
    for wrong in (0, most + 1, 2.5, True, "3"):
        with pytest.raises(InputError, match="n_clusters is"):
            model.predict(n_clusters=wrong)
    for wrong in (0, -1, np.nan, "a"):
        with pytest.raises(InputError, match="resolution is"):
            model.predict(resolution=wrong)
    with pytest.raises(InputError, match="give one of them"):
        model.predict(n_clusters=2, resolution=0.1)
    model.save(tmp_path / "model")
    loaded = scmvp.SCMVP.load(tmp_path / "model")
    assert loaded.n_clusters == model.n_clusters
    for level in ({}, {"n_clusters": 1}, {"resolution": 5.0}):
        np.testing.assert_array_equal(loaded.predict(cells, **level), model.predict(**level))


@pytest.mark.slow
def test_merged_probabilities_are_at_most_one(model):
    between = np.random.default_rng(0).normal(0, 0.3, (5000, 20))
    components = model.responsibilities(between, n_clusters=len(model.tree.n_cells))
    assert components.sum(1).max() > 1  # by rounding
    for n_clusters in (1, 2):
        found = model.responsibilities(between, n_clusters=n_clusters)
        assert found.min() >= 0 and found.max() <= 1
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


@pytest.mark.slow
def test_clusters_of_a_given_number_are_components(cells):
    model = scmvp.SCMVP(cells, n_clusters=3).train(max_epochs=2, threads=1, progress=False)
    assert model.n_clusters == model.n_components == 3
    np.testing.assert_array_equal(model.predict(), model.predict(n_clusters=3))
    assert set(model.predict(n_clusters=2)) == {0, 1}


@pytest.mark.slow
def test_models_of_before_keep_their_components(model, cells, tmp_path):
    model.save(tmp_path)
    info = json.loads((tmp_path / "model.json").read_text())
    info["format_version"], info["tree"] = 6, None
    info["account"]["n_clusters"] = info["account"].pop("n_components")
    del info["tree"]
    (tmp_path / "model.json").write_text(json.dumps(storage.signed(info)))
    loaded = scmvp.SCMVP.load(tmp_path)
    assert loaded.n_clusters == loaded.n_components == model.n_components
    with pytest.raises(InputError, match="fit again"):
        loaded.predict(cells, resolution=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["leaf"].append(0),
        lambda tree: tree["leaf"].__setitem__(0, 99),
        lambda tree: tree["merges"].reverse(),
        lambda tree: tree["merges"].pop(),
        lambda tree: tree["connectivity"].append(0.0),
        lambda tree: tree.update(level=99),
        lambda tree: tree.pop("n_cells"),
    ],
)
def test_a_changed_tree_is_refused(change, model, tmp_path):
    model.save(tmp_path)
    info = json.loads((tmp_path / "model.json").read_text())
    change(info["tree"])
    (tmp_path / "model.json").write_text(json.dumps(storage.signed(info)))
    with pytest.raises(storage.ModelFileError, match="damaged"):
        scmvp.SCMVP.load(tmp_path)


@pytest.mark.slow
def test_clusters_of_a_result_on_the_command_line(cells, tmp_path, capsys):
    cells.write_h5mu(tmp_path / "cells.h5mu")
    out, file = tmp_path / "result", tmp_path / "two.csv"
    fit = ["fit", tmp_path / "cells.h5mu", "--out", out, "--max-epochs", 8, "--threads", 1]
    assert cli.main([*map(str, fit), "--quiet"]) == 0
    assert cli.main(["clusters", str(out), "--n-clusters", "2", "--out", str(file)]) == 0
    table = pd.read_csv(file)
    assert set(table["cluster"]) == {0, 1} and list(table["cell"]) == list(cells.obs_names)
    model = scmvp.SCMVP.load(out / "model")
    np.testing.assert_array_equal(table["cluster"], model.predict(cells, n_clusters=2))
    (out / "latent.csv").write_text("no latent")
    assert cli.main(["clusters", str(out), "--n-clusters", "2", "--out", str(file)]) == 2
    assert "fit again" in capsys.readouterr().err


@pytest.mark.slow
def test_pieces_of_simulated_gradients_merge():
    """Two types, and two gradients between states, of which each is more than one component."""
    rng = np.random.default_rng(0)
    base = scmvp.simulate(n_cells=50, n_genes=600, n_peaks=1200, n_types=6, seed=0)
    truth, place = rng.choice(4, 400), rng.random(400)
    weights = np.zeros((400, 6))
    for gradient in (0, 1):
        own = truth == gradient
        weights[own, 2 * gradient], weights[own, 2 * gradient + 1] = 1 - place[own], place[own]
    weights[truth > 1, truth[truth > 1] + 2] = 1
    pair = []
    for adata in (base["rna"], base["atac"]):
        counts = csr_matrix(rng.poisson(6000 * weights @ adata.varm["true_profile"].T))
        names = pd.DataFrame(index=[f"cell{number}" for number in range(400)])
        pair.append(AnnData(counts.astype(np.float32), obs=names, var=adata.var[[]]))
    found = []
    for seed in (0, 1):  # rounding, by the kind of processor, moves one fit by several hundredths
        model = scmvp.SCMVP(tuple(pair)).train(max_epochs=20, seed=seed, threads=1)
        levels = model.predict(n_clusters=len(model.tree.n_cells)), model.predict()
        found.append([adjusted_rand_score(truth, level) for level in levels])
    of_components, of_clusters = np.mean(found, axis=0)
    assert of_components < 0.9 < of_clusters


def test_rounding_never_raises_a_connectivity():
    """Weights that are all the same tie at every merge; a rising one is refused in a file."""
    for n in range(3, 30):
        for weight in (0.1, 0.3, 1 / 3, 0.7):
            weights = np.full((n, n), weight)
            np.fill_diagonal(weights, 0)
            assert (np.diff(_agglomerate(weights)[1]) <= 0).all()
