"""Effects of a group of cells on features, from sums of counts to posteriors.

The effect of a feature is b = log(f_1 / f_2), f_g its proportion in the counts of group g. Its
likelihood: given the count t_1 + t_2 of both groups, t_1 is binomial with
logit(p) = b + log(l_1 / l_2), l_g the counts of all features. Cells of a group differ by more than
that: a proportion with squared coefficient of variation phi between the cells of a group
adds v = sum_g phi_g sum_i l_i^2 / (sum_i l_i)^2 to the variance of log(t_1 / t_2). It enters as an
extended quasi-likelihood (Nelder and Pregibon 1987) of dispersion D(b) = 1 + v (t_1 + t_2) p (1-p):

    log L(b) = -deviance(b) / (2 D(b)) - log(D(b)) / 2,

which is the binomial where v is 0 and a Gaussian where counts are many. phi is estimated by moments
for each feature and group and shrunk to the common value of the group, according to its own
variance. The prior of b is common to all features, learned from them (empirical Bayes, as in ashr):
a point mass at zero, half-normals of either sign and narrow bumps, on a grid of b, from
features other than the one it is used for. All numbers of a feature follow from its posterior.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from scipy.optimize import nnls
from scipy.special import xlogy

from ..data.matrices import Matrix, pieces_of

STEP = 0.025  # of the grid, natural logarithms
GRID = STEP * np.arange(-320, 321)
PRIOR_FEATURES = 20_000  # from which the prior is learned
FOLDS = 5
NULL_COUNTS = 10.0  # features without effect that are added to those seen (ashr has the same)
_BLOCK = 2048  # features at a time
_NEWTON_STEPS = 200


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
        """The sums over several units, (features,) and (4,)."""
        count, square, sized, seen = (
            part[units].sum(0) for part in (self.count, self.square, self.sized, self.seen)
        )
        return Sums(count, square, sized, seen, self.size[:, units].sum(1), self.n[units].sum())


def sums_of(counts: Matrix, unit: np.ndarray, n_units: int) -> Sums:
    """Compute the sums in one pass over blocks of cells, without a dense matrix.

    Args:
        counts: Cells x features.
        unit: Number of each cell's unit, (n,), -1 for cells that are in none.
        n_units: Number of units.
    """
    n_features = counts.shape[1]
    count, square, sized, seen = (np.zeros((n_units, n_features)) for _ in range(4))
    size, start = np.zeros((4, n_units)), 0
    for block in pieces_of(counts):
        here = unit[start : start + block.shape[0]]
        start += block.shape[0]
        rows = np.flatnonzero(here >= 0)
        member = sp.csr_matrix(
            (np.ones(len(rows)), (here[rows], rows)), shape=(n_units, block.shape[0])
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
    n = np.bincount(unit[unit >= 0], minlength=n_units)
    return Sums(count, square, sized, seen, size, n)


def sums_by_batch(
    counts: Matrix, unit: np.ndarray, n_units: int, batch: np.ndarray | None
) -> list[Sums]:
    """The sums of each batch, from one pass; `batch` (n,) numbers the batches; None: one
    batch."""
    if batch is None:
        return [sums_of(counts, unit, n_units)]
    n = int(batch.max()) + 1
    found = sums_of(counts, np.where(unit < 0, -1, unit * n + batch), n_units * n)
    return [
        Sums(
            found.count[b::n], found.square[b::n], found.sized[b::n], found.seen[b::n],
            found.size[:, b::n], found.n[b::n],
        )
        for b in range(n)
    ]  # fmt: skip


def together(batches: Sequence[Any]) -> Any:
    """Sums over all batches, of `Sums` or the like."""
    kind = type(batches[0])
    names = [field.name for field in fields(kind)]
    return kind(*(np.sum([getattr(part, name) for part in batches], axis=0) for name in names))


def overdispersion(sums: Sums) -> np.ndarray:
    """Squared coefficient of variation of each feature's proportion between the cells of a group.

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

    def noise(phi: float) -> np.ndarray:
        # the fourth central moment of NB of variance s is s^2 (3 + 6 phi) + s
        return (2 + 6 * phi) * (m2 + 2 * phi * m3 + phi**2 * m4) + m1 + phi * m2

    return np.maximum(shrunken(excess, m2, noise, m2 > 0), 0)


