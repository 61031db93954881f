"""Files of paired cells, in; one MuData with modalities 'rna' and 'atac' and the same cells, out.

Accepted: a folder with rna.h5ad and atac.h5ad, .h5mu, the same in zarr, 10x .h5, a MatrixMarket
folder as 10x writes it, and the .rds of a Seurat, SingleCellExperiment or MultiAssayExperiment
object.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData, read_h5mu, read_zarr

from .checks import (
    FEATURE_WORD,
    LABEL,
    MODALITIES,
    Paired,
    as_names,
    check_names,
    holds_counts,
    match_cells,
)
from .claims import (
    check_hdf5,
    check_matrix_market,
    check_structure,
    check_zarr,
    open_hdf5,
    open_text,
)
from .errors import InputError, InputNote

# Feature types as Cell Ranger ARC writes them, and the modality each becomes.
FEATURE_TYPES = {"Gene Expression": "rna", "Peaks": "atac"}

_ACCEPTED = (
    "give a folder with rna.h5ad and atac.h5ad, an .h5mu, a 10x .h5, a MatrixMarket folder or a "
    "Seurat or SingleCellExperiment .rds"
)
PAIR_KINDS = (".h5ad", ".zarr")
_MATRIX_FILES = ("matrix.mtx", "features.tsv", "barcodes.tsv")


Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def read(path: str | Path, backed: bool = False, mosaic: bool = False) -> MuData | Paired:
    """Read paired cells from a file or folder.

    Counts are kept as stored. Where X is not counts but a layer 'counts' or `.raw` is, that is
    taken and a warning says so. Columns of the RNA modality's obs are also in `mdata.obs`.

    Args:
        path: Folder with rna.h5ad and atac.h5ad, or rna.zarr and atac.zarr; .h5mu or a MuData
            .zarr; 10x .h5 with Gene Expression and Peaks; MatrixMarket folder (matrix.mtx,
            features.tsv, barcodes.tsv, gzipped or not); .rds, which R reads (`read_rds` has more).
        backed: Leave the counts on disk, to be read as they are needed; not for MatrixMarket and
            .rds. The file must stay where it is.
        mosaic: Keep cells that only one modality has, in h5ad, h5mu and zarr.

    Returns:
        MuData with modalities 'rna' and 'atac' holding the same cells in the order of the RNA;
        when `backed`, the checked `Paired`, which `SCMVP` takes in its place.

    Raises:
        InputError: The path does not exist, is damaged, or does not hold both modalities.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if backed:
        from .backed import read_backed

        return read_backed(path, mosaic=mosaic)
    if path.is_dir():
        reader = _read_zarr if path.suffix == ".zarr" else _read_folder
        return reader(path, mosaic)
    readers: dict[str, Callable[[Path], MuData]] = {
        ".h5mu": partial(_read_h5mu, mosaic=mosaic),
        ".h5": _read_10x_h5,
        ".rds": _read_rds,
    }
    reader = readers.get(path.suffix.lower())
    if reader is not None:
        return reader(path)
    if path.suffix.lower() == ".h5ad":
        raise InputError(
            f"{path} holds one modality; put the two as rna.h5ad and atac.h5ad into one folder and "
            "give the folder"
        )
    raise InputError(f"{path} is not of a kind that can be read; {_ACCEPTED}")


def read_for_fit(
    path: str | Path,
    backed: bool | None = None,
    rna_layer: str | None = None,
    atac_layer: str | None = None,
    mosaic: bool = False,
) -> MuData | Paired:
    """`read`, with the counts left on disk where they would fill the memory.

    Args:
        path: As for `read`.
        backed: Whether the counts stay on disk; when None, where they would take more than an
            eighth of the machine's memory (a fit in memory takes about three times the counts).
        rna_layer: Layer with the RNA counts of a backed file.
        atac_layer: Layer with the ATAC counts of a backed file.
        mosaic: Keep cells that only one modality has.
    """
    from .backed import bytes_in_memory, read_backed

    if backed is None and Path(path).exists():
        size = bytes_in_memory(Path(path))
        backed = size is not None and size > _physical_memory() / 8
    if backed:
        return read_backed(Path(path), rna_layer, atac_layer, mosaic)
    return read(path, mosaic=mosaic)


