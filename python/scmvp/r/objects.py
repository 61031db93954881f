"""Objects of R and MuData, part by part, in the form in which `bridge.R` gives and takes them.

What an object has and a MuData has no place for is in `uns['r_object']`, from which it goes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from ..data.checks import check_names
from ..data.columns import own_columns, same_column
from ..data.formats import in_file
from ..data.joining import join_all
from ..data.matrices import entries_once, plain_numbers
from ..data.names import as_names, note
from ..data.places import place_in_memory, places_of, raw_in_place, remedy
from ..data.values import holds_counts
from ..errors import InputError
from ..modalities import feature_of, label_of
from ..words import count_of, name_some
from .rserial import Named
from .tables import vectors

if TYPE_CHECKING:
    from mudata import MuData

RECORD = "r_object"
PREFIX = "X_"  # of reductions in obsm
ASSAYS = {"rna": "RNA", "atac": "ATAC", "protein": "ADT"}
IMPUTED = {modality: f"scMVP_{name}" for modality, name in ASSAYS.items()}
# What else an embedding has in R: whatever its values are, and only of those that were read.
_ITS_NAMES = ("key", "assay", "global", "columns")
_OF_ITS_VALUES = ("stdev", "percent_var", "loadings", "loadings_features")


# ---- from R --------------------------------------------------------------------------------------


def mudata_of(parts: dict[str, Any], path: Path) -> MuData:
    """The MuData of what R has read in a file.

    Raises:
        InputError: Names are missing or given twice, or the modalities have other cells.
    """
    if parts["methylation"][0]:
        note(f"{path}: methylation is left out, which is only read from MuData files")
    record: dict[str, Any] = {"kind": parts["kind"][0]}
    if parts.get("identity"):
        record["identity"] = parts["identity"][0]
        record["identity_added"] = bool(parts["identity_added"][0])
    modalities = {}
    for modality, part in parts["modalities"].items():
        counts: Named = part["counts"]
        cells, features = as_names(counts.cells), as_names(counts.features)
        with in_file(path):
            check_names(modality, cells, features)
        adata = AnnData(
            X=counts.matrix,
            obs=pd.DataFrame(index=cells),
            var=_with_text_labels(part["var"].set_axis(features)),
        )
        for name, values in as_dict(part["layers"]).items():
            adata.layers[name] = values.matrix if isinstance(values, Named) else values.T
        modalities[modality] = adata
        about = {"name": part["name"], "class": part["class"], "key": part.get("key")}
        record[modality] = {name: text[0] for name, text in about.items() if text}
        if part.get("added"):
            record[modality]["added"] = np.array(part["added"], dtype=object)
    known_in, first = next(iter(modalities.items()))
    first.obs = parts["obs"].set_axis(first.obs_names)
    record[known_in]["copied"] = np.array([*first.obs], dtype=object)
    with in_file(path):
        mdata = join_all(modalities)
    record["reductions"] = {}
    for name, one in as_dict(parts["reductions"]).items():
        mdata.obsm[PREFIX + name] = np.ascontiguousarray(one["values"])
        kept = [key for key in (*_ITS_NAMES, *_OF_ITS_VALUES) if _present(one.get(key))]
        record["reductions"][name] = {key: _storable(one[key]) for key in kept}
        if not {*_OF_ITS_VALUES}.isdisjoint(kept):
            record["reductions"][name]["rows"] = np.unique(_digests(one["values"]))
    mdata.uns[RECORD] = record
    return mdata


def as_dict(values: Any) -> dict[str, Any]:
    """A list of R by its names; an empty one has none."""
    return values if isinstance(values, dict) else {}


def _present(value: Any) -> bool:
    return value is not None and len(value) > 0


def _storable(value: Any) -> Any:
    """What HDF5 and zarr can hold: one value, or an array."""
    if isinstance(value, list):
        return value[0] if len(value) == 1 else np.array(value, dtype=object)
    return value[0].item() if value.shape == (1,) else value


def _with_text_labels(table: pd.DataFrame) -> pd.DataFrame:
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


def check_names_for_r(modality: str, cells: np.ndarray, features: np.ndarray) -> None:
    """Refuse what `check_names` refuses, and empty names."""
    check_names(modality, cells, features)
    for axis, names, word in (("obs", cells, "cell"), ("var", features, feature_of(modality))):
        if (names == "").any():
            raise InputError(
                f"a {word} name of the {label_of(modality)} modality is empty, which R does not "
                f"take; change it in {axis}_names"
            )


def features_part(
    adata: AnnData, modality: str, layer: str | None, spelling: Mapping[str, str]
) -> dict[str, Any]:
    """Counts, further layers and metadata of a modality.

    Args:
        adata: The modality.
        modality: Its name.
        layer: With the counts; X when None.
        spelling: What R calls layers.

    Raises:
        InputError: It holds no counts, or has an empty name.
    """
    adata, layer = raw_in_place(adata, layer)
    cells, features = as_names(adata.obs_names), as_names(adata.var_names)
    check_names_for_r(modality, cells, features)
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
        others["data"] = adata.X  # what is modeled is in the layer, X is made of it
    return {
        "counts": named,
        "var": adata.var.set_axis(features),
        "layers": {
            spelling.get(name, str(name)): features_by_cells(values, cells, features)
            for name, values in others.items()
        },
    }


def cells_table(mdata: MuData, parts: Mapping[str, AnnData]) -> pd.DataFrame:
    """Columns of all obs, once each; a modality's own column of a taken name gets its prefix."""
    cells = mdata.obs_names
    record = as_dict(mdata.uns.get(RECORD, {}))
    table = own_columns(mdata.obs, {name: adata.obs for name, adata in mdata.mod.items()}).copy()
    outdated = []
    for modality, adata in parts.items():
        columns = adata.obs.reindex(cells)
        copied = of_record(record.get(modality, {}), "copied") or ()
        for name in columns:
            if name not in table:
                table[name] = columns[name].array
            elif same_column(table[name], columns[name]):
                continue
            elif name in copied:
                outdated.append(name)
            else:
                table[f"{modality}_{name}"] = columns[name].array
    if outdated:
        note(
            "columns that read_rds copied into the obs of a modality differ there from obs of the "
            f"MuData, whose values are written: {name_some(outdated)}"
        )
    return table.set_axis(as_names(cells))


