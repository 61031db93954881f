"""Files of paired cells whose counts stay on disk: `Paired` with matrices that read rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pandas as pd
from anndata.io import read_elem

from ..errors import InputError, NotByRows
from ..modalities import MODALITIES, label_of
from .checks import paired_of
from .claims import check_zarr, open_hdf5
from .columns import own_columns
from .containers import refuse_axis
from .formats import (
    damage_reported,
    files_read,
    holds_mudata,
    in_file,
    inside_outs,
    is_zarr,
    names_in_mudata,
    pair_files,
)
from .joining import columns_of_all
from .levels import Covered, places_of_levels
from .matrices import DiskColumns, DiskRows, StoredCsr, StoredDense, place_of
from .names import as_names, make_unique
from .paired import Paired
from .places import Place, place_in_file, remedy
from .tenx import columns_of_10x, names_of_10x
from .types import (
    ANY,
    Expected,
    columns_by_type,
    columns_of_modality,
    columns_of_raw,
    feature_types,
    gene_ids,
    only_modality,
)


class Opened(NamedTuple):
    """One modality of a file."""

    counts: DiskRows | Covered
    cells: np.ndarray
    features: np.ndarray
    obs: pd.DataFrame
    advice: Callable[[], str]  # says where the counts are if this matrix contains none
    ids: np.ndarray | None = None  # of genes


def read_backed(
    path: Path,
    rna_layer: str | None = None,
    atac_layer: str | None = None,
    mosaic: bool = False,
    protein_layer: str | None = None,
    expected: Expected = ANY,
) -> Paired:
    """Open paired cells; see `reading.read`.

    Args:
        path: h5ad, h5mu, zarr or 10x h5.
        rna_layer: Layer with the RNA counts; as in `reading.read` when None.
        atac_layer: Layer with the ATAC counts.
        mosaic: Keep unimodal cells.
        protein_layer: Layer with the protein counts.
        expected: Which modalities are read; all when None.

    Raises:
        InputError: Not a file whose rows can be read one by one, or not paired counts.
    """
    with damage_reported(path, "file of paired cells"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layers = {"rna": rna_layer, "atac": atac_layer, "protein": protein_layer}
        opened, whole = _open(path, layers, expected)
    values, cells, features, tables, advice, ids = (
        dict(zip(opened, parts, strict=True)) for parts in zip(*opened.values(), strict=True)
    )
    with in_file(path):
        paired = paired_of(values, cells, features, mosaic, advice)
        named = {"": whole} | {f"{modality}:": table for modality, table in tables.items()}
        named = {prefix: obs.set_axis(as_names(obs.index)) for prefix, obs in named.items()}
        obs = columns_of_all(pd.Index(paired.cells, dtype=str), named)
        files = tuple(files_read(path))
        return replace(paired, obs=obs, files=files, gene_ids=ids.get("rna"))


def bytes_in_memory(path: Path, expected: Expected = ANY) -> int | None:
    """Memory that the counts of all modalities would need; None if unknown.

    It is unknown if `read_backed` cannot open the file, for whatever reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened, _ = _open(inside_outs(path), None, expected)
    except Exception:  # reading the file into memory will raise an error with the cause
        return None
    found = [one.counts for one in opened.values()]
    stored = [part.stored for one in found for part in (one if isinstance(one, Covered) else [one])]
    # all modalities may be in one matrix
    return sum({place_of(one.data): one.n_bytes for one in stored}.values())


