"""Log-likelihoods of counts and the Gaussian mixture, written for sparse counts.

The count likelihoods are sums over every entry of a (cells, features) block of which few are not
zero. What holds at every entry is a cheap dense expression; the terms that need a special function
exist at the non-zeros only, and are evaluated there in double precision. Gradients are written
out where autograd would keep one dense block for each intermediate of the formula.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .sparse import SparseRows

SMALLEST = 1e-30  # keeps logarithms and ratios finite where float32 underflows to 0


def _sum_by_row(values: Tensor, row: Tensor, n_rows: int) -> Tensor:
    return values.new_zeros(n_rows).index_add_(0, row, values)


def _at(block: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Entries of a (B, F) block, or of a (F,) row shared by all cells, in double precision."""
    return (block[column] if block.dim() == 1 else block[row, column]).double()


class _NegativeBinomial(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mean: Tensor, log_theta: Tensor, row: Tensor, column: Tensor, value: Tensor):
        theta = log_theta.exp()
        log1p_ratio = torch.log1p(mean / theta)
        log_lik = -(log1p_ratio @ theta)
        # lgamma(x + theta) - lgamma(theta) loses all its digits in float32 when theta is large
        m, t, x = _at(mean, row, column), theta[column].double(), value.double()
        m = m.clamp_min(SMALLEST)
        at_nonzero = (
            x * (m.log() - (t + m).log())
            + torch.lgamma(x + t)
            - torch.lgamma(t)
            - torch.lgamma(x + 1)
        )
        log_lik = log_lik + _sum_by_row(at_nonzero, row, mean.shape[0]).to(mean.dtype)
        ctx.save_for_backward(mean, theta, log1p_ratio, row, column, value)
        return log_lik

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        mean, theta, log1p_ratio, row, column, value = ctx.saved_tensors
        m, t, x = _at(mean, row, column), theta[column].double(), value.double()
        m = m.clamp_min(SMALLEST)
        g = grad[row].double()

        share = theta / (mean + theta)  # (B, G)
        grad_mean = -share * grad[:, None]
        at_nonzero = g * x * t / (m * (m + t))
        grad_mean.index_put_((row, column), at_nonzero.to(mean.dtype), accumulate=True)

        grad_theta = grad @ (1 - share - log1p_ratio)  # (G,)
        at_nonzero = g * (torch.digamma(x + t) - torch.digamma(t) - x / (t + m))
        grad_theta.index_add_(0, column, at_nonzero.to(mean.dtype))
        return grad_mean, grad_theta * theta, None, None, None


def negative_binomial(counts: SparseRows, mean: Tensor, log_theta: Tensor) -> Tensor:
    """Log-likelihood of counts under NB(mean, theta), variance mean + mean^2 / theta.

    Args:
        counts: non-zeros of the (B, G) block.
        mean: (B, G), > 0.
        log_theta: (G,), log of the inverse dispersion.

    Returns:
        (B,) log-likelihood, summed over features.
    """
    return _NegativeBinomial.apply(mean, log_theta, counts.row, counts.column, counts.value)


def linear_negative_binomial(counts: SparseRows, mean: Tensor, log_dispersion: Tensor) -> Tensor:
    """Log-likelihood of counts under NB1, the negative binomial of variance mean (1 + alpha).

    Args:
        counts: non-zeros of the (B, P) block.
        mean: (B, P), > 0.
        log_dispersion: (P,), log of alpha, the linear dispersion.

    Returns:
        (B,) log-likelihood, summed over features.
    """
    alpha = log_dispersion.exp()
    y, alpha_y = counts.value.double(), alpha[counts.column].double()
    shape = (_at(mean, counts.row, counts.column) / alpha_y).clamp_min(SMALLEST)
    at_nonzero = torch.lgamma(y + shape) - torch.lgamma(shape) - torch.lgamma(y + 1)
    at_nonzero = at_nonzero + y * (alpha_y.log() - alpha_y.log1p())
    of_zeros = mean @ (alpha.log1p() / alpha)
    return _sum_by_row(at_nonzero, counts.row, len(mean)).to(mean.dtype) - of_zeros


class _ZeroInflatedPoisson(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mean: Tensor, logit: Tensor, row: Tensor, column: Tensor, value: Tensor):
        inflated, plain = torch.sigmoid(logit), torch.sigmoid(-logit)  # phi, 1 - phi
        poisson_zero = mean.neg().exp_().mul_(plain)  # (1 - phi) e^-m
        zero = poisson_zero + inflated  # P(0)
        log_lik = zero.clamp_min(SMALLEST).log_().sum(1)
        m, y = _at(mean, row, column).clamp_min(SMALLEST), value.double()
        at_nonzero = y * m.log() - m - torch.lgamma(y + 1)
        at_nonzero += F.logsigmoid(-_at(logit, row, column))
        at_nonzero -= _at(zero, row, column).clamp_min(SMALLEST).log()
        log_lik = log_lik + _sum_by_row(at_nonzero, row, mean.shape[0]).to(mean.dtype)
        ctx.save_for_backward(mean, inflated, plain, poisson_zero, zero, row, column, value)
        return log_lik

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        mean, inflated, plain, poisson_zero, zero, row, column, value = ctx.saved_tensors
        m, y = _at(mean, row, column).clamp_min(SMALLEST), value.double()
        g = grad[row].double()
        phi = _at(inflated, row, column)

        share = poisson_zero / zero.clamp_min(SMALLEST)  # P(a zero is a Poisson zero)
        grad_logit = None
        if ctx.needs_input_grad[1]:
            # d log P(0) / d logit = P(a zero is structural) - phi
            grad_logit = (plain - share) * grad[:, None]
            at_nonzero = -g * (phi + _at(plain, row, column) - _at(share, row, column))
            grad_logit.index_put_((row, column), at_nonzero.to(mean.dtype), accumulate=True)
            grad_logit = grad_logit.sum_to_size(inflated.shape)
        at_nonzero = g * (y / m - 1 + _at(share, row, column))
        grad_mean = share.mul_(-grad[:, None])
        grad_mean.index_put_((row, column), at_nonzero.to(mean.dtype), accumulate=True)
        return grad_mean, grad_logit, None, None, None


