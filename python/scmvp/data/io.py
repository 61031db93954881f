"""Files of paired cells, in; one MuData with modalities 'rna' and 'atac' and the same cells, out.

Accepted: a folder with rna.h5ad and atac.h5ad, .h5mu, one .h5ad of both modalities, the same in
zarr, 10x .h5, a MatrixMarket folder as 10x writes it, the `outs` folder of Cell Ranger ARC, and the
.rds of a Seurat, SingleCellExperiment or MultiAssayExperiment object.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData, read_h5mu, read_zarr

from ..errors import InputError, InputNote, first_line
from ..files import WatchedFile
from ..modalities import PAIR, feature_of, label_of
from ..progress import Report, part_of
from ..words import count_of, name_some
from .checks import check_names, match_cells
from .claims import (
    check_hdf5,
    check_matrix_market,
    check_structure,
    check_zarr,
    open_hdf5,
    open_text,
)
from .containers import (
    as_names,
    columns_by_type,
    columns_of_modality,
    make_unique,
    names_of_modalities,
    split,
)
from .places import place_in_file, places_of

ACCEPTED = (
    "give a folder with rna.h5ad and atac.h5ad, an .h5mu, an .h5ad of both modalities, a 10x .h5, "
    "a MatrixMarket folder or a Seurat or SingleCellExperiment .rds"
)
PAIR_KINDS = (".h5ad", ".zarr")
# What Cell Ranger ARC writes into the folder of a run, and which of it is read.
_OUTS = ("filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix")
_MATRIX_FILES = ("matrix.mtx", "features.tsv", "barcodes.tsv")


Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def inside_outs(path: Path) -> Path:
    """The filtered matrix in the `outs` folder of Cell Ranger ARC; any other path as it is."""
    if path.is_dir() and path.suffix != ".zarr" and pair_files(path) is None:
        if _plain_or_gzipped(path, "matrix.mtx") is None:
            return next((path / name for name in _OUTS if (path / name).exists()), path)
    return path


def has_layers(path: Path) -> bool:
    """Whether a file of this kind can have them."""
    if path.is_dir() and path.suffix != ".zarr":
        return pair_files(path) is not None
    return path.suffix.lower() in (".h5ad", ".h5mu", ".zarr")


def refuse_layers(path: Path, layers: Mapping[str, str | None]) -> None:
    """Say that there is nothing that a layer's name could mean."""
    for modality, layer in layers.items():
        if layer is not None:
            is_rds = path.suffix.lower() == ".rds"
            other = (
                "; read_rds takes the name of an assay (rna_assay, peak_assay)" if is_rds else ""
            )
            raise InputError(
                f"{path} has no layers, only h5ad, h5mu and zarr have: leave out "
                f"{modality}_layer='{layer}'{other}"
            )


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
    rna: AnnData,
    atac: AnnData,
    obs: pd.DataFrame | None = None,
    mosaic: bool = False,
    may_be_mosaic: bool = False,
) -> MuData:
    """One MuData of two modalities, the ATAC cells put in the order of the RNA cells.

    Args:
        rna: RNA modality, cells x genes.
        atac: ATAC modality, cells x peaks.
        obs: Columns of the whole for `mdata.obs`, indexed by cell name. Columns of the modalities
            come after them; one of the same name and other values as 'rna:<name>', 'atac:<name>'.
        mosaic: Leave both as they are, also where one lacks cells of the other.
        may_be_mosaic: See `match_cells`.

    Raises:
        InputError: Names are duplicated or the two do not hold the same cells.
    """
    for modality, adata in zip(PAIR, (rna, atac), strict=True):
        check_names(modality, as_names(adata.obs_names), as_names(adata.var_names))
    if not mosaic:
        order = match_cells(as_names(rna.obs_names), as_names(atac.obs_names), may_be_mosaic)
        if order is not None:
            atac = atac[order].copy()
    with warnings.catch_warnings():
        # MuData announces its coming defaults; the columns wanted are set below.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        mdata = MuData({"rna": rna, "atac": atac})
    mdata.obs = _columns_of_all(mdata.obs_names, obs, rna.obs, atac.obs)
    return mdata


