"""The output layer of a decoder and the likelihood of the counts, in one pass over the features.

The shares f = softmax(h W' + b) of B cells on F features, the log-likelihood of sparse counts of
means proportional to f, and every gradient are found block of features by block of features, so
that a block stays in the processor's cache from its product with W to its part of the gradient. The
formulas are those of `distributions`, which has them for means of any kind; here

- what depends on single counts (factorials, rising factorials) comes from tables, as most counts
  are 1 or 2, and only at the non-zeros;
- gradients are kept as P = m d log p / d m, which is finite at m = 0; that of the logits is
  P - f Σ_j P_j.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .sparse import SparseRows

SMALLEST = 1e-30  # keeps logarithms finite where float32 underflows to 0
SMALLEST_DISPERSION = 1e-6  # of the linear NB: the Poisson to six digits
BLOCK_FEATURES = 2048  # 128 cells of them are 1 MB, half of a usual level-2 cache
_SAFE = (1e-20, 1e30)  # sums of exponentials none of which that matters is 0 or infinite
_TABLE = 16  # counts below it are looked up, larger ones are computed


class Counts(NamedTuple):
    """The non-zeros of a batch, as the families look them up in tables."""

    value: Tensor  # (nnz,), x
    column: Tensor  # (nnz,) int64
    index: Tensor  # (nnz,) int64, x or the end of the table
    large: Tensor | None  # (few,) int64, which entries are beyond the table; None: not known

    @classmethod
    def of(cls, value: Tensor, column: Tensor) -> Counts:
        """Those of a batch, in any order."""
        index = value.clamp_max(_TABLE).long()
        # how many there are a GPU could only tell if we waited for it
        large = (value > _TABLE).nonzero()[:, 0] if value.device.type == "cpu" else None
        return cls(value, column, index, large)

    def log_factorial(self) -> Tensor:
        """Sum of log x!, float64."""
        table = torch.arange(_TABLE + 1, device=self.index.device, dtype=torch.float64)
        found = (table + 1).lgamma_().index_select(0, self.index)
        return self.completed(found, lambda x: torch.lgamma(x + 1), self.value).sum()

    def completed(self, found: Tensor, exact: Callable, *arguments: Tensor) -> Tensor:
        """What was found in a table, with entries beyond it computed in double precision."""
        if self.large is None:
            computed = exact(*(argument.double() for argument in arguments))
            return torch.where(self.value > _TABLE, computed, found)
        if len(self.large):
            found[self.large] = exact(*(argument[self.large].double() for argument in arguments))
        return found


class Family:
    """A count distribution of mean m = size_i * f_ij with one parameter per feature.

    P is m d log p / d m. `slope` collects the derivative by the parameter, where it is learnt.
    """

    def __init__(self, parameter: Tensor, learnt: bool):
        self.slope = torch.zeros_like(parameter) if learnt else None
        # (F,), a: the log-likelihood of a zero is -a_j m, its slope -m zero_slope_j; None: it is
        # not linear in m, and `dense` has it
        self.zero: Tensor | None = None
        self.zero_slope: Tensor | None = None

    def dense(self, m: Tensor, j: slice, copies: Tensor | None) -> Tensor:
        """Log-likelihood (B,) as if every count of a block were zero; turns m into P.

        Args:
            m: (B, f) means of the features j; P afterwards.
            j: Which features.
            copies: (F,), how often each feature counts; None: once.
        """
        raise NotImplementedError

    def of_zeros(
        self, e: Tensor, blocks: Blocks, per_e: Tensor, pool: Pool, copies: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What there would be if every count were zero.

        Args:
            e: (B, F) in blocks, means but for the factor of each cell.
            blocks: Where in e which features are.
            per_e: (B,), the factor.
            pool: Where memory is taken from.
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
            if self.slope is not None:
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
            blocks: Where in e which features are.
            per_e: (B,), mean per e.
            p_per_e: (B,), Σ P, of all counts as they are, by Σ e.
        """
        for j in blocks.slices():
            block = blocks.of(e, j)
            if p is not None:
                torch.addcmul(blocks.of(p, j), block, p_per_e[:, None], value=-1, out=block)
            else:  # P of a zero is -a m
                per_m = torch.addcmul(p_per_e[:, None], per_e[:, None], self.zero[j])
                block.mul_(per_m.neg_())

    def at_nonzero(self, m: Tensor, counts: Counts) -> tuple[Tensor, Tensor]:
        """What the counts that are not zero change.

        Args:
            m: (nnz,) means.
            counts: The counts.

        Returns:
            Log-likelihood but for log x!, summed, and P (nnz,).
        """
        raise NotImplementedError


