"""Seurat and Bioconductor objects in .rds files: into a MuData, and back.

R itself reads and writes them (`rengine`, `bridge.R`); their parts are in `objects`. Parts of an
object for which a MuData has no place (names of assays, keys and loadings of reductions) are in
`mdata.uns['r_object']`, from which `write_rds` restores them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..data.checks import check_unique, match_cells
from ..data.containers import files_behind, is_mudata, modality_parts
from ..data.names import as_names, names_of_modalities, note
from ..errors import InputError, RError
from ..files import as_path, whole_file, writable
from ..modalities import listed
from ..words import name_some
from .objects import (
    ASSAYS,
    IMPUTED,
    RECORD,
    added_identity,
    as_dict,
    cells_table,
    features_part,
    imputed_part,
    mudata_of,
    of_record,
    reductions_of,
    vectors_of,
)
from .rengine import call

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

Kind = Literal["Seurat", "SingleCellExperiment"]

# What the two call normalized values.
_LAYERS = {"Seurat": {"logcounts": "data"}, "SingleCellExperiment": {"data": "logcounts"}}


def read_rds(
    path: str | os.PathLike,
    rna_assay: str | None = None,
    peak_assay: str | None = None,
    *,
    protein_assay: str | None = None,
    layers: bool | Iterable[str] = False,
    engine: str = "auto",
) -> MuData:
    """Read a Seurat, SingleCellExperiment or MultiAssayExperiment object from an .rds file.

    From a Seurat object, the assays with genes, with peaks and, if there is one, with proteins
    ('ADT', 'Protein', 'Antibody Capture') are read, in any version of the assay class; layers that
    are split by sample are joined. In a SingleCellExperiment, the main experiment is the RNA unless
    it contains peaks, and the altExps are the other modalities. In a MultiAssayExperiment, each
    modality is one experiment, and cells are matched by the sample map. Peaks are recognized by
    names such as chr1-100-200 or, if no part has such names, by the name of the part ('ATAC',
    'peaks'). If there are proteins, RNA or peaks may be absent.

    Args:
        path: The .rds file.
        rna_assay: Name of the RNA assay; the only candidate when None.
        peak_assay: Name of the peak assay, or of the altExp; the only candidate when None.
        protein_assay: Name of the protein assay, or of the altExp; the only candidate when None.
        layers: Further layers to read into `layers` ('data', 'logcounts', ...): their names, or
            True for all.
        engine: 'process' (Rscript), 'rpy2' (R inside Python), or 'auto', the first of these that is
            available.

    Returns:
        MuData with modalities 'rna', 'atac' and 'protein'; X has the counts as stored (float64).
        `obs`: the metadata of the cells. Factors become categoricals with the same levels, dates
        and times become text (times in UTC), NA stays missing, and 'ident' ('ident.1' if there is
        such a column) has the identities of a Seurat object if no other column has them. `obsm`:
        the reductions, as 'X_<reduction>'. `var` of each modality: the metadata of the features;
        'highly_variable' and 'highly_variable_rank' for variable features; and for peaks 'chrom',
        'start' and 'end', as in the object (1-based, end included), with 'strand' if it is known;
        for genes, too, if the object has their ranges. `uns['r_object']`: names of assays, keys,
        loadings.

    Raises:
        InputError: The file does not hold paired counts.
        RError: R, or a package that the object needs, is missing.
    """
    path = as_path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    wanted = layers if isinstance(layers, bool) else [str(name) for name in layers]
    parts = _in_file(
        path,
        "read",
        {
            "path": str(path.resolve()),
            "rna_assay": rna_assay,
            "peak_assay": peak_assay,
            "protein_assay": protein_assay,
            "layers": wanted,
        },
        engine,
    )
    return mudata_of(parts, path)


def write_rds(
    mdata: MuData,
    path: str | os.PathLike,
    as_: Kind = "Seurat",
    *,
    rna_layer: str | None = None,
    atac_layer: str | None = None,
    protein_layer: str | None = None,
    engine: str = "auto",
) -> None:
    """Write paired cells as a Seurat or SingleCellExperiment object that `readRDS()` reads.

    The object has the counts, further layers (R's 'data' of v3/v4 assays, any of v5 assays and
    experiments), metadata of cells and features, variable features, and every `obsm['X_<name>']` as
    reduction `<name>`. The class of the assays depends on the version of Seurat; peaks become a
    ChromatinAssay if Signac is installed and `var` has 'chrom', 'start' and 'end'. In a
    SingleCellExperiment the peaks are an altExp, with ranges.

    A MuData cannot hold graphs, images, annotation and motifs of an R object. To keep them, add
    results to the file of the object with `add_to_rds`.

    Args:
        mdata: With one or more of the modalities 'rna', 'atac' and 'protein'.
        path: File to write or replace; an existing file is replaced only by a complete one.
        as_: Class of the object.
        rna_layer: Layer with the RNA counts, or 'raw'; X when None.
        atac_layer: Layer with the ATAC counts, or 'raw'; X when None.
        protein_layer: Layer with the protein counts, or 'raw'; X when None.
        engine: As for `read_rds`.

    Raises:
        InputError: A modality contains no counts, cells differ, or a part has no counterpart in R.
        RError: R, SeuratObject or SingleCellExperiment is missing.
    """
    if as_ not in _LAYERS:
        raise InputError(f"as_ must be 'Seurat' or 'SingleCellExperiment', not '{as_}'")
    out = writable(path, files_behind(mdata))
    if not is_mudata(mdata):
        raise InputError(f"write_rds takes a MuData, not {type(mdata).__name__}")
    record = mdata.uns.get(RECORD, {})
    same = record.get("kind") == as_
    parts = _parts_to_write(mdata)
    names = ASSAYS | {m: str(record[m]["name"]) for m in ASSAYS if m in record}
    layers = {"rna": rna_layer, "atac": atac_layer, "protein": protein_layer}
    obs = vectors_of(cells_table(mdata, parts), "the cells")
    identity = record.get("identity") if same else None
    kept = {
        modality: {key: of_record(record[modality], key) for key in ("class", "key", "added")}
        for modality in (parts if same else ())
        if modality in record
    }
    arguments: dict[str, Any] = {
        "kind": as_,
        "modalities": {
            modality: {
                **features_part(adata, modality, layers[modality], _LAYERS[as_]),
                "name": names[modality],
                **kept.get(modality, {}),
            }
            for modality, adata in parts.items()
        },
        "obs": obs,
        "identity": identity if identity in obs else None,
        "identity_added": identity is not None and identity == added_identity(record),
        "reductions": reductions_of(mdata, parts),
    }
    for modality, part in arguments["modalities"].items():
        part["var"] = vectors_of(part["var"], f"the features of '{names[modality]}'")
    _written(out, lambda partial: call("write", {"path": str(partial), **arguments}, engine))


def _parts_to_write(mdata: MuData) -> dict[str, AnnData]:
    """The modalities that R has a place for, with the cells in the order of the MuData.

    Raises:
        InputError: None is known, or the modalities and the whole have other cells.
    """
    known = names_of_modalities(mdata.mod)
    known = {modality: name for modality, name in known.items() if modality in ASSAYS}
    found = modality_parts(mdata, one_is_enough=len(known) > 0)
    parts = {name: adata for name, adata in found.items() if adata is not None and name in known}
    if more := [str(name) for name in mdata.mod if name not in known.values()]:
        note(f"only {listed(parts)} are written, and not {name_some(more)}")
    (first, one), *others = parts.items()
    for other, adata in others:
        cells = as_names(one.obs_names), as_names(adata.obs_names)
        match_cells(*cells, modalities=(first, other))
    if {*as_names(mdata.obs_names)} != {*as_names(one.obs_names)}:
        raise InputError(
            f"obs_names of the MuData are not the cells of its {listed(parts)}; call update() of "
            f"the MuData after a modality was changed, or take mdata[mdata['{first}'].obs_names]"
        )
    for modality, adata in parts.items():
        order = match_cells(as_names(mdata.obs_names), as_names(adata.obs_names))
        if order is not None:
            parts[modality] = adata[order]
    return parts


def add_to_rds(
    path: str | os.PathLike,
    mdata: MuData,
    out: str | os.PathLike,
    *,
    imputed: Mapping[str, AnnData | pd.DataFrame] | None = None,
    cells: Literal["all", "shared"] = "all",
    engine: str = "auto",
) -> None:
    """Add results to the Seurat or SingleCellExperiment object in a file and keep all else.

    Adds columns of `mdata.obs`, and `obsm['X_<name>']` as reduction `<name>` (reducedDim), that the
    object lacks or that differ from its own. Cells are matched by name.

    Args:
        path: File with the object; it is not changed, unless `out` is the same.
        mdata: The results.
        out: File to write or replace; an existing file is replaced only by a complete one.
        imputed: Imputed values by modality ('rna', 'atac', 'protein'), cells x features, as the
            model returns them. They become the assay (altExp) scMVP_RNA, scMVP_ATAC or scMVP_ADT;
            values of RNA and proteins are transformed to log(1 + x), as in RunSCMVP().
        cells: 'all': every cell of the object must have results. 'shared': the copy contains only
            the cells with results.
        engine: As for `read_rds`.

    Raises:
        InputError: Cells do not match, or a name belongs to a part of another kind.
        RError: R, or a package that the object needs, is missing.
    """
    path = as_path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if cells not in ("all", "shared"):
        raise InputError(f"cells must be 'all' or 'shared', not '{cells}'")
    target = writable(out, files_behind(mdata))
    parts = dict(mdata.mod) if is_mudata(mdata) else {}
    if not hasattr(mdata, "obs_names"):
        raise InputError(f"add_to_rds takes a MuData or AnnData, not {type(mdata).__name__}")
    names = as_names(mdata.obs_names)
    if not len(names):
        raise InputError("mdata has no cells; give some")
    check_unique(names, "cell names of mdata", "obs_names")
    obs = cells_table(mdata, parts) if parts else mdata.obs.set_axis(names)
    obs = vectors_of(obs, "the cells")
    if added := added_identity(as_dict(mdata.uns.get(RECORD, {}))):
        obs = obs.drop(columns=added, errors="ignore")  # it stands for what the object has
    arguments = {
        "input": str(path.resolve()),
        "cells": names.tolist(),
        "only_these": cells == "shared",
        "obs": obs,
        "reductions": reductions_of(mdata, parts, everywhere=False),
        "assays": {
            IMPUTED[modality]: imputed_part(values, modality, names)
            for modality, values in (imputed or {}).items()
        },
    }
    _written(
        target,
        lambda partial: _in_file(path, "add", {"path": str(partial), **arguments}, engine),
    )


def _in_file(path: Path, verb: str, arguments: dict[str, Any], engine: str) -> Any:
    try:
        return call(verb, arguments, engine)
    except RError as error:
        raise RError(f"{path}: {error}") from error
    except InputError as error:
        if verb == "add":  # most often it is about the results, not the file
            raise InputError(f"{path}: {error}") from error
        raise InputError(f"{path} cannot be read: {error}") from error


def _written(out: Path, write: Any) -> None:
    """Let R write beside the file, which is replaced only by a whole one."""
    with whole_file(out) as partial:
        write(partial)