def shrunken(
    excess: np.ndarray, unit: np.ndarray, noise_of: Callable[[float], np.ndarray], known: np.ndarray
) -> np.ndarray:
    """Estimates excess / unit of each feature, shrunk to their weighted mean; (features,).

    Args:
        excess: (features,), sums whose mean is the number to be estimated times `unit`.
        unit: (features,).
        noise_of: Gives the variance of `excess`, (features,), if all features have this number.
        known: Which features tell something; the others get the mean, or 0 where none does.
    """
    if not known.any():
        return np.zeros_like(excess)
    estimate = np.divide(excess, unit, out=np.zeros_like(excess), where=known)
    centre, between = 0.1, 0.1
    for _ in range(50):
        noise = noise_of(centre)
        noise = np.divide(noise, unit**2, out=np.full_like(excess, np.inf), where=known)
        weight = 1 / (noise + between)
        before = centre, between
        centre = max(float(weight @ estimate / weight.sum()), 0.0)
        ratio = weight**2 @ (estimate - centre) ** 2 / weight.sum()
        between = max(between * float(np.clip(ratio, 0.2, 5)), 1e-6)
        if np.allclose(before, (centre, between), rtol=1e-4):
            break
    own = between / (noise + between)
    return own * estimate + (1 - own) * centre


# ---- the likelihood of the effects


@dataclass
class Evidence:
    """The likelihood of the effects of all features.

    Cells are compared within each of B batches: the factor by which a batch multiplies a feature is
    the same in both groups and cancels. `count` is (B, 2, features); `log_ratio` (B,) is log(l_1 /
    l_2) plus the log fold change of the typical feature; `spread` (B, features) is the v of the
    text of the module.
    """

    count: np.ndarray
    log_ratio: np.ndarray
    spread: np.ndarray

    @property
    def informative(self) -> np.ndarray:
        """Which features have counts, (features,) bool."""
        return self.count.sum((0, 1)) > 0

    def likelihood(self, features: slice | np.ndarray) -> np.ndarray:
        """L on the grid, (features, grid), the largest of each feature being 1."""
        parts = zip(self.count, self.log_ratio, self.spread, strict=True)
        log_l = np.zeros((1, 1))
        for count, log_ratio, spread in parts:
            log_l = log_l + _log_likelihood(count[:, features], log_ratio, spread[features])
        return np.exp(log_l - log_l.max(1, keepdims=True))


def _log_likelihood(count: np.ndarray, log_ratio: float, spread: np.ndarray) -> np.ndarray:
    """Logarithm of L of one batch on the grid, (features, grid), up to a constant of each."""
    first, second = count
    total = first + second
    logit = GRID + log_ratio
    log_p, log_q = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
    most = xlogy(first, first) + xlogy(second, second) - xlogy(total, total)
    half_deviance = most[:, None] - np.outer(first, log_p) - np.outer(second, log_q)
    # a step of the grid as least variance: what is narrower would fall between its points
    dispersion = np.outer((spread + STEP**2) * total, np.exp(log_p + log_q)) + 1
    return -half_deviance / dispersion - 0.5 * np.log(dispersion)