class NegativeBinomial(Family):
    """NB of inverse dispersion theta = exp(parameter); variance m + m^2 / theta."""

    def __init__(self, log_theta: Tensor, learnt: bool):
        super().__init__(log_theta, learnt)
        self.theta = log_theta.exp()

    def dense(self, m, j, copies):  # noqa: D102
        theta = self.theta[j]
        ratio = m / theta
        log1p = ratio.log1p()
        m.div_(ratio.add_(1)).neg_()
        if self.slope is not None:
            # -theta log1p(m / theta) by log theta is -theta log1p - P
            self.slope[j] = -theta * _column_sums(log1p) - _column_sums(m)
        return -(log1p @ (theta if copies is None else theta * copies[j]))

    def at_nonzero(self, m, counts):  # noqa: D102
        x, column = counts.value, counts.column
        theta = self.theta.index_select(0, column)
        total = m + theta
        # Γ(x + theta) / Γ(theta) as a product, for as differences of lgamma and of digamma it and
        # its derivative lose all digits where theta is large
        log_rising, slope = _after_first(theta, torch.ones_like(theta), counts)
        log_lik = x @ (m.clamp_min(SMALLEST).log() - total.log())
        log_lik = log_lik + theta.log().sum(dtype=torch.float64) + log_rising
        p = x * theta / total
        if self.slope is not None:
            self.slope.scatter_add_(0, column, 1 + slope - p)
        return log_lik, p


class Poisson(Family):
    """The Poisson; the parameter is not used."""

    def __init__(self, parameter: Tensor, learnt: bool):
        super().__init__(parameter, learnt)
        self.zero = torch.ones_like(parameter)
        self.zero_slope = torch.zeros_like(parameter)

    def at_nonzero(self, m, counts):  # noqa: D102
        return counts.value @ m.clamp_min(SMALLEST).log(), counts.value


class LinearNegativeBinomial(Family):
    """NB of dispersion c = exp(parameter); variance m (1 + c), the Poisson at c = 0.

    It is the sum of m log(1 + c) / c bursts on average, each of a logarithmic number of counts. A
    zero's log-likelihood is linear in m, so that zeros cost what they cost under the Poisson.
    """

    def __init__(self, log_dispersion: Tensor, learnt: bool):
        super().__init__(log_dispersion, learnt)
        self.c = log_dispersion.exp().clamp_min(SMALLEST_DISPERSION)
        self.zero = self.c.log1p() / self.c
        self.zero_slope = 1 / (1 + self.c) - self.zero

    def at_nonzero(self, m, counts):  # noqa: D102
        # Γ(x + m / c) / Γ(m / c) (c / (1 + c))^x, as Π_{k<x} (m + k c) / (1 + c)^x
        x, column = counts.value, counts.column
        m, c = m.clamp_min(SMALLEST), self.c.index_select(0, column)
        log_rising, p = _after_first(m, c, counts)
        log_lik = m.log().sum() + log_rising - x @ c.log1p()
        p += 1
        if self.slope is not None:
            self.slope.scatter_add_(0, column, x / (1 + c) - p)
        return log_lik, p


def _after_first(m: Tensor, c: Tensor, counts: Counts) -> tuple[Tensor, Tensor]:
    """Σ_{0<k<x} log(m + k c), summed over entries, and Σ_{0<k<x} m / (m + k c), (nnz,)."""
    if counts.large is None:
        log_rising, p = _after_first_exact(m, c, counts.value)
        return log_rising.sum(), p.to(m.dtype)
    total, p = m.new_zeros((), dtype=torch.float64), torch.zeros_like(m)
    if len(counts.large):
        at = counts.large
        log_rising, p_large = _after_first_exact(m[at], c[at], counts.value[at])
        total += log_rising.sum()
        p[at] = p_large.to(m.dtype)
    # most counts are 1 and few are more than 2: each round is over those that are left
    left = ((counts.value > 1) & (counts.value <= _TABLE)).nonzero()[:, 0]
    m, c, x = m[left], c[left], counts.value[left]
    for k in range(1, _TABLE):
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


