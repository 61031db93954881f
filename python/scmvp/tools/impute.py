"""Imputation: the decoder's mean at a latent, for chosen features, in blocks of cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ..arguments import Names, number, once, positive
from ..data.covariates import Batch
from ..data.scope import Scope
from ..errors import InputError
from ..fit.fitted import Fitted
from ..modalities import MODALITIES
from ..nn.module import PairedMixtureVAE
from ..nn.networks import Decoder
from ..progress import Listener, counted, followed
from ..words import count_of
from .hdf5 import write_blocks

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
        modality: Name of the modality.
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
    features = once(features)
    blocks = imputed(fit, scope, latent, modality, features, library_size, batch)
    cells = _names_of(cells, len(latent))
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


def _names_of(cells: Names, n: int) -> list[str]:
    """The names of n points of the latent, or a refusal."""
    if isinstance(cells, str) or not isinstance(cells, Iterable):
        given = f"is {cells!r}"
    else:
        names = [str(name) for name in cells]
        different = len(set(names))
        if len(names) == different == n:
            return names
        given = f"has {count_of(len(names), 'name')}, {different:,} of them different"
    raise InputError(
        f"cells {given}; give {count_of(n, 'different name')}, one for each point of the latent"
    )


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
        modality: Name of the modality.
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