def evidence_of(
    batches: list[tuple[Sums, Sums]], above: list[tuple[Sums, Sums]] | None = None
) -> tuple[Evidence, float]:
    """Evidence of a comparison, and the log fold change of the typical feature (natural log).

    Proportions sum to one: features that gain leave less to all others. The difference of the
    typical feature is therefore subtracted from all, as size factors do in bulk data. Of a few
    features that were chosen because they differ, none is typical; where they have a background,
    that is what both groups have in common, and its difference is subtracted.

    Args:
        batches: Sums of both groups in each batch.
        above: The same of the counts above the background, where there is one.

    Returns:
        The evidence, and the log fold change of the typical feature, or of the background, a mean
        over the batches.
    """
    parts = [
        _of_batch(*pair, None if above is None else above[number])
        for number, pair in enumerate(batches)
    ]
    count, log_ratio, spread, centre = (np.stack(part) for part in zip(*parts, strict=True))
    return Evidence(count, log_ratio, spread), float(np.average(centre, weights=count.sum((1, 2))))


def _of_batch(
    group: Sums, reference: Sums, above: tuple[Sums, Sums] | None
) -> tuple[np.ndarray, float, np.ndarray, float]:
    """`count`, `log_ratio` and `spread` of `Evidence`, and what the typical feature differs by."""
    count = np.stack([group.count, reference.count])
    spread = sum(
        overdispersion(sums) * sums.size[1] / sums.size[0] ** 2 for sums in (group, reference)
    )
    log_ratio = float(np.log(group.size[0] / reference.size[0]))
    rough = np.log((count[0] + 0.5) / (count[1] + 0.5)) - log_ratio
    variance = (1 / (count + 0.5)).sum(0) + spread
    if above is None:
        centre = _centre(rough, variance, seen=count.sum(0) > 0)
    else:
        per_cell = float(np.log(group.n / reference.n))
        centre = _of_background((group, reference), above) + per_cell - log_ratio
    return count, log_ratio + centre, spread, centre


def _of_background(both: tuple[Sums, Sums], above: tuple[Sums, Sums]) -> float:
    """Log fold change of the background, per cell: the median of the features.

    A feature counts by the proportion of cells that have its background alone, in the group where
    they are fewer.
    """
    mean, share = [], []
    for all_counts, higher in zip(both, above, strict=True):
        n_cells = all_counts.n - higher.seen
        mean.append((all_counts.count - higher.count + 0.5) / np.maximum(n_cells, 1))
        share.append(n_cells / all_counts.n)
    effect, weight = np.log(mean[0] / mean[1]), np.minimum(*share)
    order = np.argsort(effect)
    cumulative = np.cumsum(weight[order])
    return float(effect[order][np.searchsorted(cumulative, cumulative[-1] / 2)])


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
    """Component densities of the prior on the grid, (components, grid); the first is that at
    zero."""
    shapes = [(GRID == 0).astype(float)]
    for scale in 0.1 * 2 ** np.arange(6.0):
        normal = np.exp(-0.5 * (GRID / scale) ** 2) * np.where(GRID == 0, 0.5, 1)
        shapes += [normal * (GRID >= 0), normal * (GRID <= 0)]
    for centre in np.arange(0.45, 6, 0.3):
        shapes += [np.exp(-0.5 * ((GRID - side * centre) / 0.3) ** 2) for side in (1, -1)]
    return np.array([shape / shape.sum() for shape in shapes])


