"""Differential features between groups of cells, at a controlled false discovery rate.

Settings, the test (module `effects`), and the table, which also has fold changes of decoded values
(`lfc_model`); docs/differential.md explains why these are no part of the test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from ..arguments import flag, number, once, positive, whole_number
from ..data.covariates import distinct
from ..data.features import cells_with_counts
from ..data.matrices import Matrix
from ..data.paired import Paired
from ..data.scope import Scope
from ..errors import InputError
from ..fit.embedding import embed
from ..fit.fitted import Fitted
from ..modalities import feature_of
from ..nn.batches import Cells
from ..nn.module import PairedMixtureVAE
from ..nn.networks import Gaussian
from ..words import name_some
from . import forms, impute
from .compared import CountTest, LevelTest, Test
from .groups import Comparison, Groups
from .posterior import STEP, posterior_of, q_values

MODEL_CELLS = 1000  # of a group that are decoded for its mean

COLUMNS = (
    "feature", "group", "reference", "lfc", "lfc_sd", "lfc_low", "lfc_high", "lfc_model",
    "lfc_model_sd", "mean_group", "mean_reference", "detected_group", "detected_reference",
    "prob_de", "log_bayes_factor", "q_value", "is_de",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Settings of a comparison of groups.

    Attributes:
        modality: Whose features are tested.
        wanted: Numbers of the features to report; all when None.
        delta: log2; effects within it count as none.
        fdr: Expected proportion of false calls among the features called.
        library_size: Counts per cell that means are given for.
        n_samples: Samples of z for the fold changes of decoded values.
        latent: 'joint', or the modality whose posteriors these are from.
        seed: Seed of these samples and of the folds of features.
        only_pos: Whether only features that are higher in the group are asked for.
        form: Of the table, see module `forms`.
    """

    modality: str
    wanted: np.ndarray | None
    delta: float
    fdr: float
    library_size: float
    n_samples: int
    latent: str
    seed: int
    only_pos: bool
    form: str


def settings_of(
    scope: Scope,
    modality: str,
    features: Sequence[str] | None,
    delta: float,
    fdr: float,
    library_size: float,
    n_samples: int,
    latent: str,
    seed: int,
    only_pos: bool,
    form: str,
) -> Settings:
    """The settings that arguments of `SCMVP.differential_expression` give.

    Raises:
        InputError: One is out of range, or a feature is not of the model.
    """
    scope.refuse_latent("latent", latent)
    if not 0 <= (delta := number("delta", delta)) <= 10:
        raise InputError(f"delta is {delta!r}; give a log2 fold change from 0 to 10")
    if not 0 < (fdr := number("fdr", fdr)) < 1:
        raise InputError(f"fdr is {fdr!r}; give a number above 0 and below 1")
    library_size = positive("library_size", library_size)
    n_samples = whole_number("n_samples", n_samples)
    seed = whole_number("seed", seed, at_least=0, at_most=2**32 - 1)
    only_pos = flag("only_pos", only_pos)
    forms.refuse_unknown(form)
    # the rate is that of different features
    wanted = scope.columns(modality, features if features is None else once(features))
    return Settings(
        modality, wanted, delta, fdr, library_size, n_samples, latent, seed, only_pos, form
    )


def _without_absent(settings: Settings, scope: Scope, paired: Paired) -> Settings:
    """Nothing is said of features that the cells lack."""
    names = scope.names(settings.modality)
    absent = np.isin(names, paired.absent.get(settings.modality, []))
    if not absent.any():
        return settings
    if settings.wanted is None:
        return replace(settings, wanted=np.flatnonzero(~absent))
    if (lacking := absent[settings.wanted]).any():
        word = feature_of(settings.modality)
        raise InputError(
            f"the cells lack {name_some(names[settings.wanted[lacking]])}; leave out what was not "
            f"counted, or give cells with these {word}s"
        )
    return settings


def compare_groups(
    fit: Fitted, scope: Scope, paired: Paired, groups: Groups, settings: Settings
) -> pd.DataFrame:
    """Test groups of these cells; the table is that of `compare`, in the form asked for."""
    settings = _without_absent(settings, scope, paired)
    counts = paired.counts[settings.modality]
    design, row, batch = scope.design(paired), None, None
    if scope.covariates is not None and design is not None:
        row = scope.covariates.row(None)
        _, batch = distinct(design)
    groups = groups.testable(cells_with_counts(counts, settings.modality), batch)
    cells = Cells(paired.counts, fit.device, design=design)
    q = embed(fit.module, cells, modality=settings.latent)
    limit = size = None
    if settings.modality in fit.module.backgrounds:
        background = fit.module.backgrounds[settings.modality]
        limit, size = background.limit.cpu().numpy(), background.sizes(counts)
    means = model_means(
        fit.module, q, groups, settings.modality, settings.n_samples, settings.seed,
        np.argsort(paired.cells), row, size,
    )  # fmt: skip
    table = compare(
        counts, scope.names(settings.modality), groups, means,
        delta=settings.delta, fdr=settings.fdr, library_size=settings.library_size,
        wanted=settings.wanted, batch=batch, seed=settings.seed, only_pos=settings.only_pos,
        limit=limit, levels=fit.module.decoders[settings.modality].levels,
    )  # fmt: skip
    return forms.in_form(table, settings.form)


# ---- fold changes of decoded values


