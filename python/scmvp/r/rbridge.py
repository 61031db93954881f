"""Seurat and Bioconductor objects in .rds files: into a MuData, and back.

R itself reads and writes them (`rengine`, `bridge.R`). What an object has and a MuData has no
place for (names of assays, keys and loadings of reductions) is in `mdata.uns['r_object']`, so that
`write_rds` gives it back.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..data.checks import check_names, match_cells, writable
from ..data.containers import as_names, is_mudata, modality_pair
from ..data.formats import in_file
from ..data.joining import join, same_column
from ..data.matrices import entries_once, holds_counts, plain_numbers
from ..data.places import place_in_memory, places_of, raw_in_place, remedy
from ..errors import InputError
from ..files import as_path, whole_file
from ..modalities import PAIR, label_of
from ..words import count_of
from .rengine import call
from .rserial import Named

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

Kind = Literal["Seurat", "SingleCellExperiment"]

RECORD = "r_object"
PREFIX = "X_"
_ASSAYS = {"rna": "RNA", "atac": "ATAC"}
# What the two call normalized values.
_LAYERS = {"Seurat": {"logcounts": "data"}, "SingleCellExperiment": {"data": "logcounts"}}
_IMPUTED = {"rna": "scMVP_RNA", "atac": "scMVP_ATAC"}
# Columns of an embedding's record that are arrays of R, as they are named there.
_REDUCTION_RECORD = (
    "key",
    "assay",
    "global",
    "columns",
    "stdev",
    "percent_var",
    "loadings",
    "loadings_features",
)


def read_rds(
    path: str | os.PathLike,
    rna_assay: str | None = None,
    peak_assay: str | None = None,
    *,
    layers: bool | Iterable[str] = False,
    engine: str = "auto",
) -> MuData:
    """Read a Seurat, SingleCellExperiment or MultiAssayExperiment object from an .rds file.

    Seurat: the assay with genes and the one with peaks, of any version of assay; layers that are
    split by sample are joined. SingleCellExperiment: the main experiment is the RNA, an altExp the
    peaks. MultiAssayExperiment: one experiment each, cells matched by the sample map.

    Args:
        path: The .rds file.
        rna_assay: Name of the RNA assay; the only candidate when None.
        peak_assay: Name of the peak assay, or of the altExp; the only candidate when None.
        layers: Layers beside the counts to read into `layers` ('data', 'logcounts', ...): their
            names, or True for all.
        engine: 'process' (Rscript), 'rpy2' (R inside Python), or 'auto': the first that is there.

    Returns:
        MuData with modalities 'rna' and 'atac', X the counts as stored (float64). obs: metadata of
        the cells; factors are categories in their order, NA stays missing, and 'ident' are a Seurat
        object's identities where no column has them. obsm: 'X_<reduction>'. var of the
        modalities: metadata of the features, 'highly_variable' and 'highly_variable_rank' of the
        variable features, and for peaks 'chrom', 'start', 'end', as the object has them (1-based,
        end included). uns['r_object']: names of assays, keys, loadings.

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
            "layers": wanted,
        },
        engine,
    )
    return _mudata_of(parts, path)