def fit_weights(marginal: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """Weights of the components that maximize the likelihood, (components,).

    Newton steps, each of which solves a problem of non-negative least squares; EM would need
    thousands of steps. The likelihood is concave, so the start affects only the computing time.

    Args:
        marginal: Likelihood of each feature under each component, (features, components).
        start: Initial weights, such as those of nearly the same features; equal weights when
            None.
    """
    scaled = marginal / marginal.max(1, keepdims=True)
    total, k = len(scaled) + NULL_COUNTS, scaled.shape[1]

    def loss(weight: np.ndarray) -> float:  # smallest where they sum to one
        with np.errstate(divide="ignore"):
            fit = np.log(scaled @ weight).sum() + NULL_COUNTS * np.log(weight[0])
        return total * weight.sum() - fit

    weight = np.full(k, 1 / k) if start is None else (start + 1e-4) / (1 + 1e-4 * k)
    value = loss(weight)
    for _ in range(_NEWTON_STEPS):
        ratio = scaled / (scaled @ weight)[:, None]
        gradient = total - ratio.sum(0)
        gradient[0] -= NULL_COUNTS / weight[0]
        if gradient.min() > -1e-6 * total:
            break
        curvature = ratio.T @ ratio
        curvature[0, 0] += NULL_COUNTS / weight[0] ** 2
        curvature[np.diag_indices(k)] += 1e-8 * np.trace(curvature) / k
        root = np.linalg.cholesky(curvature)
        goal = np.linalg.solve(root, curvature @ weight - gradient)
        step = nnls(root.T, goal, maxiter=100 * k)[0] - weight
        length, slope = 1.0, gradient @ step
        while loss(weight + length * step) > value + 1e-4 * length * slope and length > 1e-9:
            length /= 2
        weight = np.maximum(weight + length * step, 0)
        weight /= weight.sum()  # then weight @ gradient is 0: no gradient below 0 is the optimum
        value = loss(weight)
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


class Likelihood(Protocol):
    """What `posterior_of` needs of evidence."""

    @property
    def informative(self) -> np.ndarray:
        """Which features tell something of an effect, (features,) bool."""

    def likelihood(self, features: slice | np.ndarray) -> np.ndarray:
        """L on the grid, (features, grid), the largest of each feature being 1."""


def posterior_of(
    evidence: Likelihood, delta: float, seed: int = 0, only_pos: bool = False
) -> Posterior:
    """Learn the prior and apply it, in blocks of features.

    The prior of a feature is learned from the features of other folds. If it were learned from the
    feature itself as well, the largest noise would create its own bump in the prior and be mistaken
    for an effect.

    Args:
        evidence: Of all features.
        delta: Absolute log2 fold changes up to this value count as no effect.
        seed: Seed of the folds.
        only_pos: `prob` and `log_bayes_factor` refer to an effect above delta, not to one beyond
            it on either side.
    """
    informative, shapes = evidence.informative, components()
    n = len(informative)
    rng = np.random.default_rng(seed)
    fold = rng.permutation(n) % FOLDS
    seen = np.flatnonzero(informative)
    used = seen if len(seen) <= PRIOR_FEATURES else rng.choice(seen, PRIOR_FEATURES, replace=False)
    blocks = [used[start : start + _BLOCK] for start in range(0, len(used), _BLOCK)]
    marginals = [evidence.likelihood(block) @ shapes.T for block in blocks]
    marginal = np.concatenate(marginals) if marginals else np.ones((0, len(shapes)))
    whole = fit_weights(marginal)
    weights = np.array([fit_weights(marginal[fold[used] != k], whole) for k in range(FOLDS)])
    # an effect that no other feature has would else be impossible
    priors = (len(used) * weights + 1 / len(shapes)) / (len(used) + 1) @ shapes
    outside = (GRID if only_pos else np.abs(GRID)) > delta * np.log(2) + 1e-9
    prior_odds = _logit(priors @ outside)
    found = np.empty((6, n))
    for start in range(0, n, _BLOCK):
        block = slice(start, min(start + _BLOCK, n))
        density = evidence.likelihood(block) * priors[fold[block]]
        density /= density.sum(1, keepdims=True)
        mean = density @ GRID
        cumulative = density.cumsum(1)
        prob = density @ outside
        prob[prob > 1 - 1e-15] = 1  # differences of rounding are no order
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
    """Expected proportion of false calls among features at least as probable; (features,)."""
    order = np.argsort(-prob, kind="stable")
    found = np.empty_like(prob)
    found[order] = np.cumsum(1 - prob[order]) / np.arange(1, len(prob) + 1)
    return np.clip(found, 0, 1)
