"""Imputed values as an HDF5 file, written by a thread of its own."""

from __future__ import annotations

import io
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import write_elem

from ..arguments import Names
from ..files import whole_file

_WAIT = 0.05  # seconds until a thread looks whether the other one has ended


def write_blocks(
    path: Path,
    blocks: Iterator[np.ndarray],
    cells: Names,
    features: Names,
    threshold: float | None,
    about: dict[str, object],
) -> None:
    """Write imputed blocks as an .h5ad-readable HDF5 file; an incomplete file is never left.

    `X` is (cells, features): a chunked float32 array, or CSR of the values >= `threshold`. The
    names are `obs` and `var`, what made the values is in the attributes of the file.
    """
    shape = (len(cells), len(features))

    def write(given: Iterator[np.ndarray]) -> None:
        with _Target(partial, "w+b") as target, target.first_reason():
            with h5py.File(target, "w") as file:
                file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"} | about)
                write_elem(file, "obs", pd.DataFrame(index=pd.Index(cells, dtype=str)))
                write_elem(file, "var", pd.DataFrame(index=pd.Index(features, dtype=str)))
                given = target.checked(given)
                if threshold is None:
                    _write_dense(file, given, shape)
                else:
                    _write_sparse(file, given, shape, threshold)

    with whole_file(path) as partial:
        _Writer(write).take(blocks)


class _Stopped(Exception):
    """There are no more blocks, although not all were given."""


class _Writer:
    """Hands blocks to a thread that writes them.

    HDF5 writes through methods of the Python file object. A KeyboardInterrupt raised in such a
    method is lost in HDF5, which then assumes that the data was written. Python raises it only in
    the main thread, so writing is done in another thread.

    Args:
        write: Takes the blocks.
    """

    def __init__(self, write: Callable[[Iterator[np.ndarray]], None]):
        self._write = write
        self._given: queue.Queue[np.ndarray] = queue.Queue(maxsize=1)
        self._may_start, self._last, self._stopped, self._ended = (
            threading.Event() for _ in range(4)
        )
        self._failure: BaseException | None = None

    def take(self, blocks: Iterator[np.ndarray]) -> None:
        """Write blocks that are computed meanwhile, by the thread of the caller."""
        started = False
        try:
            # It does nothing yet: an interrupt may come before we know whether there is a thread.
            threading.Thread(target=self._run, daemon=True).start()
            started = True
            self._may_start.set()
            for block in blocks:
                if not self._hand_over(block):
                    break
        except BaseException:
            self._stopped.set()
            self._may_start.set()
            raise
        finally:
            if started:
                self._wait()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        self._may_start.wait()
        try:
            if not self._stopped.is_set():
                self._write(self._blocks())
        except _Stopped:
            pass
        except BaseException as error:  # noqa: B902 - raised again by who waits
            self._failure = error
        finally:
            self._ended.set()

    def _blocks(self) -> Iterator[np.ndarray]:
        while True:
            try:
                yield self._given.get(timeout=_WAIT)
            except queue.Empty:
                if self._stopped.is_set():
                    raise _Stopped from None
                if self._last.is_set() and self._given.empty():
                    return

    def _hand_over(self, block: np.ndarray) -> bool:
        """Whether the writer still takes blocks."""
        while not self._ended.is_set():
            try:
                self._given.put(block, timeout=_WAIT)
                return True
            except queue.Full:
                pass
        return False

    def _wait(self) -> None:
        """Until the file is closed; an interrupt is raised then."""
        interrupt = None
        while True:
            try:
                self._last.set()
                self._ended.wait()
                break
            except KeyboardInterrupt as stop:
                interrupt = stop
                self._stopped.set()
        if interrupt is not None:
            raise interrupt


class _Target(io.FileIO):
    """A file that stores the reason why writing failed and does not report it to HDF5.

    HDF5 cannot close a file whose last writes failed; it tries again when the process ends, which
    may crash. It also reads back data that it assumes was written. Data that could not be written
    is therefore kept in memory until the next block is requested.
    """

    error: OSError | None = None

    def __init__(self, path: Path, mode: str):
        super().__init__(path, mode)
        self.kept: list[tuple[int, bytes]] = []  # where, and what

    def write(self, data) -> int:
        start, rest = self.tell(), memoryview(data).cast("B")
        end = start + len(rest)
        try:
            while len(rest) and self.error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        if len(rest):
            self.kept.append((end - len(rest), bytes(rest)))
        super().seek(end)
        return end - start

    def readinto(self, buffer) -> int:
        start, view = self.tell(), memoryview(buffer).cast("B")
        n = super().readinto(view)
        if self.error is None:
            return n
        view[n:] = bytes(len(view) - n)
        for where, content in self.kept:
            first, last = max(where, start), min(where + len(content), start + len(view))
            if first < last:
                view[first - start : last - start] = content[first - where : last - where]
        super().seek(start + len(view))
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        end = super().seek(offset, whence)
        if whence == os.SEEK_END and self.kept:
            ends = [where + len(content) for where, content in self.kept]
            end = super().seek(max(end, *ends))
        return end

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    @contextmanager
    def first_reason(self) -> Iterator[None]:
        """Raise the reason why writing failed, instead of the error that HDF5 derives from it."""
        try:
            yield
        except Exception:
            self.check()
            raise
        self.check()

    def check(self) -> None:
        """Raise the error, if writing has failed."""
        if self.error is not None:
            raise OSError(self.error.errno, self.error.strerror, str(self.name))

    def checked(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The same blocks, as long as what came before them could be written."""
        for block in blocks:
            self.check()
            yield block


def _write_dense(file: h5py.File, blocks: Iterator[np.ndarray], shape: tuple[int, int]) -> None:
    chunks = tuple(min(n, wanted) for n, wanted in zip(shape, (256, 1024), strict=True))
    dataset = file.create_dataset(
        "X", shape, "float32", chunks=chunks, compression="gzip", compression_opts=1
    )
    dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    start = 0
    for block in blocks:
        dataset[start : start + len(block)] = block
        start += len(block)


def _write_sparse(
    file: h5py.File, blocks: Iterator[np.ndarray], shape: tuple[int, int], threshold: float
) -> None:
    group = file.create_group("X")
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
    growing = {"maxshape": (None,), "chunks": (1 << 16,), "compression": "gzip"}
    data = group.create_dataset("data", (0,), "float32", **growing)
    indices = group.create_dataset("indices", (0,), "int32", **growing)
    indptr = [np.zeros(1, np.int64)]
    for block in blocks:
        part = sp.csr_matrix(np.where(block >= threshold, block, 0))
        end = len(data) + part.nnz
        for dataset, values in ((data, part.data), (indices, part.indices)):
            dataset.resize((end,))
            dataset[end - part.nnz :] = values
        indptr.append(part.indptr[1:].astype(np.int64) + indptr[-1][-1])
    group.create_dataset("indptr", data=np.concatenate(indptr))
