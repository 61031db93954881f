"""How the components of a mixture merge into larger clusters.

A type of cells need not be Gaussian: cells along a gradient are described by several components,
between which there is no gap. Components merge in the order of their connectivity in the graph of
shared neighbors (the agglomeration of Bonald et al., 2018, "Paris"), down to one cluster
(docs/decisions, D26).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ..data.matrices import evenly
from .mixture import shared_neighbors

RESOLUTION = 0.15  # of the clusters that a fit gives, where K was not given
GRAPH_CELLS = 20_000


class ClusterTree(NamedTuple):
    """Leaves are the components that have cells; node L + j is what the j-th merge makes."""

    component: np.ndarray  # (L,), of each leaf
    leaf: np.ndarray  # (K,), of each component; of one without cells, that of the nearest one
    merges: np.ndarray  # (L - 1, 2) nodes, the best connected first
    connectivity: np.ndarray  # (L - 1,), at which they merge, never increasing
    n_cells: np.ndarray  # (L,), of each leaf

    def n_clusters_at(self, resolution: float) -> int:
        """Clusters that are left when everything of a larger connectivity has merged."""
        return len(self.n_cells) - int((self.connectivity > resolution).sum())

    def cut(self, n_clusters: int) -> np.ndarray:
        """Cluster of each component, (K,): 0 has the most cells, `n_clusters` - 1 the fewest."""
        n_leaves = len(self.n_cells)
        cluster = np.arange(n_leaves)
        for node, pair in enumerate(self.merges[: n_leaves - n_clusters], n_leaves):
            cluster[np.isin(cluster, pair)] = node
        nodes, place = np.unique(cluster, return_inverse=True)
        order = np.argsort(-np.bincount(place, self.n_cells, len(nodes)), kind="stable")
        return np.argsort(order)[place][self.leaf]

    def info(self) -> dict[str, Any]:
        """As `model.json` has it."""
        return {name: values.tolist() for name, values in self._asdict().items()}

    @classmethod
    def from_info(cls, info: dict[str, Any], n_components: int) -> ClusterTree:
        """What `info` was made of.

        Raises:
            ValueError: It is no tree of that many components.
        """
        component, leaf, n_cells = (
            np.asarray(info[name], int) for name in ("component", "leaf", "n_cells")
        )
        merges = np.asarray(info["merges"], int).reshape(-1, 2)
        connectivity = np.asarray(info["connectivity"], float)
        n = len(n_cells)
        is_tree = (
            leaf.shape == (n_components,)
            and set(leaf) == set(range(n))
            and set(component) <= set(range(n_components))
            and leaf[component].tolist() == list(range(n))
            and len(merges) == len(connectivity) == n - 1
            and sorted(merges.ravel()) == list(range(2 * n - 2))
            and bool((merges < np.arange(n, 2 * n - 1)[:, None]).all())
            and bool((np.diff(connectivity) <= 0).all())
        )
        if not is_tree:
            raise ValueError("the tree of clusters")
        return cls(component, leaf, merges, connectivity, n_cells)


def cluster_tree(latent: np.ndarray, component: np.ndarray, means: np.ndarray) -> ClusterTree:
    """The tree of the components of a mixture.

    Args:
        latent: Whitened latent of the cells, (n, D).
        component: The most probable component of each, (n,).
        means: Means of all components, in the same coordinates, (K, D).
    """
    used, own, n_cells = np.unique(component, return_inverse=True, return_counts=True)
    distance = np.square(means[:, None] - means[None, used]).sum(2)
    leaf = distance.argmin(1)
    leaf[used] = np.arange(len(used))
    rows = _sampled(own, n_cells)
    merges, connectivity = _agglomerate(_weights(latent[rows], own[rows], len(used)))
    return ClusterTree(used, leaf, merges, connectivity, n_cells)


def _sampled(own: np.ndarray, n_cells: np.ndarray) -> np.ndarray:
    """At most 20,000 cells, as many of each leaf as long as it has them, at even distances."""
    if len(own) <= GRAPH_CELLS:
        return np.arange(len(own))
    quota, left = 0, GRAPH_CELLS
    for done, n in enumerate(np.sort(n_cells)):
        quota = left // (len(n_cells) - done)
        left -= min(n, quota)
    chosen = []
    for one in range(len(n_cells)):
        rows = np.flatnonzero(own == one)
        chosen.append(rows[evenly(len(rows), quota)])
    return np.sort(np.concatenate(chosen))


def _weights(latent: np.ndarray, own: np.ndarray, n: int) -> np.ndarray:
    """Weights of the edges between leaves in the graph of shared neighbors, (n, n)."""
    graph = shared_neighbors(np.asarray(latent, np.float64))
    graph.setdiag(0)
    members = sp.csr_matrix((np.ones(len(own)), (np.arange(len(own)), own)), (len(own), n))
    return (members.T @ graph @ members).toarray()


def _agglomerate(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merges and their connectivities.

    The connectivity of two clusters is the weight of the edges between them over what it would be
    if the edges of each went to clusters at random in proportion to these clusters' edges. That of
    a merged cluster to a third is between those of its parts, so it never increases.
    """
    n = len(weights)
    volume, node = weights.sum(1), np.arange(n)
    total = volume.sum()
    merges, connectivity = [], []
    for made in range(n, 2 * n - 1):
        expected = np.outer(volume, volume) / total
        ratio = np.divide(weights, expected, out=np.zeros_like(weights), where=expected > 0)
        np.fill_diagonal(ratio, -1)
        a, b = sorted(np.unravel_index(ratio.argmax(), ratio.shape))
        merges.append(sorted((node[a], node[b])))
        connectivity.append(ratio[a, b])
        weights[a] += weights[b]
        weights[:, a] += weights[:, b]
        weights = np.delete(np.delete(weights, b, 0), b, 1)
        volume[a] += volume[b]
        volume, node[a] = np.delete(volume, b), made
        node = np.delete(node, b)
    # rounding may raise it in its last digit
    never_rising = np.minimum.accumulate(np.array(connectivity, float))
    return np.array(merges, int).reshape(-1, 2), never_rising