def _columns_of_all(
    cells: pd.Index, whole: pd.DataFrame | None, rna: pd.DataFrame, atac: pd.DataFrame
) -> pd.DataFrame:
    """Columns of the whole, then of the modalities; one with other values gets its prefix."""
    columns = pd.DataFrame(index=cells)
    known = {}  # cells that a column says something of
    for prefix, table in (("", whole), ("rna:", rna), ("atac:", atac)):
        for name in () if table is None else table:
            column = table[name]
            if name not in columns:
                columns[name], known[name] = column, table.index
                continue
            shared = known[name].intersection(column.index)
            more = column.index.difference(known[name])
            if not same_column(columns[name][shared], column[shared]):
                columns[prefix + name] = column
            elif len(more):
                columns[name] = _extended(columns[name][known[name]], column[more], cells)
                known[name] = cells
    return columns


def _extended(one: pd.Series, other: pd.Series, cells: pd.Index) -> pd.Series:
    """Two columns of different cells as one; categories stay categories."""
    joined = pd.concat([one, other]).reindex(cells)
    if isinstance(one.dtype, pd.CategoricalDtype):
        levels = pd.unique(pd.Series([*one.cat.categories, *other.dropna()], dtype=object))
        return joined.astype(pd.CategoricalDtype(levels))
    return joined


def same_column(one: pd.Series, other: pd.Series) -> bool:
    """Whether two columns hold the same values in the same order, whatever their types."""
    one, other = (part.astype(object).reset_index(drop=True) for part in (one, other))
    return bool(((one == other) | (one.isna() & other.isna())).fillna(False).all())


def read_folder(
    path: Path, layers: Mapping[str, str | None], mosaic: bool, report: Report
) -> MuData:
    """A folder with a pair of h5ad or zarr, or a MatrixMarket folder."""
    pair = pair_files(path)
    if pair is not None:
        modalities, read, whole = [], 0, sum(file.stat().st_size for file in pair.values())
        for modality in PAIR:
            start, read = read, read + pair[modality].stat().st_size
            of_file = part_of(report, start / max(whole, 1), read / max(whole, 1))
            adata = _read_anndata(pair[modality], of_file)
            modalities.append(_with_counts(adata, modality, pair[modality], layers[modality]))
        with in_file(path):
            return join(*modalities, mosaic=mosaic, may_be_mosaic=True)
    found = {name: _plain_or_gzipped(path, name) for name in _MATRIX_FILES}
    if found["matrix.mtx"] is not None:
        if found["features.tsv"] is None and _plain_or_gzipped(path, "genes.tsv") is not None:
            raise InputError(
                f"{path} holds genes.tsv as Cell Ranger 2 wrote it, which does not say which "
                "features are peaks; write the two as rna.h5ad and atac.h5ad into one folder, or "
                "as features.tsv with the columns id, name and type ('Gene Expression' or 'Peaks')"
            )
        lacking = [name for name, file in found.items() if file is None]
        if lacking:
            raise InputError(
                f"{path} holds matrix.mtx but no {' and no '.join(lacking)}; put the three files "
                "of one run into the folder"
            )
        return _read_matrix_market(path, *(found[name] for name in _MATRIX_FILES), report)
    raise InputError(
        f"{path} holds neither rna.h5ad and atac.h5ad nor matrix.mtx, features.tsv and "
        f"barcodes.tsv; {ACCEPTED}"
    )


def pair_files(folder: Path) -> dict[str, Path] | None:
    """The files of both modalities in a folder; None where it has neither.

    Raises:
        InputError: There is only one of them.
    """
    for kind in PAIR_KINDS:
        pair = {modality: folder / f"{modality}{kind}" for modality in PAIR}
        present = [modality for modality in PAIR if pair[modality].exists()]
        if len(present) == 2:
            return pair
        if present:
            missing = next(modality for modality in PAIR if modality not in present)
            raise InputError(
                f"{folder} holds {present[0]}{kind} but no {missing}{kind}; put both into the "
                "folder"
            )
    return None


@contextmanager
def _watched(path: Path, report: Report) -> Iterator[Path | WatchedFile]:
    """What a reader of HDF5 files takes as the file, or of zarr as the folder."""
    if path.is_dir():
        yield path
        return
    with WatchedFile(path, report) as source:
        yield source


