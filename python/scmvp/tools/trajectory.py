"""The order of cells along a trajectory of the latent: diffusion map and diffusion pseudotime.

The algorithms are those of scanpy (extra `analysis`). This module chooses the root, refuses data
without a common order, and makes the result reproducible from the seed.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from ..arguments import flag, whole_number
from ..data.annotated import LATENT, labels_of, latent_of
from ..data.containers import refuse_view_on_disk
from ..data.labels import level_name
from ..data.names import note
from ..errors import InputError
from ..settings import own_settings
from ..words import count_of, name_some

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

FEWEST_CELLS = 20


class Diffusion(NamedTuple):
    """Cells in the order of a trajectory.

    `components` (n, C), without the constant one, and their `eigenvalues` (C,), largest first;
    `pseudotime` (n,) is the diffusion distance to the root over the largest one, 0 to 1; `branch`
    (n,) has integers, -1 where the order is ambiguous, or is None; `root` is the row of the root.
    """

    components: np.ndarray
    eigenvalues: np.ndarray
    pseudotime: np.ndarray
    branch: np.ndarray | None
    root: int


@own_settings()
def diffusion(
    data: MuData | AnnData | np.ndarray,
    *,
    root: str | int,
    groupby: str | Sequence[Any] | None = None,
    use_rep: str = LATENT,
    n_neighbors: int | None = None,
    n_components: int = 10,
    branches: bool = False,
    key_added: str = "scmvp",
    seed: int = 0,
) -> Diffusion:
    """Compute diffusion map and diffusion pseudotime of cells in the joint latent with scanpy.

    The graph connects nearest neighbors with scanpy's adaptive Gaussian kernel (Haghverdi et al.,
    Nature Methods 13:845, 2016). The distance is that of the accumulated transitions without the
    constant component.

    Args:
        data: MuData or AnnData with the latent in obsm[use_rep], to which the results are added:
            obsm['X_{key}_diffmap'], obs['{key}_pseudotime'], obs['{key}_branch'] (if `branches`)
            and uns['{key}_diffusion']; or the latent itself, (n, D).
        root: Where the order starts: the name of a cell (for an array: its row) or, with `groupby`,
            of a group. For a group, the order starts at its tip: the cell with the largest
            diffusion distance from the cells outside the group.
        groupby: Column of obs, or one label per cell.
        use_rep: Key of the latent in obsm.
        n_neighbors: Number of neighbors of a cell in the graph. None: 1/25 of the number of cells,
            at least 30 and at most 60. With fewer neighbors, the graph of a large data set may have
            a bottleneck at a branch.
        n_components: Components of the diffusion map, at least 2.
        branches: Also search for one fork of the path, as scanpy's `dpt` does. Cells between the
            branches, and all cells where none were found, have no branch.
        key_added: Prefix of the results' names.
        seed: Seed of the neighbor search and of the eigenvectors.

    Returns:
        `Diffusion`, a named tuple: `components`, (n, n_components); `eigenvalues`; `pseudotime`,
        (n,), from 0 at the root to 1; `branch`, (n,), integers with -1 for no branch, or None;
        `root`, the row of the root. Unless `data` is an array, the result is also added to it.

    Raises:
        InputError: scanpy is missing, the root does not exist, there are fewer than 20 cells or
            cells with the same latent, or the neighbor graph is not connected.
    """
    refuse_view_on_disk(data, "data")
    latent, names = latent_of(data, use_rep)
    if len(latent) < FEWEST_CELLS:
        raise InputError(
            f"there {'is' if len(latent) == 1 else 'are'} {count_of(len(latent), 'cell')}, too few "
            f"to order; give at least {FEWEST_CELLS}"
        )
    branches = flag("branches", branches)
    seed = whole_number("seed", seed, at_least=0, at_most=2**32 - 1)
    n_components = whole_number("n_components", n_components, 2, len(latent) - 3)
    if n_neighbors is None:
        n_neighbors = min(max(len(latent) // 25, 30), 60, len(latent) - 1)
    n_neighbors = whole_number("n_neighbors", n_neighbors, 2, len(latent) - 1)
    labels = None if groupby is None else labels_of(data, groupby, names, "groupby")
    group = _root_cells(root, names, labels)
    _refuse_equal_points(latent, names)
    result = order_graph(
        _neighbor_graph(latent, n_neighbors, seed),
        group,
        n_components=n_components,
        branches=branches,
        seed=seed,
    )
    if hasattr(data, "obsm"):
        _add(data, result, key_added, str(names[result.root]), use_rep, n_neighbors, seed)
    return result


def order_graph(
    graph: sp.csr_matrix,
    start: np.ndarray,
    *,
    n_components: int = 10,
    branches: bool = False,
    seed: int = 0,
) -> Diffusion:
    """Order the cells of any graph, such as that of another method.

    Args:
        graph: Symmetric weights, (n, n).
        start: Positions of the cell, or of the group of cells, where the order starts.
        n_components: Components of the diffusion map.
        branches: Also search for a branching.
        seed: Seed of the start vector of the eigenvectors.

    Raises:
        InputError: scanpy is missing, or the graph falls into parts.
    """
    sc = _scanpy()
    from anndata import AnnData

    graph = sp.csr_matrix(graph)
    _refuse_parts(graph)
    adata = AnnData(shape=(graph.shape[0], 0), obsp={"connectivities": graph, "distances": graph})
    adata.uns["neighbors"] = {
        "connectivities_key": "connectivities",
        "distances_key": "distances",
        "params": {"method": "gauss", "n_neighbors": FEWEST_CELLS},
    }
    with _unnoticed():
        sc.tl.diffmap(adata, n_comps=n_components + 1, random_state=seed)
    vectors = np.asarray(adata.obsm["X_diffmap"], dtype=np.float64)[:, 1:]
    values = np.asarray(adata.uns["diffmap_evals"], dtype=np.float64)[1:]
    root = int(start[0]) if len(start) == 1 else _tip(vectors, values, start)
    adata.uns["iroot"] = root
    how = {"n_dcs": n_components + 1, "copy": True}
    with _unnoticed():
        ordered = sc.tl.dpt(adata, n_branchings=0, **how)
    pseudotime = ordered.obs["dpt_pseudotime"].to_numpy(dtype=np.float64)
    branch = None
    if branches:
        branch = np.full(len(pseudotime), -1)
        # where a path has no branches, scanpy may look for the tip of a branch without cells
        with _unnoticed(), redirect_stdout(io.StringIO()), suppress(ValueError, IndexError):
            ordered = sc.tl.dpt(adata, n_branchings=1, **how)
            branch = ordered.obs["dpt_groups"].astype(int).to_numpy()
        if (branch < 0).all():
            note("no branches were found")
    return Diffusion(vectors, values, pseudotime, branch, root)


def _add(
    data: MuData | AnnData,
    result: Diffusion,
    key: str,
    root: str,
    use_rep: str,
    n_neighbors: int,
    seed: int,
) -> None:
    import pandas as pd

    data.obsm[f"X_{key}_diffmap"] = result.components
    data.obs[f"{key}_pseudotime"] = result.pseudotime
    data.obs.drop(columns=f"{key}_branch", inplace=True, errors="ignore")  # of another root
    if result.branch is not None:
        names = result.branch.astype(str).astype(object)
        names[result.branch < 0] = None
        data.obs[f"{key}_branch"] = pd.Categorical(names)
    data.uns[f"{key}_diffusion"] = {
        "eigenvalues": result.eigenvalues,
        "root": root,
        "use_rep": use_rep,
        "n_neighbors": n_neighbors,
        "seed": seed,
    }


def _neighbor_graph(latent: np.ndarray, n_neighbors: int, seed: int) -> sp.csr_matrix:
    sc = _scanpy()
    from anndata import AnnData

    adata = AnnData(obsm={"X": latent}, shape=(len(latent), 0))
    with _unnoticed():
        sc.pp.neighbors(
            adata, n_neighbors=n_neighbors, use_rep="X", method="gauss", random_state=seed
        )
    return adata.obsp["connectivities"]


class _unnoticed:
    """The caller's random numbers as they were, and scanpy's messages about itself suppressed."""

    def __enter__(self) -> None:
        self.state = np.random.get_state()
        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, *error: Any) -> None:
        self.warnings.__exit__(*error)
        np.random.set_state(self.state)


def _tip(vectors: np.ndarray, values: np.ndarray, group: np.ndarray) -> int:
    """The cell of the group farthest from the cells outside: root mean square distance.

    Diffusion distances are Euclidean ones of the components scaled by l / (1 - l), so that the mean
    square distance to a set is that to its mean, up to a constant.
    """
    scaled = vectors * (values / (1 - values))
    outside = np.ones(len(vectors), dtype=bool)
    outside[group] = False
    to_mean = scaled[group] - scaled[outside].mean(0)
    return int(group[(to_mean**2).sum(1).argmax()])


# ---- what goes in


def _scanpy() -> Any:
    try:
        import scanpy
    except ImportError as error:
        raise InputError(
            f"diffusion maps need scanpy ({error}); install it with: pip install 'scmvp[analysis]'"
        ) from error
    return scanpy


def _root_cells(root: Any, names: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    if labels is not None:
        group = np.flatnonzero(labels == level_name(root))
        if not len(group):
            raise InputError(
                f"root '{root}' is not a group; the groups are "
                f"{_some({label for label in labels if label is not None})}"
            )
        if len(group) == len(labels):
            raise InputError(
                f"all cells are in group '{root}', so it has no start; name a cell as root, "
                "without groupby"
            )
        return group
    is_name = not isinstance(root, bool)  # True == 1, the second row of an array
    found = np.flatnonzero((names == root) & is_name)
    if not len(found):
        raise InputError(
            f"root '{root}' is not the name of a cell (cells are named like {_some(names)}); give "
            "a name, or a group together with groupby"
        )
    return found[:1]


def _some(names: Any) -> str:
    return name_some(sorted(map(str, names)) if isinstance(names, set) else list(map(str, names)))


def _refuse_equal_points(latent: np.ndarray, names: np.ndarray) -> None:
    _, first, count = np.unique(latent, axis=0, return_index=True, return_counts=True)
    if (count > 1).any():
        repeated = names[first[count > 1]]
        raise InputError(
            f"{count_of(int(count.sum() - len(count)), 'cell', 'has', 'have')} the same latent as "
            f"another one (such as {_some(repeated)}); keep one of each"
        )


def _refuse_parts(graph: sp.csr_matrix) -> None:
    n_parts, part = connected_components(graph, directed=False)
    if n_parts > 1:
        sizes = np.sort(np.bincount(part))[::-1]
        raise InputError(
            f"the cells fall into {count_of(n_parts, 'part')} that no neighbors connect (the "
            f"largest have {sizes[0]:,} and {count_of(sizes[1], 'cell')}), so they have no common "
            "order: order each part separately (keep the cells of a few clusters that belong "
            "together), or raise n_neighbors"
        )
