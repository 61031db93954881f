"""What a model says of surface proteins: values without background, who has them, differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .activities import Active
from .data.covariates import Batch
from .data.paired import PairedData
from .tools import impute


class WithProteins(Active):
    """A model that may have proteins."""

    def get_protein_expression(
        self,
        data: PairedData | None = None,
        *,
        proteins: Sequence[str] | None = None,
        cells: Sequence[str] | None = None,
        library_size: float = 1e4,
        batch: Batch = None,
        as_frame: bool = False,
    ) -> np.ndarray | pd.DataFrame:
        """Imputed proteins without background, at the posterior mean of z; nothing is sampled.

        A value is the probability that the cell expresses the protein, times the counts above
        the background that are expected if it does (docs/MODEL.md, P).

        Args:
            data: Other cells; the fitted ones when None.
            proteins: Names of the proteins, in the order of the result; all modeled proteins when
                None.
            cells: Names of the cells, in the order of the result; all when None.
            library_size: Sum over all modeled proteins of the expected counts above the background,
                before each value is multiplied by the probability that the cell expresses the
                protein.
            batch: As in `get_normalized_expression`.
            as_frame: The same.

        Returns:
            (cells, proteins) float32.
        """
        return self._imputed(data, "protein", proteins, cells, library_size, batch, as_frame)

    def protein_foreground(
        self,
        data: PairedData | None = None,
        *,
        proteins: Sequence[str] | None = None,
        cells: Sequence[str] | None = None,
        as_frame: bool = False,
    ) -> np.ndarray | pd.DataFrame:
        """Probability that cells at this position of the latent express a protein.

        This is the probability that a count exceeds the background. It depends on the position of
        the cell in the latent and not on the count of the protein in this cell (docs/MODEL.md, P).
        Of a protein that no cell expresses, background and foreground cannot be told apart, and
        the probability may be near 1 in all cells.

        Args:
            data: Other cells; the fitted ones when None.
            proteins: Names wanted, in the order wanted; all modeled ones when None.
            cells: Names wanted, in the order wanted; all when None.
            as_frame: As in `get_normalized_expression`.

        Returns:
            (cells, proteins) float32, from 0 to 1.
        """
        fit, named = self._fitted(), self._features_named("protein", proteins)
        columns = self._plan.scope.columns("protein", named)
        latent, names = self._latent_of(data, cells)
        with fit.on_its_threads():
            values = impute.foreground(fit.module, latent, "protein", columns)
        return self._framed(values, names, named, as_frame)

    def differential_protein(
        self, data: PairedData | None = None, *, groupby: str | Sequence | None = None,
        group1: Any = None, group2: Any = None, proteins: Sequence[str] | None = None,
        delta: float = 0.25, fdr: float = 0.05, library_size: float = 1e4, n_samples: int = 10,
        latent: str = "joint", seed: int = 0, only_pos: bool = False, form: str = "table",
    ) -> pd.DataFrame:  # fmt: skip
        """Which proteins differ between groups of cells; see `differential_expression`.

        The counts are tested with their background, which makes fold changes smaller; `lfc_model`
        refers to counts per cell without background. There is no typical protein in a panel, so
        fold changes are relative to the background, whose own log2 fold change is in `attrs`.
        """
        return self.differential(
            "protein", data, groupby=groupby, group1=group1, group2=group2, features=proteins,
            delta=delta, fdr=fdr, library_size=library_size, n_samples=n_samples, latent=latent,
            seed=seed, only_pos=only_pos, form=form,
        )  # fmt: skip