def write_rds(
    mdata: MuData,
    path: str | os.PathLike,
    as_: Kind = "Seurat",
    *,
    rna_layer: str | None = None,
    atac_layer: str | None = None,
    engine: str = "auto",
) -> None:
    """Write paired cells as a Seurat or SingleCellExperiment object that `readRDS()` reads.

    Counts, further layers (R's 'data' of v3/v4 assays, any of v5 assays and experiments), metadata
    of cells and features, variable features, and every `obsm['X_<name>']` as reduction `<name>`.
    Seurat makes assays of the kind of its version; peaks become a ChromatinAssay where Signac is
    installed and `var` has 'chrom', 'start' and 'end'. In a SingleCellExperiment the peaks are an
    altExp, with ranges.

    What only R's object had (graphs, images, annotation, motifs) a MuData does not hold: to keep
    it, add results to the object's own file with `add_to_rds`.

    Args:
        mdata: Modalities 'rna' and 'atac'.
        path: File to make or replace; it is replaced when it is whole.
        as_: Class of the object.
        rna_layer: Layer with the RNA counts, or 'raw'; X when None.
        atac_layer: Layer with the ATAC counts, or 'raw'; X when None.
        engine: As for `read_rds`.

    Raises:
        InputError: A modality holds no counts, cells differ, or something has no counterpart in R.
        RError: R, SeuratObject or SingleCellExperiment is missing.
    """
    if as_ not in _LAYERS:
        raise InputError(f"as_ must be 'Seurat' or 'SingleCellExperiment', not '{as_}'")
    out = writable(path)
    if not is_mudata(mdata):
        raise InputError(f"write_rds takes a MuData, not {type(mdata).__name__}")
    record = mdata.uns.get(RECORD, {})
    same = record.get("kind") == as_
    pair = dict(zip(PAIR, modality_pair(mdata), strict=True))
    match_cells(*(as_names(pair[modality].obs_names) for modality in PAIR))
    if {*as_names(mdata.obs_names)} != {*as_names(pair["rna"].obs_names)}:
        raise InputError(
            "obs_names of the MuData are not the cells of its RNA and ATAC; call update() of the "
            "MuData after a modality was changed, or take mdata[mdata['rna'].obs_names]"
        )
    for modality in PAIR:
        order = match_cells(as_names(mdata.obs_names), as_names(pair[modality].obs_names))
        if order is not None:
            pair[modality] = pair[modality][order]
    names = dict(_ASSAYS)
    if record:
        names = {modality: str(record[modality]["name"]) for modality in PAIR}
    layers = {"rna": rna_layer, "atac": atac_layer}
    obs = _cells_table(mdata, pair)
    identity = record.get("identity") if same else None
    arguments: dict[str, Any] = {
        "kind": as_,
        **{
            modality: {
                **_features_part(pair[modality], modality, layers[modality], _LAYERS[as_]),
                "name": names[modality],
                **({k: _of_record(record[modality], k) for k in ("class", "key")} if same else {}),
                "added": _of_record(record.get(modality, {}), "added"),
            }
            for modality in PAIR
        },
        "obs": obs,
        "identity": identity if identity in obs else None,
        "reductions": _reductions(mdata, pair),
    }
    _written(out, lambda partial: call("write", {"path": str(partial), **arguments}, engine))


def add_to_rds(
    path: str | os.PathLike,
    mdata: MuData,
    out: str | os.PathLike,
    *,
    imputed: Mapping[str, AnnData | pd.DataFrame] | None = None,
    cells: Literal["all", "shared"] = "all",
    engine: str = "auto",
) -> None:
    """Add results to the Seurat or SingleCellExperiment object in a file; all else stays.

    Added is what the object lacks or has otherwise: columns of `mdata.obs`, and `obsm['X_<name>']`
    as reduction `<name>` (reducedDim). Cells are matched by name.

    Args:
        path: File with the object; it is not changed, unless `out` is the same.
        mdata: The results.
        out: File to make or replace; it is replaced when it is whole.
        imputed: Imputed values by modality ('rna', 'atac'), cells x features, as the model gives
            them; they become assay (altExp) scMVP_RNA or scMVP_ATAC. Those of the RNA are logged,
            log(1 + x), as RunSCMVP() does.
        cells: 'all': every cell of the object must have results. 'shared': the object keeps only
            the cells with results.
        engine: As for `read_rds`.

    Raises:
        InputError: Cells do not match, or a name is taken by something of another kind.
        RError: R, or a package that the object needs, is missing.
    """
    path = as_path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if cells not in ("all", "shared"):
        raise InputError(f"cells must be 'all' or 'shared', not '{cells}'")
    target = writable(out)
    names = as_names(mdata.obs_names)
    check_names("rna", names, np.array(["any"]))
    pair = dict(mdata.mod) if is_mudata(mdata) else {}
    obs = _cells_table(mdata, pair) if pair else mdata.obs.set_axis(names)
    if _dict(mdata.uns.get(RECORD, {})).get("identity") == "ident":
        obs = obs.drop(columns="ident", errors="ignore")  # it stands for what the object has
    arguments = {
        "input": str(path.resolve()),
        "cells": names.tolist(),
        "only_these": cells == "shared",
        "obs": obs,
        "reductions": _reductions(mdata, pair, everywhere=False),
        "assays": {
            _IMPUTED[modality]: _imputed_part(values, modality, names)
            for modality, values in (imputed or {}).items()
        },
    }
    _written(
        target,
        lambda partial: _in_file(path, "add", {"path": str(partial), **arguments}, engine),
    )


