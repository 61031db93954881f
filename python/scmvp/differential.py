"""Which features differ between two groups of cells, with an error rate that is kept.

The effect of a feature is b = log(f_1 / f_2), f_g its share of the counts of group g. What the
counts say of it: given the count t_1 + t_2 of both groups, t_1 is binomial with
logit(p) = b + log(l_1 / l_2), l_g the counts of all features. Cells of a group differ by more than
that: a share that varies with squared coefficient of variation phi between the cells of a group
adds v = sum_g phi_g sum_i l_i^2 / (sum_i l_i)^2 to the variance of log(t_1 / t_2). It enters as an
extended quasi-likelihood (Nelder and Pregibon 1987) of dispersion D(b) = 1 + v (t_1 + t_2) p (1-p):

    log L(b) = -deviance(b) / (2 D(b)) - log(D(b)) / 2,

which is the binomial where v is 0 and a Gaussian where counts are many. phi is estimated by moments
for each feature and group and shrunk to the common value of the group, as far as its own variance
says. The prior of b is common to all features, learnt from them (empirical Bayes, as in ashr):
a point mass at zero, half-normals of either sign and narrow bumps, by EM, on a grid of b, from
features other than the one it is used for. All numbers of a feature follow from its posterior.

The model is asked for its own opinion (`lfc_model`); docs/differential.md says why that is no part
of the test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from scipy.special import xlogy

from . import impute
from .checks import name_some
from .errors import InputError
from .matrices import Matrix, pieces_of
from .module import PairedMixtureVAE
from .networks import Gaussian

if TYPE_CHECKING:
    from .model import SCMVP, PairedData

STEP = 0.025  # of the grid, natural logarithms
GRID = STEP * np.arange(-320, 321)
FEWEST_CELLS = 3  # of a group
MODEL_CELLS = 1000  # of a group that are decoded for its mean
PRIOR_FEATURES = 20_000  # from which the prior is learnt
FOLDS = 5
NULL_COUNTS = 10.0  # features without effect that are added to those seen (ashr has the same)
_BLOCK = 2048  # features at a time

COLUMNS = (
    "feature", "group", "reference", "lfc", "lfc_sd", "lfc_low", "lfc_high", "lfc_model",
    "lfc_model_sd", "mean_group", "mean_reference", "detected_group", "detected_reference",
    "prob_de", "log_bayes_factor", "q_value", "is_de",
)  # fmt: skip


class Comparison(NamedTuple):
    """A group of cells and what it is compared with, as units of `Groups`."""

    group: str
    reference: str
    units: tuple[list[int], list[int]]


@dataclass
class Groups:
    """Disjoint units of cells, and what is compared.

    `unit` is (n,), the unit of each cell, -1 for cells that are in none.
    """

    unit: np.ndarray
    n_units: int
    comparisons: list[Comparison]

    def without(self, left_out: np.ndarray) -> Groups:
        """The same without some cells, (n,) bool, as those in which nothing was counted."""
        found = Groups(np.where(left_out, -1, self.unit), self.n_units, self.comparisons)
        _refuse_small(found)
        return found


# ---- who is compared


def groups_of(
    cells: Sequence[str],
    labels: Sequence | pd.Series | None,
    group1: object,
    group2: object,
    labels_name: str = "groupby",
) -> Groups:
    """What the arguments of `SCMVP.differential_expression` mean.

    Raises:
        InputError: A group is unknown, empty, too small, or shares cells with the other.
    """
    if labels is not None:
        return _labelled(cells, labels, group1, group2, labels_name)
    if group1 is None:
        raise InputError("group1 is not given; give groupby, or group1 as a mask or cell names")
    first = _mask(cells, group1, "group1")
    second = ~first if group2 is None else _mask(cells, group2, "group2")
    if (both := first & second).any():
        shared = name_some(np.asarray(cells)[both])
        raise InputError(f"group1 and group2 share {both.sum()} cells ({shared}); take them apart")
    unit = np.where(first, 0, np.where(second, 1, -1))
    names = ("group1", "rest" if group2 is None else "group2")
    groups = Groups(unit, 2, [Comparison(*names, ([0], [1]))])
    _refuse_small(groups)
    return groups


def _labelled(cells, labels, group1, group2, name: str) -> Groups:
    if len(labels) != len(cells):
        raise InputError(
            f"{name} has {len(labels)} labels for {len(cells)} cells; give one for each cell"
        )
    labels = pd.Series(pd.Categorical(labels)).cat.remove_unused_categories().cat
    known, code = [str(label) for label in labels.categories], labels.codes.to_numpy()
    if len(known) < 2:
        raise InputError(f"{name} has the same label for all cells; there is nothing to compare")
    firsts = known if group1 is None else _labels_in(group1, known, "group1", name)
    if group1 is None and group2 is not None:
        raise InputError("group2 is given without group1; name the group to compare with it")
    second = None if group2 is None else _labels_in(group2, known, "group2", name)
    found = []
    # several labels in group1 are compared one after the other, those in group2 taken together
    for label in firsts:
        own = known.index(label)
        other = range(len(known)) if second is None else map(known.index, second)
        rest = [unit for unit in other if unit != own]
        if second is not None and len(rest) < len(second):
            raise InputError(f"'{label}' is both in group1 and in group2; take it out of one")
        reference = "rest" if second is None else "+".join(second)
        found.append(Comparison(label, reference, ([own], rest)))
    groups = Groups(code.astype(np.int64), len(known), found)
    _refuse_small(groups)
    return groups


def labels_in(path: str, cells: Sequence[str]) -> pd.Series:
    """Labels of cells from a CSV with a header, its first columns cell and label.

    Cells that the file lacks get none.
    """
    try:
        table = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as CSV with a header: {error}") from error
    if table.shape[1] < 2:
        raise InputError(f"{path} has one column; give two, cell and label, with a header")
    label = table.iloc[:, 1].set_axis(table.iloc[:, 0])
    if twice := name_some(label.index[label.index.duplicated()]):
        raise InputError(f"{path} has cells twice: {twice}; give each one label")
    found = label.reindex(pd.Index(cells))
    if found.isna().all():
        raise InputError(
            f"{path} has none of the cells (it has {name_some(label.index)}, the data "
            f"{name_some(cells)}); give the same names"
        )
    return found


def _labels_in(wanted: object, known: list[str], argument: str, name: str) -> list[str]:
    wanted = [wanted] if isinstance(wanted, str) or not np.iterable(wanted) else list(wanted)
    wanted = [str(label) for label in wanted]
    if missing := [label for label in wanted if label not in known]:
        raise InputError(
            f"{argument} is {name_some(missing)}, and {name} has no such label; "
            f"it has {name_some(known)}"
        )
    if not wanted:
        raise InputError(f"{argument} names no label; give one, or leave it out")
    return wanted


def _mask(cells: Sequence[str], given: object, argument: str) -> np.ndarray:
    values = np.asarray(given)
    if values.ndim != 1 or not len(values):
        raise InputError(
            f"{argument} must be a mask or a list of cell names, not {given!r} (labels need "
            "groupby)"
        )
    if values.dtype == bool:
        if len(values) != len(cells):
            raise InputError(
                f"{argument} is a mask of {len(values)} values for {len(cells)} cells; "
                "give one value for each cell"
            )
        return values
    mask = pd.Index(cells).isin(values.astype(str))
    if missing := sorted(set(values.astype(str)) - set(cells)):
        raise InputError(f"{argument} has cells that are not in the data: {name_some(missing)}")
    return mask


def _refuse_small(groups: Groups) -> None:
    size = np.bincount(groups.unit[groups.unit >= 0], minlength=groups.n_units)
    for comparison in groups.comparisons:
        named = zip(comparison[:2], comparison.units, strict=True)
        for name, units in named:
            if (n := size[units].sum()) < FEWEST_CELLS:
                raise InputError(
                    f"group '{name}' has {n} cells; a comparison needs at least {FEWEST_CELLS} "
                    "in each group"
                )


# ---- what is counted


@dataclass
class Sums:
    """Sums over the cells of each unit.

    `count`, `square`, `sized` (counts times library size) and `seen` are (units, features); `size`
    is (4, units), the sums of the first four powers of the library sizes; `n` is (units,).
    """

    count: np.ndarray
    square: np.ndarray
    sized: np.ndarray
    seen: np.ndarray
    size: np.ndarray
    n: np.ndarray

    def of(self, units: list[int]) -> Sums:
        """The same of several units together, (features,) and (4,)."""
        summed = [part[units].sum(0) for part in (self.count, self.square, self.sized, self.seen)]
        return Sums(*summed, self.size[:, units].sum(1), self.n[units].sum())


def sums_of(counts: Matrix, groups: Groups) -> Sums:
    """Go through the counts once, block of cells by block of cells; nothing is made dense."""
    n_units, n_features = groups.n_units, counts.shape[1]
    count, square, sized, seen = (np.zeros((n_units, n_features)) for _ in range(4))
    size, start = np.zeros((4, n_units)), 0
    for block in pieces_of(counts):
        unit = groups.unit[start : start + block.shape[0]]
        start += block.shape[0]
        rows = np.flatnonzero(unit >= 0)
        member = sp.csr_matrix(
            (np.ones(len(rows)), (unit[rows], rows)), shape=(n_units, block.shape[0])
        )
        library = np.asarray(block.sum(1, dtype=np.float64)).ravel()
        value = block.data.astype(np.float64)
        for total, data, weight in (
            (count, value, None), (square, value**2, None),
            (sized, value, library), (seen, np.ones_like(value), None),
        ):  # fmt: skip
            same = sp.csr_matrix((data, block.indices, block.indptr), shape=block.shape)
            part = member if weight is None else member.multiply(weight).tocsr()
            total += (part @ same).toarray()
        for power in range(4):
            size[power] += member @ library ** (power + 1)
    n = np.bincount(groups.unit[groups.unit >= 0], minlength=n_units)
    return Sums(count, square, sized, seen, size, n)


def sums_by_batch(counts: Matrix, groups: Groups, batch: np.ndarray | None) -> list[Sums]:
    """The same of each batch, from one pass.

    Args:
        counts: Cells x features.
        groups: Units of cells.
        batch: Number of each cell's batch, (n,); all are one when None.
    """
    if batch is None:
        return [sums_of(counts, groups)]
    n = int(batch.max()) + 1
    parts = np.where(groups.unit < 0, -1, groups.unit * n + batch)
    found = sums_of(counts, Groups(parts, groups.n_units * n, []))
    by_unit = (found.count, found.square, found.sized, found.seen)
    return [
        Sums(*(part[b::n] for part in by_unit), found.size[:, b::n], found.n[b::n])
        for b in range(n)
    ]


def _together(batches: list[Sums]) -> Sums:
    """Sums over all batches."""
    names = [field.name for field in fields(Sums)]
    return Sums(*(np.sum([getattr(part, name) for part in batches], axis=0) for name in names))


def overdispersion(sums: Sums) -> np.ndarray:
    """Squared coefficient of variation of each feature's share between the cells of a group.

    By moments: sum_i (x_i - l_i f)^2 - l_i f has the mean phi f^2 sum_i l_i^2. The estimates are
    shrunk to their weighted mean by their variances under NB(l_i f, 1 / phi) and the variance of
    phi between features.

    Args:
        sums: Of one group (see `Sums.of`).

    Returns:
        (features,), not negative.
    """
    f = sums.count / sums.size[0]
    residual = sums.square - 2 * f * sums.sized + f**2 * sums.size[1]
    excess = residual * sums.n / (sums.n - 1) - sums.count
    m1, m2, m3, m4 = (f ** (power + 1) * sums.size[power] for power in range(4))
    known = m2 > 0
    if not known.any():
        return np.zeros_like(f)
    estimate = np.divide(excess, m2, out=np.zeros_like(f), where=known)
    centre, between = 0.1, 0.1
    for _ in range(50):
        # the fourth central moment of NB of variance s is s^2 (3 + 6 phi) + s
        noise = (2 + 6 * centre) * (m2 + 2 * centre * m3 + centre**2 * m4) + m1 + centre * m2
        noise = np.divide(noise, m2**2, out=np.full_like(f, np.inf), where=known)
        weight = 1 / (noise + between)
        before = centre, between
        centre = max(float(weight @ estimate / weight.sum()), 0.0)
        ratio = weight**2 @ (estimate - centre) ** 2 / weight.sum()
        between = max(between * float(np.clip(ratio, 0.2, 5)), 1e-6)
        if np.allclose(before, (centre, between), rtol=1e-4):
            break
    own = between / (noise + between)
    return np.maximum(own * estimate + (1 - own) * centre, 0)


# ---- what the counts say of the effects


@dataclass
class Evidence:
    """What is known of the effects of all features, before any prior.

    `count` is (2, features), `log_ratio` log(l_1 / l_2) and what the typical feature differs by,
    `spread` (features,) the v of the module's text.
    """

    count: np.ndarray
    log_ratio: float
    spread: np.ndarray

    def log_likelihood(self, features: slice | np.ndarray) -> np.ndarray:
        """Logarithm of L on the grid, (features, grid), up to a constant of each feature."""
        first, second = self.count[:, features]
        total = first + second
        logit = GRID + self.log_ratio
        log_p, log_q = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
        most = xlogy(first, first) + xlogy(second, second) - xlogy(total, total)
        half_deviance = most[:, None] - np.outer(first, log_p) - np.outer(second, log_q)
        # a step of the grid as least variance: what is narrower would fall between its points
        dispersion = np.outer((self.spread[features] + STEP**2) * total, np.exp(log_p + log_q)) + 1
        return -half_deviance / dispersion - 0.5 * np.log(dispersion)

    def likelihood(self, features: slice | np.ndarray) -> np.ndarray:
        """L on the grid, (features, grid), the largest of each feature being 1."""
        return _scaled(self.log_likelihood(features))


@dataclass
class StratifiedEvidence:
    """Evidence from several batches, in each of which its own cells are compared.

    What a batch multiplies a feature by is the same in both groups of its cells and cancels.
    """

    parts: list[Evidence]

    @property
    def count(self) -> np.ndarray:
        """(2, features), over all batches."""
        return np.sum([part.count for part in self.parts], axis=0)

    def likelihood(self, features: slice | np.ndarray) -> np.ndarray:
        """The product of the batches' likelihoods, as `Evidence.likelihood`."""
        return _scaled(np.sum([part.log_likelihood(features) for part in self.parts], axis=0))


