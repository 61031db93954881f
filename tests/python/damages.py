"""Files damaged in many ways, read in a process of bounded memory, and what came of it.

What may come of a damage: the same content as before (nothing that matters was hit), a refusal in
one sentence that names the file, or, where the file has no checksum over the byte that was hit,
other content (`Kind.may_differ` says where that is).
"""

from __future__ import annotations

import hashlib
import multiprocessing
import resource
import shutil
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from scmvp.data.checks import check_paired
from scmvp.errors import InputError

MEMORY = 1 << 30  # that reading a damaged file may take
SECONDS = 30


def digest_of_cells(data, path: Path) -> str:
    """Of everything that a model would read."""
    try:
        paired = check_paired(data)
    except InputError as error:  # cells in memory have no file
        raise InputError(f"{path}: {error}") from error
    found = hashlib.sha256()
    for matrix in (paired.rna[:], paired.atac[:]):
        for part in (matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)):
            found.update(part.tobytes())
    for names in (paired.cells, paired.genes, paired.peaks):
        found.update("\0".join(names).encode())
    if hasattr(data, "obs"):
        found.update(data.obs.to_csv().encode())
    return found.hexdigest()


@dataclass
class Kind:
    """A file or folder that is read.

    Attributes:
        source: It, whole; damages are done to copies.
        read: Gives a digest of what was read.
        may_differ: Whether other content may come of a changed byte, given file and offset.
        damaged: Names of the files in the folder that are damaged; all when empty.
    """

    source: Path
    read: Callable[[Path], str]
    may_differ: Callable[[Path, int], bool] = lambda file, offset: False
    damaged: tuple[str, ...] = ()

    def files(self) -> list[str]:
        if not self.source.is_dir():
            return [""]
        names = [p.relative_to(self.source).as_posix() for p in self.source.rglob("*")]
        files = [name for name in sorted(names) if (self.source / name).is_file()]
        return [name for name in files if not self.damaged or name in self.damaged]


@dataclass
class Damage:
    """What is done to one file of a copy."""

    name: str
    file: str
    do: Callable[[Path], None]
    offset: int | None = None  # of the byte that is changed
    must_refuse: bool = False


def cut(share: float) -> Callable[[Path], None]:
    """Keep the first part of a file."""

    def do(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return do


def flip(offset: int, bit: int) -> Callable[[Path], None]:
    """Change one bit."""

    def do(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[offset] ^= 1 << bit
        path.write_bytes(bytes(content))

    return do


def usual_damages(kind: Kind, seed: int, n_flips: int, most_files: int = 5) -> Iterator[Damage]:
    """Every file cut at each tenth, and bits flipped anywhere."""
    rng = np.random.default_rng(seed)
    files = kind.files()
    if len(files) > most_files:
        files = [files[i] for i in sorted(rng.choice(len(files), most_files, replace=False))]
    for file in files:
        for tenth in range(10):
            yield Damage(f"{file or kind.source.name} cut at {tenth}/10", file, cut(tenth / 10))
        size = (kind.source / file).stat().st_size
        for offset in rng.integers(size, size=n_flips) if size else ():
            bit = int(rng.integers(8))
            name = f"{file or kind.source.name}, bit {bit} of byte {offset}"
            yield Damage(name, file, flip(int(offset), bit), int(offset))


def outcome_of(kind: Kind, damage: Damage, copy: Path, whole: str) -> str:
    """'same', 'refused', 'noted' (other content, with a note), 'differs', or what is wrong."""
    place = copy / damage.file if damage.file else copy
    original = kind.source / damage.file if damage.file else kind.source
    before = place.read_bytes() if place.is_file() else None
    damage.do(place)
    if before is not None and place.is_file() and place.read_bytes() == before:
        return "same"
    try:
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            found = kind.read(copy)
    except InputError as error:
        sentence = str(error)
        if "\n" in sentence or len(sentence) > 2000 or str(copy) not in sentence:
            return f"not one sentence with the file: {sentence[:300]!r}"
        return "refused"
    except BaseException:
        return traceback.format_exc(limit=-3)
    if found == whole:
        return "same" if not damage.must_refuse else "it was read as if nothing were wrong"
    if damage.must_refuse:
        return "it was read"
    if any("has no label" in str(note.message) for note in notes):
        return "noted"
    if kind.may_differ(original, -1 if damage.offset is None else damage.offset):
        return "differs"
    return "other content came of it without a word"


def _limited() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _child(kind: Kind, damages: list[Damage], root: Path, pipe) -> None:
    copy = root / kind.source.name
    _restore(kind, copy)
    whole = kind.read(copy)  # before the limit: what is imported late is imported
    _restore(kind, copy)
    _limited()
    for damage in damages:
        pipe.send(damage.name)
        signal.alarm(SECONDS)  # its default ends the process, also in compiled code
        pipe.send(outcome_of(kind, damage, copy, whole))
        signal.alarm(0)
        _restore(kind, copy, damage.file)


def _restore(kind: Kind, copy: Path, file: str | None = None) -> None:
    """Make the copy what the source is; where one file is named, only that one."""
    if file:
        shutil.copy(kind.source / file, copy / file)
    elif kind.source.is_dir():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(kind.source, copy)
    else:
        shutil.copy(kind.source, copy)


def run(kind: Kind, damages: list[Damage], root: Path) -> list[str]:
    """Read the file with each damage; what went wrong, in words."""
    assert damages
    root.mkdir()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        process = context.Process(target=_child, args=(kind, damages, root, theirs))
        process.start()
    theirs.close()
    wrong, at, tried = [], "the whole file", 0
    try:
        while True:
            at = ours.recv()
            outcome = ours.recv()
            tried += 1
            if outcome not in ("same", "refused", "noted", "differs"):
                wrong.append(f"{at}: {outcome}")
    except EOFError:
        process.join()
    if process.exitcode:
        wrong.append(f"{at}: the process ended with {process.exitcode}")
    elif tried != len(damages):
        wrong.append(f"{at}: not all damages were tried")
    return wrong


def compressed_ranges(path: Path) -> list[tuple[int, int]]:
    """Where an HDF5 file has bytes with a checksum: its deflated chunks."""
    ranges = []

    def visit(_: str, part) -> None:
        if isinstance(part, h5py.Dataset) and part.compression == "gzip":
            for i in range(part.id.get_num_chunks()):
                chunk = part.id.get_chunk_info(i)
                ranges.append((chunk.byte_offset, chunk.byte_offset + chunk.size))

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return ranges


def outside_compressed(path: Path, offset: int) -> bool:
    """Whether HDF5 has no checksum over a byte."""
    return offset >= 0 and not any(a <= offset < b for a, b in compressed_ranges(path))