def _physical_memory() -> float:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return 16e9


def from_parts(
    rna: Parts,
    atac: Parts,
    cells: Sequence[str],
    genes: Sequence[str],
    peaks: Sequence[str],
    obs: Mapping[str, Sequence[str]] | None = None,
) -> MuData:
    """Build paired cells from the three vectors of each sparse matrix, without copying them.

    Args:
        rna: (data, indices, indptr) of the cells x genes CSR matrix; these are also the slots x, i
            and p of the genes x cells dgCMatrix.
        atac: The same of the cells x peaks matrix.
        cells: Cell names, length n_cells.
        genes: Gene names, length n_genes.
        peaks: Peak names, length n_peaks.
        obs: Columns for `mdata.obs`, n_cells values each.

    Raises:
        InputError: The vectors and the names do not fit each other.
    """
    named = as_names(cells)
    return join(
        modality_from_parts("rna", rna, named, genes),
        modality_from_parts("atac", atac, named, peaks),
        obs=None if obs is None else pd.DataFrame(dict(obs), index=named),
    )


def modality_from_parts(
    modality: str, parts: Parts, cells: Sequence[str], features: Sequence[str]
) -> AnnData:
    """One modality of `from_parts`."""
    cells, features = as_names(cells), as_names(features)
    return _adata(_csr_from_parts(parts, (len(cells), len(features)), modality), cells, features)


def join(
    rna: AnnData, atac: AnnData, obs: pd.DataFrame | None = None, mosaic: bool = False
) -> MuData:
    """One MuData of two modalities, the ATAC cells put in the order of the RNA cells.

    Args:
        rna: RNA modality, cells x genes.
        atac: ATAC modality, cells x peaks.
        obs: Further columns for `mdata.obs`, indexed by cell name.
        mosaic: Leave both as they are, also where one lacks cells of the other.

    Raises:
        InputError: Names are duplicated or the two do not hold the same cells.
    """
    for modality, adata in zip(MODALITIES, (rna, atac), strict=True):
        check_names(modality, as_names(adata.obs_names), as_names(adata.var_names))
    if not mosaic:
        order = match_cells(as_names(rna.obs_names), as_names(atac.obs_names))
        if order is not None:
            atac = atac[order].copy()
    with warnings.catch_warnings():
        # MuData announces its coming defaults; the columns wanted are set below.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        mdata = MuData({"rna": rna, "atac": atac})
    columns = pd.DataFrame(index=mdata.obs_names)
    if obs is not None:
        columns = columns.join(obs)
    for name in rna.obs:
        columns[name] = rna.obs[name]
    mdata.obs = columns
    return mdata


def make_unique(names: Iterable[str]) -> list[str]:
    """Tell repeated names apart as R's `make.unique` does: a, a.1, a.2, skipping taken ones."""
    names = list(names)
    taken = set(names)
    seen: set[str] = set()
    next_number: dict[str, int] = {}
    unique = []
    for name in names:
        if name not in seen:
            seen.add(name)
            unique.append(name)
            continue
        number = next_number.get(name, 1)
        while f"{name}.{number}" in taken:
            number += 1
        next_number[name] = number + 1
        taken.add(f"{name}.{number}")
        unique.append(f"{name}.{number}")
    return unique


def _read_folder(path: Path, mosaic: bool) -> MuData:
    pair = pair_files(path)
    if pair is not None:
        modalities = [_read_anndata(pair[modality], modality) for modality in MODALITIES]
        with in_file(path):
            return join(*modalities, mosaic=mosaic)
    found = {name: _plain_or_gzipped(path, name) for name in _MATRIX_FILES}
    if found["matrix.mtx"] is not None:
        lacking = [name for name, file in found.items() if file is None]
        if lacking:
            raise InputError(f"{path} holds matrix.mtx but no {' and no '.join(lacking)}")
        return _read_matrix_market(path, *(found[name] for name in _MATRIX_FILES))
    raise InputError(
        f"{path} holds neither rna.h5ad and atac.h5ad nor matrix.mtx, features.tsv and "
        f"barcodes.tsv; {_ACCEPTED}"
    )


