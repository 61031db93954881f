"""Files of any number of cells at the paper's shape, 8,000 genes x 23,000 peaks."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import scipy.sparse as sp
from anndata.io import write_elem
from pandas import DataFrame, Index

import scmvp

N_GENES, N_PEAKS = 8_000, 23_000
N_SIMULATED = 5_000
_BLOCK = 5_000
_KEPT = 0.9


def cells_file(folder: Path, n_cells: int, n_genes: int = N_GENES, n_peaks: int = N_PEAKS) -> Path:
    """A folder with rna.h5ad and atac.h5ad; made where it is not there yet.

    The first 5,000 cells are simulated. More are drawn from them, each a thinned copy with nine
    tenths of the counts, so that no two are alike.
    """
    path = folder / f"cells_{n_cells}_{n_genes}_{n_peaks}"
    if path.is_dir():
        return path
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    simulated = scmvp.simulate(
        n_cells=min(n_cells, N_SIMULATED), n_genes=n_genes, n_peaks=n_peaks, n_types=10, seed=5
    )
    names = [f"cell{i}" for i in range(n_cells)]
    for modality in ("rna", "atac"):
        counts = sp.csr_matrix(simulated[modality].X)
        with h5py.File(partial / f"{modality}.h5ad", "w") as file:
            file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            write_elem(file, "obs", DataFrame(index=Index(names)))
            write_elem(file, "var", DataFrame(index=Index(simulated[modality].var_names)))
            _write(file, counts, n_cells)
    partial.rename(path)
    return path


def _write(file: h5py.File, counts: sp.csr_matrix, n_cells: int) -> None:
    rng = np.random.default_rng(7)  # the same cells are drawn for both modalities
    group = file.create_group("X")
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = (n_cells, counts.shape[1])
    growing = {"maxshape": (None,), "chunks": (1 << 18,)}
    data = group.create_dataset("data", (0,), "float32", **growing)
    indices = group.create_dataset("indices", (0,), "int32", **growing)
    indptr = [np.zeros(1, np.int64)]
    for start in range(0, n_cells, _BLOCK):
        block = counts
        if n_cells > counts.shape[0]:
            block = counts[rng.integers(counts.shape[0], size=min(_BLOCK, n_cells - start))]
            thinning = np.random.default_rng([start, counts.shape[1]])
            block.data = thinning.binomial(block.data.astype(int), _KEPT).astype(np.float32)
            block.eliminate_zeros()
        end = len(data) + block.nnz
        for dataset, values in ((data, block.data), (indices, block.indices)):
            dataset.resize((end,))
            dataset[end - block.nnz :] = values
        indptr.append(block.indptr[1:].astype(np.int64) + indptr[-1][-1])
    group.create_dataset("indptr", data=np.concatenate(indptr))
