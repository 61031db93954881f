"""The untrained module: loadings, totals and factors of batches from the counts."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from ..data.levels import covered_cells, fit_levels
from ..data.matrices import Matrix, entries_of_cells, feature_totals, rows_of
from ..data.overdispersion import excess_variance
from ..data.spectral import (
    Batches,
    CorrespondenceAnalysis,
    batches_of,
    fit_correspondence,
)
from ..modalities import MODALITIES
from ..nn import paper
from ..nn.background import Background
from ..nn.families import FAMILIES, CountModel
from ..nn.inputs import Reader, SpectralScores
from ..nn.levels import EARLY_PRIOR, LevelScores
from ..nn.module import Features, PairedMixtureVAE
from ..options import ModelOptions
from ..progress import SILENT, Stages

# Factor of the prior precision of the output weights in the KL warm-up if the likelihood models
# the overdispersion of the counts; and the amount added for overdispersion that it does not model,
# in units of the mean (docs/decisions, D13).
_EARLY_PRIOR, _PER_EXCESS = 0.2, 2.0


def untrained(
    options: ModelOptions,
    n_clusters: int | None,
    counts: dict[str, Matrix],
    of_batches: np.ndarray | None,
    seed: int,
    stages: Stages = SILENT,
) -> PairedMixtureVAE:
    """An untrained module, with the loadings and totals of the counts.

    Args:
        options: Options of the network.
        n_clusters: K; None leaves it open.
        counts: Counts of the cells to fit, by modality.
        of_batches: Their batches, (n, S).
        seed: Seed of the correspondence analysis.
        stages: For its progress.
    """
    o, features = options, {}
    for name, of_all in counts.items():
        matrix, design = _measured(of_all, of_batches)
        if MODALITIES[name].is_level:
            features[name] = _of_levels(o, name, matrix, design, seed, stages)
            continue
        of, factor = MODALITIES[name], None
        part = None if design is None else batches_of(matrix, design)
        if part is not None:
            factor = torch.from_numpy(part.log_factor)
        model = FAMILIES[o.likelihood(name)]
        reader: Reader
        early: Mapping[str, float] = {}
        if o.encoder_input == "counts":
            reader = paper.READERS[of.paper_input].of(matrix)
        else:
            with stages.stage(f"correspondence analysis of {of.group}") as report:
                found = fit_correspondence(matrix, o.n_components, seed, part, o.shrink, report)
                early = _early_prior(model, matrix, found, seed, part)
            reader = SpectralScores(found)
        totals = torch.from_numpy(feature_totals(matrix).astype(np.float32))
        features[name] = Features(totals, reader, factor, early_prior=early)
        if model.background:
            background, logit, above = Background.of(matrix, seed)
            features[name] = Features(above, reader, factor, background, logit)
    return PairedMixtureVAE(o, n_clusters, features)


def _measured(counts: Matrix, of_batches: np.ndarray | None) -> tuple[Matrix, np.ndarray | None]:
    """The cells in which a modality was measured, and their batches.

    Others have no counts, and would be taken for cells of no depth and without background.
    """
    measured = entries_of_cells(counts) > 0
    if measured.all() or not measured.any():
        return counts, of_batches
    rows = np.flatnonzero(measured)
    return rows_of(counts, rows), None if of_batches is None else of_batches[rows]


def _early_prior(
    model: CountModel,
    matrix: Matrix,
    found: CorrespondenceAnalysis,
    seed: int,
    batches: Batches | None,
) -> Mapping[str, float]:
    """By what the precision of the prior of the output weights is multiplied at first."""
    if model.family is None:
        return {}
    excess = excess_variance(matrix, found, seed, batches) if model.undispersed else 0.0
    return {"KL warm-up": min(1.0, _EARLY_PRIOR + _PER_EXCESS * excess)}


def _of_levels(
    options: ModelOptions,
    name: str,
    matrix: Matrix,
    design: np.ndarray | None,
    seed: int,
    stages: Stages,
) -> Features:
    """The part of a modality with two counts per feature."""
    with stages.stage(f"loadings of {MODALITIES[name].group}") as report:
        found = fit_levels(matrix, options.n_components, seed, design, options.shrink, report)
    covered = torch.from_numpy(covered_cells(matrix).astype(np.float32))
    factor = None if design is None else torch.from_numpy(found.log_factor)
    rho = float(found.correlation[0])
    return Features(
        totals=covered,
        reader=LevelScores(found),
        log_factor=factor,
        levels=torch.from_numpy(found.logit),
        start_dispersion=math.log((1 - rho) / rho),
        early_prior=EARLY_PRIOR,
    )
