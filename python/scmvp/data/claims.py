"""Checks the sizes that a file declares against its content before the file is read.

A header of a few bytes can request more memory than available, or refer to another file or to
itself. Nothing here reads values.
"""

from __future__ import annotations

import gzip
import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.sparse as sp

from ..errors import InputError
from ..files import WatchedFile
from ..progress import Report, no_report
from ..words import count_of

_SMALL = 64 << 20  # bytes that are always accepted
# Largest plausible decompression ratio. The limit of zlib is 1,032; some other filters store long
# runs of one value in a few bytes.
_DEFLATED, _OTHERWISE = 1100, 20_000
# Text of counts and names compresses 5- to 8-fold; a much higher ratio indicates other content.
_TEXT = 20
_MOST_PARTS = 1_000_000
_DEEPEST = 100
_KNOWN_FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)


def open_hdf5(path: Path, source: WatchedFile | None = None) -> h5py.File:
    """An HDF5 file, all of whose content is in it.

    Args:
        path: Path of the file.
        source: The same file, to read it from.

    Raises:
        InputError: A link or a dataset leads to another file or nowhere, groups hold each other, or
            a dataset claims more than is stored.
        OSError, RuntimeError, KeyError: h5py's, of a damaged file.
    """
    file = h5py.File(path if source is None else source, "r")
    try:
        _Walk(path).group(file, (_address(file),))
    except BaseException:
        file.close()
        raise
    return file


def check_hdf5(path: Path) -> None:
    """`open_hdf5` for those who open it themselves."""
    open_hdf5(path).close()