def pair_files(folder: Path) -> dict[str, Path] | None:
    """The files of both modalities in a folder; None where it has neither.

    Raises:
        InputError: There is only one of them.
    """
    for kind in PAIR_KINDS:
        pair = {modality: folder / f"{modality}{kind}" for modality in MODALITIES}
        present = [modality for modality in MODALITIES if pair[modality].exists()]
        if len(present) == 2:
            return pair
        if present:
            missing = next(modality for modality in MODALITIES if modality not in present)
            raise InputError(
                f"{folder} holds {present[0]}{kind} but no {missing}{kind}; put both into the "
                "folder"
            )
    return None


def _read_anndata(path: Path, modality: str) -> AnnData:
    reader = anndata.read_zarr if path.suffix == ".zarr" else anndata.read_h5ad
    with damage_reported(path, f"{path.suffix[1:]} file"):
        check_container(path)
        adata = reader(path)
        _check_matrices(adata, modality)
    return _with_counts(adata, modality, path)


def name_of_modality(modality: str, names: Iterable[str], path: Path) -> str:
    """The name a MuData file has for 'rna' or 'atac'."""
    spelled = {name.lower().replace("_", " "): name for name in names}
    feature_type = next(kind for kind, found in FEATURE_TYPES.items() if found == modality)
    name = spelled.get(modality, spelled.get(feature_type.lower()))
    if name is None:
        has = ", ".join(repr(name) for name in names) or "none"
        raise InputError(
            f"{path} has no modality '{modality}' (modalities: {has}); rename its two "
            "modalities to 'rna' and 'atac'"
        )
    return name


def _read_h5mu(path: Path, mosaic: bool) -> MuData:
    return _of_mudata(read_h5mu, path, mosaic)


def _read_zarr(path: Path, mosaic: bool) -> MuData:
    return _of_mudata(read_zarr, path, mosaic)


