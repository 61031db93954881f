"""Paired cells from a file or a folder of any supported format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .data.backed import bytes_in_memory, read_backed
from .data.formats import ACCEPTED, has_layers, in_file, inside_outs, refuse_layers
from .data.io import read_folder, read_one_file
from .data.joining import add_the_rest, join_all
from .data.places import refuse_layers_of_absent
from .data.tenx import read_10x_h5
from .data.types import ANY, Expected
from .errors import InputError, NotByRows
from .files import as_path
from .progress import Listener, Report, followed
from .r.rbridge import read_rds

if TYPE_CHECKING:
    from mudata import MuData

    from .data.paired import Paired


def read(
    path: str | Path,
    backed: bool = False,
    mosaic: bool = False,
    *,
    rna_layer: str | None = None,
    atac_layer: str | None = None,
    protein_layer: str | None = None,
    modalities: str | Sequence[str] | None = None,
    progress: bool | Listener = False,
) -> MuData | Paired:
    """Read cells from a file or folder.

    The counts are not changed and become X. They are read from X, unless X does not contain counts
    or its whole numbers differ from those of a layer 'counts' (or, without this layer, of `.raw`);
    then that layer (or `.raw`) is used, and a warning reports the choice and how to select the
    other. (X is kept if only the other consists of zeros and ones.) `mdata.obs` has the columns of
    both modalities; if both have a column of the same name with different values, that of the ATAC
    is named 'atac:<name>'.

    Args:
        path: Folder with rna.h5ad and atac.h5ad, or rna.zarr and atac.zarr; .h5mu or a MuData
            .zarr; an .h5ad (.zarr), of several modalities with `var['feature_types']`; 10x .h5
            (Gene Expression, Peaks, Antibody Capture); MatrixMarket folder (matrix.mtx,
            barcodes.tsv and features.tsv, genes.tsv or peaks.bed, gzipped or not); the `outs`
            folder of Cell Ranger (ARC, ATAC, multi), whose filtered matrix is read; .rds, which R
            reads (`read_rds` has more options). The modalities of a MuData may also have names
            such as 'GEX' and 'peaks'. One modality is enough, for a model of this one alone or as
            cells for a model of several.
        backed: Leave the counts on disk and read them when needed, for `SCMVP` and the methods of
            a model; not for MatrixMarket and .rds. The file must not be moved or changed.
        mosaic: Keep unimodal cells, in h5ad, h5mu and zarr.
        rna_layer: Layer with the RNA counts, in h5ad, h5mu and zarr; 'X' and 'raw' select X and
            .raw.
        atac_layer: Layer with the ATAC counts.
        protein_layer: Layer with the protein counts.
        modalities: Modalities to read, some of 'rna', 'atac', 'protein' and 'methylation'; all when
            None. A single one also states the type of the features of an AnnData file without
            feature types. Otherwise, features of such a file are peaks if their names are genomic
            ranges, and genes if not; a warning reports this.
        progress: Show the progress on standard error; or a function, as in `SCMVP.train`.

    Returns:
        MuData with modalities 'rna' and 'atac' (or those of 'rna', 'atac', 'protein' and
        'methylation' that the file has). All modalities have the same cells, in the order of the
        RNA. `obsm`, `obsp` and `uns` are those of the file. When `backed`, a `Paired`, which
        `SCMVP` accepts instead.

    Raises:
        InputError: The path does not exist, is damaged, or holds no modality that is known.
    """
    path, expected = existing(path), Expected.of(modalities)
    layers = {"rna": rna_layer, "atac": atac_layer, "protein": protein_layer}
    with followed(progress) as (stages, _), stages.stage(f"reading {path.name}") as report:
        found = read_path(path, layers, report, backed, mosaic, expected)
    return with_layers_there(found, layers)


def existing(path: str | Path) -> Path:
    """The path as given by a caller; InputError if nothing exists there."""
    if isinstance(path, dict | list | tuple):
        raise InputError("several paths are given; read them with scmvp.read_samples")
    path = as_path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    return path


def read_path(
    path: Path,
    layers: Mapping[str, str | None],
    report: Report,
    backed: bool = False,
    mosaic: bool = False,
    expected: Expected = ANY,
) -> MuData | Paired:
    """`read` an existing path, in a stage of the caller; `layers` by modality."""
    path = inside_outs(path)
    if not has_layers(path):
        refuse_layers(path, layers)
    if backed:
        return read_backed(path, layers["rna"], layers["atac"], mosaic, layers["protein"], expected)
    suffix = path.suffix.lower()
    if suffix in (".h5ad", ".h5mu", ".zarr"):
        return read_one_file(path, layers, mosaic, report, expected)
    if path.is_dir():
        return read_folder(path, layers, mosaic, report, expected)
    if suffix == ".rds":
        return _some_of(read_rds(path), path, expected)
    if suffix != ".h5":
        raise InputError(f"{path} is not of a kind that can be read; {ACCEPTED}")
    return read_10x_h5(path, report, expected)


def _some_of(mdata: MuData, path: Path, expected: Expected) -> MuData:
    """The modalities asked for of those that were read."""
    with in_file(path):
        wanted = expected.chosen(mdata.mod)
    if len(wanted) == len(mdata.mod):
        return mdata
    some = join_all({name: mdata[name] for name in wanted}, obs=mdata.obs)
    add_the_rest(some, mdata)
    return some


def with_layers_there(cells: Any, layers: Mapping[str, str | None]) -> Any:
    """The cells that were read, if they have each modality of which a layer was named."""
    refuse_layers_of_absent(layers, getattr(cells, "counts", None) or cells.mod)
    return cells


def read_for_fit(
    path: str | Path,
    backed: bool | None = None,
    rna_layer: str | None = None,
    atac_layer: str | None = None,
    mosaic: bool = False,
    progress: bool | Listener = False,
    protein_layer: str | None = None,
    expected: Expected = ANY,
) -> MuData | Paired:
    """`read`, with the counts left on disk if they would fill the memory.

    Args:
        path: As for `read`.
        backed: Whether the counts stay on disk. None: if they would take more than an eighth of
            the machine's memory (a fit in memory takes about three times the size of the
            counts).
        rna_layer: Layer with the RNA counts.
        atac_layer: Layer with the ATAC counts.
        mosaic: Keep unimodal cells.
        progress: As for `read`.
        protein_layer: Layer with the protein counts.
        expected: Which modalities are read, and what an AnnData is that does not state it.
    """
    path = existing(path)
    layers = {"rna": rna_layer, "atac": atac_layer, "protein": protein_layer}
    with followed(progress) as (stages, _), stages.stage(f"reading {path.name}") as report:
        on_disk = backed
        if on_disk is None:
            size = bytes_in_memory(path, expected)
            on_disk = size is not None and size > _physical_memory() / 8
        try:
            found = read_path(path, layers, report, on_disk, mosaic, expected)
        except NotByRows:  # of the layer that has the counts, which is known only now
            if backed is not None:
                raise
            found = read_path(path, layers, report, False, mosaic, expected)
    return with_layers_there(found, layers)


def _physical_memory() -> float:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return 16e9