def _scaled(log_l: np.ndarray) -> np.ndarray:
    return np.exp(log_l - log_l.max(1, keepdims=True))


def evidence_of(group: Sums, reference: Sums) -> tuple[Evidence, float]:
    """Evidence of a comparison, and by how much the typical feature differs (log, in nats).

    Shares sum to one: features that gain leave less to all others. What the typical feature seems
    to differ by is therefore taken for no difference, as size factors do in bulk data.
    """
    count = np.stack([group.count, reference.count])
    spread = sum(
        overdispersion(sums) * sums.size[1] / sums.size[0] ** 2 for sums in (group, reference)
    )
    log_ratio = float(np.log(group.size[0] / reference.size[0]))
    rough = np.log((count[0] + 0.5) / (count[1] + 0.5)) - log_ratio
    variance = (1 / (count + 0.5)).sum(0) + spread
    centre = _centre(rough, variance, seen=count.sum(0) > 0)
    return Evidence(count, log_ratio + centre, spread), centre


def evidence_within(
    batches: list[Sums], comparison: Comparison
) -> tuple[StratifiedEvidence, float]:
    """The same from the batches that both groups have cells of, and the mean over them.

    Args:
        batches: What `sums_by_batch` found.
        comparison: Of their units.

    Raises:
        InputError: There is no such batch.
    """
    pairs = [[sums.of(units) for units in comparison.units] for sums in batches]
    shared = [pair for pair in pairs if min(side.n for side in pair) >= FEWEST_CELLS]
    if not shared:
        raise InputError(
            f"no batch has {FEWEST_CELLS} cells of '{comparison.group}' and of "
            f"'{comparison.reference}', so that their difference cannot be told from that of the "
            "batches; compare groups that share batches, or fit a model without batches"
        )
    parts, centres = zip(*(evidence_of(*pair) for pair in shared), strict=True)
    weights = [part.count.sum() for part in parts]
    return StratifiedEvidence(list(parts)), float(np.average(centres, weights=weights))


