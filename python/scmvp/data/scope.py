"""What a model reads of cells: features, layers and batches, chosen once, the same for all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..arguments import Names, positions
from ..errors import InputError
from ..modalities import MODALITIES, all_of
from ..words import count_of
from .checks import check_paired
from .covariates import Batch, Covariates, column_names
from .features import (
    counted_as_fitted,
    empty_cells,
    in_features,
    in_fragments,
    modeled_features,
)
from .matrices import Matrix, pieces_of
from .paired import Paired, PairedData
from .preprocess import counts_insertions
from .values import weights_of_features

FEWEST_CELLS = 20
_LAYERS = ("rna_layer", "atac_layer", "protein_layer")  # files of two modalities have the first two


@dataclass(frozen=True)
class Scope:
    """What is read of cells, fitted ones and others.

    Attributes:
        features: Names of the modeled ones, by modality.
        layers: Those of RNA, ATAC and protein that have the counts.
        covariates: The batches whose effects are removed from the latent; None without batches.
        insertions: Whether the ATAC counts of the fitted cells were of insertions.
        gene_ids: Ids of the modeled genes, where the fitted cells had some.
    """

    features: dict[str, np.ndarray]
    layers: tuple[str | None, ...]
    covariates: Covariates | None
    insertions: bool
    gene_ids: np.ndarray | None = None

    def matched(self, data: PairedData) -> Paired:
        """Counts of other cells in these features."""
        paired = check_paired(
            data,
            **dict(zip(_LAYERS, self.layers, strict=False)),
            mosaic=True,
            absent=self.features,
            columns=() if self.covariates is None else self.covariates.names,
        )
        as_fitted = counted_as_fitted(paired, self.insertions)
        matched = in_features(as_fitted, self.features, self.gene_ids)
        empty_cells(matched)
        return matched

    def design(self, paired: Paired) -> np.ndarray | None:
        """Batches of the cells, (n, S)."""
        return None if self.covariates is None else self.covariates.design(paired.obs)

    def identity(self, paired: Paired) -> dict[str, str]:
        """Digests of the names of cells and features, the counts, and the cells' batches.

        Those of the counts are of one sum per cell, weighted by random whole numbers: they differ
        if a count, a cell or a feature is another one. One pass over the counts.
        """
        names: dict[str, Iterable[str]] = {"cells": paired.cells}
        names |= {MODALITIES[of].features: features for of, features in paired.features.items()}
        if self.covariates is not None and paired.obs is not None:
            columns = self.covariates.names
            rows = paired.obs[columns].astype(str).itertuples(index=False)
            names["batch"] = [*columns, *("\t".join(row) for row in rows)]
        found = {
            of: hashlib.sha256("\n".join(map(str, own)).encode()).hexdigest()
            for of, own in names.items()
        }
        counts = paired.counts.items()
        return found | {f"{MODALITIES[of].label} counts": _digest(part) for of, part in counts}

    def row(self, batch: Batch = None) -> np.ndarray | None:
        """Design of one batch, (S,); of the average batch when None."""
        if self.covariates is not None:
            return self.covariates.row(batch)
        if batch is not None:
            raise InputError(
                f"batch is {batch!r}, but the model was fitted without batches; leave batch out"
            )
        return None

    def names(self, modality: str) -> np.ndarray:
        """The features of a modality, or a refusal of one that is unknown."""
        if modality not in self.features:
            known = " or ".join(f"'{name}'" for name in self.features)
            if modality in MODALITIES:
                raise InputError(
                    f"the model was fitted without {MODALITIES[modality].group}; use {known}, or "
                    f"fit it again to cells with {MODALITIES[modality].group}"
                )
            raise InputError(f"modality '{modality}' is unknown; use {known}")
        return self.features[modality]

    def columns(self, modality: str, wanted: Names | None) -> np.ndarray | None:
        """Numbers of the features asked for; None for all."""
        names, of = self.names(modality), MODALITIES[modality]
        if wanted is None:
            return None
        rare = f" ({of.features} seen in too few of the fitted cells are not modeled)"
        more = "" if of.is_panel else rare
        return positions(names, wanted, of.feature, f"the {of.label} model", more)

    def refuse_latent(self, argument: str, given: Any) -> None:
        """Unless it is 'joint' or a modality."""
        known = ["joint", *self.features]
        if given not in known:
            raise InputError(f"{argument} '{given}' is unknown; use one of {', '.join(known)}")


def _digest(counts: Matrix) -> str:
    """Of counts, whose weighted sums are whole numbers and therefore exact."""
    weights, found = weights_of_features(counts.shape[1]), hashlib.sha256()
    for piece in pieces_of(counts):
        found.update((piece @ weights).tobytes())
    return found.hexdigest()


class Chosen(NamedTuple):
    """Cells to fit."""

    scope: Scope
    cells: Paired
    account: dict[str, Any]  # of what was chosen, by names of numbers


def choose(
    data: PairedData,
    rna_layer: str | None,
    atac_layer: str | None,
    min_cells: int,
    batch: str | Sequence[str] | None,
    mosaic: bool,
    modalities: Sequence[str] | None = None,
    protein_layer: str | None = None,
) -> Chosen:
    """Check the cells and choose the features; the arguments are those of `SCMVP`.

    Raises:
        InputError: The input cannot be modeled; the sentence says why.
    """
    layers = (rna_layer, atac_layer, protein_layer)
    if isinstance(data, Paired) and any(layer is not None for layer in layers):
        raise InputError(
            "the counts of a file are chosen when it is read; give rna_layer and atac_layer to "
            "scmvp.read, not here"
        )
    columns = column_names(batch)
    given = check_paired(
        data, rna_layer, atac_layer, mosaic, columns=columns, modalities=modalities,
        protein_layer=protein_layer,
    )  # fmt: skip
    covariates = None
    if columns and given.obs is not None:
        covariates = Covariates.of(given.obs[columns])
    insertions = "atac" in given.counts and counts_insertions(given.atac)
    if insertions:
        given = in_fragments(given)
    cells = modeled_features(given, min_cells)
    empty = empty_cells(cells)
    incomplete = np.logical_or.reduce([*empty.values()])
    _refuse_few(len(incomplete), int((~incomplete).sum()), len(empty))
    account = {
        "n_cells": len(cells.cells),
        **{n_features(name): len(names) for name, names in cells.features.items()},
        **{f"{n_features(name)}_in": len(names) for name, names in given.features.items()},
        "min_cells": min_cells,
        "atac_insertions": insertions,
        **{f"cells_without_{name}": int(without.sum()) for name, without in empty.items()},
        "cells_incomplete": int(incomplete.sum()),
        "batch": columns,
    }
    scope = Scope(cells.features, layers, covariates, insertions, cells.gene_ids)
    return Chosen(scope, cells, account)


def _refuse_few(n_cells: int, n_paired: int, n_modalities: int) -> None:
    if n_cells < FEWEST_CELLS:
        raise InputError(
            f"there {'is' if n_cells == 1 else 'are'} {count_of(n_cells, 'cell')}, too few to fit "
            f"a model; give at least {FEWEST_CELLS}"
        )
    if n_paired < FEWEST_CELLS:
        raise InputError(
            f"{count_of(n_paired, 'cell', 'has', 'have')} counts in {all_of(n_modalities)}, "
            f"too few to learn how they are related; give at least {FEWEST_CELLS}"
        )


def n_features(modality: str) -> str:
    """The name of their number in accounts and summaries."""
    return f"n_{MODALITIES[modality].features}"
