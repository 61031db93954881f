"""Doublet scores, against doublets that were made by adding cells."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData
from sklearn.metrics import average_precision_score
from stored import write_pair

import scmvp
from scmvp.tools.doublets import draw_pairs, proportion_of, thinned

QUICK = {"max_epochs": 4, "threads": 1, "progress": False}


def with_doublets(n_doublets, n_cells=400, seed=5, **options):
    """Paired cells, and of each 'single', 'hetero' or 'homo': the first are sums of two others."""
    mdata = scmvp.simulate(
        n_cells=n_cells + n_doublets, n_genes=300, n_peaks=600, n_types=4, seed=seed, **options
    )
    one, other, rest = np.split(np.arange(mdata.n_obs), [n_doublets, 2 * n_doublets])
    kind = mdata["rna"].obs["cell_type"].to_numpy().astype(str)
    of_two = np.where(kind[one] == kind[other], "homo", "hetero")
    pair = []
    for modality in ("rna", "atac"):
        counts = mdata[modality].X
        adata = AnnData(sp.vstack([counts[one] + counts[other], counts[rest]], format="csr"))
        adata.obs_names = [f"cell{i}" for i in range(n_cells)]
        adata.var_names = mdata[modality].var_names
        pair.append(adata)
    return tuple(pair), np.concatenate([of_two, np.repeat("single", len(rest))])


@pytest.fixture(scope="module")
def mixed():
    pair, kind = with_doublets(40)
    model = scmvp.SCMVP(pair, n_clusters=4).train(seed=0, **QUICK)
    return SimpleNamespace(pair=pair, kind=kind, model=model, scores=model.doublet_scores())


def precision(mixed, scores):
    """Area under the precision-recall curve, doublets of two types against single cells."""
    told = mixed.kind != "homo"
    return average_precision_score(mixed.kind[told] == "hetero", np.asarray(scores)[told])


@pytest.mark.slow
def test_doublets_score_above_single_cells(mixed):
    assert list(mixed.scores.index) == list(mixed.model.cells)
    assert mixed.scores.name == "scmvp_doublet_score" and mixed.scores.between(0, 1).all()
    depth = sum(np.asarray(part.X.sum(1)).ravel() for part in mixed.pair)
    assert precision(mixed, mixed.scores) > max(0.8, precision(mixed, depth))
    # they are probabilities: so many doublets, and most of what is above one half is one
    n_doublets = (mixed.kind == "hetero").sum()
    assert 0.6 * n_doublets < mixed.scores.sum() < 1.5 * n_doublets
    found = mixed.kind[mixed.scores > 0.5]
    assert len(found) > n_doublets / 2 and (found != "single").mean() > 0.75


@pytest.mark.slow
def test_scores_are_better_than_scrublet_on_the_rna(mixed):
    scanpy = pytest.importorskip("scanpy")
    rna = mixed.pair[0].copy()
    scanpy.pp.scrublet(rna, threshold=0.25, random_state=0, verbose=False)
    assert precision(mixed, mixed.scores) > precision(mixed, rna.obs["doublet_score"])


@pytest.mark.slow
def test_cells_without_doublets_score_low():
    pair, _ = with_doublets(0, n_cells=300)
    model = scmvp.SCMVP(pair, n_clusters=4).train(seed=0, **QUICK)
    scores = model.doublet_scores()
    assert scores.mean() < 0.05 and (scores > 0.5).mean() < 0.05


def test_scores_go_with_the_name_of_a_cell_in_memory_and_on_disk(mixed, tmp_path):
    shuffled = np.random.default_rng(0).permutation(len(mixed.kind))
    pair = tuple(part[shuffled].copy() for part in mixed.pair)
    again = mixed.model.doublet_scores(pair)
    assert list(again.index) == list(pair[0].obs_names)
    assert (again[mixed.scores.index] == mixed.scores).all()
    write_pair(dict(zip(("rna", "atac"), pair, strict=True)), tmp_path)
    backed = mixed.model.doublet_scores(scmvp.read(tmp_path, backed=True, progress=False))
    assert (backed[mixed.scores.index] == mixed.scores).all()


def test_the_seed_decides_and_little_depends_on_it(mixed):
    assert (mixed.model.doublet_scores(seed=0) == mixed.scores).all()
    other = mixed.model.doublet_scores(seed=1)
    assert (other != mixed.scores).any() and other.corr(mixed.scores) > 0.95


def test_a_model_from_a_file_scores_the_cells_it_is_given(mixed, tmp_path, refused):
    mixed.model.save(tmp_path / "model")
    loaded = scmvp.SCMVP.load(tmp_path / "model")
    refused(loaded.doublet_scores, "without its cells")
    assert np.allclose(loaded.doublet_scores(mixed.pair), mixed.scores, atol=1e-6)


def test_cells_of_one_modality_have_no_score(mixed, refused):
    rna, atac = (part.copy() for part in mixed.pair)
    alone = np.arange(0, 400, 40)
    without = atac[np.setdiff1d(np.arange(400), alone)].copy()
    scores = mixed.model.doublet_scores((rna, without))
    assert list(scores.index[scores.isna()]) == [f"cell{i}" for i in alone]
    assert precision(mixed, scores.fillna(0)) > 0.7
    refused(lambda: mixed.model.doublet_scores((rna, None)), "0 cells have counts in both")


@pytest.mark.slow
def test_what_cannot_be_scored_is_refused(mixed, refused):
    few = tuple(part[:49].copy() for part in mixed.pair)
    refused(lambda: mixed.model.doublet_scores(few), "49 cells have", "give at least 50")
    one = scmvp.SCMVP(mixed.pair, n_clusters=1).train(**{**QUICK, "max_epochs": 2})
    refused(one.doublet_scores, "all cells belong to one component")
    refused(lambda: mixed.model.doublet_scores(n_simulated=10), "n_simulated is 10")
    refused(lambda: mixed.model.doublet_scores(seed=-1), "seed is -1")
    refused(scmvp.SCMVP(mixed.pair).doublet_scores, "call train() first")
    kind = inspect.signature(mixed.model.doublet_scores).parameters["seed"].kind
    assert kind is inspect.Parameter.KEYWORD_ONLY


def test_pairs_are_of_one_batch_and_of_two_kinds_and_all_equally_frequent(refused):
    kind = np.array([0, 1, 0, 1, 0, 2, 0, 1, 1, 2, 2, 2])
    batch = np.array([0, 0, 0, 1, 1, 1, 1, 0, 1, 2, 2, 2])
    pairs = np.array(draw_pairs(kind, batch, 40_000, np.random.default_rng(0)))
    n = np.zeros((12, 12))
    np.add.at(n, tuple(pairs), 1)
    allowed = (kind[:, None] != kind) & (batch[:, None] == batch)
    assert (n[~allowed] == 0).all()
    # batch 0 has 4 of the 9 cells that can be in a pair, batch 2 cells of one kind alone
    for number, part in ((0, 4 / 9), (1, 5 / 9)):
        here = allowed & (batch[:, None] == number)
        expected = 40_000 * part / here.sum()
        assert (np.abs(n[here] - expected) < 5 * np.sqrt(expected)).all()
    with_one_kind = np.repeat([0, 1], 6)
    refused(
        lambda: draw_pairs(with_one_kind, with_one_kind, 10, np.random.default_rng(0)),
        "the cells of each batch belong to one component",
    )


def test_the_proportion_of_doublets_is_found_behind_single_cells():
    rng = np.random.default_rng(0)
    single, doublet = rng.normal(0, 1, 20_000), rng.normal(3, 1, 20_000)
    for n_doublets in (400, 2000, 4000):
        observed = np.concatenate([single[n_doublets:], doublet[:n_doublets]])
        found = proportion_of(observed, doublet[10_000:])
        assert found == pytest.approx(n_doublets / 20_000, rel=0.15)
    assert proportion_of(single, doublet) < 0.01
    assert proportion_of(np.zeros(100), np.ones(100)) <= 0.5  # all alike: no threshold tells


def test_thinning_keeps_the_part_of_each_cell():
    counts = sp.csr_matrix(np.random.default_rng(0).poisson(3.0, (3, 5000)).astype(np.float32))
    kept = np.array([0.7, 0.9, 1.0])
    found = thinned(counts, kept, np.random.default_rng(1))
    assert np.allclose(found.sum(1).A1 / counts.sum(1).A1, kept, atol=0.02)
    assert (found > counts).nnz == 0 and found.data.all() and (found[2] != counts[2]).nnz == 0


@pytest.mark.slow
def test_batches_are_those_of_the_model(mixed):
    pair = tuple(part.copy() for part in mixed.pair)
    for part in pair:
        part.obs["donor"] = np.tile(["a", "b"], 200)
    model = scmvp.SCMVP(pair, n_clusters=4, batch="donor").train(seed=0, **QUICK)
    assert precision(mixed, model.doublet_scores()) > 0.7
