"""Paired cells from h5ad, h5mu and zarr files, and from folders: one MuData of the same cells.

A folder has rna.h5ad and atac.h5ad (and protein.h5ad), the same in zarr, or a MatrixMarket matrix
(`tenx`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import anndata
from anndata import AnnData
from mudata import MuData, read_h5mu, read_zarr

from ..errors import InputError
from ..files import WatchedFile
from ..modalities import MODALITIES, label_of
from ..progress import Report, part_of
from .claims import check_structure
from .columns import own_columns
from .containers import refuse_axis
from .formats import (
    ACCEPTED,
    check_container,
    damage_reported,
    holds_mudata,
    in_file,
    is_zarr,
    names_in_mudata,
    pair_files,
    plain_or_gzipped,
)
from .joining import add_the_rest, join_all
from .levels import places_of_levels
from .matrices import plain_indices
from .places import place_in_file, places_of
from .tenx import read_matrix_market
from .types import Expected, columns_of_modality, split


def read_folder(
    path: Path, layers: Mapping[str, str | None], mosaic: bool, report: Report, expected: Expected
) -> MuData:
    """A folder with an h5ad or zarr of each modality, or a MatrixMarket folder."""
    files = pair_files(path)
    if files is not None:
        with in_file(path):
            pair = {modality: files[modality] for modality in expected.chosen(files)}
        modalities, read, whole = {}, 0, sum(file.stat().st_size for file in pair.values())
        for modality, file in pair.items():
            start, read = read, read + file.stat().st_size
            of_file = part_of(report, start / max(whole, 1), read / max(whole, 1))
            adata = _read_anndata(file, of_file)
            modalities[modality] = _with_counts(adata, modality, file, layers.get(modality))
        with in_file(path):
            return join_all(modalities, mosaic=mosaic, may_be_mosaic=True)
    if plain_or_gzipped(path, "matrix.mtx") is not None:
        return read_matrix_market(path, report, expected)
    raise InputError(
        f"{path} holds neither rna.h5ad and atac.h5ad nor matrix.mtx, features.tsv and "
        f"barcodes.tsv; {ACCEPTED}"
    )


def read_one_file(
    path: Path, layers: Mapping[str, str | None], mosaic: bool, report: Report, expected: Expected
) -> MuData:
    """A MuData, or an AnnData."""
    if holds_mudata(path):
        return _read_mudata(path, layers, mosaic, report, expected)
    adata = _read_anndata(path, report)
    parts = split(adata, str(path), expected)
    with in_file(path):
        wanted = expected.chosen(parts)
    rest = AnnData(
        obs=adata.obs[[]], obsm=dict(adata.obsm), obsp=dict(adata.obsp), uns=dict(adata.uns)
    )
    del adata  # the counts, which the parts have
    chosen = {name: _with_counts(parts[name], name, path, layers.get(name)) for name in wanted}
    with in_file(path):
        mdata = join_all(chosen)
    add_the_rest(mdata, rest)
    return mdata


def _read_anndata(path: Path, report: Report) -> AnnData:
    reader = anndata.read_zarr if is_zarr(path) else anndata.read_h5ad
    with damage_reported(path, f"{path.suffix[1:]} file"), warnings.catch_warnings():
        # warnings about duplicate names, which are handled later, and about old formats
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        check_container(path)
        with _watched(path, report) as source:
            adata = reader(source)
        _check_matrices(adata, path.stem)
        return adata


def _read_mudata(
    path: Path, layers: Mapping[str, str | None], mosaic: bool, report: Report, expected: Expected
) -> MuData:
    reader = read_zarr if is_zarr(path) else read_h5mu
    with damage_reported(path, f"MuData {path.suffix[1:]} file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_container(path)
        with _watched(path, report) as source:
            mdata = reader(source)
        for name in mdata.mod:
            _check_matrices(mdata.mod[name], name)
    names = names_in_mudata(mdata.mod, path)
    with in_file(path):
        refuse_axis(_axis_in(path, mdata))
        wanted = expected.chosen(names)
    chosen = {
        modality: _with_counts(mdata.mod[names[modality]], modality, path, layers.get(modality))
        for modality in wanted
    }
    own = own_columns(mdata.obs, {name: adata.obs for name, adata in mdata.mod.items()})
    with in_file(path):
        joined = join_all(chosen, obs=own, mosaic=mosaic, may_be_mosaic=True)
    add_the_rest(joined, mdata)
    return joined


def _axis_in(path: Path, mdata: MuData) -> int:
    if not is_zarr(path):
        return mdata.axis
    import zarr  # mudata does not read it there

    return zarr.open_group(str(path), mode="r").attrs.get("axis", 0)


@contextmanager
def _watched(path: Path, report: Report) -> Iterator[Path | WatchedFile]:
    """What a reader of HDF5 files takes as the file, or of zarr as the folder."""
    if path.is_dir():
        yield path
        return
    with WatchedFile(path, report) as source:
        yield source


def _check_matrices(adata: AnnData, where: str) -> None:
    """Check the index vectors of possible count matrices before they are used.

    Converts them in place to types that scipy supports.
    """
    raw = () if adata.raw is None else (adata.raw.X,)
    for matrix in (adata.X, *adata.layers.values(), *raw):
        check_structure(matrix, f"a matrix of {where}")
        if (plain := plain_indices(matrix)) is not matrix:
            matrix.indices, matrix.indptr = plain.indices, plain.indptr


def _with_counts(adata: AnnData, modality: str, path: Path, layer: str | None) -> AnnData:
    """The same cells with the counts in X and without other matrices that could be counts.

    Methylation levels need two count layers and are not changed.
    """
    if MODALITIES[modality].is_level:
        places_of_levels(places_of(adata), f"{path}: the {label_of(modality)} modality")
        return adata
    adata, is_raw = _of_place(adata, modality, path, layer)
    columns = columns_of_modality(adata.var, modality, str(path), is_raw)
    return adata if columns is None else adata[:, columns].copy()


def _of_place(adata: AnnData, modality: str, path: Path, layer: str | None) -> tuple[AnnData, bool]:
    """The cells with their counts, and whether these were in .raw."""
    place, settled = place_in_file(places_of(adata), modality, layer, str(path))
    if place.is_raw:
        return AnnData(X=adata.raw.X, obs=adata.obs, var=adata.raw.var), True
    if place.is_layer:
        adata.X = place.values()
    if settled and place.name != "counts":
        adata.raw = None
        if "counts" in adata.layers:
            del adata.layers["counts"]
    return adata, False