def zero_inflated_poisson(counts: SparseRows, mean: Tensor, logit: Tensor) -> Tensor:
    """Log-likelihood of counts under a zero-inflated Poisson.

    Args:
        counts: non-zeros of the (B, P) block.
        mean: (B, P), > 0, mean of the Poisson part.
        logit: (B, P) or (P,), log-odds that an entry is a structural zero.

    Returns:
        (B,) log-likelihood, summed over features.
    """
    return _ZeroInflatedPoisson.apply(mean, logit, counts.row, counts.column, counts.value)


def above_background(
    counts: SparseRows, mean: Tensor, background: Tensor, log_theta: Tensor, logit: Tensor
) -> Tensor:
    """Log-likelihood of counts with background, a mixture of two negative binomials.

    An entry is background alone, NB(b, theta), with probability phi = sigmoid(logit); else
    NB(b + m, theta), background and foreground. Dense and in double precision, as there are few
    proteins.

    Args:
        counts: non-zeros of the (B, F) block.
        mean: (B, F), >= 0, mean of the foreground, m.
        background: (B, F), > 0, mean of the background, b.
        log_theta: (F,), log of the inverse dispersion of both.
        logit: (B, F), log-odds that an entry has no foreground.

    Returns:
        (B,) log-likelihood, summed over features.
    """
    x = mean.new_zeros(mean.shape, dtype=torch.float64)
    x[counts.row, counts.column] = counts.value.double()
    b, theta, logit = background.double(), log_theta.double().exp(), logit.double()
    without = F.logsigmoid(logit) + _log_negative_binomial(x, b, theta)
    with_it = F.logsigmoid(-logit) + _log_negative_binomial(x, b + mean.double(), theta)
    rising = torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
    return (torch.logaddexp(without, with_it) + rising).sum(1).to(mean.dtype)


def beta_binomial(
    methylated: Tensor, covered: Tensor, logit: Tensor, log_concentration: Tensor
) -> Tensor:
    """Log-likelihood of methylated counts, given how many positions are covered.

    The level of a region in a cell has a beta distribution of mean p and concentration s, so that
    m is BetaBinomial(n, s p, s (1 - p)), of variance n p (1 - p) (n + s) / (1 + s). Regions without
    coverage cost nothing. In double precision.

    Args:
        methylated: (B, F), m.
        covered: (B, F), n, at least m.
        logit: (B, F), log odds of p.
        log_concentration: (F,), log of s.

    Returns:
        (B,) log-likelihood, summed over regions.
    """
    row, column = covered.nonzero().unbind(1)
    m, n, at = (part[row, column].double() for part in (methylated, covered, logit))
    s = log_concentration.double().exp()
    constant, s = s.lgamma()[column], s[column]
    a, b = (s * at.sigmoid()).clamp_min(SMALLEST), (s * (-at).sigmoid()).clamp_min(SMALLEST)
    found = constant - (n + s).lgamma() + (n + 1).lgamma()
    for count, shape in ((m, a), (n - m, b)):
        # where a count is 0 the gamma functions cancel
        some = count.nonzero()[:, 0]
        count, shape = count[some], shape[some]
        rising = (count + shape).lgamma() - shape.lgamma() - (count + 1).lgamma()
        found = found.index_add(0, some, rising)
    return _sum_by_row(found, row, len(covered)).to(logit.dtype)


def _log_negative_binomial(x: Tensor, m: Tensor, theta: Tensor) -> Tensor:
    """The part of the log-likelihood of the NB that depends on its mean."""
    return x * (m.log() - (theta + m).log()) - theta * torch.log1p(m / theta)


def gaussian_kl(mean_q: Tensor, log_var_q: Tensor, mean_p: Tensor, log_var_p: Tensor) -> Tensor:
    """KL(q || p) of diagonal Gaussians, summed over the last dimension, in closed form."""
    ratio = (log_var_q - log_var_p).exp()
    distance = (mean_q - mean_p).square() * (-log_var_p).exp()
    return 0.5 * (ratio + distance - 1 - log_var_q + log_var_p).sum(-1)


def gaussian_log_density(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Log-density of a diagonal Gaussian, summed over the last dimension."""
    squares = (z - mean).square() * (-log_var).exp()
    return -0.5 * (squares + log_var + math.log(2 * math.pi)).sum(-1)


def mixture_log_joint(z: Tensor, log_weight: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Log-density log p(z, c) of a Gaussian mixture with diagonal covariances.

    Args:
        z: (B, D) points.
        log_weight: (K,) normalized log-weights.
        mean: (K, D).
        log_var: (K, D).

    Returns:
        (B, K); its logsumexp over K is log p(z), its log_softmax is log p(c|z).
    """
    return log_weight + gaussian_log_density(z[:, None, :], mean, log_var)


def responsibilities(z: Tensor, log_weight: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """p(c|z) by Bayes' rule, (B, K), normalized in log space so that no component underflows."""
    return mixture_log_joint(z, log_weight, mean, log_var).softmax(-1)
