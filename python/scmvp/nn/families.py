"""Distributions of counts, in a form for one pass over blocks of features.

The formulas are those of `distributions`, which has them for means of any kind; here

- rising factorials take a round for each size of a count, over the counts that are at least as
  large, as most are 1 or 2;
- gradients are kept as P = m d log p / d m, which is finite at m = 0.

`FAMILIES` is the table of likelihoods: a new one is an entry of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from . import distributions as plain

if TYPE_CHECKING:
    from .likelihood import Blocks, Pool

SMALLEST_DISPERSION = 1e-6  # of the NB1: the Poisson to six digits
_ROUNDS = 16  # counts up to it are products, of larger ones the gamma function is taken

# Logarithms of the dispersions until these are learned (docs/decisions, D23).
START_LOG_THETA = 1.5  # inverse dispersion of the NB: variance m + m^2 / 4.5
NO_DISPERSION = -20.0  # linear dispersion of the NB1: the Poisson
START_LOG_DISPERSION = -2.0  # the same when learning begins: variance 1.14 m
START_LOG_CONCENTRATION = 1.5  # of the beta-binomial, where nothing is known of it
START_ZERO_LOGIT = -3.0  # 5 % structural zeros


class Counts(NamedTuple):
    """The non-zeros of a batch, in any order."""

    value: Tensor  # (nnz,), x
    column: Tensor | None  # (nnz,) int64; None where the family does not need it
    repeated: Tensor | None  # (few,) int64, which entries are above 1; None: not known

    @classmethod
    def of(cls, value: Tensor, column: Tensor | None) -> Counts:
        """Those of a batch."""
        # a GPU is not asked: we would have to wait for it
        repeated = (value > 1).nonzero()[:, 0] if value.device.type == "cpu" else None
        return cls(value, column, repeated)

    def log_factorial(self) -> Tensor:
        """Sum of log x!, float64."""
        x = self.value if self.repeated is None else self.value.index_select(0, self.repeated)
        return (x.double() + 1).lgamma_().sum()


class Family:
    """A count distribution of mean m = size_i * f_ij with one parameter per feature.

    P is m d log p / d m. `slope` collects the derivative by the parameter, where it is learned.
    """

    by_feature = True  # whether it has to be known which feature a count is of

    def __init__(self, parameter: Tensor, learned: bool):
        self.slope = torch.zeros_like(parameter) if learned else None
        # (F,), a: the log-likelihood of a zero is -a_j m, its slope -m zero_slope_j; None: it is
        # not linear in m, and `dense` has it
        self.zero: Tensor | None = None
        self.zero_slope: Tensor | None = None

    def dense(self, m: Tensor, j: slice, copies: Tensor | None) -> Tensor:
        """Log-likelihood (B,) as if every count of a block were zero; turns m into P.

        Args:
            m: (B, f) means of the features j; P afterwards.
            j: Numbers of the features.
            copies: (F,), how often each feature counts; None: once.
        """
        raise NotImplementedError

    def of_zeros(
        self, e: Tensor, blocks: Blocks, per_e: Tensor, pool: Pool, copies: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What there would be if every count were zero.

        Args:
            e: (B, F) in blocks, means but for the factor of each cell.
            blocks: Positions of the features in e.
            per_e: (B,), the factor.
            pool: Source of memory.
            copies: (F,), how often each feature counts; None: once.

        Returns:
            Log-likelihood (B,), sum of P (B,), and P like e; None where it is linear in e.
        """
        log_lik, row_p, p = torch.zeros_like(per_e), torch.zeros_like(per_e), None
        if self.zero is None:
            p = pool.take(e.numel(), e)
            for j in blocks.slices():
                m = torch.mul(blocks.of(e, j), per_e[:, None], out=blocks.of(p, j))
                log_lik += self.dense(m, j, copies)
                row_p += m.sum(1) if copies is None else m.mv(copies[j])
            return log_lik, row_p, p
        zero = self.zero if copies is None else self.zero * copies
        for j in blocks.slices():
            row_p -= blocks.of(e, j).mv(zero[j])
            if self.slope is not None and self.zero_slope is not None:
                self.slope[j] = -self.zero_slope[j] * blocks.of(e, j).t().mv(per_e)
        row_p *= per_e
        return row_p.clone(), row_p, None

    def to_gradient(
        self, e: Tensor, p: Tensor | None, blocks: Blocks, per_e: Tensor, p_per_e: Tensor
    ) -> None:
        """Turn e into the gradient of the logits, P - f Σ P, as if every count were zero.

        Args:
            e: (B, F) in blocks, as P by `of_zeros`.
            p: What that returned.
            blocks: Positions of the features in e.
            per_e: (B,), mean per e.
            p_per_e: (B,), Σ P, of all counts as they are, by Σ e.
        """
        for j in blocks.slices():
            block = blocks.of(e, j)
            if p is not None:
                torch.addcmul(blocks.of(p, j), block, p_per_e[:, None], value=-1, out=block)
            elif self.zero is not None:  # P of a zero is -a m
                per_m = torch.addcmul(p_per_e[:, None], per_e[:, None], self.zero[j])
                block.mul_(per_m.neg_())

    def at_nonzero(self, log_m: Tensor, counts: Counts) -> tuple[Tensor, Tensor]:
        """What the counts that are not zero change.

        Args:
            log_m: (nnz,), logarithms of the means.
            counts: The counts.

        Returns:
            Log-likelihood but for log x!, summed, and P (nnz,).
        """
        raise NotImplementedError


