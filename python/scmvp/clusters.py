"""Latent and clusters of a model: the methods that need a fit and cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .arguments import Names, flag, positions
from .data.annotated import CLUSTERS, LATENT
from .data.checks import check_unique
from .data.containers import alone, refuse_on_disk, refuse_view_on_disk
from .data.covariates import Batch
from .data.features import warn_of_empty_rows
from .data.names import as_names
from .data.paired import PairedData
from .errors import InputError
from .progress import SILENT, Listener, Stages, followed
from .state import State
from .tools import differential, doublets, impute
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
        """Posterior mean of z, whitened by the covariance that the components share.

        The first axes separate the components most. The origin is the mean of the mixture. With
        preset 'paper' the coordinates are those of the networks, not whitened and in no order.

        Args:
            data: Cells to embed; the fitted cells when None. Genes and peaks are matched by name,
                peaks in any spelling (`chr1:1-9`, `chr1-1-9`); up to a fifth of each may be
                missing, and missing features count as zero. Cells with one modality only: (rna,
                None) or (None, atac).
            modality: 'joint' for q(z|x,y), or the one modality from which cells are embedded: 'rna'
                for q(z|x), 'atac' for q(z|y), 'protein' or 'methylation'. `data` may then be the
                AnnData of this modality.
            progress: As in `train`.

        Returns:
            (n, D) float32, in the order of the cells.
        """
        self._plan.scope.refuse_latent("modality", modality)
        self._fitted()
        with followed(progress) as (stages, _):
            paired = self._matched(data if modality == "joint" else alone(data, modality))
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
        """Probability of each cluster at points of the latent, as in `predict_proba`.

        Needs no counts.
        """
        return self._fitted().responsibilities(latent, n_clusters, resolution)

    def predict(
        self,
        data: PairedData | None = None,
        *,
        n_clusters: int | None = None,
        resolution: float | None = None,
    ) -> np.ndarray:
        """Most probable cluster of each cell, (n,), from 0.

        If the model was given `n_clusters`, the clusters are the components of its mixture.
        Otherwise components whose cells are not separated were merged (`tree`). Another level needs
        no new training; its cluster 0 has the most cells.

        Args:
            data: Cells; the fitted ones when None.
            n_clusters: Number of clusters, at most the number of components that have cells.
            resolution: Connectivity up to which components stay separate, instead of `n_clusters`.
                Smaller values give fewer clusters. If the model was made without `n_clusters`, its
                clusters are those at 0.15.
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
        """Add latent and clusters to an object, under names that scanpy and viewers recognize.

        These are `obsm['X_scmvp']`; `obs['scmvp_cluster']`, a categorical of strings; and
        `obs['scmvp_cluster_prob']`, the probability of that cluster. R uses the same names.

        Args:
            target: AnnData or MuData, such as `mdata` or `mdata['rna']`. Its cells are matched by
                name; it may lack some of them.
            data: The cells with their counts; the fitted cells when None.
            n_clusters: Number of clusters, as in `predict`.
            resolution: Connectivity, as in `predict`.

        Raises:
            InputError: `target` is neither an AnnData nor a MuData, has duplicate cell names, or
                has cells that are not in the model or `data`.
        """
        refuse_on_disk(target)
        refuse_view_on_disk(target, "target")
        if not (hasattr(target, "obs_names") and hasattr(target, "obsm")):
            raise InputError(f"target is a {type(target).__name__}; give an AnnData or a MuData")
        latent, known = self._latent_of(data, None)
        where = "the model" if data is None else "the data"
        names = as_names(target.obs_names)
        check_unique(names, "cell names of target", "obs_names")
        at = positions(known, names, "cell", where)
        p = self.responsibilities(latent[at], n_clusters=n_clusters, resolution=resolution)
        cluster, code = np.unique(p.argmax(1), return_inverse=True)
        target.obsm[LATENT] = latent[at]
        target.obs[CLUSTERS] = pd.Categorical.from_codes(code, cluster.astype(str))
        target.obs[f"{CLUSTERS}_prob"] = p.max(1)

    def decode(
        self,
        latent: np.ndarray,
        modality: str,
        features: Names | None = None,
        library_size: float = 1e4,
        batch: Batch = None,
    ) -> np.ndarray:
        """Imputed profiles at given points of the latent, (n, f) float32; needs no counts."""
        fit = self._fitted()
        with fit.on_its_threads():
            blocks = impute.imputed(
                fit, self._plan.scope, latent, modality, features, library_size, batch
            )
            return np.concatenate(list(blocks))

    def _imputed(
        self, data: PairedData | None, modality: str, features: Sequence[str] | None,
        cells: Sequence[str] | None, library_size: float, batch: Batch, as_frame: bool,
    ) -> np.ndarray | pd.DataFrame:  # fmt: skip
        """Imputed profiles of cells; the arguments are those of `get_normalized_expression`."""
        named = self._features_named(modality, features)
        latent, names = self._latent_of(data, cells)
        wanted = None if features is None else named
        values = self.decode(latent, modality, wanted, library_size, batch)
        return self._framed(values, names, named, as_frame)

    def _features_named(self, modality: str, features: Sequence[str] | None) -> np.ndarray:
        """Names of the features asked for; an error before any cell is embedded."""
        columns = self._plan.scope.columns(modality, features)
        names = self._plan.scope.names(modality)
        return names if columns is None else names[columns]

    def _framed(
        self, values: np.ndarray, cells: Names, features: np.ndarray, as_frame: bool
    ) -> np.ndarray | pd.DataFrame:
        """The values, with the names of cells and features where they are wanted."""
        if not flag("as_frame", as_frame):
            return values
        return pd.DataFrame(values, index=as_names(cells), columns=features)

    def input_scores(self, data: PairedData | None = None) -> dict[str, np.ndarray]:
        """Scores of cells that the encoders read, by modality, (n, d) float32.

        They are scores of correspondence analysis (of methylation: of levels) of one modality,
        without the differences of batches. Unlike the latent, they depend neither on the training
        nor on other modalities. Encoders of preset 'paper' read counts; the scores are then those
        of an analysis of these cells.

        Args:
            data: Cells; the fitted ones when None.
        """
        paired = self._matched(data)
        return self._fitted().scores(paired.counts, self._plan.scope.design(paired))

    def doublet_scores(
        self, data: PairedData | None = None, *, n_simulated: int | None = None, seed: int = 0
    ) -> pd.Series:
        """Probability that a cell is a doublet (two cells of different types in one droplet).

        Doublets are simulated: the counts of two cells from different components of the mixture
        (and from the same batch, if the model has batches) are added in all modalities, and 60 to
        100 % of the counts are kept. A cell has a high score if many of its neighbors in the
        latent are simulated doublets and its depth is similar to theirs. The proportion of
        doublets is estimated as well (docs/decisions, D27). No cell is removed.

        Doublets of two cells of the same type resemble single cells and have low scores. Score all
        cells of a run: doublets with cells outside a selection are not simulated.

        Args:
            data: Cells to score, from which doublets are simulated; the fitted cells when None.
            n_simulated: Number of simulated doublets, at least 50. None: twice the number of
                cells, at most 20,000.
            seed: Seed of the simulated doublets. Scores do not depend on the order of the
                cells.

        Returns:
            Series named 'scmvp_doublet_score', indexed by cell name, with values from 0 to 1. The
            sum of the scores estimates the number of doublets of cells of different types. It is
            too high if many single cells resemble simulated doublets (cells along a gradient or
            with few counts). NaN for cells without counts in at least one of the modalities.

        Raises:
            InputError: All cells belong to one component, or fewer than 50 have counts in all
                modalities.
        """
        fit, paired = self._fitted(), self._matched(data)
        return doublets.doublet_scores(fit, self._plan.scope, paired, n_simulated, seed)

    def differential(
        self, modality: str, data: PairedData | None = None, *,
        groupby: str | Sequence | None = None, group1: Any = None, group2: Any = None,
        features: Sequence[str] | None = None, delta: float = 0.25, fdr: float = 0.05,
        library_size: float = 1e4, n_samples: int = 10, latent: str = "joint", seed: int = 0,
        only_pos: bool = False, form: str = "table",
    ) -> pd.DataFrame:  # fmt: skip
        """Which features of a modality differ between groups of cells.

        For 'rna', this is `differential_expression`, where the arguments and the table are
        explained; for 'atac' `differential_accessibility`, for 'protein' `differential_protein`,
        for 'methylation' `differential_methylation`.
        """
        fit, scope = self._fitted(), self._plan.scope
        with fit.on_its_threads():
            settings = differential.settings_of(
                scope, modality, features, delta, fdr, library_size, n_samples, latent, seed,
                only_pos, form,
            )  # fmt: skip
            paired = self._matched(data)
            groups = groups_in(
                data, paired.cells, groupby, group1, group2,
                lambda: self.responsibilities(self._embedded(paired)).argmax(1),
            )  # fmt: skip
            return differential.compare_groups(fit, scope, paired, groups, settings)

    @property
    def n_clusters_used(self) -> int:
        """Number of clusters that are the most probable one for at least one fitted cell."""
        return len(np.unique(self.predict()))

    # ---- inside

    def _latent_of(
        self, data: PairedData | None, cells: Sequence[str] | None, stages: Stages = SILENT
    ) -> tuple[np.ndarray, Names]:
        """Latent of chosen cells, and their names."""
        paired = self._matched(data)
        latent = self._embedded(paired, stages=stages)
        if cells is None:
            return latent, paired.cells
        return latent[positions(paired.cells, cells, "cell", "the data")], cells