def _centre(effect: np.ndarray, variance: np.ndarray, seen: np.ndarray) -> float:
    """Where most effects lie: Tukey's biweight from the weighted median on."""
    effect, variance = effect[seen], variance[seen]
    if not len(effect):
        return 0.0
    order = np.argsort(effect)
    cumulative = np.cumsum(1 / variance[order])
    centre = float(effect[order][np.searchsorted(cumulative, cumulative[-1] / 2)])
    scale = 4 * np.sqrt(variance + 0.1**2)
    for _ in range(50):
        near = np.clip(1 - ((effect - centre) / scale) ** 2, 0, None) ** 2 / variance
        new = float(near @ effect / near.sum())
        if abs(new - centre) < 1e-6:
            break
        centre = new
    return new


# ---- the prior and the posterior


def components() -> np.ndarray:
    """Densities the prior is a mixture of, on the grid, (components, grid); the first is zero."""
    shapes = [(GRID == 0).astype(float)]
    for scale in 0.1 * 2 ** np.arange(6.0):
        normal = np.exp(-0.5 * (GRID / scale) ** 2) * np.where(GRID == 0, 0.5, 1)
        shapes += [normal * (GRID >= 0), normal * (GRID <= 0)]
    for centre in np.arange(0.45, 6, 0.3):
        shapes += [np.exp(-0.5 * ((GRID - side * centre) / 0.3) ** 2) for side in (1, -1)]
    return np.array([shape / shape.sum() for shape in shapes])