def _of_mudata(reader: Callable[[Path], MuData], path: Path, mosaic: bool) -> MuData:
    with damage_reported(path, f"MuData {path.suffix[1:]} file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_container(path)
        mdata = reader(path)
        for name in mdata.mod:
            _check_matrices(mdata.mod[name], name)
    chosen = {
        modality: _with_counts(
            mdata.mod[name_of_modality(modality, mdata.mod, path)], modality, path
        )
        for modality in MODALITIES
    }
    prefixes = tuple(f"{name}:" for name in mdata.mod)
    own = [name for name in mdata.obs if not str(name).startswith(prefixes)]
    with in_file(path):
        return join(chosen["rna"], chosen["atac"], obs=mdata.obs[own], mosaic=mosaic)


def _read_10x_h5(path: Path) -> MuData:
    with damage_reported(path, "10x .h5 file"), open_hdf5(path) as file:
        group, cells, var = names_of_10x(file, path)
        vectors = tuple(group[name][:] for name in ("data", "indices", "indptr"))
    with in_file(path):
        matrix = _csr_from_parts(vectors, (len(cells), len(var)), None)
    del vectors
    return _split_by_type(matrix, cells, var, path)


def names_of_10x(file: h5py.File, path: Path) -> tuple[h5py.Group, np.ndarray, pd.DataFrame]:
    """Matrix group of a 10x file, names of its cells, and its features, indexed by gene or peak."""
    if "matrix" not in file or "features" not in file["matrix"]:
        raise InputError(
            f"{path} is not a 10x feature-barcode matrix with feature types (Cell Ranger 3 or "
            f"later); {_ACCEPTED}"
        )
    group = file["matrix"]
    n_features, n_cells = (int(size) for size in group["shape"][:])
    cells = _strings(group["barcodes"])
    features = {
        name: _strings(group["features"][name])
        for name in ("id", "name", "feature_type", "genome")
        if name in group["features"]
    }
    if "feature_type" not in features or "name" not in features:
        raise InputError(f"{path} does not say which features are genes and which are peaks")
    sizes = {len(names) for names in features.values()}
    if sizes != {n_features} or len(cells) != n_cells:
        raise InputError(
            f"{path} is damaged: it has {n_features} features x {n_cells} cells, but names for "
            f"{min(sizes)} and {len(cells)}; make the file again"
        )
    var = pd.DataFrame(
        {
            "gene_ids": features.get("id", features["name"]),
            "feature_types": features["feature_type"],
        },
        index=features["name"],
    )
    if "genome" in features:
        var["genome"] = features["genome"]
    return group, cells, var


def _read_matrix_market(folder: Path, matrix: Path, features: Path, barcodes: Path) -> MuData:
    cells = [row[0] for row in _read_table(barcodes)]
    rows = _read_table(features)
    if any(len(row) < 3 for row in rows):
        raise InputError(
            f"{features} needs three columns (id, name, feature type) to tell genes from peaks"
        )
    var = pd.DataFrame(
        {"gene_ids": [row[0] for row in rows], "feature_types": [row[2] for row in rows]},
        index=[row[1] for row in rows],
    )
    if all(len(row) >= 6 and row[4].isdigit() and row[5].isdigit() for row in rows):
        var["chrom"] = [row[3] for row in rows]
        var["start"] = [int(row[4]) for row in rows]
        var["end"] = [int(row[5]) for row in rows]
    with damage_reported(matrix, "MatrixMarket file"):
        claimed = check_matrix_market(matrix, (len(var), len(cells)))
        if claimed != (len(var), len(cells)):
            raise InputError(
                f"{matrix} is {claimed[0]} x {claimed[1]}, but {features.name} names {len(var)} "
                f"features and {barcodes.name} names {len(cells)} cells"
            )
        with open_text(matrix) as file:
            stored = scipy.io.mmread(file)
    if stored.shape != (len(var), len(cells)):
        raise InputError(
            f"{matrix} is {stored.shape[0]} x {stored.shape[1]}, but {features.name} names "
            f"{len(var)} features and {barcodes.name} names {len(cells)} cells"
        )
    return _split_by_type(sp.csr_matrix(stored.T), cells, var, folder)


def _read_rds(path: Path) -> MuData:
    from .rbridge import read_rds

    return read_rds(path)


def _split_by_type(
    matrix: sp.csr_matrix, cells: Sequence[str], var: pd.DataFrame, path: Path
) -> MuData:
    """Split a matrix of all features into the two modalities; the index of `var` may repeat."""
    # Seurat makes names unique over all features before it splits them.
    names = np.array(make_unique(var.index), dtype=object)
    parts = {}
    for modality, chosen in columns_by_type(var, path).items():
        columns = var.iloc[chosen]
        if modality == "atac":
            columns = columns.drop(columns="gene_ids")
        adata = _adata(_columns(matrix, chosen), as_names(cells), as_names(names[chosen]))
        adata.var = columns.set_axis(adata.var_names, axis=0)
        parts[modality] = adata
    with in_file(path):
        return join(parts["rna"], parts["atac"])


def columns_by_type(var: pd.DataFrame, path: Path) -> dict[str, np.ndarray]:
    """Positions of the genes and of the peaks; a warning tells what is neither."""
    types = var["feature_types"].to_numpy()
    found = ", ".join(f"'{name}'" for name in pd.unique(types)) or "none"
    chosen = {}
    for feature_type, modality in FEATURE_TYPES.items():
        chosen[modality] = np.flatnonzero(types == feature_type)
        if len(chosen[modality]) == 0:
            raise InputError(
                f"{path} holds no features of type '{feature_type}' (types: {found}); paired "
                "cells need 'Gene Expression' and 'Peaks' in one matrix"
            )
    others = [name for name in pd.unique(types) if name not in FEATURE_TYPES]
    if others:
        n_others = int((~np.isin(types, list(FEATURE_TYPES))).sum())
        warnings.warn(
            f"{path}: {n_others} features of type {', '.join(others)} are left out",
            InputNote,
            stacklevel=5,
        )
    return chosen


def _with_counts(adata: AnnData, modality: str, path: Path) -> AnnData:
    """The same cells with counts in X, from a layer 'counts' or `.raw` where X holds none."""
    if adata.X is not None and holds_counts(adata.X):
        return adata
    if "counts" in adata.layers and holds_counts(adata.layers["counts"]):
        adata.X = adata.layers["counts"]
        source = "the layer 'counts'"
    elif adata.raw is not None and holds_counts(adata.raw.X):
        adata = AnnData(X=adata.raw.X, obs=adata.obs, var=adata.raw.var)
        source = ".raw"
    else:
        # Left as it is: the checks say what is wrong with X, or the user names a layer.
        return adata
    warnings.warn(
        f"{path}: X of the {LABEL[modality]} modality is not counts; {source} is taken instead",
        InputNote,
        stacklevel=4,
    )
    return adata


def _csr_from_parts(parts: Parts, shape: tuple[int, int], modality: str | None) -> sp.csr_matrix:
    data, indices, indptr = (np.asarray(part).reshape(-1) for part in parts)
    what = "the matrix" if modality is None else f"the {LABEL[modality]} matrix"
    word = "feature" if modality is None else FEATURE_WORD[modality]
    if len(indptr) != shape[0] + 1:
        raise InputError(f"{what} has {len(indptr) - 1} cells, but {shape[0]} cell names are given")
    if any(part.dtype.kind not in "iu" for part in (indices, indptr)):
        raise InputError(f"{what} is damaged: its index vectors are not whole numbers")
    if indptr[0] != 0 or (np.diff(indptr.astype(np.int64)) < 0).any() or indptr[-1] != len(data):
        raise InputError(f"{what} is damaged: its rows do not add up; make the file again")
    if len(indices) and (indices.max() >= shape[1] or indices.min() < 0):
        raise InputError(
            f"{what} has entries for {word} {int(indices.max()) + 1}, but {shape[1]} {word} "
            "names are given"
        )
    try:
        return sp.csr_matrix((data, indices, indptr), shape=shape, copy=False)
    except ValueError as error:
        raise InputError(f"{what} is not a valid sparse matrix: {error}") from error


def _columns(matrix: sp.csr_matrix, chosen: np.ndarray) -> sp.csr_matrix:
    """Columns of a CSR matrix; `chosen` is sorted."""
    if chosen[-1] - chosen[0] + 1 == len(chosen):
        return matrix[:, chosen[0] : chosen[-1] + 1]
    return matrix[:, chosen]


def _adata(matrix: sp.csr_matrix, cells: np.ndarray, features: np.ndarray) -> AnnData:
    with warnings.catch_warnings():
        # Repeated names are refused, with the names, when the modalities are joined.
        warnings.simplefilter("ignore", UserWarning)
        return AnnData(X=matrix, obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=features))


