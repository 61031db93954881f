"""The measures of bench/paper, by hand and by brute force."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def paper():
    """The modules of bench/paper; they and those they use are forgotten afterwards."""
    before, path = set(sys.modules), list(sys.path)
    sys.path[:0] = [str(BENCH / name) for name in ("paper", "accuracy", "integration")]
    import embedding
    import imputation

    yield embedding, imputation
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(BENCH) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_mixing_is_that_of_all_neighbors_over_that_of_random_labels(paper):
    """By loops over all cells; the labels of small batches do not count."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 3))
    types = rng.choice(["a", "b"], 300)
    batch = rng.choice(["x", "y", "w"], 300, p=[0.6, 0.3, 0.1])
    batch[:5] = "rare"
    z[batch == "x"] += 1
    near, random = [], []
    for one in ("a", "b"):
        here = [i for i in range(300) if types[i] == one]
        size = {of: sum(batch[i] == of for i in here) for of in set(batch)}
        here = [i for i in here if size[batch[i]] >= 20]
        for i in here:
            others = sorted((j for j in here if j != i), key=lambda j, i=i: sum((z[i] - z[j]) ** 2))
            near.append(np.mean([batch[j] != batch[i] for j in others[:15]]))
            random.append(np.mean([batch[j] != batch[i] for j in others]))
    assert paper[0].mixing(z, types, batch) == pytest.approx(np.mean(near) / np.mean(random))


def test_mixing_of_random_labels_is_one_and_of_batches_apart_zero(paper):
    rng = np.random.default_rng(1)
    z, types, batch = rng.normal(size=(2000, 2)), np.full(2000, "a"), rng.choice(["x", "y"], 2000)
    assert paper[0].mixing(z, types, batch) == pytest.approx(1, abs=0.02)
    assert paper[0].mixing(z + 100 * (batch == "x")[:, None], types, batch) == 0


def test_a_loss_is_stable_from_the_epoch_after_the_last_one_above_its_limit(paper):
    loss = np.array([100, 10, 0.5, 2, 0.9, 0.0, 1.0])  # the limit is 1
    assert paper[0].stable_from(loss) == 5
    assert paper[0].stable_from(np.array([3.0, 3.0])) == 1
    assert paper[0].decrease_by(loss, 2) == pytest.approx(0.9)
    assert paper[0].decrease_by(loss, 30) == 1


def test_halves_share_no_cell_and_have_the_same_features(paper):
    """The counts of both add up to those of all cells, feature by feature."""
    imputation = paper[1]
    whole = imputation.data.load("sim_tiny", Path("."))
    fitted, held_out = imputation.halves(whole, 0)
    assert list(fitted.genes.index) == list(held_out.genes.index)
    types, size = np.unique(whole.labels, return_counts=True)
    enough = np.isin(whole.labels, types[size // 2 >= imputation.MIN_HELD_OUT])
    assert len(fitted.labels) + len(held_out.labels) == enough.sum() > 0
    names = whole.genes.index.get_indexer(fitted.genes.index)
    both = np.asarray(fitted.x.sum(0) + held_out.x.sum(0)).ravel()
    np.testing.assert_array_equal(both, np.asarray(whole.x[enough][:, names].sum(0)).ravel())
    for one in np.unique(held_out.labels):
        assert (held_out.labels == one).sum() == size[types == one].item() // 2


def test_correlations_are_those_of_numpy(paper):
    rng = np.random.default_rng(2)
    cells, bulks = rng.normal(size=(5, 30)), rng.normal(size=(3, 30))
    expected = np.corrcoef(cells, bulks)[:5, 5:]
    np.testing.assert_allclose(paper[1].correlations(cells, bulks), expected)


def test_peaks_of_the_bulk_are_counted_at_the_part_of_the_raw_ones(paper, monkeypatch):
    """Ten peaks, of which the bulk has the first four; one cell with two peaks, one in the bulk."""
    monkeypatch.setattr(paper[1], "BULK_PART", 0.4)
    bulks = np.array([[9, 8, 7, 6, 1, 1, 0, 0, 0, 0]])
    raw = sp.csr_matrix(np.array([[1, 0, 0, 0, 0, 1, 0, 0, 0, 0]]))
    # in their order: in, out, in, in, out, out, in, out, out, out: half of the first eight
    order = [0, 5, 1, 2, 6, 7, 3, 8, 9, 4]
    values = np.zeros((1, 10))
    values[0, order] = np.arange(10, 0, -1)
    own = np.array([0])
    part, found = paper[1]._peaks_of_bulk("imputed", values, raw, bulks, own)
    assert (part[2], found[2]) == (0.5, 4)
    part, found = paper[1]._peaks_of_bulk("raw", raw, raw, bulks, own)
    assert (part[2], found[2]) == (0.5, 1)


def test_markers_are_found_among_as_many_first_genes_as_are_known(paper, monkeypatch):
    monkeypatch.setattr(paper[1], "N_MARKERS", 2)
    known = {"a": ["p", "q", "y"], "b": ["r"]}
    order = {"a": ["q", "y", "p"], "b": ["x", "r"]}
    first, again = paper[1].found_again("one", known, order)
    assert (first[2], again[2]) == (0.25, 0.5)


def test_a_run_replaces_its_own_rows_only(tmp_path):
    put = runpy.run_path(str(BENCH / "paper" / "__main__.py"), run_name="paper")["put"]
    columns = ["experiment", "data", "seed", "ours"]
    file = tmp_path / "rows.csv"
    rest = dict.fromkeys(("figure", "method", "measure", "published", "command", "date"), "")
    for rows in (
        [["loss", "b", "0", "1"], ["loss", "b", "1", "2"], ["latent", "b", "0", "3"]],
        [["loss", "b", "0", "4"]],
        [["loss", "a", "0", "5"]],
    ):
        put(file, pd.DataFrame(rows, columns=columns).assign(**rest))
    found = pd.read_csv(file, dtype=str)[columns].to_numpy().tolist()
    assert found == [
        ["latent", "b", "0", "3"], ["loss", "b", "0", "4"], ["loss", "b", "1", "2"],
        ["loss", "a", "0", "5"],
    ]  # fmt: skip