class _Walk:
    def __init__(self, path: Path) -> None:
        self.path, self.size = path, path.stat().st_size
        self.parts: dict[int, int] = {}  # number of parts of each visited group, by address

    def refuse(self, what: str) -> None:
        raise InputError(f"{self.path} cannot be trusted: {what}; write it again as one plain file")

    def group(self, group: h5py.Group, inside: tuple[int, ...]) -> int:
        """Number of parts found if all links in the group are followed."""
        n = 0
        for name in group:
            n += 1
            where = f"'{group.name.rstrip('/')}/{name}'"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                self.refuse(f"{where} is a link to another file")
            part = group.get(name)
            if part is None:
                self.refuse(f"{where} is a link to nothing")
            if isinstance(part, h5py.Dataset):
                self.dataset(part, where)
            elif isinstance(part, h5py.Group):
                address = _address(part)
                if address in inside or len(inside) > _DEEPEST:
                    self.refuse(f"{where} holds itself")
                if address not in self.parts:
                    self.parts[address] = self.group(part, (*inside, address))
                n += self.parts[address]
            if n > _MOST_PARTS:
                self.refuse(f"{where} holds more parts than can be read")
        if "indptr" in group and not _fits(group, group["indptr"]):
            self.refuse(f"the rows of '{group.name}' are not as many as it claims")
        return n

    def dataset(self, dataset: h5py.Dataset, where: str) -> None:
        plist = dataset.id.get_create_plist()
        if plist.get_external_count() or dataset.is_virtual:
            self.refuse(f"the values of {where} are in another file")
        if not dataset.size:
            return
        claimed = dataset.size * dataset.dtype.itemsize
        stored = min(dataset.id.get_storage_size(), self.size)
        most = stored
        if dataset.chunks is not None:
            sizes = zip(dataset.shape, dataset.chunks, strict=True)
            chunks = math.prod(-(-length // of_chunk) for length, of_chunk in sizes)
            if dataset.id.get_num_chunks() < chunks:
                self.refuse(f"parts of {where} were never written")
            filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
            known = all(one in _KNOWN_FILTERS for one in filters)
            claimed = max(claimed, math.prod(dataset.chunks) * dataset.dtype.itemsize)
            most = max(_SMALL, stored * (_DEFLATED if known else _OTHERWISE))
        if claimed > most:
            self.refuse(
                f"{where} claims {count_of(claimed, 'byte')}, of which {stored:,} are stored"
            )


def _fits(group: Any, indptr: Any) -> bool:
    """Whether a sparse matrix of an AnnData file has the rows (columns, by columns) it claims."""
    side = {"csr_matrix": 0, "csc_matrix": 1}.get(group.attrs.get("encoding-type"))
    if side is None or "shape" not in group.attrs:
        return True
    return tuple(indptr.shape) == (int(group.attrs["shape"][side]) + 1,)


def _address(part: h5py.Group) -> int:
    return h5py.h5o.get_info(part.id).addr


def check_zarr(path: Path) -> None:
    """Refuse arrays that claim more than is stored, and sparse matrices with parts missing."""
    import zarr

    stored = sum(
        Path(folder, name).stat().st_size for folder, _, names in os.walk(path) for name in names
    )
    most = max(_SMALL, stored * _OTHERWISE)
    for name, array, group in _arrays(zarr.open_group(str(path), mode="r")):
        claimed = max(array.size, math.prod(array.chunks)) * array.dtype.itemsize
        if claimed > most:
            raise InputError(
                f"{path} cannot be trusted: '{name}' claims {count_of(claimed, 'byte')}, of which "
                f"at most {stored:,} are stored; write it again"
            )
        if name.endswith("indptr") and not _fits(group, array):
            raise InputError(
                f"{path} cannot be trusted: the rows of '{name}' are not as many as it claims; "
                "write it again"
            )
        sparse = name.rpartition("/")[2] in ("data", "indices", "indptr")
        if sparse and array.size and array.nchunks_initialized < array.nchunks:
            raise InputError(
                f"{path} is damaged: parts of '{name}' are missing; copy or write it again"
            )


def _arrays(group: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Names, arrays, and the groups that these are in."""
    for name, array in group.arrays():
        yield f"{prefix}{name}", array, group
    for name, inner in group.groups():
        yield from _arrays(inner, f"{prefix}{name}/")


class _BoundedGzip(gzip.GzipFile):
    """Stops where a small file becomes a very large text."""

    def __init__(self, path: Path, source: WatchedFile) -> None:
        super().__init__(fileobj=source, mode="rb")
        self.path, self.left = path, max(_SMALL, _TEXT * path.stat().st_size)

    def read(self, size: int | None = -1) -> bytes:
        size = -1 if size is None else size
        return self._counted(super().read(self.left + 1 if size < 0 else size))

    def read1(self, size: int = -1) -> bytes:
        return self._counted(super().read1(size))

    def _counted(self, content: bytes) -> bytes:
        self.left -= len(content)
        self.refuse_too_large()
        return content

    def refuse_too_large(self) -> None:
        if self.left < 0:
            raise InputError(
                f"{self.path} becomes more than {_TEXT} times larger when decompressed, unlike "
                "tables of cells, features or counts; if the file is correct, decompress it first"
            )


@contextmanager
def open_text(
    path: Path, report: Report = no_report
) -> Iterator[io.BufferedReader | gzip.GzipFile]:
    """A plain or gzipped text, to read bytes from; the fraction that was read is reported.

    Raises:
        InputError: It unpacks to what no table is.
    """
    with WatchedFile(path, report) as source:
        if path.suffix != ".gz":
            yield io.BufferedReader(source)
            return
        with _BoundedGzip(path, source) as file:
            yield file
            file.refuse_too_large()  # some readers treat an error as the end of the file


def check_matrix_market(path: Path, shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns that a MatrixMarket file claims.

    Raises:
        InputError: It claims these, and more values than can be in it.
    """
    with open_text(path) as file:
        line = file.readline(4096)
        while line.startswith(b"%") or line.strip() == b"":
            if not line:
                raise InputError(
                    f"{path} is not a readable MatrixMarket file (truncated?); copy it"
                )
            line = file.readline(1 << 20)
    numbers = line.split()
    if len(numbers) not in (2, 3) or not all(number.isdigit() for number in numbers):
        raise InputError(
            f"{path} is not a readable MatrixMarket file (damaged?): it does not state its size"
        )
    rows, columns, *n_values = (int(number[:40]) for number in numbers)
    unpacked = path.stat().st_size * (_TEXT if path.suffix == ".gz" else 1) + _SMALL
    for n in n_values if (rows, columns) == shape else ():
        if n > rows * columns or 4 * n > unpacked:  # a line has at least "1 1\n"
            raise InputError(
                f"{path} is damaged: it claims {count_of(n, 'value')}, more than can be in it; "
                "write it again"
            )
    return rows, columns


def check_structure(matrix: Any, what: str) -> None:
    """Reject a compressed sparse matrix whose indices are out of bounds.

    Such indices make compiled code read and write elsewhere in memory.
    """
    if sp.issparse(matrix) and matrix.format in ("csr", "csc"):
        n_rows, n_columns = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
        check_rows(matrix.indptr, n_rows, len(matrix.indices), len(matrix.data), what)
        check_columns(matrix.indices, n_columns, what)


def check_rows(indptr: np.ndarray, n_rows: int, n_indices: int, n_values: int, what: str) -> None:
    """`check_structure` of where rows begin and end."""
    whole = indptr.dtype.kind in "iu" and len(indptr) == n_rows + 1 and indptr[0] == 0
    if (
        not whole
        or (indptr[1:] < indptr[:-1]).any()
        or indptr[-1] > n_indices
        or n_indices != n_values
    ):
        raise InputError(f"{what} is damaged: its rows do not add up; make the file again")


def check_columns(indices: np.ndarray, n_columns: int, what: str) -> None:
    """`check_structure` of the columns of values."""
    whole = indices.dtype.kind in "iu"
    if not whole or (len(indices) and (indices.min() < 0 or indices.max() >= n_columns)):
        raise InputError(f"{what} is damaged: it has entries beyond its size; make the file again")