def added_identity(record: Mapping[str, Any]) -> str | None:
    """The column in which `read_rds` has put identities that were in no column of the object."""
    identity = record.get("identity")
    # a record of before this was kept has them in 'ident'
    return identity if record.get("identity_added", identity == "ident") else None


def vectors_of(table: pd.DataFrame, what: str) -> pd.DataFrame:
    """A table as R gets it.

    Raises:
        InputError: A column has an empty name.
    """
    if "" in table.columns:
        raise InputError(f"a column of {what} has an empty name, which R does not take; rename it")
    found, told = vectors(table)
    if told:
        note(f"columns of {what} with types that R lacks are written as text: {name_some(told)}")
    return found


def reductions_of(
    mdata: MuData, parts: Mapping[str, AnnData], everywhere: bool = True
) -> dict[str, dict[str, Any]]:
    """Embeddings by name, those of the MuData first; a taken name gets its modality before it.

    Raises:
        InputError: One has an empty name.
    """
    record = as_dict(mdata.uns.get(RECORD, {})).get("reductions", {})
    found: dict[str, dict[str, Any]] = {}
    for name, matrix in _embeddings(mdata):
        known, outdated = _split_record(record.get(name, {}), matrix)
        found[name] = {"values": matrix, **known}
        if outdated:
            note(
                f"obsm['{PREFIX}{name}'] has other values than read_rds read, so it is written "
                "without the original loadings and standard deviations"
            )
    for modality, adata in parts.items() if everywhere else ():
        for name, matrix in _embeddings(adata):
            found[f"{modality}_{name}" if name in found else name] = {"values": matrix}
    return found


def _embeddings(data: MuData | AnnData) -> Iterator[tuple[str, np.ndarray]]:
    """Those in obsm by the name that they have in R."""
    for name, values in data.obsm.items():
        if name == PREFIX:
            raise InputError(f"obsm['{name}'] has no name after '{name}', which R needs; rename it")
        if str(name).startswith(PREFIX):
            yield str(name)[len(PREFIX) :], _matrix(values)


def _split_record(record: Mapping[str, Any], matrix: np.ndarray) -> tuple[dict, list[str]]:
    """What a record says of an embedding (some cells, in any order), and what it no longer says."""
    known = {key: of_record(record, key) for key in (*_ITS_NAMES, *_OF_ITS_VALUES) if key in record}
    if len(known.get("columns", ())) != matrix.shape[1]:
        known.pop("columns", None)
    outdated = [key for key in _OF_ITS_VALUES if key in known]
    if np.isin(_digests(matrix), record.get("rows", ())).all():
        outdated = []
    return {key: value for key, value in known.items() if key not in outdated}, outdated


def _digests(matrix: np.ndarray) -> np.ndarray:
    """One number for the values of each row, as float32: programs round embeddings to these."""
    rows = pd.DataFrame(np.asarray(matrix, np.float32))
    return pd.util.hash_pandas_object(rows, index=False).to_numpy()


def _matrix(values: Any) -> np.ndarray:
    values = values.toarray() if sp.issparse(values) else np.asarray(values)
    return values.astype(np.float64, copy=False)


def of_record(record: Mapping[str, Any], key: str) -> Any:
    """A value of `uns['r_object']`, which may have been in a file in between."""
    value = record.get(key)
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUS":
        return [str(text) for text in value]
    if key == "columns" and isinstance(value, str):
        return [value]
    return value


def imputed_part(values: Any, modality: str, cells: np.ndarray) -> dict[str, Any]:
    """Imputed values, features x `cells`; those of RNA and proteins logged.

    Raises:
        InputError: They have no names, or lack cells.
    """
    if modality not in IMPUTED:
        known = " or ".join(map(repr, IMPUTED))
        raise InputError(f"imputed has values of '{modality}'; use {known}")
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
    log = modality != "atac"
    return {
        "values": (np.log1p(dense) if log else dense).T.astype(np.float64),
        "features": as_names(features).tolist(),
        "modality": modality,
        "library_size": 1e4,
        "log": log,
    }