class NegativeBinomial(Family):
    """NB, of inverse dispersion theta = exp(parameter); variance m + m^2 / theta."""

    def __init__(self, log_theta: Tensor, learned: bool):
        super().__init__(log_theta, learned)
        self.log_theta, self.theta = log_theta, log_theta.exp()

    def dense(self, m, j, copies):  # noqa: D102
        theta = self.theta[j]
        ratio = m / theta
        log1p = ratio.log1p()
        m.div_(ratio.add_(1)).neg_()
        if self.slope is not None:
            # -theta log1p(m / theta) by log theta is -theta log1p - P
            self.slope[j] = -theta * column_sums(log1p) - column_sums(m)
        return -(log1p @ (theta if copies is None else theta * copies[j]))

    def at_nonzero(self, log_m, counts):  # noqa: D102
        x, column = counts.value, counts.column
        theta = self.theta.index_select(0, column)
        total = log_m.exp() + theta
        # Γ(x + theta) / Γ(theta) as a product, for as differences of lgamma and of digamma it and
        # its derivative lose all digits where theta is large
        log_rising, slope = _after_first(theta, torch.ones_like(theta), counts)
        of_first = self.log_theta.index_select(0, column).sum(dtype=torch.float64)
        log_lik = x @ (log_m - total.log()) + of_first + log_rising
        p = x * theta / total
        if self.slope is not None:
            self.slope.scatter_add_(0, column, 1 + slope - p)
        return log_lik, p


class Poisson(Family):
    """The Poisson; the parameter is not used."""

    by_feature = False

    def __init__(self, parameter: Tensor, learned: bool):
        super().__init__(parameter, learned)
        self.zero = torch.ones_like(parameter)
        self.zero_slope = torch.zeros_like(parameter)

    def at_nonzero(self, log_m, counts):  # noqa: D102
        return counts.value @ log_m, counts.value


class LinearNegativeBinomial(Family):
    """NB1, of linear dispersion alpha = exp(parameter): variance m (1 + alpha), the Poisson at 0.

    It is a sum of bursts, m log(1 + alpha) / alpha on average, of logarithmic numbers of counts. A
    zero's log-likelihood is linear in m, so that zeros cost what they cost under the Poisson.
    """

    def __init__(self, log_dispersion: Tensor, learned: bool):
        super().__init__(log_dispersion, learned)
        self.alpha = log_dispersion.exp().clamp_min(SMALLEST_DISPERSION)
        self.zero = self.alpha.log1p() / self.alpha
        self.zero_slope = 1 / (1 + self.alpha) - self.zero

    def at_nonzero(self, log_m, counts):  # noqa: D102
        # with a for alpha, Γ(x + m / a) / Γ(m / a) (a / (1 + a))^x as Π_{k<x} (m + k a) / (1 + a)^x
        x, column = counts.value, counts.column
        alpha = self.alpha.index_select(0, column)
        log_rising, p = _after_first(log_m.exp(), alpha, counts)
        log_lik = log_m.sum() + log_rising - x @ self.alpha.log1p().index_select(0, column)
        p += 1
        if self.slope is not None:
            self.slope.scatter_add_(0, column, x / (1 + alpha) - p)
        return log_lik, p


