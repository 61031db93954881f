"""A trained module, how it was trained and what came of it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..arguments import positive, whole_number
from ..data.matrices import Matrix
from ..errors import InputError
from ..nn.batches import Cells
from ..nn.device import seeded
from ..nn.module import PairedMixtureVAE
from ..options import ModelOptions, TrainingOptions
from ..progress import SILENT, Stages
from ..settings import own_settings
from ..words import count_of
from .build import untrained
from .embedding import all_inputs, embed, whitened_means
from .training import TrainingResult
from .tree import ClusterTree


@dataclass(frozen=True)
class Fitted:
    """What there is once a model is trained, and not before.

    Attributes:
        module: In evaluation mode.
        options: Options of its training.
        result: How that went.
        account: Numbers of cells, features and clusters.
        threads: On how many it was trained; None where that is not known.
        latent: Latent of the fitted cells, (n, D); None where the model was read from a file.
        tree: How its components merge; None where the file of the model has none.
        level: Clusters that it gives when it is not asked for a number; None: its components.
    """

    module: PairedMixtureVAE
    options: TrainingOptions
    result: TrainingResult
    account: dict[str, Any]
    threads: int | None
    latent: np.ndarray | None
    tree: ClusterTree | None
    level: int | None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.module.prior.mean.device

    def on_its_threads(self) -> AbstractContextManager[None]:
        """Inside, as many threads compute as in the training: the same digits each time."""
        return own_settings(self.threads)

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

    def scores(self, counts: dict[str, Matrix], design: np.ndarray | None) -> dict[str, np.ndarray]:
        """Scores of cells by modality, (n, d): what the encoders read, which no training changes.

        Where the encoders read counts (preset 'paper'), loadings are computed of these cells.
        """
        with self.on_its_threads():
            module = self.module
            if not module.reads_scores:
                seed = self.options.seed
                with seeded(seed, self.device):
                    module = untrained(ModelOptions(), None, counts, design, seed)
            cells = Cells(counts, self.device, design=design)
            inputs = all_inputs(module.to(self.device), cells)
        assert inputs is not None, "this module reads scores"
        return {name: part.cpu().numpy() for name, part in inputs.tensors().items()}

    @property
    def n_clusters(self) -> int:
        """Clusters that it gives when it is not asked for a number."""
        return self.module.n_clusters if self.level is None else self.level

    def responsibilities(
        self, latent: np.ndarray, n_clusters: int | None = None, resolution: float | None = None
    ) -> np.ndarray:
        """p(c|z) of components, or of the clusters that they merge into, (n, C) float32."""
        cluster = self.cluster_of_component(n_clusters, resolution)
        with self.on_its_threads(), torch.no_grad():
            z = torch.as_tensor(self.points(latent), dtype=torch.float32, device=self.device)
            parts = self.module.prior.responsibilities(z).cpu().numpy()
        if cluster is None:
            return parts
        merged = np.zeros((len(parts), cluster.max() + 1), np.float32)
        for component, place in enumerate(cluster):
            merged[:, place] += parts[:, component]
        return np.minimum(merged, 1, out=merged)  # rounding makes sums larger

    def cluster_of_component(
        self, n_clusters: int | None, resolution: float | None
    ) -> np.ndarray | None:
        """Cluster of each component, (K,); None where clusters are components."""
        if n_clusters is not None and resolution is not None:
            raise InputError("both n_clusters and resolution are given; give one of them")
        if n_clusters is None and resolution is None:
            return None if self.level is None or self.tree is None else self.tree.cut(self.level)
        if self.tree is None:
            raise InputError(
                "the file of this model has no tree of clusters, as it was written by an earlier "
                "version; fit again for clusters at other levels"
            )
        if resolution is not None:
            n_clusters = self.tree.n_clusters_at(positive("resolution", resolution))
        most = len(self.tree.n_cells)
        n_clusters = whole_number("n_clusters", n_clusters)
        if n_clusters > most:
            raise InputError(
                f"n_clusters is {n_clusters}, but the cells are in {count_of(most, 'component')} "
                "of the mixture, which can only be merged; give at most that number, or fit again"
            )
        if self.level is None and n_clusters == self.module.n_clusters:
            return None
        return self.tree.cut(n_clusters)

    def points(self, latent: np.ndarray) -> np.ndarray:
        """Points of the latent, (n, D) float64, or a refusal."""
        n_latent = self.module.options.n_latent
        try:
            latent = np.asarray(latent, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(
                "the latent has values that are not numbers; give one from this model"
            ) from error
        if latent.ndim != 2 or latent.shape[1] != n_latent or not len(latent):
            raise InputError(
                f"the latent has shape {latent.shape}; "
                f"give (cells, {n_latent}), with at least one cell"
            )
        if not np.isfinite(latent).all():
            raise InputError("the latent has values that are not finite; give one from this model")
        return latent
