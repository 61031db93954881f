"""Files of paired cells whose counts stay on disk: `Paired` with matrices that read rows."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata.io import read_elem

from .checks import LABEL, MODALITIES, Paired, as_names, columns_of, holds_counts, paired_of
from .claims import check_zarr, open_hdf5
from .errors import InputError, InputNote
from .io import (
    columns_by_type,
    damage_reported,
    in_file,
    make_unique,
    name_of_modality,
    names_of_10x,
    pair_files,
)
from .matrices import DiskRows, StoredCsr, StoredDense

# counts, names of the cells and of the features, columns of the cells
Opened = tuple[DiskRows, np.ndarray, np.ndarray, pd.DataFrame]


def read_backed(
    path: Path,
    rna_layer: str | None = None,
    atac_layer: str | None = None,
    mosaic: bool = False,
) -> Paired:
    """Open paired cells; see `io.read`.

    Args:
        path: h5ad, h5mu, zarr or 10x h5.
        rna_layer: Layer with the RNA counts; X when None.
        atac_layer: Layer with the ATAC counts; X when None.
        mosaic: Keep cells that only one modality has.

    Raises:
        InputError: Not a file whose rows can be read one by one, or not paired counts.
    """
    with damage_reported(path, "file of paired cells"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        opened = _open(path, {"rna": rna_layer, "atac": atac_layer})
    values, cells, features, tables = (
        dict(zip(MODALITIES, parts, strict=True)) for parts in zip(*opened, strict=True)
    )
    with in_file(path):
        paired = paired_of(values, cells, features, mosaic)
        columns = list(dict.fromkeys(name for table in tables.values() for name in table))
        return replace(paired, obs=columns_of(list(tables.values()), columns, paired.cells))


def bytes_in_memory(path: Path) -> int | None:
    """What the counts of both modalities would take in memory; None where it is not known.

    That is where the file cannot be opened as `read_backed` does, for whatever reason.
    """
    try:
        opened = _open(path, {})
    except Exception:  # reading it into memory will say what is wrong
        return None
    # 10x files have both modalities in one matrix
    return sum(stored.n_bytes for stored in {id(c.stored): c.stored for c, *_ in opened}.values())


def _open(path: Path, layers: dict[str, str | None]) -> list[Opened]:
    """RNA and ATAC."""
    suffix = path.suffix.lower()
    if suffix == ".h5":
        return _open_10x(path)
    groups = None
    if suffix in (".h5mu", ".zarr"):
        root = _root(path)["mod"]
        groups = {name: root[name_of_modality(name, list(root), path)] for name in MODALITIES}
    elif path.is_dir() and (pair := pair_files(path)) is not None:
        groups = {modality: _root(file) for modality, file in pair.items()}
    if groups is None:
        raise InputError(
            f"the counts of {path} cannot stay on disk; give h5ad files, .h5mu, zarr or 10x .h5, "
            "or read it into memory"
        )
    return [_open_anndata(groups[name], name, path, layers.get(name)) for name in MODALITIES]


def _root(path: Path) -> Any:
    if path.suffix == ".zarr":
        import zarr

        check_zarr(path)
        return zarr.open_group(str(path), mode="r")
    return open_hdf5(path)  # open for as long as the matrix lives


def _open_10x(path: Path) -> list[Opened]:
    group, cells, var = names_of_10x(open_hdf5(path), path)
    names = np.array(make_unique(var.index), dtype=object)
    stored = StoredCsr(group["data"], group["indices"], group["indptr"][:], (len(cells), len(var)))
    return [
        (DiskRows(stored, chosen), as_names(cells), as_names(names[chosen]), pd.DataFrame())
        for chosen in columns_by_type(var, path).values()
    ]


def _open_anndata(group: Any, modality: str, path: Path, layer: str | None) -> Opened:
    """Counts of an AnnData: a layer, or X, or the layer 'counts' or `.raw` where X is none."""
    obs = read_elem(group["obs"])
    cells = as_names(obs.index)
    places = [(name, where) for name, where in _PLACES if name in group]
    if layer is not None:
        places = [(f"layers/{layer}", layer)]
        if places[0][0] not in group:
            has = ", ".join(f"'{name}'" for name in group.get("layers", {})) or "none"
            raise InputError(
                f"the {LABEL[modality]} modality has no layer '{layer}' (layers: {has}); name one "
                "of these, or leave the layer out to use X"
            )
    if not places:
        raise InputError(f"{path} has no X of the {LABEL[modality]} modality; write one")
    matrices = [DiskRows(_stored(group[name], modality, path)) for name, _ in places]
    firsts = [next(counts.blocks(raw=True)).data if len(cells) else cells for counts in matrices]
    good = [i for i, first in enumerate(firsts) if len(cells) and holds_counts(first)]
    chosen = good[0] if good else 0  # where none is, the checks say what is wrong with the first
    counts, (name, where) = matrices[chosen], places[chosen]
    if layer is None and name != "X":
        warnings.warn(
            f"{path}: X of the {LABEL[modality]} modality is not counts; {where} is taken instead",
            InputNote,
            stacklevel=5,
        )
    features = read_elem(group["raw/var" if name == "raw/X" else "var"]).index
    return counts, cells, as_names(features), obs


_PLACES = (("X", "X"), ("layers/counts", "the layer 'counts'"), ("raw/X", ".raw"))


def _stored(element: Any, modality: str, path: Path) -> StoredCsr | StoredDense:
    if not hasattr(element, "keys"):
        return StoredDense(element)
    kind = element.attrs["encoding-type"]
    if kind != "csr_matrix":
        raise InputError(
            f"the {LABEL[modality]} matrix of {path} is a {kind}, of which rows cannot be read one "
            "by one; write it as CSR, or read it into memory"
        )
    shape = tuple(int(n) for n in element.attrs["shape"])
    return StoredCsr(element["data"], element["indices"], element["indptr"][:], shape)