def _open(
    path: Path, layers: Mapping[str, str | None] | None, expected: Expected
) -> tuple[dict[str, Opened], pd.DataFrame]:
    """Each modality, and the columns of a MuData itself.

    If `layers` is None, X is used without checking that it contains counts.
    """
    suffix, whole = path.suffix.lower(), pd.DataFrame()
    if suffix == ".h5":
        return _open_10x(path, expected), whole
    pair = None
    if path.is_dir() and not is_zarr(path):
        pair = pair_files(path)
    if pair is not None:
        with in_file(path):
            groups = {modality: _root(pair[modality]) for modality in expected.chosen(pair)}
    elif suffix in (".h5mu", ".zarr", ".h5ad"):
        root = _root(path)
        if not holds_mudata(path):
            return _open_one(root, path, layers, expected), whole
        mod, whole = root["mod"], _table(root, "obs")
        whole = own_columns(whole, {name: _columns_in(mod[name]["obs"]) for name in mod})
        names = names_in_mudata(mod, path)
        with in_file(path):
            refuse_axis(root.attrs.get("axis", 0))
            groups = {modality: mod[names[modality]] for modality in expected.chosen(names)}
    else:
        raise InputError(
            f"the counts of {path} cannot stay on disk; give h5ad files, .h5mu, zarr or 10x .h5, "
            "or leave out backed=True"
        )
    return {name: _open_anndata(group, name, path, layers) for name, group in groups.items()}, whole


def _root(path: Path) -> Any:
    if is_zarr(path):
        import zarr

        check_zarr(path)
        return zarr.open_group(str(path), mode="r")
    return open_hdf5(path)  # open for as long as the matrix lives


def _open_10x(path: Path, expected: Expected) -> dict[str, Opened]:
    group, cells, var = names_of_10x(open_hdf5(path), path)
    names = np.array(make_unique(var.index), dtype=object)
    stored = StoredCsr(group["data"], group["indices"], group["indptr"][:], (len(cells), len(var)))
    return {
        modality: Opened(
            DiskRows(stored, chosen),
            as_names(cells),
            as_names(names[chosen]),
            pd.DataFrame(index=as_names(cells)),
            str,
            gene_ids(var.iloc[chosen]),
        )
        for modality, chosen in columns_of_10x(var, path, expected).items()
    }


def _open_one(
    root: Any, path: Path, layers: Mapping[str, str | None] | None, expected: Expected
) -> dict[str, Opened]:
    """One AnnData, of one modality or of several."""
    tables = {name: _table(root, name) for name in ("var", *_RAW.values()) if name in root}
    names = {name: as_names(make_unique(as_names(of.index))) for name, of in tables.items()}
    var = tables["var"]
    if (only := only_modality(var, str(path), expected)) is not None:
        with in_file(path):
            expected.chosen([only])
        return {only: _open_anndata(root, only, path, layers, lambda name: (None, names[name]))}
    types = feature_types(var)
    chosen = {"var": columns_by_type(() if types is None else types, str(path))}
    for name in set(tables) - {"var"}:
        chosen[name] = columns_of_raw(tables[name], names[name], var, names["var"])

    def part_of(modality: str) -> Part:
        def part(table: str) -> tuple[np.ndarray | None, np.ndarray] | None:
            if modality not in chosen.get(table, {}):
                return None
            at = chosen[table][modality]
            return at, names[table][at]

        return part

    with in_file(path):
        wanted = expected.chosen(chosen["var"])
    return {name: _open_anndata(root, name, path, layers, part_of(name)) for name in wanted}


def _open_anndata(
    group: Any,
    modality: str,
    path: Path,
    layers: Mapping[str, str | None] | None,
    part: Part | None = None,
) -> Opened:
    """One modality; `part`: of an AnnData that holds others, too."""
    obs = _table(group, "obs")
    if part is None:

        def part(table: str) -> tuple[None, np.ndarray]:
            return None, as_names(_table(group, table).index)

    places = _places(group, modality, path, part)
    if MODALITIES[modality].is_level:  # few enough to be read into memory
        levels = places_of_levels(places, f"{path}: the {label_of(modality)} modality")
        if any(isinstance(part, DiskColumns) for part in levels):
            _refuse_kind(f"a layer of the {label_of(modality)} modality of {path}", "csc_matrix")
        names = as_names(_table(group, "var").index)
        return Opened(levels, as_names(obs.index), names, obs, str)
    if layers is None:
        place = places[0]
    else:
        place, _ = place_in_file(places, modality, layers.get(modality), str(path))
    advice = partial(remedy, places, modality)
    counts, features = place.values(), place.features()
    if isinstance(counts, DiskColumns):
        _refuse_kind(f"{place.words} of the {label_of(modality)} modality of {path}", "csc_matrix")
    table = next(var for x, var in _RAW.items() if x in group) if place.is_raw else "var"
    var, of_table = _table(group, table), part(table)
    if of_table is not None and of_table[0] is not None:
        var = var.iloc[of_table[0]]
    elif (columns := columns_of_modality(var, modality, str(path), place.is_raw)) is not None:
        counts, features, var = counts.of_columns(columns), features[columns], var.iloc[columns]
    return Opened(counts, as_names(obs.index), features, obs, advice, gene_ids(var))


