"""The untrained module: loadings, totals and factors of batches from the counts."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..data.levels import covered_cells, fit_levels
from ..data.matrices import Matrix, feature_totals
from ..data.spectral import batches_of, fit_correspondence
from ..modalities import MODALITIES
from ..nn import paper
from ..nn.background import Background
from ..nn.families import FAMILIES
from ..nn.inputs import Reader, SpectralScores
from ..nn.levels import LevelScores
from ..nn.module import Features, PairedMixtureVAE
from ..options import ModelOptions
from ..progress import SILENT, Stages


def untrained(
    options: ModelOptions,
    n_clusters: int | None,
    counts: dict[str, Matrix],
    design: np.ndarray | None,
    seed: int,
    stages: Stages = SILENT,
) -> PairedMixtureVAE:
    """An untrained module, with the loadings and totals of the counts.

    Args:
        options: Options of the network.
        n_clusters: K; None leaves it open.
        counts: Counts of the cells to fit, by modality.
        design: Their batches, (n, S).
        seed: Seed of the correspondence analysis.
        stages: For its progress.
    """
    o, features = options, {}
    for name, matrix in counts.items():
        if MODALITIES[name].is_level:
            features[name] = _of_levels(o, name, matrix, design, seed, stages)
            continue
        of, factor = MODALITIES[name], None
        part = None if design is None else batches_of(matrix, design)
        if part is not None:
            factor = torch.from_numpy(part.log_factor)
        reader: Reader
        if o.encoder_input == "counts":
            reader = paper.READERS[of.paper_input].of(matrix)
        else:
            with stages.stage(f"correspondence analysis of {of.group}") as report:
                found = fit_correspondence(matrix, o.n_components, seed, part, o.shrink, report)
            reader = SpectralScores(found)
        totals = torch.from_numpy(feature_totals(matrix).astype(np.float32))
        features[name] = Features(totals, reader, factor)
        if FAMILIES[o.likelihood(name)].background:
            background, logit, above = Background.of(matrix, seed)
            features[name] = Features(above, reader, factor, background, logit)
    return PairedMixtureVAE(o, n_clusters, features)


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
    rho = float(found.likeness[0])
    return Features(
        totals=covered,
        reader=LevelScores(found),
        log_factor=factor,
        levels=torch.from_numpy(found.logit),
        start_dispersion=math.log((1 - rho) / rho),
    )
