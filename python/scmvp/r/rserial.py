"""Values in R's own binary format (`serialize()`, version 2), written and read without R.

So that R gets a data.frame, a factor or a dgCMatrix with nothing to put together, and big vectors
go to and from disk as they lie in memory. "R Internals", section 1.8, describes the format.

| Python | R |
|---|---|
| None; bool, int, float, str | NULL; vectors of length 1 |
| 1-D arrays, lists of strings (None is NA) | logical, integer, double, character |
| 2-D arrays | matrix |
| dict; list | named list; list |
| Categorical, DataFrame | factor, data.frame |
| `Named`: CSR cells x features | dgCMatrix features x cells, the same three vectors |
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..data.claims import check_structure
from ..errors import InputError
from ..words import count_of

_NIL, _REF, _SYMBOL, _PAIRS, _CHAR = 254, 255, 1, 2, 9
_LOGICAL, _INTEGER, _REAL, _STRING, _LIST, _RAW, _S4 = 10, 13, 14, 16, 19, 24, 25
_IS_OBJECT, _HAS_ATTRIBUTES, _HAS_TAG = 1 << 8, 1 << 9, 1 << 10
_S4_BIT, _UTF8, _LATIN1 = 1 << 16, 1 << 15, 1 << 14
_NA_INTEGER = -(2**31)
_EXACT = 2**24  # whole numbers up to it are float32
_PIECE = 2**22
_NA_REAL = struct.unpack("<d", struct.pack("<Q", 0x7FF00000000007A2))[0]
# Version 2, as R 4.2 writes it, for R from 2.3 on; "B": numbers as on a little-endian machine.
_HEADER = b"B\n" + struct.pack("<iii", 2, 0x00040200, 0x00020300)


@dataclass
class Named:
    """A matrix of cells x features with its names, sparse or dense; features x cells in R."""

    matrix: Any  # sp.csr_matrix or np.ndarray
    cells: Sequence[str]
    features: Sequence[str]


def dump(value: Any, file: BinaryIO) -> None:
    """Write a value as `readRDS()` reads it."""
    file.write(_HEADER)
    _Writer(file).item(value)


def write(value: Any, path: str | os.PathLike) -> None:
    """`dump` into a new file."""
    with open(path, "wb", buffering=2**20) as file:
        dump(value, file)


def load(file: BinaryIO, short: bool = False) -> Any:
    """Read what `serialize(x, file, version = 2, xdr = FALSE)` has written.

    Args:
        file: Opened to read bytes.
        short: Read the values of sparse matrices as float32 where that holds them exactly, as it
            does counts.

    Raises:
        ValueError: It is something else, damaged, or holds what is not read here.
    """
    if file.read(2) != b"B\n":
        raise ValueError("not R's binary format")
    reader = _Reader(file, short)
    try:
        reader.take(12)
        return reader.item()
    except ValueError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as error:
        raise ValueError(f"what R sent is damaged ({error})") from error


class _Writer:
    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write

    def item(self, value: Any) -> None:
        if value is None:
            self._integers(_NIL)
        elif isinstance(value, Named):
            self._matrix(value)
        elif isinstance(value, pd.DataFrame):
            self._frame(value)
        elif isinstance(value, pd.Series):
            self.item(value.array)
        elif isinstance(value, pd.Categorical):
            self._factor(value)
        elif isinstance(value, dict):
            self._list(list(value.values()), {"names": [str(name) for name in value]})
        elif isinstance(value, bool | np.bool_):
            self._vector(np.array([value]))
        elif isinstance(value, int | np.integer):
            self._vector(np.array([value]))
        elif isinstance(value, float | np.floating):
            self._vector(np.array([value], np.float64))
        elif isinstance(value, str):
            self._strings([value])
        elif isinstance(value, list | tuple):
            if all(isinstance(one, str) or one is None for one in value):
                self._strings(value)
            else:
                self._list(value)
        elif isinstance(value, pd.Index):
            self.item(value.array)
        else:
            self._vector(value)

    def _integers(self, *values: int) -> None:
        self.write(struct.pack(f"<{len(values)}i", *values))

    def _length(self, length: int) -> None:
        if length < 2**31:
            self._integers(length)
        else:
            self._integers(-1, length >> 32)
            self.write(struct.pack("<I", length & 0xFFFFFFFF))

    def _head(self, kind: int, attributes: dict[str, Any] | None, length: int) -> None:
        flags = kind
        if attributes:
            flags |= _HAS_ATTRIBUTES | (_IS_OBJECT if "class" in attributes else 0)
        self._integers(flags)
        self._length(length)

    def _attributes(self, attributes: dict[str, Any] | None) -> None:
        if not attributes:
            return
        for name, value in attributes.items():
            self._integers(_PAIRS | _HAS_TAG, _SYMBOL)
            self._char(name)
            if callable(value):
                value()
            else:
                self.item(value)
        self._integers(_NIL)

    def _char(self, text: str | None) -> None:
        if text is None:
            self._integers(_CHAR, -1)
            return
        content = text.encode("utf-8")
        if b"\0" in content:
            raise InputError(f"R has no strings with a NUL character: {text!r}")
        self._integers(_CHAR | _UTF8, len(content))
        self.write(content)

    def _strings(self, values: Sequence[Any], attributes: dict[str, Any] | None = None) -> None:
        self._head(_STRING, attributes, len(values))
        for text in values:
            self._char(None if text is None or text is pd.NA or text != text else str(text))
        self._attributes(attributes)

    def _list(self, values: Sequence[Any], attributes: dict[str, Any] | None = None) -> None:
        attributes = attributes if len(values) else None
        self._head(_LIST, attributes, len(values))
        for value in values:
            self.item(value)
        self._attributes(attributes)

    def _vector(
        self,
        values: Any,
        attributes: dict[str, Any] | None = None,
        missing: np.ndarray | None = None,
    ) -> None:
        array, lost = _plain(values)
        missing = lost if missing is None else missing
        if array.ndim > 1:
            attributes = {**(attributes or {}), "dim": np.array(array.shape, np.int32)}
            array = array.reshape(-1, order="F")
        kind = array.dtype.kind
        if kind in "OUS":
            self._strings(array.tolist(), attributes)
            return
        if kind == "b":
            code, array = _LOGICAL, array.astype(np.int32)
        elif kind in "iu" and _fits_integer(array):
            code, array = _INTEGER, array.astype(np.int32, copy=False)
        elif kind in "iuf":
            code, array = _REAL, array.astype(np.float64, copy=False)
        else:
            raise InputError(f"values of type {array.dtype} have no counterpart in R")
        if missing is not None and missing.any():
            array = array.copy()
            array[missing] = _NA_REAL if code == _REAL else _NA_INTEGER
        self._head(code, attributes, len(array))
        self.write(np.ascontiguousarray(array).data)
        self._attributes(attributes)

    def _factor(self, values: pd.Categorical) -> None:
        codes = values.codes.astype(np.int32) + 1
        kind = ["ordered", "factor"] if values.ordered else ["factor"]
        levels = [str(level) for level in values.categories]
        self._vector(codes, {"levels": levels, "class": kind}, missing=codes == 0)

    def _frame(self, frame: pd.DataFrame) -> None:
        attributes = {
            "names": [str(name) for name in frame.columns],
            "row.names": [str(name) for name in frame.index],
            "class": ["data.frame"],
        }
        self._head(_LIST, attributes, frame.shape[1])
        for number in range(frame.shape[1]):
            column = frame.iloc[:, number].array
            if column.dtype.kind == "f":  # pandas has one mark for what is missing, R's is NA
                self._vector(column, missing=np.asarray(column.isna()))
            else:
                self.item(column)
        self._attributes(attributes)

    def _matrix(self, named: Named) -> None:
        matrix = named.matrix
        if not sp.issparse(matrix):
            self._vector(matrix.T, {"dimnames": self._names_of(named)})
            return
        if matrix.nnz >= 2**31:
            raise InputError(
                f"a matrix with {count_of(matrix.nnz, 'value')} is too large for R's sparse "
                "matrices (2,147,483,647); take fewer cells or features"
            )
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()

        self._integers(_S4 | _IS_OBJECT | _HAS_ATTRIBUTES | _S4_BIT)
        self._attributes(
            {
                "i": matrix.indices.astype(np.int32, copy=False),
                "p": matrix.indptr.astype(np.int32, copy=False),
                "Dim": np.array(matrix.shape[::-1], np.int32),
                "Dimnames": self._names_of(named),
                "x": matrix.data.astype(np.float64, copy=False),
                "factors": {},
                "class": lambda: self._strings(["dgCMatrix"], {"package": "Matrix"}),
            }
        )

    def _names_of(self, named: Named) -> list[list[str]]:
        return [[str(name) for name in names] for names in (named.features, named.cells)]


def _fits_integer(array: np.ndarray) -> bool:
    return not array.size or (array.min() > _NA_INTEGER and array.max() < 2**31)


def _plain(values: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """A NumPy array and where it is missing (for kinds that have no NaN)."""
    if not isinstance(values, pd.api.extensions.ExtensionArray):
        return np.asarray(values), None
    missing = np.asarray(values.isna())
    kind = values.dtype.kind if hasattr(values.dtype, "kind") else "O"
    if kind == "b":
        return values.to_numpy(dtype=bool, na_value=False), missing
    if kind in "iu":
        return values.to_numpy(dtype=np.int64, na_value=0), missing
    if kind == "f":
        return values.to_numpy(dtype=np.float64, na_value=np.nan), None
    texts = [None if lost else str(x) for x, lost in zip(values, missing, strict=True)]
    return np.array(texts, dtype=object), None


class _Reader:
    def __init__(self, file: BinaryIO, short: bool = False) -> None:
        self.file: Any = file
        self.short = short
        self.symbols: list[str] = []
        self.left = None
        if file.seekable():
            here = file.tell()
            self.left = file.seek(0, os.SEEK_END) - here
            file.seek(here)

    def take(self, size: int) -> bytes:
        """So many bytes, all of them."""
        self._counted(size)
        content = self.file.read(size)
        if len(content) < size:
            raise ValueError("what R sent ends too early")
        return content

    def _counted(self, size: int) -> None:
        """Accept a length only if the file contains that much."""
        if size < 0:
            raise ValueError("what R sent is damaged (a negative length)")
        if self.left is not None:
            self.left -= size
            if self.left < 0:
                raise ValueError("what R sent ends too early")

    def item(self) -> Any:
        flags = self._integer()
        kind = flags & 0xFF
        if kind == _NIL:
            return None
        if kind == _S4:
            return self._s4(self._attributes(self.short))
        if kind == _CHAR:
            return self._char(flags)
        if kind not in (_LOGICAL, _INTEGER, _REAL, _STRING, _LIST, _RAW):
            raise ValueError(f"R sent a value of a kind that is not read here ({kind})")
        length = self._length()
        if length < 0:
            raise ValueError("what R sent is damaged (a negative length)")
        value: Any
        if kind == _STRING:
            value = [self._char(self._integer()) for _ in range(length)]
        elif kind == _LIST:
            value = [self.item() for _ in range(length)]
        else:
            value = self._array(kind, length)
        attributes = self._attributes() if flags & _HAS_ATTRIBUTES else {}
        return _with_attributes(kind, value, attributes)

    def _integer(self) -> int:
        return struct.unpack("<i", self.take(4))[0]

    def _length(self) -> int:
        length = self._integer()
        if length == -1:
            high, low = struct.unpack("<iI", self.take(8))
            length = (high << 32) + low
        return length

    def _char(self, flags: int) -> str | None:
        length = self._integer()
        if length == -1:
            return None
        return self.take(length).decode("latin-1" if flags & _LATIN1 else "utf-8", "replace")

    def _array(self, kind: int, length: int) -> np.ndarray:
        dtype = {_REAL: np.float64, _RAW: np.uint8}.get(kind, np.int32)
        self._counted(length * np.dtype(dtype).itemsize)
        array = np.empty(length, dtype)
        # no copy beside the one in the file; a pipe or a full buffer may give less than asked for
        view, done = array.data.cast("B") if length else memoryview(b""), 0
        while done < len(view):
            count = self.file.readinto(view[done:])
            if not count:
                raise ValueError("what R sent ends too early")
            done += count
        return array

    def _short_array(self) -> np.ndarray:
        """A vector of doubles as float32, unless that would change one of them."""
        flags = self._integer()
        if flags != _REAL:
            raise ValueError("the values of a sparse matrix of R are not numbers")
        length = self._length()
        array, done = np.empty(length, np.float32), 0
        while done < length:
            piece = self._array(_REAL, min(_PIECE, length - done))
            if array.dtype == np.float32 and not (np.abs(piece) <= _EXACT).all():
                array = array.astype(np.float64)
            if array.dtype == np.float32 and (piece != np.trunc(piece)).any():
                array = array.astype(np.float64)
            array[done : done + len(piece)] = piece
            done += len(piece)
        return array

    def _attributes(self, short: bool = False) -> dict[str, Any]:
        attributes = {}
        while (flags := self._integer()) & 0xFF != _NIL:
            if flags & _HAS_ATTRIBUTES:
                self._attributes()
            tag = self._symbol() if flags & _HAS_TAG else ""
            attributes[tag] = self._short_array() if short and tag == "x" else self.item()
        return attributes

    def _symbol(self) -> str:
        flags = self._integer()
        if flags & 0xFF == _REF:
            return self.symbols[(flags >> 8 or self._integer()) - 1]
        self.symbols.append(self._char(self._integer()) or "")
        return self.symbols[-1]

    def _s4(self, slots: dict[str, Any]) -> Any:
        if slots.get("class") != ["dgCMatrix"]:
            raise ValueError(f"R sent an object of class {slots.get('class')}")
        n_features, n_cells = (int(size) for size in slots["Dim"])
        features, cells = slots["Dimnames"]
        vectors = (slots["x"], slots["i"], slots["p"])
        matrix = sp.csr_matrix(vectors, shape=(n_cells, n_features), copy=False)
        check_structure(matrix, "a sparse matrix of R")
        return Named(matrix, cells, features)


def _with_attributes(kind: int, value: Any, attributes: dict[str, Any]) -> Any:
    classes = attributes.get("class") or []
    if "factor" in classes:
        codes = value.astype(np.int64)
        codes = np.where(codes == _NA_INTEGER, 0, codes) - 1
        levels = attributes["levels"] or []
        return pd.Categorical.from_codes(codes, levels, ordered="ordered" in classes)
    if "data.frame" in classes:
        return _frame(value, attributes)
    if kind == _LOGICAL:
        value = _logical(value)
    if "dim" in attributes and isinstance(value, np.ndarray):
        return value.reshape(tuple(int(size) for size in attributes["dim"]), order="F")
    if kind == _LIST and attributes.get("names") is not None:
        return dict(zip(attributes["names"], value, strict=True))
    return value


def _logical(values: np.ndarray) -> Any:
    missing = values == _NA_INTEGER
    if missing.any():
        return pd.arrays.BooleanArray(values == 1, missing)
    return values == 1


def _frame(columns: list[Any], attributes: dict[str, Any]) -> pd.DataFrame:
    rows = attributes["row.names"]
    if isinstance(rows, np.ndarray):  # R writes 1, 2, ..., n as NA, -n
        compact = len(rows) == 2 and rows[0] == _NA_INTEGER
        rows = range(abs(int(rows[1]))) if compact else rows
    names = attributes.get("names") or []
    frame = pd.DataFrame(index=pd.Index(rows))
    filled = {name: _column(column) for name, column in zip(names, columns, strict=True)}
    return pd.DataFrame(filled, index=frame.index) if filled else frame


def _column(values: Any) -> Any:
    if isinstance(values, np.ndarray) and values.dtype == np.int32:
        missing = values == _NA_INTEGER
        if missing.any():
            return pd.arrays.IntegerArray(np.where(missing, 0, values), missing)
    if isinstance(values, list):
        return np.array(values, dtype=object)
    return values
