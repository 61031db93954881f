"""Paired cells from a file or a folder of any supported format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .data.backed import bytes_in_memory, read_backed
from .data.formats import ACCEPTED, has_layers, inside_outs, refuse_layers
from .data.io import read_folder, read_one_file
from .data.places import refuse_layers_of_absent
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

    The counts are not changed and become X. They are read from X, unless X does not contain counts
    or its whole numbers differ from those of a layer 'counts' (or, without this layer, of `.raw`);
    then that layer (or `.raw`) is used, and a warning reports the choice and how to select the
    other. (X is kept if only the other consists of zeros and ones.) `mdata.obs` has the columns of
    both modalities; if both have a column of the same name with different values, that of the ATAC
    is named 'atac:<name>'.

    Args:
        path: Folder with rna.h5ad and atac.h5ad, or rna.zarr and atac.zarr; .h5mu or a MuData
            .zarr; an .h5ad (.zarr) of both modalities with `var['feature_types']`; 10x .h5 with
            Gene Expression and Peaks (or Antibody Capture, or all three); MatrixMarket folder
            (matrix.mtx, features.tsv, barcodes.tsv, gzipped or not); the `outs` folder of Cell
            Ranger ARC, whose filtered matrix is read; .rds, which R reads (`read_rds` has more
            options). The modalities of a MuData may also have names such as 'GEX' and 'peaks'.
        backed: Leave the counts on disk and read them when needed; not for MatrixMarket and
            .rds. The file must not be moved.
        mosaic: Keep unimodal cells, in h5ad, h5mu and zarr.
        rna_layer: Layer with the RNA counts, in h5ad, h5mu and zarr; 'X' and 'raw' select X and
            .raw.
        atac_layer: Layer with the ATAC counts.
        protein_layer: Layer with the protein counts.
        progress: Show the progress on standard error; or a function, as in `SCMVP.train`.

    Returns:
        MuData with modalities 'rna' and 'atac' (and 'protein', if there are surface proteins)
        holding the same cells in the order of the RNA, with `obsm`, `obsp` and `uns` of the file;
        when `backed`, a `Paired`, which `SCMVP` accepts instead.

    Raises:
        InputError: The path does not exist, is damaged, or does not hold both modalities.
    """
    path = existing(path)
    with followed(progress) as (stages, _), stages.stage(f"reading {path.name}") as report:
        found = read_path(path, backed, mosaic, rna_layer, atac_layer, report, protein_layer)
    return with_layers_there(found, rna_layer, atac_layer, protein_layer)


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
    backed: bool,
    mosaic: bool,
    rna_layer: str | None,
    atac_layer: str | None,
    report: Report,
    protein_layer: str | None = None,
) -> MuData | Paired:
    """`read` an existing path, in a stage of the caller."""
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


def with_layers_there(
    cells: Any, rna_layer: str | None, atac_layer: str | None, protein_layer: str | None
) -> Any:
    """The cells that were read, if they have each modality of which a layer was named."""
    layers = {"rna": rna_layer, "atac": atac_layer, "protein": protein_layer}
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
    """
    path = existing(path)
    with followed(progress) as (stages, _), stages.stage(f"reading {path.name}") as report:
        if backed is None:
            size = bytes_in_memory(path)
            backed = size is not None and size > _physical_memory() / 8
        found = read_path(path, backed, mosaic, rna_layer, atac_layer, report, protein_layer)
    return with_layers_there(found, rna_layer, atac_layer, protein_layer)


def _physical_memory() -> float:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return 16e9
