"""Latent and clusters of a model: the verbs that need a fit and cells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .arguments import Names, positions
from .data.containers import as_names
from .data.features import warn_of_empty_rows
from .data.paired import PairedData
from .errors import InputError
from .progress import SILENT, Listener, Stages, followed
from .state import State
from .tools import differential, doublets
from .tools.groups import groups_in

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


class Clustered(State):
    """A model that gives latent and clusters."""

    def get_latent_representation(
        self,
        data: PairedData | None = None,
        modality: str = "joint",
        progress: bool | Listener = False,
    ) -> np.ndarray:
        """Posterior mean of z, in the coordinates in which a cluster has unit covariance.

        The axes are ordered by how much the clusters differ along them, the most first. The origin
        is the mean of the mixture. With preset 'paper' they are the networks' own, unordered.

        Args:
            data: Cells to embed; the fitted cells when None. Genes and peaks are matched by name,
                peaks also in another spelling (`chr1:1-9`, `chr1-1-9`); up to a fifth of each may
                be missing, which counts as zero. One modality is enough: (rna, None).
            modality: 'joint' for q(z|x,y), 'rna' for q(z|x), 'atac' for q(z|y).
            progress: As in `train`.

        Returns:
            (n, D) float32, in the order of the cells.
        """
        self._plan.scope.refuse_latent("modality", modality)
        fit = self._fitted()
        if data is None and modality == "joint" and fit.latent is not None:
            return fit.latent.copy()
        with followed(progress) as (stages, _):
            paired = self._matched(data)
            if modality != "joint":
                warn_of_empty_rows(paired, modality)
            return self._embedded(paired, modality, stages)

    def predict_proba(
        self,
        data: PairedData | None = None,
        *,
        n_clusters: int | None = None,
        resolution: float | None = None,
    ) -> np.ndarray:
        """Probability of each cluster, p(c|z) at the posterior mean of z, (n, C) float32.

        The arguments are those of `predict`.
        """
        latent = self.get_latent_representation(data)
        return self.responsibilities(latent, n_clusters=n_clusters, resolution=resolution)

    def responsibilities(
        self,
        latent: np.ndarray,
        *,
        n_clusters: int | None = None,
        resolution: float | None = None,
    ) -> np.ndarray:
        """The same of given points of the latent; needs no counts."""
        return self._fitted().responsibilities(latent, n_clusters, resolution)

    def predict(
        self,
        data: PairedData | None = None,
        *,
        n_clusters: int | None = None,
        resolution: float | None = None,
    ) -> np.ndarray:
        """Most probable cluster of each cell, (n,), from 0.

        Where the model was given `n_clusters`, the clusters are the components of its mixture.
        Where not, components without a gap between them have merged (`tree`). Another level needs
        no new training; its cluster 0 has the most cells.

        Args:
            data: Cells; the fitted ones when None.
            n_clusters: How many clusters, at most the components that have cells.
            resolution: Or the connectivity up to which components stay apart: 0.15 for the clusters
                of a model that was given no number. Smaller values merge more.
        """
        return self.predict_proba(data, n_clusters=n_clusters, resolution=resolution).argmax(1)

    def add_to(
        self,
        target: AnnData | MuData,
        data: PairedData | None = None,
        *,
        n_clusters: int | None = None,
        resolution: float | None = None,
    ) -> None:
        """Add latent and clusters to an object, under the names that scanpy and viewers look for.

        These are `obsm['X_scmvp']`; `obs['scmvp_cluster']`, categories that are strings; and
        `obs['scmvp_cluster_prob']`, the probability of that cluster. R has the same names.

        Args:
            target: AnnData or MuData, as `mdata` or `mdata['rna']`. Its cells are matched by name;
                it may lack some of them.
            data: The cells with their counts; the fitted cells when None.
            n_clusters: Level of the clusters, as in `predict`.
            resolution: The same.

        Raises:
            InputError: `target` is neither, or has cells that the model or `data` lack.
        """
        if not (hasattr(target, "obs_names") and hasattr(target, "obsm")):
            raise InputError(f"target is a {type(target).__name__}; give an AnnData or a MuData")
        latent = self.get_latent_representation(data)
        known = self.cells if data is None else self._matched(data).cells
        where = "the model" if data is None else "the data"
        at = positions(known, as_names(target.obs_names), "cell", where)
        p = self.responsibilities(latent[at], n_clusters=n_clusters, resolution=resolution)
        cluster, names = np.unique(p.argmax(1), return_inverse=True)
        target.obsm["X_scmvp"] = latent[at]
        target.obs["scmvp_cluster"] = pd.Categorical.from_codes(names, cluster.astype(str))
        target.obs["scmvp_cluster_prob"] = p.max(1)

    def doublet_scores(
        self, data: PairedData | None = None, *, n_simulated: int | None = None, seed: int = 0
    ) -> pd.Series:
        """Probability of each cell to be a doublet, two cells of different kinds in one droplet.

        Doublets are simulated: the counts of two cells of different components of the mixture (and
        of one batch, where the model has batches) are added in both modalities, and 60 to 100 % of
        them are kept. A cell scores high where many of its neighbors in the latent are such
        doublets and its depth is theirs; how many doublets there are is estimated as well
        (docs/decisions, D27). Nothing is removed.

        Doublets of two cells of one kind cannot be told from single cells, and score low. The cells
        should be all of a run: of a selection, the cells that doublets are made of may be missing.

        Args:
            data: Cells to score; the fitted cells when None. The doublets are made of them.
            n_simulated: How many doublets; twice the number of cells, at most 20,000, when None.
            seed: Of the simulated doublets. Scores do not depend on the order of the cells.

        Returns:
            Scores by cell name, 'scmvp_doublet_score', from 0 to 1; their sum estimates the number
            of such doublets, too high where many single cells are like them (along a gradient, or
            of few counts). NaN for cells without counts in one of the modalities.

        Raises:
            InputError: All cells are of one component, or fewer than 50 have counts in both
                modalities.
        """
        fit, paired = self._fitted(), self._matched(data)
        return doublets.doublet_scores(fit, self._plan.scope, paired, n_simulated, seed)

    @property
    def n_clusters_used(self) -> int:
        """Clusters that are the most probable one of at least one fitted cell."""
        return len(np.unique(self.predict()))

    # ---- inside

    def _differential(
        self, modality, data, groupby, group1, group2, features, *settings_given: Any
    ) -> pd.DataFrame:
        fit, scope = self._fitted(), self._plan.scope
        with fit.on_its_threads():
            settings = differential.settings_of(scope, modality, features, *settings_given)
            paired, clusters = self._matched(data), partial(self.predict, data)
            groups = groups_in(data, paired.cells, groupby, group1, group2, clusters)
            return differential.compare_groups(fit, scope, paired, groups, settings)

    def _latent_of(
        self, data: PairedData | None, cells: Sequence[str] | None, stages: Stages = SILENT
    ) -> tuple[np.ndarray, Names]:
        """Latent of chosen cells, and their names."""
        if data is not None:
            paired = self._matched(data)
            latent, names = self._embedded(paired, stages=stages), paired.cells
        else:
            latent, names = self.get_latent_representation(), self.cells
        if cells is None:
            return latent, names
        return latent[positions(names, cells, "cell", "the data")], cells
