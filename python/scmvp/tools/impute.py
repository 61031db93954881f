"""Imputation: the decoder's mean at a latent, for chosen features, in blocks of cells."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata.io import write_elem

from ..arguments import Names, number, positive
from ..data.covariates import Batch
from ..data.scope import Scope
from ..files import whole_file
from ..fit.fitted import Fitted
from ..modalities import MODALITIES
from ..nn.module import PairedMixtureVAE
from ..nn.networks import Decoder
from ..progress import Listener, counted, followed

BLOCK_BYTES = 64 << 20  # of decoder output held at a time


def imputed(
    fit: Fitted,
    scope: Scope,
    latent: np.ndarray,
    modality: str,
    features: Names | None,
    library_size: float,
    batch: Batch,
) -> Iterator[np.ndarray]:
    """Imputed profiles of points of the latent, block by block.

    Args:
        fit: The model.
        scope: Its features and batches.
        latent: (n, D).
        modality: 'rna' or 'atac'.
        features: Names wanted; all modeled ones when None.
        library_size: Counts per cell over all modeled features.
        batch: To impute to; the average one when None.

    Raises:
        InputError: One of these is not of the model; raised before anything is computed.
    """
    scope.names(modality)
    library_size, latent = positive("library_size", library_size), fit.points(latent)
    columns, row = scope.columns(modality, features), scope.row(batch)
    return decode_blocks(fit.module, latent, modality, columns, library_size, row)


def to_file(
    fit: Fitted,
    scope: Scope,
    path: Path,
    latent: np.ndarray,
    modality: str,
    cells: Names,
    features: Sequence[str] | None,
    library_size: float,
    batch: Batch,
    threshold: float | None,
    log: bool,
    progress: bool | Listener,
) -> None:
    """Write `imputed` profiles to HDF5; the other arguments are those of `SCMVP.decode_to_file`."""
    if isinstance(features, Iterator):
        features = list(features)  # it is read twice
    blocks = imputed(fit, scope, latent, modality, features, library_size, batch)
    if log:
        blocks = map(np.log1p, blocks)
    names = scope.names(modality) if features is None else features
    about: dict[str, object] = {"scmvp_modality": modality}
    if not MODALITIES[modality].is_level:
        about["scmvp_library_size"] = float(library_size)
    if log:
        about["scmvp_log"] = True
    if batch is not None:
        about["scmvp_batch"] = str(batch)
    if threshold is not None:
        about["scmvp_threshold"] = threshold = number("threshold", threshold)
    n_blocks = -(-len(latent) // _block_cells(fit.module.decoders[modality]))
    name = f"imputing {MODALITIES[modality].group}"
    with followed(progress) as (stages, _), stages.stage(name) as report:
        write_blocks(path, counted(blocks, n_blocks, report), cells, names, threshold, about)


@torch.no_grad()
def decode_blocks(
    module: PairedMixtureVAE,
    latent: np.ndarray,
    modality: str,
    features: np.ndarray | None,
    library_size: float,
    design: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Mean counts at a stated library size, without background, or levels, in blocks of cells.

    Args:
        module: A fitted module, in evaluation mode.
        latent: (n, D), whitened.
        modality: 'rna' or 'atac'.
        features: Column numbers wanted, or None for all.
        library_size: Counts per cell that the means of all modeled features sum to; levels have
            none.
        design: Batch of all cells, (S,), where the model has batches.

    Yields:
        (block, f) float32.
    """
    decoder = module.decoders[modality]
    parameter, block = decoder.output.bias, _block_cells(decoder)
    columns = None if features is None else torch.as_tensor(features, device=parameter.device)
    row = None if design is None else torch.as_tensor(design, device=parameter.device)
    for start in range(0, len(latent), block):
        z = torch.as_tensor(latent[start : start + block], dtype=torch.float32)
        z = module.prior.unwhiten(z.to(parameter.device))
        batch = None if row is None else row.expand(len(z), -1)
        proportions = module.expected(modality, z, batch)
        if columns is not None:
            proportions = proportions[:, columns]
        values = proportions if decoder.levels else proportions * library_size
        yield values.cpu().numpy()


@torch.no_grad()
def foreground(
    module: PairedMixtureVAE, latent: np.ndarray, modality: str, features: np.ndarray | None
) -> np.ndarray:
    """Probability of more than background, (n, f) float32, of points of the latent, (n, D)."""
    decoder, chosen = module.decoders[modality], slice(None) if features is None else features
    found = []
    for start in range(0, len(latent), _block_cells(decoder)):
        z = torch.as_tensor(latent[start : start + _block_cells(decoder)], dtype=torch.float32)
        z = module.prior.unwhiten(z.to(decoder.output.bias.device))
        h = decoder.hidden(z, module.gate_input(z))
        found.append(module.foreground(modality, h).cpu().numpy()[:, chosen])
    return np.concatenate(found)


def _block_cells(decoder: Decoder) -> int:
    return max(1, BLOCK_BYTES // (4 * len(decoder.output.bias)))


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
    with whole_file(path) as partial:
        with _Target(partial, "w+b") as target, target.first_reason():
            with h5py.File(target, "w") as file:
                file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"} | about)
                write_elem(file, "obs", pd.DataFrame(index=pd.Index(cells, dtype=str)))
                write_elem(file, "var", pd.DataFrame(index=pd.Index(features, dtype=str)))
                shape = (len(cells), len(features))
                blocks = target.checked(blocks)
                if threshold is None:
                    _write_dense(file, blocks, shape)
                else:
                    _write_sparse(file, blocks, shape, threshold)


class _Target(io.FileIO):
    """A file that stores the reason why writing failed and does not report it to HDF5.

    HDF5 cannot close a file whose last writes fail, and tries again when the process ends, which
    then may crash; and it reads again what it takes for written. What the disk does not take
    is therefore kept in memory, until the next block is asked for.
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