def _read_anndata(path: Path, report: Report) -> AnnData:
    reader = anndata.read_zarr if path.suffix == ".zarr" else anndata.read_h5ad
    with damage_reported(path, f"{path.suffix[1:]} file"), warnings.catch_warnings():
        # of names that occur twice, which are refused or made unique; of old formats
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        check_container(path)
        with _watched(path, report) as source:
            adata = reader(source)
        _check_matrices(adata, path.stem)
        return adata


def names_in_mudata(names: Iterable[str], path: Path) -> dict[str, str]:
    """The names that a MuData file has for 'rna' and for 'atac'."""
    names = list(names)
    with in_file(path):
        found = names_of_modalities(names)
    for modality in PAIR:
        if modality not in found:
            has = ", ".join(repr(name) for name in names) or "none"
            raise InputError(
                f"{path} has no modality '{modality}' (modalities: {has}); rename its two "
                "modalities to 'rna' and 'atac'"
            )
    if others := [name for name in names if name not in found.values()]:
        warnings.warn(
            f"{path}: modalities other than RNA and ATAC are left out ({name_some(others)})",
            InputNote,
            stacklevel=4,
        )
    return found


def holds_mudata(path: Path) -> bool:
    """Whether an h5mu or zarr file holds a MuData (an .h5ad and other zarr: an AnnData)."""
    return path.suffix.lower() == ".h5mu" or (
        path.suffix.lower() == ".zarr" and (path / "mod").exists()
    )


def read_one_file(
    path: Path, layers: Mapping[str, str | None], mosaic: bool, report: Report
) -> MuData:
    """A MuData, or an AnnData with both modalities."""
    if holds_mudata(path):
        return _read_mudata(path, layers, mosaic, report)
    adata = _read_anndata(path, report)
    with modalities_expected(path):
        parts = split(adata, str(path))
    del adata
    chosen = [_with_counts(parts[name], name, path, layers[name]) for name in PAIR]
    with in_file(path):
        return join(*chosen)


@contextmanager
def modalities_expected(path: Path) -> Iterator[None]:
    """What to do about an AnnData file without both modalities."""
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{path} holds one modality, as far as can be told: put the two as rna{path.suffix} "
            f"and atac{path.suffix} into one folder and give the folder, or give each feature its "
            "type, 'Gene Expression' or 'Peaks', in a column 'feature_types' of var"
        ) from error


