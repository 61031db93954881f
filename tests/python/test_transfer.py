"""Labels carried over to cells whose probabilities of each label are known."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scmvp
from scmvp.tools.transfer import WIDTHS, _neighbors

CENTRES = np.array([[0.0, 0, 0], [2.5, 0, 0], [0, 6, 0]])
LABELS = np.array(["a", "b", "c"])
SHARES = np.array([0.5, 0.3, 0.2])


def cells(n, seed):
    """Points of three Gaussians of variance 1, two of which overlap, and their number."""
    rng = np.random.default_rng(seed)
    which = rng.choice(3, n, p=SHARES)
    return CENTRES[which] + rng.normal(size=(n, 3)), which


def truth(z):
    joint = SHARES * np.exp(-0.5 * ((z[:, None] - CENTRES) ** 2).sum(2))
    return joint / joint.sum(1, keepdims=True)


def test_labels_are_nearly_as_good_as_the_best_possible_and_calibrated(usable):
    z, which = cells(3000, 0)
    query, actual = cells(3000, 1)
    table = scmvp.transfer_labels(z, LABELS[which], query)
    best = truth(query)
    right = (table["best_label"] == LABELS[actual]).to_numpy()
    assert right.mean() > (best.argmax(1) == actual).mean() - 0.01
    probability = table[[f"probability_{label}" for label in LABELS]].to_numpy()
    np.testing.assert_allclose(probability.sum(1), 1)
    assert np.abs(probability - best).mean() < 0.05
    bins = np.minimum((table["confidence"].to_numpy() * 10).astype(int), 9)
    gaps = [
        abs(table["confidence"][bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    ]
    assert sum(gaps) < 0.03
    assert WIDTHS[0] < table.attrs["width"] < WIDTHS[-1]
    usable(table, "p_value")


def test_p_values_are_uniform_for_cells_of_the_reference_and_small_for_others():
    z, which = cells(2000, 0)
    query, _ = cells(2000, 1)
    table = scmvp.transfer_labels(z, LABELS[which], query, unassigned_below=0.05)
    assert 0.03 < (table["p_value"] < 0.05).mean() < 0.07
    assert ((table["label"] == "unassigned") == (table["p_value"] < 0.05)).all()
    away = scmvp.transfer_labels(z, LABELS[which], query + [0, 0, 9])
    assert (away["label"] == "unassigned").mean() > 0.95
    assert (away["best_label"] != "unassigned").all()
    all_assigned = scmvp.transfer_labels(z, LABELS[which], query + 99, unassigned_below=0)
    assert (all_assigned["label"] == all_assigned["best_label"]).all()


def test_few_labels_leave_no_cell_unassigned():
    z, which = cells(99, 0)
    far = np.full((1, 3), 1e4)
    with pytest.warns(UserWarning, match="no cell can be unassigned: with 99 labeled cells"):
        table = scmvp.transfer_labels(z, LABELS[which], far)
    assert table["p_value"].item() == 0.01
    assert table["label"].item() == table["best_label"].item()
    one_more = scmvp.transfer_labels(np.r_[z, z[:1]], LABELS[np.r_[which, which[:1]]], far)
    assert one_more["label"].item() == "unassigned"


def test_neighbors_without_oneself_are_those_of_brute_force():
    z = np.random.default_rng(0).normal(size=(50, 3))
    z[10] = z[3]  # at distance 0 from each other: either may come first
    distance, near = _neighbors(z, z[5:20], 4, without=np.arange(5, 20))
    full = np.linalg.norm(z[5:20, None] - z, axis=2)
    full[np.arange(15), np.arange(5, 20)] = np.inf
    np.testing.assert_allclose(distance, np.sort(full, axis=1)[:, :4], atol=1e-12)
    assert (near != np.arange(5, 20)[:, None]).all()


def test_another_latent_of_the_reference_calibrates():
    """A query measured with more noise is less sure where the reference says so."""
    z, which = cells(1500, 0)
    query, _ = cells(1500, 1)
    noise = np.random.default_rng(2).normal(0, 1.5, (2, *z.shape))
    plain = scmvp.transfer_labels(z, LABELS[which], query + noise[0])
    calibrated = scmvp.transfer_labels(z, LABELS[which], query + noise[0], calibration=z + noise[1])
    assert calibrated.attrs["width"] > plain.attrs["width"]
    assert (plain["label"] == "unassigned").mean() > 0.05
    assert (calibrated["label"] == "unassigned").mean() < 0.025


def distances(reference, which, cell):
    """Mahalanobis distances of one cell: the nearest to a mean, and the mean one to 15 cells."""
    deviation = reference - np.stack([reference[which == w].mean(0) for w in which])
    n_free, n_dims = len(which) - len(set(which)), reference.shape[1]
    covariance = deviation.T @ deviation
    covariance += np.eye(n_dims) * np.trace(covariance) / n_free
    inverse = np.linalg.inv(covariance / (n_free + n_dims))

    def to(points):
        return np.sort([np.sqrt((cell - point) @ inverse @ (cell - point)) for point in points])

    return to([reference[which == w].mean(0) for w in set(which)])[0], to(reference)[:15].mean()


@pytest.mark.slow
def test_p_values_are_those_of_brute_force_in_the_latent_of_the_query():
    """Another encoder places all cells elsewhere; a type that it keeps apart is recognized."""
    z, which = cells(300, 0)
    query, _ = cells(40, 1)
    own, target = z[:, ::-1] / 2 + 1, query[:, ::-1] / 2 + 1
    target[:5] += [3, 0, 0]
    found = scmvp.transfer_labels(z, LABELS[which], target, calibration=own)["p_value"].to_numpy()
    by_label = sorted(range(300), key=lambda i: (which[i], own[i, 0]))
    usual = []
    for start in range(10):
        tenth = by_label[start::10]
        rest = [i for i in range(300) if i not in tenth]
        usual += [np.prod(distances(own[rest], which[rest], own[i])) for i in tenth]
    unlike = [np.prod(distances(own, which, cell)) for cell in target]
    expected = (1 + (np.array(usual) >= np.array(unlike)[:, None]).sum(1)) / 301
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert (found[:5] < 0.01).all() and np.median(found[5:]) > 0.2


def test_p_values_do_not_depend_on_the_order_of_the_reference():
    z, which = cells(400, 0)
    query, _ = cells(30, 1)
    mixed = np.random.default_rng(2).permutation(400)
    one = scmvp.transfer_labels(z, LABELS[which], query)["p_value"]
    other = scmvp.transfer_labels(z[mixed], LABELS[which[mixed]], query)["p_value"]
    np.testing.assert_array_equal(one, other)


def test_an_unknown_type_is_recognized_in_a_direction_in_which_labels_vary_little():
    """By distances without units it would be as near as others."""
    z, which = cells(2000, 0)
    query, _ = cells(200, 1)
    long = np.array([1, 1, 60])
    unknown = np.array([1.25, -4.5, 0]) + np.random.default_rng(2).normal(0, 0.3, (200, 3))
    asked = np.r_[query * long, unknown * long]
    table = scmvp.transfer_labels(z * long, LABELS[which], asked)
    off = (table["label"] == "unassigned").to_numpy()
    assert off[:200].mean() < 0.03 and off[200:].mean() > 0.3


def test_labels_of_cells_that_are_all_alike_are_transferred():
    z = np.repeat([[0.0, 1], [1, 0]], 15, axis=0)
    table = scmvp.transfer_labels(z, np.repeat(["a", "b"], 15), z, unassigned_below=0)
    assert (table["label"].to_numpy() == np.repeat(["a", "b"], 15)).all()
    np.testing.assert_allclose(table["p_value"], 1)


def test_cells_without_a_label_are_left_out_and_results_are_added():
    z, which = cells(500, 0)
    query, _ = cells(100, 1)
    labels = LABELS[which].astype(object)
    labels[::2] = None
    reference = AnnData(np.zeros((500, 1)), obs=pd.DataFrame({"type": labels}))
    reference.obsm["X_scmvp"] = z
    asked = AnnData(np.zeros((100, 1)))
    asked.obsm["X_scmvp"] = query
    table = scmvp.transfer_labels(reference, "type", asked)
    expected = scmvp.transfer_labels(z[1::2], LABELS[which][1::2], query)
    np.testing.assert_array_equal(table["confidence"], expected["confidence"])
    assert list(asked.obs["scmvp_transfer_label"]) == list(table["label"])
    np.testing.assert_array_equal(asked.obs["scmvp_transfer_p_value"], table["p_value"])


def test_what_cannot_be_transferred_is_refused(refused):
    z, which = cells(100, 0)
    labels, call = LABELS[which], scmvp.transfer_labels
    refused(lambda: call(z, labels, z[:, :2]), "3 dimensions", "2", "same model")
    refused(lambda: call(z, labels[:9], z), "100 labels")
    refused(lambda: call(z, np.full(100, "a"), z), "nothing to distinguish")
    refused(lambda: call(z[:19], labels[:19], z), "19 labeled cells")
    refused(lambda: call(z, np.where(labels == "a", "unassigned", labels), z), "'unassigned'")
    refused(lambda: call(z, labels, z, calibration=z[:5]), "calibration")
    refused(lambda: call(z, labels, z, unassigned_below=1), "unassigned_below")
    refused(lambda: call(z, labels, z, n_neighbors=1), "n_neighbors")
    refused(lambda: call(z, labels, z, n_neighbors="ten"), "n_neighbors is 'ten'; give a number")
    refused(lambda: call(z, labels, z * np.inf), "query", "not finite")
    refused(lambda: call(z, labels, z[:0]), "no cells")
    refused(lambda: call(z, "type", z), "one label per cell")
