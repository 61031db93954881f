"""Which kind of file or folder holds paired cells; messages about those that cannot be read."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py

from ..errors import InputError, InputNote, first_line
from ..modalities import MODALITIES, listed
from ..words import name_some
from .claims import check_hdf5, check_zarr
from .names import names_of_modalities

ACCEPTED = (
    "give a folder with rna.h5ad and atac.h5ad, an .h5mu, an .h5ad, a 10x .h5, a MatrixMarket "
    "folder or a Seurat or SingleCellExperiment .rds"
)
# The files of a MatrixMarket folder, each with all its possible names, the current one first: Cell
# Ranger 2 wrote genes.tsv, Cell Ranger ATAC writes peaks.bed.
MATRIX_FILES = (("matrix.mtx",), ("features.tsv", "genes.tsv", "peaks.bed"), ("barcodes.tsv",))
_PAIR_KINDS = (".h5ad", ".zarr")
# Files that Cell Ranger (ARC, multi, ATAC) writes to its run folder, and which of them are read.
_OUTS = tuple(
    f"{kind}_bc_matrix{ending}"
    for kind in ("filtered_feature", "sample_filtered_feature", "filtered_peak")
    for ending in (".h5", "")
)
_FRAGMENTS = ("atac_fragments.tsv.gz", "fragments.tsv.gz", "atac_fragments.tsv", "fragments.tsv")


def is_zarr(path: Path) -> bool:
    """Whether a path is that of a zarr, by its name."""
    return path.suffix.lower() == ".zarr"


def inside_outs(path: Path) -> Path:
    """The filtered matrix in the `outs` folder of Cell Ranger ARC; any other path as it is."""
    if path.is_dir() and not is_zarr(path) and pair_files(path) is None:
        if plain_or_gzipped(path, "matrix.mtx") is None:
            return next((path / name for name in _OUTS if (path / name).exists()), path)
    return path


def fragments_beside(path: Path) -> Path:
    """The file of fragments in a folder or beside a file; InputError where there is none."""
    for folder in (path, path.parent):
        for name in _FRAGMENTS:
            if (folder / name).is_file():
                return folder / name
    raise InputError(
        f"there is no {_FRAGMENTS[0]} next to {path}; name the file of each sample with fragments"
    )


def has_layers(path: Path) -> bool:
    """Whether a file of this kind can have them."""
    if path.is_dir() and not is_zarr(path):
        return pair_files(path) is not None
    return path.suffix.lower() in (".h5ad", ".h5mu", ".zarr")


def refuse_layers(path: Path, layers: Mapping[str, str | None]) -> None:
    """Raise an error because this kind of file has no layers."""
    for modality, layer in layers.items():
        if layer is not None:
            is_rds = path.suffix.lower() == ".rds"
            other = (
                "; read_rds takes the name of an assay (rna_assay, peak_assay)" if is_rds else ""
            )
            raise InputError(
                f"{path} has no layers (only h5ad, h5mu and zarr have): leave out "
                f"{modality}_layer='{layer}'{other}"
            )


def files_read(path: Path) -> list[Path]:
    """The files that are read of a file or folder of cells; a zarr counts as one."""
    path = inside_outs(path)
    if not path.is_dir() or is_zarr(path):
        return [path]
    if (pair := pair_files(path)) is not None:
        return [*pair.values()]
    found = (plain_or_gzipped(path, *names) for names in MATRIX_FILES)
    return [file for file in found if file is not None]


def pair_files(folder: Path) -> dict[str, Path] | None:
    """The files of the modalities in a folder; None where there are none."""
    for kind in _PAIR_KINDS:
        files = {modality: folder / f"{modality}{kind}" for modality in MODALITIES}
        if found := {modality: file for modality, file in files.items() if file.exists()}:
            return found
    return None


def plain_or_gzipped(folder: Path, *names: str) -> Path | None:
    """A file in a folder, under any of its names, gzipped or not; None if absent."""
    candidates = (folder / f"{name}{ending}" for name in names for ending in ("", ".gz"))
    return next((file for file in candidates if file.exists()), None)


def holds_mudata(path: Path) -> bool:
    """Whether an HDF5 or zarr file holds a MuData, whatever its name; if not, an AnnData."""
    if is_zarr(path):
        return (path / "mod").exists()
    with damage_reported(path, f"{path.suffix[1:]} file"), h5py.File(path, "r") as file:
        if file.id.links.exists(b"matrix") and not file.id.links.exists(b"obs"):
            raise InputError(f"{path} holds a 10x matrix; give the file a name that ends in .h5")
        return file.id.links.exists(b"mod")


def names_in_mudata(names: Iterable[str], path: Path) -> dict[str, str]:
    """The names that a MuData file has for the modalities, by modality."""
    names = list(names)
    with in_file(path):
        found = names_of_modalities(names)
    if not found:
        has = ", ".join(repr(name) for name in names) or "none"
        raise InputError(
            f"{path} has none of the modalities {listed(MODALITIES)} (modalities: {has}); rename "
            "those that are, to 'rna', 'atac', 'protein' or 'methylation'"
        )
    if others := [name for name in names if name not in found.values()]:
        warnings.warn(
            f"{path}: modalities other than {listed(MODALITIES)} are left out "
            f"({name_some(others)})",
            InputNote,
            stacklevel=4,
        )
    return found


def check_container(path: Path) -> None:
    """Refuse an HDF5 file or a zarr folder that claims more than it holds."""
    (check_zarr if is_zarr(path) else check_hdf5)(path)


@contextmanager
def in_file(path: Path) -> Iterator[None]:
    """Put the path in front of a refusal."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


@contextmanager
def damage_reported(path: Path, kind: str) -> Iterator[None]:
    """Turn what libraries raise on damaged files into one sentence."""
    try:
        yield
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error
    except MemoryError as error:
        raise InputError(
            f"{path} does not fit into memory; leave its counts on disk with backed=True, or "
            "give a smaller part of it"
        ) from error
    except BlockingIOError as error:  # HDF5 has locked it
        raise InputError(
            f"{path} is open for writing in another program; close it there first"
        ) from error
    except PermissionError as error:
        raise InputError(f"{path} cannot be opened: permission denied") from error
    except Exception as error:  # many error types, depending on which byte is damaged
        if "does not support dtype" in str(error):  # big-endian numbers, or of half precision
            raise InputError(
                f"{path} has a sparse matrix of a type that cannot be read into memory "
                f"({first_line(error).partition('. ')[0]}); leave its counts on disk with "
                "backed=True, or write it again"
            ) from error
        raise InputError(
            f"{path} is not a readable {kind} (damaged or truncated?): {first_line(error)}; copy "
            "or write it again"
        ) from error
