"""Activities of motifs and genes of a model: the verbs that sum accessibility over peaks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .arguments import flag
from .clusters import Clustered
from .data.covariates import Batch
from .data.motifs import motifs_of
from .data.paired import PairedData
from .tools import activity, impute
from .tools import motifs as motif_tool
from .tools.profiles import Profiles, counted, decoded

if TYPE_CHECKING:
    from anndata import AnnData

_LIBRARY = 1e4


class Active(Clustered):
    """A model that gives activities of motifs and genes."""

    def motif_activity(
        self, motifs: Any, data: PairedData | None = None, *, imputed: bool = True,
        gc: pd.Series | None = None, fasta: str | os.PathLike | None = None, batch: Batch = None,
        n_background: int = motif_tool.N_BACKGROUND, p_value: float = motif_tool.P_VALUE,
        seed: int = 0,
    ) -> AnnData:  # fmt: skip
        """Activity of motifs in cells, over the peaks of the model; see `scmvp.motif_activity`.

        Accessibility is decoded block by block, never for all cells at once.

        Args:
            motifs: Which peaks have which motif, or motifs of a file, as there.
            data: Cells; the fitted ones when None.
            imputed: From decoded accessibility. False: from the measured counts.
            gc: GC content, a Series by names of peaks; from `fasta` when None.
            fasta: FASTA file of the genome.
            batch: To decode to, as in `get_normalized_expression`; not for measured counts, whose
                deviations contain differences between batches.
            n_background: Number of background sets.
            p_value: Of a match of a motif in random sequence.
            seed: Of the background sets.

        Returns:
            AnnData of cells x motifs, as there. From decoded values, NaN is only for motifs that
            are in no peak, or in all.
        """
        found = motifs_of(motifs, self.peaks, gc=gc, fasta=fasta, p_value=p_value)
        profiles, cells = self._profiles(data, imputed, batch)
        with self._fitted().on_its_threads():
            return motif_tool.activity_in(profiles, found, cells, n_background, seed)

    def gene_activity(
        self, genes: pd.DataFrame | str | os.PathLike, data: PairedData | None = None, *,
        imputed: bool = True, method: str = "body", upstream: int = activity.UPSTREAM,
        decay: int = activity.DECAY, distance: int = activity.DISTANCE, batch: Batch = None,
        library_size: float = _LIBRARY,
    ) -> AnnData:  # fmt: skip
        """Accessibility of the peaks of each gene, in the model's peaks; see `scmvp.gene_activity`.

        Args:
            genes: Places of genes, as there.
            data: Cells; the fitted ones when None.
            imputed: From decoded accessibility. False: from the measured counts.
            method: As there.
            upstream: As there.
            decay: As there.
            distance: As there.
            batch: To decode to, as in `get_normalized_expression`.
            library_size: Of decoded values: counts per cell over all peaks of the model.

        Returns:
            AnnData of cells x genes, as there; X is dense where it is imputed.
        """
        weights = activity.weights_of(
            self.peaks, genes, self.genes, method, upstream, decay, distance
        )
        profiles, cells = self._profiles(data, imputed, batch, library_size)
        with self._fitted().on_its_threads():
            return activity.activity_in(profiles, weights, cells)

    def decoded_profiles(
        self, latent: np.ndarray, batch: Batch = None, library_size: float = _LIBRARY
    ) -> Profiles:
        """Decoded accessibility of points of the latent; needs no counts."""
        fit, scope = self._fitted(), self._plan.scope
        with fit.on_its_threads():
            return decoded(
                lambda: impute.imputed(fit, scope, latent, "atac", None, library_size, batch)
            )

    def _profiles(
        self, data: PairedData | None, imputed: bool, batch: Batch, library_size: float = _LIBRARY
    ) -> tuple[Profiles, np.ndarray]:
        """Accessibility of cells, and their names."""
        self._fitted()
        paired = self._matched(data)
        if not flag("imputed", imputed):
            return counted(paired.atac), paired.cells
        latent = self.get_latent_representation() if data is None else self._embedded(paired)
        return self.decoded_profiles(latent, batch, library_size), paired.cells
