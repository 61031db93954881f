"""Products of a sparse matrix, against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scmvp.data import products


@pytest.mark.parametrize("n_features", [1, 7, 96, 97, 300])  # up to several blocks, the last short
def test_they_are_those_of_scipy(monkeypatch, n_features):
    monkeypatch.setattr(products, "_BLOCK_FEATURES", 96)
    rng = np.random.default_rng(n_features)
    matrix = sp.random(50, n_features, 0.2, "csr", np.float32, rng)
    matrix.indices = matrix.indices.astype(np.int64)  # as files have them
    found = products.Products(matrix)
    x, y = rng.standard_normal((n_features, 3)), rng.standard_normal((50, 3))
    dense = matrix.toarray()
    np.testing.assert_allclose(found.forward(x), dense @ x, atol=1e-5)
    np.testing.assert_allclose(found.backward(y), dense.T @ y, atol=1e-5)
    np.testing.assert_allclose(found.forward(x[:, 0])[:, 0], dense @ x[:, 0], atol=1e-5)


def test_without_cells_or_counts():
    found = products.Products(sp.csr_matrix((4, 5), dtype=np.float32))
    assert not found.forward(np.ones((5, 2))).any()
    assert not found.backward(np.ones((4, 2))).any()
