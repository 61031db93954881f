"""Posteriors of effects under a prior that is learned from them.

The prior of an effect b is common to all features, learned from them (empirical Bayes, as in ashr):
a point mass at zero, half-normals of either sign and narrow bumps, on a grid of b, from
features other than the one it is used for. All numbers of a feature follow from its posterior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.optimize import nnls

STEP = 0.025  # of the grid, natural logarithms
GRID = STEP * np.arange(-320, 321)
PRIOR_FEATURES = 20_000  # from which the prior is learned
FOLDS = 5
NULL_COUNTS = 10.0  # features without effect that are added to those seen (ashr has the same)
_BLOCK = 2048  # features at a time
_NEWTON_STEPS = 200


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
    prior_odds = _log_odds(priors, outside)
    found = np.empty((6, n))
    for start in range(0, n, _BLOCK):
        block = slice(start, min(start + _BLOCK, n))
        density = evidence.likelihood(block) * priors[fold[block]]
        density /= density.sum(1, keepdims=True)
        mean = density @ GRID
        cumulative = density.cumsum(1)
        prob = density @ outside
        prob[prob > 1 - 1e-15] = 1  # so that rounding errors do not affect the order
        found[:, block] = (
            mean,
            np.sqrt(np.maximum(density @ GRID**2 - mean**2, 0)),
            GRID[(cumulative < 0.025).sum(1)],
            GRID[np.minimum((cumulative < 0.975).sum(1), len(GRID) - 1)],
            prob,
            _log_odds(density, outside) - prior_odds[fold[block]],
        )
    found[:4] /= np.log(2)
    return Posterior(*found)


def _log_odds(density: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Of an effect outside; of one inside, the sum itself, as 1 - p would be rounding errors."""
    return np.subtract(*(np.log((density @ part).clip(1e-300)) for part in (outside, ~outside)))


def q_values(prob: np.ndarray) -> np.ndarray:
    """Expected proportion of false calls among features at least as probable; (features,)."""
    order = np.argsort(-prob, kind="stable")
    found = np.empty_like(prob)
    found[order] = np.cumsum(1 - prob[order]) / np.arange(1, len(prob) + 1)
    return np.clip(found, 0, 1)