def _column_sums(block: Tensor) -> Tensor:
    return block.t().mv(block.new_ones(len(block)))


class Scoring(NamedTuple):
    """How scores are made of shares f: Σ_j f_j r_j w_j / Σ_j f_j r_j, r the cell's row of `factor`.

    The last column of w is how often each feature counts, as a rule once.
    """

    weight: Tensor  # (F, d + 1), w
    factor: Tensor | None = None  # (n, F); None: r is 1
    kind: Tensor | None = None  # (B,) int64, which row of `factor` each cell has

    def add(self, sums: Tensor, total: Tensor, e: Tensor, j: slice) -> None:
        """Add the sums over the features j of e (B, f) to those of scores (B, d + 1), and of e."""
        if self.factor is not None:
            total += e.mv(self.weight[j, -1])
            e = e * self.factor[:, j].index_select(0, self.kind)
        sums.addmm_(e, self.weight[j])


class Likelihood(NamedTuple):
    """What a decoder says of a batch."""

    log_lik: Tensor  # log p(counts|z), mean over cells
    scores: Tensor  # (B, d), of the shares; without gradient


def of_counts(
    family: type[Family],
    parameter: Tensor,
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    counts: SparseRows,
    scoring: Scoring,
    pool: Pool | None = None,
) -> Likelihood:
    """Log-likelihood of counts whose means are their library sizes times softmax(h W' + b).

    Args:
        family: Which distribution.
        parameter: (F,), its parameter.
        h: (B, H), last hidden layer of the decoder.
        weight: (F, H), W.
        bias: (F,), b.
        counts: (B, F).
        scoring: How the scores of the shares are made.
        pool: Where memory is taken from; then only one backward pass can be made.
    """
    tensors = (h, weight, bias, parameter)
    with_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return Likelihood(*_OfCounts.apply(*tensors, family, counts, scoring, pool, with_gradient))


class Pool:
    """Memory for blocks, kept from step to step: new memory costs more than what is done in it."""

    def __init__(self):
        self._spare: list[Tensor] = []

    def take(self, size: int, like: Tensor) -> Tensor:
        """(size,) numbers of any value."""
        fitting = [
            i
            for i, spare in enumerate(self._spare)
            if size <= len(spare) <= 2 * size
            and spare.dtype == like.dtype
            and spare.device == like.device
        ]
        if not fitting:
            return like.new_empty(size)
        return self._spare.pop(min(fitting, key=lambda i: len(self._spare[i])))[:size]

    def take_gradients(self, *parameters: Tensor) -> None:
        """Take the gradients of an optimizer step that is done."""
        for parameter in parameters:
            if parameter.grad is not None and parameter.grad.is_contiguous():
                self.give_back(parameter.grad)
            parameter.grad = None

    def give_back(self, *taken: Tensor) -> None:
        """What nobody reads any more, of any shape; it may be longer than was asked for."""
        for tensor in taken:
            storage = tensor.untyped_storage()
            size = storage.nbytes() // tensor.element_size()
            self._spare.append(tensor.detach().new_empty(0).set_(storage, 0, (size,)))


class Blocks:
    """(B, F) numbers kept as contiguous blocks of features, one after the other."""

    def __init__(self, n_rows: int, n_columns: int, device: torch.device):
        # a GPU gains nothing from blocks, and each would cost it launches
        self.width = BLOCK_FEATURES if device.type == "cpu" else n_columns
        self.n_rows, self.n_columns = n_rows, n_columns

    def slices(self) -> list[slice]:
        """Which features are in each block."""
        starts = range(0, self.n_columns, self.width)
        return [slice(start, min(start + self.width, self.n_columns)) for start in starts]

    def of(self, values: Tensor, j: slice) -> Tensor:
        """The block of features j, (B, f)."""
        return values[self.n_rows * j.start : self.n_rows * j.stop].view(self.n_rows, -1)

    def places(self, row: Tensor, column: Tensor) -> Tensor:
        """Where entries are kept."""
        if self.width >= self.n_columns:
            return row * self.n_columns + column
        start = column & -self.width  # the width is a power of 2
        width = (self.n_columns - start).clamp_max_(self.width)
        return torch.addcmul(column, row, width).add_(start, alpha=self.n_rows - 1)