def _places(group: Any, modality: str, path: Path, part: Part) -> list[Place]:
    """Where counts may be, as `places.places_of` has them in memory."""
    label = f"the {label_of(modality)} modality of {path}"

    def place(name: str, element: str, table: str, is_layer: bool) -> list[Place]:
        if element not in group or (chosen := part(table)) is None:
            return []
        columns, features = chosen

        def counts() -> DiskRows | DiskColumns:
            return _matrix(group[element], columns, f"{element} of {label}")

        return [Place(name, counts, lambda: features, is_layer)]

    places = place("X", "X", "var", False)
    for name in group["layers"] if "layers" in group else ():
        places += place(str(name), f"layers/{name}", "var", True)
    for x, var in _RAW.items():
        places += place("raw", x, var, False)
    return places


# Where raw is; the second: before anndata 0.7.
_RAW = {"raw/X": "raw/var", "raw.X": "raw.var"}
# Columns (None: all) and names of the features of a modality, by the name of their table; None
# where that does not name them.
Part = Callable[[str], tuple[np.ndarray | None, np.ndarray] | None]


def _table(group: Any, name: str) -> pd.DataFrame:
    """A table of an AnnData file, also one that anndata before 0.7 has written."""
    if hasattr(group[name], "keys"):
        return read_elem(group[name])
    rows = group[name][()]
    columns = {field: _texts(rows[field]) for field in rows.dtype.names}
    table = pd.DataFrame(columns)
    table = table.set_index(table.columns[0])
    for column in table:
        if f"uns/{column}_categories" in group:
            # the old format had one list for the categories of obs and var
            levels = _texts(np.atleast_1d(group[f"uns/{column}_categories"][()]))
            codes = table[column].to_numpy()
            if codes.dtype.kind in "iu" and (codes < len(levels)).all():
                table[column] = pd.Categorical.from_codes(codes, levels)
    return table


def _columns_in(table: Any) -> Iterable[str]:
    """Names of the columns of such a table, and of its index."""
    return table.keys() if hasattr(table, "keys") else table.dtype.names


def _texts(values: np.ndarray) -> np.ndarray:
    """Text where a file has bytes."""
    if values.dtype.kind not in "SO":
        return values
    decoded = [value.decode() if isinstance(value, bytes) else value for value in values]
    return np.array(decoded, dtype=object)


def _matrix(element: Any, columns: np.ndarray | None, what: str) -> DiskRows | DiskColumns:
    """A matrix of the file, or some of its columns."""
    if not hasattr(element, "keys"):
        return DiskRows(StoredDense(element), columns)
    # the second of each: before anndata 0.7
    kind, shape = (
        next((element.attrs[name] for name in names if name in element.attrs), "")
        for names in (("encoding-type", "h5sparse_format"), ("shape", "h5sparse_shape"))
    )
    kind = kind.decode() if isinstance(kind, bytes) else kind
    if kind not in ("csr_matrix", "csr", "csc_matrix", "csc"):
        _refuse_kind(what, kind)
    n_rows, n_columns = (int(n) for n in shape)
    vectors = element["data"], element["indices"], element["indptr"][:]
    if kind.startswith("csc"):
        return DiskColumns(DiskRows(StoredCsr(*vectors, (n_columns, n_rows)), order=columns))
    return DiskRows(StoredCsr(*vectors, (n_rows, n_columns)), columns)


def _refuse_kind(what: str, kind: str) -> NoReturn:
    raise NotByRows(
        f"{what} is a {kind}, whose rows cannot be read one by one; write it as a csr_matrix, or "
        "leave out backed=True"
    )
