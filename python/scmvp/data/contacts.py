"""Contact maps (Hi-C and its relatives): how often two places of a chromosome were in contact."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..errors import InputError
from ..files import as_path
from ..words import name_some
from .claims import open_hdf5
from .formats import damage_reported
from .genes import bare_chromosome
from .names import note

RESOLUTION = 5_000  # base pairs; if a file has several resolutions, the nearest one is read
_SIDES = ("chrom1", "start1", "end1", "chrom2", "start2", "end2")
_VALUES = ("balanced", "count", "value", "score")
_WIDTH = "width of the bins"
_LINES = 1_000_000  # of a text file, read at a time
_FORMATS = (
    "give a .cool or .mcool file, or a table with the columns chrom1, start1, end1, chrom2, "
    "start2, end2 and count"
)


class ContactMap:
    """Frequencies of contacts between bins of one width, within chromosomes.

    Args:
        source: A `.cool` or `.mcool` file (`file.mcool::/resolutions/10000` names a resolution),
            with its balancing weights where it has these; or a table, in memory or in a text file
            with tabs, gzipped or not, of pairs of bins: columns 'chrom1', 'start1', 'end1',
            'chrom2', 'start2', 'end2' (0-based, half-open, as BEDPE) and 'balanced', 'count',
            'value' or 'score'. A file without a header has its first number after these.
        reach: Contacts of places at larger distances, in base pairs, are not kept.

    Attributes:
        where: What messages call the map.
        width: Of the bins, base pairs.

    Raises:
        InputError: It is none of these, is damaged, has bins of several widths, or no contacts.
    """

    def __init__(self, source: pd.DataFrame | str | os.PathLike, reach: int):
        self.width = 0
        self._maps: dict[str, sp.csr_matrix] = {}
        if isinstance(source, pd.DataFrame):
            self.where = "the table of contacts"
            tables: Iterator[pd.DataFrame] = iter([source])
        else:
            path, _, group = str(as_path(source)).partition("::")
            self.where = path
            file = Path(path)
            if not file.is_file():
                what = "is a folder" if file.is_dir() else "does not exist"
                raise InputError(f"{path} {what}; give the path of a contact map")
            cooler = file.suffix.lower() in (".cool", ".mcool")
            tables = _cooler(file, group, reach) if cooler else _text(file)
        parts: dict[str, list[np.ndarray]] = {}
        for table in tables:
            self._add(table, reach, parts)
        for chrom, found in parts.items():
            one, other, value = np.concatenate(found, axis=1)
            size = int(max(one.max(), other.max())) + 1
            at = (np.minimum(one, other).astype(int), np.maximum(one, other).astype(int))
            self._maps[chrom] = sp.coo_matrix((value, at), (size, size)).tocsr()
        if not any(matrix.nnz for matrix in self._maps.values()):
            raise InputError(
                f"{self.where} has no contacts within a chromosome up to {reach:,} base pairs; "
                "give a map of such contacts"
            )

    def __contains__(self, chrom: str) -> bool:
        return chrom in self._maps

    @property
    def chromosomes(self) -> list[str]:
        """Without 'chr'."""
        return list(self._maps)

    def frequencies(self, chrom: str, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Of contacts between places (1-based) of a chromosome; NaN in bins without a contact."""
        matrix = self._maps[chrom]
        bins = np.sort([(one - 1) // self.width, (other - 1) // self.width], axis=0).astype(int)
        contacts = matrix.tocoo()
        measured = np.zeros(matrix.shape[0], dtype=bool)
        for end in (contacts.row, contacts.col):
            measured[end[contacts.data > 0]] = True
        found = np.full(len(one), np.nan)
        inside = bins[1] < matrix.shape[0]
        inside[inside] = measured[bins[:, inside]].all(axis=0)
        found[inside] = np.asarray(matrix[bins[0][inside], bins[1][inside]]).ravel()
        return found

    def _add(self, table: pd.DataFrame, reach: int, parts: dict[str, list[np.ndarray]]) -> None:
        width = table.attrs.get(_WIDTH)
        table = _named(table, self.where)
        chroms = [_bare(table[name]) for name in ("chrom1", "chrom2")]
        start, end = (table[[f"{side}1", f"{side}2"]].to_numpy().T for side in ("start", "end"))
        if len(table):
            self.width = self.width or width or int((end - start).max())
        # the last bin of a chromosome may be shorter
        if ((start % max(self.width, 1) != 0) | (end - start > self.width)).any():
            raise InputError(
                f"{self.where} has bins of several widths, or bins that do not start at multiples "
                f"of their width ({self.width:,} base pairs); give a map of one resolution"
            )
        bins = start // max(self.width, 1)
        same = (chroms[0] == chroms[1]) & (np.abs(start[0] - start[1]) <= reach + self.width)
        values = table["value"].to_numpy(np.float64)
        for chrom in pd.unique(chroms[0][same]):
            kept = same & (chroms[0] == chrom)
            parts.setdefault(chrom, []).append(np.stack([*bins[:, kept], values[kept]]))


def _bare(column: pd.Series) -> np.ndarray:
    """`bare_chromosome` of each of millions of rows, of which few differ."""
    code, names = pd.factorize(column, use_na_sentinel=False)
    return bare_chromosome(np.asarray(names, dtype=object))[code]


def _named(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """The columns in use, checked, as numbers."""
    value = next((name for name in _VALUES if name in table), None)
    if twice := [name for name in (*_SIDES, value) if list(table.columns).count(name) > 1]:
        raise InputError(f"{where} has several columns '{twice[0]}'; give one of them")
    table = table.reset_index(drop=True)
    if missing := [name for name in _SIDES if name not in table] or (["count"] * (value is None)):
        raise InputError(
            f"{where} has no column '{missing[0]}' (its columns: "
            f"{name_some(list(table.columns)) or 'none'}); {_FORMATS}"
        )
    places = [name for name in _SIDES if not name.startswith("chrom")]
    numbers = table[[*places, value]].apply(pd.to_numeric, errors="coerce")
    odd = numbers[places].isna().any(axis=1) | (numbers[value] < 0)
    odd |= ~np.isfinite(numbers[value]) & table[value].notna()
    for side in ("1", "2"):
        odd |= (numbers[f"start{side}"] < 0) | (numbers[f"end{side}"] <= numbers[f"start{side}"])
    if odd.any():
        row = int(np.flatnonzero(odd)[0])
        raise InputError(
            f"row {row + 1} of {where} is not a contact between two bins "
            f"({', '.join(map(str, table.iloc[row].tolist()))}); {_FORMATS}"
        )
    numbers = numbers.rename(columns={value: "value"})
    return table[["chrom1", "chrom2"]].join(numbers.astype(dict.fromkeys(places, np.int64)))


def _text(path: Path) -> Iterator[pd.DataFrame]:
    with damage_reported(path, "contact map"):
        try:
            first = pd.read_csv(path, sep="\t", header=None, nrows=1, comment="#", dtype=str)
        except pd.errors.EmptyDataError:
            raise InputError(f"{path} is empty; {_FORMATS}") from None
        cells = first.iloc[0].tolist()
        names = None
        if "chrom1" not in cells:
            at = next((i for i, cell in enumerate(cells[6:], start=6) if _is_number(cell)), None)
            if at is None:
                raise InputError(f"{path} is no contact map; {_FORMATS}")
            names = [*_SIDES, *(f"column {i + 1}" for i in range(6, len(cells)))]
            names[at] = "value"
        yield from pd.read_csv(
            path, sep="\t", comment="#", names=names, chunksize=_LINES,
            dtype={"chrom1": str, "chrom2": str},
        )  # fmt: skip


def _is_number(text: str) -> bool:
    return pd.to_numeric(pd.Series([text]), errors="coerce").notna().all()


def _cooler(path: Path, group: str, reach: int) -> Iterator[pd.DataFrame]:
    """Contacts within one chromosome after the other."""
    with damage_reported(path, "contact map"), open_hdf5(path) as file:
        home = file[_resolution(file, path, group)] if group or "resolutions" in file else file
        if not {"chroms", "bins", "pixels", "indexes"} <= set(home):
            raise InputError(f"{path} is no .cool file: it has no bins and pixels; {_FORMATS}")
        bins, pixels = home["bins"], home["pixels"]
        chrom = pd.Series(home["chroms/name"].asstr()[()])
        first_bin, first_pixel = (home[f"indexes/{name}_offset"][()] for name in ("chrom", "bin1"))
        start, end = (bins[name][()].astype(np.int64) for name in ("start", "end"))
        width = int(np.max(end - start))
        weight = bins["weight"][()] if "weight" in bins else np.ones(len(start))
        if "weight" not in bins:
            note(f"{path} has no balancing weights; its unbalanced counts are used")
        for number in range(len(chrom)):
            lowest, highest = first_bin[number : number + 2]
            rows = slice(first_pixel[lowest], first_pixel[highest])
            one, other = pixels["bin1_id"][rows], pixels["bin2_id"][rows]
            # a square matrix has each contact twice, those with chromosomes before it among them
            near = (one <= other) & (other < highest)
            near &= start[other] - start[one] <= reach + width
            one, other = one[near], other[near]
            table = pd.DataFrame(
                {
                    "chrom1": chrom[number], "start1": start[one], "end1": end[one],
                    "chrom2": chrom[number], "start2": start[other], "end2": end[other],
                    "balanced": pixels["count"][rows][near] * weight[one] * weight[other],
                }
            )  # fmt: skip
            table.attrs[_WIDTH] = width  # a chromosome may be shorter
            yield table


def _resolution(file: h5py.File, path: Path, group: str) -> str:
    if group:
        if group not in file:
            widths = sorted(file.get("resolutions", ()), key=int)
            have = f"; it has the resolutions {name_some(widths)}" if widths else ""
            raise InputError(f"{path} has no '{group}'{have}")
        return group
    width = min(map(int, file["resolutions"]), key=lambda one: (abs(one - RESOLUTION), one))
    note(f"{path}: contacts at {width:,} base pairs are read")
    return f"resolutions/{width}"
