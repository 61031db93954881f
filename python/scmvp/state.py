"""The contents of a model: its plan, its cells and, after the training, the fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .data.containers import files_behind
from .data.covariates import Covariates
from .data.paired import Paired, PairedData
from .errors import InputError
from .fit.checkpoint import Checkpoint
from .fit.fitted import Fitted
from .fit.training import TrainingResult
from .fit.tree import ClusterTree
from .modalities import feature_of
from .options import ModelOptions
from .plan import Plan
from .progress import SILENT, Stages
from .words import count_of


class State:
    """A model without its verbs, untrained as long as `_fit` is None."""

    _plan: Plan
    _data: Paired | None  # the cells to fit; None of a model from a file
    _fit: Fitted | None
    _checkpoint: Checkpoint | None = None  # of the last training
    _info: dict[str, Any] | None  # its `model.json`; None of a model that was made here

    def _hold(
        self,
        plan: Plan,
        data: Paired | None = None,
        fit: Fitted | None = None,
        info: dict[str, Any] | None = None,
    ) -> None:
        self._plan, self._data, self._fit, self._info = plan, data, fit, info

    def __repr__(self) -> str:
        k, features = self.n_clusters, self.features.items()
        trained = "not trained" if self._fit is None else count_of(self._result.epochs, "epoch")
        clusters = "clusters to be found" if k is None else count_of(k, "cluster")
        counted = ", ".join(count_of(len(names), feature_of(name)) for name, names in features)
        return f"SCMVP({counted}, {clusters}, {trained})"

    # ---- what is to be fitted

    @property
    def preset(self) -> str:
        """Name of the preset."""
        return self._plan.preset

    @property
    def options(self) -> ModelOptions:
        """Options of the network."""
        return self._plan.options

    @property
    def cells(self) -> np.ndarray:
        """Names of the cells to fit; empty for a model from a file."""
        return np.array([], dtype=str) if self._data is None else self._data.cells

    @property
    def features(self) -> dict[str, np.ndarray]:
        """Names of the modeled features, by modality."""
        return self._plan.scope.features

    @property
    def genes(self) -> np.ndarray:
        """Names of the modeled genes."""
        return self._plan.scope.names("rna")

    @property
    def peaks(self) -> np.ndarray:
        """Names of the modeled peaks."""
        return self._plan.scope.names("atac")

    @property
    def proteins(self) -> np.ndarray:
        """Names of the modeled proteins."""
        return self._plan.scope.names("protein")

    @property
    def regions(self) -> np.ndarray:
        """Names of the modeled regions of methylation."""
        return self._plan.scope.names("methylation")

    @property
    def covariates(self) -> Covariates | None:
        """Batches whose differences are removed from the latent."""
        return self._plan.scope.covariates

    @property
    def batch_levels(self) -> dict[str, list[str]]:
        """Columns of obs that were fitted as batches, and their levels."""
        return {} if self.covariates is None else self.covariates.levels

    # ---- what came of it

    @property
    def account(self) -> dict[str, Any]:
        """Numbers of cells, features and clusters that were selected or found."""
        return (self._fit or self._plan).account

    @property
    def n_clusters(self) -> int | None:
        """Number of clusters of `predict`; None before the training if it is estimated."""
        return self._plan.n_clusters if self._fit is None else self._fit.n_clusters

    @property
    def n_components(self) -> int | None:
        """Number K of components; None before the training if it is estimated."""
        return self._plan.n_clusters if self._fit is None else self._fit.module.n_clusters

    @property
    def level(self) -> int | None:
        """Number of clusters to which the tree is cut; None if clusters are components."""
        return None if self._fit is None else self._fit.level

    @property
    def tree(self) -> ClusterTree | None:
        """The tree in which components merge into clusters; None before the training."""
        return None if self._fit is None else self._fit.tree

    @property
    def history(self) -> dict[str, list]:
        """One list per quantity, one value per epoch; ELBOs and losses in nats per cell."""
        return self._result.history

    @property
    def interrupted(self) -> bool:
        """Whether the last training was ended by a KeyboardInterrupt."""
        return self._result.interrupted

    @property
    def _result(self) -> TrainingResult:
        return TrainingResult() if self._fit is None else self._fit.result

    def cluster_of_component(
        self, n_clusters: int | None = None, resolution: float | None = None
    ) -> np.ndarray | None:
        """Cluster of each component at a level of the tree, (K,); None if both are the same.

        The arguments are those of `predict`.
        """
        return self._fitted().cluster_of_component(n_clusters, resolution)

    def delete_checkpoint(self) -> None:
        """Delete the checkpoint that `train(keep_checkpoint=True)` has kept.

        It stays where the training was interrupted, or where another one has written it.
        """
        if self._checkpoint is not None and not self.interrupted:
            self._checkpoint.delete()

    # ---- what has to be there

    def _fitted(self) -> Fitted:
        if self._fit is None:
            raise InputError("this model is not trained yet; call train() first")
        return self._fit

    def _matched(self, data: PairedData | None) -> Paired:
        """Counts of `data` in the columns of the model; the fitted cells when None."""
        if data is not None:
            return self._plan.scope.matched(data)
        if self._data is None:
            raise InputError(
                "this model was loaded from a file without its cells; pass them as data, or load "
                "it together with them: SCMVP.load(folder, data)"
            )
        return self._data

    def _files_read(self, data: PairedData | None = None) -> list[Path]:
        """Files of `data` and of the cells to fit that must stay while these are used."""
        return [*files_behind(data), *files_behind(self._data)]

    def _embedded(
        self, paired: Paired, modality: str = "joint", stages: Stages = SILENT
    ) -> np.ndarray:
        """Latent of cells in the columns of the model, (n, D); that of the fitted ones is known."""
        fit = self._fitted()
        if paired is self._data and modality == "joint" and fit.latent is not None:
            return fit.latent.copy()
        return fit.embedded(paired.counts, self._plan.scope.design(paired), modality, stages)
