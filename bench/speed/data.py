"""Files of any number of cells: as a 10x Multiome run leaves them, or filtered as in the paper."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.sparse as sp
from anndata.io import write_elem
from pandas import DataFrame, Index

import scmvp

SHAPES: dict[str, dict[str, Any]] = {
    # every gene and peak, 12,000 counts per cell
    "full": {
        "n_genes": 30_000,
        "n_peaks": 110_000,
        "n_types": 14,
        "median_umi": 3000,
        "median_fragments": 8000,
        "seed": 3,
    },
    "filtered": {"n_genes": 8_000, "n_peaks": 23_000, "n_types": 10, "seed": 5},
}
N_SIMULATED = 10_000
RARE_COUNTS = 3
_BLOCK = 5_000
_KEPT = 0.9


def cells_file(folder: Path, n_cells: int, shape: str) -> Path:
    """A folder with rna.h5ad and atac.h5ad; made where it is not there yet.

    The first 10,000 cells are simulated. More are drawn from 5,000, each a thinned copy with nine
    tenths of the counts, so that no two are alike.

    Args:
        folder: Where the files are kept.
        n_cells: How many cells.
        shape: A name of `SHAPES`, or "rare": "full" with as many peaks again, of three counts each.
    """
    path = folder / f"{shape}_{n_cells}"
    if path.is_dir():
        return path
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    few = n_cells <= N_SIMULATED
    rare = shape == "rare"
    size = SHAPES["full" if rare else shape]
    simulated = scmvp.simulate(n_cells=n_cells if few else _BLOCK, **size)
    labels = simulated["rna"].obs["cell_type"].astype(str).to_numpy()
    # the same cells are drawn for both modalities
    drawn = np.arange(n_cells) if few else np.random.default_rng(7).integers(_BLOCK, size=n_cells)
    obs = DataFrame({"cell_type": labels[drawn]}, Index([f"cell{i}" for i in range(n_cells)]))
    for modality in ("rna", "atac"):
        counts, names = sp.csr_matrix(simulated[modality].X), list(simulated[modality].var_names)
        if rare and modality == "atac":
            counts, names = _with_rare(counts, names)
        with h5py.File(partial / f"{modality}.h5ad", "w") as file:
            file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            write_elem(file, "obs", obs)
            write_elem(file, "var", DataFrame(index=Index(names)))
            _write(file, counts, drawn, thin=not few)
    partial.rename(path)
    return path


def _with_rare(counts: sp.csr_matrix, names: list[str]) -> tuple[sp.csr_matrix, list[str]]:
    """As many features again, of three counts each."""
    n_cells, n = counts.shape
    rows = np.random.default_rng(9).integers(n_cells, size=RARE_COUNTS * n)
    columns = np.repeat(np.arange(n), RARE_COUNTS)
    few = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), counts.shape)
    places = [f"chr1-{200_000_000 + 1000 * i}-{200_000_500 + 1000 * i}" for i in range(n)]
    return sp.hstack([counts, few], format="csr"), names + places


def _write(file: h5py.File, counts: sp.csr_matrix, drawn: np.ndarray, thin: bool) -> None:
    group = file.create_group("X")
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = (len(drawn), counts.shape[1])
    growing = {"maxshape": (None,), "chunks": (1 << 18,)}
    data = group.create_dataset("data", (0,), "float32", **growing)
    indices = group.create_dataset("indices", (0,), "int32", **growing)
    indptr = [np.zeros(1, np.int64)]
    for start in range(0, len(drawn), _BLOCK):
        block = counts[drawn[start : start + _BLOCK]]
        if thin:
            thinning = np.random.default_rng([start, counts.shape[1]])
            block.data = thinning.binomial(block.data.astype(int), _KEPT).astype(np.float32)
            block.eliminate_zeros()
        end = len(data) + block.nnz
        for dataset, values in ((data, block.data), (indices, block.indices)):
            dataset.resize((end,))
            dataset[end - block.nnz :] = values
        indptr.append(block.indptr[1:].astype(np.int64) + indptr[-1][-1])
    group.create_dataset("indptr", data=np.concatenate(indptr))
