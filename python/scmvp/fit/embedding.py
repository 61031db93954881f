"""Posteriors of many cells, in evaluation mode."""

from __future__ import annotations

import numpy as np
import torch

from ..nn.batches import ORDERED_CELLS, Cells
from ..nn.module import Inputs, PairedMixtureVAE
from ..nn.networks import Gaussian
from ..progress import Report, counted, unheard


@torch.no_grad()
def read_all(module: PairedMixtureVAE, cells: Cells, report: Report = unheard) -> Inputs | None:
    """What the encoders read of every cell, on the device; None where that is as long as counts."""
    if not module.reads_scores:
        return None
    batches = counted(cells.ordered(), cells.n_ordered(len(cells)), report)
    return _known_complete(Inputs.joined([module.read(batch) for batch in batches]))


def _known_complete(read: Inputs) -> Inputs:
    """The same, with nothing to look at where every cell has both modalities."""
    if read.present is None or not bool(read.present.all()):
        return read
    return read._replace(present=None)


@torch.no_grad()
def embed(
    module: PairedMixtureVAE,
    cells: Cells,
    read: Inputs | None = None,
    modality: str = "joint",
    rows: np.ndarray | None = None,
    report: Report = unheard,
) -> Gaussian:
    """q(z|.) in evaluation mode and the networks' coordinates, (n, D), on the CPU.

    Args:
        module: Whose encoders.
        cells: Their counts.
        read: What `read_all` makes of them, where it is known.
        modality: 'joint', 'rna' or 'atac'.
        rows: Which cells; all when None.
        report: Called with the share of them that is done.
    """
    module.eval()
    rows = np.arange(len(cells)) if rows is None else rows
    if read is None:
        inputs = (_known_complete(module.read(batch)) for batch in cells.ordered(rows))
    else:
        places = torch.from_numpy(rows).to(cells.device).split(ORDERED_CELLS)
        inputs = (read.each(lambda part, i=some: part.index_select(0, i)) for some in places)
    inputs = counted(inputs, cells.n_ordered(len(rows)), report)
    parts = [[part.cpu() for part in module.encode(some, modality)] for some in inputs]
    return Gaussian(*(torch.cat(part) for part in zip(*parts, strict=True)))


@torch.no_grad()
def whitened_means(module: PairedMixtureVAE, q: Gaussian) -> np.ndarray:
    """Posterior means as whitened latent, (n, D)."""
    return module.prior.whiten(q.mean.to(module.prior.mean.device)).cpu().numpy()