# ---- from R --------------------------------------------------------------------------------------


def _mudata_of(parts: dict[str, Any], path: Path) -> MuData:
    from anndata import AnnData

    record: dict[str, Any] = {"kind": parts["kind"][0]}
    if parts.get("identity"):
        record["identity"] = parts["identity"][0]
    modalities = {}
    for modality in PAIR:
        part = parts[modality]
        counts: Named = part["counts"]
        cells, features = as_names(counts.cells), as_names(counts.features)
        with in_file(path):
            check_names(modality, cells, features)
        adata = AnnData(
            X=counts.matrix,
            obs=pd.DataFrame(index=cells),
            var=_without_strings(part["var"].set_axis(features)),
        )
        for name, values in _dict(part["layers"]).items():
            adata.layers[name] = values.matrix if isinstance(values, Named) else values.T
        modalities[modality] = adata
        about = {"name": part["name"], "class": part["class"], "key": part.get("key")}
        record[modality] = {name: text[0] for name, text in about.items() if text}
        if part.get("added"):
            record[modality]["added"] = np.array(part["added"], dtype=object)
    rna = modalities["rna"]
    rna.obs = parts["obs"].set_axis(rna.obs_names)
    with in_file(path):
        mdata = join(rna, modalities["atac"])
    record["reductions"] = {}
    for name, one in _dict(parts["reductions"]).items():
        mdata.obsm[PREFIX + name] = np.ascontiguousarray(one["values"])
        record["reductions"][name] = {
            key: _storable(one[key]) for key in _REDUCTION_RECORD if _present(one.get(key))
        }
    mdata.uns[RECORD] = record
    return mdata


def _dict(values: Any) -> dict[str, Any]:
    # an empty list of R has no names
    return values if isinstance(values, dict) else {}


def _present(value: Any) -> bool:
    return value is not None and len(value) > 0


def _storable(value: Any) -> Any:
    """What HDF5 and zarr can hold: one value, or an array."""
    if isinstance(value, list):
        return value[0] if len(value) == 1 else np.array(value, dtype=object)
    return value[0].item() if value.shape == (1,) else value


def _without_strings(table: pd.DataFrame) -> pd.DataFrame:
    """A table all of whose labels are text, as AnnData wants them."""
    table.columns = [str(name) for name in table.columns]
    return table


# ---- to R ----------------------------------------------------------------------------------------


def features_by_cells(values: Any, cells: Iterable[str], features: Iterable[str]) -> Named:
    """A matrix as R wants it: sparse where it is sparse, by its three vectors."""
    if hasattr(values, "to_memory"):
        values = values.to_memory()
    if not sp.issparse(values):
        values = plain_numbers(np.asarray(values))
    elif not (isinstance(values, sp.csr_matrix) and values.has_canonical_format):
        values = entries_once(values)
    return Named(values, list(cells), list(features))


def _features_part(
    adata: AnnData, modality: str, layer: str | None, spelling: Mapping[str, str]
) -> dict[str, Any]:
    adata, layer = raw_in_place(adata, layer)
    cells, features = as_names(adata.obs_names), as_names(adata.var_names)
    check_names(modality, cells, features)
    places = places_of(adata)
    values = place_in_memory(places, modality, layer).values()
    named = features_by_cells(values, cells, features)
    if not sp.issparse(named.matrix):
        named.matrix = sp.csr_matrix(named.matrix)
    if not holds_counts(named.matrix):
        what = "X" if layer is None else f"layer '{layer}'"
        found = remedy(places, modality) or ", nor is any layer of it: counts are needed"
        raise InputError(f"{what} of the {label_of(modality)} modality is not counts{found}")
    others = {name: adata.layers[name] for name in adata.layers if name not in (layer, "counts")}
    if layer is not None and adata.X is not None and "data" not in others:
        others["data"] = adata.X  # what is modelled is in the layer, X is made of it
    return {
        "counts": named,
        "var": adata.var.set_axis(features),
        "layers": {
            spelling.get(name, str(name)): features_by_cells(values, cells, features)
            for name, values in others.items()
        },
    }


