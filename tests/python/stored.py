"""The same cells in forms in which users have them."""

from __future__ import annotations

from pathlib import Path

import scipy.sparse as sp

from scmvp.data.matrices import DiskRows, StoredCsr


def write_pair(mdata, folder: Path) -> Path:
    """A folder with an h5ad of RNA and one of ATAC."""
    folder.mkdir(exist_ok=True)
    for name in ("rna", "atac"):
        mdata[name].write_h5ad(folder / f"{name}.h5ad")
    return folder


def on_disk(matrix: sp.csr_matrix) -> DiskRows:
    """Counts as they are read from a file row by row."""
    return DiskRows(StoredCsr(matrix.data, matrix.indices, matrix.indptr, matrix.shape))
