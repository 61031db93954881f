"""Differential features as R asks for them: labels as text in, a table as CSV out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import pandas as pd


class Tester(Protocol):
    """A fitted model, as far as it matters here."""

    def differential_expression(self, data: Any, **options: Any) -> pd.DataFrame:
        """Genes that differ between groups."""

    def differential_accessibility(self, data: Any, **options: Any) -> pd.DataFrame:
        """Peaks that differ between groups."""


def to_file(
    model: Tester,
    path: str,
    data: Any,
    labels: Sequence[str],
    modality: str,
    features: Sequence[str] | None = None,
    **options: object,
) -> dict[str, float]:
    """Test groups and write the table as CSV: how R gets it, from either of its engines.

    Args:
        model: Fitted.
        path: File to write.
        data: The cells.
        labels: One for each cell; of cells in no group ''.
        modality: 'rna' or 'atac'.
        features: To report; all when None.
        **options: Of `SCMVP.differential_expression`.

    Returns:
        The log2 fold change of the typical feature by comparison.
    """
    labels = pd.Series(list(labels), dtype=object).replace({"": None})
    tests = {"rna": model.differential_expression, "atac": model.differential_accessibility}
    asked = {"rna": "genes", "atac": "peaks"}[modality]
    table = tests[modality](data, groupby=labels, **{asked: features}, **options)
    table.to_csv(path, index=False)
    return table.attrs["typical_lfc"]
