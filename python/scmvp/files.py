"""Files and folders that appear whole: written beside their place, flushed to disk, then moved.

Even after a crash or a power failure, the file has either its old or its new content. A hidden
sibling file that ends in `.scmvp-partial` may be left over; it is harmless and can be
deleted.
"""

from __future__ import annotations

import ctypes
import io
import json
import math
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .progress import Report, no_report

SUFFIX = ".scmvp-partial"
_PIECE = 16 << 20  # bytes read at a time
_ENDINGS = {
    "HDF5": (".h5", ".hdf5", ".h5ad"),
    "CSV": (".csv", ".txt"),
    "HTML": (".html", ".htm"),
    "of another format": (".h5mu", ".zarr", ".rds", ".tsv", ".gz", ".zip", ".xlsx", ".parquet",
                          ".mtx", ".npy", ".npz", ".pdf", ".json"),
}  # fmt: skip


def as_path(path: str | os.PathLike) -> Path:
    """What a caller gives as a path, with ~ as the home folder; InputError when it is none."""
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"{path!r} is not a path; give the path of a file or folder as text")
    if not os.fspath(path):  # Path("") would be the current folder
        raise InputError("a path is empty; give the path of a file or folder")
    with suppress(RuntimeError):  # a name that begins with ~ and is no user's
        return Path(path).expanduser()
    return Path(path)


def json_text(content: Any, indent: int | None = None) -> str:
    """JSON that every parser takes: no NumPy types, and null for what is not finite."""
    return json.dumps(plain(content), indent=indent, allow_nan=False, default=str)