def _plain_or_gzipped(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((file for file in candidates if file.exists()), None)


def _read_table(path: Path) -> list[list[str]]:
    with damage_reported(path, "table"), open_text(path) as content:
        with io.TextIOWrapper(content, encoding="utf-8") as file:
            return [line.rstrip("\r\n").split("\t") for line in file if line.strip()]


def _strings(dataset: h5py.Dataset) -> np.ndarray:
    return np.array(dataset.asstr()[:], dtype=object)


def _check_matrices(adata: AnnData, modality: str) -> None:
    """Index vectors of what may be taken as counts, before anything is computed with them."""
    what = f"the {modality} matrix"
    check_structure(adata.X, what)
    check_structure(adata.layers.get("counts"), what)
    if adata.raw is not None:
        check_structure(adata.raw.X, what)


def check_container(path: Path) -> None:
    """Refuse an HDF5 file or a zarr folder that claims more than it holds."""
    (check_zarr if path.suffix == ".zarr" else check_hdf5)(path)


@contextmanager
def in_file(path: Path) -> Iterator[None]:
    """Put the path in front of a refusal."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


@contextmanager
def damage_reported(path: Path, kind: str) -> Iterator[None]:
    """Turn what libraries raise on damaged files into one sentence."""
    try:
        yield
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error
    except MemoryError as error:
        raise InputError(
            f"{path} does not fit into the memory; leave its counts on disk (backed=True, --backed "
            "yes), or give a smaller part of it"
        ) from error
    except PermissionError as error:
        raise InputError(f"{path} cannot be opened: permission denied") from error
    except Exception as error:  # a dozen kinds, depending on the byte where the damage is
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} is not a readable {kind} (damaged or truncated?): {reason}; copy or write it "
            "again"
        ) from error
