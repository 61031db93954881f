"""What a model says of DNA methylation: levels of regions, and how they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .data.covariates import Batch
from .data.paired import PairedData
from .proteins import WithProteins


class WithMethylation(WithProteins):
    """A model that may have methylation."""

    def get_methylation(
        self,
        data: PairedData | None = None,
        *,
        regions: Sequence[str] | None = None,
        cells: Sequence[str] | None = None,
        batch: Batch = None,
        as_frame: bool = False,
    ) -> np.ndarray | pd.DataFrame:
        """Imputed methylation levels at the posterior mean of z; nothing is sampled.

        A level is the expected proportion of methylated positions of a region in cells at this
        position of the latent (docs/MODEL.md, M3). The region need not be covered in the cell
        itself.

        Args:
            data: Other cells; the fitted ones when None.
            regions: Names of the regions, in the order of the result; all modeled regions when
                None.
            cells: Names of the cells, in the order of the result; all when None.
            batch: As in `get_normalized_expression`.
            as_frame: The same.

        Returns:
            (cells, regions) float32, from 0 to 1.
        """
        return self._imputed(data, "methylation", regions, cells, 1e4, batch, as_frame)

    def differential_methylation(
        self, data: PairedData | None = None, *, groupby: str | Sequence | None = None,
        group1: Any = None, group2: Any = None, regions: Sequence[str] | None = None,
        delta: float = 0.25, fdr: float = 0.05, n_samples: int = 10, latent: str = "joint",
        seed: int = 0, only_pos: bool = False, form: str = "table",
    ) -> pd.DataFrame:  # fmt: skip
        """Which regions differ in methylation between groups of cells.

        The table is that of `differential_expression`, with levels instead of counts: `lfc` and the
        columns after it, and `delta`, are log2 odds ratios of the levels. `mean_*` are levels
        (methylated / covered positions), and `detected_*` is the proportion of cells in which the
        region is covered. No typical effect is subtracted.
        """
        return self.differential(
            "methylation", data, groupby=groupby, group1=group1, group2=group2, features=regions,
            delta=delta, fdr=fdr, n_samples=n_samples, latent=latent, seed=seed,
            only_pos=only_pos, form=form,
        )  # fmt: skip
