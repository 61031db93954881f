"""A trained module, how it was trained and what came of it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..data.matrices import Matrix
from ..errors import InputError
from ..nn.batches import Cells
from ..nn.module import PairedMixtureVAE
from ..options import TrainingOptions
from ..progress import SILENT, Stages
from ..threads import limited_threads
from .embedding import embed, whitened_means
from .training import TrainingResult


@dataclass(frozen=True)
class Fitted:
    """What there is once a model is trained, and not before.

    Attributes:
        module: In evaluation mode.
        options: Of its training.
        result: How that went.
        account: What was chosen of the cells and found in them, in numbers.
        threads: On how many it was trained; None where that is not known.
        latent: Of the fitted cells, (n, D); None where the model was read from a file.
    """

    module: PairedMixtureVAE
    options: TrainingOptions
    result: TrainingResult
    account: dict[str, Any]
    threads: int | None
    latent: np.ndarray | None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.module.prior.mean.device

    def on_its_threads(self) -> AbstractContextManager[None]:
        """Inside, as many threads compute as in the training: the same digits each time."""
        return limited_threads(self.threads)

    def embedded(
        self,
        counts: dict[str, Matrix],
        design: np.ndarray | None,
        modality: str = "joint",
        stages: Stages = SILENT,
    ) -> np.ndarray:
        """Latent of cells, (n, D); `design` (n, S) are their batches."""
        with self.on_its_threads():
            cells = Cells(counts, self.device, design=design)
            with stages.stage("embedding the cells") as report:
                q = embed(self.module, cells, modality=modality, report=report)
            return whitened_means(self.module, q)

    def responsibilities(self, latent: np.ndarray) -> np.ndarray:
        """p(c|z), (n, K) float32."""
        with self.on_its_threads(), torch.no_grad():
            z = torch.as_tensor(self.points(latent), dtype=torch.float32, device=self.device)
            return self.module.prior.responsibilities(z).cpu().numpy()

    def points(self, latent: np.ndarray) -> np.ndarray:
        """Points of the latent, (n, D) float64, or a refusal."""
        n_latent = self.module.options.n_latent
        try:
            latent = np.asarray(latent, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError("the latent is not of numbers; give one from this model") from error
        if latent.ndim != 2 or latent.shape[1] != n_latent or not len(latent):
            raise InputError(
                f"the latent has shape {latent.shape}; "
                f"give (cells, {n_latent}), with at least one cell"
            )
        if not np.isfinite(latent).all():
            raise InputError("the latent has values that are not finite; give one from this model")
        return latent