def _read_mudata(
    path: Path, layers: Mapping[str, str | None], mosaic: bool, report: Report
) -> MuData:
    reader = read_h5mu if path.suffix.lower() == ".h5mu" else read_zarr
    with damage_reported(path, f"MuData {path.suffix[1:]} file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_container(path)
        with _watched(path, report) as source:
            mdata = reader(source)
        for name in mdata.mod:
            _check_matrices(mdata.mod[name], name)
    names = names_in_mudata(mdata.mod, path)
    chosen = [
        _with_counts(mdata.mod[names[modality]], modality, path, layers[modality])
        for modality in PAIR
    ]
    prefixes = tuple(f"{name}:" for name in mdata.mod)
    own = [name for name in mdata.obs if not str(name).startswith(prefixes)]
    with in_file(path):
        return join(*chosen, obs=mdata.obs[own], mosaic=mosaic, may_be_mosaic=True)


def read_10x_h5(path: Path, report: Report) -> MuData:
    """A 10x .h5 with genes and peaks."""
    with damage_reported(path, "10x .h5 file"), WatchedFile(path, report) as source:
        with open_hdf5(path, source) as file:
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
            f"later); {ACCEPTED}"
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
        raise InputError(
            f"{path} does not say which features are genes and which are peaks; {ACCEPTED}"
        )
    sizes = {len(names) for names in features.values()}
    if sizes != {n_features} or len(cells) != n_cells:
        raise InputError(
            f"{path} is damaged: it has {count_of(n_features, 'feature')} x "
            f"{count_of(n_cells, 'cell')}, but names for {min(sizes):,} and {len(cells):,}; make "
            "the file again"
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


def _read_matrix_market(
    folder: Path, matrix: Path, features: Path, barcodes: Path, report: Report
) -> MuData:
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

    def other_size(size: tuple[int, int]) -> InputError:
        return InputError(
            f"{matrix} is {size[0]} x {size[1]}, but {features.name} names "
            f"{count_of(len(var), 'feature')} and {barcodes.name} names "
            f"{count_of(len(cells), 'cell')}; give the three files of one run"
        )

    with damage_reported(matrix, "MatrixMarket file"):
        claimed = check_matrix_market(matrix, (len(var), len(cells)))
        if claimed != (len(var), len(cells)):
            raise other_size(claimed)
        with open_text(matrix, report) as file:
            stored = scipy.io.mmread(file)
    if stored.shape != (len(var), len(cells)):
        raise other_size(stored.shape)
    return _split_by_type(sp.csr_matrix(stored.T), cells, var, folder)


def _split_by_type(
    matrix: sp.csr_matrix, cells: Sequence[str], var: pd.DataFrame, path: Path
) -> MuData:
    """Split a matrix of all features into the two modalities; the index of `var` may repeat."""
    # Seurat makes names unique over all features before it splits them.
    names = np.array(make_unique(var.index), dtype=object)
    parts = {}
    for modality, chosen in columns_by_type(var["feature_types"], str(path)).items():
        columns = var.iloc[chosen]
        if modality == "atac":
            columns = columns.drop(columns="gene_ids")
        adata = _adata(_columns(matrix, chosen), as_names(cells), as_names(names[chosen]))
        adata.var = columns.set_axis(adata.var_names, axis=0)
        parts[modality] = adata
    with in_file(path):
        return join(parts["rna"], parts["atac"])


def _with_counts(adata: AnnData, modality: str, path: Path, layer: str | None) -> AnnData:
    """The same cells with counts in X, and nothing beside it that could be meant instead."""
    adata = _of_place(adata, modality, path, layer)
    columns = columns_of_modality(adata.var, modality, str(path))
    return adata if columns is None else adata[:, columns].copy()


def _of_place(adata: AnnData, modality: str, path: Path, layer: str | None) -> AnnData:
    place, settled = place_in_file(places_of(adata), modality, layer, str(path))
    if place is None:
        raise InputError(
            f"{path} has no X of the {label_of(modality)} modality, and no layer 'counts' or .raw "
            "with counts; write its counts into X"
        )
    if place.is_raw:
        return AnnData(X=adata.raw.X, obs=adata.obs, var=adata.raw.var)
    if place.is_layer:
        adata.X = place.values()
    if settled and place.name != "counts":
        adata.raw = None
        if "counts" in adata.layers:
            del adata.layers["counts"]
    return adata


def _csr_from_parts(parts: Parts, shape: tuple[int, int], modality: str | None) -> sp.csr_matrix:
    data, indices, indptr = (np.asarray(part).reshape(-1) for part in parts)
    what = "the matrix" if modality is None else f"the {label_of(modality)} matrix"
    word = "feature" if modality is None else feature_of(modality)
    if len(indptr) != shape[0] + 1:
        raise InputError(
            f"{what} has {count_of(len(indptr) - 1, 'cell')}, but "
            f"{count_of(shape[0], 'cell name', 'is', 'are')} given"
        )
    if any(part.dtype.kind not in "iu" for part in (indices, indptr)):
        raise InputError(
            f"{what} is damaged: its index vectors are not whole numbers; make the file again"
        )
    if indptr[0] != 0 or (np.diff(indptr.astype(np.int64)) < 0).any() or indptr[-1] != len(data):
        raise InputError(f"{what} is damaged: its rows do not add up; make the file again")
    if len(indices) and (indices.max() >= shape[1] or indices.min() < 0):
        raise InputError(
            f"{what} has entries for {word} {int(indices.max()) + 1}, but "
            f"{count_of(shape[1], f'{word} name', 'is', 'are')} given"
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


def _check_matrices(adata: AnnData, where: str) -> None:
    """Index vectors of what may be taken as counts, before anything is computed with them."""
    raw = () if adata.raw is None else (adata.raw.X,)
    for matrix in (adata.X, *adata.layers.values(), *raw):
        check_structure(matrix, f"a matrix of {where}")


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
            f"{path} does not fit into the memory; leave its counts on disk with backed=True, or "
            "give a smaller part of it"
        ) from error
    except PermissionError as error:
        raise InputError(f"{path} cannot be opened: permission denied") from error
    except Exception as error:  # a dozen kinds, depending on the byte where the damage is
        raise InputError(
            f"{path} is not a readable {kind} (damaged or truncated?): {first_line(error)}; copy "
            "or write it again"
        ) from error
