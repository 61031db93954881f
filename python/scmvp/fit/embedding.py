"""Posteriors of many cells, in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..nn.batches import ORDERED_CELLS, Cells
from ..nn.module import Inputs, PairedMixtureVAE
from ..nn.networks import Gaussian
from ..progress import Report, counted, no_report


@torch.no_grad()
def all_inputs(module: PairedMixtureVAE, cells: Cells, report: Report = no_report) -> Inputs | None:
    """Observed inputs of all cells, on the device; None where these are as large as counts."""
    if not module.reads_scores:
        return None
    batches = counted(cells.ordered(), cells.n_ordered(len(cells)), report)
    return _known_complete(Inputs.joined([module.inputs(batch) for batch in batches]))


def _known_complete(inputs: Inputs) -> Inputs:
    """The same, without `present` where every cell has all modalities."""
    if inputs.present is None or not bool(inputs.present.all()):
        return inputs
    return inputs._replace(present=None)


@torch.no_grad()
def embed(
    module: PairedMixtureVAE,
    cells: Cells,
    inputs: Inputs | None = None,
    modality: str = "joint",
    rows: np.ndarray | None = None,
    report: Report = no_report,
) -> Gaussian:
    """Posteriors of the latent z, not whitened, in evaluation mode, (n, D), on the CPU.

    Args:
        module: Whose encoders.
        cells: Their counts.
        inputs: What `all_inputs` makes of them, where it is known.
        modality: 'joint', or the one that cells are embedded from.
        rows: Rows of the cells; all when None.
        report: Called with the fraction of them that is done.
    """
    module.eval()
    rows = np.arange(len(cells)) if rows is None else rows
    blocks: Iterator[Inputs]
    if inputs is None:
        blocks = (_known_complete(module.inputs(batch)) for batch in cells.ordered(rows))
    else:
        places = torch.from_numpy(rows).to(cells.device).split(ORDERED_CELLS)
        blocks = (inputs.rows(some) for some in places)
    blocks = counted(blocks, cells.n_ordered(len(rows)), report)
    parts = [[part.cpu() for part in module.encode(some, modality)] for some in blocks]
    return Gaussian(*(torch.cat(part) for part in zip(*parts, strict=True)))


@torch.no_grad()
def whitened_means(module: PairedMixtureVAE, q: Gaussian) -> np.ndarray:
    """Posterior means as whitened latent, (n, D)."""
    return module.prior.whiten(q.mean.to(module.prior.mean.device)).cpu().numpy()