@torch.no_grad()
def model_means(
    module: PairedMixtureVAE,
    q: Gaussian,
    groups: Groups,
    modality: str,
    n_samples: int,
    seed: int,
    order: np.ndarray,
    design: np.ndarray | None = None,
    size: np.ndarray | None = None,
) -> np.ndarray:
    """Mean expected proportions of each unit at samples of z, (samples, units, features) float32.

    Of a unit of more cells, 1,000 of them drawn at random are decoded; all in the batch `design`.
    Random numbers are drawn in the `order` of cells, (n,), that of their names.
    With a `size` of each cell, (n,), they are mean counts instead.
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for unit in range(groups.n_units):
        members = order[groups.unit[order] == unit]
        if len(members) > MODEL_CELLS:
            members = members[np.sort(rng.choice(len(members), MODEL_CELLS, replace=False))]
        chosen.append(members)
    rows = np.concatenate(chosen)
    unit_of = np.repeat(np.arange(groups.n_units), [len(members) for members in chosen])
    mean, sd = q.mean[rows], (0.5 * q.log_var[rows]).exp()
    weight = (1 / np.maximum(np.bincount(unit_of, minlength=groups.n_units), 1))[unit_of]
    if size is not None:
        weight = weight * size[rows]
    found = []
    for _ in range(n_samples):
        noise = torch.from_numpy(rng.standard_normal(mean.shape).astype(np.float32))
        z = module.prior.whiten((mean + sd * noise).to(module.prior.mean.device)).cpu().numpy()
        sums: np.ndarray = np.zeros((1, 1), np.float32)
        start = 0
        for block in impute.decode_blocks(module, z, modality, None, 1.0, design):
            here = slice(start, start + len(block))
            start += len(block)
            member = sp.csr_matrix(
                (weight[here], (unit_of[here], np.arange(len(block)))),
                shape=(groups.n_units, len(block)),
            )
            sums = sums + (member @ block).astype(np.float32)
        found.append(sums)
    return np.array(found)


def _model_effect(
    means: np.ndarray, n: np.ndarray, comparison: Comparison, centre: float, levels: bool
):
    def of(units: list[int]) -> np.ndarray:
        weight = (n[units] / n[units].sum()).astype(np.float32)
        mean = np.einsum("suf,u->sf", means[:, units], weight).astype(np.float64)
        return np.log2(mean) - (np.log2(np.maximum(1 - mean, 1e-12)) if levels else 0)

    effect = of(comparison.units[0]) - of(comparison.units[1]) - centre / np.log(2)
    return effect.mean(0), effect.std(0)


# ---- the table


def compare(
    counts: Matrix,
    names: np.ndarray,
    groups: Groups,
    means: np.ndarray,
    *,
    delta: float,
    fdr: float,
    library_size: float,
    wanted: np.ndarray | None = None,
    batch: np.ndarray | None = None,
    seed: int = 0,
    only_pos: bool = False,
    limit: np.ndarray | None = None,
    levels: bool = False,
) -> pd.DataFrame:
    """Test every comparison.

    Args:
        counts: Cells x features.
        names: Names of the features.
        groups: Who is compared; each comparison is `Groups.testable`.
        means: What `model_means` found.
        delta: log2; effects within it count as none.
        fdr: Expected proportion of false calls among the features called.
        library_size: Counts per cell that means are given for.
        wanted: Features the table and its q-values are of; all when None. The prior is learned
            from all.
        batch: Number of each cell's batch, (n,): cells are compared with those of their own
            batch. All are one batch when None.
        seed: Seed of the folds of features.
        only_pos: Only features that are counted in the group and higher in it (`lfc` above 0);
            a call is one of a fold change above delta, and the rate is that of these features.
        limit: The largest count of each feature that is background, (f,); None where there is none.
        levels: Whether the counts are of two kinds (`data.levels.stacked`), the features have
            levels, and effects are differences of their log odds.

    Returns:
        `COLUMNS`, one line per feature and comparison; within each those that are higher in the
        group come first, of these and of the others the most probable.
    """
    test: Test
    if levels:
        test = LevelTest.of_counts(counts, groups, batch)
    else:
        test = CountTest.of_counts(counts, groups, batch, limit, library_size)
    wanted = np.arange(len(names)) if wanted is None else wanted
    tables, shifts = [], {}
    for comparison in groups.comparisons:
        evidence, centre, decoded_centre, mean, detected = test.of(comparison)
        posterior = posterior_of(evidence, delta, seed, only_pos)
        lfc_model, lfc_model_sd = _model_effect(
            means, test.n_cells, comparison, decoded_centre, levels
        )
        kept = wanted
        if only_pos:
            kept = wanted[(posterior.mean[wanted] > 0) & (mean[0][wanted] > 0)]
        q = q_values(posterior.prob[kept])
        table = pd.DataFrame(
            {
                "feature": names, "group": comparison.group, "reference": comparison.reference,
                "lfc": posterior.mean, "lfc_sd": posterior.sd,
                "lfc_low": posterior.low, "lfc_high": posterior.high,
                "lfc_model": lfc_model, "lfc_model_sd": lfc_model_sd,
                "mean_group": mean[0], "mean_reference": mean[1],
                "detected_group": detected[0], "detected_reference": detected[1],
                "prob_de": posterior.prob, "log_bayes_factor": posterior.log_bayes_factor,
            }
        ).iloc[kept]  # fmt: skip
        table["q_value"], table["is_de"] = q, q <= fdr
        clear = np.abs(table["lfc"]) / table["lfc_sd"].clip(lower=STEP)
        tables.append(table.iloc[np.lexsort((-clear, q, table["lfc"] <= 0))])
        shifts[f"{comparison.group} / {comparison.reference}"] = centre / np.log(2)
    table = pd.concat(tables, ignore_index=True)[list(COLUMNS)]
    table.attrs = {
        "delta": delta, "fdr": fdr, "only_pos": only_pos, "typical_lfc": shifts,
        "comparisons": [comparison[:2] for comparison in groups.comparisons],
        "left_out": groups.left_out,
    }  # fmt: skip
    return table
