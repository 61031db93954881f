"""Paired cells from a file or a folder of any kind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .data.backed import bytes_in_memory, read_backed
from .data.formats import ACCEPTED, has_layers, inside_outs, refuse_layers
from .data.io import read_folder, read_one_file
from .data.tenx import read_10x_h5
from .errors import InputError
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
    progress: bool | Listener = False,
) -> MuData | Paired:
    """Read paired cells from a file or folder.

    Counts are kept as stored, and end up in X. They are taken from X; where X is not counts, or is
    whole numbers but not those of a layer 'counts' (else `.raw`) of whole numbers, from there
    instead, and a warning says what was taken and how to take the other. (Where only the other is
    all zeros and ones, X stays.) Columns of both modalities' obs are also in `mdata.obs`: where
    both have one of the same name and other values, that of the ATAC is called 'atac:<name>'.

    Args:
        path: Folder with rna.h5ad and atac.h5ad, or rna.zarr and atac.zarr; .h5mu or a MuData
            .zarr; an .h5ad (.zarr) of both modalities with `var['feature_types']`; 10x .h5 with
            Gene Expression and Peaks (or Antibody Capture, or all three); MatrixMarket folder
            (matrix.mtx, features.tsv, barcodes.tsv, gzipped or not); the `outs` folder of Cell
            Ranger ARC, of which the filtered matrix is read; .rds, which R reads (`read_rds` has
            more). The modalities of a MuData may have names such as 'GEX' and 'peaks', too.
        backed: Leave the counts on disk, to be read as they are needed; not for MatrixMarket and
            .rds. The file must stay where it is.
        mosaic: Keep unimodal cells, in h5ad, h5mu and zarr.
        rna_layer: Layer with the RNA counts, in h5ad, h5mu and zarr; 'X' and 'raw' for X and .raw.
        atac_layer: Layer with the ATAC counts.
        protein_layer: Layer with the protein counts.
        progress: Show on standard error how far it is; or a function, as in `SCMVP.train`.

    Returns:
        MuData with modalities 'rna' and 'atac' (and 'protein', where there are surface proteins)
        holding the same cells in the order of the RNA;
        when `backed`, the checked `Paired`, which `SCMVP` takes in its place.

    Raises:
        InputError: The path does not exist, is damaged, or does not hold both modalities.
    """
    path = existing(path)
    with followed(progress) as (stages, _), stages.stage(f"reading {path.name}") as report:
        return read_path(path, backed, mosaic, rna_layer, atac_layer, report, protein_layer)


def existing(path: str | Path) -> Path:
    """What a caller gives as a path of something; InputError when there is nothing."""
    if isinstance(path, dict | list | tuple):
        raise InputError("several paths are given; read them with scmvp.read_samples")
    path = as_path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    return path


def read_path(
    path: Path,
    backed: bool,
    mosaic: bool,
    rna_layer: str | None,
    atac_layer: str | None,
    report: Report,
    protein_layer: str | None = None,
) -> MuData | Paired:
    """`read` of a path that exists, in a stage of the caller's."""
    path = inside_outs(path)
    layers = {"rna": rna_layer, "atac": atac_layer, "protein": protein_layer}
    if not has_layers(path):
        refuse_layers(path, layers)
    if backed:
        return read_backed(path, rna_layer, atac_layer, mosaic, protein_layer)
    suffix = path.suffix.lower()
    if suffix in (".h5ad", ".h5mu", ".zarr"):
        return read_one_file(path, layers, mosaic, report)
    if path.is_dir():
        return read_folder(path, layers, mosaic, report)
    if suffix == ".rds":
        return read_rds(path)
    if suffix != ".h5":
        raise InputError(f"{path} is not of a kind that can be read; {ACCEPTED}")
    return read_10x_h5(path, report)


def read_for_fit(
    path: str | Path,
    backed: bool | None = None,
    rna_layer: str | None = None,
    atac_layer: str | None = None,
    mosaic: bool = False,
    progress: bool | Listener = False,
    protein_layer: str | None = None,
) -> MuData | Paired:
    """`read`, with the counts left on disk where they would fill the memory.

    Args:
        path: As for `read`.
        backed: Whether the counts stay on disk; when None, where they would take more than an
            eighth of the machine's memory (a fit in memory takes about three times the counts).
        rna_layer: Layer with the RNA counts.
        atac_layer: Layer with the ATAC counts.
        mosaic: Keep unimodal cells.
        progress: As for `read`.
        protein_layer: Layer with the protein counts.
    """
    path = existing(path)
    with followed(progress) as (stages, _), stages.stage(f"reading {path.name}") as report:
        if backed is None:
            size = bytes_in_memory(path)
            backed = size is not None and size > _physical_memory() / 8
        return read_path(path, backed, mosaic, rna_layer, atac_layer, report, protein_layer)


def _physical_memory() -> float:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return 16e9