def _cells_table(mdata: MuData, pair: dict[str, AnnData]) -> pd.DataFrame:
    """Columns of all obs, once each; a modality's own column of a taken name gets its prefix."""
    cells = mdata.obs_names
    prefixed = tuple(f"{modality}:" for modality in PAIR)
    own = [name for name in mdata.obs if not str(name).startswith(prefixed)]
    table = mdata.obs[own].copy()
    for modality, adata in pair.items():
        columns = adata.obs.reindex(cells)
        for name in columns:
            if name not in table:
                table[name] = columns[name].array
            elif not same_column(table[name], columns[name]):
                table[f"{modality}_{name}"] = columns[name].array
    return table.set_axis(as_names(cells))


def _reductions(
    mdata: MuData, pair: Mapping[str, AnnData], everywhere: bool = True
) -> dict[str, dict[str, Any]]:
    """Embeddings by name, those of the MuData first; a taken name gets its modality before it."""
    record = _dict(mdata.uns.get(RECORD, {})).get("reductions", {})
    found: dict[str, dict[str, Any]] = {}
    for name, values in mdata.obsm.items():
        if str(name).startswith(PREFIX):
            short = str(name)[len(PREFIX) :]
            known = dict(record.get(short, {}))
            if len(known.get("columns", ())) != _matrix(values).shape[1]:
                known = {key: known[key] for key in ("key", "assay", "global") if key in known}
            found[short] = {
                "values": _matrix(values),
                **{key: _of_record(known, key) for key in known},
            }
    for modality, adata in pair.items() if everywhere else ():
        for name, values in adata.obsm.items():
            if str(name).startswith(PREFIX):
                short = str(name)[len(PREFIX) :]
                short = f"{modality}_{short}" if short in found else short
                found[short] = {"values": _matrix(values)}
    return found


def _matrix(values: Any) -> np.ndarray:
    values = values.toarray() if sp.issparse(values) else np.asarray(values)
    return values.astype(np.float64, copy=False)


def _of_record(record: Mapping[str, Any], key: str) -> Any:
    """A value of `uns['r_object']`, which may have been in a file in between."""
    value = record.get(key)
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUS":
        return [str(text) for text in value]
    if key == "columns" and isinstance(value, str):
        return [value]
    return value


def _imputed_part(values: Any, modality: str, cells: np.ndarray) -> dict[str, Any]:
    if modality not in _IMPUTED:
        raise InputError(f"imputed has values of '{modality}'; use 'rna' and 'atac'")
    if isinstance(values, pd.DataFrame):
        rows, features, matrix = values.index, values.columns, values.to_numpy()
    elif hasattr(values, "obs_names"):
        rows, features, matrix = values.obs_names, values.var_names, values.X
    else:
        raise InputError(
            f"imputed['{modality}'] must be an AnnData or a DataFrame of cells x features, so that "
            "its names are known"
        )
    at = pd.Index(as_names(rows)).get_indexer(pd.Index(cells))
    if (at < 0).any():
        raise InputError(
            f"imputed['{modality}'] lacks {int((at < 0).sum()):,} of the "
            f"{count_of(len(cells), 'cell')} of mdata; give values for all of them"
        )
    matrix = matrix[at] if not np.array_equal(at, np.arange(len(rows))) else matrix
    dense = matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)
    log = modality == "rna"
    return {
        "values": (np.log1p(dense) if log else dense).T.astype(np.float64),
        "features": as_names(features).tolist(),
        "modality": modality,
        "library_size": 1e4,
        "log": log,
    }


# ---- files ---------------------------------------------------------------------------------------


def _in_file(path: Path, verb: str, arguments: dict[str, Any], engine: str) -> Any:
    from ..errors import RError

    try:
        return call(verb, arguments, engine)
    except RError as error:
        raise RError(f"{path}: {error}") from error
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _written(out: Path, write: Any) -> None:
    """Let R write beside the file, which is replaced only by a whole one."""
    with whole_file(out) as partial:
        write(partial)
