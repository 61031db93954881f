"""The same cells in forms in which users have them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import scipy.sparse as sp
from safetensors.torch import load_file, save_file
from torch import Tensor

from scmvp import storage
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


def rename_tensors(folder: Path, renamed: Callable[[str], str]) -> None:
    """Give the tensors of a saved model other names, as an earlier scmvp did."""
    whole = load_file(folder / "weights.safetensors")
    write_tensors(folder, {renamed(name): tensor for name, tensor in whole.items()})


def write_tensors(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Replace the tensors of a saved model, whose JSON then says that they are its own."""
    file, about = folder / "weights.safetensors", folder / "model.json"
    save_file(tensors, file)
    info = json.loads(about.read_text())
    info["weights_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    about.write_text(json.dumps(storage.signed(info)))