def exponentials(
    e: Tensor, blocks: Blocks, h: Tensor, weight: Tensor, bias: Tensor, scoring: Scoring
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Fill e with exp(logit - shift), any shift of a cell.

    As a rule the shift is 0, as the logits are near the log shares; then a block stays in the cache
    until all is done with it. A GPU would have to be waited for to see whether that went well.

    Returns:
        Sums of e for the scores, and over features (B,); the shift (B,), None where it is 0.
    """
    shift = None if h.device.type == "cpu" else _largest_logit(e, blocks, h, weight, bias)
    while True:
        sums = h.new_zeros(len(h), scoring.weight.shape[1])
        # scores and sums of the rows in one product, where that gives both
        total = sums[:, -1] if scoring.factor is None else h.new_zeros(len(h))
        for j in blocks.slices():
            block = blocks.of(e, j)
            if shift is None:
                torch.addmm(bias[j], h, weight[j].t(), out=block)
            else:
                block.sub_(shift[:, None])
            scoring.add(sums, total, block.exp_(), j)
        if shift is not None or _SAFE[0] < float(total.min()) <= float(total.max()) < _SAFE[1]:
            return sums, total, shift
        shift = _largest_logit(e, blocks, h, weight, bias)


def _largest_logit(e: Tensor, blocks: Blocks, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Fill e with the logits; the largest one of each cell."""
    largest = h.new_full((len(h),), -torch.inf)
    for j in blocks.slices():
        logit = torch.addmm(bias[j], h, weight[j].t(), out=blocks.of(e, j))
        largest = torch.maximum(largest, logit.amax(1))
    return largest


def concluded(
    ctx: Any, of_zeros: Tensor, of_nonzeros: Tensor, nonzero: Counts, sums: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean log-likelihood and the scores, which have no gradient, of their parts."""
    log_lik = (of_zeros.double().sum() + of_nonzeros - nonzero.log_factorial()) / len(sums)
    scores = sums[:, :-1] / sums[:, -1:]
    ctx.mark_non_differentiable(scores)
    return log_lik.to(sums.dtype), scores


class _OfCounts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h, weight, bias, parameter, family, counts, scoring, pool, with_gradient):
        blocks = Blocks(len(h), len(weight), h.device)
        family = family(parameter, ctx.needs_input_grad[3])
        memory = pool or Pool()
        e = memory.take(len(h) * len(weight), h)  # exp(logit - shift), f but for the rows' sums
        sums, total, _ = exponentials(e, blocks, h, weight, bias, scoring)
        per_e = counts.sums() / total
        log_lik, row_p, p = family.of_zeros(e, blocks, per_e, memory)

        place = blocks.places(counts.row, counts.column)
        m = e.index_select(0, place) * per_e.index_select(0, counts.row)
        nonzero = Counts.of(counts.value, counts.column)
        of_nonzeros, p_nonzero = family.at_nonzero(m, nonzero)
        if with_gradient:
            row_p += counts.row_sums(p_nonzero)
            family.to_gradient(e, p, blocks, per_e, row_p / total)
            e.scatter_add_(0, place, p_nonzero)
            ctx.save_for_backward(h, weight)
            ctx.by_logit = e
            ctx.slope, ctx.blocks, ctx.pool = family.slope, blocks, pool
        else:
            memory.give_back(e)
        if p is not None:
            memory.give_back(p)
        return concluded(ctx, log_lik, of_nonzeros, nonzero, sums)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        if ctx.by_logit is None:
            raise RuntimeError("memory from a pool serves one backward pass only")
        h, weight = ctx.saved_tensors
        by_logit, blocks, memory = ctx.by_logit, ctx.blocks, ctx.pool or Pool()
        per_cell = grad / len(h)
        weighted = h * per_cell
        grad_h = torch.zeros_like(h)
        grad_weight = memory.take(weight.numel(), weight).view_as(weight)
        grad_bias = weight.new_empty(len(weight))
        for j in blocks.slices():
            block = blocks.of(by_logit, j)
            torch.mm(block.t(), weighted, out=grad_weight[j])
            grad_bias[j] = _column_sums(block)
            grad_h.addmm_(block, weight[j])
        if ctx.pool is not None:
            ctx.pool.give_back(by_logit)
            ctx.by_logit = None
        slope = None if ctx.slope is None else ctx.slope * per_cell
        grads = (grad_h * per_cell, grad_weight, grad_bias * per_cell, slope)
        return *grads, None, None, None, None, None