def plain(value: Any) -> Any:
    """The same in lists, dicts and numbers of Python; None for what is not finite."""
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class WatchedFile(io.FileIO):
    """A file to read, of which the fraction that was read is reported.

    A library that reads from it returns to Python for every piece, so an interrupt can stop it.
    """

    def __init__(self, path: Path, report: Report = no_report):
        super().__init__(path, "r")
        self._path, self._report = path, report
        self._seen, self._size = 0, max(path.stat().st_size, 1)

    def __fspath__(self) -> str:
        return str(self._path)

    def readinto(self, buffer) -> int:
        """Fill the buffer, as far as there is something."""
        view, start = memoryview(buffer).cast("B"), 0
        while start < len(view) and (n := super().readinto(view[start : start + _PIECE])):
            start += n
            self._count(n)
        return start

    def read(self, size: int | None = -1) -> bytes:
        """At most so many bytes."""
        content = super().read(-1 if size is None else size)
        self._count(len(content))
        return content

    def _count(self, n: int) -> None:
        self._seen += n
        self._report(self._seen / self._size)


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """A sibling to write into that takes the place of `path` when everything is written.

    Two programs may write the same file at once: that of the last one to finish stays.

    Raises:
        InputError: `path` is there and is not a file, such as /dev/null.
        OSError: It cannot be written; `filename` is `path`.
    """
    target = _followed(path)
    refuse_no_file(Path(path))
    partial = _beside(target)
    try:
        with _named_as(partial, path):
            yield partial
            _sync(partial)
            if target.exists():
                shutil.copymode(target, partial)
            os.replace(partial, target)
            _sync_folder(target.parent)
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def whole_folder(path: str | os.PathLike, replace: bool = False) -> Iterator[Path]:
    """A sibling folder to fill that takes the place of `path` when everything is written.

    Args:
        path: Folder to make; its parents are made, too.
        replace: Whether it may take the place of a folder that holds something.

    Raises:
        InputError: Meanwhile another program has made the folder; the sentence says where the new
            one is.
        OSError: It cannot be written.
    """
    target = _followed(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(target)
    try:
        with _named_as(partial, path):
            partial.mkdir()
            yield partial
            for folder, _, names in os.walk(partial, topdown=False):
                for name in names:
                    _sync(Path(folder, name))
                _sync_folder(Path(folder))
            if not replace and target.is_dir() and any(target.iterdir()):
                _refuse_second(partial, target)
            _take_place(partial, target)
            _sync_folder(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Wait until no other process is in this context of the same folder; no lock is left behind."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def writable(
    path: str | os.PathLike, sources: Iterable[Path] = (), written: str | None = None
) -> Path:
    """The path, if a file can be made there: checked before anything is computed.

    Args:
        path: The file to make or replace.
        sources: What is read meanwhile, and must stay: see `refuse_source`.
        written: Format of the file, of which its ending must not be another one.
    """
    path = as_path(path)
    if path.is_dir():
        raise InputError(f"'{path}' is a folder; name a file")
    if not path.absolute().parent.is_dir():
        raise InputError(f"'{path}' cannot be made: there is no folder '{path.parent}'")
    if not os.access(path.absolute().parent, os.W_OK):
        raise InputError(f"'{path}' cannot be made: '{path.parent}' is not a writable folder")
    refuse_no_file(path)
    refuse_source(path, sources)
    if written is not None:
        _refuse_format(path, written)
    return path


def _refuse_format(path: Path, written: str) -> None:
    """Refuse an ending that is of another format than what is `written` there."""
    known = [kind for kind, endings in _ENDINGS.items() if path.suffix.lower() in endings]
    if known and known != [written]:
        raise InputError(
            f"the output is {written}, but '{path}' has the ending of another format; give a name "
            f"that ends in {_ENDINGS[written][0]}"
        )


def takes_folders(folder: Path) -> bool:
    """Whether a folder can be made in one that is there; access() says so of /proc, too."""
    try:
        Path(tempfile.mkdtemp(SUFFIX, ".", folder)).rmdir()
    except OSError:
        return False
    return True


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Identifies a file or folder, to detect a later replacement; None if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def refuse_source(path: Path, sources: Iterable[Path]) -> None:
    """Refuse to write what is read, by whatever name it goes.

    Args:
        path: What is to be written.
        sources: Files, and folders that are read as a whole, such as a zarr.
    """
    target = _followed(path)
    for source in sources:
        if source.exists() and _is_at(target, source):
            raise InputError(
                f"'{path}' would replace what is read from '{source}'; name another place"
            )


def refuse_no_file(path: Path) -> None:
    """Refuse to replace a device or a pipe by a file, or the file that a stream writes to."""
    is_other = path.exists() and not path.is_file() and not path.is_dir()
    if is_other or _leads_to_stream(path):
        raise InputError(f"'{path}' is not a file but a device or a pipe; name a file")


def _leads_to_stream(path: Path) -> bool:
    """Whether it is one like /dev/stdout, or a link to it: its file is open under another name."""
    for _ in range(40):  # links, as many as Linux follows
        path = _followed(path.absolute().parent) / path.name
        if str(path.parent) in ("/dev", "/dev/fd") or Path("/proc") in path.parents:
            return True
        if not path.is_symlink():
            return False
        path = path.parent / path.readlink()
    return False


def _is_at(target: Path, source: Path) -> bool:
    """Whether they are the same, or one lies inside the other; `source` is there."""
    around = (place for place in (target, *target.parents) if place.exists())
    return any(place.samefile(source) for place in around) or target in _followed(source).parents


def _followed(path: str | os.PathLike) -> Path:
    """The target of a link, so that the target is replaced and the link stays."""
    return Path(os.path.realpath(path))


def _beside(target: Path) -> Path:
    # short enough for a name of any length, in letters of up to four bytes
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}{SUFFIX}")


@contextmanager
def _named_as(partial: Path, path: str | os.PathLike) -> Iterator[None]:
    """Errors are about the file that was asked for, not about the one beside it."""
    try:
        yield
    except OSError as error:
        name = str(error.filename)
        if error.errno is None or not (name.startswith(str(partial)) or error.filename is None):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make renames in it last; not all systems and file systems can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    with suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)


def _refuse_second(partial: Path, target: Path) -> None:
    other = target.with_name(f"{target.name}-{secrets.token_hex(2)}")
    partial.rename(other)
    raise InputError(
        f"another program has written {target} in the meantime; this result is in {other}"
    )


def _take_place(partial: Path, target: Path) -> None:
    """Move `partial` to `target`; what was there is at `partial` afterwards."""
    try:
        partial.rename(target)  # nothing there, or an empty folder
    except OSError:
        if not target.is_dir():
            raise
        if not _exchange(partial, target):
            earlier = _beside(target)
            target.rename(earlier)
            partial.rename(target)
            earlier.rename(partial)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    known = {"linux": ("renameat2", True), "darwin": ("renamex_np", False)}
    if sys.platform not in known:
        return False
    (name, at), flag = known[sys.platform], 2
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return False
    here = -100  # AT_FDCWD
    paths = [os.fsencode(one), os.fsencode(other)]
    arguments = [here, paths[0], here, paths[1], flag] if at else [*paths, flag]
    return function(*arguments) == 0