def fit_weights(marginal: np.ndarray) -> np.ndarray:
    """Weights of the components by EM, (components,).

    Args:
        marginal: Likelihood of each feature under each component, (features, components).
    """
    scaled = marginal / marginal.max(1, keepdims=True)
    weight = np.full(scaled.shape[1], 1 / scaled.shape[1])
    for _ in range(1000):
        new = weight * (scaled.T @ (1 / (scaled @ weight)))
        new[0] += NULL_COUNTS
        new /= new.sum()
        moved = np.abs(new - weight).max()
        weight = new
        if moved < 1e-5:
            break
    return weight


@dataclass
class Posterior:
    """Summaries of the effects, in log2, each (features,)."""

    mean: np.ndarray
    sd: np.ndarray
    low: np.ndarray
    high: np.ndarray
    prob: np.ndarray
    log_bayes_factor: np.ndarray


def posterior_of(evidence: Evidence | StratifiedEvidence, delta: float, seed: int = 0) -> Posterior:
    """Learn the prior and apply it; block of features by block of features.

    The prior of a feature is learnt from other features (of other folds): learnt from itself too,
    the largest noise would find its own bump in the prior and be taken for an effect.

    Args:
        evidence: Of all features.
        delta: log2; an effect within it counts as none.
        seed: Of the folds.
    """
    total = evidence.count.sum(0)
    n, shapes = len(total), components()
    rng = np.random.default_rng(seed)
    fold = rng.permutation(n) % FOLDS
    # features without a count say nothing
    seen = np.flatnonzero(total > 0)
    used = seen if len(seen) <= PRIOR_FEATURES else rng.choice(seen, PRIOR_FEATURES, replace=False)
    blocks = [used[start : start + _BLOCK] for start in range(0, len(used), _BLOCK)]
    marginals = [evidence.likelihood(block) @ shapes.T for block in blocks]
    marginal = np.concatenate(marginals) if marginals else np.ones((0, len(shapes)))
    priors = np.array([fit_weights(marginal[fold[used] != k]) @ shapes for k in range(FOLDS)])
    outside = np.abs(GRID) > delta * np.log(2) + 1e-9
    prior_odds = _logit(priors @ outside)
    found = np.empty((6, n))
    for start in range(0, n, _BLOCK):
        block = slice(start, min(start + _BLOCK, n))
        density = evidence.likelihood(block) * priors[fold[block]]
        density /= density.sum(1, keepdims=True)
        mean = density @ GRID
        cumulative = density.cumsum(1)
        prob = density @ outside
        found[:, block] = (
            mean,
            np.sqrt(np.maximum(density @ GRID**2 - mean**2, 0)),
            GRID[(cumulative < 0.025).sum(1)],
            GRID[np.minimum((cumulative < 0.975).sum(1), len(GRID) - 1)],
            prob,
            _logit(prob) - prior_odds[fold[block]],
        )
    found[:4] /= np.log(2)
    return Posterior(*found)


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-300, 1 - 1e-16)
    return np.log(p) - np.log1p(-p)