def _after_first(m: Tensor, c: Tensor, counts: Counts) -> tuple[Tensor, Tensor]:
    """Σ_{0<k<x} log(m + k c), summed over entries, and Σ_{0<k<x} m / (m + k c), (nnz,)."""
    if counts.repeated is None:
        log_rising, p = _after_first_exact(m, c, counts.value)
        return log_rising.sum(), p.to(m.dtype)
    total, p = m.new_zeros((), dtype=torch.float64), torch.zeros_like(m)
    left = counts.repeated
    m, c, x = m[left], c[left], counts.value[left]
    large = (x > _ROUNDS).nonzero()[:, 0]
    if len(large):
        log_rising, p_large = _after_first_exact(m[large], c[large], x[large])
        total += log_rising.sum()
        p[left[large]] = p_large.to(p.dtype)
        few = (x <= _ROUNDS).nonzero()[:, 0]
        left, m, c, x = left[few], m[few], c[few], x[few]
    # most counts are 1 and few are more than 2: each round is over those that are left
    for k in range(1, _ROUNDS):
        if not len(left):
            break
        part = torch.add(m, c, alpha=k)
        total += part.log().sum()
        p.index_add_(0, left, m / part)
        more = (x > k + 1).nonzero()[:, 0]
        left, m, c, x = left[more], m[more], c[more], x[more]
    return total, p


def _after_first_exact(m: Tensor, c: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Σ_{0<k<x} log(m + k c) and Σ_{0<k<x} m / (m + k c), (nnz,) float64, for x > 0."""
    m, c, x = m.double(), c.double(), x.double()
    r = m / c
    log_rising = (x + r).lgamma() - (1 + r).lgamma() + (x - 1) * c.log()
    return log_rising, r * ((x + r).digamma() - (1 + r).digamma())


def column_sums(block: Tensor) -> Tensor:
    """Sums of the columns of (B, f), (f,)."""
    return block.t().mv(block.new_ones(len(block)))


class CountModel(NamedTuple):
    """A likelihood of counts, as the module takes it by name.

    `plain(counts, mean, parameter, zero_logit)`, (B,), is log p of sparse counts of any means,
    (B, F). With `background`, what is above it has these means, and its own, (B, F), come last.
    """

    plain: Callable[..., Tensor]
    family: type[Family] | None  # the fast form; None: there is none
    start: float  # of the parameter of each feature
    learned: bool = False  # whether it is, from the annealing on
    learned_from: float | None = None  # where it begins then; None: where it is
    undispersed: type[Family] | None = None  # the fast form at NO_DISPERSION
    zero_inflated: bool = False  # with a probability of structural zeros from the decoder
    background: bool = False  # which is known (module `background`); the zeros are of the rest
    levels: bool = False  # of two counts per feature: `plain(m, n, logit, parameter)`

    def fast(self, undispersed: bool) -> type[Family]:
        """The family to compute with.

        Args:
            undispersed: Whether the parameter of all features is NO_DISPERSION.
        """
        family = self.undispersed if undispersed and self.undispersed else self.family
        assert family is not None, "asked for only where there is one"
        return family


def _negative_binomial(counts, mean, parameter, zero_logit):
    return plain.negative_binomial(counts, mean, parameter)


def _linear_negative_binomial(counts, mean, parameter, zero_logit):
    return plain.linear_negative_binomial(counts, mean, parameter)


_LARGEST_LOGIT = 60.0  # whose exponential is finite in float32


def _zero_inflated_poisson(counts, mean, parameter, zero_logit):
    # divided by 1 - phi, so that phi changes the shape of the likelihood and not its mean
    zero_logit = zero_logit.clamp_max(_LARGEST_LOGIT)
    return plain.zero_inflated_poisson(counts, mean * (1 + zero_logit.exp()), zero_logit)


def _above_background(counts, mean, parameter, zero_logit, background):
    return plain.above_background(counts, mean, background, parameter, zero_logit)


FAMILIES = {
    "nb": CountModel(_negative_binomial, NegativeBinomial, START_LOG_THETA, learned=True),
    "nb1": CountModel(
        _linear_negative_binomial,
        LinearNegativeBinomial,
        NO_DISPERSION,
        learned=True,
        learned_from=START_LOG_DISPERSION,
        undispersed=Poisson,
    ),
    # nb1 with its dispersion left where it is
    "poisson": CountModel(
        _linear_negative_binomial, LinearNegativeBinomial, NO_DISPERSION, undispersed=Poisson
    ),
    "zip": CountModel(_zero_inflated_poisson, None, NO_DISPERSION, zero_inflated=True),
    "background": CountModel(
        _above_background, None, START_LOG_THETA, learned=True, zero_inflated=True, background=True
    ),
    "beta-binomial": CountModel(
        plain.beta_binomial, None, START_LOG_CONCENTRATION, learned=True, levels=True
    ),
}