def q_values(prob: np.ndarray) -> np.ndarray:
    """Share of wrong calls expected among features at least as probable; (features,)."""
    order = np.argsort(-prob, kind="stable")
    found = np.empty_like(prob)
    found[order] = np.cumsum(1 - prob[order]) / np.arange(1, len(prob) + 1)
    return np.clip(found, 0, 1)


# ---- what the model says of the effects


@torch.no_grad()
def model_means(
    module: PairedMixtureVAE,
    q: Gaussian,
    groups: Groups,
    modality: str,
    n_samples: int,
    seed: int,
    design: np.ndarray | None = None,
) -> np.ndarray:
    """Mean decoded share of each unit at samples of z, (samples, units, features) float32.

    Of a unit of more cells, 1,000 of them drawn at random are decoded; all in the batch `design`.
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for unit in range(groups.n_units):
        members = np.flatnonzero(groups.unit == unit)
        if len(members) > MODEL_CELLS:
            members = np.sort(rng.choice(members, MODEL_CELLS, replace=False))
        chosen.append(members)
    rows = np.concatenate(chosen)
    unit = np.repeat(np.arange(groups.n_units), [len(members) for members in chosen])
    mean, sd = q.mean[rows], (0.5 * q.log_var[rows]).exp()
    weight = 1 / np.maximum(np.bincount(unit, minlength=groups.n_units), 1)
    found = []
    for _ in range(n_samples):
        noise = torch.from_numpy(rng.standard_normal(mean.shape).astype(np.float32))
        z = module.prior.to_frame((mean + sd * noise).to(module.log_theta.device)).cpu().numpy()
        sums, start = 0.0, 0
        for block in impute.decode_blocks(module, z, modality, None, 1.0, design):
            here = unit[start : start + len(block)]
            start += len(block)
            member = sp.csr_matrix(
                (weight[here], (here, np.arange(len(here)))), shape=(groups.n_units, len(here))
            )
            sums = sums + (member @ block).astype(np.float32)
        found.append(sums)
    return np.array(found)


def _model_effect(means: np.ndarray, n: np.ndarray, comparison: Comparison, centre: float):
    def of(units: list[int]) -> np.ndarray:
        weight = (n[units] / n[units].sum()).astype(np.float32)
        return np.log2(np.einsum("suf,u->sf", means[:, units], weight).astype(np.float64))

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
) -> pd.DataFrame:
    """Test every comparison.

    Args:
        counts: Cells x features.
        names: Of the features.
        groups: Who is compared.
        means: What `model_means` found.
        delta: log2; effects within it count as none.
        fdr: Expected share of wrong calls among the features called.
        library_size: Counts per cell that means are given for.
        wanted: Features the table and its q-values are of; all when None. The prior is learnt
            from all.
        batch: Number of each cell's batch, (n,): cells are compared with those of their own
            batch. All are one batch when None.
        seed: Of the folds of features.

    Returns:
        `COLUMNS`, one line per feature and comparison, the most probable first within each.
    """
    batches = sums_by_batch(counts, groups, batch)
    sums = _together(batches)
    wanted = np.arange(len(names)) if wanted is None else wanted
    tables, shifts = [], {}
    for comparison in groups.comparisons:
        sides = [sums.of(units) for units in comparison.units]
        for name, side in zip(comparison[:2], sides, strict=True):
            if not side.count.any():
                raise InputError(
                    f"group '{name}' has no count in this modality; there is nothing to compare"
                )
        evidence, centre = evidence_within(batches, comparison)
        posterior = posterior_of(evidence, delta, seed)
        lfc_model, lfc_model_sd = _model_effect(means, sums.n, comparison, centre)
        q = q_values(posterior.prob[wanted])
        of_group, of_reference = (
            (side.count / side.size[0] * library_size, side.seen / side.n) for side in sides
        )
        table = pd.DataFrame(
            {
                "feature": names, "group": comparison.group, "reference": comparison.reference,
                "lfc": posterior.mean, "lfc_sd": posterior.sd,
                "lfc_low": posterior.low, "lfc_high": posterior.high,
                "lfc_model": lfc_model, "lfc_model_sd": lfc_model_sd,
                "mean_group": of_group[0], "mean_reference": of_reference[0],
                "detected_group": of_group[1], "detected_reference": of_reference[1],
                "prob_de": posterior.prob, "log_bayes_factor": posterior.log_bayes_factor,
            }
        ).iloc[wanted]  # fmt: skip
        table["q_value"], table["is_de"] = q, q <= fdr
        clear = np.abs(table["lfc"]) / table["lfc_sd"].clip(lower=STEP)
        tables.append(table.iloc[np.lexsort((-clear, q))])
        shifts[f"{comparison.group} / {comparison.reference}"] = centre / np.log(2)
    table = pd.concat(tables, ignore_index=True)[list(COLUMNS)]
    table.attrs = {"delta": delta, "fdr": fdr, "typical_lfc": shifts}
    return table


def to_file(
    model: SCMVP,
    path: str,
    data: PairedData,
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
